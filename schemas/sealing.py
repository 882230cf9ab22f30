"""The sealed envelope: AES-256-GCM over one field of one record of one person.

Layout (big endian), all but the ciphertext bound as additional data::

    version 1 · algorithm 1 · scope 1 · key version 4 · commitment 32 · tenant 16 · person 16
    · record 16 · field length 1 · field · nonce 12 · ciphertext and 16-byte tag

The commitment is a keyed hash of the key itself: AES-GCM alone lets one ciphertext open under
two keys. The nonce is random; a key seals at most 2**32 envelopes (NIST SP 800-38D, 8.3).
"""

import hashlib
import hmac
import os
import struct
import threading
from base64 import b64decode, b64encode
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from typing import Any, Protocol
from uuid import UUID

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NOBODY = UUID(int=0)  # the person of a record that has none, such as a raw message
_VERSION, _AES_256_GCM = 1, 1
_FIXED = struct.Struct(">BBBI32s16s16s16sB")
_NONCE_BYTES, _TAG_BYTES = 12, 16
FIELD_BYTES_MAX = 64
SEALS_MAX = 2**32  # of one key, counted; random nonces don't suffice for more (8.3)


class Scope(IntEnum):
    """Whose key sealed it: the line's own (dead letters), the tenant's, the person's."""

    LINE = 0
    TENANT = 1
    PERSON = 2


class EnvelopeInvalid(Exception):  # noqa: N818  named for what is wrong
    """The bytes are no envelope, were changed, or belong elsewhere. Never says what is inside."""


class KeyMissing(Exception):  # noqa: N818  named for what is wrong
    """The key that sealed this envelope is not at hand: destroyed, or not loaded."""


class KeyDestroyed(KeyMissing):
    """The person's key was destroyed: what it sealed stays dark, and nothing more is sealed."""


class KeysWanted(KeyMissing):
    """People whose keys must be asked for, or made, before the same is tried again."""

    def __init__(self, people: Collection[tuple[UUID, UUID]]) -> None:
        super().__init__(f"keys to be at hand first, people: {len(people)}")
        self.people = frozenset(people)  # tenant and person


class KeyServiceAway(Exception):  # noqa: N818  named for what is wrong
    """Who wraps keys doesn't answer, or not as we can use; the same again may succeed."""


@dataclass(frozen=True, slots=True)
class Key:
    """A data key of 32 bytes with its scope and version."""

    secret: bytes
    version: int
    scope: Scope
    cipher: AESGCM
    commitment: bytes

    @classmethod
    def of(cls, secret: bytes, *, version: int, scope: Scope) -> "Key":
        """Prepare a key: the cipher and the commitment are computed once."""
        if len(secret) != 32:
            raise ValueError(f"a data key has 32 bytes, got: {len(secret)}")
        commitment = hmac.new(secret, b"wardtrail key commitment 1", hashlib.sha256).digest()
        return cls(secret, version, scope, AESGCM(secret), commitment)

    def __repr__(self) -> str:
        return f"Key(scope={self.scope.name}, version={self.version})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What an envelope says about itself in clear."""

    scope: Scope
    key_version: int
    tenant: UUID
    person: UUID
    record: UUID
    field: str


def seal(
    clear: bytes, key: Key, *, tenant: UUID, person: UUID | None, record: UUID, field: str
) -> bytes:
    """Seal ``clear`` for one field of one record; about 3 µs for a short text."""
    name = field.encode()
    assert 0 < len(name) <= FIELD_BYTES_MAX, "a field name has 1 to 64 bytes"
    head = (
        _FIXED.pack(
            _VERSION, _AES_256_GCM, key.scope, key.version, key.commitment,
            tenant.bytes, (person or NOBODY).bytes, record.bytes, len(name),
        )
        + name
        + os.urandom(_NONCE_BYTES)
    )  # fmt: skip
    return head + key.cipher.encrypt(head[-_NONCE_BYTES:], clear, head)


