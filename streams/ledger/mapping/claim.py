"""Whom and which visit a message names: PID-3, PV1-19 or PID-18, and who attends."""

from functools import lru_cache
from typing import TypeAlias

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping.delimiters import NULL, Delimiters
from streams.ledger.mapping.facts import Claim, Nobody
from streams.ledger.mapping.message import Message, Segment

PATIENT_FIELD = 3  # PID-3, who the patient is
# HL7 table 0203: numbers of accounts and visits, which PID-3 holds in some feeds.
ACCOUNT = "AN"
STAFF_KEPT = 1024  # a hospital's doctors are told of again and again; at most 2 MB when full
KEPT_CHARACTERS_MAX = 256  # one doctor has some 50 to 100; what is longer is read each time
NOT_PERSONS = frozenset({ACCOUNT, "ANC", "AND", "ANT", "VN"})


Number: TypeAlias = tuple[str, str, str]
"""A CX as sent: its value, its assigning authority (4), its type (5)."""


def claim(message: Message, patient: Segment, feed: Feed, named: list[Number]) -> Claim:
    """The claim of a message, with PID-3 as `numbers` reads it; raises `Nobody` if it is empty."""
    identifiers = _persons(named, feed)
    if not identifiers:
        raise Nobody("no patient: PID-3 holds no identifier of a person")
    return Claim(identifiers=identifiers, visit=_visit(message, patient, feed))


def persons(message: Message, segment: Segment, field: int, feed: Feed) -> tuple[Identifier, ...]:
    """A CX field's identifiers of persons: the feed's preferred types first, then in order."""
    return _persons(numbers(message, segment, field), feed)


def _persons(said: list[Number], feed: Feed) -> tuple[Identifier, ...]:
    """Of numbers those of persons, each once, in the order of `persons`."""
    own = feed.authority  # where none is said
    found = [(value, of or own, kind) for value, of, kind in said if kind not in NOT_PERSONS]
    if len(found) > 1:
        rank = _rank(feed.identifier_types)
        found = sorted(dict.fromkeys(found), key=lambda one: rank.get(one[2], len(rank)))
    return tuple([Identifier(value=value, authority=of, type=kind) for value, of, kind in found])


@lru_cache(maxsize=64)
def _rank(types: tuple[str, ...]) -> dict[str, int]:
    """Which place each preferred type has; few lists of them are ever configured."""
    return {kind: number for number, kind in enumerate(dict.fromkeys(types))}


def number(message: Message, segment: Segment, field: int, feed: Feed) -> Identifier | None:
    """The first repetition of a CX field that holds a value."""
    said = numbers(message, segment, field)
    return _identifier(said[0], said[0][2], feed) if said else None


def account(message: Message, segment: Segment, field: int, feed: Feed) -> Identifier | None:
    """An account number as it stands in for a visit number: of type ``AN``."""
    said = numbers(message, segment, field)
    return _identifier(said[0], ACCOUNT, feed) if said else None


def attending(message: Message, feed: Feed) -> Identifier | None:
    """PV1-7's first repetition with an id (XCN.1) and its authority (XCN.9)."""
    visit = message.segment("PV1")
    said = visit.field(7) if visit else ""
    if not said:
        return None
    read = _staff if len(said) <= KEPT_CHARACTERS_MAX else _staff.__wrapped__
    return read(said, message.delimiters, feed.authority)


@lru_cache(maxsize=STAFF_KEPT)
def _staff(field: str, marks: Delimiters, own: str) -> Identifier | None:
    """Of an XCN field."""
    for parts in marks.repetitions(field):
        value = marks.said(parts[0])
        if value:
            return Identifier(value=value, authority=_authority(marks, part(parts, 9)) or own)
    return None


def numbers(message: Message, segment: Segment, field: int) -> list[Number]:
    """A CX field's repetitions that hold a value."""
    raw = segment.field(field)
    if not raw:
        return []
    marks, found = message.delimiters, []
    plain = marks.escape not in raw and marks.subcomponent not in raw and NULL not in raw
    for parts in marks.repetitions(raw):
        value = parts[0] if plain else marks.said(parts[0])
        if value:
            given = len(parts)
            source, kind = parts[3] if given > 3 else "", parts[4] if given > 4 else ""
            if not plain:
                source, kind = _authority(marks, source), marks.said(kind) or ""
            found.append((value, source, kind))
    return found


def authority(message: Message, raw: str) -> str:
    """An assigning authority (HD): its namespace, else its universal id, else empty."""
    return _authority(message.delimiters, raw)


def _authority(marks: Delimiters, raw: str) -> str:
    if marks.subcomponent not in raw:
        return marks.said(raw) or ""
    for piece in raw.split(marks.subcomponent, 2)[:2]:
        value = marks.said(piece.strip())
        if value:
            return value
    return ""


def part(parts: list[str], number: int) -> str:
    """A component by its number, from 1; empty beyond the last."""
    return parts[number - 1] if number <= len(parts) else ""


def _identifier(said: Number, kind: str, feed: Feed) -> Identifier:
    """A number of that type, with the feed's own authority where none is said."""
    return Identifier(value=said[0], authority=said[1] or feed.authority, type=kind)


def _visit(message: Message, patient: Segment, feed: Feed) -> Identifier | None:
    """PV1-19, else the account number PID-18, which some feeds use as one (rule T25)."""
    visit = message.segment("PV1")
    found = number(message, visit, 19, feed) if visit else None
    return found or account(message, patient, 18, feed)
