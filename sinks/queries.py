"""Questions to the database: whole paths, who stands where, positions, backlogs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, LiteralString, TypeAlias
from uuid import UUID

import psycopg
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from schemas import sealing
from schemas.topics import EVENTS
from sinks.database import Row, connect, for_tenants, told
from sinks.questions import ANSWER_MAX
from sinks.questions import AnswerTooLong as AnswerTooLong
from sinks.questions import Contact as Contact
from sinks.questions import Seen as Seen
from sinks.questions import census as census
from sinks.questions import contacts as contacts
from sinks.questions import path as path
from sinks.questions import where as where
from sinks.subscriptions import OUTCOMES
from sinks.tenancy import tenants as tenant_ids

# Undefined table, column, function or schema: the database is older than this program.
_UNMIGRATED = frozenset({"42P01", "42703", "42883", "3F000"})
# A reader of an export may be slow (a pipe, a pager); it still must not hold a snapshot for ever.
EXPORT_IDLE_S = 3_600
EXPORT_ROWS = 2_000  # fetched at a time
AUTHORITIES_MAX = 100
BACKLOG_MAX = 1_000_000  # counted per partition; what is more is as bad

Snapshot: TypeAlias = Connection[Row]
"""A read-only transaction that :func:`as_tenant` or :func:`as_overseer` gave."""


class NotMigrated(Exception):  # noqa: N818  named for what is wrong
    """The database lacks a table that we need."""


class TenantUnknown(Exception):  # noqa: N818  named for what is wrong
    """No tenant, or more than one, has this id, subdomain or name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant as it is called."""

    tenant_id: UUID
    name: str
    subdomain: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One stay of a visit at one place, as known at one revision; ids are UUID texts."""

    point_id: str
    admission_id: str
    patient_id: str
    track: str
    location: str
    effective_at: datetime
    ended_at: datetime | None
    start_inferred: bool
    end_inferred: bool
    fold_version: int
    partition_seq: int
    known_from: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A point with the sealed visit number of the event that began it, and whose that is."""

    point: Point
    event_id: str | None
    person_id: str | None
    visit_number: bytes | None  # an envelope


@dataclass(frozen=True, slots=True, kw_only=True)
class Happened:
    """One entry of a visit's timeline."""

    event_type: str
    occurred_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A subscription's row: how far it is in a partition, whose it is, what became of records."""

    subscription_id: str
    topic: str
    partition: int
    next_offset: int
    last_position: int
    epoch: int
    owner: str | None
    outcomes: Mapping[str, int]
    stopped: str | None = None
    stopped_said: str | None = None
    stopped_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Rows of a partition after a relay's position, and since when the first of them stands."""

    partition: int
    rows: int
    since: datetime | None


@contextmanager
def as_tenant(url: str, tenant_id: UUID) -> Iterator[Snapshot]:
    """One snapshot as ``wt_app``, read only, that shows one tenant's rows, of all departments.

    Raises :class:`~sinks.database.DatabaseAway`, :class:`NotMigrated`.
    """
    with _snapshot(url, name="reader") as connection:
        connection.execute(
            "SELECT set_config('wt.tenant', %s, true),"
            " set_config('wt.all_departments', 'on', true)",
            (str(tenant_id),),
        )
        yield connection


@contextmanager
def as_overseer(url: str) -> Iterator[Snapshot]:
    """One snapshot as ``wt_worker``, read only, that shows the rows of every tenant."""
    with _snapshot(url, name="overseer") as connection:
        for_tenants(connection, tenant_ids(connection))
        yield connection


