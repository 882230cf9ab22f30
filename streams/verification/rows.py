"""Facts out of rows, and rows and records out of results."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from schemas.clock import micros
from sinks.aliases import Told
from sinks.database import Row
from sinks.facts import Around
from streams.verification import asked, orders, rules
from streams.verification.facts import (
    Code,
    Decision,
    Evidence,
    Facts,
    Link,
    Rule,
    Task,
    Visit,
    Watermark,
)
from streams.verification.judge import Result
from streams.verification.matching import Discrepancy
from streams.verification.timing import Instance

_TASK = (
    "task_id", "tenant_id", "version", "recorded_at", "patient_id", "admission_id", "rule_id",
    "order_id", "window_starts_at", "window_ends_at", "due_at", "cancelled",
)  # fmt: skip
_EVIDENCE = (
    "evidence_id", "event_id", "tenant_id", "feed_id", "raw_state", "value_number", "value_unit",
    "value_comparator", "value_code", "patient_id", "admission_id", "order_id", "performed_at",
    "reported_at", "version", "versions", "recorded_at",
)  # fmt: skip
_DECISION = (
    "event_id", "tenant_id", "task_id", "version", "decided_by", "recorded_at", "patient_id",
    "order_id", "rule_id",
)  # fmt: skip


def facts(around: Around) -> Facts:
    """The facts that rows hold."""
    return Facts(
        tasks=tuple(Task(**{name: row[name] for name in _TASK}) for row in around.tasks),
        evidence=tuple(map(_evidence, around.evidence)),
        rules=tuple(map(rule, around.rules)),
        decisions=tuple(map(_decision, around.decisions)),
        watermarks=watermarks(around.watermarks),
        visits=tuple(Visit(**row) for row in around.visits),
        links=tuple(map(_link, around.links)),
        orders=tuple(map(orders.of_row, around.orders)),
    )


def asked_for(around: Around) -> list[tuple[dict[str, Any], bool]]:
    """The rows of ``verification_tasks`` that orders ask for, and whether each still stands."""
    return [(_task(each), each.stands) for each in asked.tasks(facts(around))]


def rule(row: Row) -> Rule:
    """The rule that a row of ``verification_rules`` holds."""
    found = rules.of_data(
        row["rule"], rule_id=row["rule_id"], tenant_id=row["tenant_id"],
        version=row["version"], recorded_at=row["recorded_at"],
    )  # fmt: skip
    return replace(
        found,
        order_codes_told=frozenset(Code(*code) for code in row["order_codes"]),
        retired_at=row["retired_at"],
    )


def watermarks(rows: Iterable[Row]) -> tuple[Watermark, ...]:
    """Watermarks by feed and kind."""
    return tuple(
        Watermark(
            tenant_id=row["tenant_id"], feed_id=row["feed_id"], kind=row["told"],
            at=row["clinical_at"],
        )
        for row in rows
    )  # fmt: skip


def row(result: Result, *, partition: int) -> dict[str, Any]:
    """The row of ``emr_verifications`` without the numbers that it gets when it's written."""
    hlc = result.hlc or (None, None, None)
    return {
        "task_id": result.task_id,
        "tenant_id": result.tenant_id,
        "patient_id": result.patient_id,
        "rule_id": result.rule_id,
        "rule_version": result.rule_version,
        "status": result.outcome,
        "reasons": list(result.reasons),
        "evidence": [_told(each, iso=True) for each in result.evidence],
        "discrepancies": [_differs(each) for each in result.discrepancies],
        "decisions": list(result.decisions),
        "verified_by": result.verified_by,
        "verified_at": result.verified_at,
        "vector_clock": dict(result.vector_clock),
        "hlc_micros": hlc[0],
        "hlc_counter": hlc[1],
        "hlc_node": hlc[2],
        "absence": result.absence,
        "awaits_at": result.awaits_at,
        "result_id": result.result_id,
        "partition": partition,
    }


def record(result: Result) -> dict[str, Any]:
    """The record ``VerificationResult`` without the numbers that it gets when it's written."""
    return {
        "result_id": result.result_id,
        "task_id": result.task_id,
        "tenant_id": result.tenant_id,
        "patient_id": result.patient_id,
        "rule_id": result.rule_id,
        "rule_version": result.rule_version,
        "outcome": result.outcome,
        "reasons": list(result.reasons),
        "evidence": [_told(each, iso=False) for each in result.evidence],
        "discrepancies": [_differs(each) for each in result.discrepancies],
        "decisions": list(result.decisions),
        "verified_by": result.verified_by,
        "verified_at": _micros(result.verified_at),
        "vector_clock": dict(result.vector_clock),
        "awaits_at": _micros(result.awaits_at),
    }


def _task(each: asked.Asked) -> dict[str, Any]:
    return {
        **{name: getattr(each.task, name) for name in _TASK},
        "status_said": [],
        "partition": each.order.partition,
        "partition_seq": each.order.partition_seq,
    }


def _evidence(row: Row) -> Evidence:
    return Evidence(
        **{name: row[name] for name in _EVIDENCE},
        kind=row["evidence_kind"],
        state=row["evidence_state"],
        codes=frozenset(Code(*code) for code in row["codes"]),
    )


def _decision(row: Row) -> Decision:
    due = Instance(
        starts_at=row["window_starts_at"], ends_at=row["window_ends_at"], due_at=row["due_at"]
    )
    return Decision(
        **{name: row[name] for name in _DECISION},
        outcome=row["decided"],
        clock=row["vector_clock"],
        hlc=(row["hlc_micros"], row["hlc_counter"], row["hlc_node"]),
        due=None if due == Instance() else due,
    )


def _link(row: Row) -> Link:
    told = Told(
        event_id=row["event_id"], patient_id=row["patient_id"],
        into_patient_id=row["into_patient_id"], kind=row["link"], said_at=row["said_at"],
    )  # fmt: skip
    return Link(tenant_id=row["tenant_id"], told=told)


def _told(evidence: Evidence, *, iso: bool) -> dict[str, Any]:
    performed, reported = evidence.performed_at, evidence.reported_at
    return {
        "evidence_id": evidence.evidence_id,
        "event_id": evidence.event_id,
        "version": evidence.version,
        "feed_id": evidence.feed_id,
        "state": evidence.state,
        "performed_at": performed.isoformat() if iso else micros(performed),
        "reported_at": (reported and reported.isoformat()) if iso else _micros(reported),
    }


def _differs(each: Discrepancy) -> dict[str, Any]:
    return {
        "field": each.field, "expected": each.expected, "found": each.found,
        "evidence_id": each.evidence_id,
    }  # fmt: skip


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)
