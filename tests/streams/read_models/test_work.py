"""People and work as rows: the newest is shown, what disagrees is kept, in whatever order."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import sealing
from schemas.clock import instant
from sinks import tables
from streams.read_models import WORK
from tests.streams.ledger.commands.working import (
    NOW,
    NURSE,
    PATIENT,
    SECOND,
    Stream,
    apart,
    handover,
    named,
    task,
)

# What says when and where a row was written; all else is what the row holds.
STANDING = ("version", "partition_seq", "updated_at", "last_synced_at")


def fold(events: Sequence[Any], cuts: int = 0) -> dict[str, list[dict[str, Any]]]:
    """The rows after the events in batches split where the bits of ``cuts`` are set."""
    rows: dict[str, dict[tuple[str, ...], dict[str, Any]]] = {table.name: {} for table in WORK.owns}
    batches: list[list[Any]] = [[]]
    for number, event in enumerate(events):
        if number and cuts >> (number - 1) & 1:
            batches.append([])
        batches[-1].append(event)
    for batch in batches:
        loaded = {name: list(kept.values()) for name, kept in rows.items()}
        for change in WORK.fold(batch, loaded):
            key = tuple(str(change.row[column.name]) for column in change.table.primary_key)
            rows[change.table.name][key] = dict(change.row)
    return {name: list(kept.values()) for name, kept in rows.items()}


def only(events: Sequence[Any], table: Any) -> dict[str, Any]:
    (row,) = fold(events)[table.name]
    return row


def content(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in STANDING}


def test_every_event_of_people_and_work_is_read():
    kinds = {"department", "user", "shift", "task", "handover"}
    assert {name.split(".")[0] for name in WORK.reads} == kinds


def test_a_department_is_a_row_with_its_name_sealed():
    one = Stream("department")
    one.ask("department.create", code="W2", name="Ward 2")
    one.ask("department.update", code="W3")
    row = only(one.told, tables.departments)
    assert (row["code"], row["is_active"]) == ("W3", True)
    assert row["name"] == one.told[0]["sealed"]["name"]
    one.ask("department.deactivate", at=3)
    gone = only(one.told, tables.departments)
    assert gone["is_active"] is False
    assert gone["deleted_at"] == instant(one.told[-1]["recorded_at"])
    assert gone["created_at"] == row["created_at"]
    one.ask("department.update")
    assert only(one.told, tables.departments)["deleted_at"] is None


def test_a_user_has_the_departments_and_identities_that_were_said_last():
    one = Stream("user")
    fields = {"name": "A", "email": "a@hospital.example", "role": "nurse"}
    one.ask("user.create", department_ids=[named("a"), named("b")], **fields)
    one.ask("user.update", department_ids=[named("b"), named("c")])
    one.ask("user.link_emr", emr_system="EPIC", authority="H1", identity="1")
    one.ask("user.link_emr", emr_system="CERNER", authority="H2", identity="2")
    one.ask("user.unlink_emr", emr_system="EPIC", authority="H1")
    for cuts in (0, 0b1111):
        rows = fold(one.told, cuts)
        there = {row["department_id"]: row["deleted_at"] for row in rows["user_departments"]}
        assert {name for name, at in there.items() if at is None} == {named("b"), named("c")}
        assert there[named("a")] == instant(one.told[1]["recorded_at"])
        linked = {row["authority"]: row["deleted_at"] is None for row in rows["emr_identities"]}
        assert linked == {"H1": False, "H2": True}
        (user,) = rows["users"]
        assert (user["role"], user["version"]) == ("nurse", 5)


def test_a_shift_has_the_people_who_work_in_it():
    one = Stream("shift")
    fields = {"department_id": named("ward"), "supervisor_id": named("head")}
    one.ask("shift.schedule", starts_at=NOW, ends_at=NOW + SECOND, **fields)
    for name in ("b", "a", "c"):
        one.ask("shift.assign", user_id=named(name))
    one.ask("shift.unassign", user_id=named("c"))
    row = only(one.told, tables.shifts)
    assert row["staff"] == sorted([named("a"), named("b")])
    assert row["deleted_at"] is None
    one.ask("shift.cancel")
    assert only(one.told, tables.shifts)["deleted_at"] is not None


def test_a_task_is_a_row_with_its_texts_sealed_and_its_clocks():
    one = task(description="Left arm", due_at=NOW, shift_id=named("late"))
    one.ask("task.assign", assigned_to=NURSE)
    one.ask("task.start", at=1)
    one.ask("task.complete", at=2)
    row = only(one.told, tables.tasks)
    assert row["title"] == one.told[0]["sealed"]["title"]
    assert row["description"] == one.told[0]["sealed"]["description"]
    assert (row["patient_id"], row["assigned_to"], row["shift_id"]) == (
        PATIENT, NURSE, named("late"),
    )  # fmt: skip
    assert row["due_date"] == instant(NOW)
    assert row["started_at"] == instant(NOW + SECOND)
    assert (row["status"], row["completed_by"]) == ("completed", NURSE)
    assert row["completed_at"] == instant(NOW + 2 * SECOND)
    assert row["vector_clock"] == {"ledger": 4}
    assert (row["hlc_micros"], row["hlc_counter"]) == (NOW + 2 * SECOND, 0)
    assert row["conflicts"] == {}
    assert row["last_synced_at"] is row["deleted_at"] is None


def test_a_task_that_was_cancelled_is_deleted_softly_with_its_reason_sealed():
    one = task()
    one.ask("task.cancel", at=5, reason="Ordered twice")
    row = only(one.told, tables.tasks)
    assert (row["status"], row["deleted_at"]) == ("cancelled", instant(NOW + 5 * SECOND))
    assert row["cancel_reason"] == one.told[-1]["sealed"]["reason"]


def test_conflicts_show_who_wrote_what_by_which_clock():
    one = task(priority="low")
    one.ask("task.edit", by=named("a"), priority="high", **apart("a", at=5, ledger=1, a=1))
    one.ask("task.edit", by=named("b"), priority="urgent", **apart("b", at=3, ledger=1, b=1))
    row = only(one.told, tables.tasks)
    assert row["priority"] == "high"
    assert row["conflicts"] == {
        "priority": [
            {
                "clock": {"b": 1, "ledger": 1}, "hlc": [NOW + 3 * SECOND, 0, "b"],
                "author_id": named("b"), "value": "urgent",
            },
            {
                "clock": {"a": 1, "ledger": 1}, "hlc": [NOW + 5 * SECOND, 0, "a"],
                "author_id": named("a"), "value": "high",
            },
        ]
    }  # fmt: skip
    assert row["vector_clock"] == {"a": 1, "b": 1, "ledger": 1}
    assert row["last_synced_at"] == instant(one.told[-1]["recorded_at"])


def test_titles_of_devices_apart_are_both_kept_sealed():
    one = task()
    one.ask("task.edit", title="One", **apart("a", ledger=1, a=1))
    one.ask("task.edit", title="Two", **apart("b", at=1, ledger=1, b=1))
    row = only(one.told, tables.tasks)
    kept = {sealing.untext(sibling["value"]) for sibling in row["conflicts"]["title"]}
    assert kept == {event["sealed"]["title"] for event in one.told[1:]}
    assert row["title"] == one.told[2]["sealed"]["title"]


def test_a_handover_is_a_row_and_accepting_completes_it():
    one = handover(task_ids=[named("a")])
    row = only(one.told, tables.handovers)
    assert (row["status"], row["initiated_by"]) == ("initiated", NURSE)
    assert row["initiated_at"] == instant(NOW)
    assert row["summary"] == one.told[0]["sealed"]["summary"]
    one.ask("handover.accept", at=9, by=named("late nurse"))
    row = only(one.told, tables.handovers)
    assert (row["status"], row["accepted_by"]) == ("accepted", named("late nurse"))
    assert row["completed_at"] == instant(NOW + 9 * SECOND)
    assert row["task_ids"] == [named("a")]


def test_a_handover_that_was_cancelled_is_deleted_softly():
    one = handover()
    one.ask("handover.cancel", reason="No late shift")
    row = only(one.told, tables.handovers)
    assert (row["status"], row["deleted_at"]) == ("cancelled", instant(NOW))
    assert row["cancel_reason"] == one.told[-1]["sealed"]["reason"]


REPLICAS = ("a", "b", "c")
EDITS = st.lists(
    st.tuples(
        st.sampled_from(REPLICAS),
        st.fixed_dictionaries({replica: st.integers(0, 2) for replica in REPLICAS}),
        st.integers(0, 3),
        st.sampled_from(
            [
                {"priority": "high"}, {"priority": "urgent"}, {"priority": "low", "due_at": NOW},
                {"cleared": ["due_at"]}, {"due_at": NOW + 1}, {"title": "Pulse"},
            ]
        ),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def edited(edits: Any) -> Stream:
    """A task with these edits: each replica's own count rises; of others it knew what had come."""
    one, own = task(), dict.fromkeys(REPLICAS, 0)
    for replica, knew, at, fields in edits:
        own[replica] += 1
        others = {name: min(count, own[name]) for name, count in knew.items() if name != replica}
        clock = {name: count for name, count in others.items() if count}
        clock[replica] = own[replica]
        assert one.ask("task.edit", **fields, **apart(replica, at=at, ledger=1, **clock)) == [
            "task.edited"
        ]
    return one


