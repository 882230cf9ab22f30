"""The one transaction: lock, drop what was seen, load, fold, write, move, commit."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier

from schemas import sealing
from schemas.events import TYPES, Event
from schemas.failpoints import hit
from sinks import dead_letters, subscriptions
from sinks.batches import FoldFailed, bisect, unseen, until_hole
from sinks.changes import Change, columns
from sinks.database import Database, Refused, Row, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.projection import Load, Projection
from sinks.subscriptions import Held, Position
from sinks.write import write

TYPES_TOLD_MAX = 1_000  # each in one log line

logger = logging.getLogger(__name__)


class Recorded(NamedTuple):
    """A record of ``clinical.events.v1``: its event, or why it can't be read."""

    offset: int
    key: bytes | None
    value: bytes | None
    event: Event | None
    undecodable: str | None = None


class Gap(Exception):  # noqa: N818  named for what is wrong
    """``partition_seq`` jumps: events are missing from the log. Stop and look."""


class TypeUnknown(Exception):  # noqa: N818  named for what is wrong
    """An event of a type that this release doesn't know, in a projection that mustn't skip one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """What the fresh records of a batch are: to fold by stream, counted, or dead."""

    streams: dict[str, list[Event]]
    letters: list[DeadLetter]
    counts: dict[str, int]
    last_position: int
    next_offset: int


def apply(
    database: Database,
    projection: Projection,
    held: Held,
    batch: Sequence[Recorded],
    *,
    line: sealing.Key,
) -> int:
    """Apply one partition's records in order, each exactly once; return the next offset.

    Rows and position commit together or not at all: a redelivered record finds the position
    already past it, a missing one stops the line. Raises :class:`~sinks.subscriptions.Stale`,
    :class:`~sinks.subscriptions.Hole`, :class:`Gap`, :class:`~sinks.database.DatabaseAway`.
    A record that the database or the fold refuses is found by halving the batch and becomes
    a dead letter; what stands before and after it is applied.
    """
    whole, hole = until_hole(batch)

    def part(records: Sequence[Recorded], condemned: DeadLetter | None) -> int:
        return _apply(database, projection, held, records, condemned=condemned, line=line)

    reached = bisect(whole, part, condemn=_condemn)
    if hole is not None:
        raise hole
    return reached


def _apply(
    database: Database,
    projection: Projection,
    held: Held,
    batch: Sequence[Recorded],
    *,
    condemned: DeadLetter | None,
    line: sealing.Key,
) -> int:
    with database.connection() as connection:
        with connection.transaction():
            for_tenants(connection, _tenants(batch, condemned))
            position = subscriptions.lock(connection, held)
            hit("sink: locked")
            fresh = unseen(batch, position)
            if not fresh:
                return position.next_offset
            work = sort(projection, held, fresh, position, condemned)
            rows = load(connection, projection, list(work.streams))
            hit("sink: loaded")
            changes = list(fold(projection, work.streams, rows))
            hit("sink: folded")
            write(connection, [*dead_letters.changes(held, work.letters, line), *changes])
            if work.letters:
                hit("sink: dead letter written")
            hit("sink: written")
            subscriptions.move(
                connection,
                held,
                next_offset=work.next_offset,
                last_position=work.last_position,
                counts=work.counts,
            )
            if projection.notify is not None and work.streams:
                connection.execute(
                    "SELECT pg_notify(%s, %s)", (projection.notify, str(held.partition))
                )
            hit("sink: moved")
        hit("sink: committed")
    return work.next_offset


def sort(
    projection: Projection,
    held: Held,
    fresh: Sequence[Recorded],
    position: Position,
    condemned: DeadLetter | None,
) -> Sorted:
    """Tell what each record is; raise :class:`Gap` where ``partition_seq`` jumps.

    Raises :class:`TypeUnknown` where the projection's policy is to stop at such an event.
    """
    streams: dict[str, list[Event]] = {}
    letters = [condemned] if condemned else []
    counts = dict.fromkeys(subscriptions.OUTCOMES, 0)
    counts["dead"] = len(letters)
    last = position.last_position
    reads = projection.reads
    for record in fresh:
        event = record.event
        if event is None:
            counts["dead"] += 1
            letters.append(_unreadable(record))
            continue
        seq = event["partition_seq"]
        if seq <= last:
            counts["duplicate"] += 1
            continue
        if seq != last + 1:
            raise Gap(f"{held.name} at offset {record.offset}: expected {last + 1}, got: {seq}")
        last = seq
        if condemned is not None and record.offset == condemned.offset:
            continue
        if event["event_type"] in reads:
            counts["applied"] += 1
            streams.setdefault(event["stream_id"], []).append(event)
            continue
        counts["ignored"] += 1
        if event["event_type"] not in TYPES:
            _unknown(projection, held, event)
    return Sorted(
        streams=streams, letters=letters, counts=counts, last_position=last,
        next_offset=fresh[-1].offset + 1,
    )  # fmt: skip


def _unknown(projection: Projection, held: Held, event: Event) -> None:
    """Skip an event of a type that we don't know, or stop, as the projection declares."""
    if projection.unknown == "stop":
        raise TypeUnknown(
            f"{held.name} stops at position {event['partition_seq']} (hint: a newer release"
            f" knows it), event type: {event['event_type']}"
        )
    _tell_skipped(projection.name, event["event_type"])


