"""Verification in the database: what is due, the facts around it, results and their numbers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zlib import crc32

from psycopg import Connection

from schemas.failpoints import hit
from schemas.topics import VERIFICATIONS
from sinks.changes import Append, Change, Put
from sinks.database import Database, Row, for_tenants
from sinks.tables import emr_verifications, verification_results
from sinks.tenancy import tenants
from sinks.write import write

PATIENTS_MAX = 64  # judged in one transaction: enough to share its cost, few to judge again
MARKS_MAX = 1_000  # expanded in one transaction
LOCK = 0x76657269  # advisory, with a number of each patient's: who is judged, is by one judge
FAILED_CHARS_MAX = 100
# What a result has beside its content: a rebuild gives it the same content, later.
NUMBERED = frozenset({"revision", "partition_seq", "judged_at"})


class Grown(Exception):  # noqa: N818  named for what happened
    """The patients around those that are due became more while they were locked: again."""


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
def due(database: Database, *, limit: int = PATIENTS_MAX) -> Iterator[Work | None]:
    """Patients that are due, of one tenant, with their marks; None where nobody is.

    Nobody is while the facts are rebuilt: half of them would give other outcomes.
    What the block leaves in ``results`` is written when it ends, with the marks' removal: where
    it raises, or this process dies, all are due as before. Raises :class:`Grown`.
    """
    with database.connection() as connection:
        with connection.transaction():
            for_tenants(connection, tenants(connection))
            first = connection.execute(_FIRST, (limit,)).fetchall()
            if not first:
                yield None
                return
            tenant = str(first[0]["tenant_id"])
            for_tenants(connection, [tenant])
            named = [row["due_id"] for row in first if row["tenant_id"] == tenant]
            patients = _locked(connection, named)
            hit("judge: locked")
            marks = connection.execute(_MARKS, (patients,)).fetchall()
            work = Work(
                tenant_id=tenant, patients=patients, around=_around(connection, tenant, patients)
            )
            yield work
            work.written = _write(connection, work.results)
            connection.execute(_DONE, ([mark["place"] for mark in marks],))
            hit("judge: written")
        hit("judge: committed")


def expand(database: Database) -> int:
    """Make patients due where tasks, rules and visits are; return how many marks went."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        return connection.execute(_EXPAND, {"limit": MARKS_MAX}).rowcount


def failed(database: Database, tenant_id: str, patient_id: str, error: str) -> None:
    """Set a patient's marks aside: judging failed on them, and would again."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        connection.execute(_FAILED, (error[:FAILED_CHARS_MAX], tenant_id, patient_id))


def progress(database: Database) -> tuple[list[Row], list[Row]]:
    """All tenants' watermarks by feed and kind, and their rules."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        watermarks = connection.execute(_WATERMARKS).fetchall()
        return watermarks, connection.execute(_RULES_OF_ALL).fetchall()


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


def current(connection: Connection[Row], task_id: str) -> Row | None:
    """What is known of a task now: its row of ``emr_verifications``."""
    return connection.execute(_CURRENT, (task_id,)).fetchone()


def facts_of(connection: Connection[Row], tenant_id: str, task_id: str) -> Around | None:
    """The facts around a task's patient, as a reader sees them; None where there is no task."""
    row = connection.execute(_PATIENT_OF, (task_id,)).fetchone()
    if row is None:
        return None
    patients = _closure(connection, [row["patient_id"]] if row["patient_id"] else [])
    return _around(connection, tenant_id, patients)


def _locked(connection: Connection[Row], named: Sequence[str]) -> list[str]:
    """All patients around those, each locked, in the order of the locks' numbers."""
    patients = _closure(connection, named)
    numbers = sorted({crc32(patient.encode()) - (1 << 31) for patient in patients})
    connection.execute(_LOCK, (LOCK, numbers))
    if _closure(connection, named) != patients:
        raise Grown("more patients are tied to those that are due")
    return patients


def _closure(connection: Connection[Row], named: Sequence[str]) -> list[str]:
    rows = connection.execute(_TIED, (list(named),)).fetchall()
    return sorted(row["id"] for row in rows)


def _around(connection: Connection[Row], tenant_id: str, patients: Sequence[str]) -> Around:
    tasks = connection.execute(_TASKS, (list(patients),)).fetchall()
    rules = sorted({row["rule_id"] for row in tasks if row["rule_id"]})
    evidence = connection.execute(_EVIDENCE, (list(patients),)).fetchall()
    visits = {row["admission_id"] for row in (*tasks, *evidence)} - {None}
    return Around(
        tasks=tasks,
        evidence=evidence,
        rules=connection.execute(_RULES, (rules,)).fetchall(),
        decisions=connection.execute(_DECISIONS, ([row["task_id"] for row in tasks],)).fetchall(),
        watermarks=connection.execute(_WATERMARKS_OF, (tenant_id,)).fetchall(),
        visits=connection.execute(_VISITS, (sorted(visits),)).fetchall(),
        links=connection.execute(_LINKS, (list(patients), list(patients))).fetchall(),
    )


