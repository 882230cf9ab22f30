"""The rows of all facts around some patients, whom merges and visits tie to one another."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import Connection

from sinks.database import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """The rows of all facts around some patients of one tenant, by table."""

    tasks: Sequence[Row]
    evidence: Sequence[Row]
    rules: Sequence[Row]
    decisions: Sequence[Row]
    watermarks: Sequence[Row]
    visits: Sequence[Row]
    links: Sequence[Row]
    orders: Sequence[Row]


def facts_of(connection: Connection[Row], tenant_id: str, task_id: str) -> Around | None:
    """The facts around a task's patient, as a reader sees them; None where there is no task."""
    row = connection.execute(_PATIENT_OF, (task_id,)).fetchone()
    if row is None:
        return None
    patients = closure(connection, [row["patient_id"]] if row["patient_id"] else [])
    return around(connection, tenant_id, patients)


def around(connection: Connection[Row], tenant_id: str, patients: Sequence[str]) -> Around:
    """All that is known of these patients of a tenant."""
    tasks = connection.execute(_TASKS, (list(patients),)).fetchall()
    rules = sorted({row["rule_id"] for row in tasks if row["rule_id"]})
    orders = connection.execute(_ORDERS, (list(patients),)).fetchall()
    evidence = connection.execute(_EVIDENCE, (list(patients),)).fetchall()
    decided = [[row["task_id"] for row in tasks], [row["order_id"] for row in orders]]
    visits = {row["admission_id"] for row in (*tasks, *evidence, *orders)} - {None}
    return Around(
        tasks=tasks,
        evidence=evidence,
        rules=connection.execute(_RULES, (rules, bool(orders), tenant_id)).fetchall(),
        decisions=connection.execute(_DECISIONS, decided).fetchall(),
        watermarks=connection.execute(_WATERMARKS_OF, (tenant_id,)).fetchall(),
        visits=connection.execute(_VISITS, (sorted(visits),)).fetchall(),
        links=connection.execute(_LINKS, (list(patients), list(patients))).fetchall(),
        orders=orders,
    )


def closure(connection: Connection[Row], named: Sequence[str]) -> list[str]:
    """Those named and all who are tied to them, by their ids."""
    rows = connection.execute(_TIED, (list(named),)).fetchall()
    return sorted(row["id"] for row in rows)


