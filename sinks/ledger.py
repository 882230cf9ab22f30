"""The ledger's transaction: one inbound batch becomes numbered events, messages and a position.

Lock the subscription, drop what is known, lock the output partitions in rising order and, where
patients are merged, their tenants; load the streams, number, write, move, commit. Three inbound
topics feed one output partition, so only the lock on ``partitions`` makes the order of numbers
the order of commits (measured: numbering under an inbound topic's own lock loses events).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from psycopg import Connection

from schemas import sealing
from schemas.failpoints import hit
from sinks import (
    accounts,
    aggregates,
    aliases,
    breaker,
    darkening,
    dead_letters,
    joins,
    outcomes,
    subject_keys,
    subscriptions,
    tenancy,
    waiting,
)
from sinks.aggregates import Verdict
from sinks.batches import UNIQUE_VIOLATION, bisect, unseen, until_hole
from sinks.database import Database, Refused, Row, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.numbering import Entry, State, number, sift
from sinks.parking import Unfit
from sinks.subscriptions import Held
from sinks.write import write

WIDENINGS_MAX = 3  # then every partition is locked, which always suffices
# As an event is refused whose stream another tenant has, where we see none.
_TAKEN = str(Refused(UNIQUE_VIOLATION, "idx_events_stream"))


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
    with database.transaction() as connection:
        for_tenants(connection, _tenants(batch))
        position = subscriptions.lock(connection, held)
        hit("ledger: locked")
        fresh = _of_the_living(connection, unseen(batch, position))
        if not fresh:
            return position.next_offset
        names = [name for entry in fresh if (name := entry.known_as())]
        new, counts = sift(fresh, outcomes.known(connection, names))
        new, stuck = waiting.behind(connection, held, position, new, counts)
        letters = [entry.letter for entry in new if entry.letter is not None]
        parked_keys = breaker.parking(connection, held, letters, stuck)
        new = write_down(
            connection, held, new, counts,
            topic=topic, line=line, extra=None if everything else extra,
        )  # fmt: skip
        outcomes.count_again(connection, _again(fresh, new))
        if any(entry.letter for entry in new):
            hit("sink: dead letter written")
        subscriptions.move(
            connection,
            held,
            next_offset=fresh[-1].offset + 1,
            last_position=position.last_position,
            counts=counts,
            parked_keys=parked_keys,
        )
        hit("ledger: moved")
    hit("ledger: committed")
    return fresh[-1].offset + 1


def write_down(
    connection: Connection[Row],
    held: Held,
    new: list[Entry],
    counts: dict[str, int],
    *,
    topic: str,
    line: sealing.Key,
    extra: frozenset[int] | None,
) -> list[Entry]:
    """Number the entries and write what they become, under the subscription's lock.

    Locks the partitions that they need and those of ``extra``, or all of them where it is None.
    Returns the entries as they came out, commands decided and erased people darkened; raises
    :class:`Wider`, and :class:`~sinks.parking.Unfit` where one that is released is dead again.
    """
    homes = _homes(connection, new, held.partition)
    wanted = None if extra is None else sorted({*homes.values(), *extra})
    heads = _lock_partitions(connection, topic, wanted)
    told, learned = _told(connection, new)
    if told is not new:
        new, homes = told, _homes(connection, told, held.partition)
    states, now = _states(connection, homes)
    standing = {stream: state.partition for stream, state in states.items()}
    beyond = frozenset({**homes, **standing}.values()) - heads.keys()
    if beyond:
        raise Wider(beyond)
    hit("ledger: loaded")
    new = _decided(connection, new, now, counts)
    for entry in new:
        if entry.letter is not None and entry.stands is not None:  # its letter stands already
            raise unfit(entry.letter)
    subject_keys.erase(connection, [each.erases for each in new if each.erases])
    new = darkening.darken(connection, new, counts)
    numbered = number(new, homes, states, heads, now=now, held=held)
    letters = [entry.letter for entry in new if entry.letter is not None]
    hit("ledger: decided")
    changes = [*dead_letters.changes(held, letters, line), *numbered.changes]
    if numbered.telling:
        changes += aliases.follow(connection, numbered.telling)
    changes += joins.aliases(numbered.joined)
    write(connection, changes)
    accounts.keep(connection, learned, now)
    _move_heads(connection, topic, numbered.heads)
    for partition in numbered.heads:
        connection.execute("SELECT pg_notify('wardtrail_events', %s)", (str(partition),))
    if any(entry.verdict or entry.asked for entry in new):
        connection.execute("NOTIFY wardtrail_commands")
    connection.execute("NOTIFY wardtrail_messages")  # who answers by the outcome waits for it
    hit("ledger: written")
    return new


def unfit(letter: DeadLetter) -> Unfit:
    """What a letter says of a record that is dead again."""
    return Unfit(stage=letter.stage, cause=letter.cause, reason=letter.reason)


def _of_the_living(connection: Connection[Row], entries: Sequence[Entry]) -> Sequence[Entry]:
    """The entries, those of a deleted tenant bare: they're passed as ignored and leave nothing.

    Asked under the subscription's lock, which a deletion waits for: see :mod:`sinks.lifecycle`.
    """
    gone = tenancy.gone(connection, _tenants(entries))
    if not gone:
        return entries
    return [Entry(offset=entry.offset) if _tenants([entry]) & gone else entry for entry in entries]


def _told(
    connection: Connection[Row], entries: list[Entry]
) -> tuple[list[Entry], Sequence[accounts.Visit]]:
    """The entries with what they make other streams be told, and the accounts' visits learned.

    The very same list, where that is nothing.
    """
    aliases.lock(connection, _merging(entries))
    learned: Sequence[accounts.Visit] = ()
    followed = accounts.follow(connection, [(entry.events, entry.visits) for entry in entries])
    if followed is not None:
        rows, learned = followed
        entries = _with(entries, rows)
    moved = joins.follow(connection, [(entry.events, entry.keys) for entry in entries])
    return (entries if moved is None else _with(entries, moved)), learned


def _decided(
    connection: Connection[Row], entries: list[Entry], now: datetime, counts: dict[str, int]
) -> list[Entry]:
    """The entries with their commands decided, and what became of these counted."""
    commands = [entry.command for entry in entries if entry.command is not None]
    if not commands:
        return entries
    verdicts = iter(aggregates.decide(connection, commands, now))
    decided = []
    for entry in entries:
        if entry.command is not None:
            entry = _judged(entry, next(verdicts))
            assert entry.message is not None, "a command is a message too"
            counts[entry.message["outcome"]] += 1
        decided.append(entry)
    return decided


def _judged(entry: Entry, verdict: Verdict) -> Entry:
    if verdict.failed is not None:
        # The type only: an exception's text may quote what was asked.
        raised = f"decide raised: {type(verdict.failed).__name__}"
        return _dead(entry, _letter(entry, "decide", "decide_failed", raised))
    rejected = verdict.rejected
    outcome, reason = ("ignored", rejected.rule) if rejected else ("applied", None)
    message = {**(entry.message or {}), "outcome": outcome, "reason": reason}
    return replace(entry, message=message, events=verdict.events, verdict=verdict)


def _with(entries: Iterable[Entry], events: Iterable[Sequence[Mapping[str, Any]]]) -> list[Entry]:
    return [replace(one, events=rows) for one, rows in zip(entries, events, strict=True)]


def _again(fresh: Iterable[Entry], new: Iterable[Entry]) -> list[tuple[str, str, str]]:
    """The messages that came again, as often as they did."""
    told = {entry.offset for entry in new}
    names = (entry.known_as() for entry in fresh if entry.offset not in told)
    return [name for name in names if name is not None]


def _homes(connection: Connection[Row], entries: Iterable[Entry], inbound: int) -> dict[str, int]:
    """Each stream's home partition: where it stands, else where its message's person stands.

    A new stream goes to the home of a known stream of the same message, so that a person and
    their visits stay together, or of one that its command names; else to the partition that
    the message came by.
    """
    together = [(_streams(entry), entry.command.near if entry.command else ()) for entry in entries]
    ids = sorted({stream for group, near in together for stream in (*group, *near)})
    rows = connection.execute(_HOMES, (ids,)).fetchall() if ids else []
    homes: dict[str, int] = {row["stream_id"]: row["partition"] for row in rows}
    for group, near in together:
        beside = (homes[stream] for stream in (*group, *near) if stream in homes)
        home = next(beside, inbound)
        for stream in group:
            homes.setdefault(stream, home)
    wanted = {stream for group, _ in together for stream in group}
    return {stream: home for stream, home in homes.items() if stream in wanted}


def _streams(entry: Entry) -> list[str]:
    """The streams that an entry may write to."""
    if entry.command is not None:
        return [entry.command.stream_id]
    return [str(event["stream_id"]) for event in entry.events]


def _lock_partitions(
    connection: Connection[Row], topic: str, wanted: Sequence[int] | None
) -> dict[int, int]:
    """Lock the partitions' rows, ascending; the next ``partition_seq`` of each."""
    rows = connection.execute(_PARTITIONS, (topic, wanted, wanted)).fetchall()
    locked = [row["partition"] for row in rows]
    assert locked == sorted(locked), "locks only rise"
    assert wanted is None or locked == list(wanted), "every output partition has its row"
    return {row["partition"]: row["next_seq"] for row in rows}


