"""The rules of the physical and the planned track, of movements, deletions and new patients."""

from uuid import UUID

import pytest

from schemas.events import Event
from tests.streams.trajectory.arrivals import found
from tests.streams.trajectory.visits import PATIENT, adt, movement, shape

A01 = adt("A01", "08:00", "A")
A02 = adt("A02", "12:00", "B", prior="A")
A03 = adt("A03", "15:00", "A")
TO_X = adt("A09", "10:00", prior="A", temporary_place="X")
TRANSIT = adt("A09", "10:00", prior="A", pending_place="B")
BACK = adt("A10", "11:00", "A", prior_temporary_place="X")
AT_B = adt("A10", "11:00", "B")
LEAVE = adt("A21", "10:00", "A")
RETURN = adt("A22", "11:00", "A")
OTHER = str(UUID(int=77))


def tracks(*events: Event) -> tuple[list[str], list[str]]:
    """The stays in bed, and those where the patient is."""
    result = found(*events)
    return shape(result.stays), shape(result.physical)


def planned(*events: Event) -> list[str]:
    return shape(found(*events).planned)


# --- T14, T15, T18: what moves like a move --------------------------------------------------------


def test_t14_a_visit_knows_nothing_of_another_one():
    outpatient = Event(**{**adt("A04", "09:00", "C"), "stream_id": OTHER})
    assert found(outpatient).status == "active"
    assert tracks(A01) == (["A 08:00-"], ["A 08:00-"])


@pytest.mark.parametrize("trigger", ["A06", "A07"])
def test_t15_a_change_of_class_moves_like_a_move(trigger):
    changed = adt(trigger, "10:00", "B", prior="A", patient_class="I")
    assert tracks(A01, changed)[0] == ["A 08:00-10:00", "B 10:00-"]
    assert tracks(A01, adt(trigger, "10:00", "C", prior="B"))[0] == [
        "A 08:00-~09:59:59", "B ~09:59:59-10:00", "C 10:00-",
    ]  # fmt: skip
    assert tracks(A01, adt(trigger, "10:00", "A", prior="A"))[0] == ["A 08:00-"]


def test_t15_an_unknown_visit_begins_with_the_change_of_class():
    result = found(adt("A07", "10:00", "B", patient_class="O"))
    assert (shape(result.stays), result.status) == (["B 10:00-"], "active")


def test_t15_a_cancelled_transfer_leaves_a_change_of_class_alone():
    changed = adt("A06", "10:00", "B", prior="A")
    result = found(A01, changed, adt("A12", "10:00", "A", prior="B", reported="10:20"))
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert len(result.unresolved) == 1


def test_t18_a_swap_moves_each_visit_at_the_same_instant():
    mine = adt("A17", "10:00", "B", prior="A")
    theirs = (adt("A01", "08:00", "B"), adt("A17", "10:00", "A", prior="B"))
    assert tracks(A01, mine)[0] == ["A 08:00-10:00", "B 10:00-"]
    assert tracks(*theirs)[0] == ["B 08:00-10:00", "A 10:00-"]


# --- T16: departures and arrivals -----------------------------------------------------------------


def test_t16_a_temporary_move_leaves_the_bed_the_patients():
    assert tracks(A01, TO_X) == (["A 08:00-"], ["A 08:00-10:00", "X 10:00-"])
    assert tracks(A01, TO_X, BACK) == (
        ["A 08:00-"],
        ["A 08:00-10:00", "X 10:00-11:00", "A 11:00-"],
    )


def test_t16_a_stay_after_the_return_names_the_arrival():
    stay = found(A01, TO_X, BACK).physical[-1]
    assert (stay.start_event_id, stay.start_field) == (BACK["event_id"], "EVN-2")


def test_t16_from_one_temporary_place_to_another():
    further = adt("A09", "10:30", prior_temporary_place="X", temporary_place="Y")
    assert tracks(A01, TO_X, further, BACK)[1] == [
        "A 08:00-10:00", "X 10:00-10:30", "Y 10:30-11:00", "A 11:00-",
    ]  # fmt: skip


