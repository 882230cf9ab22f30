"""The rules of the path, one test each, in every order of the facts."""

import pytest

from schemas.events import Event
from streams.trajectory import path as paths
from streams.trajectory.facts import Fact
from streams.trajectory.path import path
from tests.streams.trajectory.arrivals import found
from tests.streams.trajectory.visits import adt, shape


def stays(*events: Event) -> list[str]:
    return shape(found(*events).stays)


A01 = adt("A01", "08:00", "A")
A02 = adt("A02", "10:00", "B", prior="A")
A03 = adt("A03", "12:00", "A")


# --- T1, T2: whose time ---------------------------------------------------------------------------


def test_t1_a_point_begins_at_the_effective_time_not_at_the_reported_one():
    assert stays(A01, adt("A02", "10:00", "B", reported="15:00", by="EVN-6")) == [
        "A 08:00-10:00",
        "B 10:00-",
    ]


def test_t1_the_field_that_gave_the_time_is_kept():
    moved = adt("A02", "10:00", "B", by="EVN-6")
    assert [stay.start_field for stay in found(A01, moved).stays] == ["PV1-44", "EVN-6"]


def test_t2_a_cancellation_takes_back_what_happened_at_its_time_not_the_last_move():
    second = adt("A02", "11:00", "C", prior="B")
    cancel = adt("A12", "10:00", "A", prior="B", reported="11:30")
    assert stays(A01, adt("A02", "10:00", "B"), adt("A02", "11:00", "C"), cancel) == [
        "A 08:00-11:00",
        "C 11:00-",
    ]
    assert "B" not in " ".join(stays(A01, A02, second, cancel))


# --- T3, T5: cancelled moves ----------------------------------------------------------------------


def test_t3_cancelled_transfer_is_not_a_second_transfer():
    cancel = adt("A12", "10:00", "A", prior="B", reported="10:20")
    assert stays(A01, A02, cancel) == ["A 08:00-"]


def test_t3_no_stay_is_invented_from_an_unrelated_place_of_the_cancellation():
    cancel = adt("A12", "10:00", "X", prior="B", reported="10:20")
    assert stays(A01, A02, cancel) == ["A 08:00-"]


def test_t3_a_cancellation_that_names_another_place_takes_the_only_move_of_its_time():
    cancel = adt("A12", "10:00", "A", prior="X", reported="10:20")
    assert stays(A01, A02, cancel) == ["A 08:00-"]


def test_t3_a_cancellation_that_names_neither_of_two_moves_takes_none():
    other = adt("A02", "10:00", "C", reported="10:05")
    cancel = adt("A12", "10:00", "A", prior="X", reported="10:20")
    result = found(A01, A02, other, cancel)
    assert shape(result.stays) == ["A 08:00-10:00", "C 10:00-"]
    assert len(result.unresolved) == 1


def test_t3_without_the_cancelled_time_the_latest_move_to_that_place_goes():
    back = adt("A02", "11:00", "A", prior="B")
    again = adt("A02", "12:00", "B", prior="A")
    cancel = adt("A12", "12:10", "A", prior="B", by="EVN-2")
    assert stays(A01, A02, back, again, cancel) == [
        "A 08:00-10:00",
        "B 10:00-11:00",
        "A 11:00-",
    ]


def test_t3_without_time_and_cancelled_place_the_latest_move_from_the_place_goes():
    cancel = adt("A12", "10:20", "A", by="EVN-2")
    assert stays(A01, adt("A02", "10:00", "B"), cancel) == ["A 08:00-"]
    assert stays(A01, A02, cancel) == ["A 08:00-"]


def test_t3_where_a_move_came_from_is_read_without_the_moves_taken_back():
    gone = adt("A12", "10:00", prior="B", reported="10:20")
    cancel = adt("A12", "11:20", "A", by="EVN-2")
    moves = (adt("A02", "10:00", "B"), adt("A02", "11:00", "C"))
    assert stays(A01, *moves, gone, cancel) == ["A 08:00-"]


def test_t3_without_the_cancelled_time_no_move_after_the_cancellation_goes():
    back = adt("A02", "11:00", "A", prior="B")
    planned = adt("A02", "12:00", "B", prior="A", reported="10:10")
    cancel = adt("A12", "10:20", "A", prior="B", by="EVN-2")
    assert stays(A01, A02, back, planned, cancel) == ["A 08:00-12:00", "B 12:00-"]


