"""The path of one visit: a function of the set of its facts, whatever order they came in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from streams.trajectory import plans
from streams.trajectory.cancels import Resolved, resolve
from streams.trajectory.facts import (
    ARRIVALS,
    CANCELLED,
    CREATED,
    DELETED,
    JOINED,
    PATH_KINDS,
    PATIENT_CHANGED,
    PLAN_CANCELLED,
    PLANNED,
    Fact,
    before,
    identity,
    recency,
)
from streams.trajectory.history import settle
from streams.trajectory.plans import Planned
from streams.trajectory.stays import Stay, physical
from streams.trajectory.walk import Walked

# A visit of a year has some hundreds. One with more is a number that a feed gives to everybody,
# and each fact of it would be folded with all the others.
FACTS_MAX = 1_000

CENSUS, PHYSICAL, PLANS = "census", "physical", "planned"  # the tracks

Status = Literal["planned", "active", "on_leave", "discharged", "cancelled", "deleted", "joined"]


class VisitTooLong(Exception):  # noqa: N818  named for what is wrong
    """More facts than a visit can have; further ones of it become dead letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Where a visit was, and how it stands.

    ``stays`` are those of the census track: the bed that is the patient's. ``physical`` are
    where the patient is; the same tuple while the patient is in that bed. ``planned`` are the
    places planned for. ``patient_id`` is whose visit it became (rule M5), None if it stayed.
    ``status`` is None while no fact makes it a visit: updates and cancellations make none.
    ``unresolved`` are the event ids of cancellations that take nothing back (yet), and of
    updates of movements that nobody told us of.
    """

    stays: tuple[Stay, ...] = ()
    physical: tuple[Stay, ...] = ()
    planned: tuple[Stay, ...] = ()
    patient_id: str | None = None
    status: Status | None
    admitted_at: datetime | None = None
    discharged_at: datetime | None = None
    unresolved: tuple[str, ...] = ()

    @property
    def current(self) -> Stay | None:
        """The stay in bed that goes on, if one does."""
        return self.stays[-1] if self.stays and self.stays[-1].end is None else None

    @property
    def tracks(self) -> tuple[tuple[str, tuple[Stay, ...]], ...]:
        """Each track's name and stays."""
        return (CENSUS, self.stays), (PHYSICAL, self.physical), (PLANS, self.planned)


def path(facts: Iterable[Fact]) -> Path:
    """Compute the path of one visit from all its facts, in any order, doubles included.

    Rules T3 to T19, T21, T23 and T24, and where they leave a choice: a cancelled admission takes
    back the admission's own placement, later moves stand; of two discharges without a
    cancellation between them the earlier closes; a placement after a discharge opens the visit
    again. A deletion takes back what was reported no later than itself.
    """
    told = {fact.event_id: fact for fact in facts if fact.kind in PATH_KINDS}
    if len(told) > FACTS_MAX:
        raise VisitTooLong(f"facts of one visit: {len(told)}")
    known = tuple(told[event_id] for event_id in sorted(told))  # so no tie is by arrival
    kinds = {fact.kind for fact in known}
    owner = _owner(known) if PATIENT_CHANGED in kinds else None
    visited = any(map(_visits, known))
    if JOINED in kinds:
        return Path(status="joined" if visited else None, patient_id=owner)
    if DELETED in kinds:
        known = _undeleted(known)
        if visited and not any(map(_visits, known)):
            return Path(status="deleted", patient_id=owner)
    resolved, plan_facts = _planned(resolve(known), known)
    walked, unmoved = settle(resolved)
    planned = _NO_PLANS
    if plan_facts:
        planned = plans.planned(plan_facts, walked.acts, _cancelled(resolved, known))
    found = Path(
        stays=walked.stays,
        physical=physical(walked.stays, walked.absences),
        planned=planned.stays,
        patient_id=owner,
        status=_status(known, resolved, walked, planned) if visited else None,
        admitted_at=_admitted_at(resolved),
        discharged_at=walked.discharged_at,
        unresolved=(*resolved.unresolved, *unmoved, *planned.unresolved),
    )
    _check(found.stays)
    if found.physical is not found.stays:
        _check(found.physical)
    _check(found.planned, merged=False)
    return found


_NO_PLANS = Planned(stays=(), unresolved=(), expected=False)


def _visits(fact: Fact) -> bool:
    """Whether a fact makes it a visit, if only one that is to come."""
    return fact.kind in ARRIVALS or (fact.kind == PLANNED and fact.plan in plans.VISITS)


def _owner(known: Iterable[Fact]) -> str:
    return max((f for f in known if f.kind == PATIENT_CHANGED), key=recency).patient_id


def _undeleted(known: Sequence[Fact]) -> tuple[Fact, ...]:
    deletions = [fact for fact in known if fact.kind == DELETED]
    return tuple(
        fact
        for fact in known
        if fact.kind != DELETED and not any(before(fact, deletion) for deletion in deletions)
    )


def _planned(resolved: Resolved, known: Iterable[Fact]) -> tuple[Resolved, list[Fact]]:
    """The plans among the facts; an admission that is only planned stands no more (T17, T26)."""
    told = [fact for fact in known if fact.kind in (PLANNED, PLAN_CANCELLED)]
    ahead = [f for f in resolved.standing if f.kind == CREATED and plans.preadmission(f)]
    if ahead:
        standing = tuple(fact for fact in resolved.standing if fact not in ahead)
        resolved = replace(resolved, standing=standing)
    return resolved, [*told, *map(plans.as_plan, ahead)]


def _cancelled(resolved: Resolved, known: Iterable[Fact]) -> list[Fact]:
    """The cancellations that took an admission back."""
    nothing = frozenset(resolved.unresolved)
    return [fact for fact in known if fact.kind == CANCELLED and fact.event_id not in nothing]


def _status(known: Iterable[Fact], resolved: Resolved, walked: Walked, planned: Planned) -> Status:
    if walked.is_open:
        return "on_leave" if walked.on_leave else "active"
    if walked.is_open is not None:
        return "discharged"
    if resolved.admission_taken:
        return "cancelled"
    if planned.expected:
        return "planned"
    # A visit whose only known move was taken back still goes on.
    return "active" if any(fact.kind in ARRIVALS for fact in known) else "cancelled"


def _admitted_at(resolved: Resolved) -> datetime | None:
    admissions = (fact.effective_at for fact in resolved.standing if fact.kind == CREATED)
    return min(admissions, default=None)


def _check(stays: tuple[Stay, ...], *, merged: bool = True) -> None:
    """Rule T24: half-open, in order, without overlap, none of zero length, at most one open.

    ``merged``: stays at one place that touch are one; plans for it may follow each other.
    """
    previous: Stay | None = None
    for stay in stays:
        assert stay.end is None or stay.start < stay.end, "a stay has a length"
        if previous is not None:
            assert previous.end is not None, "at most one stay is open"
            assert previous.end <= stay.start, "stays don't overlap"
            assert not merged or (
                previous.end < stay.start or identity(previous.place) != identity(stay.place)
            ), "stays at one place that touch are one stay"
        previous = stay
