"""Access keys of the HTTP port: whose a bearer token is, known by its SHA-256 alone."""

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from ops import access
from ops.access import NotConfigured
from ops.settings import Settings
from ops.stack.state import locked

BYTES = 32
KEYS_MAX = 1_000  # every token is compared with all of them


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """Whose a token is; ``digest`` is the SHA-256 of its text."""

    name: str
    tenant_id: UUID
    digest: bytes


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
        stored = json.loads(file.read_text(encoding="utf-8"))
        keys = tuple(_key(name, each) for name, each in stored.items())
    except FileNotFoundError:
        return Ring(())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise NotConfigured(
            "the access keys can't be read: each is a name with its tenant_id and sha256 "
            f"(docs/operating.md): {file}"
        ) from None
    if len(keys) > KEYS_MAX:
        raise NotConfigured(f"more access keys than {KEYS_MAX}: {file}")
    return Ring(keys)


def generate(settings: Settings, *, name: str, tenant_id: UUID) -> Path:
    """Make a key unless its clear text is there already; return the file that holds that.

    That file is for its owner's eyes; whoever checks a token reads the SHA-256 only. Without
    the file the next key replaces the last one of this name. Raises
    :class:`~ops.access.NotConfigured` where a file is damaged.
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
        entry = {"tenant_id": str(tenant_id), "sha256": _digest(token).hex()}
        there = {key.name: _entry(key) for key in load(settings).keys}
        if there.get(name) != entry:
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


def _key(name: str, stored: Mapping[str, Any]) -> AccessKey:
    digest = bytes.fromhex(stored["sha256"])
    if len(digest) != hashlib.sha256().digest_size:
        raise ValueError("not a SHA-256")
    return AccessKey(name=name, tenant_id=UUID(stored["tenant_id"]), digest=digest)


def _entry(key: AccessKey) -> dict[str, str]:
    return {"tenant_id": str(key.tenant_id), "sha256": key.digest.hex()}


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
