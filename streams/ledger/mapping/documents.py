"""Documents (MDM): what was written of a patient, by whom, and how it stands."""

from collections.abc import Mapping, Sequence
from typing import Any

from streams.ledger.mapping import records
from streams.ledger.mapping.evidence import Numbered, Reading, Telling
from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX, Segment
from streams.ledger.mapping.triggers import TRIGGERS

TELLING = frozenset({"TXA", "OBX"})
_NAMES_NOTHING = "a document without a number: TXA-12, TXA-14 and TXA-15 are empty"
_NO_DOCUMENT = "no document: there is no TXA"
_NOT_KEPT = "a document, which its message alone keeps"
_TOO_LONG = "a document's text too long to keep beside its message"
_TEXT = frozenset({"TX", "FT", "ST"})
_CLOCKS: Mapping[str, tuple[int, ...]] = {
    "document.created": (6, 4), "document.addended": (6, 4), "document.replaced": (6, 4),
    "document.edited": (8,),
}  # fmt: skip  # of TXA: of a change of status none is its time


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """The one document of a patient group."""
    first = next((each for each in segments if each.name == "TXA"), None)
    if first is None:
        yield _NO_DOCUMENT
        return
    header, event_type = first.segment, TRIGGERS["MDM", reading.trigger].event_type
    document, above = reading.number(header, 12), reading.number(header, 13)
    placer, filler = reading.number(header, 14), reading.number(header, 15)
    number = document or filler or placer
    if number is None:
        yield _NAMES_NOTHING
        return
    content, left_out = _content(reading, segments)
    yield from left_out
    staff, called = records.people(reading, header, 9)
    more = [name for field in (5, 10, 11, 22) for name in records.people(reading, header, field)[1]]
    clocks = [(f"TXA-{at}", header.component(at)) for at in _CLOCKS.get(event_type, ())]
    yield records.draft(
        reading, event_type, ordinal=first.ordinal, role="txa", occurred=reading.occurred(clocks),
        stream=records.numbered("document", number),
        data={
            "document_type": records.plain(header.component(2)),
            "completion": records.plain(header.component(17)),
            "confidentiality": records.plain(header.component(18)),
            "availability": records.plain(header.component(19)),
            "staff_ids": [], "order_id": None, "parent_document_id": None,
        },
        clear={
            "number": records.numbers(
                document=document, parent=above, placer=placer, filler=filler
            ),
            "text": _text(reading, header, [*called, *more], content),
        },
        order=placer or filler, staff=staff,
        parent=records.numbered("document", above) if above else None,
    )  # fmt: skip


def _content(
    reading: Reading, segments: Sequence[Numbered]
) -> tuple[list[dict[str, Any]], list[str]]:
    """What it says as text, and why some of that isn't kept."""
    found: list[dict[str, Any]] = []
    left_out: dict[str, None] = {}
    characters = 0
    for each in segments:
        if each.name != "OBX":
            continue
        segment = each.segment
        if segment.component(2).upper() not in _TEXT:
            left_out[_NOT_KEPT] = None
            continue
        characters += segment.length(5)
        if characters > FIELD_CHARACTERS_MAX:
            return [], [*left_out, _TOO_LONG]
        text = reading.message.said(segment.field(5))
        if text:
            found.append({"name": records.words(reading, segment, 3), "text": text})
    return found, list(left_out)


def _text(
    reading: Reading, header: Segment, called: list[str], content: list[dict[str, Any]]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "kind": records.words(reading, header, 2),
        "title": reading.message.said(header.field(25)),
        "file": header.said(16),
        "people": list(dict.fromkeys(called)),
        "content": content,
    }
    return {name: said for name, said in found.items() if said}
