"""Tasks: the machine of their status, what is refused, and what devices apart do to them."""

import pytest

from streams.ledger.commands import clocks, fields, registers, tasks
from streams.ledger.commands.aggregate import FOUND, FOUNDED
from tests.streams.ledger.commands.working import (
    NOW,
    NURSE,
    PATIENT,
    SECOND,
    Stream,
    apart,
    named,
    task,
)

FULL = {
    "title": "Blood pressure", "priority": "high", "patient_id": PATIENT,
    "department_id": named("ward"),
}  # fmt: skip


def shown(stream, field):
    return registers.shown(stream.state.registers, field)


def conflicts(stream):
    return {
        field: [one["value"] for one in siblings]
        for field, siblings in stream.state.conflicts(tasks.KIND).items()
    }


def status(stream):
    return shown(stream, "status")["status"]


def test_a_task_is_created_started_and_completed():
    one = task(due_at=NOW, admission_id=named("visit"))
    assert one.ask("task.assign", assigned_to=NURSE) == ["task.assigned"]
    assert one.ask("task.start", at=1) == ["task.started"]
    assert one.ask("task.complete", at=2) == ["task.completed"]
    assert status(one) == "completed"
    last = one.told[-1]
    assert last["data"]["completed_at"] == NOW + 2 * SECOND
    assert last["data"]["completed_by"] == NURSE
    assert (last["data"]["patient_id"], last["person_id"]) == (PATIENT, PATIENT)
    assert last["data"]["due_at"] == NOW
    assert last["data"]["admission_id"] == named("visit")


def test_titles_and_descriptions_are_sealed_and_nothing_of_them_is_in_the_data():
    one = task(description="Left arm")
    event = one.told[0]
    assert set(event["sealed"]) == {"title", "description"}
    assert "Blood" not in str(event["data"])
    assert "Left arm" not in str(event["data"])


@pytest.mark.parametrize(
    ("before", "command", "rule"),
    [
        ([], "task.complete", "not_in_progress"),
        (["task.start"], "task.start", "not_pending"),
        (["task.start", "task.complete"], "task.start", "not_pending"),
        (["task.start", "task.complete"], "task.complete", "not_in_progress"),
        (["task.start", "task.complete"], "task.cancel", "not_open"),
        (["task.cancel"], "task.cancel", "not_open"),
        (["task.cancel"], "task.complete", "not_in_progress"),
        (["task.cancel"], "task.assign", "not_open"),
    ],
)
def test_a_status_follows_only_from_the_one_before_it(before, command, rule):
    one = task()
    for each in before:
        assert isinstance(one.ask(each), list)
    given = {"assigned_to": NURSE} if command == "task.assign" else {}
    assert one.ask(command, **given) == rule


@pytest.mark.parametrize("before", [[], ["task.start"]])
def test_what_is_open_can_be_cancelled_with_a_sealed_reason(before):
    one = task()
    for each in before:
        one.ask(each)
    assert one.ask("task.cancel", reason="Ordered twice") == ["task.cancelled"]
    assert set(one.told[-1]["sealed"]) == {"reason"}


def test_nothing_is_asked_of_a_task_that_is_not_there_nor_that_one_be_made_twice():
    with pytest.raises(AssertionError, match=FOUND):
        Stream("task").ask("task.start")
    with pytest.raises(AssertionError, match=FOUNDED):
        task().ask("task.create", **FULL)


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"title": "  "}, "text_invalid"),
        ({"title": "x" * 201}, "text_invalid"),
        ({"description": ""}, "text_invalid"),
        ({"description": "x" * 4_001}, "text_invalid"),
        ({"window_starts_at": NOW, "window_ends_at": NOW}, "times_order"),
        ({"recurrence": -1}, "recurrence_invalid"),
    ],
)
def test_a_task_that_says_nonsense_is_refused(given, rule):
    assert Stream("task").ask("task.create", **{**FULL, **given}) == rule


