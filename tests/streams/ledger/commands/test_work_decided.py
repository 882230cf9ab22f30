"""Work goes through the ledger: commands in, sealed events out, rows by department at the end."""

import uuid

import pytest

from schemas import commands, sealing
from sinks import transaction as sink
from sinks.transaction import Recorded
from streams.publications import event_of
from streams.read_models import WORK
from tests.sinks.provisioned import LINE
from tests.streams.ledger.commands.conftest import ISSUED, RECORD, TENANT
from tests.streams.ledger.commands.working import NURSE, apart, data_of, named

pytestmark = pytest.mark.stack

PATIENT, HOME = named("patient"), 3
WARD, TASK, EARLY, LATE, HANDOVER = (
    named(name) for name in ("ward", "task", "early", "late", "handover")
)
TITLE = "CANARY blood pressure"
CREATE = {"title": TITLE, "priority": "normal", "patient_id": PATIENT, "department_id": WARD}
SHIFT = {
    "department_id": WARD, "supervisor_id": NURSE, "starts_at": ISSUED, "ends_at": ISSUED + 1,
}  # fmt: skip


def ask(line, command_type, stream, /, **given):
    """Send one command; its result."""
    declared = commands.TYPES[command_type]
    command_id = uuid.UUID(int=0xD0000 + next(line.numbers))
    clear = line.codec.encode(declared.full_record, data_of(command_type, **given))
    value = {
        "command_id": str(command_id), "command_type": command_type, "schema_version": 1,
        "tenant_id": str(TENANT), "stream_type": declared.stream_type, "stream_id": stream,
        "expected_version": None, "issued_at": ISSUED, "issued_by": NURSE,
        "correlation_id": str(command_id), "trace": None,
        "data": line.keys().seal(clear, person=None, record=command_id, field="data"),
    }  # fmt: skip
    line.send(line.raw(line.codec.encode(RECORD, value)))
    result = line.results()[-1]
    assert str(result["command_id"]) == str(command_id)
    return result["rule"] or result["outcome"]


@pytest.fixture
def ward(line):
    """A line with a patient, a department, its supervisor and two shifts."""
    line.store.run(
        "INSERT INTO streams VALUES (%s, 'patient', %s, %s, 1, now())", PATIENT, TENANT, HOME
    )
    assert ask(line, "department.create", WARD, code="W2", name="CANARY ward") == "accepted"
    user = {"name": "CANARY", "email": "canary@hospital.example", "role": "nurse"}
    assert ask(line, "user.create", NURSE, department_ids=[WARD], **user) == "accepted"
    for shift in (EARLY, LATE):
        assert ask(line, "shift.schedule", shift, **SHIFT) == "accepted"
    return line


def test_a_task_lives_in_its_patients_home_and_its_title_is_sealed_for_them(ward):
    assert ask(ward, "task.create", TASK, **CREATE) == "accepted"
    event = max(ward.events(), key=lambda event: event["global_position"])
    assert (event["event_type"], event["partition"]) == ("task.created", HOME)
    assert str(event["person_id"]) == PATIENT
    envelope = sealing.untext(event["sealed"]["title"])
    bound = {"person": uuid.UUID(PATIENT), "record": event["event_id"], "field": "title"}
    assert ward.keys().open(envelope, **bound) == f'"{TITLE}"'.encode()
    assert "CANARY" not in str(ward.store.rows("SELECT * FROM events"))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("task.create", {**CREATE, "patient_id": named("nobody")}),
        ("task.create", {**CREATE, "department_id": named("nowhere")}),
        ("task.create", {**CREATE, "assigned_to": WARD}),
        ("task.create", {**CREATE, "shift_id": named("never")}),
        ("shift.schedule", {**SHIFT, "supervisor_id": named("nobody")}),
        ("shift.schedule", {**SHIFT, "department_id": NURSE}),
        (
            "handover.initiate",
            {"from_shift_id": EARLY, "to_shift_id": WARD, "department_id": WARD, "summary": "x"},
        ),
        (
            "user.create",
            {"name": "x", "email": "x@y.ch", "role": "nurse", "department_ids": [WARD, EARLY]},
        ),
    ],
)
def test_what_names_something_that_is_not_there_is_refused(ward, name, given):
    before = len(ward.events())
    assert ask(ward, name, named("new"), **given).startswith("unknown_reference")
    assert len(ward.events()) == before


def test_work_becomes_rows_and_devices_apart_a_conflict_that_is_resolved(ward):
    said = [
        ("task.create", TASK, CREATE),
        ("task.edit", TASK, {"priority": "high", **_edit("a", ledger=1, a=1)}),
        ("task.edit", TASK, {"priority": "urgent", **_edit("b", ledger=1, b=1)}),
        ("handover.initiate", HANDOVER, {
            "from_shift_id": EARLY, "to_shift_id": LATE, "department_id": WARD,
            "patient_id": PATIENT, "summary": "CANARY", "task_ids": [TASK],
        }),
        ("handover.accept", HANDOVER, {}),
    ]  # fmt: skip
    for name, stream, given in said:
        assert ask(ward, name, stream, **given) == "accepted"
    [row] = _rows(ward, "tasks")
    assert (row["priority"], len(row["conflicts"]["priority"])) == ("urgent", 2)
    assert _rows(ward, "handovers")[0]["status"] == "accepted"
    assert ask(ward, "task.edit", TASK, priority="low") == "conflicted"
    assert ask(ward, "task.resolve", TASK, priority="low") == "accepted"
    [row] = _rows(ward, "tasks")
    assert (row["priority"], row["conflicts"], row["version"]) == ("low", {}, 4)


def _edit(replica, **clock):
    return {**apart(replica, **clock), "hlc_micros": ISSUED + len(clock) + ord(replica)}


def _rows(line, table):
    """The table after the projection applied all that it hasn't yet."""
    partitions = {event["partition"] for event in line.events()}
    for partition in sorted(partitions):
        held = line.store.take("work", partition)
        events = [
            Recorded(event["partition_seq"] - 1, b"key", b"", _published(event))
            for event in line.events()
            if event["partition"] == partition
        ]
        done = line.store.subscription("work", partition)["next_offset"]
        if len(events) > done:
            sink.apply(line.store.database, WORK, held, events[done:], line=LINE)
    return line.store.rows(f"SELECT * FROM {table}")


def _published(row):
    ids = {name: str(value) for name, value in row.items() if isinstance(value, uuid.UUID)}
    return event_of({**row, **ids})
