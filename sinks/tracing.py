"""Questions about a message's way: its row, its events, what is dead of it, what was derived.

Each is asked on a snapshot that shows one tenant's rows, and answers with a bounded number; one
more than the bound is given where there are more, so that who shows them can say so.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, LiteralString, TypeVar
from uuid import UUID

from psycopg.sql import SQL, Composed, Identifier

from schemas.identity import app_feed
from sinks.database import Row
from sinks.queries import Snapshot

_Kind = TypeVar("_Kind")

MESSAGES_MAX = 10  # of one MSH-10: a feed that reuses one does so without end
EVENTS_MAX = 200  # real messages become a dozen, a batch of results some tens
ROWS_MAX = 200  # of each kind that is derived
# A message and its events are written together; an event's time is later where its stream's last
# one had a later one, by a microsecond, or by as much as a clock went back.
NEAR = timedelta(seconds=1)
MERGES_MAX = 20  # steps from a patient to who they are now


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message as the ledger keeps it: where it was received, when, what it became."""

    tenant_id: str
    feed_id: str
    message_id: str
    topic: str
    partition: int
    offset: int
    received_at: datetime
    recorded_at: datetime
    message_type: str
    outcome: str
    reason: str | None
    mapper_version: int
    events: int
    duplicates: int
    body_sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Became:
    """An event that a message became, without what it says."""

    event_id: str
    event_type: str
    stream_type: str
    stream_id: str
    event_version: int
    person_id: str | None
    occurred_at: datetime
    recorded_at: datetime
    partition: int
    partition_seq: int
    mapper_version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """A dead letter of the message's record, or of one of its events."""

    id: str
    subscription_id: str
    event_id: str | None
    state: str
    cause: str
    reason: str
    created_at: datetime
    waited: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A revision of a stay that was written when an event of the message was folded."""

    point_id: str
    admission_id: str
    track: str
    location: str
    effective_at: datetime
    ended_at: datetime | None
    known_from: datetime
    known_to: datetime | None
    retracted_at: datetime | None
    partition: int
    partition_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known now of the evidence that the message told; ``event_id`` told the newest."""

    evidence_id: str
    event_id: str
    kind: str
    state: str
    performed_at: datetime
    recorded_at: datetime
    versions: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What is known now of a task that the message told, or that its evidence counts for."""

    task_id: str
    status: str
    revision: int
    judged_at: datetime
    partition: int | None
    partition_seq: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a command."""

    command_id: str
    command_type: str
    outcome: str
    rule: str | None
    recorded_at: datetime
    partition: int
    partition_seq: int


def by_control(snapshot: Snapshot, tenant_id: UUID, hashes: Collection[UUID]) -> list[Message]:
    """The messages of these keyed hashes of an MSH-10, the newest first."""
    values = {"tenant": tenant_id, "hashes": list(hashes), "limit": MESSAGES_MAX + 1}
    return _all(Message, snapshot.execute(_columns(_BY_CONTROL, Message), values))


def by_id(snapshot: Snapshot, tenant_id: UUID, asked: UUID) -> list[Message]:
    """The message of this id, or the one that the event of this id comes from; none, or one."""
    values = {"tenant": tenant_id, "asked": asked, "apps": app_feed(tenant_id)}
    return _all(Message, snapshot.execute(_columns(_BY_ID, Message), values))


def events(snapshot: Snapshot, message: Message) -> list[Became]:
    """The events of a message, in the order of their partitions.

    Looked for where they nearly always are, by the index of times; and where fewer stand there
    than the ledger counted, in all that came later. So no index of their own is to be kept, but of
    what came when the message was mapped anew.
    """
    values = {
        "tenant": message.tenant_id, "message": message.message_id, "feed": message.feed_id,
        "since": message.recorded_at, "limit": EVENTS_MAX + 1,
    }  # fmt: skip
    found: list[Became] = []
    for until in (message.recorded_at + NEAR, "infinity"):
        found = _all(Became, snapshot.execute(_EVENTS, {**values, "until": until}))
        if len(found) >= min(message.events, EVENTS_MAX):
            break
    return found


def letters(snapshot: Snapshot, message: Message, of: Sequence[Became]) -> list[Stuck]:
    """The dead letters of the message's record and of these events, the oldest first."""
    values = {
        "topic": message.topic, "partition": message.partition, "offset": message.offset,
        "events": [each.event_id for each in of], "limit": ROWS_MAX + 1,
    }  # fmt: skip
    return _all(Stuck, snapshot.execute(_LETTERS, values))


def points(snapshot: Snapshot, of: Sequence[Became]) -> list[Point]:
    """The revisions of stays that folding these events wrote, by when they were known."""
    values = {
        "partitions": [each.partition for each in of],
        "positions": [each.partition_seq for each in of], "limit": ROWS_MAX + 1,
    }  # fmt: skip
    return _all(Point, snapshot.execute(_columns(_POINTS, Point), values)) if of else []


def evidence(snapshot: Snapshot, of: Sequence[Became]) -> list[Evidence]:
    """What is known of the evidence that these events tell."""
    told = _streams(of, "evidence")
    values = {"evidence": told, "limit": ROWS_MAX + 1}
    return _all(Evidence, snapshot.execute(_EVIDENCE, values)) if told else []


