"""HL7 v2 messages to drafts of events, by the table of triggers."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

from schemas.events import TYPES
from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import changes, movement, times
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping.demographics import demographics
from streams.ledger.mapping.facts import (
    Claim,
    Draft,
    Facts,
    IdentityChange,
    Ignored,
    Part,
    Unmappable,
)  # fmt: skip
from streams.ledger.mapping.message import GROUPS_MAX, Message, Segment, parse
from streams.ledger.mapping.place import place
from streams.ledger.mapping.table import IGNORED, RECEIVED, RECORDED, RULES, Rule
from streams.ledger.mapping.times import Moment

MAPPER_VERSION = 2  # rises when the same bytes give other drafts

_Timed: TypeAlias = tuple[Moment, str]
"""A moment, and the field that gave it."""

_CODE = re.compile(r"[A-Z][A-Z0-9]{2}")
_TEXT = {"patient_class": 2, "admission_type": 4, "hospital_service": 10}  # of PV1
_PLACES = {
    "place": 3, "prior_place": 6, "temporary_place": 11, "pending_place": 42,
    "prior_temporary_place": 43,
}  # fmt: skip  # of PV1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One part of a message as it is read: its segments, its trigger's rule, its clocks."""

    message: Message
    feed: Feed
    rule: Rule
    ordinal: int
    received_at: datetime
    recorded: _Timed

    @property
    def sent(self) -> dict[str, Any]:
        """What every event of a trigger says; ``reported_at`` is EVN-2, else MSH-7, else None."""
        return {"trigger": self.rule.trigger, "reported_at": self.reported_at}

    @property
    def reported_at(self) -> int | None:
        """When the sender recorded it, as microseconds."""
        moment, field = self.recorded
        return None if field == RECEIVED else moment.micros

    def occurred(self, ladder: tuple[str, ...]) -> _Timed:
        """The first field of the ladder that holds a time, read, and its name (rule T1)."""
        return _occurred(self.message, self.feed, ladder, self.received_at)


def map_message(body: bytes, feed: Feed, *, received_at: datetime) -> Facts | Ignored:
    """The facts of one message, or why it is none of ours; raises `Unmappable`.

    ``body`` are the bytes between the MLLP marks; ``received_at`` has a zone. The same
    arguments always give the same drafts.
    """
    assert received_at.tzinfo is not None, "a moment has a zone"
    message = parse(body, charset=feed.charset)
    header = message.segment("MSH")
    assert header is not None, "a parsed message has a header"
    kind, trigger = _type(message, header)
    control_id = message.resolve(header.field(10))
    message_type = f"{kind}^{trigger}" if trigger else kind
    rule = RULES.get(trigger) if kind == "ADT" else None
    if rule is None:
        return Ignored(
            message_type=message_type, control_id=control_id, reason=_reason(kind, trigger)
        )
    recorded = _occurred(message, feed, RECORDED, received_at)
    parts = tuple(
        _part(
            _Reading(
                message=group, feed=feed, rule=rule, ordinal=number,
                received_at=received_at, recorded=recorded,
            )
        )
        for number, group in enumerate(_groups(message, rule))
    )  # fmt: skip
    return Facts(message_type=message_type, trigger=trigger, control_id=control_id, parts=parts)


def _groups(message: Message, rule: Rule) -> list[Message]:
    """The parts of a message, as messages: a PID with what follows, or a MRG of it."""
    if not rule.repeats:
        return [message]
    parts: list[Message] = []
    for group in message.split("PID"):
        parts += group.split("MRG")
        if len(parts) > GROUPS_MAX:
            raise Unmappable("structure", "its groups of segments are too many")
    return parts


def _part(reading: _Reading) -> Part:
    """What one PID and what belongs to it say."""
    message, feed, rule = reading.message, reading.feed, reading.rule
    patient = _patient(message, rule)
    claim = claims.claim(message, patient, feed)
    drafts = [_patient_draft(reading, patient)]
    changed: tuple[IdentityChange, ...] = ()
    if rule.change:
        changed = _identity_change(reading, claim)
    elif rule.prior_visit:
        drafts += _number_drafts(reading, claim)
    elif rule.visit_event:
        drafts += _visit_drafts(reading, claim)
    return Part(claim=claim, drafts=tuple(drafts), changes=changed)


