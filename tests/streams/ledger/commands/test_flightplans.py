"""Flight plans: the machine of their status, every rule that refuses, and never an exception."""

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import catalogue, commands
from streams.ledger.commands import flightplans
from streams.ledger.commands.aggregate import FOUND, FOUNDED, Asked, Rejection
from tests.streams.ledger.commands.working import (
    NOW,
    NURSE,
    PATIENT,
    SECOND,
    TENANT,
    Stream,
    data_of,
    named,
)

VISIT = named("visit")
TEXTS = {"name": "Walks alone", "text": "Falls are likely", "title": "After the operation"}
GOAL, TASK, MILESTONE, ALERT = (
    {f"{kind}_id": named(kind)} for kind in ("goal", "task", "milestone", "alert")
)
SURGERY = {**MILESTONE, "scheduled_at": NOW + SECOND}
FALL = {**ALERT, "severity": "critical", "text": TEXTS["text"]}


class Plan(Stream):
    """The stream of an admission's plan, by the id that follows from the admission's."""

    def __init__(self, visit=VISIT):
        super().__init__("flightplan")
        self.visit = visit

    @property
    def stream_id(self):
        return flightplans.stream_of(self.visit)


def draft(**given):
    one = Plan()
    whose = {"admission_id": VISIT, "patient_id": PATIENT}
    assert one.ask("flightplan.create", **whose, **given) == ["flightplan.created"]
    return one


def active(**given):
    one = draft(**given)
    assert one.ask("flightplan.activate") == ["flightplan.activated"]
    return one


def asked(plan, what, **given):
    return plan.ask(f"flightplan.{what}", **given)


def test_a_plan_is_drafted_followed_and_completed():
    one = draft(title=TEXTS["title"])
    assert asked(one, "add_goal", **GOAL, name=TEXTS["name"]) == ["flightplan.goal_added"]
    assert asked(one, "add_task", **TASK, name=TEXTS["name"]) == ["flightplan.task_added"]
    assert asked(one, "add_milestone", **SURGERY, name=TEXTS["name"]) == [
        "flightplan.milestone_added"
    ]
    assert asked(one, "activate") == ["flightplan.activated"]
    assert asked(one, "reschedule_milestone", **{**SURGERY, "scheduled_at": NOW}) == [
        "flightplan.milestone_rescheduled"
    ]
    assert asked(one, "set_risk", score=0.75) == ["flightplan.risk_set"]
    assert asked(one, "raise_alert", **FALL) == ["flightplan.alert_raised"]
    assert asked(one, "achieve_goal", **GOAL) == ["flightplan.goal_achieved"]
    assert asked(one, "complete_task", **TASK) == ["flightplan.task_completed"]
    assert asked(one, "complete_milestone", **MILESTONE) == ["flightplan.milestone_completed"]
    assert asked(one, "clear_alert", **ALERT) == ["flightplan.alert_cleared"]
    assert asked(one, "complete") == ["flightplan.completed"]
    assert one.state.status == flightplans.COMPLETED


def test_every_event_says_whose_plan_it_is_and_seals_its_texts_for_the_patient():
    one = active(title=TEXTS["title"])
    asked(one, "add_goal", **GOAL, name=TEXTS["name"])
    asked(one, "raise_alert", **FALL)
    for event in one.told:
        assert (event["data"]["admission_id"], event["data"]["patient_id"]) == (VISIT, PATIENT)
        assert event["person_id"] == PATIENT
        assert not any(text in str(event["data"]) for text in TEXTS.values())
    assert [set(event["sealed"]) for event in one.told] == [{"title"}, set(), {"name"}, {"text"}]
    assert draft().told[0]["sealed"] == {}


@pytest.mark.parametrize(
    ("what", "before", "given", "at"),
    [
        ("complete", None, {}, "completed_at"),
        ("achieve_goal", "add_goal", GOAL, "achieved_at"),
        ("complete_task", "add_task", TASK, "completed_at"),
        ("complete_milestone", "add_milestone", MILESTONE, "completed_at"),
        ("set_risk", None, {"score": 0.5}, "judged_at"),
    ],
)
def test_what_happened_earlier_occurred_then(what, before, given, at):
    one = active()
    if before is not None:
        timed = {"scheduled_at": NOW} if before == "add_milestone" else {}
        asked(one, before, **given, **timed, name=TEXTS["name"])
    asked(one, what, **given, **{at: NOW - SECOND})
    assert one.told[-1]["occurred_at"] == NOW - SECOND


