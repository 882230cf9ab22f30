"""Every order in which a visit's events can come, through the fold and the rows it writes."""

import random
from collections.abc import Iterator, Sequence

from schemas.events import Event
from sinks.changes import Row
from sinks.tables import trajectory_facts, trajectory_points
from streams.trajectory import PROJECTION
from streams.trajectory.facts import UPDATED, Fact
from streams.trajectory.path import Path, path
from tests.streams.trajectory.visits import Tables, arrive, batches, double, shape, without

ALL_MAX = 7  # events in every order: 5,040 of them, two seconds
DOUBLED_ANYWHERE_MAX = 4  # events whose doubles come anywhere; of more next to them, and last
HISTORY = ("id", "known_from", "known_to", "partition_seq")

State = tuple[list[Row], dict[str, Row]]  # the facts, and the current points by id


def found(*events: Event) -> Path:
    """The path, whose rows are the same in every order, with every double, in all batches."""
    first = path(Fact.of_event(event) for event in events)
    assert len(events) <= ALL_MAX, "more have too many orders"
    expected = current(table(arrive(events)))
    assert all(ending == expected for ending in endings(events))
    doubles(events, first)
    order = random.Random(len(events)).sample(events, len(events))
    whole = table(arrive(order))
    assert all(table(arrive(order), cuts) == whole for cuts in range(1, 1 << len(events) >> 1))
    return first


def doubles(events: Sequence[Event], first: Path) -> None:
    """Each event doubled is the same path (rule T9), and the same rows in every order."""
    expected = []
    for number, event in enumerate(events):
        doubled = [*events, double(event, "eeee")]
        twice = path(Fact.of_event(each) for each in doubled)
        for (track, stays), (_, again) in zip(first.tracks, twice.tracks, strict=True):
            assert shape(stays) == shape(again), track
        expected.append(current(table(arrive(doubled))))
        if len(events) <= DOUBLED_ANYWHERE_MAX:
            assert all(ending == expected[-1] for ending in endings(doubled))
        else:
            assert all(ending == expected[-1] for ending in endings(events, twice=number))
    if len(events) > DOUBLED_ANYWHERE_MAX:
        for state in _states(events):
            for event, rows in zip(events, expected, strict=True):
                last = arrive([*events, double(event, "eeee")])[-1]
                assert _now(_told(state, last)) == rows


def table(arrived: Sequence[Event], cuts: int = 0) -> list[Row]:
    """All revisions of the points after these events, in these batches."""
    tables = Tables(PROJECTION)
    for batch in batches(arrived, cuts):
        tables.apply(batch)
    return list(tables.table("trajectory_points").values())


def current(rows: Sequence[Row]) -> list[Row]:
    """What the table says now of stays, without when it came to know."""
    standing = [row for row in rows if row["known_to"] is None and row["retracted_at"] is None]
    standing.sort(key=lambda row: (row["track"], row["effective_at"]))
    return [without(row, *HISTORY) for row in standing]


def endings(events: Sequence[Event], *, twice: int | None = None) -> Iterator[list[Row]]:
    """What the table says in the end, for every order in which these can come.

    The event number ``twice`` is followed by its double.
    """
    return map(_now, _states(events, twice))


def _now(state: State) -> list[Row]:
    return current(list(state[1].values()))


def _states(events: Sequence[Event], twice: int | None = None) -> Iterator[State]:
    """The tables after every order; what orders begin with alike is folded once."""
    length = len(events) + (twice is not None)
    numbered = [arrive([event] * length) for event in events]
    again = arrive([double(events[twice], "eeee")] * length) if twice is not None else []

    def further(left: tuple[int, ...], at: int, state: State) -> Iterator[State]:
        if not left:
            yield state
        for number in left:
            known, then = _told(state, numbered[number][at]), at + 1
            if number == twice:
                known, then = _told(known, again[then]), then + 1
            yield from further(tuple(each for each in left if each != number), then, known)

    return further(tuple(range(len(events))), 0, ([], {}))


def _told(state: State, event: Event) -> State:
    """The tables after one more event."""
    facts, points = state
    rows = {"trajectory_facts": facts, "trajectory_points": list(points.values())}
    facts, points = list(facts), dict(points)
    for change in PROJECTION.fold([event], rows):
        if change.table is trajectory_facts and change.row["event_type"] != UPDATED:
            facts.append(change.row)
        elif change.table is trajectory_points and change.row["known_to"] is None:
            points[change.row["point_id"]] = change.row
    return facts, points