def lock_all(connection: Connection[Row], topic: str) -> None:
    """Lock every partition of an output topic, ascending."""
    _lock_partitions(connection, topic, None)


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
    return _letter(entry, "write", "refused", str(error))


def _letter(entry: Entry, stage: str, cause: str, reason: str) -> DeadLetter:
    row = entry.message or {}
    return DeadLetter(
        offset=entry.offset,
        key=entry.key,
        value=entry.value,
        stage=stage,
        cause=cause,
        reason=reason,
        tenant_id=row.get("tenant_id"),
        feed_id=row.get("feed_id"),
        message_id=row.get("message_id"),
        keys=tuple(sorted(waiting.touches(entry))),
        family=entry.family,
    )


def _dead(entry: Entry, letter: DeadLetter) -> Entry:
    command = entry.command
    makes = command is not None and (command.creates or command.founds) and not command.taken
    if command is not None and makes and letter.reason == _TAKEN:
        return replace(entry, command=replace(command, taken=True))
    message = entry.message and {**entry.message, **letter.told}
    return Entry(
        offset=entry.offset, message=message, letter=letter, asked=command or entry.asked,
        about=entry.about | darkening.people(entry.events), names=entry.names,
        said_at=entry.said_at, family=entry.family, stands=entry.stands,
    )  # fmt: skip


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