def open_sealed(
    envelope: bytes, key: Key, *, tenant: UUID, person: UUID | None, record: UUID, field: str
) -> bytes:
    """Open an envelope that must belong to this row; raise :class:`EnvelopeInvalid` if not."""
    header, split = _split(envelope)
    expected = Header(
        scope=key.scope, key_version=key.version, tenant=tenant,
        person=person or NOBODY, record=record, field=field,
    )  # fmt: skip
    if header != expected:
        raise EnvelopeInvalid(f"envelope belongs to another row, person, tenant or key: {field}")
    if not hmac.compare_digest(envelope[7:39], key.commitment):
        raise EnvelopeInvalid(f"envelope was sealed under another key: {field}")
    head = envelope[:split]
    try:
        return key.cipher.decrypt(head[-_NONCE_BYTES:], envelope[split:], head)
    except InvalidTag:
        raise EnvelopeInvalid(f"envelope was changed: {field}") from None


def header(envelope: bytes) -> Header:
    """What the envelope says in clear; raises :class:`EnvelopeInvalid` on other bytes."""
    return _split(envelope)[0]


def text(envelope: bytes) -> str:
    """An envelope as it stands in JSON: base64."""
    return b64encode(envelope).decode("ascii")


def untext(value: str) -> bytes:
    """The envelope out of JSON."""
    try:
        return b64decode(value, validate=True)
    except ValueError:
        raise EnvelopeInvalid("envelope is not base64") from None


