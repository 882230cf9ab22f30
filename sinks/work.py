"""Questions to people and work: departments, users, shifts, tasks, handovers, what changed since.

Each is asked on a snapshot that shows one tenant's rows, and of tasks and handovers those of the
reader's departments (:class:`~sinks.reading.Readers`). Texts that name somebody
come as sealed envelopes, whose header says which event and whose key they are bound to. Answers
come in pages: the cursor of one asks for the next, and stays good while rows come and go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg.sql import SQL

from sinks.pages import LIMIT_MAX, Order, Page, by_ids, equal, page
from sinks.pages import CursorInvalid as CursorInvalid
from sinks.queries import Snapshot

POSITIONS_MAX = 1_000  # partitions that a device names; there are a dozen


@dataclass(frozen=True, slots=True, kw_only=True)
class Department:
    """A department; ``name`` is sealed. Ids are UUID texts here and below."""

    id: str
    code: str
    name: bytes
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user, with the departments where they work; ``name`` and ``email`` are sealed."""

    id: str
    name: bytes
    email: bytes
    role: str
    department_ids: list[str]
    is_active: bool
    created_at: datetime
    updated_at: datetime
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A shift; ``staff`` are the ids of users, ``deleted_at`` says that it was cancelled."""

    id: str
    department_id: str
    supervisor_id: str
    starts_at: datetime
    ends_at: datetime
    staff: list[str]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A task; ``title``, ``description`` and ``cancel_reason`` are sealed.

    ``conflicts`` has, for each field that concurrent writes disagree on, the siblings: clock,
    hlc, author_id, value (envelopes in base64), the one that the row shows last.
    """

    id: str
    patient_id: str
    admission_id: str | None
    department_id: str
    shift_id: str | None
    assigned_to: str | None
    title: bytes
    description: bytes | None
    priority: str
    status: str
    due_date: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    completed_by: str | None
    cancel_reason: bytes | None
    order_id: str | None
    rule_id: str | None
    window_starts_at: datetime | None
    window_ends_at: datetime | None
    recurrence: int | None
    vector_clock: dict[str, int]
    hlc_micros: int
    hlc_counter: int
    last_synced_at: datetime | None
    conflicts: dict[str, list[dict[str, Any]]]
    created_by: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """A handover; ``summary`` and ``cancel_reason`` are sealed, ``conflicts`` as a task's."""

    id: str
    from_shift_id: str
    to_shift_id: str
    department_id: str
    patient_id: str | None
    status: str
    summary: bytes
    task_ids: list[str]
    initiated_by: str
    initiated_at: datetime
    accepted_by: str | None
    completed_at: datetime | None
    cancel_reason: bytes | None
    vector_clock: dict[str, int]
    hlc_micros: int
    hlc_counter: int
    last_synced_at: datetime | None
    conflicts: dict[str, list[dict[str, Any]]]
    created_by: str
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A patient's tasks, counted; ``overdue_tasks`` by the database's clock."""

    total_tasks: int
    pending_tasks: int
    in_progress_tasks: int
    completed_tasks: int
    cancelled_tasks: int
    overdue_tasks: int
    conflicting_tasks: int
    next_due_date: datetime | None
    last_completed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """Tasks and handovers as they are now that changed after some positions.

    ``positions`` (by partition) is what to ask from next; ``more`` says that there is more now.
    """

    tasks: tuple[Task, ...]
    handovers: tuple[Handover, ...]
    positions: Mapping[int, int]
    more: bool


def departments(
    connection: Snapshot, *, inactive: bool = False, limit: int = 100, cursor: str | None = None
) -> Page[Department]:
    """The departments by id; those that were deactivated too, if wanted."""
    only = [] if inactive else [SQL("is_active")]
    return page(connection, Department, "departments", only, {}, _BY_ID, limit, cursor)


def users(
    connection: Snapshot,
    *,
    department: UUID | None = None,
    inactive: bool = False,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[User]:
    """The users by id; of one department, if it is named."""
    only = [] if inactive else [SQL("is_active")]
    if department is not None:
        only.append(SQL(_WORKS_IN))
    values = {"department": department}
    return page(
        connection, User, "users", only, values, _BY_ID, limit, cursor,
        computed={"department_ids": _DEPARTMENTS_OF},
    )  # fmt: skip


def shifts(
    connection: Snapshot,
    *,
    department: UUID | None = None,
    at: datetime | None = None,
    cancelled: bool = False,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Shift]:
    """The shifts by their start; of one department, those on at an instant, if they are named."""
    values = {"department_id": department}
    only = equal(values)
    if at is not None:
        only.append(SQL("starts_at <= %(at)s AND ends_at > %(at)s"))
    if not cancelled:
        only.append(SQL("deleted_at IS NULL"))
    return page(connection, Shift, "shifts", only, {**values, "at": at}, _BY_START, limit, cursor)


def tasks(
    connection: Snapshot,
    *,
    department: UUID | None = None,
    status: Literal["pending", "in_progress", "completed", "cancelled"] | None = None,
    assigned_to: UUID | None = None,
    patient: UUID | None = None,
    shift: UUID | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Task]:
    """The tasks by when they are due, those without last; a patient's are those of all aliases."""
    values = {
        "department_id": department, "status": status, "assigned_to": assigned_to,
        "shift_id": shift,
    }  # fmt: skip
    only = equal(values)
    if patient is not None:
        only.append(SQL(_OF_PATIENT))
    values["patient"] = patient
    return page(connection, Task, "tasks", only, values, _BY_DUE, limit, cursor)


