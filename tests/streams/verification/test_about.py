"""Decisions count for the time that they were made about, whatever the order becomes (V9, V11)."""

import itertools
from uuid import UUID

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.rows import dict_row

from sinks import verified
from streams.verification.about import NO_TIME, OTHER_PATIENT, OTHER_TIME
from streams.verification.judge import decided, judge
from tests.streams.verification import told
from tests.streams.verification.cases import at, uid
from tests.streams.verification.test_asked import asking, placed
from tests.streams.verification.test_orders import Memory
from tests.streams.verification.told import Line

LATE = told.spoke("3 00:00")
DAY_S = 24 * 3600


def known(*facts):
    memory = Memory()
    memory.tell(placed(facts))
    return memory.facts()


def judged(*facts):
    """By the time that it is due: outcome and reasons of each task that isn't taken back."""
    found = known(*facts)
    due = {task.task_id: task for task in found.tasks if not task.cancelled}
    return {
        (task.due_at or task.window_ends_at).strftime("%d %H:%M"): (each.outcome, *each.reasons)
        for each in judge(found)
        if (task := due.get(each.task_id))
    }


def daily(starts, count=3, reported="09:00", said="placed", **given):
    return told.order(
        "o", said, reported=reported, starts=starts, interval_s=DAY_S, occurrences=count, **given
    )


def decision(outcome="verified", number=1, due="1 10:00", **given):
    clock = given.pop("clock", {"ledger": 1})
    return told.decided(outcome, clock, order="o", number=number, due=due, **given)


def test_v11_a_decision_counts_for_the_time_it_was_made_about_alone():
    found = judged(asking(), daily("0 10:00"), decision())
    assert found["02 10:00"] == ("verified", "decided", "no_evidence_yet")
    assert {found[day][0] for day in ("01 10:00", "03 10:00")} == {"pending"}


def test_v11_a_decision_does_not_pass_to_another_time_when_the_order_is_rescheduled():
    later = daily("0 11:00", reported="09:30", said="changed")
    asked = asking(feeds=[told.FEED])
    for order in itertools.permutations((asked, daily("0 10:00"), later, decision(), LATE)):
        found = judged(*order)
        assert found["02 11:00"] == ("refuted", "no_evidence", OTHER_TIME)
        assert {found[day] for day in ("01 11:00", "03 11:00")} == {("refuted", "no_evidence")}


def test_v11_a_decision_follows_its_time_where_that_is_numbered_anew():
    fewer = daily("1 10:00", 2, reported="09:30", said="changed")
    found = judged(asking(), daily("0 10:00"), fewer, decision())
    assert found["02 10:00"] == ("verified", "decided", "no_evidence_yet")
    assert found["03 10:00"] == ("pending", "no_evidence_yet")


def test_v11_a_decision_counts_again_where_the_order_goes_back_to_its_time():
    away = daily("0 11:00", reported="09:30", said="changed")
    back = daily("0 10:00", reported="09:40", said="changed")
    meanwhile = decision("refuted", due="1 11:00", version=2, clock={"ledger": 2})
    told_of = (asking(), daily("0 10:00"), decision(), away, meanwhile)
    assert judged(*told_of)["02 11:00"] == ("refuted", "decided", "no_evidence_yet", OTHER_TIME)
    found = judged(*told_of, back)
    assert found["02 10:00"] == ("verified", "decided", "no_evidence_yet", OTHER_TIME)


def test_v11_a_time_that_the_order_has_no_more_is_kept_and_shown_under_the_number_it_had():
    once = told.order("o", "changed", reported="09:30", starts="0 10:00")
    facts = known(asking(), daily("0 10:00"), once, decision(number=2, due="2 10:00"))
    task = told.asked_of("o", number=2)
    [(one, why)] = decided(facts, task)
    assert (one.due.due_at, why) == (at("2 10:00"), OTHER_TIME)
    assert decided(facts, told.asked_of("o")) == []


def test_v11_a_decision_of_before_that_says_no_time_counts_for_nothing():
    old = decision(due=None)
    for name in ("rule_id", "due_at", "window_starts_at", "window_ends_at"):
        del old["data"][name]
    found = judged(asking(), daily("0 10:00"), old)
    assert found["02 10:00"] == ("pending", "no_evidence_yet", NO_TIME)


def test_v11_a_window_is_a_time_too_and_both_its_ends_count():
    order = told.order(starts="10:00", ends="12:00")
    right = told.decided("verified", {"ledger": 1}, order="o", window=("10:00", "12:00"))
    wrong = told.decided("verified", {"ledger": 1}, order="o", window=("09:00", "12:00"))
    assert judged(asking(), order, right)["01 12:00"][0] == "verified"
    assert judged(asking(), order, wrong)["01 12:00"] == ("pending", "no_evidence_yet", OTHER_TIME)