def test_t16_in_transit_the_patient_is_at_neither_place():
    assert tracks(A01, TRANSIT) == (["A 08:00-"], ["A 08:00-10:00"])


def test_t16_an_arrival_that_ends_a_transit_elsewhere_moves_the_bed():
    assert tracks(A01, TRANSIT, AT_B) == (
        ["A 08:00-11:00", "B 11:00-"],
        ["A 08:00-10:00", "B 11:00-"],
    )
    left = adt("A03", "15:00", "B")
    assert tracks(A01, TRANSIT, AT_B, left)[0] == ["A 08:00-11:00", "B 11:00-15:00"]


def test_t16_an_arrival_that_ends_a_transit_where_it_began_moves_nothing():
    assert tracks(A01, TRANSIT, adt("A10", "11:00", "A")) == (
        ["A 08:00-"],
        ["A 08:00-10:00", "A 11:00-"],
    )


def test_t16_an_arrival_that_ends_no_transit_moves_no_bed():
    assert tracks(A01, AT_B) == (["A 08:00-"], ["A 08:00-11:00", "B 11:00-"])
    assert tracks(A01, TO_X, AT_B)[0] == ["A 08:00-"]


def test_t16_an_arrival_at_a_temporary_place_stays_away():
    arrived = adt("A10", "10:20", "A", temporary_place="X")
    assert tracks(A01, TRANSIT, arrived) == (
        ["A 08:00-"],
        ["A 08:00-10:00", "X 10:20-"],
    )
    returned = adt("A10", "11:00", "A", temporary_place="X", prior_temporary_place="X")
    assert tracks(A01, TO_X, returned)[1][-1] == "A 11:00-"


def test_t16_tracking_names_the_place_in_pv1_3():
    tracked = adt("A09", "10:00", "T", prior="A")
    assert tracks(A01, tracked) == (["A 08:00-"], ["A 08:00-10:00", "T 10:00-"])


@pytest.mark.parametrize("place", ["A", None])
def test_t16_a_departure_to_nowhere_said_is_to_nowhere_known(place):
    assert tracks(A01, adt("A09", "10:00", place)) == (["A 08:00-"], ["A 08:00-10:00"])


def test_t16_a_place_said_to_be_unknown_is_nowhere():
    assert tracks(A01, adt("A09", "10:00", temporary_place=""))[1] == ["A 08:00-10:00"]
    assert tracks(A01, TO_X, adt("A10", "11:00", ""))[1] == ["A 08:00-10:00", "X 10:00-11:00"]


def test_t16_a_cancelled_departure_never_was():
    cancel = adt("A33", "10:00", "A", reported="10:10")
    assert tracks(A01, TO_X, cancel) == (["A 08:00-"], ["A 08:00-"])
    assert tracks(A01, TO_X, adt("A33", "10:10", "A", by="EVN-2"))[1] == ["A 08:00-"]


def test_t16_a_cancelled_arrival_leaves_the_patient_away():
    cancel = adt("A32", "11:00", reported="11:10")
    assert tracks(A01, TO_X, BACK, cancel)[1] == ["A 08:00-10:00", "X 10:00-"]
    assert tracks(A01, TRANSIT, AT_B, cancel) == (["A 08:00-"], ["A 08:00-10:00"])


def test_t16_a_cancellation_takes_only_what_happened_at_its_time():
    later = adt("A09", "13:00", prior="A", temporary_place="Y")
    cancel = adt("A33", "10:00", "A", reported="13:10")
    assert tracks(A01, TO_X, BACK, later, cancel)[1] == ["A 08:00-13:00", "Y 13:00-"]


@pytest.mark.parametrize("trigger", ["A32", "A33", "A52", "A53"])
def test_t4_a_cancellation_of_nothing_is_listed_and_makes_no_visit(trigger):
    result = found(adt(trigger, "10:00", "A", reported="10:10"))
    assert (result.stays, result.physical, result.status) == ((), (), None)
    assert len(result.unresolved) == 1


def test_t4_what_was_reported_after_the_cancellation_lives():
    cancel = adt("A33", "10:00", "A", reported="10:10")
    anew = adt("A09", "10:00", prior="A", temporary_place="Y", reported="10:20")
    assert tracks(A01, TO_X, cancel, anew)[1] == ["A 08:00-10:00", "Y 10:00-"]