def task(connection: Snapshot, task_id: UUID) -> Task | None:
    """One task; None where there is none, or none that this reader may see."""
    found = by_ids(connection, Task, "tasks", [str(task_id)])
    return found[0] if found else None


def handovers(
    connection: Snapshot,
    *,
    department: UUID | None = None,
    shift: UUID | None = None,
    status: Literal["initiated", "accepted", "cancelled"] | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Page[Handover]:
    """The handovers by when they were initiated; from or to one shift, if it is named."""
    values = {"department_id": department, "status": status}
    only = equal(values)
    if shift is not None:
        only.append(SQL("(from_shift_id = %(shift)s OR to_shift_id = %(shift)s)"))
    values["shift"] = shift
    return page(connection, Handover, "handovers", only, values, _BY_INITIATED, limit, cursor)


def handover(connection: Snapshot, handover_id: UUID) -> Handover | None:
    """One handover; None where there is none, or none that this reader may see."""
    found = by_ids(connection, Handover, "handovers", [str(handover_id)])
    return found[0] if found else None


def task_summary(connection: Snapshot, patient: UUID) -> Summary:
    """The tasks of a patient under all aliases, counted, as ``patient_task_summary`` does."""
    row = connection.execute(_SUMMARY, {"patient": patient}).fetchone()
    assert row is not None, "an aggregate has one row"
    return Summary(**row)


def changes_since(
    connection: Snapshot, positions: Mapping[int, int], *, limit: int = 500
) -> Changes:
    """What changed after these positions (by partition; one not named is from the start).

    A task that a reader may see is never passed over: positions move to where the projection
    stood in this snapshot, or to the last row given where there were more.
    """
    assert 0 < limit <= LIMIT_MAX, "a page has a bound"
    assert len(positions) <= POSITIONS_MAX, "there are fewer partitions"
    heads: dict[int, int] = {
        row["partition"]: row["last_position"] for row in connection.execute(_HEADS)
    }
    since = {partition: positions.get(partition, 0) for partition in sorted(heads)}
    asked = {"partitions": list(since), "since": list(since.values()), "limit": limit + 1}
    found = connection.execute(_CHANGED, asked).fetchall()
    more, found = len(found) > limit, found[:limit]
    reached = {partition: max(since[partition], heads[partition]) for partition in since}
    if more:
        last = found[-1]["partition"]
        reached |= {partition: since[partition] for partition in since if partition > last}
        reached[last] = found[-1]["partition_seq"]
    ids = {kind: [row["id"] for row in found if row["kind"] == kind] for kind in _KINDS}
    return Changes(
        tasks=tuple(by_ids(connection, Task, "tasks", ids["task"])),
        handovers=tuple(by_ids(connection, Handover, "handovers", ids["handover"])),
        positions=reached,
        more=more,
    )


_BY_ID = Order()
_BY_START = Order(by="starts_at", column="starts_at")
_BY_DUE = Order(by="COALESCE(due_date, 'infinity'::timestamptz)", column="due_date")
_BY_INITIATED = Order(by="initiated_at", column="initiated_at")
_KINDS = ("task", "handover")
_WORKS_IN = """EXISTS (
    SELECT FROM user_departments AS place
    WHERE place.user_id = users.id AND place.department_id = %(department)s
      AND place.deleted_at IS NULL)"""
_DEPARTMENTS_OF = """ARRAY(
    SELECT place.department_id::text FROM user_departments AS place
    WHERE place.user_id = users.id AND place.deleted_at IS NULL
    ORDER BY 1)"""
_OF_PATIENT = "patient_id = ANY (ARRAY(SELECT same_patients(%(patient)s::uuid)))"
_SUMMARY = """
SELECT count(*) AS total_tasks,
       count(*) FILTER (WHERE status = 'pending') AS pending_tasks,
       count(*) FILTER (WHERE status = 'in_progress') AS in_progress_tasks,
       count(*) FILTER (WHERE status = 'completed') AS completed_tasks,
       count(*) FILTER (WHERE status = 'cancelled') AS cancelled_tasks,
       count(*) FILTER (WHERE status IN ('pending', 'in_progress') AND due_date < now())
           AS overdue_tasks,
       count(*) FILTER (WHERE conflicts <> '{}') AS conflicting_tasks,
       min(due_date) FILTER (WHERE status IN ('pending', 'in_progress')) AS next_due_date,
       max(completed_at) AS last_completed_at
FROM tasks WHERE patient_id = ANY (ARRAY(SELECT same_patients(%(patient)s::uuid)))
"""
_HEADS = """
SELECT partition, last_position FROM subscriptions
WHERE subscription_id = 'work' ORDER BY partition
"""
_CHANGED = """
WITH asked AS (
    SELECT * FROM unnest(%(partitions)s::smallint[], %(since)s::bigint[]) AS one (partition, since)
)
SELECT 'task' AS kind, tasks.id, tasks.partition, tasks.partition_seq
FROM asked JOIN tasks ON tasks.partition = asked.partition AND tasks.partition_seq > asked.since
UNION ALL
SELECT 'handover', handovers.id, handovers.partition, handovers.partition_seq
FROM asked JOIN handovers
  ON handovers.partition = asked.partition AND handovers.partition_seq > asked.since
ORDER BY 3, 4 LIMIT %(limit)s
"""