def verdicts(snapshot: Snapshot, of: Sequence[Became]) -> list[Verdict]:
    """What is known of the tasks that these events tell, or that their evidence counts for."""
    tasks, orders, told = (_streams(of, kind) for kind in ("task", "order", "evidence"))
    values = {
        "tasks": tasks, "orders": orders, "evidence": told, "merges": MERGES_MAX,
        "texts": [str(each) for each in told], "limit": ROWS_MAX + 1,
    }  # fmt: skip
    asked = tasks or orders or told
    return _all(Verdict, snapshot.execute(_VERDICTS, values)) if asked else []


def decided(snapshot: Snapshot, message: Message) -> Decided | None:
    """What became of the command that a message is; None where it is none."""
    values = (message.tenant_id, message.message_id)
    found = _all(Decided, snapshot.execute(_columns(_DECIDED, Decided), values))
    return found[0] if found else None


def _streams(of: Sequence[Became], kind: str) -> list[UUID]:
    return sorted({UUID(each.stream_id) for each in of if each.stream_type == kind})


def _columns(statement: LiteralString, kind: Any) -> Composed:  # noqa: ANN401  a class above
    names = SQL(", ").join(Identifier("row", each.name) for each in fields(kind))
    return SQL(statement).format(columns=names)


def _all(kind: type[_Kind], rows: Iterable[Row]) -> list[_Kind]:
    return [kind(**row) for row in rows]


_BY_CONTROL = """
SELECT {columns} FROM messages AS row
WHERE row.tenant_id = %(tenant)s AND row.control_hmac = ANY (%(hashes)s::uuid[])
ORDER BY row.received_at DESC, row.message_id LIMIT %(limit)s
"""
# The feeds stand in the key before the message: with them it is a step along the index.
_BY_ID = """
SELECT {columns} FROM messages AS row
WHERE row.tenant_id = %(tenant)s AND (row.feed_id, row.message_id) IN (
    SELECT feed_id, message_id FROM events WHERE event_id = %(asked)s
    UNION
    SELECT id, %(asked)s FROM feeds
    UNION
    SELECT %(apps)s::uuid, %(asked)s
)
ORDER BY row.received_at LIMIT 1
"""
_EVENTS = """
SELECT event_id, event_type, stream_type, stream_id, event_version, person_id, occurred_at,
       recorded_at, partition, partition_seq,
       coalesce((metadata ->> 'mapper_version')::int, 0) AS mapper_version
FROM events
WHERE feed_id = %(feed)s AND event_id IN (
    SELECT event_id FROM events
    WHERE tenant_id = %(tenant)s AND message_id = %(message)s
      AND created_at >= %(since)s AND created_at <= %(until)s::timestamptz
    UNION ALL
    SELECT event_id FROM events
    WHERE tenant_id = %(tenant)s AND message_id = %(message)s AND metadata ? 'remapped'
)
ORDER BY partition, partition_seq LIMIT %(limit)s
"""
_LETTERS = """
SELECT id, subscription_id, event_id, state, cause, reason, created_at, waited
FROM dead_letters
WHERE subscription_id = 'ledger' AND topic = %(topic)s AND partition = %(partition)s
  AND "offset" = %(offset)s
UNION ALL
SELECT id, subscription_id, event_id, state, cause, reason, created_at, waited
FROM dead_letters
WHERE event_id = ANY (%(events)s::uuid[])
ORDER BY created_at, id LIMIT %(limit)s
"""
_POINTS = """
SELECT {columns} FROM trajectory_points AS row
JOIN unnest(%(partitions)s::smallint[], %(positions)s::bigint[]) AS of (partition, partition_seq)
  ON of.partition = row.partition AND of.partition_seq = row.partition_seq
ORDER BY row.known_from, row.track, row.effective_at, row.id LIMIT %(limit)s
"""
_EVIDENCE = """
SELECT evidence_id, event_id, evidence_kind AS kind, evidence_state AS state, performed_at,
       recorded_at, versions
FROM verification_evidence WHERE evidence_id = ANY (%(evidence)s)
ORDER BY recorded_at, evidence_id LIMIT %(limit)s
"""
# By whose evidence it is, as they are after merges: so the tasks are found by their patient.
_VERDICTS = """
WITH RECURSIVE whose (patient_id, step) AS (
    SELECT patient_id, 0 FROM verification_evidence WHERE evidence_id = ANY (%(evidence)s::uuid[])
    UNION
    SELECT alias.into_patient_id, step + 1
    FROM whose JOIN patient_aliases AS alias ON alias.patient_id = whose.patient_id
    WHERE alias.undone_at IS NULL AND step < %(merges)s
), meant (task_id) AS (
    SELECT unnest(%(tasks)s::uuid[])
    UNION
    SELECT task.task_id FROM verification_orders AS told
    JOIN verification_tasks AS task ON task.patient_id = told.patient_id
    WHERE told.order_id = ANY (%(orders)s::uuid[]) AND task.order_id = told.order_id
    UNION
    SELECT known.task_id FROM whose
    JOIN emr_verifications AS known ON known.patient_id = whose.patient_id
    WHERE EXISTS (
        SELECT FROM jsonb_array_elements(known.evidence) AS one
        WHERE one ->> 'evidence_id' = ANY (%(texts)s)
    )
)
SELECT known.task_id, known.status::text AS status, known.revision, known.judged_at,
       result.partition, result.partition_seq
FROM meant JOIN emr_verifications AS known ON known.task_id = meant.task_id
LEFT JOIN verification_results AS result
       ON result.task_id = known.task_id AND result.revision = known.revision
ORDER BY known.judged_at, known.task_id LIMIT %(limit)s
"""
_DECIDED = """
SELECT {columns} FROM command_results AS row WHERE row.tenant_id = %s AND row.command_id = %s
"""
