"""A hospital of few beds: who is where, the clock, and what is charted.

The truth is kept by watching the beds and the patients. What is charted, also by mistake,
never feeds it: that is what makes it an oracle for those who know only the messages.
"""

import heapq
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from ops.simulator import people
from ops.simulator.charts import Chart, Places, Visit
from ops.simulator.scenario import Scenario, seeded

Story = Generator[datetime, None, None]  # yields when to go on
Track = Literal["census", "physical"]

CLINICIANS = 24
ARRIVALS_SHARE = 0.75  # of the time; late in the day people still move and go
# Shares of charts.
CHARTED_AT_ONCE = 0.6
CHARTED_LATE = 0.1  # hours later; the rest within a quarter of an hour
SAYS_NO_TIME = 0.3  # EVN-6 is empty, though only where EVN-2 says the same
UNDER_RETIRED = 0.25  # after a merge
DAYS_LATE = (24 * 60, 4 * 24 * 60)  # minutes

CANCELS = frozenset(
    {"A11", "A12", "A13", "A25", "A26", "A27", "A32", "A33", "A38", "A52", "A53"}
)  # fmt: skip
_TIMELESS = frozenset({"A08", "A23"})  # when these happened changes no path


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """One visit at one place, from `effective_at` until before `ended_at` (None: still there).

    On the `census` track the bed is the patient's; on the `physical` track the patient is
    there. `mrn` is the patient who has the visit after all merges and moves of it.
    """

    track: Track
    mrn: str
    visit_number: str
    location: str
    effective_at: datetime
    ended_at: datetime | None


