"""HL7 v2 messages to drafts of events: what a message is, and who tells what it says."""

import re
from datetime import datetime
from functools import lru_cache

from schemas.feeds import Feed
from streams.ledger.mapping import evidence, triggers, visits
from streams.ledger.mapping.facts import Facts, Ignored, Unmappable
from streams.ledger.mapping.message import Message, Segment, parse
from streams.ledger.mapping.table import IGNORED, RULES
from streams.ledger.mapping.tellers import TELLERS

MAPPER_VERSION = 9  # rises when the same bytes give other drafts

_TYPE_CHARACTERS_MAX = 64  # of ADT^A01^ADT_A01 and the like; what is longer isn't remembered
_CODE = re.compile(r"[A-Z][A-Z0-9]{2}")


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
    told = TELLERS.get((kind, trigger))
    rule = RULES.get(trigger) if kind == "ADT" else None
    if told:
        parts, left_out = evidence.parts(
            evidence.Reading(
                message=message, header=header, feed=feed, trigger=trigger,
                received_at=received_at,
            ),
            told.tell,
            telling=told.telling,
        )  # fmt: skip
    elif rule:
        parts, left_out = visits.parts(message, feed, rule, received_at)
    else:
        told_of = kind == "ADT" or any(kind == each for each, _ in TELLERS)
        return Ignored(
            message_type=message_type, control_id=control_id, reason=_reason(kind, trigger),
            cause="trigger" if trigger and told_of else "message_type",
        )  # fmt: skip
    if not parts:
        return Ignored(
            message_type=message_type, control_id=control_id, reason=left_out[0], cause="no_patient"
        )
    return Facts(
        message_type=message_type, trigger=trigger, control_id=control_id,
        parts=parts, left_out=left_out,
    )  # fmt: skip


def _type(message: Message, header: Segment) -> tuple[str, str]:
    """Message type and trigger: MSH-9, whose silence EVN-1 may fill (never contradict)."""
    marks = message.delimiters
    said = header.field(9)
    read = _named if len(said) <= _TYPE_CHARACTERS_MAX else _named.__wrapped__
    kind, trigger = read(said, marks.component, marks.repetition)
    if not trigger and kind in {"", "ADT"} and (event := message.segment("EVN")):
        trigger = event.component(1).upper()
        if _code(trigger) and trigger.startswith("A"):
            kind = "ADT"
    if not _code(kind):
        raise Unmappable("required_field", "neither MSH-9 nor EVN-1 says what it is")
    if _code(trigger):
        return kind, trigger
    if kind == "ADT":
        raise Unmappable("required_field", "neither MSH-9 nor EVN-1 says the trigger of this ADT")
    return kind, ""


@lru_cache(maxsize=1024)
def _named(field: str, component: str, repetition: str) -> tuple[str, str]:
    """Type and trigger as MSH-9 has them, or nothing; few are ever seen, so they are remembered."""
    kind, trigger, *_ = (*field.partition(repetition)[0].split(component), "")
    kind, trigger = kind.strip().upper(), trigger.strip().upper()
    if "_" in kind and not trigger:  # ADT_A01, the structure, where the type belongs
        kind, _, trigger = kind.partition("_")
    return kind, trigger


@lru_cache(maxsize=1024)
def _code(text: str) -> bool:
    """Whether it is a type or a trigger: three capitals or digits."""
    return _CODE.fullmatch(text) is not None


def _reason(kind: str, trigger: str) -> str:
    """Why a message is ignored; codes of three letters and digits are no PHI."""
    if kind == "ADT":
        known = IGNORED.get(trigger)
        return f"{known}: {trigger}" if known else f"trigger not mapped: {trigger}"
    known = triggers.IGNORED.get((kind, trigger))
    if known:
        return f"{known}: {kind}^{trigger}"
    if trigger and any(kind == told for told, _ in TELLERS):
        return f"trigger not mapped: {kind}^{trigger}"
    return "acknowledgement" if kind == "ACK" else f"message type not mapped: {kind}"