def test_texts_at_their_limits_are_taken():
    assert task(title="x" * 200, description="y" * 4_000).told


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({}, "nothing_to_change"),
        ({"cleared": ["title"]}, "not_clearable"),
        ({"cleared": ["due_at"], "due_at": NOW}, "not_clearable"),
        ({"window_ends_at": NOW - 1}, "times_order"),
    ],
)
def test_an_edit_that_changes_nothing_it_may_is_refused(given, rule):
    one = task(window_starts_at=NOW, window_ends_at=NOW + 1)
    assert one.ask("task.edit", **given) == rule


def test_an_edit_writes_what_it_names_and_empties_what_it_clears():
    one = task(due_at=NOW, description="Left arm")
    assert one.ask("task.edit", priority="urgent", cleared=["due_at", "description"])
    data = one.told[-1]["data"]
    assert data["fields"] == ["description", "due_at", "priority"]
    assert data["cleared"] == ["description", "due_at"]
    assert data["edit"]["priority"] == "urgent"
    assert data["due_at"] is None
    assert shown(one, "description") is None
    assert shown(one, "title") is not None


def test_an_edit_that_knew_the_one_before_wins_over_it():
    one = task(priority="low")
    one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    one.ask("task.edit", priority="urgent", **apart("b", ledger=1, a=1, b=1))
    assert shown(one, "priority") == "urgent"
    assert conflicts(one) == {}


def test_an_edit_that_comes_after_one_that_knew_it_changes_nothing():
    one = task(priority="low")
    one.ask("task.edit", priority="urgent", **apart("a", ledger=1, a=2))
    assert one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1)) == ["task.edited"]
    assert shown(one, "priority") == "urgent"
    assert conflicts(one) == {}


def test_a_device_counts_of_others_no_more_than_has_come_to_the_ledger():
    one = task(priority="low")
    claims = {"priority": "urgent", **apart("b", ledger=1, a=1, b=1)}
    assert one.ask("task.edit", **claims) == "clock_unseen"
    assert shown(one, "priority") == "low"
    one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    assert one.ask("task.edit", **claims) == ["task.edited"]
    assert shown(one, "priority") == "urgent"
    assert one.ask("task.edit", priority="low", **apart("b", ledger=1, a=2, b=2)) == "clock_unseen"


def test_edits_of_one_field_by_devices_apart_are_both_kept_and_of_two_fields_merged():
    one = task(priority="low")
    one.ask("task.edit", priority="high", **apart("a", at=5, ledger=1, a=1))
    one.ask("task.edit", priority="urgent", due_at=NOW, **apart("b", at=3, ledger=1, b=1))
    assert conflicts(one) == {"priority": ["urgent", "high"]}
    assert shown(one, "priority") == "high"
    assert shown(one, "due_at") == NOW


def test_devices_apart_that_write_the_same_are_not_in_conflict():
    one = task(priority="low")
    one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    one.ask("task.edit", priority="high", **apart("b", ledger=1, b=1))
    assert conflicts(one) == {}


def test_who_is_online_does_not_overwrite_a_conflict_unseen():
    one = task(priority="low")
    one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    one.ask("task.edit", priority="urgent", **apart("b", ledger=1, b=1))
    assert one.ask("task.edit", priority="normal") == "conflicted"
    assert one.ask("task.edit", due_at=NOW) == ["task.edited"]


def test_resolving_settles_every_version_and_nothing_that_was_known_reopens_it():
    one = task(priority="low")
    one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    one.ask("task.edit", priority="urgent", **apart("b", ledger=1, b=1))
    assert one.ask("task.resolve", due_at=NOW) == "unsettled"
    assert one.ask("task.resolve", priority="high", due_at=NOW) == "unsettled"
    assert one.ask("task.resolve", priority="high") == ["task.resolved"]
    assert conflicts(one) == {}
    assert shown(one, "priority") == "high"
    settled = one.told[-1]["data"]["clock"]
    for event in one.told[:-1]:
        assert clocks.compare(event["data"]["clock"], settled) == "before"
    assert one.ask("task.resolve", priority="high") == "no_conflict"


def test_a_device_resolves_only_what_it_has_seen_all_of():
    one = task(priority="low")
    one.ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    one.ask("task.edit", priority="urgent", **apart("b", ledger=1, b=1))
    assert one.ask("task.resolve", priority="low", **apart("a", ledger=1, a=2)) == "stale"
    seen = apart("a", ledger=1, a=2, b=1)
    assert one.ask("task.resolve", priority="low", **seen) == ["task.resolved"]


