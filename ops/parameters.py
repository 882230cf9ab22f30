"""Parameters of questions over HTTP: how each is read, and what is said of one that can't be."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sinks import tenancy
from sinks.questions import ANSWER_MAX

WARD_CHARACTERS_MAX = 200  # of a point of care; HL7 allows 20, feeds write more
PAGE_ROWS, PAGE_ROWS_MAX = 100, 1_000
PARTITION_MAX, SEQ_MAX = 2**15 - 1, 2**63 - 1
Given = Mapping[str, Any]  # a question's parameters by name, read; those not given aren't in it
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
# A plus that was not written as %2B arrives as a blank.
_BLANK_PLUS = re.compile(r"(T.*) (\d\d:?\d\d)$")
_POSITION = re.compile(r"([0-9]{1,5}):([0-9]{1,19})")


class Misasked(Exception):  # noqa: N818  named for what is wrong
    """The question can't be read; neither line nor hint repeats anything of it."""

    def __init__(self, line: str, hint: str) -> None:
        super().__init__(line)
        self.hint = hint


class NotFound(Exception):  # noqa: N818  named for what is wrong
    """The tenant has no such thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What a parameter may be: how it is read, its JSON schema, and what to write instead."""

    read: Callable[[str], Any]  # raises ValueError
    schema: Mapping[str, Any]
    hint: str


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the ledger: an output partition and a number in it."""

    partition: int
    seq: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.seq}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter of a question, in the path or the query."""

    name: str
    kind: Kind
    about: str
    place: str = "query"
    default: Any = None


def _id(text: str) -> UUID:
    if not _UUID.fullmatch(text):
        raise ValueError
    return UUID(text)


def _instant(text: str) -> datetime:
    at = datetime.fromisoformat(_BLANK_PLUS.sub(r"\1+\2", text))
    if at.tzinfo is None:
        raise ValueError
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError from None


def _ward(text: str) -> str:
    if not text.strip() or len(text) > WARD_CHARACTERS_MAX or not text.isprintable():
        raise ValueError
    return text


def _position(text: str) -> Position:
    found = _POSITION.fullmatch(text)
    if not found:
        raise ValueError
    partition, seq = map(int, found.groups())
    if partition > PARTITION_MAX or seq > SEQ_MAX:
        raise ValueError
    return Position(partition, seq)


def rows(most: int) -> Kind:
    """A number of rows, from 1 to ``most``."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= most:
            raise ValueError
        return int(text)

    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return Kind(read=read, schema=schema, hint=f"a whole number from 1 to {most}")


def one_of(*choices: str) -> Kind:
    """One of these words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError
        return text

    schema = {"type": "string", "enum": list(choices)}
    return Kind(read=read, schema=schema, hint=f"one of: {', '.join(choices)}")


ID = Kind(
    read=_id,
    schema={"type": "string", "format": "uuid"},
    hint="ids are UUIDs; a visit number or MRN never stands in a URL",
)
INSTANT = Kind(
    read=_instant,
    schema={"type": "string", "format": "date-time"},
    hint="ISO 8601 with its zone, such as 2026-03-02T10:00:00Z",
)
WARD = Kind(
    read=_ward,
    schema={"type": "string", "minLength": 1, "maxLength": WARD_CHARACTERS_MAX},
    hint=f"a point of care as the feed writes it, at most {WARD_CHARACTERS_MAX} characters",
)
LIMIT = rows(ANSWER_MAX)
ZONE = Kind(
    read=tenancy.zone,
    schema={"type": "string"},
    hint="a zone of the IANA database, such as Europe/London",
)
POSITION = Kind(
    read=_position,
    schema={"type": "string", "pattern": "^[0-9]{1,5}:[0-9]{1,19}$"},
    hint="a partition and a number in it, as Wardtrail-Position says: 3:1041",
)


def yes() -> Kind:
    """True or false."""

    def read(text: str) -> bool:
        if text not in ("true", "false"):
            raise ValueError
        return text == "true"

    return Kind(read=read, schema={"type": "boolean"}, hint="true or false")


def page() -> Parameter:
    """How many rows a page has."""
    return Parameter(
        name="limit", kind=rows(PAGE_ROWS_MAX), default=PAGE_ROWS, about="The most rows of a page."
    )


MIN_POSITION = Parameter(
    name="min_position", kind=POSITION,
    about="Answer only when this Wardtrail-Position is folded; waits for it up to 2 seconds.",
)  # fmt: skip
