"""The ledger's transaction: one inbound batch becomes numbered events, messages and a position.

Lock the subscription, drop what is known, lock the output partitions in rising order and, where
patients are merged, their tenants; load the streams, number, write, move, commit. Three inbound
topics feed one output partition, so only the lock on ``partitions`` makes the order of numbers
the order of commits (measured: numbering under an inbound topic's own lock loses events).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg import Connection

from schemas import sealing
from schemas.failpoints import hit
from sinks import aliases, dead_letters, joins, subscriptions
from sinks.batches import bisect, unseen, until_hole
from sinks.changes import Append, Change, Put
from sinks.database import Database, Row, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.subscriptions import Held
from sinks.tables import events, messages, streams
from sinks.write import write

WIDENINGS_MAX = 3  # then every partition is locked, which always suffices
_TICK = timedelta(microseconds=1)  # known time rises strictly within a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one inbound record is to become.

    ``key`` and ``value`` are the record's own, for its dead letter. ``message`` is its row of
    ``messages`` without coordinates and time, or None where the record told no message;
    ``events`` are rows of ``events`` that lack only their numbers and ``recorded_at``, in
    order; ``letter`` says why it is dead. ``keys`` are the tenant's, where what is told again
    is to be sealed again.
    """

    offset: int
    key: bytes | None = None
    value: bytes | None = None
    message: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] = ()
    letter: DeadLetter | None = None
    keys: sealing.Keys | None = None

    def known_as(self) -> tuple[str, str, str] | None:
        """Tenant, feed and message id, by which the same message is known again."""
        if self.message is None:
            return None
        row = self.message
        return (str(row["tenant_id"]), str(row["feed_id"]), str(row["message_id"]))


@dataclass(slots=True)
class State:
    """A stream as it stands while events are numbered."""

    partition: int
    version: int
    recorded_at: datetime | None


@dataclass(slots=True, kw_only=True)
class Numbered:
    """The outcome of numbering: rows to write, the partitions' new heads.

    ``telling`` are the events among the rows that tell who is who (:data:`aliases.TELLING`),
    ``joined`` those that say that a visit's number was changed.
    """

    changes: list[Change] = field(default_factory=list)
    heads: dict[int, int] = field(default_factory=dict)
    telling: list[Mapping[str, Any]] = field(default_factory=list)
    joined: list[Mapping[str, Any]] = field(default_factory=list)


class Wider(Exception):  # noqa: N818  it asks, it doesn't fail
    """Further partitions must be locked; the transaction is rolled back and taken again."""

    def __init__(self, partitions: frozenset[int]) -> None:
        super().__init__(f"partitions to lock: {sorted(partitions)}")
        self.partitions = partitions


def append(
    database: Database,
    held: Held,
    batch: Sequence[Entry],
    *,
    topic: str,
    line: sealing.Key,
) -> int:
    """Append one inbound batch to the ledger, each message once; return the next offset.

    ``topic`` is the output topic whose partitions are numbered. Raises as
    :func:`sinks.transaction.apply`; a message that the database refuses is dead-lettered.
    """
    whole, hole = until_hole(batch)

    def part(entries: Sequence[Entry], condemned: DeadLetter | None) -> int:
        if condemned is not None:
            entries = [_dead(entries[0], condemned)]
        return _append(database, held, entries, topic=topic, line=line)

    reached = bisect(whole, part, condemn=_condemn)
    if hole is not None:
        raise hole
    return reached


def ensure_partitions(database: Database, topic: str, partitions: int) -> None:
    """Make the rows whose locks order an output topic's partitions; those there stay."""
    with database.connection() as connection:
        connection.execute(_ENSURE_PARTITIONS, (topic, partitions))


def _append(
    database: Database, held: Held, batch: Sequence[Entry], *, topic: str, line: sealing.Key
) -> int:
    """One attempt after another with a wider set of partitions, at most a few times."""
    extra: frozenset[int] = frozenset()
    for attempt in range(WIDENINGS_MAX + 2):
        everything = attempt > WIDENINGS_MAX
        try:
            return _transact(
                database, held, batch, topic=topic, line=line, extra=extra, everything=everything
            )
        except Wider as wider:
            extra |= wider.partitions
    raise AssertionError("with every partition locked there is none further")


