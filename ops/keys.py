"""Access keys of the HTTP port: whose a bearer token is, known by its SHA-256 alone."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from ops import access
from ops.access import NotConfigured
from ops.settings import Settings
from ops.stack.state import locked
from sinks.reading import ALL, Departments, Reader

BYTES = 32
KEYS_MAX = 1_000  # every token is compared with all of them
DEPARTMENTS_MAX = 1_000  # of one key; they travel to the database with every question
# What a key may that says nothing else of it, as `generate` makes it.
GRANTS: Mapping[str, Any] = {"departments": "all", "phi": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """Whose a token is, and what it may; ``digest`` is the SHA-256 of its text.

    ``departments`` are those whose work it sees and in which it may ask for more, ``phi`` whether
    sealed texts are opened for it; ``user_id`` is the user that acts by it, if it is somebody's.
    """

    name: str
    tenant_id: UUID
    digest: bytes
    departments: Departments = frozenset()
    phi: bool = False
    user_id: UUID | None = None

    @property
    def issuer(self) -> UUID:
        """Who issues the commands that come by it: its user, else an id of the key itself."""
        return self.user_id or uuid5(self.tenant_id, f"key/{self.name}")

    @property
    def reader(self) -> Reader:
        """As whom it reads."""
        return Reader(tenant_id=self.tenant_id, departments=self.departments, issuer=self.issuer)


@dataclass(frozen=True, slots=True)
class Ring:
    """The keys that are good."""

    keys: tuple[AccessKey, ...]

    def of(self, token: str) -> AccessKey | None:
        """The key that this token is; takes as long whether it is one or none."""
        digest = _digest(token)
        found = None
        for key in self.keys:
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found


def load(settings: Settings) -> Ring:
    """The keys in the home's ``http-keys.json``; none if there is no such file.

    Raises :class:`~ops.access.NotConfigured` if it isn't what :func:`generate` writes.
    """
    file = digests_file(settings)
    try:
        keys = tuple(_key(name, each) for name, each in _stored(settings).items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotConfigured(
            "the access keys can't be read: each is a name with its tenant_id and sha256, and "
            f"what it may (docs/commands.md): {file}"
        ) from None
    if len(keys) > KEYS_MAX:
        raise NotConfigured(f"more access keys than {KEYS_MAX}: {file}")
    return Ring(keys)


def generate(settings: Settings, *, name: str, tenant_id: UUID) -> Path:
    """Make a key unless its clear text is there already; return the file that holds that.

    It may all that a key can, unless its entry says less. That file is for its owner's eyes;
    whoever checks a token reads the SHA-256 only. Without the file the next key replaces the
    last one of this name. Raises :class:`~ops.access.NotConfigured` where a file is damaged.
    """
    clear = clear_file(settings)
    with locked(settings.home / ".http-keys.lock"):
        try:
            token = clear.read_text(encoding="ascii", errors="ignore").strip()
        except FileNotFoundError:
            token = secrets.token_urlsafe(BYTES)
            access.write_private(clear, token + "\n")
        if len(token) < BYTES:
            raise NotConfigured(f"the access key is damaged (hint: remove its file): {clear}")
        there = {key.name: _entry(key) for key in load(settings).keys}
        entry = {"tenant_id": str(tenant_id), "sha256": _digest(token).hex()}
        stored = _stored(settings).get(name, {})
        # What is said of this very key stays; what is not is as a new key has it.
        said = stored if entry.items() <= stored.items() else {}
        entry = {**entry, **GRANTS, **said}
        if stored != entry:
            access.write_private(
                digests_file(settings), json.dumps({**there, name: entry}, indent=1)
            )
    return clear


def clear_file(settings: Settings) -> Path:
    """Where the generated key stands in clear."""
    return settings.home / "http.key"


def digests_file(settings: Settings) -> Path:
    """Where the keys' digests stand."""
    return settings.home / "http-keys.json"


def _stored(settings: Settings) -> dict[str, Any]:
    """The entries as they stand in the file, by name; none if there is no file."""
    try:
        stored: dict[str, Any] = json.loads(digests_file(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return stored


def _key(name: str, stored: Mapping[str, Any]) -> AccessKey:
    digest = bytes.fromhex(stored["sha256"])
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError("not a SHA-256")
    user = stored.get("user_id")
    phi = stored.get("phi", False)
    if not isinstance(phi, bool):
        raise TypeError("a grant is true or false")
    return AccessKey(
        name=name, tenant_id=UUID(stored["tenant_id"]), digest=digest,
        departments=_departments(stored.get("departments", [])), phi=phi,
        user_id=None if user is None else UUID(user),
    )  # fmt: skip


def _departments(stored: object) -> Departments:
    if stored == "all":
        return ALL
    if not isinstance(stored, list) or len(stored) > DEPARTMENTS_MAX:
        raise TypeError("a list of departments, or all")
    return frozenset(UUID(each) for each in stored)


def _entry(key: AccessKey) -> dict[str, Any]:
    departments = "all" if key.departments is ALL else sorted(map(str, key.departments))
    user = {} if key.user_id is None else {"user_id": str(key.user_id)}
    return {
        "tenant_id": str(key.tenant_id), "sha256": key.digest.hex(),
        "departments": departments, "phi": key.phi, **user,
    }  # fmt: skip


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