def test_t16_departures_and_arrivals_of_nobody_are_passed_over():
    result = found(TO_X, BACK)
    assert (result.stays, result.physical, result.status) == ((), (), None)


def test_t16_a_transfer_ends_a_temporary_move_and_a_move_to_the_bed_does_not():
    assert tracks(A01, TO_X, A02) == (
        ["A 08:00-12:00", "B 12:00-"],
        ["A 08:00-10:00", "X 10:00-12:00", "B 12:00-"],
    )
    assert tracks(A01, TO_X, adt("A02", "12:00", "A"))[1] == ["A 08:00-10:00", "X 10:00-"]


def test_t16_a_temporary_place_that_becomes_the_bed_is_one_stay():
    assert tracks(A01, TO_X, adt("A02", "12:00", "X")) == (
        ["A 08:00-12:00", "X 12:00-"],
        ["A 08:00-10:00", "X 10:00-"],
    )


def test_t16_a_discharge_while_away_ends_both_tracks():
    assert tracks(A01, TO_X, A03) == (["A 08:00-15:00"], ["A 08:00-10:00", "X 10:00-15:00"])
    assert tracks(A01, LEAVE, A03) == (["A 08:00-15:00"], ["A 08:00-10:00"])


def test_t16_an_absence_without_a_bed_is_one_too():
    assert tracks(adt("A04", "08:00"), TO_X) == ([], ["X 10:00-"])


def test_t16_departures_and_arrivals_told_twice_change_nothing():
    again = adt("A09", "10:05", prior="A", temporary_place="X")
    back = adt("A10", "11:05", "A")
    assert tracks(A01, TO_X, again, BACK, back) == tracks(A01, TO_X, BACK)


def test_t16_who_leaves_and_comes_back_at_one_instant_is_back():
    assert tracks(A01, TO_X, adt("A10", "10:00", "A"))[1] == ["A 08:00-"]


def test_t16_while_in_bed_both_tracks_are_the_same():
    result = found(A01, A02)
    assert result.physical is result.stays


# --- T19: leave -----------------------------------------------------------------------------------


def test_t19_on_leave_the_bed_stays_and_the_patient_is_nowhere():
    result = found(A01, LEAVE)
    assert (shape(result.stays), shape(result.physical)) == (["A 08:00-"], ["A 08:00-10:00"])
    assert result.status == "on_leave"


def test_t19_the_return_ends_the_leave():
    assert tracks(A01, LEAVE, RETURN) == (["A 08:00-"], ["A 08:00-10:00", "A 11:00-"])
    assert found(A01, LEAVE, RETURN).status == "active"


def test_t19_nothing_but_the_return_or_discharge_ends_a_leave():
    assert tracks(A01, LEAVE, A02) == (["A 08:00-12:00", "B 12:00-"], ["A 08:00-10:00"])
    assert tracks(A01, LEAVE, AT_B)[1] == ["A 08:00-10:00"]
    assert tracks(A01, LEAVE, adt("A09", "10:30", temporary_place="X"))[1] == ["A 08:00-10:00"]
    assert tracks(A01, LEAVE, adt("A21", "10:30", "A"), RETURN)[1][-1] == "A 11:00-"


def test_t19_a_return_without_leave_changes_nothing():
    assert tracks(A01, RETURN)[1] == ["A 08:00-"]
    assert tracks(A01, TO_X, RETURN)[1] == ["A 08:00-10:00", "X 10:00-"]


def test_t19_a_cancelled_leave_never_was():
    assert tracks(A01, LEAVE, adt("A52", "10:00", "A", reported="10:10"))[1] == ["A 08:00-"]


def test_t19_a_cancelled_return_leaves_the_patient_on_leave():
    assert tracks(A01, LEAVE, RETURN, adt("A53", "11:00", reported="11:10"))[1] == ["A 08:00-10:00"]


# --- T17, T26: plans ------------------------------------------------------------------------------


