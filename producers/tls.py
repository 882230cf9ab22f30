"""TLS of the MLLP listeners: contexts out of files, and handshakes before a connection counts."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from producers.counters import Counters

ACCEPTS_MAX = 64  # in one turn of the loop, so that who knocks doesn't hold up who is in
NO_ROOM_SECONDS = 1.0  # until it is tried again where the system has no descriptor left
SHUTDOWN_SECONDS = 5.0  # a peer that doesn't say goodbye is hung up on
HANDSHAKE = "TLS handshake"  # as the counters name one that failed
# What the system says when it can't give another socket.
_NO_ROOM = frozenset({11, 12, 23, 24, 105})  # EAGAIN, ENOMEM, ENFILE, EMFILE, ENOBUFS

logger = logging.getLogger("wardtrail.mllp")


class TlsInvalid(Exception):  # noqa: N818  named for what is wrong
    """A certificate, key or CA file can't be used; the message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """PEM files: our certificate with its chain, its key, whom clients' certificates are by.

    With a ``ca`` a client must show a certificate of it; without, nobody is asked for one.
    """

    certificate: Path
    key: Path
    ca: Path | None = None

    def stamp(self) -> tuple[tuple[int, int, int] | None, ...]:
        """What changes when one of them is replaced; None where there is none."""
        return tuple(_stamp(file) for file in (self.certificate, self.key, self.ca) if file)


def server_context(files: Files, now: datetime | None = None) -> ssl.SSLContext:
    """A context to serve with, TLS 1.2 or newer; raises :class:`TlsInvalid`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, files.certificate, files.key)
    ended = expires_at(files.certificate)
    if ended <= (now or datetime.now(UTC)):
        raise TlsInvalid(f"the certificate ended on {ended:%Y-%m-%d}: {files.certificate}")
    if files.ca is not None:
        _trust(context, files.ca)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(
    ca: Path, *, certificate: Path | None = None, key: Path | None = None, names: bool = True
) -> ssl.SSLContext:
    """A context to send with: the server's certificate is one of ``ca``, or ``ca`` itself.

    Without ``names`` the host's name isn't compared. Raises :class:`TlsInvalid`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = names
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    _trust(context, ca)
    if certificate is not None:
        _load(context, certificate, key or certificate)
    return context


def expires_at(certificate: Path) -> datetime:
    """When the first certificate of a file ends."""
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc
    except (OSError, ValueError):
        raise TlsInvalid(f"the certificate can't be read: {certificate}") from None


class Listener:
    """Accepts connections, and hands over those whose handshake succeeds.

    ``room`` says how many more may be open; those in a handshake take of it. ``context`` is the
    one for the next handshake, and may be replaced at any time.
    """

    def __init__(
        self, sock: socket.socket, context: ssl.SSLContext, *,
        accept: Callable[[], asyncio.Protocol], room: Callable[[], int], counters: Counters,
        handshake_seconds: float,
    ) -> None:  # fmt: skip
        self.context = context
        self._sock = sock
        self._accept, self._room, self._counters = accept, room, counters
        self._handshake_seconds = handshake_seconds
        self._loop = asyncio.get_running_loop()
        self._shaking: set[asyncio.Task[None]] = set()
        self._later: asyncio.TimerHandle | None = None
        sock.setblocking(False)
        self._listen()

    @property
    def shaking(self) -> int:
        """Handshakes that have begun and not ended."""
        return len(self._shaking)

    def close(self) -> None:
        """Accept nothing more; handshakes that haven't ended are broken off."""
        self._loop.remove_reader(self._sock)
        if self._later is not None:
            self._later.cancel()
        for task in tuple(self._shaking):
            task.cancel()
        self._sock.close()

    def _listen(self) -> None:
        self._loop.add_reader(self._sock, self._knock)

    def _knock(self) -> None:
        for _ in range(ACCEPTS_MAX):
            try:
                accepted, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                self._loop.remove_reader(self._sock)
                self._later = self._loop.call_later(NO_ROOM_SECONDS, self._listen)
                return
            if self._room() - self.shaking <= 0:
                self._counters.connections_refused += 1
                accepted.close()
                continue
            accepted.setblocking(False)
            task = self._loop.create_task(self._shake(accepted))
            self._shaking.add(task)
            task.add_done_callback(self._shaking.discard)

    async def _shake(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._accept, accepted, ssl=self.context,
                ssl_handshake_timeout=self._handshake_seconds,
                ssl_shutdown_timeout=SHUTDOWN_SECONDS,
            )  # fmt: skip
        except (OSError, asyncio.CancelledError) as error:  # time-outs and TLS errors are OSErrors
            accepted.close()
            self._counters.refused[HANDSHAKE] += 1
            why = error.reason if isinstance(error, ssl.SSLError) else type(error).__name__
            logger.info("a TLS handshake failed: %s", why)
            if isinstance(error, asyncio.CancelledError):
                raise


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _load(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    for file in (certificate, key):
        try:
            file.read_bytes()
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            raise TlsInvalid(f"a TLS file can't be read, {why}: {file}") from None
    try:
        context.load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TlsInvalid(f"this key is not the certificate's: {key}") from None
        raise TlsInvalid(
            f"no certificate with an unencrypted key in PEM: {certificate}, {key}"
        ) from None


def _trust(context: ssl.SSLContext, ca: Path) -> None:
    try:
        context.load_verify_locations(cafile=ca)
    except ssl.SSLError:
        raise TlsInvalid(f"no certificate in PEM: {ca}") from None
    except OSError as error:
        why = (error.strerror or type(error).__name__).lower()
        raise TlsInvalid(f"a TLS file can't be read, {why}: {ca}") from None
