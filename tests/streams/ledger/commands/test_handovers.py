"""Handovers: initiated, then accepted or cancelled, once; edits by devices apart are kept."""

import pytest

from streams.ledger.commands import handovers
from streams.ledger.commands.aggregate import FOUND, FOUNDED
from tests.streams.ledger.commands.working import PATIENT, Stream, apart, handover, named

FULL = {
    "from_shift_id": named("early"), "to_shift_id": named("late"), "summary": "All quiet.",
    "department_id": named("ward"),
}  # fmt: skip


def test_a_handover_is_initiated_edited_and_accepted():
    one = handover(task_ids=[named("b"), named("a")])
    assert one.told[0]["data"]["edit"]["task_ids"] == sorted([named("b"), named("a")])
    assert one.ask("handover.edit", summary="Two are left.") == ["handover.edited"]
    assert one.ask("handover.accept", by=named("late nurse")) == ["handover.accepted"]
    assert one.told[-1]["data"]["accepted_by"] == named("late nurse")
    assert one.told[-1]["person_id"] == PATIENT


def test_a_summary_is_sealed_for_the_patient_or_else_for_the_stream():
    assert set(handover().told[0]["sealed"]) == {"summary"}
    assert handover(patient_id=None).told[0]["person_id"] is None


@pytest.mark.parametrize("closing", ["handover.accept", "handover.cancel"])
@pytest.mark.parametrize("after", ["handover.accept", "handover.cancel", "handover.edit"])
def test_a_handover_is_closed_once(closing, after):
    one = handover()
    assert isinstance(one.ask(closing), list)
    given = {"summary": "Late"} if after == "handover.edit" else {}
    assert one.ask(after, **given) == "not_open"


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"to_shift_id": named("early")}, "same_shift"),
        ({"summary": " "}, "text_invalid"),
        ({"task_ids": [named("a")] * (handovers.TASKS_MAX + 1)}, "too_many_tasks"),
    ],
)
def test_a_handover_that_is_none_is_refused(given, rule):
    assert Stream("handover").ask("handover.initiate", **{**FULL, **given}) == rule


def test_a_handover_names_as_many_tasks_as_the_limit():
    assert handover(task_ids=[named("a")] * handovers.TASKS_MAX).told


def test_nothing_is_asked_of_a_handover_that_is_not_there_nor_that_one_be_made_twice():
    with pytest.raises(AssertionError, match=FOUND):
        Stream("handover").ask("handover.accept")
    with pytest.raises(AssertionError, match=FOUNDED):
        handover().ask("handover.initiate", **FULL)


def test_an_edit_of_nothing_and_a_blank_reason_are_refused():
    assert handover().ask("handover.edit") == "nothing_to_change"
    assert handover().ask("handover.cancel", reason=" ") == "text_invalid"


def test_an_edit_of_what_was_accepted_meanwhile_is_kept_and_resolved():
    one = handover()
    one.ask("handover.accept")
    edit = apart("a", ledger=1, a=1)
    assert one.ask("handover.edit", summary="One more", **edit) == ["handover.edited"]
    assert list(one.state.conflicts(handovers.KIND)) == ["status"]
    assert one.ask("handover.resolve", status="accepted") == ["handover.resolved"]
    assert one.state.conflicts(handovers.KIND) == {}
    assert one.ask("handover.resolve", status="accepted") == "no_conflict"


def test_summaries_of_devices_apart_are_both_kept():
    one = handover()
    one.ask("handover.edit", summary="One", **apart("a", ledger=1, a=1))
    one.ask("handover.edit", summary="Two", **apart("b", ledger=1, b=1))
    assert len(one.state.conflicts(handovers.KIND)["summary"]) == 2
    assert one.ask("handover.resolve", status="accepted") == "unsettled"
    assert one.ask("handover.resolve", summary="Both") == ["handover.resolved"]
