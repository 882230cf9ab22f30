"""What each kind of movement says of a visit: classes, tracking, plans, swaps, leaves."""

from datetime import UTC, datetime

import pytest

from schemas.identity import Identifier
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.message import GROUPS_MAX

PLACES = {3: "W1^R1^B1", 6: "W2^R2^B2", 11: "T1", 42: "W4^R4^B4", 43: "T2"}
NOON = 1772452800_000000  # 2026-03-02 12:00 UTC


def types(part):
    return [draft.event_type for draft in part.drafts]


@pytest.mark.parametrize("trigger", ["A06", "A07"])
def test_t15_a_change_of_class_moves_inside_the_visit(adt, visit, trigger):
    draft = visit(adt(trigger, pv1={2: "O", 3: "W2^R1", 6: "W1"}))
    assert draft.event_type == "admission.class_changed"
    assert (draft.data["place"], draft.data["prior_place"]) == ("W2^R1", "W1")
    assert draft.data["patient_class"] == "O"


@pytest.mark.parametrize("trigger", ["A06", "A07"])
def test_t15_mrg_and_the_account_of_a_change_of_class_are_no_merge(adt, mapped, trigger):
    body = adt(trigger, pid={18: "ACC2"}, more=["MRG|2002^^^NORTH^MR||ACC1"])
    [part] = mapped(body).parts
    assert part.changes == ()
    assert types(part) == ["patient.updated", "admission.class_changed"]
    assert part.claim.visit.value == "V5"


@pytest.mark.parametrize(
    ("trigger", "event"),
    [
        ("A09", "departed"), ("A10", "arrived"), ("A33", "departure_cancelled"),
        ("A32", "arrival_cancelled"),
    ],
)  # fmt: skip
def test_t16_tracking_says_every_place(adt, visit, trigger, event):
    draft = visit(adt(trigger, pv1=PLACES))
    assert draft.event_type == f"admission.{event}"
    said = {name: value for name, value in draft.data.items() if name.endswith("place")}
    assert said == {
        "place": "W1^R1^B1", "prior_place": "W2^R2^B2", "temporary_place": "T1",
        "prior_temporary_place": "T2", "pending_place": "W4^R4^B4",
    }  # fmt: skip


def test_t16_a_place_that_is_not_said_is_unsaid(adt, visit):
    draft = visit(adt("A09", pv1={3: "", 6: "W1", 11: '""'}))
    assert (draft.data["place"], draft.data["temporary_place"]) == (None, "")
    assert draft.data["pending_place"] is None


@pytest.mark.parametrize(
    ("trigger", "plan", "planned", "expected"),
    [
        ("A05", "preadmit", "W4^R4^B4", 8), ("A14", "admit", "W4^R4^B4", 8),
        ("A15", "transfer", "W4^R4^B4", 8), ("A16", "discharge", "W4^R4^B4", 9),
    ],
)  # fmt: skip
def test_t17_a_plan_says_where_and_when(adt, segment, visit, trigger, plan, planned, expected):
    times = {8: "202603020000", 9: "202603020000"} | {expected: "202603021200"}
    draft = visit(adt(trigger, pv1=PLACES, more=[segment("PV2", times)]))
    assert draft.event_type == "admission.planned"
    assert (draft.data["plan"], draft.data["planned_place"]) == (plan, planned)
    assert draft.data["expected_at"] == NOON
    assert draft.data["place"] == "W1^R1^B1"


@pytest.mark.parametrize(("trigger", "place"), [("A05", "W1"), ("A14", "W1"), ("A15", None)])
def test_t17_an_admission_may_be_planned_into_the_place_itself(adt, visit, trigger, place):
    assert visit(adt(trigger, pv1={3: "W1"})).data["planned_place"] == place


def test_t17_evn_3_says_when_it_is_planned_where_pv2_does_not(adt, visit):
    assert visit(adt("A14", evn={3: "202603021200"})).data["expected_at"] == NOON
    assert visit(adt("A14", evn={3: "soon"})).data["expected_at"] is None


@pytest.mark.parametrize(
    ("trigger", "plan", "abandoned"),
    [
        ("A38", "preadmit", "W4^R4^B4"), ("A27", "admit", "W7^R7"),
        ("A26", "transfer", "W7^R7"), ("A25", "discharge", "W4^R4^B4"),
    ],
)  # fmt: skip
def test_t17_a_cancelled_plan_names_the_abandoned_place(adt, visit, trigger, plan, abandoned):
    draft = visit(adt(trigger, pv1=PLACES, more=["PV2|W7^R7"]))
    assert draft.event_type == "admission.plan_cancelled"
    assert (draft.data["plan"], draft.data["planned_place"]) == (plan, abandoned)
    assert visit(adt(trigger, pv1=PLACES)).data["planned_place"] == "W4^R4^B4"


