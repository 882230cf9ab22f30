"""What an inbound record is to become, and the numbers of the events that it becomes."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from schemas import sealing
from sinks import accounts, aggregates, aliases, joins, subscriptions
from sinks.aggregates import Verdict
from sinks.asked import Command, Named
from sinks.changes import Append, Change, Put
from sinks.dead_letters import DeadLetter
from sinks.identities import Name
from sinks.subject_keys import Erased
from sinks.subscriptions import Held
from sinks.tables import events, messages, streams

_TICK = timedelta(microseconds=1)  # known time rises strictly within a stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one inbound record is to become.

    ``key`` and ``value`` are the record's own, for its dead letter. ``message`` is its row of
    ``messages`` without coordinates and time, or None where the record told no message;
    ``events`` are rows of ``events`` that lack only their numbers and ``recorded_at``, in
    order; ``visits`` are those whose accounts it told; ``letter`` says why it is dead. ``keys``
    are the tenant's, where what is told again is to be sealed again. A ``command`` gets its
    ``verdict``, and events by it, in the transaction; ``asked`` is the one that a dead record was.
    ``said_at`` is when the sender says that it was said; ``about`` are people (ids as text) and
    ``names`` gives identifiers of whom it is about beside its events'. It ``erases`` somebody.
    ``family`` is its message type's, and ``touches`` gives the keys under which it would wait
    (:mod:`sinks.waiting`). Of a record that is released, ``stands`` tells whether its row of
    ``messages`` is there.
    """

    offset: int
    key: bytes | None = None
    value: bytes | None = None
    message: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] = ()
    visits: Sequence[accounts.Visit] = ()
    letter: DeadLetter | None = None
    keys: sealing.Keys | None = None
    command: Command | None = None
    verdict: Verdict | None = None
    asked: Named | None = None
    said_at: datetime | None = None
    about: frozenset[str] = frozenset()
    names: Callable[[], Sequence[Name]] | None = field(default=None, repr=False)
    erases: Erased | None = None
    family: str | None = None
    touches: Callable[[], frozenset[str]] | None = field(default=None, repr=False)
    stands: bool | None = None

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
        new.append(entry)
        if entry.command is not None:
            continue  # counted when it's decided
        outcome = "dead" if entry.letter is not None else "ignored"
        if entry.message is not None:
            outcome = entry.message["outcome"]
        counts[outcome] += 1
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
        row: Mapping[str, Any] | None = None
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
        if entry.message is not None and not entry.stands:
            done.changes.append(Append(messages, _placed(entry, held, now)))
        if entry.command is not None and entry.verdict is not None:
            done.changes += entry.verdict.snapshots
            done.changes.append(
                aggregates.result(
                    entry.command, entry.verdict, row, held, offset=entry.offset, now=now
                )
            )
        if entry.asked is not None and entry.letter is not None:
            done.changes.append(
                aggregates.failure(entry.asked, entry.letter, held, offset=entry.offset, now=now)
            )
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
        "cause": None,
        **entry.message,
        "topic": held.topic,
        "partition": held.partition,
        "offset": entry.offset,
        "recorded_at": now,
        "events": len(entry.events),
        "duplicates": 0,
    }
