"""Keys made anew and wrapped anew while the line runs, and how far that is.

A tenant's new data key seals from now on; people's keys are wrapped by it in batches. Whatever
an older version sealed or wrapped stays readable by it, so that nobody has to wait.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from psycopg import Connection

from schemas import sealing
from schemas.failpoints import hit
from schemas.sealing import EnvelopeInvalid, Key, Keys, KeyService, Wrapper
from sinks import roots, subject_keys, tenancy
from sinks.database import Database, Row, connect, for_tenants
from sinks.keyring import KEY_BYTES
from sinks.tenancy import Wrapped

BATCH = 1_000  # keys wrapped anew in one transaction: some tens of milliseconds under lock
LETTERS = 20  # dead letters sealed anew in one transaction; each may hold a record of 8 MiB
COUNTED_MAX = sealing.SEALS_MAX // 2  # an intake without its database counts what it seals later

Progress: TypeAlias = Callable[[int, int], None]
"""Told after each batch: how many are done, of how many."""


class TenantWithoutKeys(Exception):  # noqa: N818  named for what is wrong
    """The tenant has no keys that could be rotated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A version of a tenant's data key: seals set aside, and how many people's keys it wraps."""

    version: int
    created_at: datetime
    sealed: int
    wraps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A tenant's keys: versions, newest first; people; the most that one person's key sealed.

    ``waiting`` are people's keys that an older version than the newest wraps.
    """

    versions: tuple[Version, ...]
    subjects: int
    destroyed: int
    waiting: int
    most_sealed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation did: the version that seals now, if it was made, keys wrapped by it."""

    version: int
    made: bool
    rewrapped: int


def rotate(database: Database, service: KeyService, tenant_id: UUID, progress: Progress) -> Rotated:
    """Make a new data key of a tenant and wrap its people's keys by it.

    One that was broken off is brought to its end instead, without a further version.
    """
    with database.connection() as connection, connection.transaction():
        standing = status(connection, tenant_id)
    made = standing.waiting == 0
    version = renew(database, service, tenant_id) if made else standing.versions[0].version
    with database.connection() as connection, connection.transaction():
        keys = _keys(connection, service, tenant_id)
    total = sum(each.wraps for each in standing.versions)
    done = _rewrap(database, keys, total if made else standing.waiting, progress)
    return Rotated(version=version, made=made, rewrapped=done)


def renew(database: Database, service: KeyService, tenant_id: UUID) -> int:
    """Make a new version of a tenant's data key, unless another is faster; the newest.

    Only by the root key that opens the versions there are: another one's would be a key that
    nobody opens, and every process would stop at it. Raises as :func:`sinks.roots.share`.
    """
    with database.connection() as connection, connection.transaction():
        roots.share(connection)
        version = max(_keys(connection, service, tenant_id).data) + 1
        wrapped = service.wrap(
            secrets.token_bytes(KEY_BYTES), tenant=tenant_id, purpose="data", version=version
        )
        connection.execute(_RENEW, (tenant_id, version, wrapped))
        return _newest(connection, tenant_id)


def count(database: Database, tenant_id: UUID, version: int, seals: int) -> bool:
    """Count what a tenant's data key sealed; whether that was as much as it should."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        row = connection.execute(_COUNT, (seals, tenant_id, version)).fetchone()
    return row is not None and row["sealed"] >= COUNTED_MAX


def status(connection: Connection[Row], tenant_id: UUID) -> Status:
    """How a tenant's keys stand, in a transaction of its own."""
    for_tenants(connection, [tenant_id])
    wraps = {
        row["tenant_key_version"]: row["keys"]
        for row in connection.execute(_WRAPS, (tenant_id,)).fetchall()
    }
    versions = tuple(
        Version(
            version=row["version"], created_at=row["created_at"], sealed=row["sealed"],
            wraps=wraps.get(row["version"], 0),
        )
        for row in connection.execute(_VERSIONS, (tenant_id,)).fetchall()
    )  # fmt: skip
    if not versions:
        raise TenantWithoutKeys(f"the tenant has no keys: {tenant_id}")
    row = connection.execute(_SUBJECTS, (tenant_id,)).fetchone()
    assert row is not None, "an aggregate has one row"
    newest = versions[0].version
    return Status(
        versions=versions, subjects=row["subjects"], destroyed=row["destroyed"],
        waiting=sum(keys for version, keys in wraps.items() if version < newest),
        most_sealed=row["most_sealed"],
    )  # fmt: skip


def change_root(
    database: Database, migrate_url: str, old: KeyService, new: KeyService, progress: Progress
) -> int:
    """Wrap every tenant's keys by another root key; how many were wrapped by the old one.

    Again after it was broken off, it does what is left. What is open stays the same. Meanwhile
    nobody makes a tenant's key; afterwards nobody does by the old root key. Raises
    ``EnvelopeInvalid`` for the first key that neither opens, when all others are changed.
    """
    changed, unopened = 0, None
    with connect(migrate_url, name="keys") as migrating, roots.alone(migrating):
        with database.connection() as connection, connection.transaction():
            wrapped = tenancy.wrapped_keys(connection, tenancy.tenants(connection))
        for done, each in enumerate(wrapped, start=1):
            becomes = None
            try:
                becomes = _under(each, old, new)
            except EnvelopeInvalid as invalid:  # one that was damaged must not keep the old one
                unopened = unopened or invalid
            if becomes is not None:
                asked = (each.tenant_id, each.purpose, each.version, each.wrapped, becomes)
                migrating.execute(_REWRAP, asked)
                hit("keys: rewrapped")
                changed += 1
            progress(done, len(wrapped))
    if unopened is not None:
        raise unopened
    return changed


