"""What is simulated: the seed, the wards, who comes, what happens how often, how it is told."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from schemas.feeds import UTC

MESSAGES_PER_PATIENT = 6  # fewer than measured (about 7), so that `sized` errs upwards
PATIENTS_PER_BED_DAY = 1.2  # a bed turns over about twice a day; the rest is slack
DELIMITERS = "|^~\\&"  # section 2.5.4: field, component, repetition, escape, subcomponent
_CODE = re.compile(r"[A-Za-z0-9]{1,20}")
_PLACE = re.compile(r"[A-Za-z0-9]{1,20}(\^[A-Za-z0-9]{1,20}){0,2}")
_MARKS = re.compile(r"[!-*,/:-@\[-`{-~]{5}")  # + and - stand in values, and . might
_BEDS_MAX = 99  # that two digits can number


class ScenarioRefused(ValueError):  # noqa: N818  says what happened
    """The scenario can't be simulated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ward:
    """A ward with `rooms` rooms of `beds` beds; in an `emergency` ward people are registered."""

    code: str
    rooms: int
    beds: int
    emergency: bool = False

    def __post_init__(self) -> None:
        if not _CODE.fullmatch(self.code):
            raise ScenarioRefused(f"a ward's code is 1 to 20 letters or digits: {self.code!r}")
        if self.rooms < 1 or self.beds < 1:
            raise ScenarioRefused(f"a ward has at least one bed: {self.code}")

    @property
    def places(self) -> tuple[str, ...]:
        """Every bed as PV1-3 writes it: `ward^room^bed`."""
        return self._places([f"{chr(ord('A') + n % 26)}{n // 26 or ''}" for n in range(self.beds)])

    @property
    def numbered(self) -> tuple[str, ...]:
        """The same beds in a feed that calls the beds of each room 01, 02, 03."""
        return self._places([f"{1 + n:02d}" for n in range(self.beds)])

    def _places(self, beds: Sequence[str]) -> tuple[str, ...]:
        rooms = (f"{1 + n // 99}{1 + n % 99:02d}" for n in range(self.rooms))
        return tuple(f"{self.code}^{room}^{bed}" for room in rooms for bed in beds)


WARDS = (
    Ward(code="ED", rooms=6, beds=4, emergency=True),
    Ward(code="MED1", rooms=8, beds=4),
    Ward(code="MED2", rooms=8, beds=4),
    Ward(code="SURG", rooms=8, beds=4),
    Ward(code="ORTHO", rooms=6, beds=4),
    Ward(code="CARD", rooms=6, beds=3),
    Ward(code="ICU", rooms=10, beds=1),
)