class Hospital:
    """Beds, the clock and who goes on when; `patients` are MRNs."""

    def __init__(self, scenario: Scenario, patients: Sequence[str]) -> None:
        self.scenario = scenario
        self.shares = scenario.shares
        self.charts: list[Chart] = []
        self.patients = patients
        self.strangers = 0
        self.visits = 0
        self.now, self._end = scenario.span
        self.rng = seeded(scenario.seed, "hospital")
        staff = seeded(scenario.seed, "staff")
        self.clinicians = [people.clinician(staff, n) for n in range(CLINICIANS)]
        self._emergency = {
            place: ward.emergency for ward in scenario.wards for place in scenario.places(ward)
        }
        self._free: dict[bool, list[str]] = {True: [], False: []}
        for place, emergency in self._emergency.items():
            self._free[emergency].append(place)
        self._inside: dict[str, Visit] = {}
        self._recorded: set[tuple[str, datetime]] = set()
        self._swapped: dict[str, datetime] = {}  # when an MRN was last moved by another's story
        self._merged: dict[str, str] = {}
        self._watched: list[tuple[Visit, Track, str, datetime, datetime | None]] = []

    def run(self, story: Callable[["Hospital", list[str]], Story]) -> None:
        """From the first arrival to the end, a story for each patient.

        A story gets the MRNs that it charts under, and adds to them. Whoever is in a bed at the
        end has an open stay.
        """
        span = (self._end - self.now) * ARRIVALS_SHARE
        queue: list[tuple[datetime, int, Story]] = []
        names = [[mrn] for mrn in self.patients]
        for number, theirs in enumerate(names):
            arrival = self.now + timedelta(seconds=int(span.total_seconds() * self.rng.random()))
            queue.append((arrival, number, story(self, theirs)))
        heapq.heapify(queue)
        while queue:
            self.now, number, going = queue[0]
            if self._is_taken_up(names[number]):
                heapq.heapreplace(queue, (self.now + timedelta(seconds=1), number, going))
                continue
            following = next(going, None)
            if following is None or following >= self._end:
                heapq.heappop(queue)
            else:
                assert following > self.now, "time goes on, or the loop has no end"
                heapq.heapreplace(queue, (following, number, going))
        for visit in self._inside.values():
            self._leave(visit, None)
            self.be(visit, "", None)

    def stays(self, track: Track) -> tuple[Stay, ...]:
        """The true stays of a track by visit and time, once the hospital has run."""
        found = [
            Stay(
                track=track, mrn=self._survivor(visit.owner), visit_number=visit.number,
                location=place, effective_at=since, ended_at=until,
            )
            for visit, watched, place, since, until in self._watched
            if watched == track
        ]  # fmt: skip
        return tuple(sorted(found, key=lambda stay: (stay.visit_number, stay.effective_at)))

    # Beds and places

    @property
    def has_emergency(self) -> bool:
        """Whether there is a ward where people are registered."""
        return any(self._emergency.values())

    def bed(self, *, emergency: bool) -> Generator[datetime, None, str]:
        """A bed as soon as one is free."""
        while (place := self.take(emergency=emergency)) is None:
            yield self.later(15, 60)
        return place

    def take(self, *, emergency: bool) -> str | None:
        """A bed, if one is free."""
        free = self._free[emergency]
        return free.pop(self.rng.randrange(len(free))) if free else None

    def free(self, place: str) -> None:
        """Give a bed back."""
        self._free[self._emergency[place]].append(place)

    def is_emergency(self, place: str) -> bool:
        """Whether the bed is in a ward where people are registered."""
        return self._emergency[place]

    def occupy(self, visit: Visit, place: str) -> None:
        """From now on the bed is the patient's, who is in it."""
        if visit.place:
            left = visit.place
            self._leave(visit, self.now)
            self.free(left)
        visit.place, visit.since = place, self.now
        self.be(visit, place)
        self._inside[visit.number] = visit

    def release(self, visit: Visit) -> str:
        """The patient goes for good; which bed that was."""
        place = visit.place
        self._leave(visit, self.now)
        self.be(visit, "")
        del self._inside[visit.number]
        self.free(place)
        return place

    def be(self, visit: Visit, place: str, until: datetime | Literal["now"] | None = "now") -> None:
        """From now on the patient is there; an empty `place` is nowhere that we know."""
        if visit.where:
            ended = self.now if until == "now" else until
            assert ended is None or ended > visit.where_since, "a stay has a length"
            self._watched.append((visit, "physical", visit.where, visit.where_since, ended))
        visit.where, visit.where_since = place, self.now

    def swap(self, visit: Visit) -> Visit | None:
        """Swap beds with somebody who rests; whom with, if there is anybody."""
        others = [
            other for other in self._inside.values()
            if other.rests and other is not visit and other.since < self.now
            and not self._emergency[other.place] and self.now > other.where_since
            and (other.mrn, self.now) not in self._recorded
        ]  # fmt: skip
        if not others:
            return None
        other = self.rng.choice(others)
        ours, theirs = visit.place, other.place
        for each, place in ((visit, theirs), (other, ours)):
            self._leave(each, self.now)
            each.place, each.since = place, self.now
            self.be(each, place)
            self._swapped[each.mrn] = self._swapped[each.owner] = self.now
        return other

    # Charts

    def chart(
        self, visit: Visit, trigger: str, places: Places | None = None, *,
        occurred_at: datetime | None = None, recorded_at: datetime | None = None,
        discharged_at: datetime | None = None, expected_at: datetime | None = None,
        prior_mrn: str = "", updates: bool = False, mistaken: bool = False,
    ) -> Chart:  # fmt: skip
        """Chart something of a visit; by default that it happens now, in the visit's bed.

        What is `mistaken` is never charted days late, since its correction is waited for.
        """
        occurred_at = occurred_at or self.now
        recorded_at = recorded_at or occurred_at + self._delay(days=not mistaken)
        says_now = visit.mrn
        if visit.retired and trigger != "A45" and self.chance(UNDER_RETIRED):
            says_now = visit.retired
        chart = self._charted(
            Chart(
                trigger=trigger, mrn=says_now, visit_number=visit.number,
                occurred_at=occurred_at, recorded_at=recorded_at, sent_at=recorded_at,
                says_when=False, patient_class=visit.patient_class,
                places=Places(assigned=visit.place) if places is None else places,
                attending=visit.attending, admitted_at=visit.admitted_at,
                discharged_at=discharged_at or visit.carried_discharge,
                expected_at=expected_at, prior_mrn=prior_mrn, updates=updates,
            )
        )  # fmt: skip
        self.charts.append(chart)
        return chart

    def chart_swap(self, visit: Visit, other: Visit) -> None:
        """Chart that two visits have each other's bed, in one message (rule T18)."""
        first, second = (
            Places(assigned=each.place, prior=left.place)
            for each, left in ((visit, other), (other, visit))
        )
        chart = self.chart(visit, "A17", first)
        at = chart.recorded_at
        partner = replace(
            chart, mrn=other.mrn, visit_number=other.number, places=second,
            patient_class=other.patient_class, attending=other.attending,
            admitted_at=other.admitted_at, discharged_at=other.carried_discharge,
        )  # fmt: skip
        if (other.mrn, at) in self._recorded:
            assert self.scenario.quirks.occurred, "without EVN-6 nobody is charted at another time"
            at = self._free_second(at, chart.mrn, other.mrn)
            chart = replace(chart, recorded_at=at, sent_at=self._sent(at), says_when=True)
            self._recorded.add((chart.mrn, at))
        self._recorded.add((other.mrn, at))
        self.charts[-1] = replace(chart, partner=partner)

    def correct(
        self, visit: Visit, trigger: str, wrong: Chart, places: Places | None = None, *,
        discharged_at: datetime | None = None, days: bool = False,
    ) -> datetime:  # fmt: skip
        """Chart the cancellation of `wrong` with its time (rule T2); when it is charted."""
        at = max(self.now, wrong.sent_at) + (
            self.minutes(*DAYS_LATE) if days else self.minutes(10, 60)
        )
        self.chart(
            visit, trigger, places, occurred_at=wrong.occurred_at, recorded_at=at,
            discharged_at=discharged_at,
        )  # fmt: skip
        return at

    def merge(self, retired: str, into: str) -> None:
        """Chart that `retired` and `into` are one patient, whose MRN is `into` (rule M1)."""
        at = self.now + self._delay(days=True)
        self.charts.append(
            self._charted(
                Chart(
                    trigger="A40", mrn=into, visit_number="", occurred_at=self.now,
                    recorded_at=at, sent_at=at, says_when=False, prior_mrn=retired,
                )
            )
        )  # fmt: skip
        self._merged[retired] = into

    def stranger(self) -> str:
        """An MRN for somebody whom nobody recognises."""
        self.strangers += 1
        return people.mrn(len(self.patients) + self.strangers - 1)

    # Chance and time

    def chance(self, share: float) -> bool:
        """Whether something happens that happens in this share of cases; never draws for 0."""
        return share > 0 and self.rng.random() < share

    def later(self, low: int, high: int) -> datetime:
        """Between `low` and `high` minutes from now, to the second."""
        return self.now + self.minutes(low, high)

    def minutes(self, low: int, high: int) -> timedelta:
        """Between `low` and `high` minutes, to the second."""
        return timedelta(seconds=self.rng.randrange(low * 60, high * 60))

    def _is_taken_up(self, names: Sequence[str]) -> bool:
        """Whether these MRNs have something else at this very second.

        That matters where a swap moved them, since a stay has a length, and where only EVN-2
        tells the time, since no two charts of an MRN have the same.
        """
        if any(self._swapped.get(mrn) == self.now for mrn in names):
            return True
        told = self.scenario.quirks.occurred
        return not told and any((mrn, self.now) in self._recorded for mrn in names)

    def _charted(self, chart: Chart) -> Chart:
        """With a second of its own, when it is sent, and whether it says when it happened."""
        at = self._free_second(chart.recorded_at, chart.mrn)
        self._recorded.add((chart.mrn, at))
        sent_at = self._sent(at)
        cancels = chart.trigger in CANCELS
        says = cancels or at != chart.occurred_at or not self.chance(SAYS_NO_TIME)
        if not self.scenario.quirks.occurred:
            timeless = cancels or chart.trigger in _TIMELESS
            assert timeless or at == chart.occurred_at, "EVN-2 is the time"
            says = False
        return replace(chart, recorded_at=at, sent_at=sent_at, says_when=says)

    def _free_second(self, at: datetime, *mrns: str) -> datetime:
        while any((mrn, at) in self._recorded for mrn in mrns):
            at += timedelta(seconds=1)
        return at

    def _sent(self, recorded_at: datetime) -> datetime:
        return recorded_at + timedelta(seconds=self.rng.randrange(1, 20))

    def _leave(self, visit: Visit, at: datetime | None) -> None:
        assert at is None or at > visit.since, "a stay has a length"
        self._watched.append((visit, "census", visit.place, visit.since, at))
        visit.place = ""

    def _delay(self, *, days: bool) -> timedelta:
        if not self.scenario.quirks.occurred:
            return timedelta()
        if days and self.chance(self.shares.days_late):
            return self.minutes(*DAYS_LATE)
        drawn = self.rng.random()
        if drawn < CHARTED_AT_ONCE:
            return timedelta()
        late = drawn >= 1 - CHARTED_LATE
        return self.minutes(60, 300) if late else self.minutes(1, 15)

    def _survivor(self, mrn: str) -> str:
        while mrn in self._merged:
            mrn = self._merged[mrn]
        return mrn