def plan(trigger: str, at: str, place: str | None = None, **more: object) -> Event:
    return adt(trigger, at, planned_place=place, **more)


TRANSFER = plan("A15", "09:00", "B")


@pytest.mark.parametrize("trigger", ["A05", "A14", "A15", "A16"])
def test_t17_a_plan_is_on_the_planned_track_only(trigger):
    result = found(A01, plan(trigger, "09:00", "B"))
    assert (shape(result.stays), shape(result.physical)) == (["A 08:00-"], ["A 08:00-"])
    assert shape(result.planned) == ["B 09:00-"]


def test_t17_a_plan_dates_from_its_report_not_from_when_it_is_for():
    ahead = plan("A15", "20:00", "B", reported="09:00", by="EVN-6")
    stay = found(A01, ahead).planned[0]
    assert (shape([stay]), stay.start_field) == (["B 09:00-"], "reported")
    assert found(A01, TRANSFER).planned[0].start_field == "EVN-2"


def test_t17_a_plan_lasts_until_the_patient_moves():
    assert planned(A01, TRANSFER, A02) == ["B 09:00-12:00"]
    assert planned(A01, TRANSFER, A03) == ["B 09:00-15:00"]
    assert planned(A01, TRANSFER, TRANSIT, AT_B) == ["B 09:00-11:00"]
    assert planned(plan("A05", "07:00", "A"), A01) == ["A 07:00-08:00"]
    assert planned(A01, TRANSFER, adt("A02", "10:00", "A")) == ["B 09:00-"]


def test_t17_a_plan_told_when_the_patient_moves_is_for_a_later_move():
    assert planned(A01, plan("A15", "12:00", "C"), A02) == ["C 12:00-"]


@pytest.mark.parametrize(
    ("trigger", "cancel"), [("A05", "A38"), ("A14", "A27"), ("A15", "A26"), ("A16", "A25")]
)
def test_t17_a_cancelled_plan_was_one_until_then(trigger, cancel):
    told = plan(trigger, "09:00", "B")
    assert planned(A01, told, plan(cancel, "10:00")) == ["B 09:00-10:00"]
    assert planned(A01, told, plan(cancel, "10:00", "B")) == ["B 09:00-10:00"]


def test_t17_a_cancellation_of_another_plan_ends_none_and_is_listed():
    for other in (plan("A25", "10:00"), plan("A26", "10:00", "C"), plan("A26", "08:30")):
        result = found(A01, TRANSFER, other)
        assert shape(result.planned) == ["B 09:00-"]
        assert result.unresolved == (other["event_id"],)


def test_t17_another_plan_replaces_the_first_and_the_same_again_does_not():
    assert planned(A01, TRANSFER, plan("A15", "10:00", "C")) == ["B 09:00-10:00", "C 10:00-"]
    assert planned(A01, TRANSFER, plan("A15", "10:00", "B")) == ["B 09:00-"]
    assert planned(A01, TRANSFER, plan("A16", "10:00")) == ["B 09:00-"]


def test_t17_a_plan_is_open_again_when_what_fulfilled_it_is_cancelled():
    cancel = adt("A12", "12:00", "A", prior="B", reported="12:10")
    assert planned(A01, TRANSFER, A02, cancel) == ["B 09:00-"]


def test_t17_a_plan_for_a_visit_makes_it_a_planned_one():
    told = plan("A05", "07:00", "A")
    assert found(told).status == "planned"
    assert found(told, plan("A38", "07:30")).status == "cancelled"
    assert found(told, A01).status == "active"
    assert found(TRANSFER).status is None


def test_t26_a_preadmission_by_its_class_is_planned():
    ahead = adt("A04", "07:00", "A", patient_class="P")
    result = found(ahead)
    assert (result.stays, shape(result.planned)) == ((), ["A 07:00-"])
    assert (result.status, result.admitted_at) == ("planned", None)
    assert tracks(ahead, A01)[0] == ["A 08:00-"]
    assert found(ahead, adt("A11", "07:00", "A", reported="07:30")).status == "cancelled"


# --- T21: what isn't said -------------------------------------------------------------------------