def test_a_plan_is_activated_when_it_was():
    one = draft()
    asked(one, "activate", activated_at=NOW - SECOND)
    assert one.told[-1]["occurred_at"] == NOW - SECOND


def test_a_second_plan_of_an_admission_is_the_same_stream_which_the_ledger_refuses():
    again = {"admission_id": VISIT, "patient_id": PATIENT}
    with pytest.raises(AssertionError, match=FOUNDED):
        asked(draft(), "create", **again)
    assert flightplans.stream_of(VISIT) != flightplans.stream_of(named("another visit"))


def test_a_plan_in_another_stream_than_its_admissions_is_refused_with_the_right_one():
    elsewhere = {"admission_id": named("another visit"), "patient_id": PATIENT}
    assert asked(Plan(), "create", **elsewhere) == "wrong_stream"
    answer = flightplans.decide(None, command("create", Plan().stream_id, **elsewhere))
    assert isinstance(answer, Rejection)
    assert flightplans.stream_of(named("another visit")) in answer.said


def command(what, stream=None, **given):
    kind = f"flightplan.{what}"
    return Asked(
        command_id=named("command"), command_type=kind, stream_id=stream or Plan().stream_id,
        tenant_id=TENANT, issued_at=NOW, issued_by=NURSE, data=data_of(kind, **given),
    )  # fmt: skip


EXAMPLES: dict[str, dict[str, Any]] = {
    "activate": {}, "complete": {},
    "add_goal": {**GOAL, "name": "A"}, "achieve_goal": GOAL,
    "add_task": {**TASK, "name": "A"}, "complete_task": TASK,
    "add_milestone": {**SURGERY, "name": "A"}, "complete_milestone": MILESTONE,
    "reschedule_milestone": SURGERY, "set_risk": {"score": 0.5},
    "raise_alert": FALL, "clear_alert": ALERT,
}  # fmt: skip


def test_the_examples_are_every_command_but_the_first():
    known = {name for name, kind in commands.TYPES.items() if kind.stream_type == "flightplan"}
    assert {f"flightplan.{what}" for what in (*EXAMPLES, "create")} == known


@pytest.mark.parametrize("what", EXAMPLES)
def test_without_a_plan_nothing_is_asked_of_it(what):
    with pytest.raises(AssertionError, match=FOUND):
        asked(Plan(), what, **EXAMPLES[what])


@pytest.mark.parametrize("what", EXAMPLES)
def test_a_completed_plan_changes_no_more(what):
    one = active()
    asked(one, "complete")
    assert asked(one, what, **EXAMPLES[what]) == "completed"


@pytest.mark.parametrize(
    "what", ["complete", "achieve_goal", "complete_task", "complete_milestone"]
)
def test_nothing_of_a_draft_is_done(what):
    assert asked(draft(), what, **EXAMPLES[what]) == "not_active"


def test_an_active_plan_is_not_activated_again():
    assert asked(active(), "activate") == "not_draft"


@pytest.mark.parametrize("what", ["achieve_goal", "complete_task", "complete_milestone"])
def test_what_is_not_planned_is_not_done_and_what_is_done_is_not_done_again(what):
    one = active()
    assert asked(one, what, **EXAMPLES[what]) == "not_planned"
    added = f"add_{what.partition('_')[2]}"
    asked(one, added, **EXAMPLES[added])
    assert len(asked(one, what, **EXAMPLES[what])) == 1
    assert asked(one, what, **EXAMPLES[what]) == "done"
    assert asked(one, added, **EXAMPLES[added]) == "known"


def test_a_milestone_is_rescheduled_to_another_time_until_it_is_reached():
    one = active()
    assert asked(one, "reschedule_milestone", **SURGERY) == "not_planned"
    asked(one, "add_milestone", **SURGERY, name="A")
    assert asked(one, "reschedule_milestone", **SURGERY) == "nothing_to_change"
    later = {**SURGERY, "scheduled_at": NOW + 2 * SECOND}
    assert asked(one, "reschedule_milestone", **later) == ["flightplan.milestone_rescheduled"]
    asked(one, "complete_milestone", **MILESTONE)
    assert asked(one, "reschedule_milestone", **SURGERY) == "done"


