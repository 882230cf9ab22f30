"""FHIR's date, dateTime and instant as moments (R4, Datatypes 2.24.0.1; rule T22)."""

import re
from dataclasses import replace
from datetime import date, timedelta
from zoneinfo import ZoneInfo

from streams.ledger.mapping import times
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.fhir.resource import Resource, text
from streams.ledger.mapping.times import Moment

# Seconds are required by R4, yet left out by some; an hour alone is no time at all.
_TIME = re.compile(
    r"([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"
    r"(?:T([0-9]{2}):([0-9]{2})(?::([0-9]{2})(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?)?)?",
    re.ASCII,
)
_FRACTION_DIGITS = 9  # nanoseconds; we keep six


def moment(node: Resource, name: str, element: str, zone: ZoneInfo) -> Moment | None:
    """A time, as precise as it was sent; a date's moment is its start in the feed's zone.

    None where it isn't there. Raises `Unmappable` for text that is no time, and for a time of
    day without a zone, which could be anybody's (rule T22).
    """
    said = text(node, name, element)
    if said is None:
        return None
    match = _TIME.fullmatch(said)
    if match is None:
        raise Unmappable("structure", f"no time: {element}")
    *digits, fraction, offset = match.groups()
    if digits[3] and offset is None:
        raise Unmappable("structure", f"a time of day has no zone: {element}")
    plain = "".join(each or "" for each in digits)
    plain += (fraction or "")[: 1 + _FRACTION_DIGITS] + (offset or "")
    found = times.moment(plain, zone)
    if found is None:
        raise Unmappable("structure", f"no time: {element}")
    return replace(found, text=said)


def end(node: Resource, name: str, element: str, zone: ZoneInfo) -> Moment | None:
    """The end of a period: that of a date includes the date (R4, Period.end), so the next one."""
    found = moment(node, name, element, zone)
    if found is None or found.precision not in times.COARSE:
        return found
    year, month, day = (int(each) for each in f"{found.text}-01-01".split("-")[:3])
    if found.precision == "year":
        following = date(year + 1, 1, 1)
    elif found.precision == "month":
        following = date(year + month // 12, month % 12 + 1, 1)
    else:
        following = date(year, month, day) + timedelta(days=1)
    after = times.moment(f"{following:%Y%m%d}", zone)
    return None if after is None else replace(found, at=after.at)


def day(node: Resource, name: str, element: str) -> str | None:
    """A date as far as it is given, without a time of day; text that is none is left out."""
    said = text(node, name, element)
    return times.day(said[:10].replace("-", "")) if said else None
