"""Orders (ORM, OML, OMG, RDE, RDS): each ORC with what it orders, and when; never an act (V4)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from schemas.events import TYPES
from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import codings, controls, evidence, repeats, times
from streams.ledger.mapping.codings import Coding
from streams.ledger.mapping.evidence import Numbered, Order, Reading, Telling
from streams.ledger.mapping.facts import Draft
from streams.ledger.mapping.message import Segment
from streams.ledger.mapping.times import Moment

TELLING = frozenset({"ORC", "OBR", "RXO", "RXE", "RXD", "TQ1", "NTE"})
"""The segments of a patient group that are read."""
OCCURRENCES_MAX = 1_000_000  # more is no number of a schedule
AS_NEEDED = "as_needed"  # the priority of what nobody waits for
NOTES_MAX = 50  # lines of notes that are kept with an event; the message keeps all
_NAMES_NOTHING = "an order without a number: ORC-2, ORC-3, OBR-2 and OBR-3 are empty"
_SAYS_NOTHING = "an order of nothing: OBR-4, RXO-1, RXE-2 and RXD-2 are empty"
_DETAILS = {"OBR": 4, "RXO": 1, "RXE": 2, "RXD": 2}  # what is ordered, by segment
_TIMING = {"ORC": 7, "OBR": 27, "RXE": 1}  # the TQ field of a segment
_TQ = {
    "interval": 2, "lasts": 3, "starts": 4, "ends": 5, "priority": 6, "instructions": 8,
    "total": 12,
}  # fmt: skip
_TQ1 = {
    "interval": 3, "lasts": 6, "starts": 7, "ends": 8, "priority": 9, "instructions": 11,
    "total": 14,
}  # fmt: skip
_PLAIN = re.compile(r"[A-Z0-9]{1,3}")
_TIMING_CRITICAL = re.compile(r"T[SMHDWL]?[0-9]+")  # within so many seconds, minutes ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """An ORC with the details that follow it, or details without one."""

    control: Numbered | None = None
    details: list[Numbered] = field(default_factory=list)
    timings: list[Segment] = field(default_factory=list)
    notes: list[Segment] = field(default_factory=list)

    def detail(self, name: str) -> Segment | None:
        """The first detail of that name."""
        return next((each.segment for each in self.details if each.name == name), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When it is to be done, as a TQ or TQ1 says; texts as sent, several with commas between."""

    interval: str = ""
    clocks: str = ""
    lasts: str = ""
    lasts_unit: str = ""
    starts: str = ""
    ends: str = ""
    priority: str = ""
    instructions: str = ""
    total: str = ""


def teller(kind: str) -> evidence.Teller:
    """What tells of orders of a kind (see ``controls.MESSAGES``)."""

    def tell(reading: Reading, segments: tuple[Numbered, ...]) -> Telling:
        found: dict[tuple[object, ...], Draft] = {}
        for told in _told(reading, kind, list(requests(segments))):
            if isinstance(told, str):
                yield told
                continue
            assert told.order is not None, "an order has a number"
            name = (told.event_type, told.order.authority, told.order.value)
            found[name] = _with(found[name], told) if name in found else told
        yield from found.values()

    return tell


def requests(segments: tuple[Numbered, ...]) -> Iterator[Request]:
    """What stands together: an ORC holds until the next one, and so does an OBR."""
    now = Request()
    for each in segments:
        if each.name == "ORC":
            yield now
            now = Request(control=each)
        elif each.name == "OBR" and any(one.name == "OBR" for one in now.details):
            yield now
            now = Request(control=now.control, details=[each], timings=[*now.timings])
        elif each.name == "TQ1":
            now.timings.append(each.segment)
        elif each.name == "NTE":
            now.notes.append(each.segment)
        else:
            now.details.append(each)
    yield now


def _told(reading: Reading, kind: str, said: list[Request]) -> Iterator[Draft | str]:
    numbers = [_order(reading, each) for each in said]
    for place, (request, order) in enumerate(zip(said, numbers, strict=True)):
        if request.control is None and not request.details:
            continue
        control = request.control.segment if request.control else None
        made = controls.made(order.control, control.component(5).upper() if control else "")
        if made.name is None:
            yield made.reason
        elif order.number is None:
            yield _NAMES_NOTHING
        else:
            name = made.name
            if name == controls.REPLACED:
                placed = any(_replaces(each, order) for each in numbers[place + 1 :])
                name = "cancelled" if placed else "changed"
            if name in {"placed", "changed"} and not order.word:
                yield _SAYS_NOTHING
            yield _draft(reading, kind, request, order, name)