@pytest.mark.parametrize("score", [-0.01, 1.01, math.inf, -math.inf, math.nan])
def test_a_risk_outside_0_to_1_is_none(score):
    # Not by the stream: nan is not itself, so that the codec's round trip can't be compared.
    given = Asked(
        command_id=named("command"), command_type="flightplan.set_risk",
        stream_id=Plan().stream_id, tenant_id=TENANT, issued_at=NOW, issued_by=NURSE,
        data={"score": score, "judged_at": None},
    )  # fmt: skip
    answer = flightplans.decide(draft().state, given)
    assert isinstance(answer, Rejection)
    assert answer.rule == "risk_invalid"


@pytest.mark.parametrize("score", [0.0, 1.0])
def test_a_risk_is_judged_anew_if_it_is_another(score):
    one = draft()
    assert asked(one, "set_risk", score=score) == ["flightplan.risk_set"]
    assert asked(one, "set_risk", score=score) == "nothing_to_change"


def test_an_alert_is_cleared_once_raised_and_may_come_back():
    one = draft()
    assert asked(one, "clear_alert", **ALERT) == "not_raised"
    assert asked(one, "raise_alert", **FALL) == ["flightplan.alert_raised"]
    assert asked(one, "raise_alert", **FALL) == "known"
    assert asked(one, "clear_alert", **ALERT) == ["flightplan.alert_cleared"]
    assert asked(one, "clear_alert", **ALERT) == "not_raised"
    assert asked(one, "raise_alert", **FALL) == ["flightplan.alert_raised"]


@pytest.mark.parametrize("kind", ["goal", "task", "milestone", "alert"])
def test_a_plan_has_as_many_of_a_kind_as_the_limit_and_no_more(kind):
    one, what = draft(), f"add_{kind}" if kind != "alert" else "raise_alert"
    answers = [
        asked(one, what, **{**EXAMPLES[what], f"{kind}_id": named(f"{kind} {number}")})
        for number in range(flightplans.ITEMS_MAX + 1)
    ]
    assert isinstance(answers[-2], list)
    assert answers[-1] == "too_many"


@pytest.mark.parametrize("text", ["", " \n", "x" * 4_001])
@pytest.mark.parametrize("what", ["add_goal", "add_task", "add_milestone", "raise_alert"])
def test_a_text_that_says_nothing_or_too_much_is_refused(what, text):
    field = "text" if what == "raise_alert" else "name"
    assert asked(draft(), what, **{**EXAMPLES[what], field: text}) == "text_invalid"


def test_a_title_of_blanks_is_refused():
    whose = {"admission_id": VISIT, "patient_id": PATIENT}
    assert asked(Plan(), "create", **whose, title=" ") == "text_invalid"


IDS = st.sampled_from([named(name) for name in ("goal", "task", "milestone", "alert", "one more")])
TIMES = st.integers(NOW - SECOND, NOW + SECOND)
ANY: dict[str, Any] = {
    **dict.fromkeys(("goal_id", "task_id", "milestone_id", "alert_id"), IDS),
    **dict.fromkeys(("name", "text"), st.text(max_size=5)),
    "scheduled_at": TIMES, "score": st.floats(allow_nan=False, min_value=-1, max_value=2),
    "severity": st.sampled_from(["info", "warning", "critical"]),
    "title": st.none() | st.text(max_size=5),
    "admission_id": st.sampled_from([VISIT, named("another visit")]),
    "patient_id": st.just(PATIENT),
    **dict.fromkeys(
        ("activated_at", "completed_at", "achieved_at", "judged_at"), st.none() | TIMES
    ),
}  # fmt: skip


@st.composite
def asked_of_plans(draw):
    what = draw(st.sampled_from([*EXAMPLES, "create"]))
    return what, {name: draw(ANY[name]) for name in data_names(what)}


def data_names(what):
    record = commands.TYPES[f"flightplan.{what}"].full_record
    return [field["name"] for field in catalogue.schema(record)["fields"]]


@settings(max_examples=200, deadline=None)
@given(st.lists(asked_of_plans(), max_size=30), st.booleans())
def test_whatever_is_asked_is_decided_and_its_events_evolve_and_a_snapshot_is_the_state(
    history, begun
):
    """The stream encodes every event, and compares each state with its snapshot."""
    one = draft() if begun else Plan()
    for what, data in history:
        before = one.state
        if (what == "create") == (before is not None):
            continue  # the ledger refuses it
        answer = asked(one, what, **data)
        if isinstance(answer, str):
            assert one.state is before
        else:
            assert len(answer) == 1