@pytest.mark.parametrize("closing", ["task.complete", "task.cancel"])
def test_an_edit_of_what_was_closed_meanwhile_is_kept_as_a_conflict(closing):
    one = task()
    one.ask("task.start")
    assert isinstance(one.ask(closing), list)
    edit = apart("a", at=4, ledger=1, a=1)
    assert one.ask("task.edit", priority="urgent", **edit) == ["task.edited"]
    assert shown(one, "priority") == "urgent"
    found = conflicts(one)
    assert list(found) == ["status"]
    assert found["status"][0] is None
    assert found["status"][-1]["status"] == status(one)
    assert one.ask("task.resolve", status=status(one), at=9) == ["task.resolved"]
    assert conflicts(one) == {}
    assert shown(one, "status")["at"] == NOW, "when it was closed, not when that was settled"


def test_an_edit_of_what_the_device_knew_to_be_closed_is_refused():
    one = task()
    one.ask("task.cancel")
    knew = apart("a", ledger=2, a=1)
    assert one.ask("task.edit", priority="urgent", **knew) == "not_open"
    assert one.ask("task.edit", priority="urgent") == "not_open"


def test_one_device_completes_what_another_cancels_and_both_are_kept():
    one = task()
    one.ask("task.start")
    assert one.ask("task.complete", **apart("a", ledger=2, a=1)) == ["task.completed"]
    assert one.ask("task.cancel", **apart("b", at=1, ledger=2, b=1)) == ["task.cancelled"]
    assert {value["status"] for value in conflicts(one)["status"]} == {"completed", "cancelled"}
    assert one.ask("task.edit", priority="high") == "not_open"
    assert one.ask("task.resolve", status="in_progress") == ["task.resolved"]
    assert status(one) == "in_progress"
    assert one.ask("task.complete") == ["task.completed"]


def test_both_ends_of_a_window_are_written_at_once():
    one = task(window_starts_at=NOW, window_ends_at=NOW + 10)
    assert one.ask("task.edit", window_ends_at=NOW - 1) == "times_order"
    assert one.ask("task.edit", window_starts_at=NOW + 8) == ["task.edited"]
    written = one.told[-1]["data"]
    assert written["fields"] == ["window_ends_at", "window_starts_at"]
    assert written["edit"]["window_ends_at"] == NOW + 10