ELSEWHERE = ("XRAY^1", "XRAY^2", "ENDO", "DIALYSIS^3", "THEATRE^1", "THEATRE^2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """How often each further thing happens where it can, from 0 (never) to 1.

    With all of them 0 people are admitted, moved and discharged, and mistakes in that are
    taken back. `leaves` are A21 and A22, `temporary` moves and `transits` A09 and A10, `swaps`
    A17, `class_changes` A06 and A07, `plans` A05 and A14 to A16; some of each are taken back
    (A52, A53, A33, A32, A38, A27, A26, A25). `merges` of an MRN that somebody first came under
    are A40, visits of `wrong_patients` moved to the right one A45, `deletions` of mistaken
    admissions A23. `days_late` are charts and corrections that come one to four days later.
    """

    leaves: float = 0.0
    temporary: float = 0.0
    transits: float = 0.0
    swaps: float = 0.0
    class_changes: float = 0.0
    plans: float = 0.0
    merges: float = 0.0
    wrong_patients: float = 0.0
    deletions: float = 0.0
    days_late: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1:
                raise ScenarioRefused(f"a share is from 0 to 1: {field.name}")


PLAIN = Shares()
FULL = Shares(
    leaves=0.08, temporary=0.18, transits=0.08, swaps=0.08, class_changes=0.06, plans=0.15,
    merges=0.05, wrong_patients=0.03, deletions=0.2, days_late=0.02,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """How a feed's messages differ from what the standard would like.

    Without `occurred` EVN-6 is always empty, so EVN-2 is the time: then nothing is charted
    late, or nobody could know the truth. Without `prior` PV1-6 is empty. With `two_digits`
    beds are called 01, 02, 03. With `account` the visit's number is in PID-18 and not in
    PV1-19. `delimiters` are MSH-1 and MSH-2.
    """

    occurred: bool = True
    prior: bool = True
    two_digits: bool = False
    account: bool = False
    delimiters: str = DELIMITERS

    def __post_init__(self) -> None:
        distinct = len(set(self.delimiters)) == len(DELIMITERS)
        if not distinct or not _MARKS.fullmatch(self.delimiters):
            raise ScenarioRefused(f"delimiters are five different signs: {self.delimiters!r}")
        if not self.occurred and not self.prior:
            raise ScenarioRefused("a feed without EVN-6 needs PV1-6 to say what is cancelled")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A hospital and a seed; the same scenario always gives the same bytes.

    Times are written as local times of `zone` without an offset, except in the hour that a
    change of clocks repeats, or with `offsets` always. `patients` people arrive over `days`
    days; who finds no bed by the end stays away. Temporary moves go to places of `elsewhere`,
    which are in no ward and hold any number. Scenarios whose `authority` differs share no
    patient, so several can be several feeds.
    """

    seed: int = 1
    patients: int = 120
    wards: tuple[Ward, ...] = WARDS
    elsewhere: tuple[str, ...] = ELSEWHERE
    start: datetime = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    zone: ZoneInfo = UTC
    days: int = 1
    offsets: bool = False
    application: str = "WARDSIM"
    authority: str = "SIMHOSPITAL"
    shares: Shares = PLAIN
    quirks: Quirks = Quirks()

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise ScenarioRefused("the start has no time zone")
        if self.patients < 1 or self.days < 1:
            raise ScenarioRefused("a scenario has at least one patient and one day")
        codes = [ward.code for ward in self.wards]
        if len(set(codes)) < len(codes):
            raise ScenarioRefused(f"two wards have the same code: {sorted(codes)}")
        if all(ward.emergency for ward in self.wards):
            raise ScenarioRefused("a hospital has a ward besides the emergency department")
        for name in (self.application, self.authority):
            if not _CODE.fullmatch(name):
                raise ScenarioRefused(f"a name in MSH is 1 to 20 letters or digits: {name!r}")
        self._check_places(codes)

    def _check_places(self, codes: Sequence[str]) -> None:
        if self.quirks.two_digits and any(ward.beds > _BEDS_MAX for ward in self.wards):
            raise ScenarioRefused(f"two digits number at most so many beds a room: {_BEDS_MAX}")
        if len(set(self.elsewhere)) < 2:
            raise ScenarioRefused("a hospital has at least two places that are in no ward")
        for place in self.elsewhere:
            if not _PLACE.fullmatch(place) or place.partition("^")[0] in codes:
                raise ScenarioRefused(f"not a place besides the wards: {place!r}")

    @classmethod
    def busy(cls, **changes: Any) -> "Scenario":  # noqa: ANN401  as the class's own fields
        """A scenario in which everything happens that can; `changes` are the class's fields."""
        return cls(**{"shares": FULL, **changes})

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From `start` to when the last thing happens, in UTC; late charts are sent after it."""
        # In a zone with changes of clocks, Python's sums of times would be of wall clocks.
        start = self.start.astimezone(UTC)
        return start, start + timedelta(days=self.days)

    def places(self, ward: Ward) -> tuple[str, ...]:
        """Every bed of a ward as this feed writes it."""
        return ward.numbered if self.quirks.two_digits else ward.places


def sized(
    messages: int, *, seed: int = 1, zone: ZoneInfo = UTC, shares: Shares = PLAIN
) -> Scenario:
    """A scenario of the usual wards that gives at least `messages` messages."""
    patients = messages // MESSAGES_PER_PATIENT + 20
    return Scenario(seed=seed, patients=patients, days=days_for(patients), zone=zone, shares=shares)


def days_for(patients: int) -> int:
    """In how many days the usual wards have a bed for so many people."""
    beds = sum(len(ward.places) for ward in WARDS if not ward.emergency)
    return 1 + int(patients / (beds * PATIENTS_PER_BED_DAY))


def several(seed: int = 1, *, patients: int = 120, shares: Shares = FULL) -> tuple[Scenario, ...]:
    """Feeds of three hospitals, `patients` people each, every one with quirks of its own."""
    days = days_for(patients)
    return (
        Scenario.busy(
            seed=seed, patients=patients, days=days, shares=shares, application="WARDSIMA",
            authority="HOSPITALA", quirks=Quirks(occurred=False, two_digits=True),
        ),
        Scenario.busy(
            seed=seed, patients=patients, days=days, shares=shares, application="WARDSIMB",
            authority="HOSPITALB", zone=ZoneInfo("Europe/London"),
            start=datetime(2026, 3, 28, 6, 0, tzinfo=UTC), quirks=Quirks(prior=False),
        ),
        Scenario.busy(
            seed=seed, patients=patients, days=days, shares=shares, application="WARDSIMC",
            authority="HOSPITALC", zone=ZoneInfo("America/New_York"), offsets=True,
            quirks=Quirks(account=True, delimiters="#!@%*"),
        ),
    )  # fmt: skip


def seeded(*parts: int | str) -> random.Random:
    """A generator of its own for a purpose, so that drawing more here changes nothing there."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311  repeatable, not secret
