"""Repeat patterns of orders (HL7 table 0335): which times of which days are due.

A pattern that names no times of day leaves them to the house, whose rounds we don't know: each
time may be any time of its day, and is due, for what is nearest, at one of as many points as
spread evenly over it. Days are those of the feed's zone, and begin with the order's start.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from streams.ledger.mapping import times
from streams.ledger.mapping.times import Moment

DUE_MAX = 100  # times of one order that are listed; of more none is, and it is due once
TIMES_MAX = 24  # of one day that are named; more are no rounds of a ward
DAYS_MAX = 9_999  # of an interval or a duration: its number has at most four digits

DAILY: Mapping[str, tuple[int, int, str]] = {
    "QD": (1, 1, "once a day"),
    "QDAY": (1, 1, "once a day"),
    "DAILY": (1, 1, "once a day"),
    "QAM": (1, 1, "once a day, in the morning"),
    "QPM": (1, 1, "once a day, in the evening"),
    "QHS": (1, 1, "once a day, before sleep"),
    "QOD": (1, 2, "once every other day"),
    "BID": (2, 1, "twice a day"),
    "TID": (3, 1, "three times a day"),
    "QID": (4, 1, "four times a day"),
    "QSHIFT": (3, 1, "once in each of three shifts"),
}
"""Patterns by the day: how often on one, how many days from one to the next, in words."""
SINGLE: Mapping[str, str] = {
    "ONCE": "one time only",
    "C": "without a pause, from start to end",
}
"""Patterns that repeat nothing."""
AS_NEEDED = "PRN"

_X_TIMES = re.compile(r"([1-9]|1[0-9]|2[0-4])ID")
_INTERVAL = re.compile(r"Q([1-9][0-9]{0,3})([SMHDW])")
_LASTS = re.compile(r"([SMHDWX])([1-9][0-9]{0,3})")
_CLOCK = re.compile(r"([01][0-9]|2[0-3])([0-5][0-9])(?:[0-5][0-9])?")
_SECONDS = {"S": 1, "M": 60, "H": 3600, "D": 86_400, "W": 604_800}
_UNITS = {"S": "S", "MIN": "M", "H": "H", "HR": "H", "D": "D", "WK": "W", "W": "W"}
"""Of a duration (TQ1-6): UCUM's, and letters of table 0335; its M may be a month."""
_DAY_S = _SECONDS["D"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What a repeat pattern says; without ``per_day`` it is an interval, or nothing repeats.

    ``code`` is the pattern as it stands in tables, and never other text.
    """

    code: str
    interval_s: int | None = None
    per_day: int = 0
    every_days: int = 1
    as_needed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Lasting:
    """How long an order goes on: a span (by the calendar, where it is days), or so many times."""

    days: int = 0
    seconds: int = 0
    times: int | None = None

    def end(self, start: Moment, zone: ZoneInfo) -> Moment | None:
        """When it ends that begins then; None where no span is said, or no calendar has it."""
        if not self.days and not self.seconds:
            return None
        try:
            at = _later(_local(start, zone), self.days, zone) + timedelta(seconds=self.seconds)
        except OverflowError:
            return None
        return Moment(at, start.precision, "")


def pattern(raw: str) -> Pattern | None:
    """The pattern that a text is; None if it is none of ours."""
    said = raw.strip().upper()
    if said in SINGLE:
        return Pattern(code=said)
    if said.startswith(AS_NEEDED):
        often = said.removeprefix(AS_NEEDED)
        needed = not often or _repeating(often) is not None
        return Pattern(code=said, as_needed=True) if needed else None
    return _repeating(said)


def _repeating(said: str) -> Pattern | None:
    interval = _INTERVAL.fullmatch(said)
    if interval:
        return Pattern(code=said, interval_s=int(interval[1]) * _SECONDS[interval[2]])
    if said in DAILY:
        per_day, every_days, _ = DAILY[said]
        return Pattern(code=said, per_day=per_day, every_days=every_days)
    often_said = _X_TIMES.fullmatch(said)
    return Pattern(code=said, per_day=int(often_said[1])) if often_said else None


def lasting(raw: str, unit: str = "") -> Lasting:
    """TQ-3 (``D3``, ``X6``), or TQ1-6's number and unit; empty where it is neither."""
    said, number = raw.strip().upper(), unit.strip().upper()
    if number:
        said = f"{_UNITS.get(number, '')}{said}"
    match = _LASTS.fullmatch(said)
    if match is None:
        return Lasting()
    kind, count = match[1], int(match[2])
    if kind == "X":
        return Lasting(times=count)
    if kind in "DW":
        return Lasting(days=count * _SECONDS[kind] // _DAY_S)
    return Lasting(seconds=count * _SECONDS[kind])


def clocks(raw: str) -> tuple[time, ...]:
    """Times of day (``0600,1800``), rising; none where one isn't a time, or there are many."""
    said = [_CLOCK.fullmatch(text.strip()) for text in raw.split(",")]
    found = sorted({time(int(each[1]), int(each[2])) for each in said if each})
    return tuple(found) if all(said) and len(found) <= TIMES_MAX else ()


def due(
    said: Pattern | None,
    start: Moment,
    *,
    until: datetime | None,
    count: int | None,
    at: Sequence[time],
    zone: ZoneInfo,
) -> list[dict[str, Any]]:
    """The times that an order is due, rising, each with the day that it may be done on.

    ``at`` are the times of day that it names itself: then only these are said, and no day. Empty
    where the pattern isn't one of days: an interval from a time stays one. Without an end or a
    count they are those of the first day. More than :data:`DUE_MAX` are none.
    """
    daily = _by_the_day(said, start, at)
    if daily is None:
        return []
    first_day = None if until is not None else len(at) or daily.per_day
    most = count if count is not None else first_day
    listed = _clocked(daily, start, at, zone) if at else _spread(daily, start, until, zone)
    found: list[dict[str, Any]] = []
    for each in islice(listed, min(most or DUE_MAX, DUE_MAX) + 1):
        if until is not None and each["due_at"] >= _micros(until):
            return found
        if most is not None and len(found) == most:
            return found
        found.append(each)
    return found if len(found) <= DUE_MAX else []


def _by_the_day(said: Pattern | None, start: Moment, at: Sequence[time]) -> Pattern | None:
    """The pattern as one of days, where it is one, or an interval that can be read as one."""
    named = said is not None and (said.per_day or said.interval_s) and not said.as_needed
    if said is None or not named or start.precision in ("year", "month"):
        return None
    if said.per_day:
        return said
    interval = said.interval_s or 0
    if not at and start.precision not in times.COARSE:
        return None
    if interval >= _DAY_S:
        days, rest = divmod(interval, _DAY_S)
        one = Pattern(code=said.code, per_day=len(at) or 1, every_days=days)
        return one if not rest and days <= DAYS_MAX else None
    often, rest = divmod(_DAY_S, interval)
    fits = not rest and often <= TIMES_MAX and len(at) in (0, often)
    return Pattern(code=said.code, per_day=often) if fits else None


def _spread(
    daily: Pattern, start: Moment, until: datetime | None, zone: ZoneInfo
) -> Iterator[dict[str, Any]]:
    """As many as each day has, evenly over it; each may be done on all of that day."""
    begins = _local(start, zone)
    for number in range(DUE_MAX + 1):
        try:
            first = _later(begins, number * daily.every_days, zone)
            last = _later(begins, number * daily.every_days + 1, zone)
        except OverflowError:
            return
        opens, closes = _micros(first), _micros(last)
        ends = closes if until is None else min(closes, _micros(until))
        for each in range(daily.per_day):
            at = opens + (closes - opens) * each // daily.per_day
            yield {"due_at": at, "starts_at": opens, "ends_at": ends}


def _clocked(
    daily: Pattern, start: Moment, at: Sequence[time], zone: ZoneInfo
) -> Iterator[dict[str, Any]]:
    """The times of day that are named, from the start on."""
    begins = _local(start, zone)
    for number in range(DUE_MAX + 2):
        try:
            on: date = (begins + timedelta(days=number * daily.every_days)).date()
        except OverflowError:
            return
        # Where clocks go forward, a time that never was is later than the next one.
        for moment in sorted(datetime.combine(on, each, zone).astimezone(UTC) for each in at):
            if moment >= start.at:
                yield {"due_at": _micros(moment), "starts_at": None, "ends_at": None}


def _local(start: Moment, zone: ZoneInfo) -> datetime:
    return start.at.astimezone(zone).replace(tzinfo=None)


def _later(begins: datetime, days: int, zone: ZoneInfo) -> datetime:
    """The same time of day so many days later, where the clocks may have changed."""
    # A sum is the first of a time that comes twice: what begins at the second one stays there.
    later = begins + timedelta(days=days) if days else begins
    return later.replace(tzinfo=zone).astimezone(UTC)


def _micros(at: datetime) -> int:
    return Moment(at, "fraction", "").micros