def test_v11_of_several_in_one_window_a_decision_counts_for_that_of_its_number():
    order = told.order(starts="00:00", ends="1 00:00", day=True, occurrences=3)
    one = told.decided(
        "verified", {"ledger": 1}, order="o", number=1, window=("00:00", "1 00:00")
    )  # fmt: skip
    outcomes = {each.task_id: each.outcome for each in judge(known(asking(), order, one))}
    assert [outcomes[told.asked_of("o", number=number)] for number in range(3)] == [
        "pending", "verified", "pending",
    ]  # fmt: skip


def test_v11_under_another_number_who_was_online_later_overrules_and_a_device_does_not():
    fewer = daily("1 10:00", 2, reported="09:30", said="changed")
    first = decision("verified")
    later = {"number": 0, "recorded_at": first["recorded_at"] + 1}
    online, device = decision("refuted", **later), decision("refuted", **later, replica="tablet")
    told_of = (asking(), daily("0 10:00"), fewer, first)
    assert judged(*told_of, online)["02 10:00"] == ("refuted", "decided", "no_evidence_yet")
    conflict = judged(*told_of, device)["02 10:00"]
    assert conflict == ("conflict", "no_evidence_yet", "decisions_differ")
    result = next(
        each
        for each in judge(known(*told_of, device))
        if each.task_id == told.asked_of("o", number=0)
    )
    assert len(result.decisions) == 2
    assert result.vector_clock == {"ledger": 1}


def test_v11_a_decision_under_the_fillers_number_counts_when_the_placers_is_told():
    under = told.order("f", starts="10:00")
    one = told.decided("verified", {"ledger": 1}, order="f", due="10:00")
    both = told.order("o", starts="10:00", filler="f")
    for order in itertools.permutations((asking(), under, one, both)):
        assert judged(*order) == {"01 10:00": ("verified", "decided", "no_evidence_yet")}


def test_v7_a_decision_that_names_another_patient_counts_for_nothing_until_they_are_one():
    told_of = (told.rule(), told.task(), told.decided("verified", {"ledger": 1}, patient="q"))
    assert judged(*told_of)["01 10:00"] == ("pending", "no_evidence_yet", OTHER_PATIENT)
    assert judged(*told_of, told.merged("q", "p"))["01 10:00"][0] == "verified"
    parted = judged(*told_of, told.merged("q", "p"), told.parted("q", "p", "09:30"))
    assert parted["01 10:00"] == ("pending", "no_evidence_yet", OTHER_PATIENT)
    ordered = judged(asking(), daily("0 10:00"), decision(patient="q"))
    assert ordered["02 10:00"] == ("pending", "no_evidence_yet", OTHER_PATIENT)


@pytest.mark.parametrize("patient", ["p", "q"])
def test_v7_a_decision_stands_when_its_visit_becomes_another_patients(patient):
    order = told.order(starts="10:00", visit="v")
    one = told.decided("verified", {"ledger": 1}, order="o", due="10:00", patient=patient)
    found = judged(asking(encounter_policy="any"), order, told.moved("v", "q", "p"), one)
    assert found["01 10:00"] == ("verified", "decided", "no_evidence_yet")


MOVES = [
    asking(), daily("0 10:00"), daily("1 10:00", 2, reported="09:30", said="changed"),
    told.order("o", "changed", reported="09:40", starts="1 10:00", ends="1 12:00", filler="f"),
    daily("0 10:00", reported="09:50", said="changed"), told.order("f", starts="1 10:00"),
    decision(), decision("refuted", 0, "1 10:00"), decision("refuted", 1, "2 10:00", version=2),
    told.decided("verified", {"tablet": 1}, order="f", due="1 10:00", replica="tablet"),
    told.merged("q", "p"), decision(patient="q", number=2, due="2 10:00"), LATE,
]  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.permutations(MOVES), st.integers(3, len(MOVES)))
def test_any_order_of_orders_their_changes_and_decisions_has_the_same_results(order, count):
    expected = [each for each in MOVES if each in order[:count]]
    assert judge(known(*order[:count])) == judge(known(*expected))


@pytest.mark.stack
def test_who_would_decide_is_shown_when_a_task_of_an_order_is_due_and_of_no_other(store):
    line = Line(store)
    line.tell(asking(), told.order(starts="10:00"), told.task())
    with psycopg.connect(store.admin, row_factory=dict_row) as connection:
        ordered = verified.verification(connection, UUID(told.asked_of("o")))
        created = verified.verification(connection, UUID(uid("t")))
    assert (ordered.due_at, ordered.window_starts_at) == (at("10:00"), None)
    assert (created.order_id, created.due_at) == (None, None)
