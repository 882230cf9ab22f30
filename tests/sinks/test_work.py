"""Questions to people and work, over rows that the projection wrote: pages, departments, sync."""

from contextlib import contextmanager
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.clock import instant
from sinks import pages, work
from sinks import transaction as sink
from sinks.pages import CursorInvalid
from sinks.reading import ALL, Readers
from sinks.transaction import Recorded
from sinks.work import Task
from streams.ledger.commands import clocks
from streams.read_models import WORK
from tests.sinks.provisioned import LINE, OURS, THEIRS
from tests.streams.ledger.commands.working import NOW, NURSE, SECOND, Stream, apart, named

pytestmark = pytest.mark.stack

WARD, OTHER = named("ward"), named("other ward")
PATIENT, FORMER = named("patient"), named("former patient")


class Line:
    """Streams of one tenant on one partition, applied by the projection as they come."""

    def __init__(self, store, tenant=OURS, partition=0):
        self.store, self.tenant, self.partition, self.seq = store, tenant, partition, 0
        self.held = store.take("work", partition)

    def apply(self, *streams):
        """Apply what was told of each stream and not yet applied."""
        batch = []
        for stream in streams:
            for event in stream.told[getattr(stream, "applied", 0) :]:
                self.seq += 1
                placed = {
                    "tenant_id": self.tenant, "partition": self.partition,
                    "partition_seq": self.seq,
                }  # fmt: skip
                batch.append(Recorded(self.seq - 1, b"key", b"", {**event, **placed}))
            stream.applied = len(stream.told)
        sink.apply(self.store.database, WORK, self.held, batch, line=LINE)


def task(name, **given):
    one = Stream("task", name)
    fields = {
        "title": name, "priority": "normal", "patient_id": PATIENT, "department_id": WARD, **given,
    }  # fmt: skip
    assert one.ask("task.create", **fields) == ["task.created"]
    return one


def handover(name, **given):
    one = Stream("handover", name)
    fields = {
        "from_shift_id": named("early"), "to_shift_id": named("late"), "summary": name,
        "department_id": WARD, "patient_id": PATIENT, **given,
    }  # fmt: skip
    assert one.ask("handover.initiate", **fields) == ["handover.initiated"]
    return one


@contextmanager
def reader(store, tenant=OURS, departments=ALL):
    readers = Readers.open(store.app, name="test", size=1, seconds=10)
    try:
        with readers.as_tenant(UUID(tenant), departments) as snapshot:
            yield snapshot
    finally:
        readers.close()


def every(question, snapshot, **given):
    """All rows of a question, page by page of two."""
    found, cursor = [], None
    while True:
        one = question(snapshot, limit=2, cursor=cursor, **given)
        assert len(one.rows) <= 2
        found += one.rows
        if one.cursor is None:
            return found
        cursor = one.cursor


def test_people_and_shifts_are_listed_page_by_page(store):
    line, made = Line(store), []
    for number in range(5):
        department, user = Stream("department", f"{number}"), Stream("user", f"{number}")
        department.ask("department.create", code=f"W{number}", name="A ward")
        user.ask(
            "user.create", name="A", email="a@hospital.example", role="nurse",
            department_ids=[WARD] if number % 2 else [OTHER],
        )  # fmt: skip
        shift = Stream("shift", f"{number}")
        shift.ask(
            "shift.schedule", department_id=WARD, supervisor_id=named("head"),
            starts_at=NOW + number % 3 * SECOND, ends_at=NOW + 9 * SECOND,
        )  # fmt: skip
        made += [department, user, shift]
    made[0].ask("department.deactivate")
    made[1].ask("user.deactivate")
    made[2].ask("shift.cancel")
    line.apply(*made)
    with reader(store) as snapshot:
        departments = every(work.departments, snapshot)
        assert [one.id for one in departments] == sorted(one.stream_id for one in made[3::3])
        assert len(every(work.departments, snapshot, inactive=True)) == 5
        users = every(work.users, snapshot)
        assert len(users) == 4
        assert {tuple(one.department_ids) for one in users} == {(WARD,), (OTHER,)}
        there = every(work.users, snapshot, department=UUID(WARD))
        assert [one.department_ids for one in there] == [[WARD], [WARD]]
        shifts = every(work.shifts, snapshot)
        assert [one.starts_at for one in shifts] == sorted(one.starts_at for one in shifts)
        assert len(shifts) == 4
        assert len(every(work.shifts, snapshot, cancelled=True)) == 5
        assert len(every(work.shifts, snapshot, at=instant(NOW + SECOND))) == 3
        assert every(work.shifts, snapshot, department=UUID(OTHER)) == []


