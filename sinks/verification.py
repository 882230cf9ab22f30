"""The judge's transactions: marks of what is due become patients, and these become results."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from zlib import crc32

from psycopg import Connection

from schemas.failpoints import hit
from sinks import facts, judged, tenancy
from sinks.database import Database, Row, for_tenants
from sinks.facts import Around

PATIENTS_MAX = 64  # judged in one transaction: enough to share its cost, few to judge again
FIRST_MAX = 512  # marks among which these are looked for: each may have some
MARKS_MAX = 1_000  # expanded in one transaction
LOCK = 0x76657269  # advisory, with a number of each patient's: who is judged, is by one judge
FAILED_CHARS_MAX = 100


class Grown(Exception):  # noqa: N818  named for what happened
    """The patients around those that are due became more while they were locked: again."""


Asking = Callable[[Around], Sequence[tuple[Row, bool]]]
"""The tasks that orders ask for, as rows, and whether each still stands."""


@dataclass(slots=True, kw_only=True)
class Work:
    """Patients that are due, locked, with the facts around them, inside a transaction."""

    tenant_id: str
    patients: Sequence[str]
    around: Around
    results: list[tuple[Row, Row]] = field(default_factory=list)
    """To be written: the content of each task's row of ``emr_verifications``, and the record."""
    written: int = 0


@contextmanager
def due(database: Database, asking: Asking, *, limit: int = PATIENTS_MAX) -> Iterator[Work | None]:
    """Patients that are due, of one tenant, with their marks; None where nobody is.

    The tasks that their orders ask for stand among the others before anything is judged.

    Nobody is while the facts are rebuilt: half of them would give other outcomes.
    What the block leaves in ``results`` is written when it ends, with the marks' removal: where
    it raises, or this process dies, all are due as before. Raises :class:`Grown`.
    """
    with database.connection() as connection:
        with connection.transaction():
            for_tenants(connection, tenancy.tenants(connection))
            first = connection.execute(_FIRST, {"marks": FIRST_MAX, "patients": limit}).fetchall()
            if not first:
                yield None
                return
            tenant = str(first[0]["tenant_id"])
            for_tenants(connection, [tenant])
            named = [row["due_id"] for row in first if row["tenant_id"] == tenant]
            patients = _locked(connection, named)
            if tenancy.gone(connection, [tenant]):  # since they were found: nothing is left of it
                yield None
                return
            hit("judge: locked")
            marks = connection.execute(_MARKS, (patients,)).fetchall()
            around = facts.around(connection, tenant, patients)
            if around.orders and judged.ask(connection, asking(around), around.tasks):
                around = facts.around(connection, tenant, patients)
            work = Work(tenant_id=tenant, patients=patients, around=around)
            yield work
            work.written = judged.record(connection, work.results)
            connection.execute(_DONE, ([mark["place"] for mark in marks],))
            hit("judge: written")
        hit("judge: committed")


def expand(database: Database) -> int:
    """Make patients due where tasks, rules and visits are; return how many marks went."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenancy.tenants(connection))
        return connection.execute(_EXPAND, {"limit": MARKS_MAX}).rowcount


def failed(database: Database, tenant_id: str, patient_id: str, error: str) -> None:
    """Set a patient's marks aside: judging failed on them, and would again."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        connection.execute(_FAILED, (error[:FAILED_CHARS_MAX], tenant_id, patient_id))


def progress(database: Database) -> tuple[list[Row], list[Row]]:
    """All tenants' watermarks by feed and kind, and their rules."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenancy.tenants(connection))
        watermarks = connection.execute(_WATERMARKS).fetchall()
        return watermarks, connection.execute(_RULES).fetchall()


def passed(
    database: Database, tenant_id: str, rule_id: str,
    *, least: datetime | None, clock: datetime | None, stale_after_s: int,
) -> int:  # fmt: skip
    """Make patients due of whose tasks absence says something else by now; return how many.

    The same as :func:`streams.verification.absence.absent`, over all tasks of a rule.
    """
    values = {
        "tenant": tenant_id, "rule": rule_id, "least": least, "clock": clock,
        "stale_after_s": stale_after_s,
    }  # fmt: skip
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        return connection.execute(_PASSED, values).rowcount


def _locked(connection: Connection[Row], named: Sequence[str]) -> list[str]:
    """All patients around those, each locked, in the order of the locks' numbers."""
    patients = facts.closure(connection, named)
    numbers = sorted({crc32(patient.encode()) - (1 << 31) for patient in patients})
    connection.execute(_LOCK, (LOCK, numbers))
    if facts.closure(connection, named) != patients:
        raise Grown("more patients are tied to those that are due")
    return patients


