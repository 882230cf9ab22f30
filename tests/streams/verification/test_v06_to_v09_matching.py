"""Rules V6 to V9: when, whose, by which code and value, and how many times."""

import random

import pytest

from streams.verification.matching import assigned
from streams.verification.rules import normal
from tests.streams.verification.cases import (
    Code,
    at,
    differing,
    evidence,
    judged,
    link,
    outcome,
    rule,
    task,
    visit,
    watermark,
)

LATE = watermark("23:00")


def test_v6_the_clinical_time_decides_and_not_the_receipt():
    assert outcome(task(), evidence(performed="10:10", reported="11:00")) == "verified"
    early = judged(task(), evidence(performed="08:00", reported="10:00"), LATE)["t"]
    assert (early.outcome, differing(early)) == ("refuted", {"performed_at"})


def test_v6_what_was_done_in_time_and_charted_late_is_verified_late():
    result = judged(task(), evidence(performed="10:10", reported="15:00"), LATE)["t"]
    assert result.outcome == "verified_late"
    [late] = result.discrepancies
    assert (late.field, late.found) == ("reported_at", at("15:00").isoformat())


def test_v6_late_charting_mends_a_refutation():
    assert outcome(task(), LATE) == "refuted"
    assert outcome(task(), LATE, evidence(performed="10:10", reported="15:00")) == "verified_late"


@pytest.mark.parametrize(
    ("performed", "said"),
    [("09:29", "pending"), ("09:30", "verified"), ("10:29", "verified"), ("10:30", "pending")],
)
def test_v6_a_window_begins_with_its_first_instant_and_ends_before_its_last(performed, said):
    assert outcome(task(), evidence(performed=performed)) == said


def test_v6_a_tasks_own_window_goes_before_its_rules():
    own = task(window_starts_at=at("06:00"), window_ends_at=at("07:00"))
    assert outcome(own, evidence(performed="06:30")) == "verified"
    assert outcome(own, evidence(performed="10:00")) == "pending"


def test_v6_a_task_without_any_time_waits_for_a_person():
    assert judged(task(due=None), evidence())["t"].reasons == ("no_window",)


def test_v7_evidence_of_a_merged_patient_is_the_survivors():
    merged = link("old", "p")
    assert outcome(task(), evidence(patient="old")) == "pending"
    assert outcome(task(), evidence(patient="old"), merged) == "verified"
    assert outcome(task(patient="old"), evidence(), merged) == "verified"
    assert judged(task(patient="old"), evidence(), merged)["t"].patient_id == "p"


def test_v7_evidence_of_another_encounter_is_none_unless_the_policy_says_so():
    other = evidence(admission_id="v2")
    result = judged(task(admission_id="v1"), other)["t"]
    assert (result.outcome, differing(result)) == ("pending", {"admission_id"})
    assert outcome(task(admission_id="v1"), other, rule(same_encounter=False)) == "verified"
    assert outcome(task(admission_id="v1"), evidence(admission_id="v1")) == "verified"


def test_v7_a_visit_under_its_former_number_is_the_same_visit():
    told = (task(admission_id="v1"), evidence(admission_id="v2"))
    assert outcome(*told, visit("v1", into="v2")) == "verified"
    assert outcome(*told, visit("v2", into="v1")) == "verified"
    circle = (visit("v1", into="v2"), visit("v2", into="v1"))
    assert outcome(*told, *circle) == "verified"


def test_v7_a_visit_that_moved_takes_its_evidence_along():
    told = (task(patient="q", admission_id="v"), evidence(patient="p", admission_id="v"))
    assert outcome(*told) == "pending"
    assert outcome(*told, visit("v", owner="q")) == "verified"
    stays = (task(patient="p"), evidence(patient="p", admission_id="v"), visit("v", owner="q"))
    assert outcome(*stays) == "pending"


def test_v8_codes_match_by_system_and_code_in_either_spelling():
    for system in ("LN", "http://loinc.org", "loinc"):
        assert outcome(task(), evidence(codes=frozenset({Code(system, "8310-5")}))) == "verified"
    assert outcome(task(), evidence(codes=frozenset({Code("L", "8310-5")}))) == "pending"


