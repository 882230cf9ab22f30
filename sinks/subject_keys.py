"""People's keys in their rows: found, made, counted, renewed, wrapped anew, destroyed.

Each change is a short transaction of its own that locks rows in the order of tenant, person and
version, and holds no other lock: whoever waits for it waits for nobody.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from psycopg import Connection

from schemas.failpoints import hit
from schemas.sealing import SEALS_MAX
from sinks.database import Database, Row, for_tenants

BLOCK = 2**16  # seals set aside at once: a process takes one for a person it begins to write of
# A chunk may seal more than was left; what it was over is counted with the next block.
COUNTED_MAX = SEALS_MAX - 2**24
Name: TypeAlias = tuple[UUID, UUID]
"""A tenant's id and a person's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A version of a person's key as it is stored; no ``wrapped``: it was destroyed."""

    name: Name
    version: int
    wrapped: bytes | None = field(repr=False)
    tenant_key_version: int
    destroyed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """A person whose key is destroyed up to a version (0: none was made), as of a time."""

    name: Name
    key_version: int
    at: datetime

    @property
    def tombstone(self) -> int:
        """The version whose destruction says that this erasure was carried out."""
        return max(self.key_version, 1)


def find(database: Database, wanted: Collection[Name]) -> dict[Name, list[Stored]]:
    """All versions of these people's keys; nothing of whom none was ever made."""
    if not wanted:
        return {}
    tenants, subjects = _arrays(wanted)
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        return _versions(connection, tenants, subjects)


def create(
    database: Database, made: Collection[Stored]
) -> tuple[set[Name], dict[Name, list[Stored]]]:
    """Store first versions; whose was stored, with a block set aside, and what all have now.

    The first one wins. Of a tenant that is being deleted none is stored.
    """
    if not made:
        return set(), {}
    rows = sorted(made, key=lambda each: each.name)
    tenants, subjects = _arrays({each.name for each in rows})
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        stored = _insert(connection, rows)
        # Another's that was being made was waited for, so this sees whoever was first.
        found = _versions(connection, tenants, subjects)
        hit("keys: made")
    return stored, found


def set_aside(
    database: Database, wanted: Mapping[tuple[UUID, UUID, int], int]
) -> set[tuple[UUID, UUID, int]]:
    """Count seals of keys before they are made; which keys that was possible for.

    The others have sealed as often as a key may, or were destroyed.
    """
    if not wanted:
        return set()
    names = sorted(wanted)
    tenants, subjects, versions = (list(column) for column in zip(*names, strict=True))
    seals = [wanted[each] for each in names]
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        connection.execute(_LOCK, (tenants, subjects))
        values = (tenants, subjects, versions, seals, COUNTED_MAX)
        rows = connection.execute(_SET_ASIDE, values).fetchall()
        hit("keys: counted")
    return {(UUID(row["tenant_id"]), UUID(row["subject_id"]), row["version"]) for row in rows}


def renew(database: Database, made: Collection[Stored]) -> None:
    """Store versions that follow the newest; of a destroyed key, or a renewed one, none."""
    rows = sorted(made, key=lambda each: each.name)
    if not rows:
        return
    tenants, subjects = _arrays({each.name for each in rows})
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        newest: dict[Name, int] = {}
        for row in connection.execute(_LOCK, (tenants, subjects)).fetchall():
            name = (UUID(row["tenant_id"]), UUID(row["subject_id"]))
            newest[name] = row["version"] if row["alive"] else -1
        _insert(connection, [each for each in rows if newest.get(each.name) == each.version - 1])
        hit("keys: made")


def erase(connection: Connection[Row], erasures: Iterable[Erased]) -> int:
    """Destroy people's keys, in a transaction that shows their tenants; how many versions.

    The same again destroys nothing, also where the person came anew since. Versions that were
    made after the erasure was decided, but before this, go too. A person without a key gets a
    tombstone, so that none is made for what was said before. Nothing of a deleted tenant.
    """
    destroyed, left = 0, list(erasures)
    while left:  # each person once at a time, in the order of their erasures
        turn: dict[Name, Erased] = {}
        later = [each for each in left if turn.setdefault(each.name, each) is not each]
        destroyed += _erase(connection, [turn[name] for name in sorted(turn)])
        assert len(later) < len(left), "each turn takes somebody"
        left = later
    return destroyed


def begin_anew(database: Database, made: Collection[Stored], said: Mapping[Name, datetime]) -> None:
    """Store versions after a destroyed newest one, for people of whom something was said later."""
    rows = sorted(made, key=lambda each: each.name)
    tenants, subjects = _arrays({each.name for each in rows})
    with database.transaction() as connection:
        for_tenants(connection, tenants)
        newest = {
            (UUID(row["tenant_id"]), UUID(row["subject_id"])): row
            for row in connection.execute(_LOCK, (tenants, subjects)).fetchall()
        }  # the highest version last
        _insert(connection, [each for each in rows if _follows(each, newest, said)])
        hit("keys: made")


def waiting(connection: Connection[Row], tenant_id: UUID, newest: int, limit: int) -> list[Stored]:
    """Keys that an older version of the tenant's key wrapped, locked; no more than ``limit``."""
    rows = connection.execute(_WAITING, (tenant_id, newest, limit)).fetchall()
    return [_stored(row) for row in rows]


def rewrap(connection: Connection[Row], again: Sequence[Stored]) -> None:
    """Store locked keys as they are wrapped now."""
    tenants, subjects = ([each.name[part] for each in again] for part in (0, 1))
    versions = [each.version for each in again]
    wrapped = [each.wrapped for each in again]
    by = [each.tenant_key_version for each in again]
    connection.execute(_REWRAP, (tenants, subjects, versions, wrapped, by))


