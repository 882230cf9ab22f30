"""Plans (rule T17): what is planned or reserved from when it was told; it moves nobody."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from streams.trajectory.facts import (
    CREATED,
    DISCHARGED,
    PLAN_CANCELLED,
    PLANNED,
    Fact,
    identity,
    recency,
)
from streams.trajectory.stays import Stay
from streams.trajectory.walk import Act, within

PREADMITTED, ADMITTED = "preadmit", "admit"
VISITS = frozenset((PREADMITTED, ADMITTED))  # plans of a visit that is to come
_CLASS = "P"  # HL7 table 0004: preadmitted

# At one instant: what was acted on, was planned before; what is told of, was planned at the latest.
_ACT, _PLAN, _CANCEL, _TOLD = range(4)

Step = tuple[datetime, int, str, Fact | Act]
Span = tuple[datetime, datetime]  # from, to before
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """Where places were planned for; ``expected`` if a visit is to come and not called off."""

    stays: tuple[Stay, ...]
    unresolved: tuple[str, ...]
    expected: bool


def preadmission(fact: Fact) -> bool:
    """Whether an admission only plans one: its class is preadmit (rule T26)."""
    return fact.patient_class == _CLASS


def as_plan(fact: Fact) -> Fact:
    """The plan that such an admission is."""
    return replace(fact, kind=PLANNED, plan=PREADMITTED, planned_place=fact.place)


def called_off(cancels: Iterable[Fact], plans: Iterable[Fact]) -> tuple[list[Fact], set[str]]:
    """Of cancellations that took no admission back, those of a preadmission, as an A38 says it.

    Who preadmits by a class (rule T26) may cancel by an A11 (rule T6) of another class. The same
    time and place said again is the first one again (rule T9), so that it calls off nothing that
    was planned since. Also their event ids, those said again too.
    """
    ahead = [fact for fact in plans if fact.kind == PLANNED]
    found: dict[object, Fact] = {}
    answered = set()
    for cancel in sorted(cancels, key=recency):
        told = replace(cancel, kind=PLAN_CANCELLED, plan=PREADMITTED, planned_place=None)
        if any(_calls_off(told, plan) for plan in ahead):
            answered.add(cancel.event_id)
            when = cancel.effective_at if cancel.exact else cancel.told_at
            found.setdefault((cancel.exact, when, cancel.at), told)
    return list(found.values()), answered


def planned(facts: Iterable[Fact], acts: Sequence[Act], cancelled: Iterable[Fact] = ()) -> Planned:
    """The places planned for: each until an admission, move or discharge later than it.

    Or until what had fulfilled it is told, until it or the admission is cancelled, or another
    place is planned. Plans date from their report: EVN-6 and the expected time lie ahead.
    ``acts`` in order; ``cancelled`` are the cancellations that took an admission back.
    """
    told, undone = list(facts), list(cancelled)
    stays: list[Stay] = []
    current: Fact | None = None
    plan: str | None = None
    for at, rank, event_id, step in _steps(told, acts, undone):
        if current is not None and _ends(current, plan, rank, step):
            if current.told_at < at:
                stays.append(replace(_stay(current), end=at, end_event_id=event_id))
            current = None
        if rank == _PLAN:
            assert isinstance(step, Fact), "plans are facts"
            if identity(step.planned_place):
                current, plan = current or step, step.plan
    if current is not None:
        stays.append(_stay(current))
    plans = [fact for fact in told if fact.kind == PLANNED]
    cancels = [fact for fact in told if fact.kind == PLAN_CANCELLED]
    return Planned(
        stays=tuple(stays),
        unresolved=tuple(
            cancel.event_id
            for cancel in sorted(cancels, key=recency)
            if not any(_calls_off(cancel, each) for each in plans)
        ),
        expected=any(
            each.plan in VISITS and not any(_calls_off(cancel, each) for cancel in cancels)
            for each in plans
        ),
    )


def _steps(told: Iterable[Fact], acts: Sequence[Act], undone: Sequence[Fact]) -> list[Step]:
    """What begins and ends plans, in order; without plans for within a visit that is over."""
    over = _over(acts, undone)
    steps: list[Step] = [(act.at, _ACT, act.event_id, act) for act in acts]
    for number, act in enumerate(acts):
        if act.kind != DISCHARGED or _told_of(act) < _next(acts, number):
            steps.append((_told_of(act), _TOLD, act.event_id, act))
    steps += [(cancel.told_at, _TOLD, cancel.event_id, cancel) for cancel in undone]
    steps += [
        (fact.told_at, _PLAN if fact.kind == PLANNED else _CANCEL, fact.event_id, fact)
        for fact in told
        if fact.kind != PLANNED or fact.plan in VISITS or not _in(fact.told_at, over)
    ]
    return sorted(steps, key=lambda step: step[:3])


def _over(acts: Sequence[Act], undone: Sequence[Fact]) -> list[Span]:
    """From when to when it was known that the visit is over: discharged, or never was."""
    if not acts:
        return [(cancel.told_at, _NEVER) for cancel in undone]
    return [
        (_told_of(act), _next(acts, number))
        for number, act in enumerate(acts)
        if act.kind == DISCHARGED
    ]


def _in(at: datetime, spans: Iterable[Span]) -> bool:
    return any(start <= at < end for start, end in spans)


def _told_of(act: Act) -> datetime:
    """When an act had happened and was known."""
    return max(act.at, act.told_at)


def _next(acts: Sequence[Act], number: int) -> datetime:
    """When the act after this one happened; a discharge is undone by it."""
    return acts[number + 1].at if number + 1 < len(acts) else _NEVER


def _ends(current: Fact, plan: str | None, rank: int, step: Fact | Act) -> bool:
    """Whether a step ends the plan that stands."""
    if rank == _ACT:
        return True
    if isinstance(step, Act):
        return _fulfils(step, current, plan)
    if rank == _TOLD:
        return True
    place = identity(step.planned_place)
    if step.kind == PLANNED:
        return bool(place) and place != identity(current.planned_place)
    return step.plan == plan and (not place or place == identity(current.planned_place))


def _fulfils(act: Act, current: Fact, plan: str | None) -> bool:
    """Whether an act that happened before the plan was told, and was told after it, ends it."""
    if act.kind == DISCHARGED or (act.kind == CREATED and plan in VISITS):
        return True
    place = identity(current.planned_place)
    return act.place is not None and place is not None and within(act.place, place)


def _calls_off(cancel: Fact, fact: Fact) -> bool:
    place = identity(cancel.planned_place)
    return (
        cancel.plan == fact.plan
        and fact.told_at <= cancel.told_at
        and (not place or place == identity(fact.planned_place))
    )


def _stay(fact: Fact) -> Stay:
    assert fact.planned_place is not None, "who has a planned stay has a place for it"
    told = fact.told_at
    return Stay(
        place=fact.planned_place,
        start=told,
        start_field=fact.effective_field if told == fact.effective_at else "reported",
        start_event_id=fact.event_id,
    )