def test_t21_a_temporary_place_that_names_nothing_is_not_said():
    nothing = adt("A09", "10:00", prior="A", temporary_place="^^^^OCC", pending_place="B")
    assert tracks(A01, nothing, AT_B)[0] == ["A 08:00-11:00", "B 11:00-"]


# --- T23: movements by id -------------------------------------------------------------------------


def moved(trigger: str, at: str, place: str | None, number: int, **more: object) -> Event:
    return adt(trigger, at, place, movement_id=movement(number), **more)


M1 = moved("A01", "08:00", "A", 1)
M2 = moved("A02", "10:00", "B", 2, prior="A")
M3 = moved("A02", "12:00", "C", 3, prior="B")


def test_t23_a_cancellation_takes_back_the_movement_that_it_names():
    cancel = moved("A12", "10:00", "A", 2, prior="X", reported="10:30")
    other = adt("A02", "10:00", "D", reported="10:01")
    assert tracks(M1, M2, cancel)[0] == ["A 08:00-"]
    assert tracks(M1, M2, other, cancel)[0] == ["A 08:00-10:00", "D 10:00-"]


def test_t23_only_the_current_movement_can_be_cancelled():
    result = found(M1, M2, M3, moved("A12", "10:00", "A", 2, reported="12:30"))
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-12:00", "C 12:00-"]
    assert len(result.unresolved) == 1


def test_t23_movements_are_cancelled_one_after_the_other():
    last = moved("A12", "12:00", "B", 3, reported="12:30")
    before = moved("A12", "10:00", "A", 2, reported="12:40")
    assert tracks(M1, M2, M3, last, before)[0] == ["A 08:00-"]
    again = moved("A12", "12:00", "B", 3, reported="12:50", name="again")
    assert found(M1, M2, M3, last, again).unresolved == ()


def test_t23_a_cancellation_of_an_unknown_movement_takes_nothing_and_is_listed():
    cancel = moved("A12", "10:00", "A", 9, prior="B", reported="10:30")
    result = found(M1, M2, cancel)
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert result.unresolved == (cancel["event_id"],)


def test_t23_a_discharge_is_cancelled_by_its_movement_too():
    left = moved("A03", "12:00", "B", 3)
    assert tracks(M1, M2, left, moved("A13", "12:00", None, 3, reported="12:30"))[0] == [
        "A 08:00-10:00", "B 10:00-",
    ]  # fmt: skip


def test_t23_an_update_replaces_what_the_movement_said():
    update = moved("Z99", "09:30", "D", 2, reported="11:00")
    result = found(M1, M2, update)
    assert shape(result.stays) == ["A 08:00-09:30", "D 09:30-"]
    assert result.stays[1].start_event_id == update["event_id"]
    assert result.stays[1].start_field == "ZBE-2"


def test_t23_what_an_update_leaves_unsaid_stays():
    assert tracks(M1, M2, moved("Z99", "09:30", None, 2, reported="11:00"))[0] == [
        "A 08:00-09:30", "B 09:30-",
    ]  # fmt: skip
    untimed = moved("Z99", "11:00", "D", 2, by="EVN-2")
    assert tracks(M1, M2, untimed)[0] == ["A 08:00-10:00", "D 10:00-"]


def test_t23_the_update_reported_last_wins():
    first = moved("Z99", "09:30", "D", 2, reported="11:00")
    last = moved("Z99", "09:40", "E", 2, reported="11:10")
    assert tracks(M1, M2, first, last)[0] == ["A 08:00-09:40", "E 09:40-"]


def test_t23_an_update_of_an_unknown_movement_does_nothing_and_is_listed():
    update = moved("Z99", "09:30", "D", 9, reported="11:00")
    result = found(M1, M2, update)
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert result.unresolved == (update["event_id"],)
    assert found(update).status is None


def test_t23_an_updated_movement_can_be_cancelled():
    update = moved("Z99", "09:30", "D", 2, reported="11:00")
    cancel = moved("A12", "09:30", "A", 2, reported="11:30")
    assert tracks(M1, M2, update, cancel)[0] == ["A 08:00-"]


