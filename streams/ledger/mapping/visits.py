"""What an ADT says of patients, visits and identities, by its trigger's rule."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TypeAlias

from schemas.events import TYPES
from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import changes, movement, participations, times, zsegments
from streams.ledger.mapping import claim as claims
from streams.ledger.mapping.demographics import demographics
from streams.ledger.mapping.facts import (
    Claim,
    Draft,
    IdentityChange,
    Nobody,
    Part,
    Unmappable,
)  # fmt: skip
from streams.ledger.mapping.message import GROUPS_MAX, Message, Segment
from streams.ledger.mapping.place import place
from streams.ledger.mapping.table import RECEIVED, RECORDED, RULES, Rule
from streams.ledger.mapping.times import Moment

_Timed: TypeAlias = tuple[Moment, str]
"""A moment, and the field that gave it."""

_NO_VISIT = "no visit number: PV1-19 and PID-18 are empty"
_NO_PRIOR_VISIT = "no visit number: the visit that changes, or its number, isn't named"
_PLACE = {
    "place": 3, "prior_place": 6, "temporary_place": 11, "pending_place": 42,
    "prior_temporary_place": 43,
}  # fmt: skip  # of PV1
_TEXT = {"patient_class": 2, "admission_type": 4, "hospital_service": 10}  # of PV1


def _said_of(fields: Mapping[str, int]) -> Mapping[str, tuple[tuple[str, int], ...]]:
    """By trigger: those of the fields that its rule says."""
    return {
        rule.trigger: tuple((name, fields[name]) for name in rule.says if name in fields)
        for rule in RULES.values()
    }


# Looked up, as most of a message's time would go by asking of each name what it is.
_PLACES, _TEXTS = _said_of(_PLACE), _said_of(_TEXT)
_UNSAID = {rule.trigger: dict.fromkeys(rule.says) for rule in RULES.values()}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """One part of a message as it is read: its segments, its trigger's rule, its clocks."""

    message: Message
    feed: Feed
    rule: Rule
    ordinal: int
    received_at: datetime
    recorded: _Timed
    reported_at: int | None

    @property
    def sent(self) -> dict[str, Any]:
        """What every event of a trigger says; ``reported_at`` is EVN-2, else MSH-7, else None."""
        return {"trigger": self.rule.trigger, "reported_at": self.reported_at}

    def occurred(self, ladder: tuple[str, ...]) -> _Timed:
        """The first field of the ladder that holds a time, read, and its name (rule T1)."""
        return _occurred(self.message, self.feed, ladder, self.received_at)


def parts(
    message: Message, feed: Feed, rule: Rule, received_at: datetime
) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """What an ADT says by its trigger's rule, and why some of it is left out."""
    recorded = _occurred(message, feed, RECORDED, received_at)
    moment, field = recorded
    reported_at = None if field == RECEIVED else moment.micros
    return _parts(
        _Reading(
            message=group, feed=feed, rule=rule, ordinal=number,
            received_at=received_at, recorded=recorded, reported_at=reported_at,
        )
        for number, group in enumerate(_groups(message, rule))
    )  # fmt: skip


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


def _parts(readings: Iterable[_Reading]) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """What the parts of a message say, and why some of it is left out, each reason once.

    Who isn't named can't be told of; the other parts stay what they are.
    """
    parts: list[Part] = []
    reasons: list[str] = []
    for reading in readings:
        try:
            part, left_out = _part(reading)
        except Nobody as nobody:
            reasons.append(str(nobody))
            continue
        parts.append(part)
        reasons += left_out
    return tuple(parts), tuple(dict.fromkeys(reasons))


def _part(reading: _Reading) -> tuple[Part, list[str]]:
    """What one PID and what belongs to it say, and why some of that is left out."""
    message, feed, rule = reading.message, reading.feed, reading.rule
    patient = _patient(message, rule)
    named = claims.numbers(message, patient, claims.PATIENT_FIELD)
    claim = claims.claim(message, patient, feed, named)
    drafts = [_patient_draft(reading, demographics(message, patient, feed, named))]
    changed: tuple[IdentityChange, ...] = ()
    left_out: list[str] = []
    if rule.change:
        changed = _identity_change(reading, claim)
    elif rule.visit_event:
        of_visit = _number_drafts if rule.prior_visit else _visit_drafts
        try:
            drafts += of_visit(reading, claim)
        except _NoVisit as error:
            left_out.append(str(error))
    account = claims.account(message, patient, 18, feed) if _of_claimed(drafts) else None
    if account and claim.visit and changes.same(account, claim.visit):
        account = None
    for told in _participations(reading) if message.has(participations.SEGMENTS) else ():
        if isinstance(told, str):
            left_out.append(told)
        else:
            drafts.append(told)
    drafts[0], reasons = zsegments.carried(drafts[0], message)
    said = Part(claim=claim, drafts=tuple(drafts), changes=changed, account=account)
    return said, [*left_out, *reasons]