def _erase(connection: Connection[Row], turn: Sequence[Erased]) -> int:
    tenants, people = ([each.name[part] for each in turn] for part in (0, 1))
    stones, times = [each.tombstone for each in turn], [each.at for each in turn]
    buried = connection.execute(_BURY, (tenants, people, stones, times)).fetchall()
    fresh = {(UUID(row["tenant_id"]), UUID(row["subject_id"])) for row in buried}
    # A version that is being made at this moment is waited for here, and seen below.
    stones_there = {
        (UUID(row["tenant_id"]), UUID(row["subject_id"])): row["version"]
        for row in connection.execute(_LOCK, (tenants, people)).fetchall()
        if not row["alive"]
    }
    due = [
        each for each in turn
        if each.name in fresh or stones_there.get(each.name, 0) < each.tombstone
    ]  # fmt: skip
    given = ([each.name[part] for each in due] for part in (0, 1))
    return len(connection.execute(_DESTROY, (*given, [each.at for each in due])).fetchall())


def _follows(each: Stored, newest: Mapping[Name, Row], said: Mapping[Name, datetime]) -> bool:
    row = newest.get(each.name)
    if row is None or row["destroyed_at"] is None or row["version"] != each.version - 1:
        return False
    later: bool = said[each.name] > row["destroyed_at"]
    return later


def _versions(
    connection: Connection[Row], tenants: list[UUID], subjects: list[UUID]
) -> dict[Name, list[Stored]]:
    found: dict[Name, list[Stored]] = {}
    for row in connection.execute(_FIND, (tenants, subjects)).fetchall():
        stored = _stored(row)
        found.setdefault(stored.name, []).append(stored)
    return found


def _insert(connection: Connection[Row], rows: Sequence[Stored]) -> set[Name]:
    tenants, subjects = ([each.name[part] for each in rows] for part in (0, 1))
    versions = [each.version for each in rows]
    wrapped = [each.wrapped for each in rows]
    by = [each.tenant_key_version for each in rows]
    stored = connection.execute(_INSERT, (BLOCK, tenants, subjects, versions, wrapped, by))
    return {(UUID(row["tenant_id"]), UUID(row["subject_id"])) for row in stored.fetchall()}


def _arrays(names: Iterable[Name]) -> tuple[list[UUID], list[UUID]]:
    listed = sorted(set(names))
    return [tenant for tenant, _ in listed], [subject for _, subject in listed]


def _stored(row: Row) -> Stored:
    return Stored(
        name=(UUID(row["tenant_id"]), UUID(row["subject_id"])), version=row["version"],
        wrapped=row["wrapped"], tenant_key_version=row["tenant_key_version"],
        destroyed_at=row.get("destroyed_at"),
    )  # fmt: skip


_FIND = """
SELECT tenant_id, subject_id, version, wrapped, tenant_key_version, destroyed_at FROM subject_keys
WHERE (tenant_id, subject_id) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[]))
"""
_INSERT = """
INSERT INTO subject_keys (sealed, tenant_id, subject_id, version, wrapped, tenant_key_version)
SELECT %s, made.* FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::bytea[], %s::int[])
     AS made (tenant_id, subject_id, version, wrapped, tenant_key_version)
WHERE NOT EXISTS (SELECT FROM deleted_tenants WHERE id = made.tenant_id)
ON CONFLICT DO NOTHING
RETURNING tenant_id, subject_id
"""
_LOCK = """
SELECT tenant_id, subject_id, version, destroyed_at, destroyed_at IS NULL AS alive FROM subject_keys
WHERE (tenant_id, subject_id) IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[]))
ORDER BY tenant_id, subject_id, version
FOR UPDATE
"""
_SET_ASIDE = """
UPDATE subject_keys SET sealed = sealed + seals
FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::bigint[])
     AS wanted (tenant_id, subject_id, version, seals)
WHERE subject_keys.tenant_id = wanted.tenant_id AND subject_keys.subject_id = wanted.subject_id
  AND subject_keys.version = wanted.version AND destroyed_at IS NULL AND sealed + seals <= %s
RETURNING subject_keys.tenant_id, subject_keys.subject_id, subject_keys.version
"""
_BURY = """
INSERT INTO subject_keys (tenant_id, subject_id, version, tenant_key_version, destroyed_at)
SELECT tenant_id, subject_id, version, 0, at
FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[])
     AS buried (tenant_id, subject_id, version, at)
WHERE NOT EXISTS (SELECT FROM deleted_tenants WHERE id = buried.tenant_id)
ORDER BY tenant_id, subject_id
ON CONFLICT DO NOTHING
RETURNING tenant_id, subject_id
"""
_DESTROY = """
UPDATE subject_keys SET wrapped = NULL, destroyed_at = erased.at
FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[]) AS erased (tenant_id, subject_id, at)
WHERE subject_keys.tenant_id = erased.tenant_id AND subject_keys.subject_id = erased.subject_id
  AND subject_keys.destroyed_at IS NULL
RETURNING subject_keys.version
"""
_WAITING = """
SELECT tenant_id, subject_id, version, wrapped, tenant_key_version FROM subject_keys
WHERE tenant_id = %s AND tenant_key_version < %s AND destroyed_at IS NULL
ORDER BY tenant_id, subject_id, version LIMIT %s
FOR UPDATE
"""
_REWRAP = """
UPDATE subject_keys SET wrapped = again.wrapped, tenant_key_version = again.tenant_key_version
FROM unnest(%s::uuid[], %s::uuid[], %s::int[], %s::bytea[], %s::int[])
     AS again (tenant_id, subject_id, version, wrapped, tenant_key_version)
WHERE subject_keys.tenant_id = again.tenant_id AND subject_keys.subject_id = again.subject_id
  AND subject_keys.version = again.version AND destroyed_at IS NULL
"""