def _transact(
    database: Database,
    held: Held,
    batch: Sequence[Entry],
    *,
    topic: str,
    line: sealing.Key,
    extra: frozenset[int],
    everything: bool,
) -> int:
    with database.connection() as connection:
        with connection.transaction():
            for_tenants(connection, _tenants(batch))
            position = subscriptions.lock(connection, held)
            hit("ledger: locked")
            fresh = unseen(batch, position)
            if not fresh:
                return position.next_offset
            new, counts = sift(fresh, _known(connection, fresh))
            homes = _homes(connection, new, held.partition)
            wanted = None if everything else sorted({*homes.values(), *extra})
            heads = _lock_partitions(connection, topic, wanted)
            aliases.lock(connection, _merging(new))
            moved = joins.follow(connection, [(entry.events, entry.keys) for entry in new])
            if moved is not None:
                new = [replace(one, events=rows) for one, rows in zip(new, moved, strict=True)]
                homes = _homes(connection, new, held.partition)
            states, now = _states(connection, homes)
            standing = {stream: state.partition for stream, state in states.items()}
            beyond = frozenset({**homes, **standing}.values()) - heads.keys()
            if beyond:
                raise Wider(beyond)
            hit("ledger: loaded")
            numbered = number(new, homes, states, heads, now=now, held=held)
            letters = [entry.letter for entry in new if entry.letter is not None]
            hit("ledger: decided")
            changes = [*dead_letters.changes(held, letters, line), *numbered.changes]
            if numbered.telling:
                changes += aliases.follow(connection, numbered.telling)
            changes += joins.aliases(numbered.joined)
            write(connection, changes)
            if letters:
                hit("sink: dead letter written")
            _move_heads(connection, topic, numbered.heads)
            hit("ledger: written")
            subscriptions.move(
                connection,
                held,
                next_offset=fresh[-1].offset + 1,
                last_position=position.last_position,
                counts=counts,
            )
            for partition in numbered.heads:
                connection.execute("SELECT pg_notify('wardtrail_events', %s)", (str(partition),))
            hit("ledger: moved")
        hit("ledger: committed")
    return fresh[-1].offset + 1


def sift(
    fresh: Sequence[Entry], known: Collection[tuple[str, str, str]]
) -> tuple[list[Entry], dict[str, int]]:
    """The entries whose message isn't known yet, and what became of each (invariant 2)."""
    seen = set(known)
    counts = dict.fromkeys(subscriptions.OUTCOMES, 0)
    new = []
    for entry in fresh:
        name = entry.known_as()
        if name is not None and name in seen:
            counts["duplicate"] += 1
            continue
        if name is not None:
            seen.add(name)
        outcome = "dead" if entry.letter is not None else "ignored"
        if entry.message is not None:
            outcome = entry.message["outcome"]
        counts[outcome] += 1
        new.append(entry)
    return new, counts


def number(
    entries: Iterable[Entry],
    homes: Mapping[str, int],
    states: Mapping[str, State],
    heads: Mapping[int, int],
    *,
    now: datetime,
    held: Held,
) -> Numbered:
    """Give each event its version, its place in its home partition, its strictly rising time."""
    done = Numbered()
    current = dict(states)
    touched: dict[str, Mapping[str, Any]] = {}
    next_seq = dict(heads)
    for entry in entries:
        for event in entry.events:
            stream = str(event["stream_id"])
            state = current.setdefault(stream, State(homes[stream], 0, None))
            state.version += 1
            last = state.recorded_at
            state.recorded_at = now if last is None else max(now, last + _TICK)
            seq = next_seq[state.partition]
            next_seq[state.partition] = done.heads[state.partition] = seq + 1
            numbers = {
                "event_version": state.version,
                "recorded_at": state.recorded_at,
                "partition": state.partition,
                "partition_seq": seq,
            }
            row = {**event, **numbers}
            done.changes.append(Append(events, row))
            if row["event_type"] in aliases.TELLING:
                done.telling.append(row)
            if row["event_type"] == joins.JOINED:
                done.joined.append(row)
            touched[stream] = event
        if entry.message is not None:
            done.changes.append(Append(messages, _placed(entry, held, now)))
    for stream, event in touched.items():
        state = current[stream]
        done.changes.append(
            Put(
                streams,
                {
                    "stream_id": stream,
                    "stream_type": event["stream_type"],
                    "tenant_id": event["tenant_id"],
                    "partition": state.partition,
                    "version": state.version,
                    "recorded_at": state.recorded_at,
                },
            )
        )
    return done


def _placed(entry: Entry, held: Held, now: datetime) -> dict[str, Any]:
    assert entry.message is not None, "asked only where there is one"
    return {
        **entry.message,
        "topic": held.topic,
        "partition": held.partition,
        "offset": entry.offset,
        "recorded_at": now,
        "events": len(entry.events),
    }


