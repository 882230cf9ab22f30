"""A tenant's life: created, suspended, resumed, written out, deleted.

A worker's login does all but deleting: rows that were told are beyond it. ``wt_migrate`` deletes,
as ``wt_owner``, by three functions that pass row policies and nobody else may call.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

import orjson
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from sinks import tenancy
from sinks.database import Database, Row, connect, for_tenants
from sinks.erasing import OnHold
from sinks.tables import TENANT_TABLES, metadata

DELETE_ROWS = 5_000  # of one transaction: a second at most
BARRIER_SECONDS = 90.0  # a transaction of ours lasts at most 60 s
PASSES_MAX = 5  # over all tables; after the barrier one is enough, unless a process was frozen
EXPORT_ROWS = 500  # fetched at a time; a row holds a message of a few MiB at most
EXPORT_IDLE_S = 3_600  # the disk that it is written to may be slow
# Sealed by the root key: without them nothing opens, and with them a deletion would be none.
KEY_TABLES = ("subject_keys", "tenant_keys")
_KEY_COLUMNS = frozenset({"wrapped"})
# Published in order without a hole, so what isn't published yet mustn't go.
_RELAYED = (("events", "relay"), ("verification_results", "relay:verification"))


class TenantThere(Exception):  # noqa: N818  named for what is wrong
    """A tenant of this name or subdomain is there, and isn't the one that is asked for."""


class TenantActive(Exception):  # noqa: N818  named for what is wrong
    """The tenant isn't suspended."""


class NotExported(Exception):  # noqa: N818  named for what is wrong
    """The tenant's rows were not written out since they last changed."""


class NotDrained(Exception):  # noqa: N818  named for what is wrong
    """Something of the tenant is still under way; later it isn't."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant's row."""

    tenant_id: UUID
    name: str
    subdomain: str | None
    plan: str | None
    active: bool
    features: Mapping[str, Any]
    enabled_specialties: list[str]
    branding: Mapping[str, Any]
    integrations: Mapping[str, Any]
    messages_per_second: int | None
    suspended_at: datetime | None
    exported_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A deleted tenant; ``deleted_at`` is None while rows may be there still."""

    name_sha256: bytes
    deleted_at: datetime | None
    counts: Mapping[str, int]


def tenants(database: Database) -> list[Tenant]:
    """All tenants, by name."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenancy.tenants(connection))
        rows = connection.execute("SELECT * FROM tenants ORDER BY name, id").fetchall()
    return [_tenant(row) for row in rows]


def named_alike(database: Database, name: str, subdomain: str) -> Tenant | None:
    """The tenant that has both this name and this subdomain, None where neither is taken.

    Raises :class:`TenantThere` where one of them is another's.
    """
    for each in tenants(database):
        if each.subdomain == subdomain and each.name == name:
            return each
        if each.subdomain == subdomain:
            raise TenantThere(f"the subdomain belongs to another tenant: {each.name}")
        if each.name == name:
            raise TenantThere(f"a tenant of this name has another subdomain: {each.subdomain}")
    return None


def describe(database: Database, tenant_id: UUID, said: Mapping[str, Any]) -> None:
    """Set columns of a tenant's row, JSON ones from their values."""
    columns = {
        column: orjson.dumps(value).decode() if isinstance(value, dict | list) else value
        for column, value in said.items()
    }
    assigned = SQL(", ").join(SQL("{} = %s").format(Identifier(each)) for each in columns)
    statement = SQL("UPDATE tenants SET {}, updated_at = now() WHERE id = %s").format(assigned)
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        connection.execute(statement, [*columns.values(), tenant_id])


def suspend(database: Database, tenant_id: UUID) -> bool:
    """Take nothing more for a tenant; whether it was active."""
    return _change(database, tenant_id, _SUSPEND)


def resume(database: Database, tenant_id: UUID) -> bool:
    """Take messages and answer questions again; whether it was suspended."""
    return _change(database, tenant_id, _RESUME)


@contextmanager
def exporting(url: str, tenant_id: UUID) -> Iterator[tuple[Connection[Row], datetime]]:
    """One snapshot of all rows of a tenant and of nobody else, and as of when it is."""
    with connect(url, name="export") as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(
            SQL("SET LOCAL idle_in_transaction_session_timeout = {}").format(f"{EXPORT_IDLE_S}s")
        )
        for_tenants(connection, [tenant_id])
        row = connection.execute("SELECT now() AS at").fetchone()
        assert row is not None, "a clock answers"
        yield connection, row["at"]


