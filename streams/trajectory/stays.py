"""Stays: a walk over the facts that stand, in the order of what happened."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from streams.trajectory.facts import (
    CANCELLED,
    CREATED,
    DISCHARGE_CANCELLED,
    DISCHARGED,
    MOVE_CANCELLED,
    MOVED,
    Fact,
    Identity,
    Order,
)

# A move from a place where we never saw the patient proves that place only just before the
# move. UCLH Emap claims one second for it, too.
INFERRED = timedelta(seconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """A visit at one place from ``start`` to before ``end``; no end while it goes on.

    ``start_field`` is the field that gave the start, or ``inferred``.
    """

    track: str
    place: str
    start: datetime
    start_field: str
    start_event_id: str
    start_inferred: bool = False
    end: datetime | None = None
    end_event_id: str | None = None
    end_inferred: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """What the walk found: stays in order, whether the visit is open, when it was discharged."""

    stays: tuple[Stay, ...]
    is_open: bool | None
    discharged_at: datetime | None


def walk(standing: Sequence[Fact], cancels: Sequence[Fact] = (), *, track: str) -> Walked:
    """The stays that the facts make; ``standing`` in any order, nothing cancelled among them.

    A stay lasts to the next placement elsewhere or to the discharge. Of placements at one
    instant the last in :attr:`Fact.order` counts. ``cancels`` only keep a place that was
    taken back from coming again by inference.
    """
    ordered = sorted(standing, key=_order)
    walker = _Walker(track, cancels)
    at = 0
    while at < len(ordered):
        fact = ordered[at]
        at += 1
        if fact.kind == DISCHARGED:
            walker.discharge(fact)
            continue
        group = [fact]
        while at < len(ordered) and _together(fact, ordered[at]):
            group.append(ordered[at])
            at += 1
        walker.place(group)
    walker.stay_on()
    return Walked(
        stays=tuple(walker.stays),
        is_open=walker.is_open,
        discharged_at=walker.discharged_at,
    )


def places(fact: Fact) -> bool:
    """Whether the fact puts the patient somewhere, or says that nobody knows where.

    A move from a place to itself is none (rule T10).
    """
    at = fact.at
    return at is not None and not (fact.kind == MOVED and at == fact.prior)


class _Walker:
    """Where the patient is while facts are read in order."""

    __slots__ = (
        "admitted_at", "arrival", "cancels", "discharged_at",
        "here", "is_open", "seen_at", "stays", "track",
    )  # fmt: skip

    def __init__(self, track: str, cancels: Sequence[Fact]) -> None:
        self.track = track
        self.cancels = cancels
        self.stays: list[Stay] = []
        self.arrival: Fact | None = None  # began the stay that goes on
        self.here: Identity | None = None  # where that is
        self.is_open: bool | None = None
        self.admitted_at: datetime | None = None
        self.discharged_at: datetime | None = None
        self.seen_at: datetime | None = None  # when a placement or discharge last said something

    def place(self, group: Sequence[Fact]) -> None:
        """Read all facts of one instant but discharges."""
        # What a cancelled discharge says of the place moves an open visit and reopens none:
        # a discharge that stands came after it.
        told = [f for f in group if f.kind != DISCHARGE_CANCELLED or self.is_open]
        placing = [fact for fact in told if places(fact)]
        if placing or self.is_open is None or any(fact.kind == CREATED for fact in told):
            self.is_open, self.discharged_at = True, None
        if self.admitted_at is None and any(fact.kind == CREATED for fact in told):
            self.admitted_at = group[0].effective_at
        if not placing:
            return
        there = placing[-1].at
        first = next(fact for fact in placing if fact.at == there)
        if not there:
            self._leave(first.effective_at, first.event_id, inferred=False)
        elif there != self.here:
            self._infer(placing, first)
            self._arrive(first, there)
        self.seen_at = first.effective_at

    def discharge(self, fact: Fact) -> None:
        """End the visit if it is open; a further discharge has no effect (rule T13)."""
        if self.is_open:
            self._leave(fact.effective_at, fact.event_id, inferred=False)
            self.is_open, self.discharged_at = False, fact.effective_at
            self.seen_at = fact.effective_at

    def stay_on(self) -> None:
        """Add the stay that goes on, when all facts are read."""
        if self.arrival is not None:
            self._add(self.arrival, None, None, inferred=False)

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
                track=self.track,
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
        if fact.kind != MOVED or prior is None or prior == self.here:
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
                track=self.track,
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
            if at > fact.effective_at or (self.seen_at is not None and at <= self.seen_at):
                continue
            if cancel.kind == MOVE_CANCELLED and cancel.prior == prior:
                return True
            if cancel.kind == CANCELLED and (self.seen_at is None or cancel.at == prior):
                return True
        return False


def _order(fact: Fact) -> Order:
    return fact.order


def _together(fact: Fact, other: Fact) -> bool:
    return other.effective_at == fact.effective_at and other.kind != DISCHARGED
