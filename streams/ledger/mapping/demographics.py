"""PID as the demographics that are sealed: what was said, and nothing else.

A field that is empty is left out (it is unchanged, rule T21); HL7's null is an explicit None.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from schemas.feeds import Feed
from streams.ledger.mapping import times
from streams.ledger.mapping.claim import numbers, part
from streams.ledger.mapping.message import NULL, Message, Segment

_NAME = ("family", "given", "middle", "suffix", "prefix", None, "type")
_ADDRESS = ("street", "other", "city", "state", "postal_code", "country", "type")
_PHONE = ("number", "use", "equipment", "email")
_PHONE_UNFORMATTED = 12  # XTN-12, where XTN-1 (withdrawn in v2.7) is empty
_PHONE_PARTS = (5, 6, 7)  # country, area and local number


def demographics(message: Message, patient: Segment, feed: Feed) -> dict[str, Any]:
    """JSON values by name: identifiers, names, birth_date, sex, address, phones, deceased."""
    found: dict[str, Any] = {}
    for name, said in (
        ("identifiers", _identifiers(message, patient)),
        ("names", _repeated(message, patient, 5, _NAME)),
        ("birth_date", _birth_date(patient)),
        ("sex", _plain(patient, 8)),
        ("addresses", _repeated(message, patient, 11, _ADDRESS)),
        ("phones", _phones(message, patient)),
        ("deceased_at", _deceased_at(patient, feed)),
        ("deceased", _plain(patient, 30)),
    ):
        if said is not None:
            found[name] = said[0]
    return found


_Said = tuple[Any] | None
"""Nothing said, or what was said: a value or None, in a tuple of one."""


def _identifiers(message: Message, patient: Segment) -> _Said:
    """PID-3 whole, with the identifiers that name accounts and visits too."""
    found = [
        {"value": value, "authority": source, "type": kind}
        for value, source, kind in numbers(message, patient, 3)
    ]
    return (found,) if found else None


def _repeated(
    message: Message, patient: Segment, number: int, names: Iterable[str | None]
) -> _Said:
    """A list with one mapping per repetition, of the components that say something."""
    field = patient.field(number)
    if not field:
        return None
    if field == NULL:
        return (None,)
    marks, found = message.delimiters, []
    plain = NULL not in field and marks.escape not in field and marks.subcomponent not in field
    for parts in patient.repetitions(number):
        said: dict[str, str | None] = {}
        for name, raw in zip(names, parts, strict=False):
            if raw and name:
                value = raw if plain else _spaced(message, raw)
                if value is not None:
                    said[name] = value or None
        if said:
            found.append(said)
    return (found,) if found else None


def _phones(message: Message, patient: Segment) -> _Said:
    """PID-13 (home, PRN) and PID-14 (work, WPN) in one list."""
    fields = ((13, "PRN", patient.field(13)), (14, "WPN", patient.field(14)))
    found: list[Mapping[str, str | None]] = []
    for number, use, field in fields:
        for parts in patient.repetitions(number) if field else ():
            said: dict[str, str | None] = {}
            for name, raw in zip(_PHONE, parts, strict=False):
                value = message.said(raw) if raw else None
                if value:
                    said[name] = value
            if "number" not in said:
                unformatted = message.said(part(parts, _PHONE_UNFORMATTED))
                pieces = [message.said(part(parts, place)) for place in _PHONE_PARTS]
                whole = unformatted or " ".join(piece for piece in pieces if piece)
                said |= {"number": whole} if whole else {}
            if "number" in said or "email" in said:
                found.append({"use": use, **said})
    if found:
        return (found,)
    return (None,) if any(field == NULL for *_, field in fields) else None


def _birth_date(patient: Segment) -> _Said:
    """PID-7 as a date; text that is no date is left out, the message itself keeps it."""
    raw = patient.component(7)
    if raw == NULL:
        return (None,)
    read = times.day(raw)
    return (read,) if read else None


def _deceased_at(patient: Segment, feed: Feed) -> _Said:
    """PID-29 as instant, precision and the sender's text."""
    raw = patient.component(29)
    if not raw:
        return None
    if raw == NULL:
        return (None,)
    read = times.moment(raw, feed.zone)
    if read is None:
        return None
    return ({"at": read.at.isoformat(), "precision": read.precision, "text": read.text},)


def _plain(patient: Segment, number: int) -> _Said:
    """One component's text."""
    if not patient.field(number):
        return None
    value = patient.said(number)
    return None if value is None else (value or None,)


def _spaced(message: Message, raw: str) -> str | None:
    """A component's text, its sub-components (a surname's prefix, a street's number) spaced."""
    mark = message.delimiters.subcomponent
    if mark not in raw:
        return message.said(raw)
    said = [message.said(piece) for piece in raw.split(mark)]
    return " ".join(value for value in said if value) or None