def _known(connection: Connection[Row], batch: Sequence[Entry]) -> set[tuple[str, str, str]]:
    names = [name for entry in batch if (name := entry.known_as())]
    if not names:
        return set()
    tenants, feeds, ids = zip(*names, strict=True)
    rows = connection.execute(_KNOWN, (list(tenants), list(feeds), list(ids))).fetchall()
    return {(row["tenant_id"], row["feed_id"], row["message_id"]) for row in rows}


def _homes(connection: Connection[Row], entries: Iterable[Entry], inbound: int) -> dict[str, int]:
    """Each stream's home partition: where it stands, else where its message's person stands.

    A new stream goes to the home of a known stream of the same message, so that a person and
    their visits stay together; else to the partition that the message came by.
    """
    together = [[str(event["stream_id"]) for event in entry.events] for entry in entries]
    ids = sorted({stream for group in together for stream in group})
    rows = connection.execute(_HOMES, (ids,)).fetchall() if ids else []
    homes: dict[str, int] = {row["stream_id"]: row["partition"] for row in rows}
    for group in together:
        near = next((homes[stream] for stream in group if stream in homes), inbound)
        for stream in group:
            homes.setdefault(stream, near)
    return homes


def _lock_partitions(
    connection: Connection[Row], topic: str, wanted: Sequence[int] | None
) -> dict[int, int]:
    """Lock the partitions' rows, ascending; the next ``partition_seq`` of each."""
    rows = connection.execute(_PARTITIONS, (topic, wanted, wanted)).fetchall()
    locked = [row["partition"] for row in rows]
    assert locked == sorted(locked), "locks only rise"
    assert wanted is None or locked == list(wanted), "every output partition has its row"
    return {row["partition"]: row["next_seq"] for row in rows}


def _states(
    connection: Connection[Row], homes: Mapping[str, int]
) -> tuple[dict[str, State], datetime]:
    """The streams as they stand now that their partitions are locked, and the time."""
    row = connection.execute("SELECT clock_timestamp() AS now").fetchone()
    assert row is not None, "a clock always answers"
    found = connection.execute(_STATES, (sorted(homes),)).fetchall() if homes else []
    states = {
        each["stream_id"]: State(each["partition"], each["version"], each["recorded_at"])
        for each in found
    }
    return states, row["now"]


def _move_heads(connection: Connection[Row], topic: str, heads: Mapping[int, int]) -> None:
    for partition, next_seq in heads.items():
        connection.execute(_HEAD, (next_seq, topic, partition))


def _merging(entries: Iterable[Entry]) -> set[str]:
    """The tenants in which the entries tell which patients or visits are one."""
    return {
        str(event["tenant_id"])
        for entry in entries
        for event in entry.events
        if event["event_type"] in aliases.TELLING or event["event_type"] == joins.JOINED
    }


def _tenants(batch: Sequence[Entry]) -> set[str]:
    named = {name[0] for entry in batch if (name := entry.known_as())}
    letters = {
        str(entry.letter.tenant_id) for entry in batch if entry.letter and entry.letter.tenant_id
    }
    return named | letters


def _condemn(entry: Entry, error: Exception) -> DeadLetter:
    row = entry.message or {}
    return DeadLetter(
        offset=entry.offset,
        key=entry.key,
        value=entry.value,
        stage="write",
        cause="refused",
        reason=str(error),
        tenant_id=row.get("tenant_id"),
        feed_id=row.get("feed_id"),
        message_id=row.get("message_id"),
    )


def _dead(entry: Entry, letter: DeadLetter) -> Entry:
    message = entry.message and {**entry.message, "outcome": "dead", "reason": letter.reason}
    return Entry(offset=entry.offset, message=message, letter=letter)


_KNOWN = """
SELECT tenant_id, feed_id, message_id FROM messages
WHERE (tenant_id, feed_id, message_id)
   IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]))
"""
_HOMES = "SELECT stream_id, partition FROM streams WHERE stream_id = ANY(%s::uuid[])"
_STATES = """
SELECT stream_id, partition, version, recorded_at FROM streams WHERE stream_id = ANY(%s::uuid[])
"""
_PARTITIONS = """
SELECT partition, next_seq FROM partitions
WHERE topic = %s AND (%s::int[] IS NULL OR partition = ANY(%s::int[]))
ORDER BY partition
FOR UPDATE
"""
_HEAD = "UPDATE partitions SET next_seq = %s WHERE topic = %s AND partition = %s"
_ENSURE_PARTITIONS = """
INSERT INTO partitions (topic, partition)
SELECT %s, n FROM generate_series(0, %s - 1) AS n
ON CONFLICT DO NOTHING
"""