def past(trigger: str, at: str, place: str | None, number: int = 9, **more: object) -> Event:
    return moved(trigger, at, place, number, movement_historic=True, **more)


def test_t23_a_past_movement_fills_the_past():
    assert tracks(M1, M3, past("A02", "10:00", "B", reported="13:00"))[0] == [
        "A 08:00-10:00", "B 10:00-12:00", "C 12:00-",
    ]  # fmt: skip


@pytest.mark.parametrize("trigger", ["A01", "A02", "A03", "A06"])
def test_t23_a_past_movement_moves_nobody_now(trigger):
    assert tracks(M1, past(trigger, "10:00", "B", reported="13:00"))[0] == ["A 08:00-"]


def test_t23_a_past_leave_or_departure_moves_nobody_now():
    for event in (past("A21", "10:00", None), past("A09", "10:00", None, temporary_place="X")):
        assert tracks(M1, event)[1] == ["A 08:00-"]


def test_t23_past_movements_that_lead_to_where_the_patient_is_now_count():
    there, back = past("A02", "10:00", "B"), past("A02", "11:00", "A", 8)
    assert tracks(M1, there, back)[0] == ["A 08:00-10:00", "B 10:00-11:00", "A 11:00-"]
    assert tracks(past("A01", "08:00", "A"), past("A03", "11:00", "A", 8))[0] == ["A 08:00-11:00"]


def test_t23_past_movements_alone_put_nobody_anywhere_now():
    assert tracks(past("A01", "08:00", "A")) == ([], [])


def test_t23_a_past_movement_is_updated_in_the_past():
    update = past("Z99", "09:00", "D", 2, reported="13:00")
    last = moved("A02", "12:00", "C", 3)
    assert tracks(M1, M2, last, update)[0] == ["A 08:00-09:00", "D 09:00-12:00", "C 12:00-"]


@pytest.mark.parametrize("at", ["09:00", "13:00"])
def test_t23_an_update_of_the_past_leaves_the_current_movement_alone(at):
    update = past("Z99", at, "D", 3, reported="13:00")
    result = found(M1, M2, M3, update)
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-12:00", "C 12:00-"]
    assert result.unresolved == (update["event_id"],)


def test_t23_an_update_that_brings_the_past_to_now_is_refused():
    update = past("Z99", "13:00", "D", 2, reported="13:00")
    result = found(M1, M2, M3, update)
    assert shape(result.stays)[1:] == ["B 10:00-12:00", "C 12:00-"]
    assert result.unresolved == (update["event_id"],)


def test_t23_a_cancellation_of_the_past_takes_nothing_back():
    result = found(M1, M2, past("A12", "10:00", "A", 2, reported="13:00"))
    assert shape(result.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert len(result.unresolved) == 1


# --- deleted, joined, given to another patient ----------------------------------------------------


def test_a_deleted_visit_never_was():
    result = found(A01, TO_X, TRANSFER, adt("A23", "13:00", "A"))
    assert (result.stays, result.physical, result.planned) == ((), (), ())
    assert (result.status, result.unresolved) == ("deleted", ())


def test_what_is_reported_after_the_deletion_lives():
    result = found(A01, adt("A23", "09:00", "A"), adt("A01", "08:30", "B", reported="09:30"))
    assert (shape(result.stays), result.status) == (["B 08:30-"], "active")


def test_a_deletion_of_nothing_makes_no_visit():
    assert found(adt("A23", "09:00", "A")).status is None


def test_m5_a_visit_whose_number_was_changed_has_no_path_here():
    joined = adt("A50", "09:00", into_admission_id=OTHER)
    result = found(A01, TO_X, TRANSFER, joined, adt("A02", "12:00", "B"))
    assert (result.stays, result.physical, result.planned) == ((), (), ())
    assert result.status == "joined"
    assert found(joined).status is None


def test_m5_a_visit_belongs_to_whom_it_was_given_last():
    first = adt("A45", "09:00", patient_id=OTHER)
    last = adt("A45", "08:30", patient_id=PATIENT, reported="09:30")
    assert found(A01).patient_id is None
    assert found(A01, first).patient_id == OTHER
    assert found(A01, first, last).patient_id == PATIENT
