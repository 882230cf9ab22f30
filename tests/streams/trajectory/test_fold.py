"""The fold: points and their revisions, the same whatever the order and the batches."""

import random
from uuid import UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from sinks.changes import Put, Row
from sinks.tables import trajectory_points
from streams.publications import point_of
from streams.trajectory import PROJECTION
from streams.trajectory.facts import identity
from tests.streams.trajectory.arrivals import current, endings, found, table
from tests.streams.trajectory.test_oracle import any_kind
from tests.streams.trajectory.visits import (
    VISIT,
    Tables,
    adt,
    arrive,
    double,
    movement,
    seconds,
)

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


A09 = adt("A09", "10:30", prior="W2^R^1", temporary_place="X^R^1")
TRANSIT = adt("A09", "10:30", prior="W2^R^1", pending_place="W5^R^1")
A10 = adt("A10", "11:30", "W2^R^1", prior_temporary_place="X^R^1")
AT_E = adt("A10", "11:30", "W5^R^1")
A21 = adt("A21", "10:30", "W2^R^1")
A22 = adt("A22", "12:30", "W2^R^1")
A15 = adt("A15", "09:00", planned_place="W2^R^1")


def moved(trigger: str, at: str, place: str, number: int, **more: object) -> Event:
    return adt(trigger, at, place, movement_id=movement(number), **more)


# The suites of UCLH Emap, each in every order (rule T12).
SUITES = {
    "moves": [A01, TO_B, TO_C, TO_D, TO_A, A03],
    # The one that rule T12 names.
    "moves and a change of class": [A01, TO_B, TO_C, TO_D, TO_A,
                                    adt("A06", "14:00", "W5^R^1", prior="W1^R^1"), A03],
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
    "class changes": [A01, adt("A06", "10:00", "W2^R^1", prior="W1^R^1"),
                      adt("A07", "12:00", "W3^R^1", prior="W2^R^1"), A03],
    "temporary": [A01, TO_B, A09, A10, A03],
    "cancelled departure": [A01, TO_B, A09, adt("A33", "10:30", reported="10:40"), A03],
    "cancelled arrival": [A01, TO_B, A09, A10, adt("A32", "11:30", reported="11:40"), A03],
    "transit": [A01, TO_B, TRANSIT, AT_E, adt("A03", "15:00", "W5^R^1")],
    "cancelled end of a transit": [A01, TO_B, TRANSIT, AT_E,
                                   adt("A32", "11:30", reported="11:40")],
    "swap": [A01, adt("A17", "10:00", "W2^R^1", prior="W1^R^1"),
             adt("A17", "12:00", "W1^R^1", prior="W2^R^1"), A03],
    "leave": [A01, TO_B, A21, adt("A02", "11:00", "W3^R^1", prior="W2^R^1"), A22],
    "cancelled leave": [A01, A21, A22, adt("A52", "10:30", reported="10:40")],
    "cancelled return": [A01, A21, A22, adt("A53", "12:30", reported="12:40"), A03],
    "discharged while away": [A01, TO_B, A09, A03, A13],
    "plans": [A15, A01, TO_B, adt("A15", "10:30", planned_place="W3^R^1"),
              adt("A26", "11:00", planned_place="W3^R^1")],
    "preadmission": [adt("A05", "07:00", planned_place="W1^R^1"), adt("A38", "07:20"),
                     adt("A14", "07:30", planned_place="W2^R^1"), A01],
    "movements": [moved("A01", "08:00", "W1^R^1", 1), moved("A02", "10:00", "W2^R^1", 2),
                  moved("Z99", "09:30", "W3^R^1", 2, reported="11:00"),
                  moved("A12", "09:30", "W1^R^1", 2, reported="12:00")],
    "movements cancelled in turn": [
        moved("A01", "08:00", "W1^R^1", 1), moved("A02", "10:00", "W2^R^1", 2),
        moved("A02", "11:00", "W3^R^1", 3), moved("A12", "11:00", "W2^R^1", 3, reported="11:30"),
        moved("A12", "10:00", "W1^R^1", 2, reported="11:40"),
    ],
    "past movements": [
        moved("A01", "08:00", "W1^R^1", 1), moved("A02", "12:00", "W3^R^1", 3),
        moved("A02", "10:00", "W2^R^1", 2, movement_historic=True, reported="13:00"),
        moved("Z99", "09:00", "W4^R^1", 2, movement_historic=True, reported="14:00"),
        moved("A02", "13:00", "W5^R^1", 5, movement_historic=True, reported="14:00"),
    ],
    "deleted": [A01, TO_B, adt("A23", "11:00", "W2^R^1"),
                adt("A01", "09:00", "W3^R^1", reported="12:00")],
    "joined": [A01, TO_B, A09, adt("A50", "12:00", into_admission_id=str(UUID(int=5)))],
    "given to others": [A01, TO_B, adt("A45", "11:00", patient_id=str(UUID(int=5))),
                        adt("A45", "10:00", patient_id=str(UUID(int=6)), reported="12:00")],
}  # fmt: skip


@pytest.mark.parametrize("name", SUITES)
def test_t9_t12_every_order_with_each_event_doubled_gives_the_same_points(name):
    found(*SUITES[name])


def test_t12_a_whole_journey_gives_the_same_points_in_every_order():
    journey = [A01, TO_B, TO_C, TO_D, TO_A, double(TO_A), A03]
    expected = current(table(arrive(journey)))
    census = [row["location"][:2] for row in expected if row["track"] == "census"]
    assert census == ["W1", "W2", "W3", "W4", "W1"]
    assert all(ending == expected for ending in endings(journey))


