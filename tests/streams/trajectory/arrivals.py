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
DOUBLED_IN_EVERY_ORDER_MAX = 4  # events; with their doubles 120 orders
DOUBLED_ORDERS = 60  # of more events, for each of them
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
    """Each event doubled is the same path (rule T9), and the same rows in every order.

    Of many events in orders by chance; `make chaos PATHS=1` draws ever new ones.
    """
    chance = random.Random(len(events))
    for event in events:
        doubled = [*events, double(event, "eeee")]
        twice = path(Fact.of_event(each) for each in doubled)
        for (track, stays), (_, again) in zip(first.tracks, twice.tracks, strict=True):
            assert shape(stays) == shape(again), track
        expected = current(table(arrive(doubled)))
        if len(events) <= DOUBLED_IN_EVERY_ORDER_MAX:
            assert all(ending == expected for ending in endings(doubled))
            continue
        for _ in range(DOUBLED_ORDERS):
            order = arrive(chance.sample(doubled, len(doubled)))
            assert current(table(order, chance.getrandbits(len(events)))) == expected


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


def endings(events: Sequence[Event]) -> Iterator[list[Row]]:
    """What the table says in the end, for every order in which these can come."""
    return map(_now, _states(events))


def _now(state: State) -> list[Row]:
    return current(list(state[1].values()))


def _states(events: Sequence[Event]) -> Iterator[State]:
    """The tables after every order; what orders begin with alike is folded once."""
    numbered = [arrive([event] * len(events)) for event in events]

    def further(left: tuple[int, ...], at: int, state: State) -> Iterator[State]:
        if not left:
            yield state
        for number in left:
            known = _told(state, numbered[number][at])
            yield from further(tuple(each for each in left if each != number), at + 1, known)

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
