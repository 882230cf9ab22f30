"""OBX-5 as a value: numbers and codes in clear, every other text to be sealed."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from streams.ledger.mapping import codings, times
from streams.ledger.mapping.claim import part
from streams.ledger.mapping.codings import Coding
from streams.ledger.mapping.delimiters import NULL, REPETITIONS_MAX
from streams.ledger.mapping.message import (
    FIELD_CHARACTERS_MAX,
    Message,
    Segment,
)

_NUMBER = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})", re.ASCII)
# UCUM's longest in use have about twenty characters; what looks like text is no unit.
_UNIT = re.compile(r"[\w%/*.,^()\[\]{}'\"°+\-]{1,32}|[\w%/]{1,5} [\w%/]{1,5}")  # mm Hg
_COMPARATORS = frozenset({"<", "<=", ">", ">=", "="})
_NOT_KEPT = frozenset({"ED", "RP"})  # documents and references to them: the message keeps those
_CODED = frozenset({"CE", "CWE", "CNE", "CF", "ID", "IS"})
_TIMES = frozenset({"DT", "TS", "DTM"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """What was found: a number with unit and comparator, codes, or what is to be sealed.

    ``clear`` is a JSON value to seal, or None. ``left_out`` says why it is not there, without PHI.
    """

    number: float | None = None
    unit: str | None = None
    comparator: str | None = None
    codes: tuple[Coding, ...] = ()
    clear: Mapping[str, Any] | None = field(default=None, repr=False)
    left_out: str | None = None


NOTHING = Value()


def observed(message: Message, segment: Segment, zone: ZoneInfo) -> Value:
    """The value of an OBX, by its type (OBX-2); what isn't what its type says is text."""
    kind = segment.component(2).upper()
    if kind in _NOT_KEPT:
        return Value(left_out="a document, which its message alone keeps")
    if segment.length(5) > FIELD_CHARACTERS_MAX:
        return Value(left_out="a value too long to keep beside its message")
    raw = segment.field(5)
    if not raw or raw == NULL:
        return NOTHING
    unit = measured(message, segment, 6)
    found: Value | None = None
    if kind == "NM" or (kind == "ST" and unit):  # a text is a number only where a unit says so
        found = _numeric(message, raw, unit)
    elif kind == "SN":
        found = _structured(message, raw, unit)
    elif kind in _CODED:
        found = _coded(message, segment, raw)
    elif kind in _TIMES:
        found = _time(kind, raw, zone)
    return found or Value(unit=unit, clear={"type": kind, "text": _text(message, raw)})


def measured(message: Message, segment: Segment, number: int) -> str | None:
    """A unit's code, else its alternate's; None where it is none, or looks like text."""
    for component in (1, 4):
        said = message.said(segment.component(number, component))
        if said and _UNIT.fullmatch(said):
            return said
    return None


def number(text: str) -> float | None:
    """An NM: sign, digits, point (v2.8 2A.3.39); None if it is no number."""
    read = float(text) if _NUMBER.fullmatch(text) else None
    return read if read is None or math.isfinite(read) else None


def _numeric(message: Message, raw: str, unit: str | None) -> Value | None:
    read = number(message.resolve(raw).strip())
    return None if read is None else Value(number=read, unit=unit)


def _structured(message: Message, raw: str, unit: str | None) -> Value | None:
    """An SN of one number (v2.8 2A.3.72); a ratio, a range or ``2+`` is text."""
    parts = raw.split(message.delimiters.component)
    comparator = message.said(part(parts, 1)) or "="
    read = number(message.said(part(parts, 2)) or "")
    if read is None or comparator not in _COMPARATORS or part(parts, 3) or part(parts, 4):
        return None
    return Value(number=read, unit=unit, comparator=None if comparator == "=" else comparator)


def _coded(message: Message, segment: Segment, raw: str) -> Value | None:
    if raw.count(message.delimiters.repetition) >= REPETITIONS_MAX:
        return None
    found: dict[Coding, None] = {}
    for parts in segment.repetitions(5):
        found |= dict.fromkeys(codings.valued(message, parts))
    return Value(codes=tuple(found)) if found else None


def _time(kind: str, raw: str, zone: ZoneInfo) -> Value | None:
    """A date may be a birth's: it is sealed, read."""
    read = times.moment(raw, zone)
    if read is None:
        return None
    said = {"type": kind, "text": raw, "at": read.at.isoformat(), "precision": read.precision}
    return Value(clear=said)


def _text(message: Message, raw: str) -> str:
    """The field's text, a line for each repetition."""
    mark = message.delimiters.repetition
    return "\n".join(message.resolve(piece).strip() for piece in raw.split(mark))
