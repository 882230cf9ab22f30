"""Results become evidence: state, clinical time, codes, order, patient and visit."""

from dataclasses import replace
from zoneinfo import ZoneInfo

import pytest

from streams.ledger.mapping.facts import Ignored
from tests.streams.ledger.mapping.messages import (
    FEED,
    PATIENT,
    REQUEST,
    RESULT,
    VISIT,
    mapped,
    message,
    obr,
    obx,
    one,
    oru,
    segment,
    told,
    utc,
)

OTHER = "PID|||1002^^^NORTH^MR||Finch^Bea"


@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((each, "pending") for each in "PRIS"), *((each, "final") for each in "FVUAB"),
        ("C", "corrected"), ("D", "revoked"), ("W", "revoked"), ("X", "unobtainable"),
        ("N", "not_evidence"), ("O", "not_evidence"), ("f", "final"), ("Q", "unknown"),
        ("F^Final results^HL70085", "final"), ("", "unknown"),
    ],
)  # fmt: skip
def test_v2_obx_11_says_the_state(status, state):
    draft = one(oru(REQUEST, obx(_11=status)))
    assert draft.data["state"] == state
    assert draft.data["state_field"] == ("OBX-11" if status else None)
    assert draft.data["raw_state"] == (status[:1].upper() or None)


def test_v2_where_obx_11_is_silent_obr_25_says_it():
    draft = one(oru(obr(_25="P"), obx(_11="")))
    assert (draft.data["state"], draft.data["state_field"]) == ("pending", "OBR-25")
    assert one(oru(obr(_25="P"), obx(_11="F"))).data["state"] == "final"


def test_a_state_that_looks_like_text_is_not_kept():
    draft = one(oru(REQUEST, obx(_11="Rook")))
    assert (draft.data["state"], draft.data["raw_state"]) == ("unknown", None)


def test_v4_a_silent_result_under_an_order_for_it_is_no_evidence():
    asked = oru("ORC|NW|P1^CPOE", REQUEST, obx(_11=""))
    assert one(asked).data["state"] == "not_evidence"
    assert one(oru("ORC|NW|P1^CPOE", REQUEST, obx())).data["state"] == "final"


@pytest.mark.parametrize("control", ["CA", "DC", "OC", "CR"])
def test_v4_a_cancelled_order_is_told_of_beside_its_results(control):
    cancelled, result = told(oru(f"ORC|{control}|P1^CPOE", REQUEST, obx(_11="X")))
    assert (cancelled.data["kind"], cancelled.data["state"]) == ("order", "cancelled")
    assert cancelled.data["raw_state"] == control
    assert cancelled.data["codes"] == [{"system": "LN", "code": "24323-8"}]
    assert cancelled.order == result.order
    assert cancelled.order.value == "P1"
    assert result.data["state"] == "unobtainable"


def test_v4_an_order_is_cancelled_without_a_result_and_at_its_own_time():
    body = oru("ORC|CA|P1^CPOE|||||||20260302083000", "ORC|RE|P2^CPOE")
    assert (one(body).occurred_field, one(body).occurred.at) == ("ORC-9", utc(2026, 3, 2, 8, 30))


def test_v4_a_new_order_is_nothing():
    facts = mapped(oru("ORC|NW|P1^CPOE", REQUEST))
    assert len(facts.parts[0].drafts) == 1
    assert facts.left_out == ("no evidence: nothing observed, administered, ordered or cancelled",)


def test_a_cancelled_order_without_a_number_is_left_out():
    facts = mapped(oru("ORC|CA"))
    assert facts.left_out == ("a cancelled order without a number",)


@pytest.mark.parametrize(
    ("request_", "result", "field", "at"),
    [
        (obr(), obx(_14="202603020830"), "OBX-14", utc(2026, 3, 2, 8, 30)),
        (obr(), obx(), "OBR-7", utc(2026, 3, 2, 8)),
        (obr(_7="", _8="202603020815"), obx(), "OBR-8", utc(2026, 3, 2, 8, 15)),
        (obr(_7=""), obx(), "MSH-7", utc(2026, 3, 2, 9)),
        (obr(_7="soon"), obx(_14="never"), "MSH-7", utc(2026, 3, 2, 9)),
        (obr(), obx(_14="20260302"), "OBR-7", utc(2026, 3, 2, 8)),
        (obr(_7=""), obx(_14="20260302"), "OBX-14", utc(2026, 3, 2)),
        (obr(), obx(_14="20260301"), "OBX-14", utc(2026, 3, 1)),
    ],
)
def test_v6_the_clinical_time_counts_and_says_its_field(request_, result, field, at):
    draft = one(oru(request_, result))
    assert (draft.occurred_field, draft.occurred.at) == (field, at)


def test_v6_without_any_time_it_is_when_it_was_received():
    assert one(oru(obr(_7=""), obx(), sent="")).occurred_field == "received"


