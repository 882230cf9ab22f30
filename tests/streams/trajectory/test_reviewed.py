"""The rules where what was told late, taken back or said vaguely meets what is known."""

import pytest

from schemas.events import Event
from streams.trajectory import cancels
from streams.trajectory.facts import Fact
from streams.trajectory.path import path
from streams.trajectory.walk import walk
from tests.streams.trajectory.arrivals import found
from tests.streams.trajectory.visits import adt, movement, shape

A01 = adt("A01", "08:00", "A")
TO_B = adt("A02", "10:00", "B", prior="A")
TO_C = adt("A02", "11:00", "C", prior="B")


def stays(*events: Event) -> list[str]:
    return shape(found(*events).stays)


def tracks(*events: Event) -> tuple[list[str], list[str]]:
    """The stays in bed, and those where the patient is."""
    result = found(*events)
    return shape(result.stays), shape(result.physical)


def planned(*events: Event) -> list[str]:
    return shape(found(*events).planned)


def plan(trigger: str, at: str, place: str | None = None, **more: object) -> Event:
    return adt(trigger, at, planned_place=place, **more)


# --- T17: what ends a plan ------------------------------------------------------------------------


def test_t17_a_move_told_after_the_plan_ends_it_though_it_came_before():
    moved = adt("A02", "10:00", "B", prior="A", reported="10:10", by="EVN-6")
    assert planned(A01, plan("A15", "10:05", "B"), moved) == ["B 10:05-10:10"]
    assert planned(A01, plan("A15", "10:10", "B"), moved) == []
    assert planned(A01, plan("A15", "10:20", "B"), moved) == ["B 10:20-"]


def test_t17_a_move_told_late_fulfils_a_plan_for_its_ward():
    moved = adt("A02", "10:00", "B^1^1", prior="A", reported="10:10", by="EVN-6")
    assert planned(A01, plan("A15", "10:05", "B"), moved) == ["B 10:05-10:10"]
    assert planned(A01, plan("A15", "10:05", "B^2"), moved) == ["B^2 10:05-"]


def test_t17_a_move_elsewhere_from_before_the_plan_doesnt_end_it():
    moved = adt("A02", "10:00", "C", reported="10:10", by="EVN-6")
    assert planned(A01, plan("A15", "10:05", "B"), moved) == ["B 10:05-"]


def test_t17_a_move_after_the_plan_ends_it_when_it_happened_not_when_it_was_told():
    moved = adt("A02", "10:00", "B", prior="A", reported="10:10", by="EVN-6")
    assert planned(A01, plan("A15", "09:00", "B"), moved) == ["B 09:00-10:00"]


@pytest.mark.parametrize(("trigger", "left"), [("A05", []), ("A14", []), ("A15", ["B 09:00-"])])
def test_t17_an_admission_told_after_its_plan_ends_it(trigger, left):
    late = adt("A01", "08:00", "A", reported="09:30")
    assert planned(plan(trigger, "09:00", "B"), late) == (left or ["B 09:00-09:30"])
    assert planned(plan(trigger, "09:30", "B"), late) == (["B 09:30-"] if left else [])


def test_t17_a_discharge_told_after_the_plan_ends_it():
    left = adt("A03", "08:55", "A", reported="09:30")
    assert planned(A01, plan("A16", "09:00", "H"), left) == ["H 09:00-09:30"]
    assert planned(A01, plan("A15", "09:30", "B"), left) == []


def test_t17_a_discharge_told_after_the_visit_was_open_again_ends_no_plan():
    left = adt("A03", "08:30", "A", reported="09:30")
    again = adt("A01", "08:45", "A")
    assert planned(A01, left, again, plan("A15", "09:00", "B")) == ["B 09:00-"]


@pytest.mark.parametrize("trigger", ["A15", "A16"])
def test_t17_no_plan_to_move_or_leave_begins_after_the_discharge(trigger):
    left = adt("A03", "09:00", "A")
    told = plan(trigger, "09:30", "B")
    assert planned(A01, left, told) == []
    assert planned(A01, left, told, adt("A13", "09:00", "A", reported="09:40")) == ["B 09:30-"]
    assert planned(A01, left, adt("A01", "09:15", "A"), told) == ["B 09:30-"]


