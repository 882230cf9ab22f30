"""ORU^R01 as evidence: each OBX, under its order, in the state that it says (rules V2, V6, V8)."""

from collections.abc import Iterable

from streams.ledger.mapping import evidence, states, values
from streams.ledger.mapping.codings import Coding
from streams.ledger.mapping.evidence import NO_ORDER, Numbered, Order, Reading, Telling
from streams.ledger.mapping.message import Segment

_NAMES_NOTHING = "an observation that names nothing: OBX-3 is empty"


def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
    """The results of one patient group, and the orders that are no more."""
    control: Numbered | None = None  # an ORC that no OBR or OBX has followed yet
    request: Segment | None = None
    told = NO_ORDER
    for each in segments:
        if each.name in {"ORC", "OBR"} or (each.name == "OBX" and control):
            request = each.segment if each.name == "OBR" else None
            told = _order(reading, control, request)
            if control:
                yield from evidence.cancelled(reading, told, control)
            control = each if each.name == "ORC" else None
        if each.name == "OBX":
            yield from observation(
                reading, each, told, panel=told.codes,
                report=request.component(25).upper() if request else "",
                said=_times(request, 7, 8),
                when=[request.component(7) if request else "", each.segment.component(14)],
            )  # fmt: skip
    if control:
        yield from evidence.cancelled(reading, _order(reading, control, None), control)


def observation(
    reading: Reading,
    each: Numbered,
    told: Order,
    *,
    report: str = "",
    panel: tuple[Coding, ...] = (),
    said: Iterable[tuple[str, str]],
    when: Iterable[str],
) -> Telling:
    """One OBX under an order.

    ``report`` is OBR-25; ``said`` are the times that may stand in for OBX-14, with their fields;
    ``when`` those which tell it from another of the same name, without an order's number.
    """
    segment = each.segment
    word, codes = evidence.named(reading, segment, 3)
    if not word:
        yield _NAMES_NOTHING
        return
    value = values.observed(reading.message, segment, reading.feed.zone)
    if value.left_out:
        yield value.left_out
    what = (told.word, word, segment.component(4))
    yield evidence.draft(
        reading, kind="observation", ordinal=each.ordinal, told=told, codes=codes,
        panel=panel, value=value,
        state=states.result(segment.component(11).upper(), report, told.control),
        stream=evidence.stream(reading, "observation", told, what, when),
        occurred=reading.occurred([("OBX-14", segment.component(14)), *said]),
    )  # fmt: skip


def _order(reading: Reading, control: Numbered | None, request: Segment | None) -> Order:
    what = evidence.named(reading, request, 4) if request else ("", ())
    return evidence.order(reading, control.segment if control else None, request, what)


def _times(request: Segment | None, *fields: int) -> list[tuple[str, str]]:
    return [(f"OBR-{number}", request.component(number)) for number in fields] if request else []
