"""PID as the demographics that are sealed: what was said, and nothing else.

A field that is empty is left out (it is unchanged, rule T21); HL7's null is an explicit None.
"""

from collections.abc import Iterable
from typing import Any

from schemas.feeds import Feed
from streams.ledger.mapping import times
from streams.ledger.mapping.claim import Number, part
from streams.ledger.mapping.delimiters import NULL
from streams.ledger.mapping.message import Message, Segment

_NAME = ("family", "given", "middle", "suffix", "prefix", None, "type")
_ADDRESS = ("street", "other", "city", "state", "postal_code", "country", "type")
_PHONE = ("number", "use", "equipment", "email")
_PHONE_UNFORMATTED = 12  # XTN-12, where XTN-1 (withdrawn in v2.7) is empty
_PHONE_PARTS = (5, 6, 7)  # country, area and local number


def demographics(
    message: Message, patient: Segment, feed: Feed, named: Iterable[Number]
) -> dict[str, Any]:
    """JSON values by name: identifiers, names, birth_date, sex, address, phones, deceased.

    ``named`` is PID-3 as `numbers` reads it: whole, with what names accounts and visits too.
    """
    said: dict[str, Any] = {
        "identifiers": [
            {"value": value, "authority": source, "type": kind} for value, source, kind in named
        ]
        or None,
        "names": _repeated(message, patient.field(5), _NAME),
        "birth_date": _birth_date(patient),
        "sex": patient.said(8),
        "addresses": _repeated(message, patient.field(11), _ADDRESS),
        "phones": _phones(message, patient.field(13), patient.field(14)),
        "deceased_at": _deceased_at(patient, feed),
        "deceased": patient.said(30),
    }  # each: None if nothing is said, empty for HL7's null
    return {name: value or None for name, value in said.items() if value is not None}


def _repeated(
    message: Message, field: str, names: Iterable[str | None]
) -> list[dict[str, str | None]] | str | None:
    """A list with one mapping per repetition, of the components that say something."""
    if not field:
        return None
    if field == NULL:
        return ""
    marks, found = message.delimiters, []
    plain = NULL not in field and marks.escape not in field and marks.subcomponent not in field
    for parts in marks.repetitions(field):
        said: dict[str, str | None] = {}
        for name, raw in zip(names, parts, strict=False):
            if raw and name:
                value = raw if plain else _spaced(message, raw)
                if value is not None:
                    said[name] = value or None
        if said:
            found.append(said)
    return found or None


def _phones(message: Message, home: str, work: str) -> list[dict[str, str]] | str | None:
    """PID-13 (home, PRN) and PID-14 (work, WPN) in one list."""
    marks = message.delimiters
    found: list[dict[str, str]] = []
    for use, field in (("PRN", home), ("WPN", work)):
        for parts in marks.repetitions(field):
            said = {"use": use}
            for name, raw in zip(_PHONE, parts, strict=False):
                value = marks.said(raw) if raw else None
                if value:
                    said[name] = value
            if "number" not in said:
                unformatted = marks.said(part(parts, _PHONE_UNFORMATTED))
                pieces = [marks.said(part(parts, place)) for place in _PHONE_PARTS]
                whole = unformatted or " ".join(piece for piece in pieces if piece)
                said |= {"number": whole} if whole else {}
            if "number" in said or "email" in said:
                found.append(said)
    return found or ("" if NULL in (home, work) else None)


def _birth_date(patient: Segment) -> str | None:
    """PID-7 as a date; text that is no date is left out, the message itself keeps it."""
    raw = patient.component(7)
    return "" if raw == NULL else times.day(raw)


def _deceased_at(patient: Segment, feed: Feed) -> dict[str, str] | str | None:
    """PID-29 as instant, precision and the sender's text."""
    raw = patient.component(29)
    if not raw or raw == NULL:
        return "" if raw else None
    read = times.moment(raw, feed.zone)
    if read is None:
        return None
    return {"at": read.at.isoformat(), "precision": read.precision, "text": read.text}


def _spaced(message: Message, raw: str) -> str | None:
    """A component's text, its sub-components (a surname's prefix, a street's number) spaced."""
    mark = message.delimiters.subcomponent
    if mark not in raw:
        return message.said(raw)
    said = [message.said(piece) for piece in raw.split(mark)]
    return " ".join(value for value in said if value) or None
