"""Cancellations and facts whose times name a minute, an hour or a day and no instant (rule T2)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from streams.trajectory.facts import TAKES, Fact, row
from streams.trajectory.path import path
from tests.streams.trajectory.arrivals import found
from tests.streams.trajectory.visits import adt, arrive, double, shape

A01 = adt("A01", "08:00", "A")
TO_B = adt("A02", "10:20:30", "B", prior="A")
TO_C = adt("A02", "11:00", "C", prior="B")
COARSE = [("00:00", "day"), ("00:00", "month"), ("10:00", "hour"), ("10:20", "minute"),
          ("10:20:30", "second"), ("10:20:30", "fraction")]  # fmt: skip


def stays(*events: Event) -> list[str]:
    return shape(found(*events).stays)


@pytest.mark.parametrize(("at", "precision"), COARSE)
def test_t2_a_coarse_time_means_all_that_it_names(at, precision):
    cancel = adt("A12", at, "A", prior="B", reported="12:00", precision=precision)
    result = found(A01, TO_B, cancel)
    assert (shape(result.stays), result.unresolved) == (["A 08:00-"], ())


@pytest.mark.parametrize(
    ("at", "precision"),
    [("10:21", "minute"), ("09:00", "hour"), ("11:00", "hour"), ("10:20:31", "second"),
     ("10:20", "second"), ("10:20:29", "second")],
)  # fmt: skip
def test_t2_a_coarse_time_means_nothing_beside_it(at, precision):
    cancel = adt("A12", at, "A", prior="B", reported="12:00", precision=precision)
    result = found(A01, TO_B, cancel)
    assert shape(result.stays) == ["A 08:00-10:20:30", "B 10:20:30-"]
    assert result.unresolved == (cancel["event_id"],)


@pytest.mark.parametrize(
    ("trigger", "cancel"),
    [("A01", "A11"), ("A04", "A11"), ("A03", "A13"), ("A09", "A33"), ("A10", "A32"),
     ("A21", "A52"), ("A22", "A53")],
)  # fmt: skip
def test_t2_every_cancellation_may_be_coarse(trigger, cancel):
    told = (A01, adt(trigger, "10:20", "A"))
    exact = adt(cancel, "10:20", "A", reported="12:00")
    coarse = adt(cancel, "10:00", "A", reported="12:00", precision="hour")
    assert stays(*told, coarse) == stays(*told, exact)
    assert found(*told, coarse).unresolved == ()


@pytest.mark.parametrize("precision", ["day", "month", "year"])
def test_t2_a_fine_cancellation_takes_back_what_was_told_coarsely(precision):
    moved = adt("A02", "00:00", "B", precision=precision, reported="10:20")
    cancel = adt("A12", "10:20:30", "A", prior="B", reported="12:00")
    result = found(adt("A01", "00:00", "A", precision=precision, reported="08:00"), moved, cancel)
    assert (shape(result.stays), result.unresolved) == (["A 00:00-"], ())


def test_t2_who_says_the_very_same_time_is_meant_before_who_only_may_be():
    coarse = adt("A02", "00:00", "B", reported="10:20", precision="day")
    cancel = adt("A12", "00:00", "A", prior="B", reported="12:00", precision="day")
    before = adt("A01", "00:00", "A", precision="month")
    again = adt("A02", "11:00", "B", prior="A")
    assert stays(before, coarse, cancel, again) == ["A 00:00-11:00", "B 11:00-"]


def test_t3_of_several_moves_of_the_day_the_last_to_the_named_place_goes():
    back = adt("A02", "12:00", "A", prior="B")
    again = adt("A02", "13:00", "B", prior="A")
    cancel = adt("A12", "00:00", "A", prior="B", reported="14:00", precision="day")
    assert stays(A01, TO_B, back, again, cancel) == [
        "A 08:00-10:20:30", "B 10:20:30-12:00", "A 12:00-",
    ]  # fmt: skip
    assert stays(A01, TO_B, TO_C, cancel) == ["A 08:00-11:00", "C 11:00-"]


def test_t3_of_several_moves_of_the_day_that_it_names_none_of_none_goes():
    cancel = adt("A12", "00:00", "X", prior="Y", reported="14:00", precision="day")
    result = found(A01, TO_B, TO_C, cancel)
    assert len(result.stays) == 3
    assert result.unresolved == (cancel["event_id"],)


def test_t3_a_move_of_the_day_that_was_reported_later_lives():
    late = adt("A02", "13:00", "B", prior="A", reported="15:00")
    cancel = adt("A12", "00:00", "A", prior="B", reported="14:00", precision="day")
    assert stays(A01, TO_B, cancel, late) == ["A 08:00-13:00", "B 13:00-"]


def test_t6_of_several_admissions_of_the_day_the_place_tells_which():
    again = adt("A01", "12:00", "B")
    cancel = adt("A11", "00:00", "A", reported="14:00", precision="day")
    assert stays(A01, again, cancel) == ["B 12:00-"]


def test_t6_of_several_admissions_of_the_day_at_one_place_none_goes():
    left, again = adt("A03", "09:00", "A"), adt("A01", "12:00", "A")
    cancel = adt("A11", "00:00", "A", reported="14:00", precision="day")
    result = found(A01, left, again, cancel)
    assert shape(result.stays) == ["A 08:00-09:00", "A 12:00-"]
    assert result.unresolved == (cancel["event_id"],)


def test_t7_of_several_discharges_of_the_day_the_last_goes_or_the_one_of_the_place():
    left, again, gone = adt("A03", "09:00", "A"), adt("A01", "12:00", "B"), adt("A03", "13:00", "B")
    nowhere = adt("A13", "00:00", reported="14:00", precision="day")
    assert stays(A01, left, again, gone, nowhere) == ["A 08:00-09:00", "B 12:00-"]
    there = adt("A13", "00:00", "A", reported="14:00", precision="day")
    assert stays(A01, left, again, gone, there) == ["A 08:00-12:00", "B 12:00-13:00"]


def test_t4_a_late_original_is_suppressed_by_a_coarse_cancellation():
    cancel = adt("A11", "08:00", "A", reported="09:00", precision="hour")
    late = adt("A01", "08:10", "A")
    assert found(cancel, late).status == "cancelled"


@pytest.mark.parametrize(("at", "precision"), [("00:00", "day"), ("10:00", "hour")])
def test_t11_a_place_taken_back_on_that_day_is_not_inferred(at, precision):
    cancel = adt("A12", at, "A", prior="B", reported="10:40", precision=precision)
    assert stays(A01, cancel, TO_C) == ["A 08:00-11:00", "C 11:00-"]
    earlier = adt("A12", "07:00", "A", prior="B", reported="10:40", precision="hour")
    assert len(stays(A01, earlier, TO_C)) == 3


def test_t3_a_report_of_a_minute_is_of_all_of_it():
    cancel = adt("A12", "10:20", "A", prior="B", by="EVN-2", reported="10:21", precision="minute")
    assert stays(A01, TO_B, cancel) == ["A 08:00-"]


def test_a_fact_keeps_its_precision_in_row_and_json():
    [event] = arrive([adt("A12", "00:00", precision="day")])
    fact = Fact.of_event(event)
    assert fact.precision == row(event)["effective_precision"] == "day"
    assert Fact.of_row(row(event)) == Fact.of_json(fact.to_json()) == fact


def test_a_row_from_before_precisions_were_kept_is_of_full_precision():
    [event] = arrive([A01])
    old = {**row(event), "effective_precision": None}
    assert Fact.of_row(old) == Fact.of_event(event)


@st.composite
def told(draw: st.DrawFn) -> Event:
    precision = draw(st.sampled_from(["second", "second", "minute", "hour", "day"]))
    hour = "00" if precision == "day" else f"{draw(st.integers(7, 11)):02}"
    minute = "00" if precision in ("day", "hour") else draw(st.sampled_from(["00", "20"]))
    trigger = draw(st.sampled_from(["A01", "A02", "A02", "A02", "A03", "A11", "A12", "A12", "A13"]))
    places = st.sampled_from([None, "A", "B", "C"])
    return adt(
        trigger, f"{hour}:{minute}", draw(places), prior=draw(places),
        reported=f"{draw(st.integers(7, 12)):02}:00", precision=precision,
        by=draw(st.sampled_from(["EVN-6", "EVN-6", "EVN-2"])),
    )  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(told(), max_size=8), st.randoms(use_true_random=False))
def test_t9_t12_coarse_facts_in_any_order_and_cancelled_twice_are_one_path(events, chance):
    facts = [Fact.of_event(event) for event in events]
    first = path(facts)
    again = [Fact.of_event(double(e)) for e in events if e["event_type"] in TAKES]
    shuffled = chance.sample([*facts, *again], len(facts) + len(again))
    second = path(shuffled)
    assert shape(first.stays) == shape(second.stays)
    assert first.status == second.status