def exported_tables() -> list[str]:
    """The tables of which a tenant's rows are written out, those that others refer to first."""
    return [str(table.name) for table in TENANT_TABLES]


def rows_of(connection: Connection[Row], table: str, tenant_id: UUID) -> Iterator[Row]:
    """A tenant's rows of a table, a few in memory at a time; keys without what wraps them."""
    declared = metadata.tables[table]
    names = [column.name for column in declared.columns if column.name not in _KEY_COLUMNS]
    statement = SQL("SELECT {} FROM {} WHERE {} = %s").format(
        SQL(", ").join(map(Identifier, names)),
        Identifier(table),
        Identifier("id" if table == "tenants" else "tenant_id"),
    )
    with connection.cursor(name="export") as cursor:
        cursor.itersize = EXPORT_ROWS
        yield from cursor.execute(statement, (tenant_id,))


def exported(database: Database, tenant_id: UUID, at: datetime) -> None:
    """Remember that everything was written out as it was then."""
    describe(database, tenant_id, {"exported_at": at})


def deletable(database: Database, tenant_id: UUID, *, force: bool) -> None:
    """Raise where a tenant may not be deleted now.

    :class:`TenantActive` unless it is suspended; :class:`~sinks.erasing.OnHold` while a legal hold
    stands on one of its people; :class:`NotExported` unless it was written out
    since it was suspended and since its last message, or ``force``; :class:`NotDrained` while
    what is published in order isn't published up to its last row.
    """
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        row = connection.execute(_DELETABLE, (tenant_id,)).fetchone()
        if row is None:
            return  # its row went first in an earlier attempt, or never was
        if row["is_active"]:
            raise TenantActive(
                f"the tenant is active (hint: wardtrail tenants suspend): {row['name']}"
            )
        if row["held"]:
            raise OnHold(f"a legal hold stands on people of the tenant, holds: {row['held']}")
        if not (row["written"] or force):
            raise NotExported(
                "the tenant was not written out since it was suspended, or messages came after it"
                f" (hint: wardtrail tenants export, or --force): {row['name']}"
            )
    drained(database, tenant_id)


def drained(database: Database, tenant_id: UUID) -> None:
    """Raise :class:`NotDrained` while rows that are published in order aren't all published.

    One that went before would be a hole to everybody who reads its partition of the topic.
    """
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        for table, subscription in _RELAYED:
            statement = SQL(_UNPUBLISHED).format(Identifier(table))
            found = connection.execute(statement, (subscription,)).fetchone()
            if found is not None:
                raise NotDrained(
                    f"rows of {table} are not published yet (hint: wardtrail lag; run a worker)"
                )


def delete(
    url: str,
    tenant_id: UUID,
    name: str,
    *,
    ready: Callable[[], None] = lambda: None,
    tell: Callable[[str, int], None] = lambda _table, _rows: None,
    rows: int = DELETE_ROWS,
    barrier_seconds: float = BARRIER_SECONDS,
) -> dict[str, int]:
    """Delete a tenant's rows everywhere, its keys first; how many there were, by table.

    ``url`` is a login that may become ``wt_owner``. ``ready`` raises where a row that is there
    mustn't go yet; it is asked when no more come to be: until then records that wait in the log
    may become events, though the tenant is suspended. Each batch is a transaction of its own:
    after a kill, the same again goes on. What is left is a row that says so, by which late
    records of the tenant are known and become nothing.
    """
    with connect(url, name="delete") as connection:
        connection.execute("SET ROLE wt_owner")
        digest = hashlib.sha256(name.encode()).digest()
        connection.execute(_BEGIN, (tenant_id, digest))
        await_writers(connection, barrier_seconds)
        ready()
        counted = _counted(connection, tenant_id)
        for _ in range(PASSES_MAX):
            done = 0
            for table in deletion_order():
                deleted = _delete_from(connection, table, tenant_id, rows, tell)
                if deleted:
                    counted[table] = counted.get(table, 0) + deleted
                    done += deleted
                    _count(connection, tenant_id, counted)
            if not done:
                break
        else:
            raise NotDrained("rows of the tenant still come to be: run it again")
        for table in KEY_TABLES:
            if table in metadata.tables:  # a plain one leaves the bytes of dead keys in their pages
                connection.execute(SQL("VACUUM (FULL) {}").format(Identifier(table)))
        _count(connection, tenant_id, counted, finished=True)
    return counted


