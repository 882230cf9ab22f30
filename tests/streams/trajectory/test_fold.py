"""The fold: points and their revisions, the same whatever the order and the batches."""

import itertools
import random

import pytest

from schemas.events import Event
from sinks.changes import Put, Row
from sinks.tables import trajectory_points
from streams.trajectory import PROJECTION
from tests.streams.trajectory.visits import Tables, adt, arrive, batches, seconds, without

A01 = adt("A01", "08:00", "W1^R^1")
TO_B = adt("A02", "10:00", "W2^R^1", prior="W1^R^1")
TO_C = adt("A02", "11:00", "W3^R^1", prior="W2^R^1")
TO_D = adt("A02", "12:00", "W4^R^1", prior="W3^R^1")
TO_A = adt("A02", "13:00", "W1^R^1", prior="W4^R^1")
A03 = adt("A03", "15:00", "W1^R^1")
A11 = adt("A11", "08:00", "W1^R^1", reported="08:30")
A12 = adt("A12", "10:00", "W1^R^1", prior="W2^R^1", reported="10:20")
A12_VAGUE = adt("A12", "10:20", "W1^R^1", prior="W2^R^1", by="EVN-2")
A13 = adt("A13", "15:00", "W9^R^1", reported="15:30")


def double(event: Event, **changed: object) -> Event:
    """The same said again in another message."""
    return Event(**{**event, "event_id": event["event_id"][:-4] + "dddd", **changed})


# The suites of UCLH Emap, each in every order (rule T12).
SUITES = {
    "moves": [A01, TO_B, TO_C, TO_D, TO_A, A03],
    "cancel admit": [A01, A11, double(A11), adt("A01", "09:00", "W2^R^1")],
    "cancel admit without its time": [
        A01, adt("A11", "08:30", "W1^R^1", by="EVN-2"), adt("A01", "09:00", "W2^R^1"), TO_C,
    ],
    "cancel discharge": [A01, TO_B, adt("A03", "15:00"), A13, double(A13),
                         adt("A03", "18:00", "W9^R^1")],
    "cancel transfer": [A01, TO_B, A12, double(A12), adt("A02", "11:00", "W3^R^1")],
    "cancel transfer without its time": [A01, TO_B, A12_VAGUE, double(A12_VAGUE), TO_C, A03],
    "duplicate simple": [A01, double(A01), TO_B, double(TO_B), A03, double(A03)],
    "missing moves": [A01, TO_C, TO_A, A03, adt("A08", "14:00", "W7^R^1")],
    "one instant": [A01, TO_B, adt("A02", "10:00", "W3^R^1", prior="W2^R^1", reported="10:00"),
                    adt("A03", "10:00"), adt("A13", "10:00", "W3^R^1", reported="10:00")],
}  # fmt: skip
HISTORY = ("id", "known_from", "known_to", "partition_seq")


def table(arrived: list[Event], cuts: int = 0) -> list[Row]:
    """All revisions of the points after these events, in these batches."""
    tables = Tables(PROJECTION)
    for batch in batches(arrived, cuts):
        tables.apply(batch)
    return list(tables.table("trajectory_points").values())


def current(rows: list[Row]) -> list[Row]:
    """What the table says now of stays, without when it came to know."""
    standing = [row for row in rows if row["known_to"] is None and row["retracted_at"] is None]
    standing.sort(key=lambda row: row["effective_at"])
    return [without(row, *HISTORY) for row in standing]


@pytest.mark.parametrize("name", SUITES)
def test_t12_every_order_gives_the_same_points(name):
    expected = current(table(arrive(SUITES[name])))
    for order in itertools.permutations(SUITES[name]):
        assert current(table(arrive(order))) == expected


def test_t12_a_whole_journey_gives_the_same_points_in_every_order():
    journey = [A01, TO_B, TO_C, TO_D, TO_A, double(TO_A), A03]
    expected = current(table(arrive(journey)))
    assert [row["location"][:2] for row in expected] == ["W1", "W2", "W3", "W4", "W1"]
    for order in itertools.permutations(journey):
        assert current(table(arrive(order))) == expected


@pytest.mark.parametrize("name", SUITES)
def test_every_split_into_batches_writes_the_same_rows(name):
    events = list(SUITES[name])
    for seed in range(10):
        random.Random(seed).shuffle(events)
        arrived = arrive(events)
        whole = table(arrived)
        for cuts in range(1, 1 << (len(events) - 1)):
            assert table(arrived, cuts) == whole


@pytest.mark.parametrize("name", SUITES)
def test_the_history_of_what_was_known_is_the_fold_of_every_prefix(name):
    events = list(SUITES[name])
    for seed in range(20):
        random.Random(seed).shuffle(events)
        arrived = arrive(events)
        rows = table(arrived)
        for count, event in enumerate(arrived, start=1):
            at = seconds(event)
            known = [
                {**row, "known_to": None}
                for row in rows
                if row["known_from"] <= at and (row["known_to"] is None or row["known_to"] > at)
            ]
            assert current(known) == current(table(arrived[:count]))


def test_a_changed_end_is_the_same_point_at_a_higher_revision():
    rows = table(arrive([A01, A03]))
    assert len({row["point_id"] for row in rows}) == 1
    old, new = sorted(rows, key=lambda row: row["partition_seq"])
    assert (old["ended_at"], old["known_to"]) == (None, new["known_from"])
    assert (new["ended_at"] is not None, new["known_to"]) == (True, None)
    assert old["id"] != new["id"]


def test_a_retracted_point_stays_and_comes_back_at_a_higher_revision():
    anew = adt("A01", "08:00", "W1^R^1", reported="09:00")
    rows = sorted(table(arrive([A01, A11, anew])), key=lambda row: row["partition_seq"])
    assert len({row["point_id"] for row in rows}) == 1
    assert [row["retracted_at"] for row in rows] == [None, rows[1]["known_from"], None]
    assert [row["known_to"] is None for row in rows] == [False, False, True]


def test_a_fact_that_changes_nothing_writes_only_itself():
    tables = Tables(PROJECTION)
    arrived = arrive([A01, double(A01), adt("A08", "09:00", "W7^R^1")])
    tables.apply(arrived[:1])
    assert [change.table.name for change in tables.apply(arrived[1:])] == ["trajectory_facts"] * 2
    assert len(tables.table("trajectory_facts")) == 3


def test_an_earlier_revision_is_closed_before_the_next_one_is_written():
    changes = Tables(PROJECTION).apply(arrive([A01, TO_B, A12, A03]))
    open_rows: set[str] = set()
    for change in changes:
        if change.table is trajectory_points:
            assert isinstance(change, Put)
            point_id = change.row["point_id"]
            if change.row["known_to"] is None:
                assert point_id not in open_rows
                open_rows.add(point_id)
            else:
                open_rows.discard(point_id)


def test_a_point_carries_document_000s_fields():
    (row,) = table(arrive([A01]))
    assert row["data"] == {
        "location": "W1^R^1", "bed": "1", "point_of_care": "W1", "room": "R",
        "facility": None, "building": None, "floor": None,
        "effective_at": "2026-03-01T08:00:00+00:00", "ended_at": None,
        "start_inferred": False, "end_inferred": False,
    }  # fmt: skip


def test_known_time_that_does_not_rise_is_our_bug():
    arrived = arrive([A01, TO_B])
    arrived[1]["recorded_at"] = arrived[0]["recorded_at"]
    with pytest.raises(AssertionError, match="known time rises"):
        Tables(PROJECTION).apply(arrived)