def test_t3_a_visit_whose_only_move_was_taken_back_goes_on():
    result = found(A02, adt("A12", "10:00", "A", prior="B", reported="10:20"))
    assert (result.stays, result.status) == ((), "active")


def test_t3_a_cancellation_that_says_nothing_takes_nothing():
    result = found(A01, A02, adt("A12", "10:20", by="EVN-2"))
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert len(result.unresolved) == 1


def test_t3_a_move_reported_after_the_cancellation_lives():
    cancel = adt("A12", "10:00", "A", prior="B", reported="10:20")
    anew = adt("A02", "10:00", "B", prior="A", reported="10:40", name="anew")
    assert stays(A01, A02, cancel, anew) == ["A 08:00-10:00", "B 10:00-"]


def test_t5_stays_at_one_place_merge_when_the_move_between_is_cancelled():
    back = adt("A02", "11:00", "A", prior="B")
    cancel = adt("A12", "10:00", "A", prior="B", reported="11:30")
    assert stays(A01, A02, back, cancel) == ["A 08:00-"]


# --- T4: cancelled before it came -----------------------------------------------------------------


@pytest.mark.parametrize("by", ["EVN-6", "EVN-2"])
def test_t4_a_late_original_is_suppressed(by):
    at = "08:00" if by == "EVN-6" else "09:00"
    result = found(adt("A11", at, "A", reported="09:00", by=by), A01)
    assert result.stays == ()
    assert result.status == "cancelled"


def test_t4_cancellations_of_nothing_are_no_error_and_are_listed():
    result = found(
        adt("A11", "08:00", "A", reported="09:00"),
        adt("A12", "10:00", "A", reported="10:20"),
        adt("A13", "12:00", "A", reported="12:20"),
    )
    assert result.stays == ()
    assert result.status is None
    assert len(result.unresolved) == 3


# --- T6: cancelled admissions ---------------------------------------------------------------------


@pytest.mark.parametrize("trigger", ["A01", "A04"])
def test_t6_admissions_and_registrations_are_cancelled_by_their_time(trigger):
    result = found(adt(trigger, "08:00", "A"), adt("A11", "08:00", "A", reported="09:00"))
    assert result.stays == ()
    assert (result.status, result.admitted_at) == ("cancelled", None)


def test_t6_without_its_time_the_only_stay_goes_if_it_is_there():
    cancel = adt("A11", "09:00", "A", by="EVN-2")
    assert found(A01, cancel).status == "cancelled"


def test_t6_without_its_time_and_elsewhere_nothing_goes_and_it_is_listed():
    result = found(A01, adt("A11", "09:00", "X", by="EVN-2"))
    assert shape(result.stays) == ["A 08:00-"]
    assert len(result.unresolved) == 1


def test_t6_without_its_time_and_with_two_stays_nothing_goes_and_it_is_listed():
    result = found(A01, A02, adt("A11", "11:00", "B", by="EVN-2"))
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert len(result.unresolved) == 1


def test_t6_visits_cancelled_twice_without_their_times_are_judged_one_after_the_other():
    result = found(
        A01,
        adt("A11", "09:00", "A", by="EVN-2"),
        adt("A11", "09:00", "A", by="EVN-2", name="double"),
        adt("A01", "10:00", "B"),
        adt("A11", "11:00", "B", by="EVN-2"),
    )
    assert (result.stays, result.status, result.unresolved) == ((), "cancelled", ())


@pytest.mark.parametrize("by", ["EVN-6", "EVN-2"])
def test_t6_an_admission_reported_after_the_cancellation_lives(by):
    cancel = adt("A11", "08:00" if by == "EVN-6" else "09:00", "A", reported="09:00", by=by)
    anew = adt("A01", "08:00", "A", reported="09:30")
    result = found(A01, cancel, anew)
    assert shape(result.stays) == ["A 08:00-"]
    assert result.status == "active"


def test_t6_moves_after_a_cancelled_admission_stand_and_its_place_does_not_return():
    cancel = adt("A11", "08:00", "A", reported="11:00")
    result = found(A01, A02, cancel)
    assert shape(result.stays) == ["B 10:00-"]
    assert result.status == "active"
    assert stays(A02, cancel) == ["B 10:00-"]


# --- T7: cancelled discharges ---------------------------------------------------------------------