class Uses:
    """How often a key sealed here, against the seals that were set aside for it."""

    __slots__ = ("_lock", "set_aside", "used")

    def __init__(self) -> None:
        self._lock, self.used, self.set_aside = threading.Lock(), 0, 0

    def count(self) -> None:
        """One more."""
        with self._lock:
            self.used += 1

    def add(self, seals: int) -> None:
        """More are set aside."""
        with self._lock:
            self.set_aside += seals

    @property
    def left(self) -> int:
        """How many more may be sealed before others are to be set aside."""
        return self.set_aside - self.used


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A person's open keys by version (the highest seals), or that they were destroyed.

    ``known_now``: what isn't here is nowhere, for it was asked for just now. ``erased`` are the
    versions that were destroyed, each with the time of the erasure; who came anew after it has
    open ones too.
    """

    keys: Mapping[int, Key]
    destroyed: bool = False
    known_now: bool = False
    uses: Uses = field(default_factory=Uses)
    erased: Mapping[int, datetime] = field(default_factory=dict)

    def dark(self, said_at: datetime | None) -> bool:
        """Whether what was said then is not to be kept: before an erasure, or when nobody tells.

        Nothing is, where the newest key is destroyed.
        """
        if self.destroyed or not self.erased:
            return self.destroyed
        return said_at is None or said_at <= max(self.erased.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapper:
    """Wraps people's keys under a key of its own, which follows from a tenant's data key."""

    tenant: UUID
    version: int
    cipher: AESGCM

    def wrap(self, secret: bytes, *, subject: UUID, version: int) -> bytes:
        """A person's key: nonce, ciphertext, tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, secret, self._bound(subject, version))

    def unwrap(self, wrapped: bytes, *, subject: UUID, version: int) -> Key:
        """The person's key, to seal and open with; raises as :meth:`open`."""
        secret = self.open(wrapped, subject=subject, version=version)
        return Key.of(secret, version=version, scope=Scope.PERSON)

    def open(self, wrapped: bytes, *, subject: UUID, version: int) -> bytes:
        """The person's key; :class:`EnvelopeInvalid` if it is another's, or was changed."""
        nonce, sealed = wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:]
        try:
            return self.cipher.decrypt(nonce, sealed, self._bound(subject, version))
        except (InvalidTag, ValueError):
            raise EnvelopeInvalid(
                f"a person's key isn't one that this tenant's key wrapped: {self.tenant}"
            ) from None

    def _bound(self, subject: UUID, version: int) -> bytes:
        said = f"wardtrail subject wrap 1/{self.tenant}/{subject}/{version}/{self.version}"
        return said.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """One tenant's open keys: data keys by version (the highest seals), and the identity key.

    ``subjects`` are people's keys, as far as they were asked for; who asks for them has keys of
    their own by :meth:`apart`. ``uses`` counts what the newest data key seals.
    """

    tenant_id: UUID
    data: Mapping[int, Key]
    identity: bytes
    subjects: dict[UUID, Subject] = field(default_factory=dict)
    uses: Uses = field(default_factory=Uses)

    def __repr__(self) -> str:
        return f"Keys(tenant_id={self.tenant_id}, versions={sorted(self.data)})"

    def apart(self) -> "Keys":
        """The same, with nobody's keys yet."""
        return replace(self, subjects={})

    def has(self, person: UUID) -> bool:
        """Whether the person's keys were asked for and made, or are known to be destroyed."""
        subject = self.subjects.get(person)
        return subject is not None and (subject.destroyed or bool(subject.keys))

    def seal(self, clear: bytes, *, person: UUID | None, record: UUID, field: str) -> bytes:
        """Seal under the person's newest key, or the tenant's for what belongs to nobody.

        Raises :class:`KeyDestroyed`, and :class:`KeysWanted` where the person's isn't at hand.
        """
        if person is None:
            key, uses = self.data[max(self.data)], self.uses
        else:
            if not self.has(person):
                raise KeysWanted([(self.tenant_id, person)])
            subject = self.subjects[person]
            if subject.destroyed:
                raise KeyDestroyed("the person's key was destroyed")
            key, uses = subject.keys[max(subject.keys)], subject.uses
        uses.count()
        return seal(clear, key, tenant=self.tenant_id, person=person, record=record, field=field)

    def dark(self, person: UUID, said_at: datetime | None) -> bool:
        """Whether what was said of a person then is not to be kept, by the keys at hand."""
        subject = self.subjects.get(person)
        return subject is not None and subject.dark(said_at)

    def sealed(
        self, clear: Mapping[str, Any], *, person: UUID, record: UUID
    ) -> dict[str, str] | None:
        """JSON values as an event's sealed fields; None where the person's key is destroyed."""
        try:
            return {
                name: text(self.seal(orjson.dumps(value), person=person, record=record, field=name))
                for name, value in clear.items()
            }
        except KeyDestroyed:
            return None

    def open(self, envelope: bytes, *, person: UUID | None, record: UUID, field: str) -> bytes:
        """Open with the key and version that sealed it; :class:`KeyMissing` if it is gone.

        Of a person whose key was destroyed nothing is opened, also if another key sealed it.
        """
        told = header(envelope)
        key = self._opening(told, person)
        return open_sealed(
            envelope, key, tenant=self.tenant_id, person=person, record=record, field=field
        )

    def wrapper(self, version: int | None = None) -> Wrapper:
        """What wraps people's keys under a data key: the newest, or this version."""
        version = max(self.data) if version is None else version
        if version not in self.data:
            raise KeyMissing(f"data key version is not at hand: {version}")
        secret = hmac.new(
            self.data[version].secret, b"wardtrail subject wrapping key 1", hashlib.sha256
        ).digest()
        return Wrapper(tenant=self.tenant_id, version=version, cipher=AESGCM(secret))

    def _opening(self, told: Header, person: UUID | None) -> Key:
        """The key that an envelope's header names."""
        if (told.tenant, told.person) != (self.tenant_id, person or NOBODY):
            raise EnvelopeInvalid(f"envelope belongs to another person or tenant: {told.field}")
        subject = None if person is None else self.subjects.get(person)
        if subject is not None and _gone(subject, told):
            raise KeyDestroyed("the person's key was destroyed")
        if told.scope is Scope.TENANT:
            if told.key_version not in self.data:
                raise KeyMissing(f"data key version is not at hand: {told.key_version}")
            return self.data[told.key_version]
        if told.scope is not Scope.PERSON or person is None:
            raise EnvelopeInvalid(f"envelope is under no key of a tenant: {told.field}")
        if subject is None or (told.key_version not in subject.keys and not subject.known_now):
            raise KeysWanted([(self.tenant_id, told.person)])
        if told.key_version not in subject.keys:
            raise KeyMissing(f"a person's key version is nowhere: {told.key_version}")
        return subject.keys[told.key_version]