def test_tasks_are_listed_by_when_they_are_due_and_filtered(store):
    line = Line(store)
    dues = [NOW + 5, None, NOW + 1, NOW + 5, None, NOW + 3]
    made = [task(f"{n}", due_at=due) for n, due in enumerate(dues)]
    made[0].ask("task.assign", assigned_to=NURSE)
    made[1].ask("task.start")
    made.append(task("else", department_id=OTHER, shift_id=named("late")))
    line.apply(*made)
    with reader(store) as snapshot:
        found = every(work.tasks, snapshot)
        assert [one.due_date for one in found if one.due_date] == [
            instant(NOW + n) for n in (1, 3, 5, 5)
        ]
        assert [one.due_date for one in found][-3:] == [None] * 3
        assert {one.id for one in found} == {one.stream_id for one in made}
        for given, expected in (
            ({"assigned_to": UUID(NURSE)}, made[:1]),
            ({"status": "in_progress"}, made[1:2]),
            ({"department": UUID(OTHER)}, made[-1:]),
            ({"shift": UUID(named("late"))}, made[-1:]),
            ({"patient": UUID(FORMER)}, []),
            ({"department": UUID(WARD), "status": "pending"}, [made[0], *made[2:-1]]),
        ):
            ids = {one.id for one in every(work.tasks, snapshot, **given)}
            assert ids == {one.stream_id for one in expected}, given
        one = work.task(snapshot, UUID(made[1].stream_id))
        assert isinstance(one, Task)
        assert one.title == made[1].told[0]["sealed"]["title"]
        assert work.task(snapshot, UUID(WARD)) is None


def test_handovers_are_listed_by_shift(store):
    made = [handover(f"{n}") for n in range(3)]
    made.append(handover("else", from_shift_id=named("late"), to_shift_id=named("night")))
    made[0].ask("handover.accept")
    Line(store).apply(*made)
    with reader(store) as snapshot:
        assert len(every(work.handovers, snapshot)) == 4
        assert len(every(work.handovers, snapshot, shift=UUID(named("late")))) == 4
        assert len(every(work.handovers, snapshot, shift=UUID(named("night")))) == 1
        (accepted,) = every(work.handovers, snapshot, status="accepted")
        assert work.handover(snapshot, UUID(made[0].stream_id)) == accepted
        assert work.handover(snapshot, UUID(WARD)) is None


@pytest.mark.parametrize("cursor", ["", "x", "bm9uZQ==", "WzEsMl0=", "WyIyMDI2IiwieCJd", "é"])
def test_a_cursor_that_is_not_ours_is_refused(store, cursor):
    with reader(store) as snapshot, pytest.raises(CursorInvalid):
        work.tasks(snapshot, cursor=cursor)


def test_a_page_has_a_bound(store):
    with reader(store) as snapshot:
        assert work.tasks(snapshot, limit=pages.LIMIT_MAX).rows == ()
        for limit in (0, pages.LIMIT_MAX + 1):
            with pytest.raises(AssertionError):
                work.tasks(snapshot, limit=limit)


