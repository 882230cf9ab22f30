"""The root key in Vault's transit engine: it wraps tenants' keys and never leaves Vault.

Source: HashiCorp Vault, "Transit secrets engine (API)": encrypt, decrypt, hmac.
"""

import json
import socket
import ssl
import threading
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from time import monotonic
from urllib.parse import quote, urlsplit
from uuid import UUID

from schemas.sealing import EnvelopeInvalid, Key, KeyServiceAway, Scope

ANSWER_BYTES_MAX = 64 * 1024  # a wrapped key has some hundred
TOKEN_BYTES_MAX = 4 * 1024
LINE_SECONDS = 60.0  # how long the line's key is held
_PREFIX = b"vault:v"
_LINE = b"wardtrail line key 1"


class VaultInvalid(Exception):  # noqa: N818  named for what is wrong
    """How Vault is to be reached can't be used; the message says why."""


@dataclass(slots=True, kw_only=True)
class Vault:
    """A :class:`~schemas.sealing.KeyService` over HTTP; several threads may use it.

    ``seconds`` is for a whole request. ``key`` must be of an AEAD type (aes256-gcm96): what a
    wrapped key is for is bound to it. The token is read anew for each request.
    """

    url: str
    key: str
    mount: str = "transit"
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca_file: Path | None = None
    seconds: float = 5.0
    _line: tuple[float, Key] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise VaultInvalid(f"not an address of Vault (such as https://HOST:8200): {self.url!r}")
        if parts.scheme == "http" and not _loopback(parts.hostname):
            raise VaultInvalid(f"Vault is asked over TLS only, but on loopback: {parts.hostname}")

    def line(self) -> Key:
        """The line's key: what Vault's key makes of a fixed text, by its first version."""
        held = self._line
        if held is not None and monotonic() - held[0] < LINE_SECONDS:
            return held[1]
        now = monotonic()
        asked = {"input": _text(_LINE), "key_version": 1, "algorithm": "sha2-256"}
        said = self._ask("hmac", asked, "hmac")
        _, _, encoded = said.rpartition(":")
        secret = _bytes(encoded)
        if not said.startswith("vault:v1:") or len(secret) != 32:
            raise KeyServiceAway("Vault's answer is no keyed hash of its key's first version")
        made = Key.of(secret, version=1, scope=Scope.LINE)
        self._line = (now, made)
        return made

    def wrap(self, secret: bytes, *, tenant: UUID, purpose: str, version: int) -> bytes:
        """A tenant's key as Vault's ciphertext, ``vault:vN:…``."""
        bound = _bound(tenant, purpose, version)
        asked = {"plaintext": _text(secret), "associated_data": _text(bound)}
        wrapped = self._ask("encrypt", asked, "ciphertext").encode()
        if not wrapped.startswith(_PREFIX):
            raise KeyServiceAway("Vault's answer is no ciphertext")
        return wrapped

    def unwrap(self, wrapped: bytes, *, tenant: UUID, purpose: str, version: int) -> bytes:
        """The tenant's key; :class:`EnvelopeInvalid` if it isn't one that Vault wrapped for it."""
        if not wrapped.startswith(_PREFIX) or not wrapped.isascii():
            raise EnvelopeInvalid(
                f"this tenant's {purpose} key was wrapped by a root key outside Vault "
                f"(hint: wardtrail keys rewrap), tenant: {tenant}"
            )
        bound = _bound(tenant, purpose, version)
        asked = {"ciphertext": wrapped.decode(), "associated_data": _text(bound)}
        try:
            return _bytes(self._ask("decrypt", asked, "plaintext"))
        except Refused:
            raise EnvelopeInvalid(
                f"Vault's key doesn't open this tenant's {purpose} key; is WARDTRAIL_VAULT_KEY "
                "the one it was made with, and its min_decryption_version low enough? "
                f"tenant: {tenant}"
            ) from None

    def _ask(self, operation: str, asked: Mapping[str, object], wanted: str) -> str:
        """One field of the answer's data; :class:`Refused` where Vault says that we are wrong."""
        path = f"/v1/{quote(self.mount)}/{operation}/{quote(self.key, safe='')}"
        began = monotonic()
        try:
            status, body = self._post(path, json.dumps(asked).encode())
        except (OSError, HTTPException) as error:
            late = monotonic() - began >= self.seconds  # then how it was cut off says nothing
            said = f"in {self.seconds:g} s" if late else type(error).__name__
            raise KeyServiceAway(f"Vault doesn't answer: {said}") from None
        if status == 400 and operation == "decrypt":
            raise Refused
        if status != 200:
            raise KeyServiceAway(f"Vault {_MEANS.get(status, 'refuses')}, status: {status}")
        try:
            said = json.loads(body)["data"][wanted]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise KeyServiceAway("Vault's answer can't be read") from None
        if not isinstance(said, str):
            raise KeyServiceAway("Vault's answer can't be read")
        return said

    def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        with self._connection() as connection:
            headers = {"X-Vault-Token": self._token(), "Content-Type": "application/json"}
            connection.request("POST", path, body, headers)
            return _read(connection.getresponse())

    @contextmanager
    def _connection(self) -> Iterator[HTTPConnection]:
        """A connection that ends when its time is over, however slowly it is answered."""
        parts = urlsplit(self.url)
        assert parts.hostname, "looked at when made"
        connection: HTTPConnection
        if parts.scheme == "https":
            context = _tls(self.ca_file)
            connection = HTTPSConnection(
                parts.hostname, parts.port or 8200, timeout=self.seconds, context=context
            )
        else:
            connection = HTTPConnection(parts.hostname, parts.port or 8200, timeout=self.seconds)
        held: list[socket.socket] = []  # an answer takes it away from its connection
        timer = threading.Timer(self.seconds, _cut, (connection, held))
        timer.daemon = True
        timer.start()
        try:
            connection.connect()
            held.append(connection.sock)
            yield connection
        finally:
            timer.cancel()
            connection.close()

    def _token(self) -> str:
        text = self.token
        if self.token_file is not None:
            try:
                with self.token_file.open(encoding="ascii") as file:
                    text = file.read(TOKEN_BYTES_MAX)
            except (OSError, ValueError):
                raise KeyServiceAway(f"Vault's token can't be read: {self.token_file}") from None
        token = (text or "").strip()
        if not token or not token.isascii() or not token.isprintable():
            raise KeyServiceAway("Vault's token is none (hint: VAULT_TOKEN, or its file)")
        return token