def test_a_device_gives_both_ends_of_a_window():
    one = task(window_starts_at=NOW, window_ends_at=NOW + 10)
    device = apart("a", ledger=1, a=1)
    assert one.ask("task.edit", window_starts_at=NOW + 8, **device) == "window_incomplete"
    assert one.ask("task.edit", cleared=["window_ends_at"], **device) == "window_incomplete"
    half = {"window_starts_at": NOW + 8, "cleared": ["window_ends_at"]}
    assert one.ask("task.edit", **half, **device) == ["task.edited"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_windows_of_devices_apart_are_in_conflict_whichever_came_first(order):
    one = task(window_starts_at=NOW, window_ends_at=NOW + 10)
    edits = [
        {"window_starts_at": NOW + 3, "window_ends_at": NOW + 10, **apart("a", ledger=1, a=1)},
        {"window_starts_at": NOW, "window_ends_at": NOW + 8, **apart("b", at=1, ledger=1, b=1)},
    ]
    for number in order:
        assert one.ask("task.edit", **edits[number]) == ["task.edited"]
    assert conflicts(one) == {
        "window_starts_at": [NOW + 3, NOW],
        "window_ends_at": [NOW + 10, NOW + 8],
    }
    assert (shown(one, "window_starts_at"), shown(one, "window_ends_at")) == (NOW, NOW + 8)


def test_two_windows_under_one_stamp_are_never_shown_mixed_into_none():
    one = task()
    same = apart("a", ledger=1, a=1)
    long_ago = {"window_starts_at": 1_000, "window_ends_at": 99 * 10**13}
    now = {"window_starts_at": NOW, "window_ends_at": NOW + 10}
    assert one.ask("task.edit", **long_ago, **same) == ["task.edited"]
    assert one.ask("task.edit", **now, **same) == "times_order"
    assert shown(one, "window_ends_at") == 99 * 10**13


@pytest.mark.parametrize("name", ["due_at", "window_starts_at", "window_ends_at"])
@pytest.mark.parametrize("at", [fields.TIME_MIN - 1, fields.TIME_MAX])
def test_a_time_that_nothing_can_be_reckoned_from_is_refused(name, at):
    assert Stream("task").ask("task.create", **FULL, **{name: at}) == "time_invalid"
    both = {name: at} if name == "due_at" else {"window_starts_at": at, "window_ends_at": at + 1}
    one = task(due_at=fields.TIME_MIN)
    assert one.ask("task.edit", **both) == "time_invalid"


def test_an_edit_of_a_thing_in_conflict_looks_at_each_version_once_per_field(monkeypatch):
    one, replicas = task(), 60
    for number in range(replicas):
        one.ask("task.edit", due_at=NOW, **apart(f"r{number}", **{f"r{number}": 1}))
    for number in range(replicas):
        clock = {f"r{each}": 1 + (each == number) for each in range(replicas)}
        edit = {"priority": "high", "description": f"as {number} saw it"}
        one.ask("task.edit", **edit, **apart(f"r{number}", **clock))
    assert len(one.state.registers["description"]) == replicas + 1
    compared, compare = [], clocks.compare
    monkeypatch.setattr(clocks, "compare", lambda a, b: compared.append(1) or compare(a, b))
    written = 3  # priority, description, and that there was an edit; decided, then evolved
    one.ask("task.edit", priority="low", description="x", **apart("late", ledger=1, late=1))
    assert len(compared) < 3 * written * replicas


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        ({"replica": None}, "clock_invalid"),
        ({"hlc_micros": None}, "clock_invalid"),
        ({"hlc_micros": -1}, "clock_invalid"),
        ({"hlc_counter": clocks.TIE_MAX + 1}, "clock_invalid"),
        ({"clock": {"b": 1}}, "clock_invalid"),
        ({"clock": {"a": 0}}, "clock_invalid"),
        ({"clock": {"a": 1, "ledger": 2}}, "clock_unseen"),
        ({"clock": {"a": 1, "ledger": 1, "b": 1}}, "clock_unseen"),
        ({"clock": {"ledger": 1}, "replica": "ledger"}, "clock_invalid"),
        ({"hlc_micros": NOW + 301 * SECOND}, "clock_ahead"),
        ({"clock": {f"r{n}": 1 for n in range(63)} | {"a": 1}}, "too_many_replicas"),
    ],
)
def test_a_clock_that_cannot_be_is_refused(given, rule):
    edit = {**apart("a", ledger=1, a=1), **given}
    assert task().ask("task.edit", priority="high", **edit) == rule


def test_a_clock_that_is_ahead_by_as_much_as_clocks_are_is_taken():
    assert task().ask("task.edit", priority="high", **apart("a", at=300, a=1)) == ["task.edited"]


def test_versions_without_end_are_refused_until_somebody_resolves():
    one = task()
    same = {**apart("a", ledger=1, a=1)}
    answers = [
        one.ask("task.edit", due_at=NOW + number, **same)
        for number in range(registers.SIBLINGS_MAX + 1)
    ]
    assert answers[:-1] == [["task.edited"]] * registers.SIBLINGS_MAX
    assert answers[-1] == "too_many_versions"


@pytest.mark.parametrize("command", ["start", "complete", "cancel"])
def test_what_was_not_yet_is_refused(command):
    one = task()
    if command == "complete":
        one.ask("task.start")
    name = {"start": "started", "complete": "completed", "cancel": "cancelled"}[command]
    late = {f"{name}_at": NOW + 301 * SECOND}
    assert one.ask(f"task.{command}", **late) == "in_future"
    early = {f"{name}_at": NOW - 60 * SECOND}
    assert isinstance(one.ask(f"task.{command}", **early), list)
    assert one.told[-1]["occurred_at"] == NOW - 60 * SECOND