def test_a_patients_tasks_are_those_of_all_their_aliases(store):
    past, coming = NOW - SECOND, 4_000_000_000_000_000
    made = [task("a", patient_id=FORMER, due_at=past), task("b", due_at=coming), task("c")]
    made[2].ask("task.start")
    made[2].ask("task.complete", at=3)
    made.append(task("d"))
    made[3].ask("task.edit", priority="high", **apart("a", ledger=1, a=1))
    made[3].ask("task.edit", priority="low", **apart("b", ledger=1, b=1))
    made[3].ask("task.resolve", priority="low")
    made[3].ask("task.edit", due_at=NOW, **apart("a", ledger=2, a=2, b=1))
    made[3].ask("task.edit", due_at=NOW + 1, **apart("b", ledger=2, a=1, b=2))
    Line(store).apply(*made)
    store.run(
        "INSERT INTO patient_aliases VALUES (%s, %s, %s, gen_random_uuid(), 'merge', now())",
        OURS, FORMER, PATIENT,
    )  # fmt: skip
    with reader(store) as snapshot:
        for patient in (FORMER, PATIENT):
            found = every(work.tasks, snapshot, patient=UUID(patient))
            assert {one.id for one in found} == {one.stream_id for one in made}
            summary = work.task_summary(snapshot, UUID(patient))
            assert (summary.total_tasks, summary.pending_tasks, summary.completed_tasks) == (
                4, 3, 1,
            )  # fmt: skip
            assert (summary.conflicting_tasks, summary.overdue_tasks) == (1, 2)
            assert summary.last_completed_at == instant(NOW + 3 * SECOND)
        view = snapshot.execute("SELECT * FROM patient_task_summary").fetchall()
    (row,) = view
    assert row["patient_id"] == PATIENT
    for name in work.Summary.__slots__:
        assert row[name] == getattr(summary, name), name


def test_patients_show_sealed_and_say_who_was_merged(store):
    for patient in (FORMER, PATIENT):
        store.run(
            "INSERT INTO patient_read_models VALUES (%s, %s, '{}', now(), now(), 0, 1)",
            patient, OURS,
        )  # fmt: skip
    store.run(
        "INSERT INTO patient_aliases VALUES (%s, %s, %s, gen_random_uuid(), 'merge', now())",
        OURS, FORMER, PATIENT,
    )  # fmt: skip
    with reader(store) as snapshot:
        rows = snapshot.execute("SELECT id, is_active, merged_into FROM patients").fetchall()
    assert {row["id"]: (row["is_active"], row["merged_into"]) for row in rows} == {
        FORMER: (False, PATIENT), PATIENT: (True, None),
    }  # fmt: skip


def test_a_reader_sees_the_work_of_its_departments_and_of_no_other(store):
    made = [
        task("ours"), task("theirs", department_id=OTHER),
        handover("ours"), handover("theirs", department_id=OTHER),
    ]  # fmt: skip
    Line(store).apply(*made)
    for departments, seen in (
        (ALL, {0, 1, 2, 3}),
        (frozenset({UUID(WARD)}), {0, 2}),
        (frozenset({UUID(OTHER)}), {1, 3}),
        (frozenset({UUID(WARD), UUID(OTHER)}), {0, 1, 2, 3}),
        (frozenset({UUID(PATIENT)}), set()),
        (frozenset(), set()),
    ):
        with reader(store, departments=departments) as snapshot:
            found = {one.id for one in every(work.tasks, snapshot)}
            found |= {one.id for one in every(work.handovers, snapshot)}
            assert found == {made[each].stream_id for each in seen}
            summary = work.task_summary(snapshot, UUID(PATIENT))
            assert summary.total_tasks == len(seen & {0, 1})
            changes = work.changes_since(snapshot, {})
            assert len(changes.tasks) + len(changes.handovers) == len(seen)
        with reader(store, THEIRS, departments) as snapshot:
            assert every(work.tasks, snapshot) == every(work.handovers, snapshot) == []


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"wt.departments": "", "wt.all_departments": ""},
        {"wt.departments": "{}", "wt.all_departments": "off"},
        {"wt.all_departments": "yes"},
        {"wt.departments": f"{{{OTHER}}}"},
    ],
)
def test_without_a_department_that_is_there_no_work_is_seen(store, setting):
    Line(store).apply(task("ours"), handover("ours"))
    with psycopg.connect(store.app, autocommit=True) as connection:
        for name, value in {"wt.tenant": OURS, **setting}.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        for relation in ("tasks", "handovers", "patient_task_summary"):
            assert connection.execute(f"SELECT FROM {relation}").fetchall() == [], relation


def test_all_departments_of_another_tenant_are_still_another_tenants(store):
    Line(store).apply(task("ours"), handover("ours"))
    with psycopg.connect(store.app, autocommit=True) as connection:
        connection.execute(f"SET wt.tenant = '{THEIRS}'")
        connection.execute("SET wt.all_departments = 'on'")
        connection.execute(f"SET wt.departments = '{{{WARD}}}'")
        for relation in ("tasks", "handovers", "patients", "patient_task_summary"):
            assert connection.execute(f"SELECT FROM {relation}").fetchall() == [], relation


