"""The physical track against a slow reading: all from the start again for every instant asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import Event
from streams.trajectory.facts import (
    ARRIVALS,
    ARRIVED,
    CREATED,
    DEPARTED,
    DISCHARGED,
    LEAVE_ENDED,
    LEAVE_STARTED,
    MOVE_CANCELLED,
    STANDING,
    TAKES,
    Fact,
)
from streams.trajectory.path import path
from streams.trajectory.stays import Stay
from tests.streams.trajectory.visits import CANCELS, adt, clock

HOURS = 9
TRIGGERS = ("A01", "A02", "A02", "A03", "A09", "A09", "A09", "A10", "A10", "A21", "A22", *CANCELS)

hours = st.integers(min_value=0, max_value=HOURS - 1).map(lambda hour: f"{hour:02}:00")
beds = st.sampled_from(["A", "B"])
anywhere = st.sampled_from([None, None, "", "A", "B", "X", "Y"])


@st.composite
def told(draw: st.DrawFn) -> Event:
    """An event; cancellations name their times, and no move names where it came from."""
    trigger = draw(st.sampled_from(TRIGGERS))
    at, name = draw(hours), str(draw(st.integers(0, 1)))
    reported = draw(st.one_of(st.none(), hours))
    if trigger in ("A01", "A02", "A12"):
        prior = draw(beds) if trigger == "A12" else None
        place = draw(st.one_of(st.none(), beds))
        return adt(trigger, at, place, prior=prior, reported=reported, name=name)
    if trigger not in ("A09", "A10"):
        return adt(trigger, at, reported=reported, name=name)
    return adt(
        trigger, at, draw(anywhere), prior=draw(anywhere), reported=reported, name=name,
        temporary_place=draw(anywhere), prior_temporary_place=draw(anywhere),
        pending_place=draw(anywhere),
    )  # fmt: skip


@dataclass
class Patient:
    """Where a patient is, as one reads what was told, one after the other."""

    here: bool | None = None  # admitted and not discharged; None: nothing told yet
    bed: str | None = None
    away: bool = False
    place: str | None = None  # while away; None: nobody knows
    transit: bool = False
    leave: bool = False

    @property
    def where(self) -> str | None:
        """Where the patient is in truth."""
        return None if not self.here else self.place if self.away else self.bed

    def read(self, fact: Fact) -> None:
        """Rules T13, T16 and T19, in their own words."""
        if fact.kind in ARRIVALS:
            self.settle(fact)
        elif not self.here:
            return
        elif fact.kind == DISCHARGED:
            self.back()
            self.here, self.bed = False, None
        elif fact.kind == LEAVE_STARTED:
            if not self.leave:
                self.back()
            self.away = self.leave = True
        elif fact.kind == LEAVE_ENDED:
            if self.leave:
                self.back()
        elif not self.leave:  # the bed is kept, and only the return ends the leave
            reads = {DEPARTED: self.depart, ARRIVED: self.arrive}[fact.kind]
            reads(fact)

    def settle(self, fact: Fact) -> None:
        """Be admitted, or moved; another bed ends whatever isn't a leave."""
        if fact.kind == CREATED or fact.place or self.here is None:
            self.here = True
        if fact.place:
            if fact.place != self.bed and not self.leave:
                self.back()
            self.bed = fact.place

    def depart(self, fact: Fact) -> None:
        """PV1-11, else on the way to PV1-42, else PV1-3 if that is news, else on some way."""
        if fact.temporary_place is not None:
            self.go(fact.temporary_place)
        elif fact.pending_place:
            self.go("", transit=True)
        elif fact.place and fact.place not in (self.bed, fact.prior_place, self.place):
            self.go(fact.place)
        else:
            from_bed = bool(fact.place) and fact.place in (self.bed, fact.prior_place)
            self.go("", transit=fact.place is None or from_bed)

    def arrive(self, fact: Fact) -> None:
        """At another PV1-11, else back in the bed, else in the new bed, else at PV1-3."""
        if fact.temporary_place and fact.temporary_place != fact.prior_temporary_place:
            self.go(fact.temporary_place)
        elif fact.place is None or fact.place == self.bed:
            self.back()
        elif self.away and self.transit and fact.place:
            self.back()
            self.bed = fact.place
        else:
            self.go(fact.place)

    def go(self, place: str, *, transit: bool = False) -> None:
        """Be away; who is on the way stays so until somewhere."""
        stays_nowhere = self.away and not self.place and not place
        self.transit = transit or (stays_nowhere and self.transit)
        self.away, self.place = True, place or None

    def back(self) -> None:
        """Be in the bed."""
        self.away = self.transit = self.leave = False
        self.place = None


