"""Facts of made-up tasks, in minutes of one day, and what is judged of them."""

import uuid
from datetime import UTC, datetime, timedelta

from sinks.aliases import Told
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
from streams.verification.judge import judge
from streams.verification.rules import normal

DAY = datetime(2026, 3, 1, tzinfo=UTC)
TEMPERATURE = normal(Code("http://loinc.org", "8310-5"))  # as a rule holds it
LAB, WARD = "lab", "ward"  # feeds


def at(clock):
    """The instant of a time of the day, such as 10:05; or of another day, such as +1 10:05."""
    day, _, time = clock.rpartition(" ")
    hours, minutes = time.split(":")
    return DAY + timedelta(days=int(day or 0), hours=int(hours), minutes=int(minutes))


def task(name="t", *, due="10:00", patient="p", rule="r", version=1, tenant="ours", **given):
    return Task(
        task_id=name, tenant_id=tenant, version=version, recorded_at=DAY, patient_id=patient,
        rule_id=rule, due_at=at(due) if due else None, **given,
    )  # fmt: skip


def evidence(name="e", performed="10:00", *, reported=None, state="final", patient="p", **given):
    told = at(reported or performed)
    values = {
        "event_id": f"{name}/{told.isoformat()}/{state}", "tenant_id": "ours", "feed_id": LAB,
        "kind": "observation", "codes": frozenset({TEMPERATURE}), "recorded_at": told, **given,
    }  # fmt: skip
    return Evidence(
        evidence_id=name, state=state, patient_id=patient, performed_at=at(performed),
        reported_at=told, **values,
    )  # fmt: skip


def rule(name="r", **given):
    values = {
        "evidence_kinds": frozenset({"observation", "administration", "immunization"}),
        "codes": frozenset({TEMPERATURE}), "window_before_s": 1800, "window_after_s": 1800,
        "allowance_s": 3600, "stale_after_s": 7200, **given,
    }  # fmt: skip
    return Rule(
        rule_id=name, tenant_id="ours", version=given.pop("version", 1), recorded_at=DAY,
        name=name, **{each: value for each, value in values.items() if each != "version"},
    )  # fmt: skip


def watermark(clock, *, feed=LAB, kind="observation", tenant="ours"):
    return Watermark(tenant_id=tenant, feed_id=feed, kind=kind, at=at(clock))


def link(source, into, said="09:00", *, kind="merge", tenant="ours"):
    told = Told(
        event_id=f"{source}>{into}/{said}/{kind}", patient_id=source, into_patient_id=into,
        kind=kind, said_at=at(said),
    )  # fmt: skip
    return Link(tenant_id=tenant, told=told)


def visit(name, *, owner=None, into=None):
    return Visit(admission_id=name, tenant_id="ours", owner_id=owner, joined_into=into)


def decision(outcome, clock, *, name="d", task="t", version=1, by="nurse"):
    return Decision(
        event_id=name, tenant_id="ours", task_id=task, outcome=outcome, clock=clock,
        version=version, decided_by=by, recorded_at=DAY, hlc=(version, 0, by),
    )  # fmt: skip


KINDS = {
    Task: "tasks", Evidence: "evidence", Rule: "rules", Decision: "decisions",
    Watermark: "watermarks", Visit: "visits", Link: "links",
}  # fmt: skip


def facts(*given, rules=None):
    """A set of facts; with the usual rule unless one is given."""
    found = {name: [] for name in KINDS.values()}
    for each in given:
        found[KINDS[type(each)]].append(each)
    if not found["rules"]:
        found["rules"] = [rule()]
    return Facts(**{name: tuple(listed) for name, listed in found.items()})


def judged(*given):
    """Results by task."""
    return {result.task_id: result for result in judge(facts(*given))}


def outcome(*given, of="t"):
    return judged(*given)[of].outcome


def reasons(*given, of="t"):
    return judged(*given)[of].reasons


def differing(result):
    """The fields in which evidence differs."""
    return {each.field for each in result.discrepancies}


def uid(name):
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))
