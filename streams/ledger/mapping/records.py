"""What appointments, documents, dispenses, problems and accounts share: one event of a thing."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from schemas.events import TYPES
from schemas.identity import Identifier
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import codings
from streams.ledger.mapping.delimiters import REPETITIONS_MAX
from streams.ledger.mapping.evidence import Reading, Timed
from streams.ledger.mapping.facts import Draft, StreamName
from streams.ledger.mapping.message import Segment

NOTES_MAX = 50  # lines of notes that are kept with an event; the message keeps all
_PLAIN = re.compile(r"[A-Z0-9]{1,3}")


def draft(
    reading: Reading,
    event_type: str,
    *,
    ordinal: int,
    role: str,
    stream: StreamName,
    occurred: Timed,
    data: Mapping[str, Any],
    clear: Mapping[str, Any],
    order: Identifier | None = None,
    staff: Iterable[Identifier] = (),
    parent: StreamName | None = None,
) -> Draft:
    """An event of a thing; of ``clear`` what says nothing is left out."""
    declared, sent = TYPES[event_type], reading.sent
    return Draft(
        event_type=declared.name, stream_type=declared.stream_type,
        occurred=occurred[0], occurred_field=occurred[1], ordinal=ordinal, role=role,
        data={
            "trigger": reading.trigger,
            "reported_at": sent.micros if sent else None,
            "admission_id": None,
            **data,
        },
        clear={name: said for name, said in clear.items() if said},
        stream=stream, order=order, staff=tuple(staff), parent=parent,
    )  # fmt: skip


def codes(reading: Reading, segment: Segment | None, field: int) -> list[dict[str, str]]:
    """The codes of a CE or CWE, of all its repetitions, that a system vouches for."""
    found: dict[codings.Coding, None] = {}
    for parts in segment.repetitions(field) if segment else ():
        found |= dict.fromkeys(codings.valued(reading.message, parts))
    return [each.data for each in found]


def words(reading: Reading, segment: Segment | None, field: int) -> list[str]:
    """What a CE or CWE says in words, codes that no system vouches for among them; to be sealed."""
    found: dict[str, None] = {}
    for parts in segment.repetitions(field) if segment else ():
        coded = codings.valued(reading.message, parts)
        for at in (2, 5, 9) if coded else (1, 2, 5, 9):
            said = reading.message.said(claims.part(parts, at))
            found |= {said: None} if said else {}
    return list(found)


def people(
    reading: Reading, segment: Segment | None, field: int
) -> tuple[list[Identifier], list[str]]:
    """Who an XCN names, all its repetitions: numbers with their authorities, and names."""
    message = reading.message
    numbers: dict[Identifier, None] = {}
    names: dict[str, None] = {}
    for parts in segment.repetitions(field) if segment else ():
        value = message.said(parts[0])
        pieces = (message.said(claims.part(parts, at)) for at in (3, 2))
        called = " ".join(piece for piece in pieces if piece)
        if value:
            authority = claims.authority(message, claims.part(parts, 9))
            named = Identifier(value=value, authority=authority or reading.feed.authority)
            numbers[named] = None
        if called:
            names[called] = None
    return list(numbers)[:REPETITIONS_MAX], list(names)[:REPETITIONS_MAX]


def numbered(kind: str, number: Identifier, *, of_patient: bool = False) -> StreamName:
    """The stream of a thing that has a number of its own."""
    return StreamName(parts=(kind, "number", number.authority, number.value), of_patient=of_patient)


def numbers(**said: Identifier | None) -> dict[str, dict[str, str]]:
    """Numbers by what they are, as they are sealed."""
    return {
        name: {"value": one.value, "authority": one.authority}
        for name, one in said.items()
        if one is not None
    }


def plain(raw: str) -> str | None:
    """A code of three letters or digits, in capitals; more may be text."""
    said = raw.upper()
    return said if _PLAIN.fullmatch(said) else None


def notes(reading: Reading, segments: Iterable[Segment]) -> list[str]:
    """NTE-3 of each, as far as it says something."""
    said = (reading.message.said(each.field(3)) for each in segments)
    return [each for each in said if each][:NOTES_MAX]