def _participations(reading: _Reading) -> Iterator[Draft | str]:
    """Who takes part in the care of this part's patient."""
    return participations.told(
        reading.message, reading.feed,
        trigger=reading.rule.trigger, reported_at=reading.reported_at,
        occurred=reading.recorded, ordinal=reading.ordinal,
    )  # fmt: skip


def _of_claimed(drafts: list[Draft]) -> bool:
    """Whether something is told of the visit that the claim names."""
    return None in [draft.visit for draft in drafts if draft.stream_type == "admission"]


def _patient(message: Message, rule: Rule) -> Segment:
    """The message's one PID, or `Nobody`; several are fine as long as they name the same patient.

    An unlink has two of different patients, of which the first is meant.
    """
    patient = message.segment("PID")
    if patient is None:
        raise Nobody("no patient: there is no PID")
    if rule.change is None and message.count("PID") > 1:
        named = {each.field(claims.PATIENT_FIELD) for each in message.segments("PID")}
        if len(named) > 1:
            raise Unmappable("structure", "PID repeats with several patients")
    return patient


def _patient_draft(reading: _Reading, told: dict[str, Any]) -> Draft:
    """The demographics as a snapshot of when it was recorded."""
    event = reading.rule.patient_event
    return Draft(
        event_type=event, stream_type=TYPES[event].stream_type,
        occurred=reading.recorded[0], occurred_field=reading.recorded[1],
        ordinal=reading.ordinal, role="patient", data=reading.sent,
        clear={"demographics": told},
    )  # fmt: skip


def _visit_drafts(reading: _Reading, claim: Claim) -> list[Draft]:
    """What happened to the visit; raises `_NoVisit` where something did and none is named."""
    message, feed = reading.message, reading.feed
    rule = movement.acting(message, reading.rule)
    visit = message.segment("PV1")
    if claim.visit is None:
        if rule.needs_visit or (visit and visit.component(2).upper() not in rule.no_class):
            raise _NoVisit(_NO_VISIT)
        return []
    if not (rule.needs_visit or visit):
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

    The old number's stream ends by joining the new one's, where the rest is told. Raises
    `_NoVisit` where one must be named and isn't.
    """
    message, rule = reading.message, reading.rule
    old, new = changes.prior_visit(message, claim, rule, reading.feed), claim.visit
    if old and new and (old.type == claims.ACCOUNT) != (new.type == claims.ACCOUNT):
        new = None  # an account number is no visit's new number
    moves = rule.visit_event == "admission.patient_changed"
    if not ((old or new) if moves else (old and new)):
        if rule.needs_visit:
            raise _NoVisit(_NO_PRIOR_VISIT)
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
        account = changes.account(message, rule, reading.feed)
        if account and new and not changes.same(account, new):
            moved = _visit_draft(reading, rule, claim, data, visit=account, source=source)
            drafts.append(replace(moved, role="account"))
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
    message, data = reading.message, {**reading.sent, **_UNSAID[rule.trigger]}
    visit = message.segment("PV1")
    if visit is not None:
        for name, number in _PLACES[rule.trigger]:
            data[name] = place(message, visit, number)
        for name, number in _TEXTS[rule.trigger]:
            data[name] = visit.said(number)
    if "movement_historic" in data:
        data["movement_historic"] = movement.historic(message)
    if rule.plan:
        data |= _plan(reading, rule)
    if "original_trigger" in data:
        data["original_trigger"] = movement.original(message)
    if data.get("patient_class") in rule.no_class:
        data["patient_class"] = None
    return data


def _plan(reading: _Reading, rule: Rule) -> dict[str, Any]:
    """What is planned: where, and for when (rule T17)."""
    message, fields = reading.message, [_field(name) for name in rule.planned_place]
    places = (place(message, message.segment(name), number) for name, number in fields)
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
    """The first field of the ladder that holds a time, and its name (rule T1; `times.first`)."""
    said: list[tuple[str, str]] = []
    for field, name, number in _steps(ladder):
        segment = message.segment(name)
        raw = segment.component(number) if segment else ""
        if not raw:
            continue
        read = None if said else times.moment(raw, feed.zone)
        if read is not None and read.precision not in times.COARSE:
            return read, field  # as nearly always; else what follows may say more
        said.append((field, raw))
    found = times.first(said, feed.zone)
    return found or (Moment(received_at.astimezone(UTC), "fraction", ""), RECEIVED)


class _NoVisit(Exception):  # noqa: N818  named for what is wrong
    """What the message tells of a visit names none: left out, with this as the reason."""


@lru_cache(maxsize=256)
def _steps(ladder: tuple[str, ...]) -> tuple[tuple[str, str, int], ...]:
    """A ladder's fields, each with its segment and number."""
    return tuple((field, *_field(field)) for field in ladder if field != RECEIVED)


@lru_cache(maxsize=64)
def _field(name: str) -> tuple[str, int]:
    """A field's segment and number: ``PV1-3``."""
    segment, _, number = name.partition("-")
    return segment, int(number)