@contextmanager
def _snapshot(url: str, *, name: str) -> Iterator[Snapshot]:
    with connect(url, name=name) as connection, _known_tables(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection


@contextmanager
def _known_tables() -> Iterator[None]:
    try:
        with told():
            yield
    except psycopg.Error as error:
        if error.sqlstate in _UNMIGRATED:
            raise NotMigrated("the database lacks a table that this program needs") from None
        raise


def tenant(connection: Snapshot, called: str) -> Tenant:
    """The tenant of this id, subdomain or name, for an overseer; :class:`TenantUnknown`."""
    everyone = [
        Tenant(tenant_id=UUID(row["id"]), name=row["name"], subdomain=row["subdomain"])
        for row in connection.execute("SELECT id, name, subdomain FROM tenants ORDER BY id")
    ]
    for names in ("tenant_id", "subdomain", "name"):
        found = [each for each in everyone if str(getattr(each, names)) == called.strip()]
        if len(found) == 1:
            return found[0]
    there = ", ".join(each.subdomain or str(each.tenant_id) for each in everyone[:10])
    raise TenantUnknown(f"no such tenant (there are: {there or 'none'}): {called}")


def behind(connection: Snapshot, subscription_id: str) -> int:
    """How many events of the ledger a projection hasn't folded yet, over all partitions."""
    row = connection.execute(_BEHIND, (subscription_id, EVENTS.name)).fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row["behind"])


def trajectory(
    connection: Snapshot, *, track: str | None = None, known_at: datetime | None = None
) -> Iterator[Exported]:
    """Every stay that the connection may see, by visit, track and time, as it comes."""
    conditions, values = _known(known_at)
    if track is not None:
        conditions.append("point.track = %(track)s")
    statement = SQL(_TRAJECTORY).format(SQL(" AND ".join(conditions)))
    connection.execute(f"SET LOCAL idle_in_transaction_session_timeout = '{EXPORT_IDLE_S}s'")
    with connection.cursor(name="trajectory") as cursor:
        cursor.itersize = EXPORT_ROWS
        cursor.execute(statement, {**values, "track": track})
        for row in cursor:
            sealed = row["visit_number"]
            yield Exported(
                point=_of(Point, row),
                event_id=row["event_id"],
                person_id=row["person_id"],
                visit_number=None if sealed is None else sealing.untext(sealed),
            )


def timeline(connection: Snapshot, admission_id: UUID) -> list[Happened]:
    """What happened to a visit, in order; :class:`AnswerTooLong` over ``ANSWER_MAX`` events.

    A visit whose number was changed goes on as another one, which holds all of it.
    """
    rows = connection.execute(_TIMELINE, (admission_id, ANSWER_MAX + 1)).fetchall()
    if len(rows) > ANSWER_MAX:
        raise AnswerTooLong(f"more rows than an answer may have: {ANSWER_MAX}")
    return [_of(Happened, row) for row in rows]


def visits(connection: Snapshot, among: Collection[UUID]) -> list[UUID]:
    """Those of these ids that are visits we heard of."""
    rows = connection.execute(
        "SELECT stream_id FROM streams WHERE stream_type = 'admission' AND stream_id = ANY(%s)"
        " ORDER BY stream_id",
        (list(among),),
    )
    return [UUID(row["stream_id"]) for row in rows]


def longest(connection: Snapshot, limit: int) -> list[UUID]:
    """The visits that saw the most wards, then the most beds."""
    rows = connection.execute(_LONGEST, (limit,))
    return [UUID(row["admission_id"]) for row in rows]


def authorities(connection: Snapshot) -> list[str]:
    """The assigning authorities that named people so far, at most :data:`AUTHORITIES_MAX`."""
    rows = connection.execute(_AUTHORITIES, {"limit": AUTHORITIES_MAX})
    return [row["authority"] for row in rows]


def standings(connection: Snapshot) -> list[Standing]:
    """Every subscription's row."""
    rows = connection.execute("SELECT * FROM subscriptions ORDER BY 1, 2, 3")
    return [
        _of(Standing, row | {"outcomes": {outcome: row[outcome] for outcome in OUTCOMES}})
        for row in rows
    ]


def backlog(
    connection: Snapshot,
    subscription_id: str,
    *,
    table: str,
    time: str,
    partitions: Sequence[int],
    unnumbered: LiteralString = "false",
) -> list[Backlog]:
    """What a relay of ``table`` still has to publish, by partition, for an overseer.

    ``time`` is the column that says when a row was written; ``unnumbered`` rows wait too.
    """
    waits = SQL(_WAITS).format(unnumbered=SQL(unnumbered))
    statement = SQL(_BACKLOG).format(table=Identifier(table), time=Identifier(time), waits=waits)
    rows = connection.execute(
        statement,
        {
            "subscription": subscription_id,
            "partitions": list(partitions),
            "most": BACKLOG_MAX,
        },
    )
    return [_of(Backlog, row) for row in rows]


