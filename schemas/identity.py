"""Pseudonymous ids: the first 128 bits of a keyed hash, as UUID version 8 (RFC 9562).

A plain hash of a medical record number can be enumerated in seconds, so every id of a person,
visit or message is an HMAC-SHA-256 under the tenant's identity key, which is made with the
tenant and never rotated.
"""

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID, uuid5

EVENTS = UUID("6f1d7c1e-4a5b-5f0e-9d53-0b6c2f6f7a10")  # namespace of event ids; never changes
VERSION = 8  # of the UUIDs that are made here out of others' names
_VERSION_8 = VERSION << 76
_VARIANT = 0b10 << 62
_KEEP = ~((0xF << 76) | (0b11 << 62)) & ((1 << 128) - 1)
_SEPARATOR = b"\x1f"
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """An identifier as a feed gave it: value, assigning authority, type (HL7 table 0203)."""

    value: str
    authority: str
    type: str = ""

    def __post_init__(self) -> None:
        assert self.value, "an identifier without a value is none"


def keyed(identity_key: bytes, kind: str, *parts: str | bytes) -> UUID:
    """The id of the thing ``kind`` named by ``parts``; 32 bytes of key, UUID version 8 out."""
    number = int.from_bytes(_digest(identity_key, kind, parts), "big")
    return UUID(int=(number & _KEEP) | _VERSION_8 | _VARIANT)


def patient(identity_key: bytes, identifier: Identifier) -> UUID:
    """The id that a person gets if ``identifier`` is the first we hear of them by."""
    return keyed(identity_key, "patient", identifier.authority, normal(identifier.value))


def lookup(identity_key: bytes, identifier: Identifier) -> bytes:
    """The keyed hash under which ``patient_identifiers`` knows this identifier; 16 bytes."""
    return keyed(identity_key, "identifier", normal(identifier.value)).bytes


def admission(identity_key: bytes, number: Identifier) -> UUID:
    """The id of a visit: tenant + PV1-19.1 + assigning authority (rule T25)."""
    return keyed(identity_key, "admission", number.authority, normal(number.value))


def movement(identity_key: bytes, number: Identifier) -> UUID:
    """The id of a movement: ZBE-1.1 and its assigning authority (ZBE-1.2, else the feed's)."""
    return keyed(identity_key, "movement", number.authority, normal(number.value))


def order(identity_key: bytes, number: Identifier) -> UUID:
    """The id of an order: the placer's number, else the filler's, with its authority."""
    return keyed(identity_key, "order", number.authority, normal(number.value))


def evidence(identity_key: bytes, *parts: str) -> UUID:
    """The id of what a message tells of beside people, visits and orders, by its name's parts."""
    return keyed(identity_key, "evidence", *parts)


def staff(identity_key: bytes, authority: str, value: str) -> UUID:
    """The id of a member of staff, so that no name travels in clear."""
    return keyed(identity_key, "staff", authority, normal(value))


def message(identity_key: bytes, feed_id: UUID, control_id: str, content: bytes) -> UUID:
    """A message's id: feed, MSH-10 and content (MSH-10 alone is not unique in real feeds)."""
    return keyed(identity_key, "message", feed_id.bytes, control_id, content)


def control(identity_key: bytes, feed_id: UUID, control_id: str) -> UUID:
    """MSH-10 under the tenant's key: the same for every message of a feed that reuses one."""
    return keyed(identity_key, "control", feed_id.bytes, control_id)


def event(message_id: UUID, event_type: str, ordinal: int, role: str) -> UUID:
    """An event's id: the message, the event type, ordinal of its segment, its role in there."""
    return uuid5(EVENTS, f"{message_id}/{event_type}/{ordinal}/{role}")


def told_again(event_id: UUID | str, stream_id: str) -> UUID:
    """The id of what an event tells, told again in another stream because of another event."""
    return uuid5(EVENTS, f"{event_id}/{stream_id}")


def superseding(event_id: UUID) -> UUID:
    """The id of what says that an event counts no more, which is said once."""
    return uuid5(EVENTS, f"{event_id}/superseded")


def instead(event_id: UUID) -> UUID:
    """The id of an event that came in the place of one that counts no more."""
    return uuid5(EVENTS, f"{event_id}/instead")


def following(namespace: UUID, name: str) -> str:
    """An id that follows from another one, by a hash without a key: UUID version 8 too."""
    return str(UUID(int=(uuid5(namespace, name).int & _KEEP) | _VERSION_8 | _VARIANT))


def reserved(stream_id: str) -> bool:
    """Whether an id is of the version of those that are made here: nobody else chooses one."""
    return UUID(stream_id).version == VERSION


def app_feed(tenant_id: UUID) -> UUID:
    """The id of a tenant's feed of app commands, which it has without being asked."""
    return uuid5(EVENTS, f"{tenant_id}/app")


def normal(value: str) -> str:
    """An identifier's value without surrounding or repeated white space; case is kept."""
    return _SPACES.sub(" ", value.strip())


def lookup_key(identity_key: bytes) -> bytes:
    """The key of blind-index tokens, 32 bytes: derived, so that no token is ever an id."""
    assert len(identity_key) == 32, "an identity key has 32 bytes"
    return hmac.digest(identity_key, b"wardtrail lookup key, version 1", "sha256")


def token(key: bytes, kind: str, *parts: str | bytes) -> str:
    """A blind-index token under a :func:`lookup_key`, 128 bits written as UUIDs are.

    Equal texts of two kinds never collide.
    """
    text = _digest(key, kind, parts).hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _digest(key: bytes, kind: str, parts: Iterable[str | bytes]) -> bytes:
    """The keyed hash, 16 bytes; each part with its length, so that no two lists hash the same."""
    assert len(key) == 32, "an identity key has 32 bytes"
    said = [kind.encode()]
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        said.append(_SEPARATOR + len(raw).to_bytes(8, "big") + raw)
    return hmac.digest(key, b"".join(said), "sha256")[:16]
