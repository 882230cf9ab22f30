"""Plans (rule T17): what is planned or reserved from when it was told; it moves nobody."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from streams.trajectory.facts import PLAN_CANCELLED, PLANNED, Fact, identity, recency
from streams.trajectory.stays import Stay
from streams.trajectory.walk import Act

PREADMITTED, ADMITTED = "preadmit", "admit"
VISITS = frozenset((PREADMITTED, ADMITTED))  # plans of a visit that is to come
_CLASS = "P"  # HL7 table 0004: preadmitted

_ACT, _PLAN, _CANCEL = range(3)  # at one instant: what was acted on, was planned before


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


def planned(facts: Iterable[Fact], acts: Sequence[Act]) -> Planned:
    """The places planned for: each until an admission, move or discharge later than it.

    Or until it is cancelled, or another place is planned. Plans date from their report: EVN-6
    and the expected time lie ahead.
    """
    told = list(facts)
    steps = [(at, _ACT, event_id, None) for at, event_id in acts] + [
        (fact.told_at, _PLAN if fact.kind == PLANNED else _CANCEL, fact.event_id, fact)
        for fact in told
    ]
    steps.sort(key=lambda step: step[:3])
    stays: list[Stay] = []
    current: Fact | None = None
    plan: str | None = None
    for at, _, event_id, fact in steps:
        if current is not None and _ends(current, plan, fact):
            if current.told_at < at:
                stays.append(replace(_stay(current), end=at, end_event_id=event_id))
            current = None
        if fact is not None and fact.kind == PLANNED and identity(fact.planned_place):
            current, plan = current or fact, fact.plan
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


def _ends(current: Fact, plan: str | None, fact: Fact | None) -> bool:
    """Whether a step ends the plan that stands; None is an act."""
    if fact is None:
        return True
    place = identity(fact.planned_place)
    if fact.kind == PLANNED:
        return bool(place) and place != identity(current.planned_place)
    return fact.plan == plan and (not place or place == identity(current.planned_place))


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