@lru_cache(maxsize=TYPES_TOLD_MAX)
def _tell_skipped(projection: str, event_type: str) -> None:
    logger.warning(
        "%s skips events that this release doesn't know, type: %s", projection, event_type
    )


def load(
    connection: Connection[Row], projection: Projection, streams: Sequence[str]
) -> dict[str, dict[str, list[Row]]]:
    """The rows that the folds need: by table name, then by stream."""
    loaded: dict[str, dict[str, list[Row]]] = {}
    for wanted in projection.loads:
        by_stream = loaded.setdefault(wanted.table.name, {})
        if streams:
            for row in connection.execute(_select(wanted), (list(streams),)):
                by_stream.setdefault(row[wanted.by], []).append(row)
    return loaded


def fold(
    projection: Projection,
    streams: dict[str, list[Event]],
    rows: dict[str, dict[str, list[Row]]],
) -> Iterator[Change]:
    """Fold each stream's events; an exception there is :class:`FoldFailed`."""
    for stream, happened in streams.items():
        own = {table: by_stream.get(stream, []) for table, by_stream in rows.items()}
        try:
            changes = projection.fold(happened, own)
        except MemoryError:
            raise  # the machine's trouble, and no record's fault
        except Exception as error:
            raise FoldFailed(error) from error
        yield from changes


@cache
def _select(wanted: Load) -> Composed:
    names = SQL(", ").join(map(Identifier, columns(wanted.table)))
    return SQL("SELECT {} FROM {} WHERE {} = ANY(%s::uuid[]) AND {} ORDER BY {}").format(
        names,
        Identifier(wanted.table.name),
        Identifier(wanted.by),
        SQL(wanted.where),
        SQL(", ").join(Identifier(column.name) for column in wanted.table.primary_key.columns),
    )


def _tenants(batch: Sequence[Recorded], condemned: DeadLetter | None) -> set[str]:
    if condemned is not None:  # alone in its batch, and its event may name no tenant at all
        return {str(condemned.tenant_id)} if condemned.tenant_id else set()
    return {record.event["tenant_id"] for record in batch if record.event is not None}


def _unreadable(record: Recorded) -> DeadLetter:
    return DeadLetter(
        offset=record.offset,
        key=record.key,
        value=record.value,
        stage="decode",
        cause="undecodable",
        reason=record.undecodable or "unreadable record",
    )


def _condemn(record: Recorded, error: Exception) -> DeadLetter:
    event = record.event
    assert event is not None, "an unreadable record is dead before anything is written"
    return DeadLetter(
        offset=record.offset,
        key=record.key,
        value=record.value,
        stage="write" if isinstance(error, Refused) else "fold",
        cause="refused" if isinstance(error, Refused) else "fold_failed",
        reason=str(error),
        tenant_id=_id(event["tenant_id"]),
        feed_id=_id(event["feed_id"]),
        message_id=_id(event["message_id"]),
        event_id=_id(event["event_id"]),
    )


def _id(text: str) -> UUID | None:
    """An id out of a record, which may hold any text where an id belongs."""
    try:
        return UUID(text)
    except ValueError:
        return None