_TIED = """
WITH RECURSIVE tied (kind, id) AS (
    SELECT 'patient', unnest(%s::uuid[])
    UNION
    SELECT other.kind, other.id FROM tied, LATERAL (
        SELECT 'patient', into_patient_id FROM verification_links
        WHERE tied.kind = 'patient' AND patient_id = tied.id
        UNION ALL
        SELECT 'patient', patient_id FROM verification_links
        WHERE tied.kind = 'patient' AND into_patient_id = tied.id
        UNION ALL
        SELECT 'visit', admission_id FROM verification_visits
        WHERE tied.kind = 'patient' AND owner_id = tied.id
        UNION ALL
        SELECT 'visit', task.admission_id FROM verification_tasks AS task
        WHERE tied.kind = 'patient' AND task.patient_id = tied.id AND EXISTS (
            SELECT FROM verification_visits AS visit
            WHERE task.admission_id IN (visit.admission_id, visit.joined_into)
        )
        UNION ALL
        SELECT 'visit', asking.admission_id FROM verification_orders AS asking
        WHERE tied.kind = 'patient' AND asking.patient_id = tied.id AND EXISTS (
            SELECT FROM verification_visits AS visit
            WHERE asking.admission_id IN (visit.admission_id, visit.joined_into)
        )
        UNION ALL
        SELECT 'patient', asking.patient_id FROM verification_tasks AS task
        JOIN verification_orders AS asking USING (order_id)
        WHERE tied.kind = 'patient' AND task.patient_id = tied.id
        UNION ALL
        SELECT 'visit', told.admission_id FROM verification_evidence AS told
        WHERE tied.kind = 'patient' AND told.patient_id = tied.id AND EXISTS (
            SELECT FROM verification_visits AS visit
            WHERE told.admission_id IN (visit.admission_id, visit.joined_into)
        )
        UNION ALL
        SELECT 'visit', joined_into FROM verification_visits
        WHERE tied.kind = 'visit' AND admission_id = tied.id AND joined_into IS NOT NULL
        UNION ALL
        SELECT 'visit', admission_id FROM verification_visits
        WHERE tied.kind = 'visit' AND joined_into = tied.id
        UNION ALL
        SELECT 'patient', owner_id FROM verification_visits
        WHERE tied.kind = 'visit' AND admission_id = tied.id AND owner_id IS NOT NULL
        UNION ALL
        SELECT 'patient', patient_id FROM verification_tasks
        WHERE tied.kind = 'visit' AND admission_id = tied.id AND patient_id IS NOT NULL
        UNION ALL
        SELECT 'patient', patient_id FROM verification_evidence
        WHERE tied.kind = 'visit' AND admission_id = tied.id
        UNION ALL
        SELECT 'patient', patient_id FROM verification_orders
        WHERE tied.kind = 'visit' AND admission_id = tied.id
    ) AS other (kind, id)
)
SELECT id FROM tied WHERE kind = 'patient'
"""
_TASKS = """
SELECT task_id, tenant_id, version, recorded_at, patient_id, admission_id, rule_id, order_id,
       window_starts_at, window_ends_at, due_at, cancelled, partition
FROM verification_tasks WHERE patient_id = ANY (%s::uuid[]) ORDER BY task_id
"""
_EVIDENCE = """
SELECT evidence_id, event_id, tenant_id, feed_id, evidence_kind, evidence_state, raw_state, codes,
       value_number, value_unit, value_comparator, value_code, patient_id, admission_id, order_id,
       performed_at, reported_at, version, versions, recorded_at
FROM verification_evidence WHERE patient_id = ANY (%s::uuid[])
"""
_ORDERS = """
SELECT order_id, tenant_id, version, patient_id, admission_id, codes, said, recorded_at,
       partition, partition_seq
FROM verification_orders WHERE patient_id = ANY (%s::uuid[])
"""
_RULES = """
SELECT rule_id, tenant_id, version, recorded_at, rule, order_codes, retired_at
FROM verification_rules
WHERE rule_id = ANY (%s::uuid[]) OR (%s AND tenant_id = %s AND order_codes <> '[]')
"""
_DECISIONS = """
SELECT event_id, tenant_id, task_id, decided, vector_clock, version, decided_by, recorded_at,
       hlc_micros, hlc_counter, hlc_node, patient_id, order_id, rule_id,
       window_starts_at, window_ends_at, due_at
FROM verification_decisions WHERE task_id = ANY (%s::uuid[]) OR order_id = ANY (%s::uuid[])
"""
_WATERMARKS_OF = """
SELECT tenant_id, feed_id, told, max(clinical_at) AS clinical_at FROM feed_watermarks
WHERE tenant_id = %s GROUP BY tenant_id, feed_id, told
"""
_VISITS = """
WITH RECURSIVE chain (admission_id) AS (
    SELECT unnest(%s::uuid[])
    UNION
    SELECT visit.joined_into FROM chain JOIN verification_visits AS visit USING (admission_id)
    WHERE visit.joined_into IS NOT NULL
)
SELECT admission_id, tenant_id, owner_id, joined_into
FROM chain JOIN verification_visits USING (admission_id)
"""
_LINKS = """
SELECT event_id, tenant_id, patient_id, into_patient_id, link, said_at FROM verification_links
WHERE patient_id = ANY (%s::uuid[]) OR into_patient_id = ANY (%s::uuid[])
"""
_PATIENT_OF = "SELECT patient_id FROM verification_tasks WHERE task_id = %s"
