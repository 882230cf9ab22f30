"""How HL7's times (TS, DTM) become moments on the one time line (rule T22).

A time without an offset is in the feed's zone. Of a local time that comes twice (clocks go
back) the first is taken; one that never was (clocks go forward) is shifted by the jump: 01:30
in the spring gap of London is 02:30 summer time. Precision stays: ``20240229`` is a day, whose
moment is its local start.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

Precision = Literal["year", "month", "day", "hour", "minute", "second", "fraction"]

# A person born before the first or an event after the last is a typing error.
YEAR_MIN, YEAR_MAX = 1850, 2200
# Real offsets lie between -12:00 and +14:00.
OFFSET_MINUTES_MIN, OFFSET_MINUTES_MAX = -12 * 60, 14 * 60
TEXT_CHARACTERS_MAX = 48  # 14 digits, a long fraction and an offset; longer is no time
MOMENTS_KEPT = 4096  # a message says the same time two to four times; some 1 MB when full

COARSE: frozenset[Precision] = frozenset(("year", "month", "day"))
"""These precisions say no hour."""

_TIME = re.compile(r"([0-9]{4,14})(?:\.([0-9]*))?\s*(Z|[+-][0-9]{2}:?[0-9]{2})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LOCAL_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_BY_DIGITS: dict[int, Precision] = {
    4: "year", 6: "month", 8: "day", 10: "hour", 12: "minute", 14: "second",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Moment:
    """A time as a feed gave it: ``at`` in UTC, how precise it is, the sender's text."""

    at: datetime
    precision: Precision
    text: str

    @property
    def micros(self) -> int:
        """Microseconds since 1970 in UTC, as events carry them."""
        return (self.at - _EPOCH) // _MICROSECOND


@lru_cache(maxsize=MOMENTS_KEPT)
def moment(text: str, zone: ZoneInfo) -> Moment | None:
    """Read a TS's first component, or return None if it is no time.

    An odd number of digits is read as far as it goes in pairs, as is an hour, minute or second
    out of range; a month or day out of range, an absurd offset or other text make it no time.
    """
    if len(text) > TEXT_CHARACTERS_MAX:
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    digits, fraction, offset = match.groups()
    read = _local(digits, fraction)
    if read is None:
        return None
    local, precision = read
    own = zone if offset is None else _offset(offset)
    if own is None:
        return None
    shift = own.utcoffset(local)
    assert shift is not None, "a zone knows every local time"
    return Moment(_EPOCH + (local - _LOCAL_EPOCH - shift), precision, text)  # as astimezone, faster


def within(moment: Moment, coarse: Moment, zone: ZoneInfo) -> bool:
    """Whether a moment lies in the year, month or day that another one names.

    A day is one of the other's offset, else of the zone: of 23 or 25 hours as clocks change.
    """
    match = _TIME.fullmatch(coarse.text)
    offset = _offset(match.group(3)) if match and match.group(3) else None
    begins, asked = (each.at.astimezone(offset or zone).date() for each in (coarse, moment))
    same = {"year": 1, "month": 2, "day": 3}[coarse.precision]
    return begins.timetuple()[:same] == asked.timetuple()[:same]


def end(moment: Moment, zone: ZoneInfo) -> Moment:
    """The moment itself, or where the year, month or day ends that it names."""
    if moment.precision not in COARSE:
        return moment
    match = _TIME.fullmatch(moment.text)
    offset = _offset(match.group(3)) if match and match.group(3) else None
    begins = moment.at.astimezone(offset or zone).replace(tzinfo=None)
    if moment.precision == "day":
        ends = begins + timedelta(days=1)
    elif moment.precision == "month":
        ends = (begins + timedelta(days=32)).replace(day=1)  # the next month has begun by then
    else:
        ends = begins.replace(year=begins.year + 1)
    return Moment(ends.replace(tzinfo=offset or zone).astimezone(UTC), moment.precision, "")


def first(said: Iterable[tuple[str, str]], zone: ZoneInfo) -> tuple[Moment, str] | None:
    """The first of named texts that is a time, read, with its name; None if none is.

    One that says no more than the day is not midnight (rule T22): a further one that holds a
    time of that day says when.
    """
    coarse: tuple[Moment, str] | None = None
    for name, raw in said:
        read = moment(raw, zone) if raw else None
        if read is None:
            continue
        if read.precision in COARSE:
            coarse = coarse or (read, name)
        elif coarse is None or within(read, coarse[0], zone):
            return read, name
    return coarse


@lru_cache(maxsize=MOMENTS_KEPT)
def day(text: str) -> str | None:
    """A birth date as ``YYYY-MM-DD``, ``YYYY-MM`` or ``YYYY``, as far as it is given.

    A time after it and its zone are left out: a birth date is that date in every zone.
    """
    match = _TIME.fullmatch(text) if len(text) <= TEXT_CHARACTERS_MAX else None
    read = match and _local(match.group(1)[:8], None)
    if not read:
        return None
    local, precision = read
    length = {"year": 4, "month": 7}.get(precision, 10)
    return local.date().isoformat()[:length]


def _local(digits: str, fraction: str | None) -> tuple[datetime, Precision] | None:
    """The local time and its precision, read as far as it is valid; None if no date."""
    used = len(digits) & ~1
    if used < 8 or fraction or digits[8:10] >= "24":
        return _as_far(digits, used, fraction)
    try:
        local = datetime.fromisoformat(f"{digits[:8]}T{digits[8:used] or '00'}")
    except ValueError:
        return _as_far(digits, used, fraction)
    return (local, _BY_DIGITS[used]) if YEAR_MIN <= local.year <= YEAR_MAX else None


def _as_far(digits: str, used: int, fraction: str | None) -> tuple[datetime, Precision] | None:
    """The same of what ISO 8601 doesn't say so: without a day, with a fraction, out of range."""
    year = int(digits[:4])
    month = int(digits[4:6]) if used >= 6 else 1
    of_month = int(digits[6:8]) if used >= 8 else 1
    clock = [0, 0, 0, 0]
    for place, limit in enumerate((24, 60, 60)):
        end = 10 + 2 * place
        if used < end:
            break
        clock[place] = int(digits[end - 2 : end])
        if clock[place] >= limit:
            clock[place] = 0
            used = end - 2
            break
    precision = _BY_DIGITS[used]
    if used == 14 and fraction:
        clock[3] = int(fraction[:6].ljust(6, "0"))
        precision = "fraction"
    if not YEAR_MIN <= year <= YEAR_MAX:
        return None
    try:
        hour, minute, second, micros = clock
        return datetime(year, month, of_month, hour, minute, second, micros), precision
    except ValueError:
        return None


def _offset(text: str) -> timezone | None:
    """``Z``, ``+0100`` or ``+01:00`` as a zone; None if no place on Earth has it."""
    if text == "Z":
        return UTC
    hours, minutes = int(text[1:3]), int(text[-2:])
    total = (hours * 60 + minutes) * (-1 if text[0] == "-" else 1)
    if minutes > 59 or not OFFSET_MINUTES_MIN <= total <= OFFSET_MINUTES_MAX:
        return None
    return timezone(timedelta(minutes=total))