class KeyService(Protocol):
    """Who wraps tenants' keys and gives the line its own: a root key, or a KMS that holds one.

    Each may raise :class:`KeyServiceAway`.
    """

    def line(self) -> Key:
        """The key for records that belong to no tenant we could read."""

    def wrap(self, secret: bytes, *, tenant: UUID, purpose: str, version: int) -> bytes:
        """A tenant's key as it may be stored."""

    def unwrap(self, wrapped: bytes, *, tenant: UUID, purpose: str, version: int) -> bytes:
        """The tenant's key; :class:`EnvelopeInvalid` if it isn't one that was wrapped here."""


@dataclass(frozen=True, slots=True)
class Root:
    """The root key in this process; a :class:`KeyService`."""

    secret: bytes

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise ValueError(f"the root key has 32 bytes, got: {len(self.secret)}")

    def __repr__(self) -> str:
        return "Root(…)"

    def line(self) -> Key:
        """The key for records that belong to no tenant we could read."""
        secret = hmac.new(self.secret, b"wardtrail line key 1", hashlib.sha256).digest()
        return Key.of(secret, version=1, scope=Scope.LINE)

    def wrap(self, secret: bytes, *, tenant: UUID, purpose: str, version: int) -> bytes:
        """A tenant's key, sealed by the root key: nonce, ciphertext, tag."""
        nonce = os.urandom(_NONCE_BYTES)
        bound = f"wardtrail wrap 1/{tenant}/{purpose}/{version}".encode()
        return nonce + AESGCM(self.secret).encrypt(nonce, secret, bound)

    def unwrap(self, wrapped: bytes, *, tenant: UUID, purpose: str, version: int) -> bytes:
        """The tenant's key; :class:`EnvelopeInvalid` if another root key wrapped it."""
        bound = f"wardtrail wrap 1/{tenant}/{purpose}/{version}".encode()
        try:
            return AESGCM(self.secret).decrypt(
                wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], bound
            )
        except (InvalidTag, ValueError):
            raise EnvelopeInvalid(
                f"the root key doesn't open this tenant's {purpose} key; "
                f"is WARDTRAIL_ROOT_KEY_FILE the one it was made with? tenant: {tenant}"
            ) from None


def _gone(subject: Subject, told: Header) -> bool:
    """Whether a destroyed key sealed it; the tenant's sealed before people had keys."""
    by_tenant = told.scope is Scope.TENANT and bool(subject.erased)
    return subject.destroyed or by_tenant or told.key_version in subject.erased


def _split(envelope: bytes) -> tuple[Header, int]:
    """The header and where the ciphertext begins."""
    if len(envelope) < _FIXED.size + 1 + _NONCE_BYTES + _TAG_BYTES:
        raise EnvelopeInvalid(f"too short for an envelope, bytes: {len(envelope)}")
    version, algorithm, scope, key_version, _, tenant, person, record, length = _FIXED.unpack_from(
        envelope
    )
    split = _FIXED.size + length + _NONCE_BYTES
    known = version == _VERSION and algorithm == _AES_256_GCM and scope in tuple(Scope)
    if not known or not 0 < length <= FIELD_BYTES_MAX or len(envelope) < split + _TAG_BYTES:
        raise EnvelopeInvalid("not an envelope of a known version")
    try:
        field = envelope[_FIXED.size : _FIXED.size + length].decode()
    except UnicodeDecodeError:
        raise EnvelopeInvalid("not an envelope of a known version") from None
    header = Header(
        scope=Scope(scope), key_version=key_version, tenant=UUID(bytes=tenant),
        person=UUID(bytes=person), record=UUID(bytes=record), field=field,
    )  # fmt: skip
    return header, split
