"""What results and administrations share: patient groups, orders, clocks, names of streams.

A stream of evidence is named so that corrections and deletions reach what they correct
(rules V2, V5). Its name is the first of: the filler's order number, the placer's, the patient
and the clinical time, the patient and the message; with what was ordered and found under it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias

from schemas.events import TYPES
from schemas.feeds import Feed
from schemas.identity import Identifier, normal
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import codings, participations, states, times, zsegments
from streams.ledger.mapping.codings import Coding
from streams.ledger.mapping.demographics import demographics
from streams.ledger.mapping.facts import Draft, Nobody, Part, StreamName, Unmappable
from streams.ledger.mapping.message import Message, Segment
from streams.ledger.mapping.states import State
from streams.ledger.mapping.table import RECEIVED
from streams.ledger.mapping.times import Moment
from streams.ledger.mapping.values import NOTHING, Value

SEGMENTS_MAX = 5_000  # that may each become an event: more in one message is no message of a feed
_EVIDENCE = TYPES["evidence.recorded"]
TELLING = frozenset({"ORC", "OBR", "OBX", "RXA", "RXR"})
"""The segments that tell of evidence."""
_NAMES_NOTHING = "a cancelled order without a number"
_NOTHING_SAID = "no evidence: nothing observed, administered, ordered or cancelled"

Timed: TypeAlias = tuple[Moment, str]
"""A moment, and the field that gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A message as it is read: its trigger and its clocks. Its times are MSH-7's if no others."""

    message: Message
    header: Segment
    feed: Feed
    trigger: str
    received_at: datetime

    @property
    def sent(self) -> Moment | None:
        """MSH-7."""
        return times.moment(self.header.component(7), self.feed.zone)

    def occurred(self, said: Iterable[tuple[str, str]]) -> Timed:
        """The first of the clinical times, each with its field; without any: MSH-7 (rule V6)."""
        found = times.first(said, self.feed.zone) or times.first(
            [("MSH-7", self.header.component(7))], self.feed.zone
        )
        return found or (Moment(self.received_at.astimezone(UTC), "fraction", ""), RECEIVED)

    def number(self, segment: Segment | None, field: int) -> Identifier | None:
        """An EI: its value, its namespace or universal id, else the feed's authority."""
        value = normal(segment.said(field) or "") if segment else ""
        if segment is None or not value:
            return None
        authority = segment.said(field, 2) or segment.said(field, 3) or self.feed.authority
        return Identifier(value=value, authority=authority)


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbered:
    """A segment with its id, and its ordinal among those of its id in the whole message."""

    name: str
    ordinal: int
    segment: Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is ordered: ORC-1, the numbers of placer and filler, what it is, all if said."""

    control: str = ""
    placer: Identifier | None = None
    filler: Identifier | None = None
    word: str = ""
    codes: tuple[Coding, ...] = ()

    @property
    def number(self) -> Identifier | None:
        """The one by which the order is known to who placed it."""
        return self.placer or self.filler


NO_ORDER = Order()

Telling: TypeAlias = Iterator[Draft | str]
"""Drafts, and reasons why something became none."""
Teller: TypeAlias = Callable[[Reading, tuple[Numbered, ...]], Telling]
"""What the segments of one patient say."""


def parts(
    reading: Reading, tell: Teller, *, telling: frozenset[str] | None = TELLING
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """A part per patient group, and why some of it is left out, each reason once.

    ``telling`` are the segments that are read of each group; None: all.
    Who isn't named can't be told of; the other groups stay what they are.
    """
    found: list[Part] = []
    reasons: list[str] = []
    said: Counter[tuple[object, ...]] = Counter()
    groups = zip(reading.message.split("PID"), _groups(reading.message, telling), strict=True)
    for ordinal, (group, segments) in enumerate(groups):
        try:
            patient = group.segment("PID")
            if patient is None:
                raise Nobody("no patient: there is no PID")
            named = claims.numbers(group, patient, claims.PATIENT_FIELD)
            claim = claims.claim(group, patient, reading.feed, named)
        except Nobody as nobody:
            reasons.append(str(nobody))
            continue
        whose = reading if group is reading.message else replace(reading, message=group)
        told = list(tell(whose, segments)) or [_NOTHING_SAID]
        told_of = demographics(group, patient, reading.feed, named)
        snapshot = _snapshot(reading, told_of, ordinal)
        told += participations.told(
            group, reading.feed,
            trigger=reading.trigger, reported_at=snapshot.data["reported_at"],
            occurred=(snapshot.occurred, snapshot.occurred_field), ordinal=ordinal,
        )  # fmt: skip
        snapshot, unkept = zsegments.carried(snapshot, group)
        reasons += [*(each for each in told if isinstance(each, str)), *unkept]
        own = [_told_apart(each, ordinal, said) for each in told if isinstance(each, Draft)]
        found.append(Part(claim=claim, drafts=(snapshot, *own)))
    return tuple(found), tuple(dict.fromkeys(reasons))


def order(
    reading: Reading,
    control: Segment | None,
    request: Segment | None = None,
    what: tuple[str, tuple[Coding, ...]] = ("", ()),
) -> Order:
    """The order of an ORC and an OBR; ``what`` is ordered, as `named` reads it."""
    return Order(
        control=control.component(1).upper() if control else "",
        placer=reading.number(request, 2) or reading.number(control, 2),
        filler=reading.number(request, 3) or reading.number(control, 3),
        word=what[0],
        codes=what[1],
    )


def cancelled(reading: Reading, told: Order, control: Numbered) -> Telling:
    """That an order is no more, where ORC-1 says so (rule V4)."""
    if told.control not in states.CANCELS:
        return
    if told.number is None:
        yield _NAMES_NOTHING
        return
    segment = control.segment
    yield draft(
        reading, kind="order", ordinal=control.ordinal, told=told, codes=told.codes,
        state=State(name="cancelled", raw=told.control, field="ORC-1"),
        stream=StreamName(parts=("order", told.number.authority, told.number.value)),
        occurred=reading.occurred(
            [("ORC-15", segment.component(15)), ("ORC-9", segment.component(9))]
        ),
    )  # fmt: skip


def draft(
    reading: Reading,
    *,
    kind: str,
    ordinal: int,
    told: Order,
    codes: tuple[Coding, ...],
    state: State,
    stream: StreamName,
    occurred: Timed,
    value: Value = NOTHING,
    panel: tuple[Coding, ...] = (),
    more: Mapping[str, Any] | None = None,
) -> Draft:
    """An ``evidence.recorded``; ``more`` are further fields of its data."""
    sent = reading.sent
    clear: dict[str, Any] = {} if value.clear is None else {"value": value.clear}
    numbers = {"placer": told.placer, "filler": told.filler}
    if told.number is not None:
        clear["number"] = {
            name: {"value": one.value, "authority": one.authority}
            for name, one in numbers.items()
            if one is not None
        }
    data = {
        "trigger": reading.trigger,
        "reported_at": sent.micros if sent else None,
        "kind": kind,
        "state": state.name, "raw_state": state.raw, "state_field": state.field,
        "codes": [each.data for each in codes],
        "panel_codes": [each.data for each in panel],
        "value_number": value.number,
        "value_unit": value.unit,
        "value_comparator": value.comparator,
        "value_code": value.codes[0].code if value.codes else None,
        "value_codes": [each.data for each in value.codes],
        "route_codes": [], "reason_codes": [],
        "admission_id": None, "order_id": None, "version": None,
    } | dict(more or {})  # fmt: skip
    return Draft(
        event_type=_EVIDENCE.name, stream_type=_EVIDENCE.stream_type,
        occurred=occurred[0], occurred_field=occurred[1], ordinal=ordinal, role=kind,
        data=data, clear=clear, order=told.number, stream=stream,
    )  # fmt: skip


def stream(
    reading: Reading, kind: str, told: Order, what: tuple[str, ...], when: Iterable[str]
) -> StreamName:
    """What names a stream of evidence: see the module's text.

    ``what`` belongs to every name; ``when`` are clinical times as sent, of which the first that
    can be read counts, and the next ones too as long as those before it say but the day.
    """
    if told.filler is not None:
        return StreamName(
            parts=(kind, "filler", told.filler.authority, told.filler.value, *what)
        )  # fmt: skip
    if told.placer is not None:
        return StreamName(
            parts=(kind, "placer", told.placer.authority, told.placer.value, *what)
        )  # fmt: skip
    at = clinical(reading, when)
    if at:
        return StreamName(parts=(kind, "time", *at, *what), of_patient=True)
    header = reading.header
    message = (header.component(7), header.component(10))
    return StreamName(parts=(kind, "message", *message, *what), of_patient=True)


def clinical(reading: Reading, when: Iterable[str]) -> tuple[str, ...]:
    """The times that tell one act from another, as instants, down to one finer than a day."""
    found: list[str] = []
    for raw in when:
        read = times.moment(raw, reading.feed.zone) if raw else None
        if read is None:
            continue
        found.append(str(read.micros))
        if read.precision not in times.COARSE:
            break
    return tuple(found)


def named(reading: Reading, segment: Segment, field: int) -> tuple[str, tuple[Coding, ...]]:
    """What a CE or CWE names: a word, if only text, to be hashed with others; and its codes."""
    parts = segment.repetitions(field)[:1]
    found = codings.named(reading.message, parts[0]) if parts else ()
    if found:
        return found[0].code, found
    texts = (segment.said(field, component) for component in (1, 2, 4, 5))
    return next((normal(text) for text in texts if text), ""), ()


def _groups(message: Message, telling: frozenset[str] | None) -> list[tuple[Numbered, ...]]:
    """The segments that tell of evidence, by the patient group (a PID with what follows)."""
    groups: list[list[Numbered]] = [[]]
    ordinals: Counter[str] = Counter()
    patients = 0  # as many as there are parts of the message
    for name, segment in message.ordered():
        if name == "PID":
            patients += 1
            if patients > 1:
                groups.append([])
        elif telling is None or name in telling:
            groups[-1].append(Numbered(name=name, ordinal=ordinals[name], segment=segment))
            ordinals[name] += 1
            if ordinals[name] > SEGMENTS_MAX:
                raise Unmappable("structure", "its results, administrations or orders are too many")
    return [tuple(group) for group in groups]


def _told_apart(one: Draft, group: int, said: Counter[tuple[object, ...]]) -> Draft:
    """What a message says again under the same name is another thing: numbered in its order."""
    if one.stream is None:
        return one  # an order is named by its number
    key = (group if one.stream.of_patient else None, *one.stream.parts)
    said[key] += 1
    if said[key] == 1:
        return one
    again = replace(one.stream, parts=(*one.stream.parts, f"again {said[key]}"))
    return replace(one, stream=again)


def _snapshot(reading: Reading, told: Mapping[str, Any], ordinal: int) -> Draft:
    """The demographics as a snapshot of when it was sent; an unknown patient is made (I6)."""
    occurred, field = reading.occurred(())
    sent = reading.sent
    return Draft(
        event_type="patient.updated", stream_type="patient",
        occurred=occurred, occurred_field=field, ordinal=ordinal, role="patient",
        data={"trigger": reading.trigger, "reported_at": sent.micros if sent else None},
        clear={"demographics": told},
    )  # fmt: skip
