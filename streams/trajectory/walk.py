"""A walk over the facts that stand, in the order of what happened: stays in bed, absences."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.trajectory.absence import Away
from streams.trajectory.facts import (
    ABSENCES,
    ARRIVAL_CANCELLED,
    CANCELLED,
    CREATED,
    DISCHARGE_CANCELLED,
    DISCHARGED,
    MOVE_CANCELLED,
    MOVES,
    UNKNOWN,
    Fact,
    Identity,
    Order,
    identity,
    places,
)
from streams.trajectory.stays import Absence, Stay, physical

# A move from a place where we never saw the patient proves that place only just before the
# move. UCLH Emap claims one second for it, too.
INFERRED = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """An admission, move or discharge that took effect ``at`` its time; ``kind`` is the fact's.

    ``place`` is where it puts the patient, None for a discharge.
    """

    at: datetime
    event_id: str
    told_at: datetime
    kind: str
    place: Identity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What the walk found: ``stays`` in the bed and ``absences`` from it, in order.

    ``acts`` are the admissions, moves and discharges that took effect.
    """

    stays: tuple[Stay, ...]
    absences: tuple[Absence, ...]
    acts: tuple[Act, ...]
    is_open: bool | None
    on_leave: bool
    discharged_at: datetime | None

    @property
    def now(self) -> tuple[Identity | None, Identity | None]:
        """Which bed is the patient's and where the patient is; None for nowhere known."""
        return _last(self.stays), _last(physical(self.stays, self.absences))


def _last(stays: Sequence[Stay]) -> Identity | None:
    return identity(stays[-1].place) if stays and stays[-1].end is None else None


def walk(
    standing: Sequence[Fact], cancels: Sequence[Fact] = (), *, stays_max: int | None = None
) -> Walked:
    """The stays that the facts make; ``standing`` in any order, nothing cancelled among them.

    A stay lasts to the next placement elsewhere or to the discharge. Of placements at one
    instant the last in :attr:`Fact.order` counts. ``cancels`` only keep a place that was
    taken back from coming again by inference; each has the time and place of what it took.
    With ``stays_max`` the walk may end once there are more.
    """
    ordered = sorted(standing, key=_order)
    walker = _Walker(cancels)
    at = 0
    while at < len(ordered) and (stays_max is None or len(walker.stays) <= stays_max):
        fact = ordered[at]
        at += 1
        if fact.kind == DISCHARGED:
            walker.discharge(fact)
            continue
        group = [fact]
        while at < len(ordered) and _together(fact, ordered[at]):
            group.append(ordered[at])
            at += 1
        walker.read(group)
    walker.stay_on()
    return Walked(
        stays=tuple(walker.stays),
        absences=tuple(walker.away.absences),
        acts=tuple(walker.acts),
        is_open=walker.is_open,
        on_leave=walker.away.on_leave,
        discharged_at=walker.discharged_at,
    )