def test_t17_a_visit_can_be_planned_after_the_discharge_and_stays_planned():
    told = plan("A05", "09:30", "A")
    assert planned(A01, adt("A03", "09:00", "A"), told) == ["A 09:30-"]
    late = plan("A15", "09:40", "B")
    assert planned(A01, adt("A03", "09:00", "A"), told, late) == ["A 09:30-"]


def test_t17_a_cancelled_admission_ends_the_plans_at_its_report():
    cancel = adt("A11", "08:00", "A", reported="10:00")
    result = found(A01, plan("A15", "09:00", "B"), cancel)
    assert (result.status, shape(result.planned)) == ("cancelled", ["B 09:00-10:00"])
    assert result.planned[0].end_event_id == cancel["event_id"]
    result = found(plan("A05", "07:00", "A"), A01, cancel)
    assert (result.status, shape(result.planned)) == ("cancelled", ["A 07:00-10:00"])


def test_t17_no_plan_to_move_begins_after_the_admission_was_cancelled():
    cancel = adt("A11", "08:00", "A", reported="09:00")
    assert planned(A01, cancel, plan("A15", "09:30", "B")) == []
    assert planned(A01, cancel, plan("A15", "09:00", "B")) == []
    assert planned(A01, cancel, plan("A05", "09:30", "B")) == ["B 09:30-"]


def test_t17_a_cancellation_of_no_admission_ends_no_plan():
    cancel = adt("A11", "07:00", "A", reported="10:00")
    assert planned(A01, plan("A15", "09:00", "B"), cancel) == ["B 09:00-"]


# --- T3, T5, T11: what was taken back doesn't return ----------------------------------------------


def test_t3_a_bed_taken_back_by_a_late_report_is_not_inferred():
    cancel = adt("A12", "11:20", "A", prior="B", by="EVN-2")
    assert stays(A01, TO_B, TO_C, cancel) == ["A 08:00-11:00", "C 11:00-"]


def test_t5_a_bed_taken_back_between_two_others_is_not_inferred():
    first = adt("A02", "09:00", "D", prior="A")
    cancel = adt("A12", "11:20", "D", prior="B", by="EVN-2")
    assert stays(A01, first, adt("A02", "10:00", "B", prior="D"), TO_C, cancel) == [
        "A 08:00-09:00", "D 09:00-11:00", "C 11:00-",
    ]  # fmt: skip


@pytest.mark.parametrize(("at", "by"), [("10:30", "EVN-6"), ("11:50", "EVN-2")])
def test_t11_a_bed_whose_arrival_was_taken_back_is_not_inferred(at, by):
    left = adt("A09", "10:00", prior="A", pending_place="B")
    arrived = adt("A10", "10:30", "B")
    cancel = adt("A32", at, "A", reported="11:50", by=by)
    assert stays(A01, left, arrived, cancel, TO_C) == ["A 08:00-11:00", "C 11:00-"]


def test_t11_a_bed_seen_again_after_it_was_taken_back_is_inferred():
    cancel = adt("A12", "09:00", "A", prior="B", reported="11:20")
    gone = adt("A02", "09:00", "B", prior="A")
    assert stays(A01, gone, cancel, adt("A02", "10:00", "D", prior="A"), TO_C) == [
        "A 08:00-10:00", "D 10:00-~10:59:59", "B ~10:59:59-11:00", "C 11:00-",
    ]  # fmt: skip


def test_t11_a_cancellation_of_nothing_keeps_its_place_from_being_inferred():
    cancel = adt("A12", "10:00", "A", prior="B", reported="10:20")
    assert stays(A01, cancel, TO_C) == ["A 08:00-11:00", "C 11:00-"]


# --- T11: what is no contradiction ----------------------------------------------------------------


@pytest.mark.parametrize("prior", ["A", "A^1", "A^^1", "A^1^1", "A^1^1^H1", "A^1^1^H1^^^T"])
def test_t11_the_same_place_said_less_or_more_precisely_is_not_inferred(prior):
    moved = adt("A02", "10:00", "B", prior=prior)
    assert stays(adt("A01", "08:00", "A^1^1"), moved) == ["A^1^1 08:00-10:00", "B 10:00-"]


