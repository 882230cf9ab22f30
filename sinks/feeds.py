"""Feeds as they are bound: the EMR instances they belong to, and what was refused by them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from psycopg import Connection

from sinks import tenancy
from sinks.database import Database, Row, for_tenants
from sinks.tables.intake import EMR_SYSTEMS

HOURS_KEPT = 24 * 90  # of counts: as long as somebody may ask why a feed was quiet
REFUSALS_MAX = 1_000  # rows of an answer
SWEPT_ROWS = 5_000  # in one transaction: a fraction of a second


class FeedThere(Exception):  # noqa: N818  named for what is wrong
    """The tenant has a feed of this name already."""


class InstanceOther(Exception):  # noqa: N818  named for what is wrong
    """The tenant's EMR instance of this name is of another kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What is counted together: refused at a port for a reason, of whom as far as that is known.

    ``tenant_id`` is None where the port is several tenants'.
    """

    hour: datetime
    port: int
    reason: str
    tenant_id: UUID | None
    feed_id: UUID | None
    sender_hmac: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """Messages refused in an hour for one reason; ``feed`` is its name where it fitted one."""

    hour: datetime
    port: int
    feed: str | None
    reason: str
    sender_hmac: UUID | None
    refused: int
    last_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """An EMR instance of a tenant."""

    instance_id: UUID
    name: str
    emr_system: str


def add(database: Database, tenant_id: UUID, name: str, settings: Mapping[str, object]) -> UUID:
    """Make a feed with these settings; its id. Raises :class:`FeedThere`.

    Nothing is left of it where a setting is refused.
    """
    feed_id = uuid4()
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        made = connection.execute(
            "INSERT INTO feeds (id, tenant_id, name) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (feed_id, tenant_id, name),
        )
        if not made.rowcount:
            raise FeedThere(f"the tenant has a feed of this name (hint: feeds set): {name}")
        if settings:
            tenancy.update_feed(connection, tenant_id, name, settings)
    return feed_id


def instance(database: Database, tenant_id: UUID, name: str, emr_system: str) -> UUID:
    """The tenant's EMR instance of this name, made if it isn't there; its id."""
    assert emr_system in EMR_SYSTEMS, f"not a kind of EMR: {emr_system}"
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        connection.execute(
            "INSERT INTO emr_instances (tenant_id, id, name, emr_system) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            (tenant_id, uuid4(), name, emr_system),
        )
        row = connection.execute(
            "SELECT id, emr_system FROM emr_instances WHERE tenant_id = %s AND name = %s",
            (tenant_id, name),
        ).fetchone()
    assert row is not None, "made or there"
    if row["emr_system"] != emr_system:
        raise InstanceOther(f"{name} is another kind of EMR, it is: {row['emr_system']}")
    return UUID(row["id"])


def instances(connection: Connection[Row], tenant_id: UUID) -> dict[UUID, Instance]:
    """The tenant's EMR instances, by id."""
    for_tenants(connection, [tenant_id])
    rows = connection.execute("SELECT id, name, emr_system FROM emr_instances").fetchall()
    return {
        UUID(row["id"]): Instance(
            instance_id=UUID(row["id"]), name=row["name"], emr_system=row["emr_system"]
        )
        for row in rows
    }


def count_refusals(database: Database, counts: Mapping[Kind, int]) -> None:
    """Add counts to those that stand, in one transaction.

    What was refused for a tenant that is no more is left out.
    """
    tenants = {kind.tenant_id for kind in counts if kind.tenant_id is not None}
    now = datetime.now(UTC)
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants)
        gone = tenancy.gone(connection, tenants)
        rows = [
            (
                kind.hour, kind.port, kind.tenant_id, kind.feed_id, kind.reason,
                kind.sender_hmac, count, min(now, kind.hour + timedelta(hours=1)),
            )
            for kind, count in counts.items()
            if str(kind.tenant_id) not in gone
        ]  # fmt: skip
        connection.cursor().executemany(_COUNT, rows)


def forget_refusals(database: Database, now: datetime) -> int:
    """Remove counts that are kept no longer, of all tenants; how many, ``SWEPT_ROWS`` at most."""
    before = now - timedelta(hours=HOURS_KEPT)
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenancy.tenants(connection))
        return connection.execute(_FORGET, (before, SWEPT_ROWS)).rowcount


def refusals(connection: Connection[Row], tenant_id: UUID | None, hours: int) -> list[Counted]:
    """What was refused of a tenant's feeds in the last hours, the newest first.

    Without a tenant: what fitted no feed of a port that several tenants share.
    """
    for_tenants(connection, [tenant_id] if tenant_id else [])
    rows = connection.execute(_REFUSALS, (tenant_id, hours, REFUSALS_MAX)).fetchall()
    return [
        Counted(
            hour=row["hour"], port=row["port"], feed=row["feed"], reason=row["reason"],
            sender_hmac=row["sender_hmac"] and UUID(row["sender_hmac"]),
            refused=row["refused"], last_at=row["last_at"],
        )
        for row in rows
    ]  # fmt: skip


_COUNT = """
INSERT INTO intake_refusals AS counted
       (hour, port, tenant_id, feed_id, reason, sender_hmac, refused, last_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (hour, port, tenant_id, feed_id, reason, sender_hmac) DO UPDATE SET
    refused = counted.refused + excluded.refused,
    last_at = greatest(counted.last_at, excluded.last_at)
"""
# Two who sweep at once don't wait for each other, nor for who counts.
_FORGET = """
DELETE FROM intake_refusals WHERE id IN (
    SELECT id FROM intake_refusals WHERE hour < %s ORDER BY hour LIMIT %s
    FOR UPDATE SKIP LOCKED
)
"""
_REFUSALS = """
SELECT hour, intake_refusals.port, feeds.name AS feed, reason, sender_hmac, refused, last_at
FROM intake_refusals LEFT JOIN feeds ON feeds.id = intake_refusals.feed_id
WHERE intake_refusals.tenant_id IS NOT DISTINCT FROM %s::uuid
  AND hour > now() - make_interval(hours => %s + 1)
ORDER BY hour DESC, refused DESC, reason
LIMIT %s
"""