def _write(connection: Connection[Row], results: Sequence[tuple[Row, Row]]) -> int:
    """Write what differs from the last result of its task; return how many did.

    A row that is missing, as in a rebuild, is written with the last result's own numbers.
    """
    tasks = [row["task_id"] for row, _ in results]
    last = {row["task_id"]: row for row in connection.execute(_LAST, (tasks,))}
    stands = {row["task_id"]: row for row in connection.execute(_STANDING, (tasks,))}
    now = connection.execute("SELECT now() AS now").fetchone()
    assert now is not None, "there is a time"
    changed: dict[int, list[tuple[Row, Row]]] = {}
    changes: list[Change] = []
    for row, record in results:
        known = last.get(row["task_id"])
        if known is None or _content(known["result"]) != _content(record):
            changed.setdefault(row["partition"], []).append((row, record))
        elif stands.get(row["task_id"], {}).get("revision") != known["revision"]:
            numbers = {"revision": known["revision"], "judged_at": known["judged_at"]}
            changes.append(Put(emr_verifications, {**row, **numbers}))
    for partition in sorted(changed):
        seq = _numbers(connection, partition, len(changed[partition]))
        for row, record in changed[partition]:
            known = last.get(row["task_id"])
            revision = known["revision"] + 1 if known else 1
            changes += _numbered(row, record, revision, partition, seq, now["now"])
            seq += 1
    write(connection, changes)
    if changed:
        connection.execute("SELECT pg_notify('wardtrail_verifications', '')")
    return sum(map(len, changed.values()))


def _numbered(
    row: Row, record: Mapping[str, Any], revision: int, partition: int, seq: int, now: datetime
) -> list[Change]:
    result = {
        "partition": partition, "partition_seq": seq, "tenant_id": row["tenant_id"],
        "task_id": row["task_id"], "revision": revision, "result_id": row["result_id"],
        "result": record, "judged_at": now,
    }  # fmt: skip
    return [
        Put(emr_verifications, {**row, "revision": revision, "judged_at": now}),
        Append(verification_results, result),
    ]


def _numbers(connection: Connection[Row], partition: int, count: int) -> int:
    """The first of so many positions; the partition is locked, so that they commit in order."""
    place = {"topic": VERIFICATIONS.name, "partition": partition, "count": count}
    connection.execute(_PARTITION, place)
    row = connection.execute(_TAKEN, place).fetchone()
    assert row is not None, "the partition's row is there"
    return int(row["next_seq"]) - count


def _content(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in NUMBERED}


_FIRST = """
SELECT tenant_id, due_id FROM verification_due
WHERE due = 'patient' AND failed IS NULL AND NOT EXISTS (
    SELECT FROM subscriptions WHERE subscription_id = 'verification' AND owner = 'rebuild'
)
ORDER BY tenant_id, partition, partition_seq
LIMIT %s
FOR UPDATE SKIP LOCKED
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
        WHERE due <> 'patient' AND failed IS NULL
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
    SELECT visit.tenant_id, near.patient_id, visit.partition, visit.partition_seq
    FROM visit, LATERAL (
        SELECT patient_id FROM verification_tasks WHERE admission_id = visit.visit_id
        UNION SELECT patient_id FROM verification_evidence WHERE admission_id = visit.visit_id
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
_RULES = """
SELECT rule_id, tenant_id, version, recorded_at, rule FROM verification_rules
WHERE rule_id = ANY (%s::uuid[])
"""
_RULES_OF_ALL = "SELECT rule_id, tenant_id, version, recorded_at, rule FROM verification_rules"
_DECISIONS = """
SELECT event_id, tenant_id, task_id, decided, vector_clock, version, decided_by, recorded_at,
       hlc_micros, hlc_counter, hlc_node
FROM verification_decisions WHERE task_id = ANY (%s::uuid[])
"""
_WATERMARKS = """
SELECT tenant_id, feed_id, told, max(clinical_at) AS clinical_at FROM feed_watermarks
GROUP BY tenant_id, feed_id, told
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
_LAST = """
SELECT DISTINCT ON (task_id) task_id, revision, result, judged_at FROM verification_results
WHERE task_id = ANY (%s::uuid[]) ORDER BY task_id, revision DESC
"""
_STANDING = "SELECT task_id, revision FROM emr_verifications WHERE task_id = ANY (%s::uuid[])"
_PARTITION = """
INSERT INTO partitions (topic, partition) VALUES (%(topic)s, %(partition)s) ON CONFLICT DO NOTHING
"""
_TAKEN = """
UPDATE partitions SET next_seq = next_seq + %(count)s
WHERE topic = %(topic)s AND partition = %(partition)s RETURNING next_seq
"""
_CURRENT = "SELECT * FROM emr_verifications WHERE task_id = %s"
_PATIENT_OF = "SELECT patient_id FROM verification_tasks WHERE task_id = %s"
