"""Lets patients come, move and go in a hospital of few beds; charts and true stays come of it.

The truth is kept by watching the beds. What is charted, also by mistake, never feeds it: that
is what makes it an oracle for those who know only the messages.
"""

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ops.simulator import people
from ops.simulator.people import Clinician
from ops.simulator.scenario import Scenario, seeded

Story = Generator[datetime, None, None]  # yields when to go on

CLINICIANS = 24
VISITS_MAX = 3
MOVES_MAX = 5
ARRIVALS_SHARE = 0.75  # of the time; late in the day people still move and go
# Shares: how often each thing happens where it can.
BY_EMERGENCY = 0.4
HOME_FROM_EMERGENCY = 0.3
ADMITTED_BY_MISTAKE = 0.08
ADMITTED_AGAIN = 0.4  # on the same visit number, after a mistaken admission
MOVED_BY_MISTAKE = 0.15
HANDED_OVER = 0.15  # an A02 that names another attending and the same bed
DISCHARGED_BY_MISTAKE = 0.1
UPDATED = 0.25
UPDATED_AFTERWARDS = 0.15
RETURNS = 0.2
CHARTED_AT_ONCE = 0.6
CHARTED_LATE = 0.1  # hours later; the rest within a quarter of an hour
SAYS_NO_TIME = 0.3  # EVN-6 is empty, though only where EVN-2 says the same
STILL_CARRIES_DISCHARGE = 0.5  # PV1-45 of a cancelled discharge in what follows


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """One visit in one bed, from `effective_at` until before `ended_at` (None: still there)."""

    mrn: str
    visit_number: str
    location: str
    effective_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What is charted: one message before it is written.

    `place` and `prior` are PV1-3 and PV1-6; `says_when` whether EVN-6 is filled; from
    `recorded_at` on the person's demographics are others if `updates`. No two charts of a
    patient have the same `recorded_at`, so that one of them is the last.
    """

    trigger: str
    mrn: str
    visit_number: str
    occurred_at: datetime
    recorded_at: datetime
    sent_at: datetime
    says_when: bool
    patient_class: str
    place: str
    prior: str
    attending: Clinician
    service: str
    admitted_at: datetime
    discharged_at: datetime | None
    updates: bool


@dataclass(slots=True, kw_only=True)
class Visit:
    """A visit as it goes on; `place` is empty while the patient is in no bed."""

    mrn: str
    number: str
    attending: Clinician
    patient_class: str = "I"
    place: str = ""
    since: datetime
    admitted_at: datetime
    carried_discharge: datetime | None = None


class Hospital:
    """Beds, the clock and who goes on when; `patients` are MRNs."""

    def __init__(self, scenario: Scenario, patients: Sequence[str]) -> None:
        self.charts: list[Chart] = []
        self.stays: list[Stay] = []
        self.visits = 0
        self.now, self._end = scenario.span
        self._patients = patients
        self._recorded: set[tuple[str, datetime]] = set()
        self._rng = seeded(scenario.seed, "hospital")
        staff = seeded(scenario.seed, "staff")
        self.clinicians = [people.clinician(staff, n) for n in range(CLINICIANS)]
        self._free: dict[bool, list[str]] = {True: [], False: []}
        self._emergency = {
            place: ward.emergency for ward in scenario.wards for place in ward.places
        }
        for place, emergency in self._emergency.items():
            self._free[emergency].append(place)
        self._inside: dict[str, Visit] = {}

    def run(self) -> None:
        """From the first arrival to the end; whoever is in a bed then has an open stay."""
        span = (self._end - self.now) * ARRIVALS_SHARE
        queue: list[tuple[datetime, int, Story]] = []
        for number, mrn in enumerate(self._patients):
            arrival = self.now + timedelta(seconds=int(span.total_seconds() * self._rng.random()))
            queue.append((arrival, number, self._patient(mrn)))
        heapq.heapify(queue)
        while queue:
            self.now, number, story = queue[0]
            following = next(story, None)
            if following is None or following >= self._end:
                heapq.heappop(queue)
            else:
                assert following > self.now, "time goes on, or the loop has no end"
                heapq.heapreplace(queue, (following, number, story))
        for visit in self._inside.values():
            self._leave(visit, None)

    def _patient(self, mrn: str) -> Story:
        for _ in range(VISITS_MAX):
            yield from self._visit(mrn)
            if not self._chance(RETURNS):
                return
            yield self._later(60, 360)

    def _visit(self, mrn: str) -> Story:
        visit = Visit(
            mrn=mrn, number=people.visit_number(self.visits),
            attending=self._rng.choice(self.clinicians), since=self.now, admitted_at=self.now,
        )  # fmt: skip
        self.visits += 1
        emergency = any(self._emergency.values()) and self._chance(BY_EMERGENCY)
        place = yield from self._bed(emergency=emergency)
        if self._chance(ADMITTED_BY_MISTAKE):
            yield from self._admit_by_mistake(visit, place)
            if not self._chance(ADMITTED_AGAIN):
                return
            place = yield from self._bed(emergency=emergency)
        self._admit(visit, place)
        yield from self._spend(visit, 30, 240)
        if emergency and not self._chance(HOME_FROM_EMERGENCY):
            place = yield from self._bed(emergency=False)
            self._admit(visit, place)
            yield from self._spend(visit, 60, 300)
        elif emergency:
            self._discharge(visit)
            return
        yield from self._moves(visit)
        if self._chance(DISCHARGED_BY_MISTAKE):
            yield from self._discharge_by_mistake(visit)
            yield from self._spend(visit, 20, 120)
            if self._chance(0.5):
                self._move(visit)
                yield from self._spend(visit, 20, 120)
        self._discharge(visit)

    def _moves(self, visit: Visit) -> Story:
        for _ in range(self._rng.randrange(MOVES_MAX)):
            if self._chance(MOVED_BY_MISTAKE):
                yield from self._move_by_mistake(visit)
            elif self._chance(HANDED_OVER):
                visit.attending = self._rng.choice(self.clinicians)
                self._chart(visit, "A02", prior=visit.place)
            else:
                self._move(visit)
            yield from self._spend(visit, 40, 300)

    # What truly happens

    def _admit(self, visit: Visit, place: str) -> None:
        visit.admitted_at = self.now
        self._occupy(visit, place)
        self._chart(visit, self._arrival(visit, place))

    def _move(self, visit: Visit) -> None:
        place, prior = self._take(emergency=False), visit.place
        if place is not None:
            self._occupy(visit, place)
            self._chart(visit, "A02", prior=prior)

    def _discharge(self, visit: Visit) -> None:
        place, left_at = visit.place, self.now
        self._leave(visit, left_at)
        del self._inside[visit.number]
        self._free[self._emergency[place]].append(place)
        visit.carried_discharge = None
        known = self._chart(visit, "A03", place=place, discharged_at=left_at)
        if self._chance(UPDATED_AFTERWARDS):
            self._update(visit, known.sent_at + self._minutes(10, 200), place, left_at)

    def _spend(self, visit: Visit, low: int, high: int) -> Story:
        """Some time in the same bed, perhaps with an update on the way."""
        if self._chance(UPDATED):
            yield self._later(10, 60)
            # An update may also leave PV1-3 empty: that clears nothing (rule T21).
            place = visit.place if self._chance(0.7) else ""
            self._update(visit, self.now, place, visit.carried_discharge)
        yield self._later(low, high)

    # What is charted by mistake; the bed named in it is kept free until that is corrected

    def _admit_by_mistake(self, visit: Visit, place: str) -> Story:
        visit.admitted_at = self.now
        wrong = self._chart(visit, self._arrival(visit, place), place=place)
        yield self._correct(visit, "A11", wrong, place=place)
        self._free[self._emergency[place]].append(place)

    def _move_by_mistake(self, visit: Visit) -> Story:
        place = self._take(emergency=False)
        if place is None:
            return
        wrong = self._chart(visit, "A02", place=place, prior=visit.place)
        yield self._correct(visit, "A12", wrong, prior=place)
        self._free[self._emergency[place]].append(place)

    def _discharge_by_mistake(self, visit: Visit) -> Story:
        wrong = self._chart(visit, "A03", discharged_at=self.now)
        yield self._correct(visit, "A13", wrong, discharged_at=wrong.occurred_at)
        if self._chance(STILL_CARRIES_DISCHARGE):
            visit.carried_discharge = wrong.occurred_at

    def _correct(
        self, visit: Visit, trigger: str, wrong: Chart, *, place: str | None = None,
        prior: str = "", discharged_at: datetime | None = None,
    ) -> datetime:  # fmt: skip
        """Chart the cancellation of `wrong` with its time (rule T2); when it is charted."""
        at = max(self.now, wrong.sent_at) + self._minutes(10, 60)
        self._chart(
            visit, trigger, occurred_at=wrong.occurred_at, recorded_at=at, place=place,
            prior=prior, discharged_at=discharged_at,
        )  # fmt: skip
        return at

    # Beds

    def _bed(self, *, emergency: bool) -> Generator[datetime, None, str]:
        while (place := self._take(emergency=emergency)) is None:
            yield self._later(15, 60)
        return place

    def _take(self, *, emergency: bool) -> str | None:
        free = self._free[emergency]
        return free.pop(self._rng.randrange(len(free))) if free else None

    def _occupy(self, visit: Visit, place: str) -> None:
        if visit.place:
            left = visit.place
            self._leave(visit, self.now)
            self._free[self._emergency[left]].append(left)
        visit.place, visit.since = place, self.now
        self._inside[visit.number] = visit

    def _leave(self, visit: Visit, at: datetime | None) -> None:
        assert at is None or at > visit.since, "a stay has a length"
        self.stays.append(
            Stay(
                mrn=visit.mrn, visit_number=visit.number, location=visit.place,
                effective_at=visit.since, ended_at=at,
            )
        )  # fmt: skip
        visit.place = ""

    # Charts

    def _arrival(self, visit: Visit, place: str) -> str:
        visit.patient_class = "E" if self._emergency[place] else "I"
        return "A04" if self._emergency[place] else "A01"

    def _update(
        self, visit: Visit, at: datetime, place: str, discharged_at: datetime | None
    ) -> None:
        self._chart(
            visit, "A08", occurred_at=at, recorded_at=at, place=place,
            discharged_at=discharged_at, updates=True,
        )  # fmt: skip

    def _chart(
        self, visit: Visit, trigger: str, *, occurred_at: datetime | None = None,
        recorded_at: datetime | None = None, place: str | None = None, prior: str = "",
        discharged_at: datetime | None = None, updates: bool = False,
    ) -> Chart:  # fmt: skip
        occurred_at = occurred_at or self.now
        recorded_at = recorded_at or occurred_at + self._delay()
        while (visit.mrn, recorded_at) in self._recorded:
            recorded_at += timedelta(seconds=1)
        self._recorded.add((visit.mrn, recorded_at))
        cancels = trigger in {"A11", "A12", "A13"}
        place = visit.place if place is None else place
        chart = Chart(
            trigger=trigger, mrn=visit.mrn, visit_number=visit.number,
            occurred_at=occurred_at, recorded_at=recorded_at,
            sent_at=recorded_at + timedelta(seconds=self._rng.randrange(1, 20)),
            says_when=(
                cancels or recorded_at != occurred_at or not self._chance(SAYS_NO_TIME)
            ),
            patient_class=visit.patient_class, place=place, prior=prior,
            attending=visit.attending, service=place.partition("^")[0],
            admitted_at=visit.admitted_at,
            discharged_at=discharged_at or visit.carried_discharge, updates=updates,
        )  # fmt: skip
        self.charts.append(chart)
        return chart

    def _delay(self) -> timedelta:
        drawn = self._rng.random()
        if drawn < CHARTED_AT_ONCE:
            return timedelta()
        late = drawn >= 1 - CHARTED_LATE
        return self._minutes(60, 300) if late else self._minutes(1, 15)

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _later(self, low: int, high: int) -> datetime:
        return self.now + self._minutes(low, high)

    def _minutes(self, low: int, high: int) -> timedelta:
        """Between `low` and `high` minutes, to the second."""
        return timedelta(seconds=self._rng.randrange(low * 60, high * 60))
