"""HL7 v2 messages to drafts of events, by the table of triggers."""

import re
from datetime import UTC, datetime
from typing import Any, TypeAlias

from schemas.events import TYPES
from schemas.feeds import Feed
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping import times
from streams.ledger.mapping.demographics import demographics
from streams.ledger.mapping.facts import Claim, Draft, Facts, Ignored, Unmappable
from streams.ledger.mapping.message import Message, Segment, parse
from streams.ledger.mapping.place import place
from streams.ledger.mapping.table import RECEIVED, RECORDED, RULES, Rule
from streams.ledger.mapping.times import Moment

MAPPER_VERSION = 1  # rises when the same bytes give other drafts

_Timed: TypeAlias = tuple[Moment, str]
"""A moment, and the field that gave it."""

_CODE = re.compile(r"[A-Z][A-Z0-9]{2}")
_TEXT = {
    "patient_class": ("PV1", 2),
    "admission_type": ("PV1", 4),
    "hospital_service": ("PV1", 10),
}
_PLACES = {"place": ("PV1", 3), "prior_place": ("PV1", 6)}


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
    patient = _patient(message)
    claim = claims.claim(message, patient, feed)
    if rule.needs_visit and claim.visit is None:
        raise Unmappable("no_visit", "neither PV1-19 nor PID-18 holds a visit number")
    recorded = _occurred(message, feed, RECORDED, received_at)
    drafts = [_patient_draft(message, patient, feed, rule, recorded)]
    if claim.visit and (rule.needs_visit or message.segment("PV1")):
        occurred = _occurred(message, feed, rule.ladder, received_at)
        drafts.append(_visit_draft(message, claim, feed, rule, occurred, recorded))
    return Facts(
        message_type=message_type, trigger=trigger, control_id=control_id,
        claim=claim, drafts=tuple(drafts),
    )  # fmt: skip


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
        return f"trigger not mapped: {trigger}"
    return "acknowledgement" if kind == "ACK" else f"message type not mapped: {kind}"


def _patient(message: Message) -> Segment:
    """The message's one PID; several are fine as long as they name the same patient."""
    patients = message.segments("PID")
    if not patients:
        raise Unmappable("no_patient", "there is no PID")
    if len({patient.field(3) for patient in patients}) > 1:
        raise Unmappable("structure", "PID repeats with several patients")
    return patients[0]


def _patient_draft(
    message: Message, patient: Segment, feed: Feed, rule: Rule, recorded: _Timed
) -> Draft:
    """The demographics as a snapshot of when it was recorded."""
    return Draft(
        event_type=rule.patient_event, stream_type=TYPES[rule.patient_event].stream_type,
        occurred=recorded[0], occurred_field=recorded[1], role="patient",
        data=_sent(rule, recorded),
        clear={"demographics": demographics(message, patient, feed)},
    )  # fmt: skip


def _visit_draft(
    message: Message, claim: Claim, feed: Feed, rule: Rule, occurred: _Timed, recorded: _Timed
) -> Draft:
    """What happened to the visit."""
    assert claim.visit is not None, "a visit's event names a visit"
    data = _sent(rule, recorded)
    visit = message.segment("PV1")
    for name in rule.says:
        if name in _PLACES:
            data[name] = place(message, *_PLACES[name])
        else:
            data[name] = visit.said(_TEXT[name][1]) if visit and name in _TEXT else None
    if data.get("patient_class") in rule.no_class:
        data["patient_class"] = None
    return Draft(
        event_type=rule.visit_event, stream_type=TYPES[rule.visit_event].stream_type,
        occurred=occurred[0], occurred_field=occurred[1], role="visit", data=data,
        clear={"visit_number": claim.visit.value},
        attending=claims.attending(message, feed) if "attending_id" in rule.says else None,
    )  # fmt: skip


def _sent(rule: Rule, recorded: _Timed) -> dict[str, Any]:
    """What every event of a trigger says; ``reported_at`` is EVN-2, else MSH-7, else None."""
    moment, field = recorded
    return {
        "trigger": rule.trigger,
        "reported_at": None if field == RECEIVED else moment.micros,
    }


def _occurred(
    message: Message, feed: Feed, ladder: tuple[str, ...], received_at: datetime
) -> _Timed:
    """The first field of the ladder that holds a time, read, and its name (rule T1)."""
    for field in ladder:
        if field == RECEIVED:
            break
        name, _, number = field.partition("-")
        segment = message.segment(name)
        raw = segment.component(int(number)) if segment else ""
        read = times.moment(raw, feed.zone) if raw else None
        if read:
            return read, field
    return Moment(received_at.astimezone(UTC), "fraction", ""), RECEIVED