@pytest.mark.parametrize("by", ["EVN-6", "EVN-2"])
def test_t7_the_same_visit_goes_on_without_a_break(by):
    cancel = adt("A13", "12:00" if by == "EVN-6" else "12:30", "A", reported="12:30", by=by)
    result = found(A01, A03, cancel)
    assert shape(result.stays) == ["A 08:00-"]
    assert (result.status, result.discharged_at) == ("active", None)


def test_t7_another_place_begins_at_the_report_and_is_inferred():
    cancel = adt("A13", "12:00", "B", reported="12:30")
    assert stays(A01, A03, cancel) == ["A 08:00-~12:30", "B ~12:30-"]


def test_t7_a_move_after_the_discharge_knows_better():
    moved = adt("A02", "12:10", "C")
    cancel = adt("A13", "12:00", "B", reported="12:30")
    assert stays(A01, A03, moved, cancel) == ["A 08:00-12:10", "C 12:10-"]


def test_t7_a_move_after_the_report_follows_the_reported_place():
    cancel = adt("A13", "12:00", "B", reported="12:30")
    moved = adt("A02", "14:00", "C", prior="B")
    assert stays(A01, A03, cancel, moved) == ["A 08:00-~12:30", "B ~12:30-14:00", "C 14:00-"]


def test_t7_a_corrected_discharge_stands():
    cancel = adt("A13", "12:00", "A", reported="12:30")
    corrected = adt("A03", "11:45", "A", reported="12:40")
    result = found(A01, A03, cancel, corrected)
    assert shape(result.stays) == ["A 08:00-11:45"]
    assert result.status == "discharged"


def test_t7_a_report_from_before_the_discharge_moves_nobody():
    planned = adt("A03", "12:00", "A", reported="11:00")
    cancel = adt("A13", "12:00", "B", reported="11:50")
    assert stays(A01, planned, cancel) == ["A 08:00-"]


def test_t7_without_its_time_only_the_last_discharge_goes():
    back = adt("A01", "13:00", "B")
    left = adt("A03", "15:00", "B")
    cancel = adt("A13", "15:10", "B", by="EVN-2")
    assert stays(A01, A03, back, left, cancel) == ["A 08:00-12:00", "B 13:00-"]


# --- T8, T9, T10: what makes no stay --------------------------------------------------------------


def test_t8_updates_never_make_or_end_a_stay():
    update = adt("A08", "09:00", "X")
    assert stays(A01, update) == ["A 08:00-"]
    assert found(update).status is None


def test_t9_the_same_said_again_makes_no_stay():
    double = adt("A02", "10:00", "B", prior="A", reported="10:30", name="double")
    result = found(A01, A02, double)
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert result.stays[1].start_event_id == A02["event_id"]


def test_t10_a_move_to_the_same_place_makes_no_stay():
    assert stays(A01, adt("A02", "10:00", "A")) == ["A 08:00-"]
    assert stays(A01, adt("A02", "10:00", "C", prior="C")) == ["A 08:00-"]


# --- T11: conflicts -------------------------------------------------------------------------------


def test_t11_a_missing_move_is_inferred_just_before_the_known_one():
    moved = adt("A02", "12:00", "C", prior="B")
    assert stays(A01, moved) == ["A 08:00-~11:59:59", "B ~11:59:59-12:00", "C 12:00-"]


def test_t11_the_late_move_replaces_the_inferred_bound():
    moved = adt("A02", "12:00", "C", prior="B")
    assert stays(A01, A02, moved) == ["A 08:00-10:00", "B 10:00-12:00", "C 12:00-"]


def test_t11_an_unknown_visit_begins_with_the_move():
    result = found(A02)
    assert shape(result.stays) == ["A ~09:59:59-10:00", "B 10:00-"]
    assert (result.status, result.admitted_at) == ("active", None)


def test_t11_a_known_admission_without_a_place_bounds_the_inferred_stay():
    assert stays(adt("A04", "08:00"), A02) == ["A ~08:00-10:00", "B 10:00-"]


def test_t11_an_inferred_stay_lies_between_even_in_a_tight_gap():
    moved = adt("A02", "08:00:01", "C", prior="B")
    result = found(A01, moved)
    assert len(result.stays) == 3
    assert result.stays[1].start.microsecond == 500_000