def _known(known_at: datetime | None) -> tuple[list[str], dict[str, Any]]:
    """The conditions that choose one revision of each point: the newest, or that of an instant.

    Plain comparisons and no range operator: those aren't leakproof, and would not use an
    index under row-level security.
    """
    if known_at is None:
        return ["point.known_to IS NULL", "point.retracted_at IS NULL"], {}
    return [
        "point.known_from <= %(known_at)s",
        "(point.known_to IS NULL OR point.known_to > %(known_at)s)",
        "point.retracted_at IS NULL",
    ], {"known_at": known_at}


def _of(kind: Any, row: Mapping[str, Any]) -> Any:  # noqa: ANN401  any of the classes above
    return kind(**{each.name: row[each.name] for each in fields(kind)})


_TRAJECTORY = """
SELECT point.*, event.event_id, event.person_id, event.sealed ->> 'visit_number' AS visit_number
FROM trajectory_points AS point
LEFT JOIN events AS event ON event.event_id = point.start_event_id
WHERE {}
ORDER BY point.admission_id, point.track, point.effective_at, point.point_id
"""
_TIMELINE = """
WITH RECURSIVE way (admission_id, step) AS (
    SELECT %s::uuid, 0
    UNION ALL
    SELECT alias.into_admission_id, way.step + 1
    FROM way JOIN admission_aliases AS alias ON alias.admission_id = way.admission_id
) CYCLE admission_id SET ring USING passed
SELECT event_type, occurred_at FROM timeline_events
WHERE admission_id = (SELECT admission_id FROM way WHERE NOT ring ORDER BY step DESC LIMIT 1)
ORDER BY occurred_at, partition_seq, id LIMIT %s
"""
_LONGEST = """
SELECT admission_id FROM trajectory_points
WHERE known_to IS NULL AND retracted_at IS NULL AND track = 'census'
GROUP BY admission_id
ORDER BY count(DISTINCT split_part(location, '^', 1)) DESC, count(*) DESC, admission_id
LIMIT %s
"""
# Steps from one authority to the next along the index, however many identifiers each has.
_AUTHORITIES = """
WITH RECURSIVE step (authority, n) AS (
    (SELECT authority, 1 FROM patient_identifiers ORDER BY authority LIMIT 1)
    UNION ALL
    SELECT (SELECT next.authority FROM patient_identifiers AS next
            WHERE next.authority > step.authority ORDER BY next.authority LIMIT 1), n + 1
    FROM step WHERE step.authority IS NOT NULL AND n < %(limit)s
)
SELECT authority FROM step WHERE authority IS NOT NULL
"""
_WAITS = "(row.partition_seq > coalesce(place.last_position, 0) OR {unnumbered})"
_BACKLOG = """
SELECT place.partition,
    (SELECT count(*) FROM (
        SELECT FROM {table} AS row
        WHERE row.partition = place.partition AND {waits}
        LIMIT %(most)s) AS counted)::int AS rows,
    (SELECT {time} FROM {table} AS row
        WHERE row.partition = place.partition AND {waits}
        ORDER BY row.partition_seq LIMIT 1) AS since
FROM (
    SELECT wanted.partition::smallint AS partition, held.last_position
    FROM unnest(%(partitions)s::int[]) AS wanted (partition)
    LEFT JOIN subscriptions AS held
      ON held.subscription_id = %(subscription)s AND held.partition = wanted.partition
) AS place
ORDER BY place.partition
"""
_BEHIND = """
SELECT coalesce(sum(heads.next_seq - 1 - coalesce(mine.last_position, 0)), 0) AS behind
FROM partitions AS heads
LEFT JOIN subscriptions AS mine
       ON mine.topic = heads.topic AND mine.partition = heads.partition
      AND mine.subscription_id = %s
WHERE heads.topic = %s
"""