def test_departments_that_are_no_ids_are_refused(store):
    Line(store).apply(task("ours"))
    with psycopg.connect(store.app, autocommit=True) as connection:
        connection.execute(f"SET wt.tenant = '{OURS}'")
        connection.execute("SET wt.departments = '{all}'")
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT FROM tasks")


def test_a_device_pulls_what_changed_since_in_bounded_pieces_and_misses_nothing(store):
    lines = [Line(store, partition=number) for number in (0, 1)]
    made = [[task(f"{n} {each}") for each in range(3)] for n in (0, 1)]
    for line, tasks in zip(lines, made, strict=True):
        line.apply(*tasks, handover(f"{line.partition}"))
    positions, found, pieces = {}, set(), 0
    with reader(store) as snapshot:
        while True:
            piece = work.changes_since(snapshot, positions, limit=3)
            found |= {one.id for one in (*piece.tasks, *piece.handovers)}
            positions, pieces = piece.positions, pieces + 1
            if not piece.more:
                break
        assert len(found) == 8
        assert pieces == 3
        assert positions == {0: 4, 1: 4}
        assert work.changes_since(snapshot, positions).tasks == ()
    made[1][0].ask("task.start")
    lines[1].apply(made[1][0])
    with reader(store) as snapshot:
        piece = work.changes_since(snapshot, positions)
    assert [one.status for one in piece.tasks] == ["in_progress"]
    assert piece.positions == {0: 4, 1: 5}


def test_a_position_ahead_of_the_rows_goes_not_back(store):
    Line(store).apply(task("ours"))
    with reader(store) as snapshot:
        piece = work.changes_since(snapshot, {0: 9, 7: 3})
    assert (piece.tasks, piece.positions, piece.more) == ((), {0: 9}, False)


@pytest.mark.parametrize(
    ("table", "change", "constraint"),
    [
        ("tasks", "status = 'completed'", "ck_tasks_completed"),
        ("tasks", "status = 'cancelled'", "ck_tasks_cancelled"),
        ("tasks", "deleted_at = now()", "ck_tasks_cancelled"),
        ("tasks", "completed_by = id", "ck_tasks_completed_by"),
        ("tasks", "window_starts_at = now(), window_ends_at = now()", "ck_tasks_window"),
        ("tasks", "recurrence = -1", "ck_tasks_recurrence"),
        ("tasks", "vector_clock = '[]'", "ck_tasks_vector_clock"),
        ("tasks", "hlc_micros = -1", "ck_tasks_hlc"),
        ("handovers", "status = 'lost'", "ck_handovers_status"),
        ("handovers", "status = 'accepted'", "ck_handovers_completed"),
        ("handovers", "status = 'cancelled'", "ck_handovers_cancelled"),
        ("handovers", "accepted_by = id", "ck_handovers_accepted_by"),
        ("handovers", "to_shift_id = from_shift_id", "ck_handovers_of_two"),
        ("shifts", "ends_at = starts_at", "ck_shifts_times"),
        ("departments", "is_active = false", "ck_departments_active"),
        ("users", "deleted_at = now()", "ck_users_active"),
    ],
)
def test_a_row_that_contradicts_itself_is_refused(store, table, change, constraint):
    department, user, shift = Stream("department"), Stream("user"), Stream("shift")
    department.ask("department.create", code="W", name="W")
    user.ask("user.create", name="A", email="a@hospital.example", role="nurse")
    shift.ask(
        "shift.schedule", department_id=WARD, supervisor_id=NURSE, starts_at=NOW,
        ends_at=NOW + 1,
    )  # fmt: skip
    Line(store).apply(department, user, shift, task("ours"), handover("ours"))
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        store.run(f"UPDATE {table} SET {change}")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
)
def test_the_database_orders_and_merges_clocks_as_the_ledger_does(store, a, b):
    with store.database.connection() as connection:
        row = connection.execute(
            "SELECT clock_order(%(a)s, %(b)s) AS placed, clock_merge(%(a)s, %(b)s) AS merged",
            {"a": psycopg.types.json.Jsonb(a), "b": psycopg.types.json.Jsonb(b)},
        ).fetchone()
    assert row == {"placed": clocks.compare(a, b), "merged": clocks.merged(a, b)}
