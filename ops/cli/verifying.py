"""The command that explains: was it done, who says so, as of when, and what was looked at."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import click

from ops.cli import shown, visits
from ops.cli.errors import Failed
from ops.settings import Settings
from sinks import facts as told_facts
from sinks import judged
from sinks.database import Row
from streams.ledger.commands.verifications import DUE
from streams.verification import absence, rows
from streams.verification.absence import Progress
from streams.verification.facts import Facts
from streams.verification.judge import Case, decided, looked_at
from streams.verification.matching import Candidate

NEAR_MAX = 10  # pieces of evidence that are shown, the nearest in time first
_OUTCOMES = {
    "verified": "verified: it was done, in time",
    "verified_late": "verified late: it was done in time, and charted late",
    "refuted": "refuted: it was not done",
    "pending": "pending: nobody can say yet",
    "unknown_stale": "unknown: nobody can say, and perhaps nobody will",
    "conflict": "in conflict: people and feeds contradict each other",
    "void": "void: there is nothing to be done",
}
_REASONS = {
    "evidence": "evidence says so",
    "reported_late": "evidence says so, and was reported after the allowance",
    "no_evidence": "no evidence came, and every feed that counts has passed the time for it",
    "no_evidence_yet": "no evidence has come, and it may still come",
    "feed_silent": "no evidence has come, and a feed that counts is silent",
    "cancelled": "the task was cancelled, or its order asks for it no more",
    "order_cancelled": "its order was cancelled",
    "order_held": "its order is on hold",
    "no_rule": "the task names no rule (hint: verification.decide)",
    "rule_unknown": "its rule is not known",
    "no_window": "the task has no due time and no window",
    "no_patient": "the task names no patient",
    "too_many_tasks": "the patient has more tasks than are judged, and those due first are"
    " (hint: verification.decide)",
    "decided": "a person decided",
    "decided_over": "a person decided who had seen what the feeds say",
    "decided_alike": "a person decided the same",
    "decided_otherwise": "a person decided otherwise and had not seen all the evidence"
    " (hint: verification.resolve)",
    "decided_for_another_time": "a decision is about a time at which its order is not due now,"
    " and counts for nothing",
    "decided_without_time": "a decision does not say for which time, and counts for nothing"
    " (hint: decide again)",
    "decided_for_another_patient": "a decision names another patient, and counts for nothing"
    " (hint: decide again)",
    "decisions_differ": "people decided differently, not knowing of each other"
    " (hint: verification.resolve)",
    "evidence_pending": "it is under way",
    "evidence_partial": "it was done in part: a person must look",
    "evidence_unknown": "the sender does not know",
    "evidence_refused": "it was refused",
    "evidence_not_administered": "it was not administered",
    "evidence_unobtainable": "it cannot be obtained",
    "evidence_refuted": "the sender says that it was not done",
}
_FIELDS = {
    "performed_at": "outside the window", "admission_id": "of another visit",
    "order_id": "of another order", "state": "not final", "value": "not within the thresholds",
    "reported_at": "reported late",
}  # fmt: skip


@click.command()
@visits.tenant_option
@click.argument("task", type=click.UUID)
@click.option("--json", "as_json", is_flag=True, help="Data for programs.")
def verify(task: UUID, called: str, as_json: bool) -> None:
    """Say whether a task was done, who says so, as of when, and why.

    TASK is a task's id. What was asked comes first, then what is known, then the evidence that
    was looked at with what it lacks, then how far the feeds have told.
    """
    settings = Settings.load()
    tenant = visits.named(settings, called)
    with visits.reading(settings, tenant) as snapshot:
        around = told_facts.facts_of(snapshot, str(tenant.tenant_id), str(task))
        known = judged.current(snapshot, str(task))
    if around is None:
        raise Failed(f"no task of this tenant has this id: {task}")
    facts = rows.facts(around)
    case = looked_at(facts, str(task))
    progress = absence.progress(facts.watermarks).get(str(tenant.tenant_id))
    if as_json:
        shown.json(_data(task, known, facts, case, progress))
        return
    for line in told(known, facts, case, progress):
        click.echo(line)


def told(
    known: Row | None, facts: Facts, case: Case | None, progress: Progress | None
) -> Iterator[str]:
    """The explanation, line by line."""
    if case is not None:
        yield from _asked(case)
    if known is None:
        yield "not judged yet (hint: wardtrail lag)"
    else:
        yield _OUTCOMES[known["status"]]
        for reason in known["reasons"]:
            yield f"  because {_REASONS.get(reason, reason)}"
        if known["verified_by"]:
            yield f"  decided by user {known['verified_by']}"
        if known["verified_at"]:
            yield f"  known since {shown.moment(known['verified_at'])}"
        yield f"  revision {known['revision']}, judged {shown.moment(known['judged_at'])}"
        yield from _decisions(known, facts)
    if case is not None:
        counted = {each["evidence_id"] for each in known["evidence"]} if known else set()
        yield from _evidence(case, counted)
        yield from _feeds(case, progress)


def _decisions(known: Row, facts: Facts) -> Iterator[str]:
    """The decisions on a task, those that count for nothing too, each with its time."""
    for each, why in decided(facts, known["task_id"]):
        stands = why is None and each.event_id in known["decisions"]
        idle = ", counts for nothing" if why is not None else ", overruled since"
        due = each.due.told if each.due else None
        when = f" for {shown.moment(due)}" if due else ""
        yield f"decision of user {each.decided_by}: {each.outcome}{when}{'' if stands else idle}"


def _asked(case: Case) -> Iterator[str]:
    rule, window = case.rule, case.window
    yield f"asked: {shown.safe(rule.name)} (rule {rule.rule_id}, version {rule.version})"
    codes = ", ".join(sorted(f"{each.code} of {each.system}" for each in rule.codes))
    yield f"  any of {shown.safe(codes)}"
    if case.task.order_id is not None:
        yield f"  for order {case.task.order_id}"
    span = f"{shown.moment(window.starts_at)} until {shown.moment(window.ends_at)}"
    yield f"  from {span}, charted until {shown.moment(window.awaits_at)}"


def _evidence(case: Case, counted: set[str]) -> Iterator[str]:
    listed = near(case)
    if not listed:
        yield "no evidence of the kind and code for this patient"
    for each in listed:
        own = each.evidence
        counts = "counts" if own.evidence_id in counted else "does not count"
        lacks = [
            f"{_FIELDS[differs.field]} (asked {differs.expected}, found {differs.found})"
            for differs in each.differs
        ]
        if own.evidence_id not in counted and not lacks:
            lacks = ["another one is nearer, or it counts for another task"]
        why = f": {shown.safe('; '.join(lacks))}" if lacks else ""
        yield f"evidence {own.evidence_id} of {shown.moment(own.performed_at)} {counts}{why}"
    if len(case.candidates) > len(listed):
        yield f"and {len(case.candidates) - len(listed)} more, further away"


def _feeds(case: Case, progress: Progress | None) -> Iterator[str]:
    counted = progress.counted(case.rule) if progress else case.rule.feeds
    if not counted:
        yield "no feed has ever told of such evidence"
    for feed in sorted(counted):
        at = progress.at.get(feed) if progress else None
        behind = "" if at is not None and at > case.window.awaits_at else ", and must come further"
        said = "never spoke" if at is None else f"has told until {shown.moment(at)}"
        yield f"feed {feed} {said}{behind}"


def near(case: Case) -> list[Candidate]:
    """The evidence that is shown: the nearest in time first."""
    ordered = sorted(case.candidates, key=lambda each: (each.distance, each.evidence.evidence_id))
    return ordered[:NEAR_MAX]


def _data(
    task: UUID, known: Row | None, facts: Facts, case: Case | None, progress: Progress | None
) -> Mapping[str, Any]:
    result = None
    if known is not None:
        result = {name: known[name] for name in known if name not in ("tenant_id", "absence")}
    return {
        "task_id": task,
        "order_id": case.task.order_id if case else None,
        **{name: getattr(case.task, name) if case and case.of_order else None for name in DUE},
        "result": result,
        "decisions": [
            {
                "event_id": each.event_id,
                "outcome": each.outcome,
                "decided_by": each.decided_by,
                "due": each.due and each.due.told,
                "counts_for_nothing": why,
            }
            for each, why in decided(facts, str(task))
        ],
        "evidence": [
            {
                "evidence_id": each.evidence.evidence_id,
                "performed_at": each.evidence.performed_at,
                "state": each.evidence.state,
                "differs": [
                    {"field": one.field, "expected": one.expected, "found": one.found}
                    for one in each.differs
                ],
            }
            for each in (near(case) if case else ())
        ],
        "watermarks": _watermarks(case, progress),
    }


def _watermarks(case: Case | None, progress: Progress | None) -> dict[str, datetime | None]:
    if case is None or progress is None:
        return {}
    return {feed: progress.at.get(feed) for feed in sorted(progress.counted(case.rule))}