def reseal_letters(database: Database, old: KeyService, new: KeyService) -> int:
    """Seal dead letters by the line's key under another root; how many the old one had sealed."""
    before, after = old.line(), new.line()
    changed, last = 0, sealing.NOBODY
    while True:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, tenancy.tenants(connection))
            rows = connection.execute(_LETTERS, (last, LETTERS)).fetchall()
            for row in rows:
                again = _resealed(UUID(row["id"]), row["record_sealed"], before, after)
                if again is not None:
                    connection.execute(_LETTER, (again, row["id"]))
                    changed += 1
        if not rows:
            return changed
        last = UUID(rows[-1]["id"])


def _resealed(row_id: UUID, sealed: bytes, before: Key, after: Key) -> bytes | None:
    """A letter under the line's other key; None if the first one didn't seal it, or it broke."""
    try:
        told = sealing.header(sealed)
        tenant, person, field = told.tenant, told.person, told.field
        clear = sealing.open_sealed(
            sealed, before, tenant=tenant, person=person, record=row_id, field=field
        )
    except EnvelopeInvalid:
        return None
    return sealing.seal(clear, after, tenant=tenant, person=person, record=row_id, field=field)


def _under(key: Wrapped, old: KeyService, new: KeyService) -> bytes | None:
    """A tenant's key wrapped by the new root key; None if it is already."""
    tenant, purpose, version = key.tenant_id, key.purpose, key.version
    try:
        secret = old.unwrap(key.wrapped, tenant=tenant, purpose=purpose, version=version)
    except EnvelopeInvalid:  # by neither: the next line says so
        new.unwrap(key.wrapped, tenant=tenant, purpose=purpose, version=version)
        return None
    return new.wrap(secret, tenant=tenant, purpose=purpose, version=version)


def _rewrap(database: Database, keys: Keys, total: int, progress: Progress) -> int:
    """Wrap people's keys by the newest data key, batch by batch, until none is left."""
    wrapper, done = keys.wrapper(), 0
    old: dict[int, Wrapper] = {}
    while True:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, [keys.tenant_id])
            waiting = subject_keys.waiting(connection, keys.tenant_id, wrapper.version, BATCH)
            again = []
            for each in waiting:
                by, subject = each.tenant_key_version, each.name[1]
                old[by] = old.get(by) or keys.wrapper(by)
                assert each.wrapped is not None, "a destroyed key isn't asked for"
                secret = old[by].open(each.wrapped, subject=subject, version=each.version)
                wrapped = wrapper.wrap(secret, subject=subject, version=each.version)
                again.append(replace(each, wrapped=wrapped, tenant_key_version=wrapper.version))
            subject_keys.rewrap(connection, again)
            hit("keys: rewrapped")
        if not waiting:
            return done
        done += len(waiting)
        progress(done, max(done, total))


def _keys(connection: Connection[Row], service: KeyService, tenant_id: UUID) -> Keys:
    wrapped = tenancy.wrapped_keys(connection, [tenant_id])
    found = tenancy.unwrap(wrapped, service).get(tenant_id)
    if found is None:
        raise TenantWithoutKeys(f"the tenant has no keys: {tenant_id}")
    return found


def _newest(connection: Connection[Row], tenant_id: UUID) -> int:
    row = connection.execute(_VERSIONS, (tenant_id,)).fetchone()
    assert row is not None, "asked after it was opened"
    newest: int = row["version"]
    return newest


_VERSIONS = """
SELECT version, created_at, sealed FROM tenant_keys
WHERE tenant_id = %s AND purpose = 'data' ORDER BY version DESC
"""
_RENEW = """
INSERT INTO tenant_keys (tenant_id, purpose, version, wrapped) VALUES (%s, 'data', %s, %s)
ON CONFLICT DO NOTHING
"""
_COUNT = """
UPDATE tenant_keys SET sealed = sealed + %s
WHERE tenant_id = %s AND purpose = 'data' AND version = %s RETURNING sealed
"""
_WRAPS = """
SELECT tenant_key_version, count(*) AS keys FROM subject_keys
WHERE tenant_id = %s AND destroyed_at IS NULL GROUP BY 1
"""
_SUBJECTS = """
SELECT count(DISTINCT subject_id) AS subjects,
       count(DISTINCT subject_id) FILTER (WHERE destroyed_at IS NOT NULL) AS destroyed,
       coalesce(max(sealed), 0) AS most_sealed
FROM subject_keys WHERE tenant_id = %s
"""
_REWRAP = "SELECT rewrap_tenant_key(%s, %s, %s, %s, %s)"
_LETTERS = """
SELECT id, record_sealed FROM dead_letters WHERE id > %s ORDER BY id LIMIT %s FOR UPDATE
"""
_LETTER = "UPDATE dead_letters SET record_sealed = %s WHERE id = %s"
