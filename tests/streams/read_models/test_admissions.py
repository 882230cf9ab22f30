"""The admission read model: document 000's fields, whatever order the events came in."""

import itertools
import random

import pytest

from schemas import sealing
from schemas.events import Event
from sinks.changes import Row
from streams.read_models import ADMISSIONS
from tests.streams.trajectory.visits import PATIENT, VISIT, Tables, adt, arrive, batches, without

OTHER = "5d6c0e1e-0000-8000-8000-000000000002"
DETAILS = {
    "patient_class": "I",
    "attending_id": "5d6c0e1e-0000-8000-8000-000000000001",
    "admission_type": "E",
    "hospital_service": "CAR",
}
A01 = adt("A01", "08:00", "W1^R^1", **DETAILS, visit_number=b"sealed")
A02 = adt("A02", "10:00", "W2^R^2", prior="W1^R^1")
A03 = adt("A03", "12:00", "W2^R^2")


def tables(*events: Event, cuts: int = 0) -> Tables:
    made = Tables(ADMISSIONS)
    for batch in batches(arrive(events), cuts):
        made.apply(batch)
    return made


def row(*events: Event, cuts: int = 0) -> Row | None:
    return tables(*events, cuts=cuts).table("admission_read_models").get(VISIT)


def data(*events: Event) -> dict[str, object]:
    found = row(*events)
    assert found is not None
    return found["data"]


def test_an_admission_has_document_000s_fields():
    assert data(A01) == {
        "admission_id": VISIT,
        "patient_id": PATIENT,
        "visit_number": sealing.text(b"sealed"),
        "specialty": "CAR",
        "attending_id": DETAILS["attending_id"],
        "admission_type": "E",
        "patient_class": "I",
        "status": "active",
        "admit_date": "2026-03-01T08:00:00+00:00",
        "discharge_date": None,
        "current_location": "W1^R^1",
        "current_bed": "1",
        "unresolved": [],
    }


def test_a_move_changes_the_place_and_a_discharge_ends_the_visit():
    assert data(A01, A02)["current_bed"] == "2"
    ended = data(A01, A02, A03)
    assert (ended["status"], ended["discharge_date"]) == (
        "discharged",
        "2026-03-01T12:00:00+00:00",
    )
    assert (ended["current_location"], ended["current_bed"]) == (None, None)


def test_t7_a_cancelled_discharge_makes_the_visit_active_again():
    again = data(A01, A03, adt("A13", "12:00", "W1^R^1", reported="12:30"))
    assert (again["status"], again["discharge_date"]) == ("active", None)


def test_t4_t6_a_cancelled_admission_is_cancelled_in_both_orders():
    cancel = adt("A11", "08:00", "W1^R^1", reported="09:00")
    assert data(A01, cancel)["status"] == "cancelled"
    assert data(cancel, A01)["status"] == "cancelled"


@pytest.mark.parametrize("trigger", ["A11", "A03", "A12", "A13"])
def test_i6_an_end_or_a_cancellation_alone_makes_no_admission_and_waits(trigger):
    alone = adt(trigger, "12:00", "W1^R^1", reported="12:10")
    assert row(alone) is None
    assert data(alone, A01) == data(A01, alone)


@pytest.mark.parametrize("cuts", [0, 1])
def test_i6_an_update_alone_makes_no_admission(cuts):
    update = adt("A08", "07:00", "W1^R^1", hospital_service="SUR")
    assert row(update) is None
    late = row(update, A01, cuts=cuts)
    assert late is not None
    assert late["data"]["specialty"] == "CAR"
    newer = adt("A08", "09:00", "W1^R^1", hospital_service="SUR")
    assert data(newer, A01) == data(A01, newer)


def test_t8_an_update_changes_details_and_moves_nobody():
    update = adt("A08", "09:00", "W7^R^7", hospital_service="SUR", patient_class="")
    found = data(A01, update)
    assert (found["specialty"], found["patient_class"]) == ("SUR", None)
    assert (found["current_location"], found["attending_id"]) == (
        "W1^R^1",
        DETAILS["attending_id"],
    )


def test_t15_a_change_of_class_changes_the_class_and_the_place():
    found = data(A01, adt("A07", "10:00", "W2^R^2", prior="W1^R^1", patient_class="O"))
    assert (found["patient_class"], found["current_bed"]) == ("O", "2")
    assert found["status"] == "active"


def test_t19_on_leave_the_bed_is_kept():
    away = data(A01, adt("A21", "09:00", "W1^R^1"))
    assert (away["status"], away["current_bed"]) == ("on_leave", "1")
    assert data(A01, adt("A21", "09:00"), adt("A22", "10:00"))["status"] == "active"


def test_t17_a_preadmission_is_planned_until_it_is_cancelled_or_admitted():
    plan = adt("A05", "07:00", planned_place="W1^R^1")
    assert (data(plan)["status"], data(plan)["current_location"]) == ("planned", None)
    assert data(plan, adt("A38", "07:30"))["status"] == "cancelled"
    assert data(plan, A01)["status"] == data(A01, plan)["status"] == "active"
    assert row(adt("A15", "07:00", planned_place="W1^R^1")) is None


def test_a_deleted_visit_is_deleted_in_both_orders():
    deleted = adt("A23", "11:00", "W1^R^1")
    for events in ((A01, deleted), (deleted, A01)):
        found = data(*events)
        assert (found["status"], found["current_location"]) == ("deleted", None)
        assert (found["admit_date"], found["discharge_date"]) == (None, None)


def test_m5_a_visit_whose_number_changed_says_into_which():
    joined = adt("A50", "11:00", into_admission_id=OTHER)
    for events in ((A01, joined), (joined, A01)):
        found = data(*events)
        assert (found["status"], found["joined_into"]) == ("joined", OTHER)
    assert "joined_into" not in data(A01)


def test_m5_a_visit_is_the_patients_to_whom_it_was_given():
    given = adt("A45", "11:00", patient_id=OTHER)
    for events in ((A01, given, A03), (A03, given, A01)):
        found = row(*events)
        assert found is not None
        assert found["patient_id"] == found["data"]["patient_id"] == OTHER


def test_t12_every_order_and_every_batch_gives_the_same_admission():
    update = adt("A08", "09:00", hospital_service="SUR")
    cancel = adt("A12", "10:00", "W1^R^1", prior="W2^R^2", reported="10:20")
    rest = [A02, cancel, update, A03, adt("A13", "12:00", reported="12:20")]
    expected = data(A01, *rest)
    for order in itertools.permutations(rest):
        assert data(A01, *order) == expected
    events = [A01, *rest]
    for seed in range(20):
        random.Random(seed).shuffle(events)
        whole = row(*events)
        for cuts in range(1 << (len(events) - 1)):
            assert row(*events, cuts=cuts) == whole


def test_the_row_says_when_the_visit_was_first_and_last_heard_of():
    found = row(A01, A02)
    assert found is not None
    first, last = arrive([A01, A02])
    assert (found["partition"], found["partition_seq"]) == (3, 2)
    assert found["updated_at"] > found["created_at"]
    assert last["recorded_at"] > first["recorded_at"]


def test_what_it_keeps_of_an_update_does_not_grow():
    updates = [adt("A08", f"09:{minute:02}", hospital_service="SUR") for minute in range(60)]
    facts = tables(A01, *updates).table("admission_facts")[VISIT]["facts"]
    assert len(facts["path"]) == 1
    assert without(facts, "path", "details") == {}