@settings(max_examples=200, deadline=None)
@given(EDITS, st.randoms(use_true_random=False), st.integers(0, 255))
def test_any_order_and_duplication_of_edits_gives_the_same_row(edits, random, cuts):
    one = edited(edits)
    created, said = one.told[0], one.told[1:]
    again = [*said, *random.sample(said, random.randint(0, len(said)))]
    random.shuffle(again)
    expected = content(only(one.told, tables.tasks))
    (row,) = fold([created, *again], cuts)[tables.tasks.name]
    assert content(row) == expected


@settings(max_examples=100, deadline=None)
@given(EDITS, st.integers(0, 255))
def test_one_batch_gives_the_same_row_as_one_event_at_a_time(edits, cuts):
    one = edited(edits)
    started = {"started_at": NOW + 4 * SECOND}
    knew = {name: count for name, count in one.state.clock.items() if name != "a"}
    one.ask("task.start", **started, **apart("a", at=4, **knew, a=9))
    one.ask("task.complete", **apart("a", at=5, **knew, a=10))
    (row,) = fold(one.told, cuts)[tables.tasks.name]
    assert row == only(one.told, tables.tasks)
    assert row["status"] == "completed"
    assert row["started_at"] == instant(NOW + 4 * SECOND)


@settings(max_examples=100, deadline=None)
@given(EDITS)
def test_the_ledgers_state_and_the_row_are_in_conflict_over_the_same(edits):
    from streams.ledger.commands import tasks

    one = edited(edits)
    row = only(one.told, tables.tasks)
    assert row["conflicts"].keys() == one.state.conflicts(tasks.KIND).keys()
    assert row["vector_clock"] == one.state.clock
