"""The one transaction: lock, drop what was seen, load, fold, write, move, commit."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from typing import NamedTuple
from uuid import UUID

from psycopg import Connection

from schemas import sealing
from schemas.events import TYPES, Event
from schemas.failpoints import hit
from schemas.headers import Place
from sinks import breaker, dead_letters, folding, parking, subscriptions, tenancy
from sinks.batches import bisect, unseen, until_hole
from sinks.database import Database, Row, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.projection import Projection
from sinks.subscriptions import Held, Position
from sinks.write import write

TYPES_TOLD_MAX = 1_000  # each in one log line
BEHIND = "behind"
_BEHIND_SAID = "it waits behind another record of its stream"
TYPE_UNKNOWN = {
    "stage": "fold",
    "cause": "type_unknown",
    "reason": "its type is of a newer release (hint: upgrade, then retry)",
}

logger = logging.getLogger(__name__)


class Recorded(NamedTuple):
    """A record of ``clinical.events.v1``: its event, or why it can't be read.

    Of the event of a newer release's type there is only the envelope. ``place`` is where headers
    say that an unreadable one belongs.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    event: Event | None
    undecodable: str | None = None
    place: Place | None = None


class Gap(Exception):  # noqa: N818  named for what is wrong
    """``partition_seq`` jumps: events are missing from the log. Stop and look."""


class TypeUnknown(Exception):  # noqa: N818  named for what is wrong
    """An event of a type that this release doesn't know, in a projection that mustn't skip one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """What the fresh records of a batch are: to fold by stream, counted, or dead."""

    streams: dict[str, list[Event]]
    letters: list[DeadLetter]  # those that wait too
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
    :class:`~sinks.subscriptions.Hole`, :class:`Gap`, :class:`~sinks.database.DatabaseAway`,
    :class:`~sinks.breaker.BreakerOpen`.
    A record that the database or the fold refuses is found by halving the batch and becomes
    a dead letter; what comes after it in its stream is parked, all else is applied.
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
    with database.transaction() as connection:
        for_tenants(connection, _tenants(batch, condemned))
        position = subscriptions.lock(connection, held)
        hit("sink: locked")
        fresh = unseen(batch, position)
        if not fresh:
            return position.next_offset
        stuck = _stuck(connection, held, fresh) if position.parked_keys else frozenset()
        gone = tenancy.gone(connection, _tenants(fresh, condemned))
        work = sort(projection, held, fresh, position, condemned, stuck=stuck, gone=gone)
        changes = list(folding.folded(connection, projection, held, work.streams))
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
            parked_keys=breaker.parking(connection, held, work.letters, stuck),
        )
        if projection.notify is not None and work.streams:
            connection.execute("SELECT pg_notify(%s, %s)", (projection.notify, str(held.partition)))
        hit("sink: moved")
    hit("sink: committed")
    return work.next_offset


def sort(
    projection: Projection,
    held: Held,
    fresh: Sequence[Recorded],
    position: Position,
    condemned: DeadLetter | None,
    *,
    stuck: frozenset[str] = frozenset(),
    gone: Collection[str] = (),
) -> Sorted:
    """Tell what each record is; raise :class:`Gap` where ``partition_seq`` jumps.

    Records of streams that are ``stuck``, and those behind one that can't be processed, wait.
    Events of tenants that are ``gone`` are passed as ignored and leave nothing. Raises
    :class:`TypeUnknown` where the projection's policy is to stop at such an event.
    """
    streams: dict[str, list[Event]] = {}
    if condemned is not None and str(condemned.tenant_id) in gone:
        condemned = None
    letters = [condemned] if condemned else []
    counts = dict.fromkeys(subscriptions.OUTCOMES, 0)
    counts["dead"] = len(letters)
    last = position.last_position
    reads = projection.reads
    parked = {*stuck, *(condemned.keys if condemned else ())}
    for record in fresh:
        event = record.event
        seq = event["partition_seq"] if event is not None else _told(record)
        if seq is not None:
            if seq <= last:
                counts["duplicate"] += 1
                continue
            if seq != last + 1:
                raise Gap(
                    f"{held.name} at offset {record.offset}: events are missing (hint: wardtrail"
                    f" rebuild {projection.name}), expected {last + 1}, got: {seq}"
                )
            last = seq
        if condemned is not None and record.offset == condemned.offset:
            continue
        passed = gone and _tenant(record) in gone
        if (
            event is not None
            and not passed
            and event["event_type"] in reads
            and (not parked or event["stream_id"] not in parked)
        ):
            counts["applied"] += 1
            streams.setdefault(event["stream_id"], []).append(event)
            continue
        letter = None if passed else _kept(projection, held, record)
        if letter is None:
            counts["ignored"] += 1
            continue
        if not parked.isdisjoint(letter.keys):
            letter = replace(letter, state="parked", cause=BEHIND, reason=_BEHIND_SAID)
        parked.update(letter.keys)
        counts[letter.state] += 1
        letters.append(letter)
    return Sorted(
        streams=streams, letters=letters, counts=counts, last_position=last,
        next_offset=fresh[-1].offset + 1,
    )  # fmt: skip


def _kept(projection: Projection, held: Held, record: Recorded) -> DeadLetter | None:
    """The letter that a record is, if it isn't folded; None where it is ignored."""
    if record.event is None:
        return _unreadable(record)
    if record.event["event_type"] in projection.reads:
        return _letter(record, stage="fold", cause=BEHIND, reason=_BEHIND_SAID)
    if skips(projection, held, record.event):
        return None
    return _letter(record, **TYPE_UNKNOWN)