def taken_back(fact: Fact, facts: list[Fact]) -> bool:
    """Whether a cancellation names the fact's kind and time, and was told no earlier."""

    def of(cancel: Fact, other: Fact) -> bool:
        late = cancel.reported_at and other.reported_at and other.reported_at > cancel.reported_at
        same = TAKES.get(cancel.kind) == other.kind and cancel.effective_at == other.effective_at
        return same and not late

    for cancel in facts:
        if of(cancel, fact):
            there = {other.at for other in facts if of(cancel, other)}
            if cancel.kind != MOVE_CANCELLED or cancel.prior == fact.at:
                return True
            if len(there) == 1 and cancel.prior not in there:
                return True
    return False


def standing(facts: list[Fact]) -> list[Fact]:
    """What was not taken back, in order."""
    left = [fact for fact in facts if fact.kind in STANDING and not taken_back(fact, facts)]
    return sorted(left, key=lambda fact: fact.order)


def where(stood: list[Fact], at: datetime) -> str | None:
    """Where the patient is at an instant, by all that was told of the time up to then."""
    patient = Patient()
    read: set[object] = set()
    for fact in stood:
        if fact.effective_at > at:
            break
        said = (
            fact.kind, fact.effective_at, fact.place, fact.prior_place, fact.temporary_place,
            fact.prior_temporary_place, fact.pending_place,
        )  # fmt: skip
        if fact.kind in ARRIVALS or said not in read:  # an absence told twice is one (rule T9)
            patient.read(fact)
        read.add(said)
    return patient.where


def at(stays: tuple[Stay, ...], instant: datetime) -> list[str]:
    return [s.place for s in stays if s.start <= instant and (s.end is None or instant < s.end)]


@settings(max_examples=2_000, deadline=None)
@given(st.lists(told(), max_size=9))
def test_t16_t19_the_physical_track_says_at_every_instant_what_the_slow_reading_says(events):
    facts = list({event["event_id"]: Fact.of_event(event) for event in events}.values())
    found = path(facts)
    stood = standing(facts)
    for hour in range(-1, HOURS + 1):
        instant = clock("00:30") + hour * timedelta(hours=1)
        expected = where(stood, instant)
        assert at(found.physical, instant) == ([] if expected is None else [expected])


def test_the_slow_reading_tells_the_physical_track_from_the_census():
    facts = [
        Fact.of_event(event)
        for event in (
            adt("A01", "01:00", "A"), adt("A09", "02:00", prior="A", temporary_place="X"),
            adt("A10", "04:00", "A"), adt("A09", "05:00", prior="A", pending_place="B"),
            adt("A10", "06:00", "B"), adt("A21", "07:00"), adt("A03", "08:00"),
        )
    ]  # fmt: skip
    instants = [clock(f"{hour:02}:30") for hour in range(HOURS)]
    expected = [None, "A", "X", "X", "A", None, "B", None, None]
    assert [where(standing(facts), instant) for instant in instants] == expected
    bed = [next(iter(at(path(facts).stays, instant)), None) for instant in instants]
    assert bed == [None, "A", "A", "A", "A", "A", "B", "B", None]
