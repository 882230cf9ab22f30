"""Whom and which visit a message names: PID-3, PV1-19 or PID-18, and who attends."""

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping.facts import Claim, Nobody
from streams.ledger.mapping.message import Message, Segment

# HL7 table 0203: numbers of accounts and visits, which PID-3 holds in some feeds.
ACCOUNT = "AN"
NOT_PERSONS = frozenset({ACCOUNT, "ANC", "AND", "ANT", "VN"})


def claim(message: Message, patient: Segment, feed: Feed) -> Claim:
    """The claim of a message; raises `Nobody` without an identifier."""
    identifiers = persons(message, patient, 3, feed)
    if not identifiers:
        raise Nobody("no patient: PID-3 holds no identifier of a person")
    return Claim(identifiers=identifiers, visit=_visit(message, patient, feed))


def persons(message: Message, segment: Segment, field: int, feed: Feed) -> tuple[Identifier, ...]:
    """A CX field's identifiers of persons: the feed's preferred types first, then in order."""
    found = [identifier(message, parts, feed) for parts in segment.repetitions(field)]
    if len(found) == 1:
        [only] = found
        return (only,) if only and only.type not in NOT_PERSONS else ()
    named = dict.fromkeys(one for one in found if one and one.type not in NOT_PERSONS)
    types = feed.identifier_types
    rank = {kind: number for number, kind in enumerate(types)}
    return tuple(sorted(named, key=lambda one: rank.get(one.type, len(types))))


def number(message: Message, segment: Segment, field: int, feed: Feed) -> Identifier | None:
    """The first repetition of a CX field that holds a value."""
    for parts in segment.repetitions(field):
        found = identifier(message, parts, feed)
        if found:
            return found
    return None


def account(message: Message, segment: Segment, field: int, feed: Feed) -> Identifier | None:
    """An account number as it stands in for a visit number: of type ``AN``."""
    found = number(message, segment, field, feed)
    return found and Identifier(value=found.value, authority=found.authority, type=ACCOUNT)


def attending(message: Message, feed: Feed) -> Identifier | None:
    """PV1-7's first repetition with an id (XCN.1) and its authority (XCN.9)."""
    visit = message.segment("PV1")
    for parts in visit.repetitions(7) if visit else ():
        value = message.said(parts[0])
        if value:
            source = authority(message, part(parts, 9)) or feed.authority
            return Identifier(value=value, authority=source)
    return None


def identifier(message: Message, parts: list[str], feed: Feed) -> Identifier | None:
    """A CX: value (1), assigning authority (4) or the feed's own, type (5); None if empty."""
    value = message.said(parts[0])
    if not value:
        return None
    given = len(parts)
    source = authority(message, parts[3]) if given > 3 else ""
    kind = message.said(parts[4]) if given > 4 else None
    return Identifier(value=value, authority=source or feed.authority, type=kind or "")


def authority(message: Message, raw: str) -> str:
    """An assigning authority (HD): its namespace, else its universal id, else empty."""
    if message.delimiters.subcomponent not in raw:
        return message.said(raw) or ""
    for piece in raw.split(message.delimiters.subcomponent, 2)[:2]:
        value = message.said(piece.strip())
        if value:
            return value
    return ""


def part(parts: list[str], number: int) -> str:
    """A component by its number, from 1; empty beyond the last."""
    return parts[number - 1] if number <= len(parts) else ""


def _visit(message: Message, patient: Segment, feed: Feed) -> Identifier | None:
    """PV1-19, else the account number PID-18, which some feeds use as one (rule T25)."""
    visit = message.segment("PV1")
    found = number(message, visit, 19, feed) if visit else None
    return found or account(message, patient, 18, feed)
