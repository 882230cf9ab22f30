"""The path of one visit: a function of the set of its facts, whatever order they came in."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from streams.trajectory.cancels import Resolved, resolve
from streams.trajectory.facts import CREATED, MOVED, PATH_KINDS, Fact, identity
from streams.trajectory.stays import Stay, walk

# A visit of a year has some hundreds. One with more is a number that a feed gives to everybody,
# and each fact of it would be folded with all the others.
FACTS_MAX = 1_000

Status = Literal["active", "discharged", "cancelled"]


class VisitTooLong(Exception):  # noqa: N818  named for what is wrong
    """More facts than a visit can have; further ones of it become dead letters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """Where a visit was, and how it stands.

    ``status`` is None while no fact makes it a visit: updates and cancellations make none.
    ``unresolved`` are the event ids of cancellations that take nothing back (yet).
    """

    stays: tuple[Stay, ...]
    status: Status | None
    admitted_at: datetime | None
    discharged_at: datetime | None
    unresolved: tuple[str, ...]

    @property
    def current(self) -> Stay | None:
        """The stay that goes on, if one does."""
        return self.stays[-1] if self.stays and self.stays[-1].end is None else None


def path(facts: Iterable[Fact], *, track: str = "census") -> Path:
    """Compute the path of one visit from all its facts, in any order, doubles included.

    Rules T3 to T13 and T21, and where they leave a choice: a cancelled admission takes back
    the admission's own placement, later moves stand; of two discharges without a cancellation
    between them the earlier closes; a placement after a discharge opens the visit again.
    """
    told = {fact.event_id: fact for fact in facts if fact.kind in PATH_KINDS}
    if len(told) > FACTS_MAX:
        raise VisitTooLong(f"facts of one visit: {len(told)}")
    resolved = resolve(tuple(told.values()))
    walked = walk(resolved.standing, resolved.cancels, track=track)
    _check(walked.stays)
    visited = any(fact.kind in (CREATED, MOVED) for fact in told.values())
    return Path(
        stays=walked.stays,
        status=_status(resolved, walked.is_open) if visited else None,
        admitted_at=_admitted_at(resolved),
        discharged_at=walked.discharged_at,
        unresolved=resolved.unresolved,
    )


def _status(resolved: Resolved, is_open: bool | None) -> Status:
    if is_open is None:
        # Nothing of it stands; a visit whose only known move was taken back still goes on.
        return "cancelled" if resolved.admission_taken else "active"
    return "active" if is_open else "discharged"


def _admitted_at(resolved: Resolved) -> datetime | None:
    admissions = (fact.effective_at for fact in resolved.standing if fact.kind == CREATED)
    return min(admissions, default=None)


def _check(stays: tuple[Stay, ...]) -> None:
    """Rule T24: half-open, in order, without overlap, none of zero length, at most one open."""
    previous: Stay | None = None
    for stay in stays:
        assert stay.end is None or stay.start < stay.end, "a stay has a length"
        if previous is not None:
            assert previous.end is not None, "at most one stay is open"
            assert previous.end <= stay.start, "stays don't overlap"
            assert previous.end < stay.start or identity(previous.place) != identity(stay.place), (
                "stays at one place that touch are one stay"
            )
        previous = stay
