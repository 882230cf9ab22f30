"""Flight plans as rows and as lines of their admission's timeline, in whatever batches."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import events, sealing
from schemas.clock import instant
from streams.read_models import FLIGHTPLANS, TIMELINE
from tests.streams.ledger.commands.test_flightplans import (
    ALERT,
    FALL,
    GOAL,
    MILESTONE,
    SURGERY,
    TASK,
    TEXTS,
    VISIT,
    active,
    asked,
    asked_of_plans,
    draft,
)
from tests.streams.ledger.commands.working import NOW, PATIENT, SECOND

AT = "2026-02-02T02:40:00+00:00"
LATER = "2026-02-02T02:40:01+00:00"
KINDS = {each.name for each in events.TYPES.values() if each.stream_type == "flightplan"}


def fold(told, cuts=0):
    """The row after the events in batches split where the bits of ``cuts`` are set."""
    rows, batch = {"flightplan_read_models": []}, []
    for number, event in enumerate(told):
        batch.append(event)
        if cuts >> number & 1 or number == len(told) - 1:
            (change,) = FLIGHTPLANS.fold(batch, rows)
            rows, batch = {"flightplan_read_models": [dict(change.row)]}, []
    (row,) = rows["flightplan_read_models"]
    return row


def sealed(event, field):
    return sealing.text(event["sealed"][field])


def full():
    """A plan of which everything was asked once."""
    one = active(title=TEXTS["title"])
    for what, given_ in (
        ("add_goal", {**GOAL, "name": "A"}),
        ("add_task", {**TASK, "name": "B"}),
        ("add_milestone", {**SURGERY, "name": "C"}),
        ("reschedule_milestone", {**SURGERY, "scheduled_at": NOW}),
        ("set_risk", {"score": 0.75}),
        ("raise_alert", FALL),
        ("achieve_goal", GOAL),
        ("complete_task", TASK),
        ("complete_milestone", {**MILESTONE, "completed_at": NOW + SECOND}),
        ("clear_alert", ALERT),
        ("complete", {}),
    ):
        assert isinstance(asked(one, what, **given_), list), what
    return one


def test_a_draft_is_a_row_with_nothing_in_it_yet():
    one = draft()
    row = fold(one.told)
    assert row["data"] == {
        "flightplan_id": one.stream_id, "admission_id": VISIT, "patient_id": PATIENT,
        "title": None, "status": "draft", "goals": [], "tasks": [], "milestones": [],
        "risk_score": None, "alerts": [], "version": 1,
    }  # fmt: skip
    assert (row["id"], row["admission_id"]) == (one.stream_id, VISIT)


def test_a_plans_row_has_what_the_document_shows_with_its_texts_sealed():
    one = full()
    before = fold(one.told[:8])
    told = {event["event_type"].removeprefix("flightplan."): event for event in one.told}
    data = before["data"]
    assert data["title"] == sealed(told["created"], "title")
    assert (data["status"], data["risk_score"]) == ("active", 0.75)
    assert data["goals"] == [
        {**GOAL, "name": sealed(told["goal_added"], "name"), "achieved": False,
         "achieved_at": None}
    ]  # fmt: skip
    assert data["tasks"] == [
        {**TASK, "name": sealed(told["task_added"], "name"), "completed": False,
         "completed_at": None}
    ]  # fmt: skip
    assert data["milestones"] == [
        {**MILESTONE, "name": sealed(told["milestone_added"], "name"), "completed": False,
         "completed_at": None, "scheduled_date": AT}
    ]  # fmt: skip
    assert data["alerts"] == [
        {**ALERT, "severity": "critical", "text": sealed(told["alert_raised"], "text"),
         "raised_at": AT}
    ]  # fmt: skip
    assert data["version"] == 8
    assert before["created_at"] == instant(one.told[0]["recorded_at"])
    assert before["updated_at"] == instant(one.told[7]["recorded_at"])


def test_what_is_done_says_when_and_cleared_alerts_are_gone():
    data = fold(full().told)["data"]
    assert data["status"] == "completed"
    assert [(each["achieved"], each["achieved_at"]) for each in data["goals"]] == [(True, AT)]
    assert [(each["completed"], each["completed_at"]) for each in data["tasks"]] == [(True, AT)]
    (milestone,) = data["milestones"]
    assert (milestone["completed"], milestone["completed_at"]) == (True, LATER)
    assert milestone["scheduled_date"] == AT
    assert data["alerts"] == []


def test_every_event_of_a_plan_is_read_and_has_a_line():
    assert FLIGHTPLANS.reads == KINDS
    assert {kind for kind in TIMELINE.reads if kind.startswith("flightplan.")} == KINDS
    assert {event["event_type"] for event in full().told} == KINDS


def lines(told):
    return [change.row for change in TIMELINE.fold(told, {})]


def test_the_lines_of_a_plan_stand_on_its_admissions_timeline():
    one = full()
    rows = lines(one.told)
    assert {row["admission_id"] for row in rows} == {VISIT}
    assert [row["id"] for row in rows] == [event["event_id"] for event in one.told]
    titles = {row["event_type"]: row["data"]["title"] for row in rows}
    assert titles["flightplan.milestone_completed"] == "Milestone completed"
    assert len(set(titles.values())) == len(KINDS)
    by_type = {row["event_type"]: row for row in rows}
    done = by_type["flightplan.milestone_completed"]
    assert done["occurred_at"] == instant(NOW + SECOND)
    assert done["data"]["details"]["milestone_id"] == MILESTONE["milestone_id"]
    assert done["data"]["details"]["flightplan_id"] == one.stream_id
    added = by_type["flightplan.milestone_added"]["data"]
    assert added["description"] == f"for {LATER}"
    assert added["details"]["scheduled_date"] == LATER
    assert sealing.untext(added["details"]["name"]) == one.told[4]["sealed"]["name"]


@pytest.mark.parametrize("text", TEXTS.values())
def test_no_text_of_a_plan_stands_in_a_line_in_clear(text):
    one = active(title=TEXTS["title"])
    asked(one, "add_goal", **GOAL, name=TEXTS["name"])
    asked(one, "raise_alert", **FALL)
    assert text not in str(lines(one.told))
    assert text not in str(fold(one.told))


def test_items_keep_the_order_in_which_they_were_added():
    one = draft()
    ids = [f"00000000-0000-4000-8000-00000000000{n}" for n in (3, 1, 2)]
    for each in ids:
        asked(one, "add_goal", goal_id=each, name="A")
    assert [goal["goal_id"] for goal in fold(one.told)["data"]["goals"]] == ids


@settings(max_examples=100, deadline=None)
@given(st.lists(asked_of_plans(), max_size=20), st.integers(0, 2**21 - 1))
def test_any_batches_give_the_same_row_as_one(history, cuts):
    one = draft()
    for what, data in history:
        if what != "create":  # the ledger refuses it
            asked(one, what, **data)
    assert fold(one.told, cuts) == fold(one.told)
    state, data = one.state, fold(one.told)["data"]
    assert (data["status"], data["risk_score"]) == (state.status, state.risk)
    assert {alert["alert_id"] for alert in data["alerts"]} == state.alerts
    done = {"goal": "achieved", "task": "completed", "milestone": "completed"}
    for kind, reached in done.items():
        shown = {item[f"{kind}_id"]: item[reached] for item in data[f"{kind}s"]}
        assert shown == {item_id: item.done for item_id, item in state.items[kind].items()}