def test_t12_a_whole_journey_with_absences_gives_the_same_points_in_every_order():
    journey = [A01, TO_B, A09, A10, adt("A21", "12:00"), adt("A22", "13:00"), A03]
    expected = current(table(arrive(journey)))
    physical = [row["location"][:2] for row in expected if row["track"] == "physical"]
    assert physical == ["W1", "W2", "X^", "W2", "W2"]
    assert all(ending == expected for ending in endings(journey))


@settings(max_examples=150, deadline=None)
@given(st.lists(any_kind(), max_size=12), st.randoms(use_true_random=False), st.integers(0, 2**11))
def test_t12_anything_in_any_order_and_batches_gives_the_same_points(events, chance, cuts):
    events = list({event["event_id"]: event for event in events}.values())
    whole = table(arrive(events))
    shuffled = list(events)
    chance.shuffle(shuffled)
    assert current(table(arrive(shuffled), cuts)) == current(whole)
    assert table(arrive(events), cuts) == whole


@settings(max_examples=80, deadline=None)
@given(st.lists(any_kind(), max_size=10))
def test_what_was_known_of_anything_is_the_fold_of_every_prefix(events):
    arrived = arrive({event["event_id"]: event for event in events}.values())
    rows = table(arrived)
    for count, event in enumerate(arrived, start=1):
        assert current(known_at(rows, event)) == current(table(arrived[:count]))


@pytest.mark.parametrize("name", SUITES)
def test_every_split_into_batches_writes_the_same_rows(name):
    events = list(SUITES[name])
    for seed in range(3):
        random.Random(seed).shuffle(events)
        arrived = arrive(events)
        whole = table(arrived)
        for cuts in range(1, 1 << (len(events) - 1)):
            assert table(arrived, cuts) == whole


@pytest.mark.parametrize("name", SUITES)
def test_the_history_of_what_was_known_is_the_fold_of_every_prefix(name):
    events = list(SUITES[name])
    for seed in range(6):
        random.Random(seed).shuffle(events)
        arrived = arrive(events)
        rows = table(arrived)
        for count, event in enumerate(arrived, start=1):
            assert current(known_at(rows, event)) == current(table(arrived[:count]))


def known_at(rows: list[Row], event: Event) -> list[Row]:
    """The rows as known when the event was recorded."""
    at = seconds(event)
    return [
        {**row, "known_to": None}
        for row in rows
        if row["known_from"] <= at and (row["known_to"] is None or row["known_to"] > at)
    ]


def census(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row["track"] == "census"]


@pytest.mark.parametrize("name", SUITES)
def test_who_keeps_the_highest_revision_of_each_point_has_the_table(name):
    events = list(SUITES[name])
    random.Random(1).shuffle(events)
    rows = table(arrive(events))
    kept: dict[str, dict[str, object]] = {}
    for row in sorted(rows, key=lambda row: row["partition_seq"]):
        published = point_of(row)
        kept[published["point_id"]] = published
    now = [row for row in rows if row["known_to"] is None]
    assert kept == {row["point_id"]: point_of(row) for row in now}
    derived = {"id", "partition", "data", "known_to"}  # what a record needs no field for
    assert all(point_of(row).keys() | derived == row.keys() for row in rows)


def test_a_changed_end_is_the_same_point_at_a_higher_revision():
    rows = census(table(arrive([A01, A03])))
    assert len({row["point_id"] for row in rows}) == 1
    old, new = sorted(rows, key=lambda row: row["partition_seq"])
    assert (old["ended_at"], old["known_to"]) == (None, new["known_from"])
    assert (new["ended_at"] is not None, new["known_to"]) == (True, None)
    assert old["id"] != new["id"]


def test_a_retracted_point_stays_and_comes_back_at_a_higher_revision():
    anew = adt("A01", "08:00", "W1^R^1", reported="09:00")
    rows = sorted(census(table(arrive([A01, A11, anew]))), key=lambda row: row["partition_seq"])
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
    row, physical = table(arrive([A01]))
    assert (row["track"], physical["track"]) == ("census", "physical")
    assert physical["data"] == row["data"]
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


def test_m5_all_points_name_the_patient_whose_visit_it_became():
    other = str(UUID(int=5))
    given_away = adt("A45", "11:00", patient_id=other)
    rows = current(table(arrive([A01, TO_B, given_away, A09])))
    assert {row["patient_id"] for row in rows} == {other}
    assert {row["track"] for row in rows} == {"census", "physical"}


def test_t20_a_point_holds_its_place_apart():
    (row, _) = table(arrive([adt("A01", "08:00", "W1^R^1^N^^^M^2")]))
    parts = ("point_of_care", "room", "bed", "facility", "building", "floor")
    assert [row[name] for name in parts] == ["W1", "R", "1", "N", "M", "2"]


def test_t20_places_that_hold_carets_and_backslashes_are_points_of_their_own():
    texts = ["W\\S\\R^1", "W^R\\S\\1", "W^R^1", "W\\S\\^R", "W^\\S\\R", "W\\^R", "W\\\\S\\R"]
    found = [table(arrive([adt("A01", "08:00", text)])) for text in texts]
    assert len({identity(text) for text in texts}) == len(texts)
    assert len({row["point_id"] for rows in found for row in rows}) == 2 * len(texts)


def test_a_places_point_has_the_id_that_it_always_had():
    row, _ = table(arrive([A01]))
    named = f"{VISIT}/census/2026-03-01T08:00:00+00:00/^^^W1^R^1"
    assert row["point_id"] == str(uuid5(UUID("0d8b5a52-3f0e-5a64-9a3e-5a7c1f6f0c21"), named))
