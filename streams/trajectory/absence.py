"""Absences: temporary moves, transits and leaves, read in order beside the bed (T16, T19)."""

from streams.trajectory.facts import (
    ARRIVED,
    DEPARTED,
    LEAVE_ENDED,
    LEAVE_STARTED,
    Fact,
    Identity,
    identity,
)
from streams.trajectory.stays import Absence


class Away:
    """Whether the patient is away from the bed, while facts are read in order.

    On leave until the return, whatever else is told but the discharge (rule T19). Else away
    until the arrival, or until a placement in another bed says where the patient is now.
    """

    __slots__ = ("_began", "_leave", "_place", "_transit", "absences")

    def __init__(self) -> None:
        self.absences: list[Absence] = []
        self._began: Fact | None = None
        self._place: str | None = None
        self._transit = False
        self._leave = False

    @property
    def on_leave(self) -> bool:
        """Whether the patient has leave."""
        return self._began is not None and self._leave

    @property
    def at(self) -> Identity | None:
        """Where the patient is away from the bed; None or UNKNOWN if nobody knows, or in bed."""
        return identity(self._place)

    def read(self, fact: Fact, bed: Identity | None) -> bool:
        """Read a departure, arrival, leave or return; ``bed`` is the patient's.

        True if it moves the bed: an arrival that ends a transit, at another place.
        """
        if fact.kind == LEAVE_STARTED:
            if not self.on_leave:
                self._begin(fact, None, leave=True)
        elif fact.kind == LEAVE_ENDED:
            if self.on_leave:
                self.back(fact)
        elif self.on_leave:
            return False
        elif fact.kind == DEPARTED:
            self._depart(fact, bed)
        else:
            assert fact.kind == ARRIVED, "an absence has four kinds of facts"
            return self._arrive(fact, bed)
        return False

    def moved(self, fact: Fact) -> None:
        """Read a placement in another bed."""
        if not self._leave:
            self.back(fact)

    def back(self, fact: Fact) -> None:
        """End the absence, if there is one."""
        if self._began is not None and self._began.effective_at < fact.effective_at:
            self._add(self._began, fact)
        self._began, self._place, self._transit, self._leave = None, None, False, False

    def stay_on(self) -> None:
        """Add the absence that goes on, when all facts are read."""
        if self._began is not None:
            self._add(self._began, None)

    def _depart(self, fact: Fact, bed: Identity | None) -> None:
        temporary, pending = identity(fact.temporary_place), identity(fact.pending_place)
        if temporary is not None:
            self._begin(fact, fact.temporary_place or None)
        elif pending:
            self._begin(fact, None, transit=True)
        elif fact.at and fact.at not in (bed, fact.prior, identity(self._place)):
            self._begin(fact, fact.place)  # tracking: PV1-3 is where the patient is now
        else:
            # No target at all: a transit, but from a place beside the bed.
            self._begin(fact, None, transit=fact.at is None or fact.at in (bed, fact.prior))

    def _arrive(self, fact: Fact, bed: Identity | None) -> bool:
        temporary = identity(fact.temporary_place)
        if temporary and temporary != identity(fact.prior_temporary_place):
            self._begin(fact, fact.temporary_place)
        elif fact.at is None or fact.at == bed:
            self.back(fact)
        elif self._transit and fact.at:
            self.back(fact)
            return True
        else:
            self._begin(fact, fact.place or None)
        return False

    def _begin(
        self, fact: Fact, place: str | None, *, transit: bool = False, leave: bool = False
    ) -> None:
        """Be away at a place, or at none that is known; one that goes on keeps its begin."""
        if self._began is not None and identity(place) == identity(self._place) and not leave:
            self._transit = self._transit or transit
            return
        self.back(fact)
        self._began, self._place, self._transit, self._leave = fact, place, transit, leave

    def _add(self, began: Fact, ended: Fact | None) -> None:
        self.absences.append(
            Absence(
                place=self._place,
                start=began.effective_at,
                start_field=began.effective_field,
                start_event_id=began.event_id,
                end=None if ended is None else ended.effective_at,
                end_field=None if ended is None else ended.effective_field,
                end_event_id=None if ended is None else ended.event_id,
            )
        )
