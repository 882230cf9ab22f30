"""The judge: results of tasks, as a pure function of the set of facts (rules V1 to V13)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

import orjson

from schemas import identity
from schemas.clock import micros
from streams.verification import about, absence, asked, bounds, deciding, matching
from streams.verification.absence import Progress
from streams.verification.alongside import Places
from streams.verification.facts import (
    Decision,
    Evidence,
    Facts,
    Rule,
    Task,
    newest_evidence,
    newest_rules,
    newest_tasks,
)
from streams.verification.matching import Candidate, Discrepancy
from streams.verification.nearby import Alike
from streams.verification.orders import ENDED, HELD
from streams.verification.people import People
from streams.verification.rules import Window

RESULTS = UUID("b3c6f0f4-6d0e-5b7e-9a57-0a4d3b8e51c2")  # namespace of result ids; never changes
DISCREPANCIES_MAX = 8  # of one result; a patient may have a thousand readings of one code
OUTCOMES = (
    "verified", "verified_late", "refuted", "pending", "unknown_stale", "conflict", "void",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What is known of a task; without the times and numbers of when it came to be known."""

    task_id: str
    tenant_id: str
    patient_id: str | None
    rule_id: str | None
    rule_version: int | None
    outcome: str
    reasons: tuple[str, ...]
    absence: str | None = None
    """What its absence says (see :func:`absence.absent`); None where there is evidence."""
    awaits_at: datetime | None = None
    evidence: tuple[Evidence, ...] = ()
    discrepancies: tuple[Discrepancy, ...] = ()
    decisions: tuple[str, ...] = ()
    """Ids of the decisions that no other one has seen and overruled."""
    verified_by: str | None = None
    """Who decided, where the outcome stands by a decision; else the feed says so."""
    verified_at: datetime | None = None
    """When the last of the evidence and decisions that it stands on was recorded."""
    vector_clock: Mapping[str, int] = field(default_factory=dict)
    hlc: tuple[int, int, str] | None = None

    @property
    def result_id(self) -> str:
        """UUIDv5 of task, rule version, outcome and what it stands on: idempotent (rule V1)."""
        told: list[Any] = [
            self.task_id, self.rule_id, self.rule_version, self.outcome, list(self.reasons),
            [[each.evidence_id, each.event_id, each.version] for each in self.evidence],
            list(self.decisions), self.verified_at,
        ]  # fmt: skip
        return str(uuid5(RESULTS, orjson.dumps(told).decode()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What the feeds say of a task."""

    outcome: str
    reasons: tuple[str, ...]
    evidence: tuple[Evidence, ...] = ()
    absence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task with its rule, its window and all evidence that tells of the like."""

    task: Task
    rule: Rule
    window: Window
    candidates: tuple[Candidate, ...]

    @property
    def of_order(self) -> bool:
        """Whether an order makes the task: a decision on it says when it was due."""
        return self.task.order_id is not None and identity.reserved(self.task.task_id)


def judge(facts: Facts) -> tuple[Result, ...]:
    """The result of every task, by their ids; the same for the same set of facts.

    Facts may come in any order and more than once. Tenants are judged apart, so that evidence of
    another's never counts (rule V13). A patient is who they are after all merges (rule V7).
    """
    people = People.of(facts)
    facts = asked.named(facts, people)
    rules = newest_rules(facts.rules)
    told = _by_patient(facts, people)
    tasks = newest_tasks(facts.tasks)
    alike = Alike(told)
    beyond = bounds.beyond(tasks, rules, people, alike)
    cases = {
        task.task_id: found
        for task in tasks
        if task.task_id not in beyond and (found := _case(task, rules, people, alike)) is not None
    }
    sides = _sides(cases, people, absence.progress(facts.watermarks))
    states = asked.states(facts.orders, people)
    cancelled = _cancelled(told)
    for task in tasks:
        side = sides.get(task.task_id)
        if side is None:
            side = BEYOND if task.task_id in beyond else _uncased(task, rules, people)
        whose = task.tenant_id, people.of_task(task) or "", task.order_id
        sides[task.task_id] = _ordered(task, side, states, cancelled=whose in cancelled)
    counted = about.counted(facts, people, tasks)
    decisions = deciding.standing(counted.counting)
    results = (
        _result(task, cases.get(task.task_id), sides[task.task_id], rules, people, decisions)
        for task in tasks
    )
    return tuple(
        replace(result, reasons=(*result.reasons, *counted.why(task)))
        for task, result in zip(tasks, results, strict=True)
    )


def looked_at(facts: Facts, task_id: str) -> Case | None:
    """What is looked at for one task; None where nothing can be looked for."""
    people = People.of(facts)
    facts = asked.named(facts, people)
    task = next(each for each in newest_tasks(facts.tasks) if each.task_id == task_id)
    alike = Alike(_by_patient(facts, people))
    return _case(task, newest_rules(facts.rules), people, alike, most=len(facts.evidence))


def decided(facts: Facts, task_id: str) -> list[tuple[Decision, str | None]]:
    """The decisions on a task, with the reason where one counts for nothing, as it came."""
    people = People.of(facts)
    facts = asked.named(facts, people)
    counted = about.counted(facts, people, newest_tasks(facts.tasks))
    found: list[tuple[Decision, str | None]] = [
        (each, None)
        for (_, task), counting in counted.counting.items()
        for each in counting
        if task == task_id
    ]
    found += [told for (_, task), idle in counted.idle.items() for told in idle if task == task_id]
    return sorted(found, key=lambda told: (told[0].recorded_at, told[0].event_id))


def _by_patient(facts: Facts, people: People) -> dict[tuple[str, str], list[Evidence]]:
    told: dict[tuple[str, str], list[Evidence]] = {}
    for each in newest_evidence(facts.evidence):
        told.setdefault((each.tenant_id, people.of_evidence(each)), []).append(each)
    return told


def _case(
    task: Task,
    rules: Mapping[tuple[str, str], Rule],
    people: People,
    alike: Alike,
    *,
    most: int = DISCREPANCIES_MAX,
) -> Case | None:
    """None where nothing can be looked for: cancelled, nobody's, without a rule or a time.

    What happened in its window is looked at, and what is nearest to it beside, at least ``most``.
    """
    patient = people.of_task(task)
    rule = rules.get((task.tenant_id, task.rule_id or ""))
    found = bounds.sought(task, rules, people)
    if found is None or patient is None or rule is None:
        return None
    near = alike.of(task.tenant_id, patient, rule)
    candidates = tuple(
        matching.candidate(task, rule, found, each, visit=people.visit)
        for each in (*near.within(found), *near.beside(found, most))
    )
    return Case(task=task, rule=rule, window=found, candidates=candidates)


def _sides(
    cases: Mapping[str, Case], people: People, progress: Mapping[str, Progress]
) -> dict[str, Side]:
    """What the feeds say of each task; instances of one rule and patient share their evidence."""
    groups: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases.values():
        task = case.task
        patient = people.of_task(task)
        assert patient is not None, "a case has a patient"
        groups.setdefault((task.tenant_id, patient, case.rule.rule_id), []).append(case)
    found: dict[str, Side] = {}
    for (tenant, _, _), group in groups.items():
        group.sort(key=lambda case: (case.window.due_at, case.task.task_id))
        assigned = _assigned(group)
        for case in group:
            evidence = assigned.get(case.task.task_id)
            if evidence is None:
                found[case.task.task_id] = _absent(case, progress.get(tenant))
            else:
                found[case.task.task_id] = _told(case, evidence)
    return found


def _assigned(group: Sequence[Case]) -> dict[str, Evidence]:
    """Round after round, each over the tasks and the evidence that those before have left."""
    found: dict[str, Evidence] = {}
    for states in matching.ROUNDS:
        taken = {each.evidence_id for each in found.values()}
        costs: dict[str, dict[str, int]] = {}
        by_id: dict[str, Evidence] = {}
        for case in group:
            if case.task.task_id in found:
                continue
            for each in case.candidates:
                own = each.evidence
                if own.evidence_id not in taken and matching.fits(each, states):
                    costs.setdefault(case.task.task_id, {})[own.evidence_id] = each.distance
                    by_id[own.evidence_id] = own
        places = Places(
            tasks={case.task.task_id: micros(case.window.due_at) for case in group},
            evidence={name: micros(each.performed_at) for name, each in by_id.items()},
        )
        for task, evidence in matching.assigned(costs, places).items():
            found[task] = by_id[evidence]
    return found


def _told(case: Case, evidence: Evidence) -> Side:
    """What the evidence says that was assigned to a task (rules V2, V3, V5, V6)."""
    one = (evidence,)
    state = evidence.state
    if state in matching.ACCEPTED:
        reported = evidence.reported_at
        if reported is not None and reported > case.window.awaits_at:
            return Side(outcome="verified_late", reasons=("reported_late",), evidence=one)
        return Side(outcome="verified", reasons=("evidence",), evidence=one)
    reasons = (f"evidence_{state}",)
    if state in matching.REFUTING:
        return Side(outcome="refuted", reasons=reasons, evidence=one)
    if state in matching.UNKNOWN:
        return Side(outcome="unknown_stale", reasons=reasons, evidence=one)
    return Side(outcome="pending", reasons=reasons, evidence=one)


BEYOND = Side(outcome="pending", reasons=("too_many_tasks",))
"""Of a task that isn't judged: never anything that was looked for and not found (rule V13)."""
_ABSENT = {
    absence.PENDING: "no_evidence_yet",
    absence.STALE: "feed_silent",
    absence.REFUTED: "no_evidence",
}


def _absent(case: Case, progress: Progress | None) -> Side:
    said = absence.absent(
        case.window.awaits_at,
        least=progress.least(case.rule) if progress else None,
        clock=progress.clock if progress else None,
        stale_after_s=case.rule.stale_after_s,
    )
    return Side(outcome=said, reasons=(_ABSENT[said],), absence=said)


def _uncased(task: Task, rules: Mapping[tuple[str, str], Rule], people: People) -> Side:
    """Why nothing was looked for."""
    if task.cancelled:
        return Side(outcome="void", reasons=("cancelled",))
    if people.of_task(task) is None:
        return Side(outcome="pending", reasons=("no_patient",))
    if task.rule_id is None:
        return Side(outcome="pending", reasons=("no_rule",))
    if (task.tenant_id, task.rule_id) not in rules:
        return Side(outcome="pending", reasons=("rule_unknown",))
    return Side(outcome="pending", reasons=("no_window",))


def _result(
    task: Task,
    case: Case | None,
    side: Side,
    rules: Mapping[tuple[str, str], Rule],
    people: People,
    decisions: Mapping[tuple[str, str], deciding.Standing],
) -> Result:
    seen = 0 if case is None else sum(e.evidence.versions for e in case.candidates if e.in_scope)
    verdict = deciding.combined(
        side.outcome, side.reasons, seen, decisions.get((task.tenant_id, task.task_id))
    )
    rule = rules.get((task.tenant_id, task.rule_id or ""))
    times = [*(each.recorded_at for each in side.evidence), *verdict.times]
    return Result(
        task_id=task.task_id,
        tenant_id=task.tenant_id,
        patient_id=people.of_task(task),
        rule_id=task.rule_id,
        rule_version=rule.version if rule else None,
        outcome=verdict.outcome,
        reasons=verdict.reasons,
        absence=side.absence,
        awaits_at=case.window.awaits_at if case else None,
        evidence=side.evidence,
        discrepancies=_discrepancies(case, side),
        decisions=verdict.decisions,
        verified_by=verdict.decided_by,
        verified_at=max(times, default=None),
        vector_clock=verdict.clock,
        hlc=verdict.hlc,
    )


def _cancelled(
    told: Mapping[tuple[str, str], Iterable[Evidence]],
) -> frozenset[tuple[str, str, str | None]]:
    """By tenant, patient and order: what evidence says was cancelled."""
    return frozenset(
        (tenant, patient, each.order_id)
        for (tenant, patient), known in told.items()
        for each in known
        if each.kind == "order" and each.state == "cancelled" and each.order_id is not None
    )


def _ordered(
    task: Task, side: Side, states: Mapping[tuple[str, str], str], *, cancelled: bool
) -> Side:
    """What the task's order makes of what the feeds say, where nothing was done (rule V4).

    An order that was taken back leaves nothing to be done, and one on hold nothing to be missed.
    """
    if task.order_id is None or side.evidence:
        return side
    state = states.get((task.tenant_id, task.order_id))
    if cancelled or state in ENDED:
        return Side(outcome="void", reasons=("order_cancelled",))
    if state == HELD and not task.cancelled:
        return Side(outcome="pending", reasons=("order_held",))
    return side


def _discrepancies(case: Case | None, side: Side) -> tuple[Discrepancy, ...]:
    """Where the evidence that counts differs; without any, where the nearest does."""
    if case is None:
        return ()
    own = {each.evidence_id for each in side.evidence}
    late: list[Discrepancy] = []
    if "reported_late" in side.reasons:
        [evidence] = side.evidence
        assert evidence.reported_at is not None, "what is late has a time"
        late.append(
            Discrepancy(
                field="reported_at", expected=f"../{case.window.awaits_at.isoformat()}",
                found=evidence.reported_at.isoformat(), evidence_id=evidence.evidence_id,
            )
        )  # fmt: skip
    near = sorted(
        (
            each
            for each in case.candidates
            if each.differs and (each.evidence.evidence_id in own or not own)
        ),
        key=lambda each: (not each.in_scope, each.distance, each.evidence.evidence_id),
    )
    listed = [*late, *(differs for each in near for differs in each.differs)]
    return tuple(listed[:DISCREPANCIES_MAX])
