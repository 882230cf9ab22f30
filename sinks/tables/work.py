"""People and work: departments, users, shifts, tasks, handovers (document 004)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    String,
    Table,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ENUM

from sinks.tables.declare import json, metadata, origin, tenant, time


def _enum(name: str, *values: str) -> ENUM:
    """An enum type of the database, which migration 008 makes."""
    return ENUM(*values, name=name, create_type=False)


TASK_STATUS = _enum("task_status", "pending", "in_progress", "completed", "cancelled")
TASK_PRIORITY = _enum("task_priority", "low", "normal", "high", "urgent")
USER_ROLE = _enum(
    "user_role", "nurse", "physician", "pharmacist", "therapist", "technician",
    "supervisor", "administrator", "observer",
)  # fmt: skip
EMR_SYSTEM = _enum("emr_system", "EPIC", "CERNER", "GENERIC_FHIR")
VERIFICATION_STATUS = _enum(
    "verification_status", "pending", "verified", "verified_late", "refuted",
    "unknown_stale", "conflict", "void",
)  # fmt: skip


def _sealed(name: str, *, nullable: bool = False) -> Column[object]:
    """A sealed envelope, whose header says which event it is bound to, and whose it is."""
    return Column(name, LargeBinary, nullable=nullable, comment="sealed")


def _lived() -> list[Column[object]]:
    """From when to when a row is, by whom; times are the ledger's, so a rebuild gives the same."""
    return [
        Column("created_by", Uuid, nullable=False, comment="the user, else the app's feed"),
        time("created_at"),
        time("updated_at"),
        time("deleted_at", nullable=True),
        Column("version", Integer, nullable=False, comment="of the stream"),
        *origin(),
    ]


def _clocks() -> list[Column[object]]:
    """What devices that were apart need to know (document 004's vector and hybrid clocks)."""
    return [
        json("vector_clock"),
        Column("hlc_micros", BigInteger, nullable=False),
        Column("hlc_counter", Integer, nullable=False),
        time("last_synced_at", nullable=True),
        json("registers"),
        json("conflicts"),
    ]


def _clock_checks() -> list[CheckConstraint]:
    return [
        CheckConstraint("jsonb_typeof(vector_clock) = 'object'", name="vector_clock"),
        CheckConstraint("hlc_micros >= 0 AND hlc_counter >= 0", name="hlc"),
    ]


departments = Table(
    "departments",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("code", String(50), nullable=False),
    _sealed("name"),
    Column("is_active", Boolean, nullable=False),
    *_lived(),
    CheckConstraint("is_active = (deleted_at IS NULL)", name="active"),
    Index("idx_departments_tenant", "tenant_id", "id"),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    _sealed("name"),
    _sealed("email"),
    Column("role", USER_ROLE, nullable=False),
    Column("is_active", Boolean, nullable=False),
    *_lived(),
    CheckConstraint("is_active = (deleted_at IS NULL)", name="active"),
    Index("idx_users_tenant", "tenant_id", "id"),
)

user_departments = Table(
    "user_departments",
    metadata,
    tenant(),
    Column("user_id", Uuid, nullable=False),
    Column("department_id", Uuid, nullable=False),
    time("since"),
    time("deleted_at", nullable=True),
    *origin(),
    PrimaryKeyConstraint("tenant_id", "user_id", "department_id"),
    Index("idx_user_departments_user", "user_id"),
    Index("idx_user_departments_department", "department_id"),
)

emr_identities = Table(
    "emr_identities",
    metadata,
    tenant(),
    Column("user_id", Uuid, nullable=False),
    Column("emr_system", EMR_SYSTEM, nullable=False),
    Column("authority", String(200), nullable=False, comment="an instance, not a vendor"),
    _sealed("emr_id"),
    time("linked_at"),
    time("deleted_at", nullable=True),
    *origin(),
    PrimaryKeyConstraint("tenant_id", "user_id", "emr_system", "authority"),
    Index("idx_emr_identities_user", "user_id"),
)