def tombstone(database: Database, tenant_id: UUID) -> Tombstone | None:
    """What is left of a deleted tenant; None where it wasn't deleted."""
    with database.connection() as connection:
        row = connection.execute(
            "SELECT * FROM deleted_tenants WHERE id = %s", (tenant_id,)
        ).fetchone()
    if row is None:
        return None
    return Tombstone(
        name_sha256=row["name_sha256"], deleted_at=row["deleted_at"], counts=row["counts"]
    )


def deletion_order() -> list[str]:
    """The tenant tables: keys, then those that refer to others before these, tenants last."""
    order = [str(table.name) for table in reversed(TENANT_TABLES)]
    keys = [table for table in KEY_TABLES if table in order]
    return [*keys, *(each for each in order if each not in (*keys, "tenants")), "tenants"]


def _delete_from(
    connection: Connection[Row],
    table: str,
    tenant_id: UUID,
    rows: int,
    tell: Callable[[str, int], None],
) -> int:
    done = 0
    while True:
        row = connection.execute(
            "SELECT delete_tenant_rows(%s, %s, %s) AS rows", (table, tenant_id, rows)
        ).fetchone()
        assert row is not None, "a function answers"
        if not row["rows"]:
            return done
        done += row["rows"]
        tell(table, done)


def await_writers(connection: Connection[Row], seconds: float) -> None:
    """Wait until every transaction has ended that may not have seen what was done until now.

    Raises :class:`NotDrained`.
    """
    row = connection.execute("SELECT pg_current_xact_id()::text AS now").fetchone()
    assert row is not None, "a transaction has an id"
    deadline = time.monotonic() + seconds
    while True:
        oldest = connection.execute(
            "SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS xmin"
        ).fetchone()
        assert oldest is not None, "a snapshot has a beginning"
        if int(oldest["xmin"]) > int(row["now"]):
            return
        if time.monotonic() > deadline:
            raise NotDrained("a transaction that began before lasts too long: run it again")
        time.sleep(0.05)


def _counted(connection: Connection[Row], tenant_id: UUID) -> dict[str, int]:
    """What earlier attempts deleted."""
    row = connection.execute(
        "SELECT counts FROM deleted_tenants WHERE id = %s", (tenant_id,)
    ).fetchone()
    return dict(row["counts"]) if row is not None else {}


def _count(
    connection: Connection[Row],
    tenant_id: UUID,
    counted: Mapping[str, int],
    *,
    finished: bool = False,
) -> None:
    connection.execute(_COUNT, (orjson.dumps(counted).decode(), finished, tenant_id))


def _change(database: Database, tenant_id: UUID, statement: LiteralString) -> bool:
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        return bool(connection.execute(statement, (tenant_id,)).rowcount)


def _tenant(row: Row) -> Tenant:
    return Tenant(
        tenant_id=UUID(row["id"]), active=row["is_active"],
        **{
            name: row[name]
            for name in (
                "name", "subdomain", "plan", "features", "enabled_specialties", "branding",
                "integrations", "messages_per_second", "suspended_at", "exported_at", "created_at",
            )
        },
    )  # fmt: skip


_BEGIN = "INSERT INTO deleted_tenants (id, name_sha256) VALUES (%s, %s) ON CONFLICT DO NOTHING"
_COUNT = """
UPDATE deleted_tenants SET counts = %s, deleted_at = CASE WHEN %s THEN now() END WHERE id = %s
"""
_SUSPEND = """
UPDATE tenants SET is_active = false, suspended_at = now(), updated_at = now()
WHERE id = %s AND is_active
"""
_RESUME = """
UPDATE tenants SET is_active = true, suspended_at = NULL, exported_at = NULL, updated_at = now()
WHERE id = %s AND NOT is_active
"""
_DELETABLE = """
SELECT name, is_active, exported_at IS NOT NULL AND exported_at >= suspended_at
    AND NOT EXISTS (
        SELECT FROM messages WHERE tenant_id = tenants.id AND recorded_at > exported_at
    ) AS written,
    (SELECT count(*) FROM legal_holds WHERE tenant_id = tenants.id AND released_at IS NULL) AS held
FROM tenants WHERE id = %s
"""
_UNPUBLISHED = """
SELECT FROM (SELECT DISTINCT partition FROM partitions) AS place
LEFT JOIN subscriptions AS relayed
       ON relayed.subscription_id = %s AND relayed.partition = place.partition
WHERE EXISTS (
    SELECT FROM {} AS row
    WHERE row.partition = place.partition
      AND row.partition_seq > coalesce(relayed.last_position, 0)
)
LIMIT 1
"""