def _type(message: Message, header: Segment) -> tuple[str, str]:
    """Message type and trigger: MSH-9, whose silence EVN-1 may fill (never contradict)."""
    kind, trigger = header.component(9).upper(), header.component(9, 2).upper()
    if "_" in kind and not trigger:  # ADT_A01, the structure, where the type belongs
        kind, _, trigger = kind.partition("_")
    event = message.segment("EVN")
    if event and not trigger and kind in {"", "ADT"}:
        trigger = event.component(1).upper()
        if _CODE.fullmatch(trigger) and trigger.startswith("A"):
            kind = "ADT"
    if not _CODE.fullmatch(kind):
        raise Unmappable("structure", "neither MSH-9 nor EVN-1 says what it is")
    if _CODE.fullmatch(trigger):
        return kind, trigger
    if kind == "ADT":
        raise Unmappable("structure", "neither MSH-9 nor EVN-1 says the trigger of this ADT")
    return kind, ""


def _reason(kind: str, trigger: str) -> str:
    """Why a message is ignored; codes of three letters and digits are no PHI."""
    if kind == "ADT":
        known = IGNORED.get(trigger)
        return f"{known}: {trigger}" if known else f"trigger not mapped: {trigger}"
    return "acknowledgement" if kind == "ACK" else f"message type not mapped: {kind}"


def _patient(message: Message, rule: Rule) -> Segment:
    """The message's one PID; several are fine as long as they name the same patient.

    An unlink has two of different patients, of which the first is meant.
    """
    patients = message.segments("PID")
    if not patients:
        raise Unmappable("no_patient", "there is no PID")
    if rule.change is None and len({patient.field(3) for patient in patients}) > 1:
        raise Unmappable("structure", "PID repeats with several patients")
    return patients[0]


def _patient_draft(reading: _Reading, patient: Segment) -> Draft:
    """The demographics as a snapshot of when it was recorded."""
    event = reading.rule.patient_event
    return Draft(
        event_type=event, stream_type=TYPES[event].stream_type,
        occurred=reading.recorded[0], occurred_field=reading.recorded[1],
        ordinal=reading.ordinal, role="patient", data=reading.sent,
        clear={"demographics": demographics(reading.message, patient, reading.feed)},
    )  # fmt: skip


def _visit_drafts(reading: _Reading, claim: Claim) -> list[Draft]:
    """What happened to the visit, if one is named; raises `Unmappable` if one must be."""
    message, feed = reading.message, reading.feed
    rule = movement.acting(message, reading.rule)
    if claim.visit is None:
        if rule.needs_visit:
            raise Unmappable("no_visit", "neither PV1-19 nor PID-18 holds a visit number")
        return []
    if not (rule.needs_visit or message.segment("PV1")):
        return []
    return [
        _visit_draft(
            reading, rule, claim, _said(reading, rule),
            attending=claims.attending(message, feed) if "attending_id" in rule.says else None,
            movement=movement.number(message, feed) if "movement_id" in rule.says else None,
        )
    ]  # fmt: skip


def _number_drafts(reading: _Reading, claim: Claim) -> list[Draft]:
    """A visit that changes its patient, its number, or both (rule M5).

    The old number's stream ends by joining the new one's, where the rest is told.
    """
    message, rule = reading.message, reading.rule
    old, new = changes.prior_visit(message, claim, rule, reading.feed), claim.visit
    if old and new and (old.type == claims.ACCOUNT) != (new.type == claims.ACCOUNT):
        new = None  # an account number is no visit's new number
    moves = rule.visit_event == "admission.patient_changed"
    if not ((old or new) if moves else (old and new)):
        if rule.needs_visit:
            raise Unmappable("no_visit", "the visit that changes, or its number, isn't named")
        return []
    drafts = []
    if old and new and not changes.same(old, new):
        data = {**reading.sent, "into_admission_id": None}
        drafts.append(_visit_draft(reading, RULES["A50"], claim, data, visit=old))
    if moves:
        data = {**reading.sent, "from_patient_id": None}
        source = changes.whose(message, claim, reading.feed)
        visit = None if new else old
        drafts.append(_visit_draft(reading, rule, claim, data, visit=visit, source=source))
    return drafts