def _replaces(other: Order, order: Order) -> bool:
    """Whether another order takes the place of one that is replaced."""
    made = controls.made(other.control, "").name
    return made == "placed" and other.number is not None and other.number != order.number


def _order(reading: Reading, request: Request) -> Order:
    control, detail = request.control, request.detail("OBR")
    word, codes = _what(reading, request)
    return evidence.order(reading, control.segment if control else None, detail, (word, codes))


def _what(reading: Reading, request: Request) -> tuple[str, tuple[Coding, ...]]:
    """What is ordered: of a dispense what was asked for, if that is there."""
    said = [
        evidence.named(reading, each.segment, _DETAILS[each.name])
        for each in request.details
        if each.name != "RXD"
    ]
    if not any(word for word, _ in said):
        said = [evidence.named(reading, each.segment, 2) for each in request.details]
    word = next((word for word, _ in said if word), "")
    return word, tuple(dict.fromkeys(code for _, codes in said for code in codes))


def _draft(reading: Reading, kind: str, request: Request, order: Order, name: str) -> Draft:
    """One event of an order."""
    control = request.control.segment if request.control else None
    first = request.control or request.details[0]
    declared = TYPES[f"order.{name}"]
    timing, simple = _timing(reading, request)
    sent = reading.sent
    occurred = reading.occurred(
        [(f"ORC-{number}", control.component(number)) for number in (15, 9)] if control else []
    )
    provider, called = _provider(reading, request)
    data: dict[str, Any] = {
        "trigger": reading.trigger,
        "reported_at": sent.micros if sent else None,
        "kind": kind,
        "control": _plain(order.control),
        "status": _plain(control.component(5).upper() if control else ""),
        "codes": [each.data for each in order.codes],
        **_when(timing, reading.feed, simple=simple),
        "admission_id": None, "filler_order_id": None, "provider_id": None,
    }  # fmt: skip
    numbers = {"placer": order.placer, "filler": order.filler}
    clear: dict[str, Any] = {
        "number": {
            part: {"value": one.value, "authority": one.authority}
            for part, one in numbers.items()
            if one is not None
        }
    }
    text = _text(reading, request, timing, called)
    if text:
        clear["text"] = text
    return Draft(
        event_type=declared.name, stream_type=declared.stream_type,
        occurred=occurred[0], occurred_field=occurred[1],
        data=data, clear=clear, order=order.number,
        filler=order.filler if order.placer else None, provider=provider,
        # Details that share an ORC are told apart by their own ordinals.
        ordinal=(request.details or [first])[0].ordinal,
        role=(request.details or [first])[0].name.lower(),
    )  # fmt: skip


def _with(draft: Draft, other: Draft) -> Draft:
    """An order of several details: the first one's event, with the codes of all."""
    codes = [*draft.data["codes"]]
    codes += [each for each in other.data["codes"] if each not in codes]
    return replace(draft, data={**draft.data, "codes": codes})


def _timing(reading: Reading, request: Request) -> tuple[Timing, bool]:
    """The first that says when, and whether it is the only one; OBR-6 and OBR-5 stand in."""
    message, found = reading.message, Timing()
    marks = message.delimiters
    simple = len(request.timings) < 2
    if request.timings:
        first = request.timings[0]
        simple = simple and len(first.repetitions(_TQ1["interval"])) < 2  # QAM~QPM: both are meant
        found = replace(
            Timing(**{name: first.component(at) for name, at in _TQ1.items()}),
            lasts_unit=first.component(6, 2).split(marks.subcomponent, 1)[0],
            clocks=",".join(parts[0] for parts in first.repetitions(4)),
        )
    else:
        segments = [each for each in (request.control, *request.details) if each]
        for each in (one for one in segments if one.name in _TIMING):
            parts = each.segment.repetitions(_TIMING[each.name])
            if parts and any(parts[0]):
                said = {name: claims.part(parts[0], at) for name, at in _TQ.items()}
                found, simple = Timing(**said), len(parts) < 2
                break
    interval, *clocks = found.interval.split(marks.subcomponent, 2)
    found = replace(found, interval=interval, clocks=clocks[0] if clocks else found.clocks)
    detail = request.detail("OBR")
    if detail and not found.starts and not found.ends:
        found = replace(found, starts=detail.component(6))
    if detail and not found.priority:
        found = replace(found, priority=detail.component(5))
    return found, simple