shifts = Table(
    "shifts",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("department_id", Uuid, nullable=False),
    Column("supervisor_id", Uuid, nullable=False),
    time("starts_at"),
    time("ends_at"),
    json("staff"),
    *_lived(),
    CheckConstraint("ends_at > starts_at", name="times"),
    Index("idx_shifts_tenant", "tenant_id", "starts_at", "id"),
    Index("idx_shifts_department", "department_id", "starts_at"),
    Index("idx_shifts_supervisor", "supervisor_id"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("patient_id", Uuid, nullable=False, comment="as told; aliases say who that is"),
    Column("admission_id", Uuid),
    Column("department_id", Uuid, nullable=False),
    Column("shift_id", Uuid),
    Column("assigned_to", Uuid),
    _sealed("title"),
    _sealed("description", nullable=True),
    Column("priority", TASK_PRIORITY, nullable=False),
    Column("status", TASK_STATUS, nullable=False),
    time("due_date", nullable=True),
    time("started_at", nullable=True),
    time("completed_at", nullable=True),
    Column("completed_by", Uuid),
    _sealed("cancel_reason", nullable=True),
    Column("order_id", Uuid, comment="keyed hash of the placer order number"),
    Column("rule_id", Uuid),
    time("window_starts_at", nullable=True),
    time("window_ends_at", nullable=True),
    Column("recurrence", Integer),
    *_clocks(),
    *_lived(),
    *_clock_checks(),
    CheckConstraint(
        "((status)::text = 'completed') = (completed_at IS NOT NULL)", name="completed"
    ),
    CheckConstraint("((status)::text = 'cancelled') = (deleted_at IS NOT NULL)", name="cancelled"),
    CheckConstraint("(completed_at IS NULL) = (completed_by IS NULL)", name="completed_by"),
    CheckConstraint("window_ends_at > window_starts_at", name="window"),
    CheckConstraint("recurrence >= 0", name="recurrence"),
    Index("idx_tasks_dept_status_due", "department_id", "status", "due_date"),
    Index("idx_tasks_assigned_status", "assigned_to", "status"),
    Index("idx_tasks_patient_id", "patient_id"),
    Index("idx_tasks_vector_clock", "hlc_micros", "hlc_counter"),
    Index("idx_tasks_shift", "shift_id"),
    Index(
        "idx_tasks_tenant", "tenant_id",
        text("COALESCE(due_date, 'infinity'::timestamp with time zone)"), "id",
    ),
    Index("idx_tasks_changed", "partition", "partition_seq"),
)  # fmt: skip

handovers = Table(
    "handovers",
    metadata,
    Column("id", Uuid, primary_key=True),
    tenant(),
    Column("from_shift_id", Uuid, nullable=False),
    Column("to_shift_id", Uuid, nullable=False),
    Column("department_id", Uuid, nullable=False),
    Column("patient_id", Uuid),
    Column("status", String(20), nullable=False),
    _sealed("summary"),
    json("task_ids"),
    Column("initiated_by", Uuid, nullable=False),
    time("initiated_at"),
    Column("accepted_by", Uuid),
    time("completed_at", nullable=True),
    _sealed("cancel_reason", nullable=True),
    *_clocks(),
    *_lived(),
    *_clock_checks(),
    CheckConstraint("status IN ('initiated', 'accepted', 'cancelled')", name="status"),
    CheckConstraint("(status = 'accepted') = (completed_at IS NOT NULL)", name="completed"),
    CheckConstraint("(status = 'cancelled') = (deleted_at IS NOT NULL)", name="cancelled"),
    CheckConstraint("(completed_at IS NULL) = (accepted_by IS NULL)", name="accepted_by"),
    CheckConstraint("from_shift_id <> to_shift_id", name="of_two"),
    Index("idx_handovers_from_shift", "from_shift_id"),
    Index("idx_handovers_to_shift", "to_shift_id"),
    Index("idx_handovers_completed", "completed_at"),
    Index("idx_handovers_vector_clock", "hlc_micros", "hlc_counter"),
    Index("idx_handovers_tenant", "tenant_id", "initiated_at", "id"),
    Index("idx_handovers_changed", "partition", "partition_seq"),
)
