"""What is simulated: the seed, the wards, how many people come, from when, for how long."""

import random
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from schemas.feeds import UTC

MESSAGES_PER_PATIENT = 6  # fewer than measured (about 7), so that `sized` errs upwards
PATIENTS_PER_BED_DAY = 1.2  # a bed turns over about twice a day; the rest is slack
_CODE = re.compile(r"[A-Za-z0-9]{1,20}")


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
        return tuple(
            f"{self.code}^{room}{number:02d}^{chr(ord('A') + bed % 26)}{bed // 26 or ''}"
            for room, number in ((1 + n // 99, 1 + n % 99) for n in range(self.rooms))
            for bed in range(self.beds)
        )


WARDS = (
    Ward(code="ED", rooms=6, beds=4, emergency=True),
    Ward(code="MED1", rooms=8, beds=4),
    Ward(code="MED2", rooms=8, beds=4),
    Ward(code="SURG", rooms=8, beds=4),
    Ward(code="ORTHO", rooms=6, beds=4),
    Ward(code="CARD", rooms=6, beds=3),
    Ward(code="ICU", rooms=10, beds=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A hospital and a seed; the same scenario always gives the same bytes.

    Times are written as local times of `zone` without an offset, except in the hour that a
    change of clocks repeats, or with `offsets` always. `patients` people arrive over `days`
    days; who finds no bed by the end stays away.
    """

    seed: int = 1
    patients: int = 120
    wards: tuple[Ward, ...] = WARDS
    start: datetime = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
    zone: ZoneInfo = UTC
    days: int = 1
    offsets: bool = False
    application: str = "WARDSIM"
    authority: str = "SIMHOSPITAL"

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

    @property
    def span(self) -> tuple[datetime, datetime]:
        """From `start` to when the last thing happens, in UTC; late charts are sent after it."""
        # In a zone with changes of clocks, Python's sums of times would be of wall clocks.
        start = self.start.astimezone(UTC)
        return start, start + timedelta(days=self.days)


def sized(messages: int, *, seed: int = 1, zone: ZoneInfo = UTC) -> Scenario:
    """A scenario of the usual wards that gives at least `messages` messages."""
    patients = messages // MESSAGES_PER_PATIENT + 20
    beds = sum(len(ward.places) for ward in WARDS if not ward.emergency)
    days = 1 + int(patients / (beds * PATIENTS_PER_BED_DAY))
    return Scenario(seed=seed, patients=patients, days=days, zone=zone)


def seeded(*parts: int | str) -> random.Random:
    """A generator of its own for a purpose, so that drawing more here changes nothing there."""
    return random.Random("/".join(map(str, parts)))  # noqa: S311  repeatable, not secret