@pytest.mark.parametrize("prior", ["A^2", "A^1^2^H1", "D", "^^^H1"])
def test_t11_another_place_is_inferred(prior):
    moved = adt("A02", "10:00", "B", prior=prior)
    assert stays(adt("A01", "08:00", "A^1^1"), moved)[1] == f"{prior} ~09:59:59-10:00"


@pytest.mark.parametrize("prior", ["X", "X^1"])
def test_t11_the_temporary_place_that_a_move_names_is_not_inferred(prior):
    away = adt("A09", "09:00", prior="A", temporary_place="X")
    moved = adt("A02", "10:00", "B", prior=prior)
    assert tracks(A01, away, moved) == (
        ["A 08:00-10:00", "B 10:00-"],
        ["A 08:00-09:00", "X 09:00-10:00", "B 10:00-"],
    )


def test_t11_a_temporary_place_of_the_same_instant_is_not_inferred():
    away = adt("A09", "10:00", prior="A", temporary_place="X", reported="09:59")
    assert stays(A01, away, adt("A02", "10:00", "B", prior="X")) == ["A 08:00-10:00", "B 10:00-"]


# --- T16: departures that name no target ----------------------------------------------------------


def test_t16_a_departure_that_names_no_target_is_a_transit():
    left = adt("A09", "10:00", prior="A")
    discharged = adt("A03", "12:00", "B")
    assert tracks(A01, left, adt("A10", "11:00", "B"), discharged) == (
        ["A 08:00-11:00", "B 11:00-12:00"],
        ["A 08:00-10:00", "B 11:00-12:00"],
    )
    assert tracks(A01, left, adt("A10", "11:00", "A"))[0] == ["A 08:00-"]


def test_t16_an_arrival_after_tracking_moves_no_bed():
    tracked = adt("A09", "10:00", "T", prior="A")
    assert tracks(A01, tracked, adt("A10", "11:00", "B")) == (
        ["A 08:00-"],
        ["A 08:00-10:00", "T 10:00-11:00", "B 11:00-"],
    )


def test_t16_a_departure_from_a_temporary_place_is_no_transit():
    away = adt("A09", "10:00", prior="A", temporary_place="X")
    further = adt("A09", "10:30", "X")
    assert tracks(A01, away, further, adt("A10", "11:00", "Y")) == (
        ["A 08:00-"],
        ["A 08:00-10:00", "X 10:00-10:30", "Y 11:00-"],
    )


# --- T6, T9, T17, T26: preadmissions and who calls them off ---------------------------------------


@pytest.mark.parametrize("reported", ["07:30", "08:30"])
@pytest.mark.parametrize("by", ["EVN-6", "EVN-2"])
def test_t6_t26_an_a11_calls_off_a_preadmission_whatever_its_class(by, reported):
    ahead = adt("A05", "07:00", planned_place="A")
    at = "07:00" if by == "EVN-6" else reported
    result = found(ahead, adt("A11", at, "A", reported=reported, by=by))
    assert (result.status, result.unresolved) == ("cancelled", ())
    assert shape(result.planned) == [f"A 07:00-{reported}"]


def test_t6_t26_an_admission_by_class_was_planned_until_it_was_called_off():
    ahead = adt("A04", "07:00", "A", patient_class="P")
    result = found(ahead, adt("A11", "07:00", "A", reported="07:30"))
    assert (result.status, shape(result.planned)) == ("cancelled", ["A 07:00-07:30"])


def test_t6_an_a11_takes_the_admission_and_a_late_one_is_the_same():
    ahead = adt("A05", "07:00", planned_place="A")
    cancel = adt("A11", "08:00", "A", reported="09:00")
    result = found(ahead, A01, cancel)
    assert (result.status, result.stays) == ("cancelled", ())
    assert shape(result.planned) == shape(found(ahead, cancel).planned) == ["A 07:00-09:00"]


def test_t6_an_a11_calls_off_no_plan_of_another_kind_and_none_told_later():
    cancel = adt("A11", "07:00", "A", reported="08:00")
    result = found(plan("A15", "07:30", "B"), cancel)
    assert (shape(result.planned), len(result.unresolved)) == (["B 07:30-"], 1)
    assert planned(plan("A05", "08:30", "A"), cancel) == ["A 08:30-"]