# A patient has a mark for each event that made them due, so the first marks are of fewer patients.
_FIRST = """
WITH first AS (
    SELECT tenant_id, due_id, partition, partition_seq FROM verification_due
    WHERE due = 'patient' AND failed IS NULL AND NOT EXISTS (
        SELECT FROM subscriptions WHERE subscription_id = 'verification' AND owner = 'rebuild'
    ) AND NOT EXISTS (SELECT FROM deleted_tenants AS gone WHERE gone.id = tenant_id)
    ORDER BY tenant_id, partition, partition_seq
    LIMIT %(marks)s
    FOR UPDATE SKIP LOCKED
)
SELECT tenant_id, due_id FROM first
GROUP BY tenant_id, due_id
ORDER BY tenant_id, min(partition), min(partition_seq)
LIMIT %(patients)s
"""
_MARKS = """
SELECT ctid::text AS place FROM verification_due
WHERE due = 'patient' AND due_id = ANY (%s::uuid[])
FOR UPDATE SKIP LOCKED
"""
# One after another, as they stand in the array: locks only rise.
_LOCK = "SELECT pg_advisory_xact_lock(%s::int, number) FROM unnest(%s::int[]) AS number"
_DONE = "DELETE FROM verification_due WHERE ctid = ANY (%s::tid[])"  # locked: they stay in place
# Marks keep the place of the event that made them: one that stands already was made with it.
_EXPAND = """
WITH mark AS (
    DELETE FROM verification_due WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM verification_due
        WHERE due = ANY ('{task,rule,visit,order}') AND failed IS NULL  -- by an index
        LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ))
    RETURNING *
), visit (tenant_id, visit_id, partition, partition_seq) AS (
    SELECT mark.tenant_id, near.visit_id, mark.partition, mark.partition_seq
    FROM mark, LATERAL (
        SELECT mark.due_id
        UNION SELECT joined_into FROM verification_visits WHERE admission_id = mark.due_id
        UNION SELECT admission_id FROM verification_visits WHERE joined_into = mark.due_id
    ) AS near (visit_id)
    WHERE mark.due = 'visit' AND near.visit_id IS NOT NULL
), named (tenant_id, patient_id, partition, partition_seq) AS (
    SELECT mark.tenant_id, task.patient_id, mark.partition, mark.partition_seq
    FROM mark JOIN verification_tasks AS task
      ON mark.due = 'task' AND task.task_id = mark.due_id
    UNION
    SELECT mark.tenant_id, task.patient_id, mark.partition, mark.partition_seq
    FROM mark JOIN verification_tasks AS task
      ON mark.due = 'rule' AND (task.tenant_id, task.rule_id) = (mark.tenant_id, mark.due_id)
    UNION
    SELECT mark.tenant_id, asking.patient_id, mark.partition, mark.partition_seq
    FROM mark JOIN verification_rules AS rule ON mark.due = 'rule' AND rule.rule_id = mark.due_id
    CROSS JOIN LATERAL jsonb_array_elements(rule.order_codes) AS each (code)
    JOIN verification_orders AS asking
      ON asking.tenant_id = mark.tenant_id AND asking.codes @> jsonb_build_array(each.code)
    UNION
    SELECT mark.tenant_id, asking.patient_id, mark.partition, mark.partition_seq
    FROM mark JOIN verification_orders AS asking
      ON mark.due = 'order' AND asking.order_id = mark.due_id
    UNION
    SELECT visit.tenant_id, near.patient_id, visit.partition, visit.partition_seq
    FROM visit, LATERAL (
        SELECT patient_id FROM verification_tasks WHERE admission_id = visit.visit_id
        UNION SELECT patient_id FROM verification_evidence WHERE admission_id = visit.visit_id
        UNION SELECT patient_id FROM verification_orders WHERE admission_id = visit.visit_id
        UNION SELECT owner_id FROM verification_visits WHERE admission_id = visit.visit_id
    ) AS near (patient_id)
), made AS (
    INSERT INTO verification_due (tenant_id, due, due_id, partition, partition_seq)
    SELECT tenant_id, 'patient', patient_id, partition, partition_seq FROM named
    WHERE patient_id IS NOT NULL
    ON CONFLICT DO NOTHING
)
SELECT FROM mark
"""
_FAILED = """
UPDATE verification_due SET failed = %s WHERE tenant_id = %s AND due = 'patient' AND due_id = %s
"""
_RULES = """
SELECT rule_id, tenant_id, version, recorded_at, rule, order_codes, retired_at
FROM verification_rules
"""
_WATERMARKS = """
SELECT tenant_id, feed_id, told, max(clinical_at) AS clinical_at FROM feed_watermarks
GROUP BY tenant_id, feed_id, told
"""
_PASSED = """
WITH changed AS (
    SELECT row.tenant_id, task.patient_id, row.partition FROM emr_verifications AS row
    JOIN verification_tasks AS task USING (task_id)
    WHERE row.tenant_id = %(tenant)s AND row.rule_id = %(rule)s AND row.absence IS NOT NULL
      AND row.absence <> CASE
          WHEN %(least)s::timestamptz > row.awaits_at THEN 'refuted'
          WHEN (%(clock)s::timestamptz <= row.awaits_at) IS NOT FALSE THEN 'pending'
          WHEN (%(clock)s::timestamptz - %(least)s::timestamptz
                <= make_interval(secs => %(stale_after_s)s)) IS NOT TRUE THEN 'unknown_stale'
          ELSE 'pending'
      END
)
INSERT INTO verification_due (tenant_id, due, due_id, partition, partition_seq)
SELECT DISTINCT tenant_id, 'patient', patient_id, partition, 0::bigint FROM changed
ON CONFLICT DO NOTHING
"""
