"""The path of one visit: a function of the set of its facts, whatever order they came in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from streams.trajectory import encounters, plans
from streams.trajectory.cancels import Resolved, resolve
from streams.trajectory.encounters import Stated
from streams.trajectory.facts import (
    ARRIVALS,
    CANCELLED,
    CREATED,
    DELETED,
    ENCOUNTER_STATED,
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
    if ENCOUNTER_STATED in kinds:
        stated = encounters.resolve(known)
        return _named(_path(stated.facts, stated))
    return _path(known, _NOTHING_STATED)


def _path(known: tuple[Fact, ...], stated: Stated) -> Path:
    kinds = {fact.kind for fact in known}
    owner = _owner(known) if PATIENT_CHANGED in kinds else None
    visited = stated.visits or any(map(_visits, known))
    if JOINED in kinds:
        return Path(status="joined" if visited else None, patient_id=owner)
    if DELETED in kinds:
        known = _undeleted(known)
        if visited and not any(map(_visits, known)):
            return Path(status=stated.gone or "deleted", patient_id=owner)
    known = _preadmitted(known)
    resolved, plan_facts = _planned(resolve(known), known)
    walked, unmoved = settle(resolved)
    left = encounters.departures(known, walked.stays)
    if left:
        resolved = replace(resolved, standing=(*resolved.standing, *left))
        walked, unmoved = settle(resolved)
    planned = _NO_PLANS
    if plan_facts:
        planned = plans.planned(plan_facts, walked.acts, _cancelled(resolved, known))
    found = Path(
        stays=walked.stays,
        physical=physical(walked.stays, walked.absences),
        planned=planned.stays,
        patient_id=owner,
        status=_status(known, resolved, walked, planned, stated) if visited else None,
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
_NOTHING_STATED = Stated(facts=())


def _named(found: Path) -> Path:
    """The path with each fact that follows from an event named by the event."""
    return replace(
        found,
        stays=_stated_by(found.stays),
        physical=_stated_by(found.physical),
        planned=_stated_by(found.planned),
        unresolved=tuple(encounters.origin(event_id) for event_id in found.unresolved),
    )


def _stated_by(stays: tuple[Stay, ...]) -> tuple[Stay, ...]:
    return tuple(
        replace(
            stay,
            start_event_id=encounters.origin(stay.start_event_id),
            end_event_id=stay.end_event_id and encounters.origin(stay.end_event_id),
        )
        for stay in stays
    )


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


def _preadmitted(known: tuple[Fact, ...]) -> tuple[Fact, ...]:
    """The facts, with admissions that only plan one as the plans that they are (rule T26)."""
    if not any(fact.kind == CREATED and plans.preadmission(fact) for fact in known):
        return known
    return tuple(
        plans.as_plan(fact) if fact.kind == CREATED and plans.preadmission(fact) else fact
        for fact in known
    )


def _planned(resolved: Resolved, known: Iterable[Fact]) -> tuple[Resolved, list[Fact]]:
    """The plans among the facts, and what calls them off (rules T6, T17, T26)."""
    told = [fact for fact in known if fact.kind in (PLANNED, PLAN_CANCELLED)]
    if not told or not resolved.unresolved:
        return resolved, told
    nothing = frozenset(resolved.unresolved)
    idle = [f for f in known if f.kind == CANCELLED and f.event_id in nothing]
    cancels, answered = plans.called_off([f for f in idle if not f.movement_historic], told)
    left = tuple(event_id for event_id in resolved.unresolved if event_id not in answered)
    return replace(resolved, unresolved=left), [*told, *cancels]


def _cancelled(resolved: Resolved, known: Iterable[Fact]) -> list[Fact]:
    """The cancellations that took an admission back, each said once."""
    return [fact for fact in known if fact.event_id in resolved.called_off]


def _status(
    known: Iterable[Fact], resolved: Resolved, walked: Walked, planned: Planned, stated: Stated
) -> Status:
    if walked.is_open:
        return "on_leave" if walked.on_leave else "active"
    if walked.is_open is not None:
        return "discharged"
    if resolved.admission_taken:
        return "cancelled"
    if planned.expected:
        return "planned"
    # A visit whose only known move was taken back still goes on.
    if any(fact.kind in ARRIVALS for fact in known):
        return "active"
    return stated.status or "cancelled"


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