def test_t9_an_a11_sent_again_calls_off_no_preadmission_told_since():
    cancels = [adt("A11", "07:00", "A", reported=reported) for reported in ("08:00", "10:00")]
    result = found(plan("A05", "07:00", "A"), plan("A05", "09:00", "A"), *cancels)
    assert (shape(result.planned), result.status) == (["A 07:00-08:00", "A 09:00-"], "planned")
    assert result.unresolved == ()


def test_t9_an_a11_sent_again_ends_no_plan_told_since():
    cancels = [adt("A11", "08:00", "A", reported=reported) for reported in ("09:00", "10:00")]
    result = found(A01, *cancels, plan("A05", "09:30", "B"))
    assert shape(result.planned) == ["B 09:30-"]
    assert result.unresolved == ()


def test_t9_an_a11_that_takes_a_further_admission_ends_the_plans():
    cancels = [adt("A11", "08:00", "A", reported=reported) for reported in ("09:00", "10:00")]
    anew = adt("A01", "08:00", "A", reported="09:20")
    assert planned(A01, anew, *cancels, plan("A05", "09:30", "B")) == ["B 09:30-10:00"]


# --- T6, T9: what is the same, and what tells a visit of one stay ---------------------------------


def test_t6_a_place_that_was_taken_back_makes_no_second_stay():
    nowhere = adt("A02", "08:00", "", reported="08:00")
    gone = adt("A01", "11:00", "B", reported="08:30")
    first = adt("A11", "11:00", reported="09:00")
    moved = adt("A06", "11:00", "C", prior="B", reported="10:00")
    cancel = adt("A11", "12:00", "C", by="EVN-2")
    assert stays(nowhere, gone, first, moved) == ["C 11:00-"]
    assert stays(nowhere, gone, first, moved, cancel) == []


def test_t9_a_tracked_departure_told_twice_is_at_its_place():
    tracked = adt("A09", "10:00", "T", prior="A")
    again = adt("A09", "10:00", "T", prior="A", reported="10:05")
    assert tracks(A01, tracked, again)[1] == ["A 08:00-10:00", "T 10:00-"]


def test_t3_t9_a_move_told_twice_goes_whole_when_only_its_origin_is_named():
    moved = adt("A02", "10:00", "B")
    again = adt("A02", "10:00", "B", reported="10:05")
    assert stays(A01, moved, again, adt("A12", "10:20", "A", by="EVN-2")) == ["A 08:00-"]


def test_t23_what_is_told_of_the_past_is_not_cancelled():
    past = adt(
        "A02", "10:00", "B", prior="A", reported="11:00", movement_id=movement(1),
        movement_historic=True,
    )  # fmt: skip
    cancel = adt("A12", "11:10", "A", prior="B", by="EVN-2")
    again = adt("A02", "10:30", "A", prior="B")
    assert stays(A01, past, again, cancel) == ["A 08:00-10:00", "B 10:00-10:30", "A 10:30-"]


def test_a_visit_of_very_many_cancellations_without_their_times_is_read_in_time(monkeypatch):
    walks = []
    monkeypatch.setattr(cancels, "walk", lambda *a, **more: walks.append(1) or walk(*a, **more))
    moves = [adt("A02", f"{at:02}:00", "AB"[at % 2]) for at in range(8, 20)]
    vague = [adt("A11", f"20:{at:02}", "X", by="EVN-2") for at in range(60)]
    elsewhere = [adt("A11", f"21:{at:02}", "A", by="EVN-2") for at in range(60)]
    facts = [Fact.of_event(event) for event in (*moves, *vague, *elsewhere)]
    assert len(path(facts).unresolved) == 120
    assert len(walks) == 1


def test_t3_t9_a_move_said_hundreds_of_times_is_taken_back_by_where_it_came_from():
    """As often as a visit holds: looking behind each of them anew would take half a minute."""
    again = [adt("A02", "10:00", "B", name=f"{number}") for number in range(480)]
    vague = [adt("A12", "12:00", "A", by="EVN-2", name=f"{number}") for number in range(480)]
    facts = [Fact.of_event(event) for event in (A01, *again, *vague)]
    assert shape(path(facts).stays) == ["A 08:00-"]
