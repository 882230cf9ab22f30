"""Rules V1 to V5: what a result is, and what the state of evidence says."""

from dataclasses import replace
from uuid import UUID

import pytest

from tests.streams.verification.cases import (
    TEMPERATURE,
    Code,
    at,
    differing,
    evidence,
    judged,
    outcome,
    reasons,
    rule,
    task,
    watermark,
)

LATE = watermark("23:00")


def test_v1_a_result_names_task_evidence_its_version_rule_version_and_outcome():
    [result] = judged(task(), evidence(version="4", reported="10:05")).values()
    assert (result.task_id, result.outcome, result.rule_version) == ("t", "verified", 1)
    [told] = result.evidence
    assert (told.evidence_id, told.version) == ("e", "4")
    assert result.verified_at == at("10:05")
    assert UUID(result.result_id).version == 5


def test_v1_the_same_facts_have_the_same_result_id():
    one, again = (judged(task(), evidence())["t"].result_id for _ in range(2))
    assert one == again


@pytest.mark.parametrize(
    "other",
    [
        (task(), evidence(version="5")),
        (task(), evidence(), rule(version=2)),
        (task("u"), evidence()),
        (task(),),
    ],
)
def test_v1_what_differs_in_any_of_them_has_another_id(other):
    [changed] = judged(*other).values()
    assert changed.result_id != judged(task(), evidence())["t"].result_id


def test_v1_an_edit_that_changes_nothing_of_it_keeps_the_id():
    edited = replace(task(), version=2, recorded_at=at("12:00"))
    assert judged(edited, evidence())["t"].result_id == judged(task(), evidence())["t"].result_id


@pytest.mark.parametrize("state", ["final", "corrected"])
def test_v2_final_and_corrected_evidence_is_acceptable(state):
    assert outcome(task(), evidence(state=state)) == "verified"


def test_v2_preliminary_evidence_is_pending_even_past_the_watermark():
    assert outcome(task(), evidence(state="pending"), LATE) == "pending"
    assert reasons(task(), evidence(state="pending")) == ("evidence_pending",)


def test_v2_a_correction_replaces_what_it_corrects_and_is_looked_at_again():
    limits = rule(high=38.0, unit="Cel")
    first = evidence(value_number=37.0, value_unit="Cel")
    corrected = evidence(reported="11:00", state="corrected", value_number=39.5, value_unit="Cel")
    assert outcome(task(), limits, first) == "verified"
    result = judged(task(), limits, first, corrected, LATE)["t"]
    assert result.outcome == "refuted"
    assert differing(result) == {"value"}


@pytest.mark.parametrize("order", [1, -1])
def test_v2_deleted_and_wrong_patient_evidence_is_revoked_whichever_came_first(order):
    told = [evidence(), evidence(reported="11:00", state="revoked")][::order]
    assert outcome(task(), *told) == "pending"
    assert outcome(task(), *told, LATE) == "refuted"


def test_v2_evidence_told_again_after_it_was_revoked_counts_again():
    told = [evidence(), evidence(reported="11:00", state="revoked"), evidence(reported="11:20")]
    assert outcome(task(), *told) == "verified"


def test_v2_what_cannot_be_obtained_refutes():
    assert reasons(task(), evidence(state="unobtainable")) == ("evidence_unobtainable",)
    assert outcome(task(), evidence(state="unobtainable")) == "refuted"


def test_v2_what_is_no_evidence_is_none():
    assert reasons(task(), evidence(state="not_evidence"), LATE) == ("no_evidence",)


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("final", "verified"), ("pending", "pending"), ("refuted", "refuted"),
        ("partial", "pending"), ("revoked", "refuted"), ("unknown", "unknown_stale"),
    ],
)  # fmt: skip
def test_v3_an_administration_says_by_its_state_what_was_done(state, said):
    assert outcome(task(), evidence(kind="administration", state=state), LATE) == said


@pytest.mark.parametrize("state", ["final", "pending", "corrected"])
def test_v4_an_order_never_verifies_that_something_was_done(state):
    order = evidence(kind="order", state=state, order_id="o")
    anything = rule(evidence_kinds=frozenset({"order", "observation"}))
    assert outcome(task(order_id="o"), order, LATE) == "refuted"
    assert outcome(task(order_id="o"), order) == "pending"
    assert anything.evidence_kinds >= {"order"}


def test_v4_a_cancelled_order_voids_its_task_unless_it_was_done():
    order = evidence("o1", "09:00", kind="order", state="cancelled", order_id="o")
    assert reasons(task(order_id="o"), order) == ("order_cancelled",)
    assert outcome(task(order_id="o"), order) == "void"
    assert outcome(task(order_id="o"), order, evidence(order_id="o")) == "verified"
    assert outcome(task(order_id="other"), order) == "pending"


def test_v4_evidence_of_another_order_is_none():
    result = judged(task(order_id="o"), evidence(order_id="x"))["t"]
    assert (result.outcome, differing(result)) == ("pending", {"order_id"})


@pytest.mark.parametrize(
    ("state", "said"),
    [("final", "verified"), ("partial", "pending"), ("refused", "refuted"),
     ("not_administered", "refuted"), ("revoked", "pending")],
)  # fmt: skip
def test_v5_an_immunization_is_complete_partial_refused_not_given_or_deleted(state, said):
    assert outcome(task(), evidence(kind="immunization", state=state)) == said


def test_v5_what_was_refused_first_and_given_then_was_given():
    refused = evidence("a", "09:50", kind="immunization", state="refused")
    given = evidence("b", "10:10", kind="immunization")
    assert outcome(task(), refused, given) == "verified"


def test_evidence_of_another_code_or_kind_is_none():
    other = evidence(codes=frozenset({Code("http://loinc.org", "0000-0")}))
    pulse = rule(evidence_kinds=frozenset({"administration"}))
    assert outcome(task(), other) == "pending"
    assert outcome(task(), pulse, evidence(codes=frozenset({TEMPERATURE}))) == "pending"
