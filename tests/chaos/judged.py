"""What the judge must have made of the facts in the tables, and whether it has come to rest."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from psycopg import Connection

from sinks.database import Row
from sinks.facts import Around
from sinks.judged import NUMBERED
from sinks.tables import verification_visits
from streams.verification import absence, rows
from streams.verification.facts import Rule
from streams.verification.judge import judge

Tables = Mapping[str, Sequence[Row]]
_VISIT = ("admission_id", "tenant_id", "owner_id", "joined_into")
_SHOWN = (
    "task_id", "tenant_id", "revision", "result_id", "patient_id", "rule_id", "rule_version",
    "reasons", "discrepancies", "decisions", "verified_by", "vector_clock",
)  # fmt: skip


def expected(tables: Tables) -> dict[str, Row]:
    """The row of each task by the pure judge over all facts, without numbers and times."""
    homes = {row["task_id"]: row["partition"] for row in tables["verification_tasks"]}
    return {
        each.task_id: rows.row(each, partition=homes[each.task_id])
        for each in judge(rows.facts(_around(tables)))
    }


def current(tables: Tables) -> dict[str, Row]:
    """The row of each task as it stands, without numbers and times."""
    return {row["task_id"]: content(row) for row in tables["emr_verifications"]}


def kept(records: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """What a consumer has who keeps the highest revision of each task."""
    newest: dict[str, Mapping[str, Any]] = {}
    for record in records:
        known = newest.get(record["task_id"])
        if known is None or known["revision"] < record["revision"]:
            newest[record["task_id"]] = record
    return newest


def content(record: Mapping[str, Any]) -> dict[str, Any]:
    """A row or record of a result without numbers and times."""
    return {name: value for name, value in record.items() if name not in NUMBERED}


def shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a row and a record both say of a task, in one form."""
    said = {name: row[name] for name in _SHOWN}
    return {**said, "outcome": row["status"] if "status" in row else row["outcome"]}


def outdated(connection: Connection[Row]) -> int:
    """Of how many tasks absence says something else by what the feeds have told since.

    The judge finds them by itself, some seconds later at most, so it isn't at rest before.
    """
    found = {
        name: connection.execute(f"SELECT * FROM {name}").fetchall()  # names below
        for name in ("feed_watermarks", "verification_rules", "emr_verifications")
    }
    progress = absence.progress(rows.watermarks(found["feed_watermarks"]))
    rules = {row["rule_id"]: rows.rule(row) for row in found["verification_rules"]}
    return sum(_differs(row, rules[row["rule_id"]], progress) for row in _absent(found))


def _absent(found: Tables) -> Iterable[Row]:
    return (row for row in found["emr_verifications"] if row["absence"] is not None)


def _differs(row: Row, rule: Rule, progress: Mapping[str, absence.Progress]) -> bool:
    told = progress.get(row["tenant_id"])
    said = absence.absent(
        row["awaits_at"],
        least=told.least(rule) if told else None,
        clock=told.clock if told else None,
        stale_after_s=rule.stale_after_s,
    )
    return said != row["absence"]


def _around(tables: Tables) -> Around:
    visits = [{name: row[name] for name in _VISIT} for row in tables[verification_visits.name]]
    return Around(
        tasks=tables["verification_tasks"], evidence=tables["verification_evidence"],
        rules=tables["verification_rules"], decisions=tables["verification_decisions"],
        watermarks=tables["feed_watermarks"], visits=visits, links=tables["verification_links"],
        orders=tables["verification_orders"],
    )  # fmt: skip