def _told(record: Recorded) -> int | None:
    return None if record.place is None else record.place.position


def _tenant(record: Recorded) -> str | None:
    """Whose record it is: of one that can't be read, what its headers say."""
    if record.event is not None:
        return record.event["tenant_id"]
    return None if record.place is None else record.place.tenant_id


def _stuck(connection: Connection[Row], held: Held, fresh: Sequence[Recorded]) -> frozenset[str]:
    """The streams among the records' that are parked."""
    streams = {record.event["stream_id"] for record in fresh if record.event is not None}
    streams.update(record.place.stream_id for record in fresh if record.place is not None)
    return parking.blocked(connection, held, [each for each in streams if _id(each)])


def skips(projection: Projection, held: Held, event: Event) -> bool:
    """Whether an event that the projection doesn't read is passed; else its stream is parked.

    One of an unknown type concerns who reads others of that kind of stream, and there it is
    passed, parked, or stops the partition, as the projection declares.
    """
    if event["event_type"] in TYPES:
        return True
    if event["stream_type"] not in _stream_types(projection.reads):
        return True
    if projection.unknown == "stop":
        raise TypeUnknown(
            f"{held.name} stops at position {event['partition_seq']} (hint: a newer release"
            f" knows it), event type: {event['event_type']}"
        )
    if projection.unknown == "skip":
        _tell_skipped(projection.name, event["event_type"])
        return True
    return False


@cache
def _stream_types(reads: frozenset[str]) -> frozenset[str]:
    return frozenset(TYPES[name].stream_type for name in reads if name in TYPES)


@lru_cache(maxsize=TYPES_TOLD_MAX)
def _tell_skipped(projection: str, event_type: str) -> None:
    logger.warning(
        "%s skips events that this release doesn't know, type: %s", projection, event_type
    )


def _tenants(batch: Sequence[Recorded], condemned: DeadLetter | None) -> set[str]:
    if condemned is not None:  # alone in its batch, and its event may name no tenant at all
        return {str(condemned.tenant_id)} if condemned.tenant_id else set()
    return {
        *(record.event["tenant_id"] for record in batch if record.event is not None),
        *(record.place.tenant_id for record in batch if record.place is not None),
    }


def _unreadable(record: Recorded) -> DeadLetter:
    place = record.place
    return DeadLetter(
        offset=record.offset,
        key=record.key,
        value=record.value,
        stage="decode",
        cause="undecodable",
        reason=record.undecodable or "unreadable record",
        tenant_id=None if place is None else UUID(place.tenant_id),
        keys=() if place is None else (place.stream_id,),
        position=None if place is None else place.position,
    )


def _condemn(record: Recorded, error: Exception) -> DeadLetter:
    found = parking.unfit(error)
    return _letter(record, stage=found.stage, cause=found.cause, reason=str(found))


def _letter(record: Recorded, *, stage: str, cause: str, reason: str) -> DeadLetter:
    event = record.event
    assert event is not None, "an unreadable record is dead before anything is written"
    return DeadLetter(
        offset=record.offset,
        key=record.key,
        value=record.value,
        stage=stage,
        cause=cause,
        reason=reason,
        tenant_id=_id(event["tenant_id"]),
        feed_id=_id(event["feed_id"]),
        message_id=_id(event["message_id"]),
        event_id=_id(event["event_id"]),
        keys=(event["stream_id"],) if _id(event["stream_id"]) else (),
        position=event["partition_seq"],
    )


def _id(text: str) -> UUID | None:
    """An id out of a record, which may hold any text where an id belongs."""
    try:
        return UUID(text)
    except ValueError:
        return None
