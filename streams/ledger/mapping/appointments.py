"""Appointments (SIU): what is planned for a patient, when, where and with whom."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from schemas.identity import Identifier
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import records, times
from streams.ledger.mapping.evidence import Numbered, Reading, Telling
from streams.ledger.mapping.message import Segment
from streams.ledger.mapping.place import place
from streams.ledger.mapping.times import Moment
from streams.ledger.mapping.triggers import APPOINTMENT_STATES, TRIGGERS

TELLING = frozenset({"SCH", "TQ1", "AIS", "AIG", "AIL", "AIP", "NTE"})
_NAMES_NOTHING = "an appointment without a number: SCH-1 and SCH-2 are empty"
_NO_SCHEDULE = "no appointment: there is no SCH"
_STARTS = {"AIS": 4, "AIL": 6, "AIP": 6}  # when a service, a place or a person begins
_UNITS: Mapping[str, int] = {
    **dict.fromkeys(("S", "SEC", "SECOND", "SECONDS"), 1),
    **dict.fromkeys(("", "M", "MIN", "MINUTE", "MINUTES"), 60),  # minutes are the default (SCH-10)
    **dict.fromkeys(("H", "HR", "HOUR", "HOURS"), 3_600),
    **dict.fromkeys(("D", "DAY", "DAYS"), 86_400),
}
_DIGITS_MAX = 5  # of a duration: 99,999 minutes are more than two months


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """The one appointment of a message."""
    first = next((each for each in segments if each.name == "SCH"), None)
    if first is None:
        yield _NO_SCHEDULE
        return
    schedule = first.segment
    placer, filler = reading.number(schedule, 1), reading.number(schedule, 2)
    number = filler or placer
    if number is None:
        yield _NAMES_NOTHING
        return
    starts, ends = _window(reading, schedule, segments)
    staff, called = _people(reading, schedule, segments)
    state = (schedule.said(25) or "").lower()
    services = [each.segment for each in segments if each.name == "AIS"]
    yield records.draft(
        reading, TRIGGERS["SIU", reading.trigger].event_type,
        ordinal=first.ordinal, role="sch", occurred=reading.occurred(()),
        stream=records.numbered("appointment", number),
        data={
            "status": state if state in APPOINTMENT_STATES else None,
            "reason_codes": records.codes(reading, schedule, 7),
            "type_codes": records.codes(reading, schedule, 8),
            "service_codes": _unique(records.codes(reading, each, 3) for each in services),
            "starts_at": starts.micros if starts else None,
            "starts_precision": starts.precision if starts else None,
            "ends_at": ends.micros if ends else None,
            "place": _place(reading, segments),
            "staff_ids": [],
        },
        clear={
            "number": records.numbers(placer=placer, filler=filler),
            "text": _text(reading, schedule, segments, services, called),
        },
        staff=staff,
    )  # fmt: skip


def _unique(found: Any) -> list[dict[str, str]]:  # noqa: ANN401  lists of codes
    """All codes, each once, in order."""
    every = [each for some in found for each in some]
    return [each for at, each in enumerate(every) if each not in every[:at]]


def _window(
    reading: Reading, schedule: Segment, segments: Sequence[Numbered]
) -> tuple[Moment | None, Moment | None]:
    """When it begins and ends, as far as it is said."""
    zone = reading.feed.zone
    parts = (schedule.repetitions(11) or [[]])[0]
    said = [(claims.part(parts, 4), claims.part(parts, 5))]
    said += [
        (each.segment.component(7), each.segment.component(8))
        for each in segments
        if each.name == "TQ1"
    ]
    said += [
        (each.segment.component(_STARTS[each.name]), "")
        for each in segments
        if each.name in _STARTS
    ]
    for begins, closes in said:
        starts = times.moment(begins, zone) if begins else None
        if starts is None:
            continue
        ends = times.moment(closes, zone) if closes else _lasting(schedule, starts)
        return starts, ends if ends and ends.at >= starts.at else None
    return None, None


def _lasting(schedule: Segment, starts: Moment) -> Moment | None:
    """The end by SCH-9 and SCH-10."""
    raw = schedule.component(9)
    unit = _UNITS.get(schedule.component(10).upper())
    if unit is None or not (raw.isascii() and raw.isdigit() and len(raw) <= _DIGITS_MAX):
        return None
    if starts.precision in times.COARSE:
        return None
    return Moment(starts.at + timedelta(seconds=int(raw) * unit), starts.precision, "")


def _place(reading: Reading, segments: Sequence[Numbered]) -> str | None:
    """AIL-3 of the first that names a place."""
    found = (
        place(reading.message, each.segment, 3) for each in segments if each.name == "AIL"
    )  # fmt: skip
    return next((each for each in found if each is not None), None)


def _people(
    reading: Reading, schedule: Segment, segments: Sequence[Numbered]
) -> tuple[list[Identifier], list[str]]:
    """Who takes part (AIP-3), by id and by name, and who asked for it or entered it, by name."""
    staff: dict[Identifier, None] = {}
    called: dict[str, None] = {}
    for each in segments:
        if each.name == "AIP":
            ids, names = records.people(reading, each.segment, 3)
            staff |= dict.fromkeys(ids)
            called |= dict.fromkeys(names)
    for field in (12, 16, 20):
        called |= dict.fromkeys(records.people(reading, schedule, field)[1])
    return list(staff), list(called)


def _text(
    reading: Reading,
    schedule: Segment,
    segments: Sequence[Numbered],
    services: Sequence[Segment],
    called: list[str],
) -> dict[str, Any]:
    """All that is text, by what it is."""
    reasons = [word for field in (6, 7, 8) for word in records.words(reading, schedule, field)]
    found = {
        "reasons": list(dict.fromkeys(reasons)),
        "status": records.words(reading, schedule, 25),
        "services": [word for each in services for word in records.words(reading, each, 3)],
        "notes": records.notes(reading, (each.segment for each in segments if each.name == "NTE")),
        "people": called,
    }
    return {name: said for name, said in found.items() if said}