@pytest.mark.parametrize("trigger", ["A05", "A14", "A15", "A16", "A25", "A26", "A27", "A38"])
def test_t17_a_plan_without_a_visit_is_about_the_patient_alone(adt, drafts, trigger):
    assert list(drafts(adt(trigger, pv1={19: ""}))) == ["patient.updated"]


SWAP = [
    "PID|2||1002^^^NORTH^MR||Finch^Ben",
    "PV1|2|I|W9^R9^B9|||W1^R2^B3|||||||||||||V6^^^NORTH^VN",
]


def test_t18_a_swap_is_two_parts_each_of_its_own_pid_and_pv1(adt, mapped):
    first, second = mapped(adt("A17", pv1={6: "W9^R9^B9"}, more=SWAP)).parts
    assert types(first) == types(second) == ["patient.updated", "admission.location_changed"]
    assert [part.claim.identifiers[0].value for part in (first, second)] == ["1001", "1002"]
    assert [part.claim.visit.value for part in (first, second)] == ["V5", "V6"]
    assert [part.drafts[1].data["place"] for part in (first, second)] == ["W1^R2^B3", "W9^R9^B9"]
    assert [part.drafts[1].clear["visit_number"] for part in (first, second)] == ["V5", "V6"]
    assert second.drafts[0].clear["demographics"]["names"] == [{"family": "Finch", "given": "Ben"}]


def test_t18_both_moves_of_a_swap_are_at_the_same_instant(adt, mapped):
    parts = mapped(adt("A17", evn={6: "20260302070000"}, more=SWAP)).parts
    moves = [part.drafts[1] for part in parts]
    assert {(move.occurred.at, move.occurred_field) for move in moves} == {
        (datetime(2026, 3, 2, 7, tzinfo=UTC), "EVN-6")
    }
    ids = [(one.event_type, one.ordinal, one.role) for part in parts for one in part.drafts]
    assert len(set(ids)) == len(ids)


def test_t18_a_second_pv1_is_not_mapped_to_the_first_patient(adt, mapped):
    [part] = mapped(adt("A17", more=SWAP[1:])).parts
    assert part.claim.visit.value == "V5"
    assert part.drafts[1].data["place"] == "W1^R2^B3"


def test_t18_a_swap_has_bounded_groups(adt, mapped):
    groups = [line.replace("1002", f"1{n}") for n in range(GROUPS_MAX) for line in SWAP]
    assert len(mapped(adt("A17", more=groups[2:])).parts) == GROUPS_MAX
    with pytest.raises(Unmappable, match="repeats too often"):
        mapped(adt("A17", more=groups))


@pytest.mark.parametrize(
    ("trigger", "event"),
    [
        ("A21", "leave_started"), ("A22", "leave_ended"), ("A52", "leave_cancelled"),
        ("A53", "return_cancelled"),
    ],
)  # fmt: skip
def test_t19_a_leave_happens_when_evn_6_says(adt, visit, trigger, event):
    draft = visit(adt(trigger, evn={6: "20260302070000"}))
    assert draft.event_type == f"admission.{event}"
    assert (draft.occurred_field, draft.occurred.at.hour) == ("EVN-6", 7)


@pytest.mark.parametrize("trigger", ["A01", "A04"])
def test_t26_a_preadmission_by_class_is_planned(adt, drafts, trigger):
    found = drafts(adt(trigger, pv1={2: "P", 3: "W1"}))
    draft = found["admission.planned"]
    assert (draft.data["plan"], draft.data["trigger"]) == ("preadmit", trigger)
    assert draft.data["planned_place"] == "W1"
    assert "patient.registered" in found


@pytest.mark.parametrize("patient_class", ["P", "I", ""])
def test_t6_a11_cancels_an_admission_whatever_its_class(adt, drafts, patient_class):
    found = drafts(adt("A11", pv1={2: patient_class, 3: "W1"}))
    assert found["admission.cancelled"].data["place"] == "W1"
    assert "admission.plan_cancelled" not in found


def test_t26_a_death_can_be_told_by_any_adt(adt, patient):
    demographics = patient(adt("A02", pid={29: "20260301", 30: "Y"}))
    assert demographics["deceased"] == "Y"
    assert demographics["deceased_at"]["text"] == "20260301"