def _visit_draft(
    reading: _Reading,
    rule: Rule,
    claim: Claim,
    data: dict[str, Any],
    *,
    visit: Identifier | None = None,
    attending: Identifier | None = None,
    movement: Identifier | None = None,
    source: tuple[Identifier, ...] = (),
) -> Draft:
    """An event made by that rule, of the claim's visit or another one."""
    number = visit or claim.visit
    assert number is not None, "a visit's event names a visit"
    assert rule.visit_event is not None, "the rule tells of a visit"
    declared = TYPES[rule.visit_event]
    occurred, field = reading.occurred(rule.ladder)
    return Draft(
        event_type=declared.name, stream_type=declared.stream_type,
        occurred=occurred, occurred_field=field, ordinal=reading.ordinal, role="visit",
        data=data, clear={"visit_number": number.value} if declared.sealed else {},
        visit=visit, attending=attending, movement=movement, source=source,
    )  # fmt: skip


def _said(reading: _Reading, rule: Rule) -> dict[str, Any]:
    """The event's data, by the names that the rule says."""
    message, data = reading.message, reading.sent
    visit = message.segment("PV1")
    for name in rule.says:
        if name in _PLACES:
            data[name] = place(message, "PV1", _PLACES[name])
        elif name in _TEXT:
            data[name] = visit.said(_TEXT[name]) if visit else None
        elif name == "movement_historic":
            data[name] = movement.historic(message)
        else:
            data[name] = None
    if rule.plan:
        data |= _plan(reading, rule)
    if "original_trigger" in data:
        data["original_trigger"] = movement.original(message)
    if data.get("patient_class") in rule.no_class:
        data["patient_class"] = None
    return data


def _plan(reading: _Reading, rule: Rule) -> dict[str, Any]:
    """What is planned: where, and for when (rule T17)."""
    fields = [_field(name) for name in rule.planned_place]
    places = (place(reading.message, *field) for field in fields)
    planned = next((found for found in places if found is not None), None)
    data: dict[str, Any] = {"plan": rule.plan, "planned_place": planned}
    if rule.expected:
        expected, field = reading.occurred((*rule.expected, RECEIVED))
        data["expected_at"] = None if field == RECEIVED else expected.micros
    return data


def _identity_change(reading: _Reading, claim: Claim) -> tuple[IdentityChange, ...]:
    """Who becomes the claim's patient, or is parted from it; none if nobody else is named."""
    rule, change = reading.rule, reading.rule.change
    assert change is not None, "the rule changes an identity"
    source = changes.source(reading.message, claim, change, reading.feed)
    if not source:
        return ()
    occurred, field = reading.occurred(rule.ladder)
    changed = IdentityChange(
        kind=change.kind, event_type=change.event_type, source=source, trigger=rule.trigger,
        occurred=occurred, occurred_field=field, reported_at=reading.reported_at,
        ordinal=reading.ordinal,
    )  # fmt: skip
    return (changed,)


def _occurred(
    message: Message, feed: Feed, ladder: tuple[str, ...], received_at: datetime
) -> _Timed:
    """The first field of the ladder that holds a time, read, and its name (rule T1).

    One that says no more than the day is not midnight (rule T22): a further field that holds a
    time of that day says when.
    """
    coarse: _Timed | None = None
    for field in ladder:
        if field == RECEIVED:
            break
        name, number = _field(field)
        segment = message.segment(name)
        raw = segment.component(number) if segment else ""
        read = times.moment(raw, feed.zone) if raw else None
        if read is None:
            continue
        if read.precision in times.COARSE:
            coarse = coarse or (read, field)
        elif coarse is None or times.within(read, coarse[0]):
            return read, field
    return coarse or (Moment(received_at.astimezone(UTC), "fraction", ""), RECEIVED)


@lru_cache(maxsize=64)
def _field(name: str) -> tuple[str, int]:
    """A field's segment and number: ``PV1-3``."""
    segment, _, number = name.partition("-")
    return segment, int(number)