@pytest.mark.parametrize(
    ("asked", "told"),
    [(("http://hl7.org/fhir/sid/ndc", "0002-1433-80"), ("NDC", "00002143380")),
     (("SNOMED CT", "50417007"), ("SCT", "50417007")), (("99Ward", "bath"), ("99WARD", "bath")),
     (("urn:oid:2.16.840.1.113883.6.1", "8310-5"), ("LN", "8310-5"))],
)  # fmt: skip
def test_v8_a_rule_names_systems_and_codes_as_feeds_do(asked, told):
    assert normal(Code(*asked)) == normal(Code(*told))


@pytest.mark.parametrize(
    ("number", "unit", "said"),
    [(100.4, "[degF]", "verified"), (100.6, "F", "refuted"), (38.0, "Cel", "verified"),
     (37.0, "C", "verified"), (37.0, "mmol/L", "refuted"), (37.0, None, "refuted"),
     (None, "Cel", "refuted")],
)  # fmt: skip
def test_v8_units_are_made_one_before_a_threshold_is_looked_at(number, unit, said):
    limits = rule(low=36.0, high=38.0, unit="Cel")
    measured = evidence(value_number=number, value_unit=unit)
    assert outcome(task(), limits, measured, LATE) == said


@pytest.mark.parametrize(
    ("sign", "said"), [("<", "pending"), ("<=", "pending"), (">", "verified"), (None, "verified")]
)
def test_v8_a_value_that_may_lie_outside_does_not_count(sign, said):
    limits = rule(low=90.0, unit="%")
    measured = evidence(value_number=95.0, value_unit="%", value_comparator=sign)
    assert outcome(task(), limits, measured) == said


def test_v9_one_piece_of_evidence_satisfies_one_instance_the_nearest_due():
    tasks = [task("a", due="09:50"), task("b", due="10:10")]
    found = judged(*tasks, evidence(performed="10:05"))
    assert (found["a"].outcome, found["b"].outcome) == ("pending", "verified")


def test_v9_a_second_piece_of_evidence_does_not_count_twice():
    found = judged(task(), evidence("a", "10:00"), evidence("b", "10:01"))
    assert [each.evidence_id for each in found["t"].evidence] == ["a"]


def test_v9_as_many_instances_are_satisfied_as_can_be():
    tasks = [task("a", due="09:40"), task("b", due="10:10")]
    told = [evidence("x", "10:05"), evidence("y", "10:35")]
    found = judged(*tasks, *told)
    assert [found[name].evidence[0].evidence_id for name in "ab"] == ["x", "y"]


def test_v9_instances_of_other_rules_and_patients_have_their_own():
    found = judged(
        task("a"), task("b", rule="s"), task("c", patient="q"), rule(), rule("s"), evidence()
    )
    assert [found[name].outcome for name in "abc"] == ["verified", "verified", "pending"]


def test_v9_a_cancelled_instance_takes_no_evidence():
    found = judged(task("a", cancelled=True), task("b", due="10:20"), evidence())
    assert (found["a"].outcome, found["b"].outcome) == ("void", "verified")


def test_v9_evidence_that_names_the_order_goes_before_nearer_evidence_that_names_none():
    found = judged(task(order_id="o"), evidence("near"), evidence("far", "10:20", order_id="o"))
    assert found["t"].evidence[0].evidence_id == "far"


def least(costs):
    """The most tasks that can be satisfied and the least cost of that, by trying all ways."""
    tasks, best = list(costs), (0, 0)

    def try_from(index, used, count, cost):
        nonlocal best
        if index == len(tasks):
            best = min(best, (-count, cost))
            return
        try_from(index + 1, used, count, cost)
        for each, own in costs[tasks[index]].items():
            if each not in used:
                try_from(index + 1, used | {each}, count + 1, cost + own)

    try_from(0, frozenset(), 0, 0)
    return best


@pytest.mark.parametrize("seed", range(300))
def test_v9_the_assignment_is_the_best_of_all(seed):
    rng = random.Random(seed)
    costs = {
        f"t{i}": {f"e{j}": rng.randrange(20) for j in range(rng.randrange(6)) if rng.random() < 0.6}
        for i in range(rng.randrange(1, 6))
    }
    found = assigned(costs)
    assert len(set(found.values())) == len(found)
    assert (-len(found), sum(costs[name][each] for name, each in found.items())) == least(costs)


def test_v9_more_instances_than_are_solved_at_once_still_take_each_piece_once():
    many = {f"t{i:03}": {f"e{j:03}": abs(i - j) for j in range(200)} for i in range(200)}
    found = assigned(many)
    assert len(found) == 200
    assert len(set(found.values())) == 200