class Refused(Exception):  # noqa: N818  it stays in this module
    """Vault says that what we sent isn't what its key made."""


_MEANS = {
    400: "refuses what is asked of this key (is it there, of an AEAD type, with version 1?)",
    403: "refuses our token", 404: "has no such key or engine", 429: "asks for patience",
    500: "has failed", 502: "can't be reached", 503: "is sealed or in maintenance",
}  # fmt: skip


def _read(response: HTTPResponse) -> tuple[int, bytes]:
    body = response.read(ANSWER_BYTES_MAX + 1)
    if len(body) > ANSWER_BYTES_MAX:
        raise HTTPException("longer than an answer may be")
    return response.status, body


def _cut(connection: HTTPConnection, held: Sequence[socket.socket]) -> None:
    """End a connection that another thread reads from, or is making."""
    for each in held or (connection.sock,):
        if each is not None:
            with suppress(OSError):  # it has ended by itself
                each.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=4)
def _tls(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except OSError:
        raise VaultInvalid(f"not certificates that could vouch for Vault: {ca_file}") from None


def _bound(tenant: UUID, purpose: str, version: int) -> bytes:
    return f"wardtrail wrap 1/{tenant}/{purpose}/{version}".encode()


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _bytes(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise KeyServiceAway("Vault's answer is not base64") from None


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