def test_t11_moves_at_one_instant_prove_each_other():
    other = adt("A02", "10:00", "C", prior="B", reported="10:01")
    assert stays(A01, A02, other) == ["A 08:00-10:00", "C 10:00-"]


def test_t11_a_place_that_was_taken_back_is_not_inferred():
    cancel = adt("A12", "10:00", "A", prior="B", reported="10:20")
    moved = adt("A02", "12:00", "C", prior="B")
    assert stays(A01, A02, cancel, moved) == ["A 08:00-12:00", "C 12:00-"]
    assert stays(A01, cancel, moved) == ["A 08:00-12:00", "C 12:00-"]


def test_t11_an_admission_cancelled_elsewhere_hinders_no_inference():
    cancel = adt("A11", "09:00", "X", reported="09:30")
    moved = adt("A02", "12:00", "C", prior="B")
    assert stays(A01, cancel, moved)[1] == "B ~11:59:59-12:00"


# --- T13: discharges ------------------------------------------------------------------------------


def test_t13_the_place_of_a_discharge_is_no_move():
    assert stays(A01, adt("A03", "12:00", "X")) == ["A 08:00-12:00"]


def test_t13_a_second_discharge_has_no_effect():
    later = adt("A03", "13:00", "A")
    double = adt("A03", "12:00", "A", reported="12:30", name="double")
    result = found(A01, A03, later, double)
    assert shape(result.stays) == ["A 08:00-12:00"]
    assert result.stays[0].end_event_id == A03["event_id"]
    assert result.discharged_at == result.stays[0].end
    assert (result.status, result.unresolved) == ("discharged", ())


def test_t13_a_discharge_of_nothing_invents_nothing():
    result = found(A03)
    assert (result.stays, result.status) == ((), None)


def test_t13_a_visit_without_places_is_discharged_too():
    result = found(adt("A04", "08:00"), A03)
    assert (result.stays, result.status) == ((), "discharged")


def test_t13_a_placement_after_the_discharge_opens_the_visit_again():
    result = found(A01, A03, adt("A01", "14:00", "A"))
    assert shape(result.stays) == ["A 08:00-12:00", "A 14:00-"]
    assert (result.status, result.discharged_at) == ("active", None)


def test_t13_admitted_and_discharged_at_one_instant_is_no_stay():
    result = found(A01, adt("A03", "08:00", "A", reported="07:00"))
    assert (result.stays, result.status) == ((), "discharged")


# --- T20, T21: places -----------------------------------------------------------------------------


def test_t20_a_bed_alone_is_not_a_place():
    result = found(adt("A01", "08:00", "W1^R^1"), adt("A02", "10:00", "W2^R^1"))
    assert len(result.stays) == 2


def test_t20_what_is_no_part_of_the_identity_makes_no_move():
    assert stays(adt("A01", "08:00", "W^R^1"), adt("A02", "10:00", "W^R^1^^OCC^N")) == [
        "W^R^1 08:00-"
    ]


def test_t21_a_place_not_said_changes_nothing():
    assert stays(A01, adt("A02", "10:00")) == ["A 08:00-"]
    assert stays(A01, adt("A02", "10:00", "^^^^OCC")) == ["A 08:00-"]


def test_t21_a_place_said_to_be_unknown_ends_the_stay():
    assert stays(A01, adt("A02", "10:00", ""), adt("A02", "11:00", "B")) == [
        "A 08:00-10:00",
        "B 11:00-",
    ]


# --- T24: invariants ------------------------------------------------------------------------------


def test_t24_the_later_report_of_two_at_one_instant_wins():
    other = adt("A02", "10:00", "C", reported="10:05")
    assert stays(A01, adt("A02", "10:00", "B"), other) == ["A 08:00-10:00", "C 10:00-"]


def test_t24_what_is_reported_without_a_time_counts_as_before():
    other = adt("A02", "10:00", "C", reported=None)
    assert stays(A01, adt("A02", "10:00", "B"), other) == ["A 08:00-10:00", "B 10:00-"]


def test_a_visit_of_more_facts_than_one_can_have_is_refused(monkeypatch):
    monkeypatch.setattr(paths, "FACTS_MAX", 3)
    facts = [Fact.of_event(adt("A02", f"{hour:02}:00", f"W{hour}^R^1")) for hour in (8, 9, 10, 11)]
    assert path(facts[:3]).stays
    with pytest.raises(paths.VisitTooLong, match="facts of one visit: 4"):
        path(facts)