def test_t22_a_time_without_zone_is_in_the_feeds_and_a_day_stays_one():
    berlin = replace(FEED, zone=ZoneInfo("Europe/Berlin"))
    draft = one(oru(REQUEST, obx(_14="202607020800")), berlin)
    assert draft.occurred.at == utc(2026, 7, 2, 6)
    zoned = one(oru(REQUEST, obx(_14="202607020800-0500")), berlin)
    assert zoned.occurred.at == utc(2026, 7, 2, 13)
    assert one(oru(obr(_7="20260702"), obx()), berlin).occurred.precision == "day"


def test_v8_codes_are_the_identifier_and_its_alternate_and_never_the_text():
    draft = one(oru(REQUEST, obx(_3="GLU^Glucose^99LAB^2345-7^Glucose^LOINC")))
    assert draft.data["codes"] == [
        {"system": "99LAB", "code": "GLU"}, {"system": "LN", "code": "2345-7"},
    ]  # fmt: skip
    assert draft.data["panel_codes"] == [{"system": "LN", "code": "24323-8"}]
    assert one(oru(REQUEST, obx(_3="^Glucose"))).data["codes"] == []


def test_an_observation_that_names_nothing_is_left_out_with_its_reason():
    facts = mapped(oru(REQUEST, obx(_3=""), obx()))
    assert [draft.role for draft in facts.parts[0].drafts] == ["patient", "observation"]
    assert facts.left_out == ("an observation that names nothing: OBX-3 is empty",)


def test_every_group_of_an_order_has_its_own_results():
    body = oru(
        "ORC|RE", obr(_2="P1", _3="F1"), obx(), "NTE|1||told", obr(_2="P2", _3="F2"), obx(),
        "ORC|RE|P3|F3", obr(_2="", _3=""), obx(), "ORC|RE|P4|F4", obx(),
    )  # fmt: skip
    drafts = told(body)
    assert [draft.order.value for draft in drafts] == ["P1", "P2", "P3", "P4"]
    assert [draft.ordinal for draft in drafts] == [0, 1, 2, 3]
    assert len({draft.stream for draft in drafts}) == 4


def test_an_orc_holds_for_the_next_request_alone():
    first, second = told(
        oru("ORC|RE|P1|F1", obr(_2="", _3=""), obx(), obr(_2="", _3=""), obx())
    )  # fmt: skip
    assert first.order.value == "P1"
    assert second.order is None
    assert "number" not in second.clear


def test_the_order_numbers_are_sealed_with_their_authorities():
    draft = one(oru(obr(_2="P1", _3="F1^^1.2.3^ISO"), obx()))
    assert draft.clear["number"] == {
        "placer": {"value": "P1", "authority": "NORTH"},
        "filler": {"value": "F1", "authority": "1.2.3"},
    }
    assert "P1" not in repr(draft)


def test_results_of_several_patients_are_each_ones_own():
    body = oru(PATIENT, VISIT, REQUEST, RESULT, OTHER, obr(_3="F2^LAB"), obx(), obx())
    facts = mapped(body)
    assert [part.claim.identifiers[0].value for part in facts.parts] == ["1001", "1002"]
    assert [part.claim.visit and part.claim.visit.value for part in facts.parts] == ["V5", None]
    ordinals = [[draft.ordinal for draft in part.drafts] for part in facts.parts]
    assert ordinals == [[0, 0], [1, 1, 2]]


def test_a_patient_who_is_not_named_costs_only_their_own_results():
    facts = mapped(oru("PID|||", REQUEST, RESULT, OTHER, REQUEST, RESULT))
    assert [part.claim.identifiers[0].value for part in facts.parts] == ["1002"]
    assert facts.left_out == ("no patient: PID-3 holds no identifier of a person",)
    nobody = mapped(message("ORU^R01", REQUEST, RESULT, "PID|||"))
    assert isinstance(nobody, Ignored)


def test_i6_the_patient_is_told_of_and_no_visit_is_made():
    drafts = mapped(oru(VISIT, REQUEST, RESULT)).parts[0].drafts
    assert [draft.event_type for draft in drafts] == ["patient.updated", "evidence.recorded"]
    assert drafts[0].clear["demographics"]["names"][0]["family"] == "Rook"
    assert drafts[0].occurred_field == "MSH-7"


def test_the_same_results_with_any_line_end_are_the_same_facts():
    segments = (VISIT, "ORC|RE", REQUEST, RESULT, obx(_2="TX", _5="fine"))
    ways = [mapped(oru(*segments, end=end)) for end in ("\r", "\n", "\r\n", "\r\r\n")]
    assert all(way == ways[0] for way in ways)


def test_the_message_says_when_it_was_sent():
    draft = one(oru(REQUEST, RESULT))
    assert draft.data["reported_at"] == utc(2026, 3, 2, 9).timestamp() * 1_000_000
    assert one(oru(REQUEST, RESULT, sent="soon")).data["reported_at"] is None


def test_v1_the_version_is_the_senders_and_hl7_has_none():
    assert one(oru(REQUEST, RESULT)).data["version"] is None


def test_a_plain_segment_is_what_it_looks_like():
    assert segment("OBX", {2: "NM"}) == "OBX||NM"