class _Walker:
    """Where the patient is while facts are read in order."""

    __slots__ = (
        "acts", "admitted_at", "arrival", "away", "beside", "cancels", "discharged_at",
        "here", "is_open", "seen_at", "stays",
    )  # fmt: skip

    def __init__(self, cancels: Sequence[Fact]) -> None:
        self.cancels = cancels
        self.away = Away()
        self.acts: list[Act] = []
        self.stays: list[Stay] = []
        self.arrival: Fact | None = None  # began the stay that goes on
        self.here: Identity | None = None  # where that is
        self.beside: set[Identity] = set()  # where the patient was away from it until now
        self.is_open: bool | None = None
        self.admitted_at: datetime | None = None
        self.discharged_at: datetime | None = None
        self.seen_at: datetime | None = None  # when a placement or discharge last said something

    def read(self, group: Sequence[Fact]) -> None:
        """Read all facts of one instant but discharges."""
        was_open = self.is_open
        there = self.here
        placing = []
        self.beside = {self.away.at} if self.away.at else set()
        absent = set()
        for fact in group:
            if fact.kind in ABSENCES:
                said = _said(fact)
                if said in absent:
                    continue  # the same again (rule T9)
                absent.add(said)
                placed = bool(self.is_open) and self.away.read(fact, there)
                if self.away.at:
                    self.beside.add(self.away.at)
            else:
                placed = self._open(fact, was_open)
                if placed and fact.at != there:
                    self.away.moved(fact)
            if placed:
                placing.append(fact)
                there = fact.at
        if placing:
            self._place(placing)

    def _open(self, fact: Fact, was_open: bool | None) -> bool:
        """Open the visit if the fact does, and say whether it puts the patient in a bed."""
        if was_open is None:
            self.is_open = True
        if fact.kind == DISCHARGE_CANCELLED and not was_open:
            # What a cancelled discharge says of the place moves an open visit and reopens
            # none: a discharge that stands came after it.
            return False
        placed = places(fact)
        if fact.kind == CREATED:
            self.admitted_at = self.admitted_at or fact.effective_at
            self._act(fact, fact.at)
            self.is_open, self.discharged_at = True, None
        elif placed:
            self.is_open, self.discharged_at = True, None
        return placed

    def _place(self, placing: Sequence[Fact]) -> None:
        there = placing[-1].at
        first = next(fact for fact in placing if fact.at == there)
        if not there:
            self._leave(first.effective_at, first.event_id, inferred=False)
        elif there != self.here:
            self._act(first, there)
            self._infer(placing, first)
            self._arrive(first, there)
        self.seen_at = first.effective_at

    def discharge(self, fact: Fact) -> None:
        """End the visit if it is open; a further discharge has no effect (rule T13)."""
        if self.is_open:
            self.away.back(fact)
            self._act(fact, None)
            self._leave(fact.effective_at, fact.event_id, inferred=False)
            self.is_open, self.discharged_at = False, fact.effective_at
            self.seen_at = fact.effective_at

    def stay_on(self) -> None:
        """Add the stay that goes on, when all facts are read."""
        if self.arrival is not None:
            self._add(self.arrival, None, None, inferred=False)
        self.away.stay_on()

    def _act(self, fact: Fact, place: Identity | None) -> None:
        self.acts.append(
            Act(
                at=fact.effective_at,
                event_id=fact.event_id,
                told_at=fact.told_at,
                kind=fact.kind,
                place=place,
            )
        )

    def _arrive(self, fact: Fact, there: Identity) -> None:
        self._leave(fact.effective_at, fact.event_id, inferred=fact.kind == DISCHARGE_CANCELLED)
        self.arrival, self.here = fact, there

    def _leave(self, at: datetime, event_id: str, *, inferred: bool) -> None:
        if self.arrival is not None and self.arrival.effective_at < at:
            self._add(self.arrival, at, event_id, inferred=inferred)
        self.arrival, self.here = None, None

    def _add(
        self, arrival: Fact, end: datetime | None, event_id: str | None, *, inferred: bool
    ) -> None:
        assert arrival.place is not None, "who arrives, arrives somewhere"
        unsure = arrival.kind == DISCHARGE_CANCELLED
        self.stays.append(
            Stay(
                place=arrival.place,
                start=arrival.effective_at,
                start_field="inferred" if unsure else arrival.effective_field,
                start_event_id=arrival.event_id,
                start_inferred=unsure,
                end=end,
                end_event_id=event_id,
                end_inferred=inferred,
            )
        )

    def _infer(self, placing: Sequence[Fact], fact: Fact) -> None:
        """Put a stay at PV1-6 before a move from where we didn't have the patient (rule T11)."""
        prior = fact.prior
        if fact.kind not in MOVES or prior is None:
            return
        if self.here and (within(prior, self.here) or within(self.here, prior)):
            return
        if any(within(prior, place) or within(place, prior) for place in self.beside):
            return
        if any(other.at == prior for other in placing) or self._taken_back(fact, prior):
            return
        at = fact.effective_at
        start = self._bound(at)
        if start is None:
            return
        assert fact.prior_place is not None, "a prior place has a text"
        self._leave(start, fact.event_id, inferred=True)
        self.stays.append(
            Stay(
                place=fact.prior_place,
                start=start,
                start_field="inferred",
                start_event_id=fact.event_id,
                start_inferred=True,
                end=at,
                end_event_id=fact.event_id,
            )
        )

    def _bound(self, at: datetime) -> datetime | None:
        """Where an inferred stay before ``at`` begins; None if there is no room for one."""
        if self.seen_at is None:
            admitted = self.admitted_at
            return admitted if admitted is not None and admitted < at else at - INFERRED
        start = max(at - INFERRED, self.seen_at + (at - self.seen_at) / 2)
        return start if self.seen_at < start < at else None

    def _taken_back(self, fact: Fact, prior: Identity) -> bool:
        """Whether a cancellation since we last saw the patient says: not there."""
        for cancel in self.cancels:
            at = cancel.effective_at
            if at > fact.effective_at or self._seen_since(cancel):
                continue
            if cancel.kind in (MOVE_CANCELLED, ARRIVAL_CANCELLED) and cancel.prior == prior:
                return True
            if cancel.kind == CANCELLED and (self.seen_at is None or cancel.at == prior):
                return True
        return False

    def _seen_since(self, cancel: Fact) -> bool:
        """Whether we saw the patient at the time that a cancellation names, or after all of it."""
        if self.seen_at is None:
            return False
        until = cancel.until if cancel.exact else cancel.effective_at
        return self.seen_at == cancel.effective_at or self.seen_at >= until


def within(place: Identity, whole: Identity) -> bool:
    """Whether a place lies in the other: it says all that is said of that one, or more."""
    return place != UNKNOWN and all(
        not theirs or theirs == ours for ours, theirs in zip(place, whole, strict=True)
    )


def _said(fact: Fact) -> tuple[str | None, ...]:
    """What a departure, arrival, leave or return says, but for its time."""
    return (
        fact.kind, fact.place, fact.prior_place, fact.temporary_place,
        fact.prior_temporary_place, fact.pending_place,
    )  # fmt: skip


def _order(fact: Fact) -> Order:
    return fact.order


def _together(fact: Fact, other: Fact) -> bool:
    return other.effective_at == fact.effective_at and other.kind != DISCHARGED
