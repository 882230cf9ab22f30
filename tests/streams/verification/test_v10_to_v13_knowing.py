"""Rules V10 to V13: what absence says, who decides, which version counts, what never verifies."""

import pytest

from streams.verification.facts import Facts
from streams.verification.judge import judge
from tests.streams.verification.cases import (
    LAB,
    WARD,
    decision,
    evidence,
    facts,
    judged,
    link,
    outcome,
    reasons,
    rule,
    task,
    watermark,
)

# The window of a task ends at 10:30, the allowance at 11:30; two hours behind is silent.
LATE = watermark("23:00")


def test_v10_absence_is_no_refutation_before_the_watermark_has_passed():
    assert outcome(task()) == "pending"
    assert outcome(task(), watermark("11:30")) == "pending"
    assert outcome(task(), watermark("11:31")) == "refuted"
    assert reasons(task(), watermark("11:31")) == ("no_evidence",)


def test_v10_every_counted_feed_must_have_passed():
    ward = watermark("11:00", feed=WARD)
    assert outcome(task(), watermark("11:31"), ward) == "pending"
    assert outcome(task(), watermark("11:31"), watermark("11:32", feed=WARD)) == "refuted"


def test_v10_a_feed_that_falls_silent_turns_pending_into_unknown_and_not_into_refuted():
    silent = watermark("11:00", feed=WARD)
    assert outcome(task(), watermark("13:00"), silent) == "pending"
    assert outcome(task(), watermark("13:01"), silent) == "unknown_stale"
    assert reasons(task(), watermark("13:01"), silent) == ("feed_silent",)


def test_v10_a_feed_that_never_spoke_leaves_it_unknown():
    named = rule(feeds=frozenset({LAB, "never"}))
    assert outcome(task(), named, watermark("11:00")) == "pending"
    assert outcome(task(), named, watermark("11:31")) == "unknown_stale"


def test_v10_a_feed_that_tells_of_nothing_of_the_kind_does_not_count():
    adt = watermark("06:00", feed="adt", kind="adt")
    assert outcome(task(), watermark("11:31"), adt) == "refuted"
    assert outcome(task(), watermark("11:31", kind="adt")) == "unknown_stale"


def test_v10_any_message_of_a_counted_feed_says_that_it_lives():
    told = (watermark("09:00"), watermark("12:00", kind="adt"))
    assert outcome(task(), *told) == "refuted"


def test_v11_a_decision_stands_while_no_evidence_speaks_against_it():
    result = judged(task(), decision("verified", {"ledger": 1}), LATE)["t"]
    assert result.outcome == "verified"
    assert result.verified_by == "nurse"
    assert result.reasons == ("decided_over", "no_evidence")


def test_v11_a_decision_that_did_not_know_the_evidence_is_in_conflict_with_it():
    result = judged(task(), evidence(), decision("refuted", {"tablet": 1}))["t"]
    assert result.outcome == "conflict"
    assert result.vector_clock == {"emr": 1, "tablet": 1}
    assert (result.decisions, len(result.evidence)) == (("d",), 1)


def test_v11_a_decision_that_knew_the_evidence_stands_over_it_until_more_comes():
    knew = decision("refuted", {"emr": 1, "tablet": 1})
    assert outcome(task(), evidence(), knew) == "refuted"
    assert outcome(task(), evidence(), evidence("f", "10:05"), knew) == "conflict"


def test_v11_those_who_say_the_same_are_in_no_conflict():
    result = judged(task(), evidence(), decision("verified", {"tablet": 1}))["t"]
    assert (result.outcome, result.verified_by) == ("verified", None)


def test_v11_concurrent_decisions_that_differ_are_both_kept_until_one_knows_both():
    told = (decision("verified", {"a": 1}), decision("refuted", {"b": 1}, name="e", by="doctor"))
    assert outcome(task(), *told) == "conflict"
    assert judged(task(), *told)["t"].decisions == ("d", "e")
    settled = decision("refuted", {"a": 1, "b": 1, "ledger": 1}, name="f", version=3)
    result = judged(task(), *told, settled)["t"]
    assert (result.outcome, result.decisions) == ("refuted", ("f",))


def test_v11_the_hybrid_clock_orders_what_is_shown_and_decides_nothing():
    late = decision("verified", {"a": 1}, version=9)
    early = decision("verified", {"b": 1}, name="e", by="doctor", version=1)
    assert judged(task(), late, early)["t"].hlc == (9, 0, "nurse")
    refuted = decision("refuted", {"b": 1}, name="e", by="doctor", version=1)
    assert outcome(task(), late, refuted) == "conflict"


def test_v11_a_cancelled_task_is_void_whatever_was_decided():
    assert outcome(task(cancelled=True), decision("verified", {"a": 1})) == "void"


@pytest.mark.parametrize("order", [1, -1])
def test_v12_evidence_is_bound_to_the_version_that_was_fetched(order):
    announced = evidence(version="3", state="pending", reported="10:20")
    fetched = evidence(version="10", reported="10:10")
    [told] = judged(task(), *[announced, fetched][::order])["t"].evidence
    assert (told.version, told.state) == ("10", "final")


def test_v13_evidence_of_another_tenant_never_verifies():
    assert outcome(task(), evidence(tenant_id="theirs")) == "pending"
    theirs = task("theirs", tenant="theirs")
    assert outcome(task(), theirs, evidence(tenant_id="theirs"), of="theirs") == "pending"
    assert outcome(task(), evidence(), link("q", "p", tenant="theirs")) == "verified"
    assert outcome(task(), evidence(patient="q"), link("q", "p", tenant="theirs")) == "pending"


def test_v13_evidence_of_a_patient_who_was_parted_again_never_verifies():
    merged, parted = link("q", "p"), link("q", "p", "12:00", kind="undo")
    assert outcome(task(), evidence(patient="q"), merged) == "verified"
    assert outcome(task(), evidence(patient="q"), merged, parted) == "pending"


@pytest.mark.parametrize("clock", ["11:31", "12:00", "23:00", "5 12:00"])
def test_v13_a_dead_feed_verifies_and_refutes_nothing(clock):
    dead = (watermark("09:00"), watermark(clock, feed="adt", kind="adt"))
    assert outcome(task(), *dead) in ("pending", "unknown_stale")
    assert outcome(task(), rule(feeds=frozenset({LAB})), *dead) in ("pending", "unknown_stale")


def test_no_facts_have_no_results():
    assert judge(Facts()) == ()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ((task(rule=None),), "no_rule"),
        ((task(rule="gone"),), "rule_unknown"),
        ((task(patient=None),), "no_patient"),
        ((task(cancelled=True),), "cancelled"),
    ],
)
def test_a_task_that_cannot_be_looked_for_says_why(given, why):
    [result] = judge(facts(*given))
    assert result.reasons == (why,)
