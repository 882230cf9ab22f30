"""What the fields of commands are held to, whichever way a command came."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.clock import micros
from streams.ledger.commands.aggregate import Rejection

LINE_CHARS_MAX = 200  # a name, a title: what fits on one line
TEXT_CHARS_MAX = 4_000  # a description, a summary: two printed pages
EMAIL_CHARS_MAX = 254  # RFC 5321, 4.5.3.1.3, less the brackets
TIME_MIN = micros(datetime(1900, 1, 1, tzinfo=UTC))
TIME_MAX = micros(datetime(2200, 1, 1, tzinfo=UTC))
_EMAIL = re.compile(r"[^\s@]+@[^\s@]+\.[^\s@]+")
_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}")


def line(name: str, text: str | None) -> Rejection | None:
    """Refuse a text that is empty, or longer than a line; None where none is given."""
    return _text(name, text, LINE_CHARS_MAX)


def prose(name: str, text: str | None) -> Rejection | None:
    """Refuse a text that is empty, or longer than two pages; None where none is given."""
    return _text(name, text, TEXT_CHARS_MAX)


def email(text: str | None) -> Rejection | None:
    """Refuse what can't be an address; whether anybody reads there is another question."""
    if text is None or (len(text) <= EMAIL_CHARS_MAX and _EMAIL.fullmatch(text)):
        return None
    return Rejection(rule="email_invalid", said="an address has one @ and a domain with a dot")


def code(text: str | None) -> Rejection | None:
    """Refuse a code that isn't one: it stands in clear, so it must not hold a sentence."""
    if text is None or _CODE.fullmatch(text):
        return None
    said = "a code has 1 to 50 letters, digits or any of ._- and begins with the former"
    return Rejection(rule="code_invalid", said=said)


def rising(first: str, start: int | None, second: str, end: int | None) -> Rejection | None:
    """Refuse an end that isn't after its start; None where one of them isn't given."""
    if start is None or end is None or start < end:
        return None
    return Rejection(rule="times_order", said=f"{second} is after {first}")


def known_time(name: str, at: int | None) -> Rejection | None:
    """Refuse an instant so far away that spans added to it leave the calendar; None is none."""
    if at is None or TIME_MIN <= at < TIME_MAX:
        return None
    return Rejection(rule="time_invalid", said=f"from the year 1900 and before 2200 is: {name}")


def first(*refusals: Rejection | None) -> Rejection | None:
    """The first refusal there is."""
    return next((refusal for refusal in refusals if refusal is not None), None)


def given(data: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The fields that a change names: those with a value, and None for the ``cleared`` ones."""
    return {
        name: data.get(name)
        for name in names
        if data.get(name) is not None or name in data["cleared"]
    }


def cleared(data: Mapping[str, Any], clearable: Iterable[str]) -> Rejection | None:
    """Refuse to clear what may not be empty, or what has a new value in the same change."""
    may = frozenset(clearable)
    for name in data["cleared"]:
        if name not in may:
            said = f"what may be cleared: {', '.join(sorted(may)) or 'nothing'}"
            return Rejection(rule="not_clearable", said=said)
        if data.get(name) is not None:
            said = f"one change both sets and clears: {name}"
            return Rejection(rule="not_clearable", said=said)
    return None


def _text(name: str, text: str | None, most: int) -> Rejection | None:
    if text is None or (text.strip() and len(text) <= most):
        return None
    said = f"1 to {most} characters that aren't all blank has: {name}"
    return Rejection(rule="text_invalid", said=said)