def _when(timing: Timing, feed: Feed, *, simple: bool) -> dict[str, Any]:
    """When it is to be done, and how often; ``due`` lists the times of a pattern of days."""
    pattern = repeats.pattern(timing.interval)
    lasting = repeats.lasting(timing.lasts, timing.lasts_unit)
    priority = _priority(timing.priority)
    starts, until, window = _window(timing, lasting, feed)
    count = _count(timing.total) or lasting.times
    at = repeats.clocks(timing.clocks)
    due = (
        repeats.due(pattern, starts, until=until, count=count, at=at, zone=feed.zone)
        if simple and starts
        else []
    )
    return {
        **window,
        "priority": priority,
        "occurrences": count,
        "interval_s": pattern.interval_s if pattern else None,
        "simple": simple,
        "repeats": pattern.code if pattern else None,
        "as_needed": priority == AS_NEEDED or (pattern is not None and pattern.as_needed),
        "due": due,
    }


def _window(
    timing: Timing, lasting: repeats.Lasting, feed: Feed
) -> tuple[Moment | None, datetime | None, dict[str, Any]]:
    """Its start, the end that is said of it, and when it may be done: half open.

    The precisions are those of what was sent; a duration ends as its start begins.
    """
    starts = times.moment(timing.starts, feed.zone) if timing.starts else None
    ends = times.moment(timing.ends, feed.zone) if timing.ends else None
    until = times.end(ends, feed.zone) if ends else None
    if ends is None and starts:
        until = ends = lasting.end(starts, feed.zone)
    closes = until
    if starts and starts.precision in times.COARSE and closes is None:
        closes = times.end(starts, feed.zone)
    if starts and closes and closes.at <= starts.at:
        ends = until = closes = None
    window = {
        "starts_at": starts.micros if starts else None,
        "starts_precision": starts.precision if starts else None,
        "ends_at": closes.micros if closes else None,
        "ends_precision": ends.precision if ends else None,
    }
    return starts, until.at if until else None, window


def _count(raw: str) -> int | None:
    if not (raw.isascii() and raw.isdigit() and len(raw) <= len(str(OCCURRENCES_MAX))):
        return None
    return int(raw) if 0 < int(raw) <= OCCURRENCES_MAX else None


def _priority(raw: str) -> str | None:
    said = raw.upper()
    critical = "timing_critical" if _TIMING_CRITICAL.fullmatch(said) else None
    return controls.PRIORITY.get(said, critical)


def _plain(raw: str) -> str | None:
    """A code of three letters or digits; more may be text."""
    return raw if _PLAIN.fullmatch(raw) else None


def _provider(reading: Reading, request: Request) -> tuple[Identifier | None, str]:
    """Who ordered it, by ORC-12, else OBR-16 (XCN): the id with its authority, and the name."""
    message = reading.message
    control = request.control.segment if request.control else None
    for segment, number in ((control, 12), (request.detail("OBR"), 16)):
        for parts in segment.repetitions(number)[:1] if segment else ():
            value = message.said(parts[0])
            pieces = (message.said(claims.part(parts, at)) for at in (3, 2))
            called = " ".join(piece for piece in pieces if piece)
            authority = claims.authority(message, claims.part(parts, 9))
            named = value and Identifier(
                value=value, authority=authority or reading.feed.authority
            )  # fmt: skip
            if named or called:
                return named or None, called
    return None, ""


def _text(reading: Reading, request: Request, timing: Timing, called: str) -> dict[str, Any]:
    """All that is text, by what it is; to be sealed."""
    message = reading.message
    words: dict[str, None] = {}
    for each in request.details:
        for parts in each.segment.repetitions(_DETAILS[each.name])[:1]:
            said = (message.said(claims.part(parts, at)) for at in (2, 5))
            words |= dict.fromkeys(word for word in said if word)
            if not codings.named(message, parts) and message.said(parts[0]):
                words[message.said(parts[0]) or ""] = None
    notes = [message.said(each.field(3)) for each in request.notes[:NOTES_MAX]]
    found = {
        "what": list(words),
        "repeat": message.said(timing.interval),
        "instructions": message.said(timing.instructions),
        "notes": [note for note in notes if note],
        "provider": called,
    }
    return {name: said for name, said in found.items() if said}