def test_t26_the_end_in_pv1_45_alone_closes_nothing(adt, drafts):
    assert "admission.discharged" not in drafts(adt("A02", pv1={45: "20260301"}))


def test_a_visits_record_is_deleted(adt, visit):
    draft = visit(adt("A23"))
    assert draft.event_type == "admission.deleted"
    assert draft.clear == {"visit_number": "V5"}


MOVED = {1: "M1^NORTH", 2: "20260302063000", 4: "INSERT", 5: "N"}


def test_t23_a_movement_has_a_number_a_time_and_a_history(adt, segment, visit):
    draft = visit(adt("A02", evn={6: "2026030207"}, more=[segment("ZBE", MOVED)]))
    assert draft.event_type == "admission.location_changed"
    assert draft.movement == Identifier(value="M1", authority="NORTH")
    assert (draft.occurred_field, draft.occurred.text) == ("ZBE-2", "20260302063000")
    assert draft.data["movement_historic"] is False
    historic = visit(adt("A02", more=[segment("ZBE", MOVED | {5: "Y"})]))
    assert historic.data["movement_historic"] is True


def test_t23_without_zbe_nothing_is_numbered(adt, visit):
    draft = visit(adt("A02"))
    assert draft.movement is None
    assert (draft.data["movement_id"], draft.data["movement_historic"]) == (None, False)


@pytest.mark.parametrize(
    ("number", "authority"),
    [("M1^NORTH^1.2.3", "NORTH"), ("M1^^1.2.3", "1.2.3"), ("M1", "OURS")],
)
def test_t23_a_movement_is_of_its_authority(adt, segment, visit, feed, number, authority):
    ours = type(feed)(feed_id=feed.feed_id, tenant_id=feed.tenant_id, name="ours", authority="OURS")
    draft = visit(adt("A02", more=[segment("ZBE", MOVED | {1: number})]), ours)
    assert draft.movement == Identifier(value="M1", authority=authority)


def z99(adt, segment, **zbe):
    given = MOVED | {4: "UPDATE", 6: "A02"} | {int(key[1:]): text for key, text in zbe.items()}
    return adt("Z99", pv1={3: "W8"}, more=[segment("ZBE", given)])


def test_t23_an_update_replaces_what_the_movement_said(adt, segment, visit):
    draft = visit(z99(adt, segment))
    assert draft.event_type == "admission.movement_updated"
    assert (draft.data["original_trigger"], draft.data["trigger"]) == ("A02", "Z99")
    assert (draft.data["place"], draft.movement.value) == ("W8", "M1")
    assert visit(z99(adt, segment, _6="Rook")).data["original_trigger"] is None


@pytest.mark.parametrize(
    ("original", "event"),
    [
        ("A01", "cancelled"), ("A04", "cancelled"), ("A02", "location_change_cancelled"),
        ("A03", "discharge_cancelled"), ("A21", "leave_cancelled"), ("A22", "return_cancelled"),
        ("A09", "departure_cancelled"), ("A10", "arrival_cancelled"), ("A15", "plan_cancelled"),
    ],
)  # fmt: skip
def test_t23_a_cancelled_movement_is_the_cancellation_of_its_trigger(
    adt, segment, visit, original, event
):
    draft = visit(z99(adt, segment, _4="CANCEL", _6=original))
    assert draft.event_type == f"admission.{event}"
    assert draft.data["trigger"] == "Z99"
    by_trigger = visit(adt(original, more=[segment("ZBE", MOVED | {4: "CANCEL"})]))
    assert by_trigger.event_type == f"admission.{event}"


def test_t23_a_cancel_by_its_own_trigger_names_the_movement(adt, segment, visit):
    draft = visit(adt("A12", more=[segment("ZBE", MOVED | {4: "CANCEL", 6: "A02"})]))
    assert draft.event_type == "admission.location_change_cancelled"
    assert (draft.movement.value, draft.occurred_field) == ("M1", "ZBE-2")


@pytest.mark.parametrize(
    "zbe",
    [{"_1": ""}, {"_1": '""'}, {"_4": ""}, {"_4": "INSERT"}, {"_4": "CANCEL", "_6": ""},
     {"_4": "CANCEL", "_6": "A08"}, {"_4": "CANCEL", "_6": "A12"}],
)  # fmt: skip
def test_t23_a_z99_that_names_no_movement_or_no_action_is_refused(adt, segment, mapped, zbe):
    with pytest.raises(Unmappable) as raised:
        mapped(z99(adt, segment, **zbe))
    assert raised.value.cause == ("required_field" if "_1" in zbe else "structure")
    with pytest.raises(Unmappable):
        mapped(adt("Z99"))
