"""From drafts to events that lack only their numbers: ids made, people named, PHI sealed. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from schemas import events, identity, lookups
from schemas.clock import instant
from schemas.feeds import Feed
from schemas.sealing import Keys
from sinks.accounts import Visit
from sinks.aliases import UNDO
from streams.ledger.identities import Change, Named, Person, name
from streams.ledger.mapping.facts import Draft, Facts, IdentityChange, Part, StreamName

_RECORDS = frozenset(
    {"appointment", "document", "dispense", "problem", "participation", "financial"}
)  # the streams of things that are told of beside visits, orders and evidence
CHANGE = "change"  # the role of what a message tells of two patients
REMAPPED = "remapped"  # in the metadata of what came when its message was mapped anew
CONFLICT = "conflict"  # of what it tells of identifiers that disagree; then of which change

Message = Mapping[str, Any]  # the record wardtrail.raw.Hl7v2Message
EventRow = dict[str, Any]


def decide(
    facts: Facts,
    people: Sequence[Person],
    message: Message,
    *,
    feed: Feed,
    keys: Keys,
    mapper_version: int,
    ids: Mapping[UUID, UUID] | None = None,
) -> list[EventRow]:
    """The rows of ``events`` that a message becomes, without version, partition and times.

    Sealed fields are under each person's key, which ``keys`` must have at hand; of a person
    whose key was destroyed nothing is sealed and nothing kept, nor of one who came anew what was
    said before.

    ``people`` has one person per part; a part whose identifiers are in conflict becomes nothing
    but that conflict, and the others stay what they are. What is told of two patients stands in
    the stream of the one who is to be another. ``ids`` are those of events that aren't called
    by their own names, as they come in the place of others, by these names.
    """
    said = said_at(facts)
    return [
        _event(
            draft, part, message,
            person=whose, feed=feed, keys=keys, mapper_version=mapper_version, said=said,
            ids=ids or {},
        )
        for part, person in zip(facts.parts, people, strict=True)
        for draft, whose in _drafts(facts, part, person)
    ]  # fmt: skip


def event_name(message: Message, event_type: str, ordinal: int, role: str) -> UUID:
    """What an event of a message is called by, whatever the mapper; the id that it gets first."""
    return identity.event(UUID(message["message_id"]), event_type, ordinal, role)


def said_at(facts: Facts) -> datetime | None:
    """When the sender says that the message was said (EVN-2, else MSH-7), the latest of it."""
    told = [draft.data["reported_at"] for part in facts.parts for draft in part.drafts]
    told += [change.reported_at for part in facts.parts for change in part.changes]
    return max((instant(each) for each in told if each is not None), default=None)


def whose(facts: Facts, people: Sequence[Person]) -> set[UUID]:
    """The people whose keys are needed to seal what a message says of them."""
    return {
        UUID(person.patient_id)
        for part, one in zip(facts.parts, people, strict=True)
        for draft, person in _drafts(facts, part, one)
        if draft.clear
    }


def named(facts: Facts, message: Message, identity_key: bytes) -> list[Named]:
    """Whom each part names, for :func:`~streams.ledger.identities.resolve`.

    Its sources are those of its changes, then those of its drafts, in order.
    """
    tenant = message["tenant_id"]
    return [
        name(
            tenant,
            identity_key,
            part.claim.identifiers,
            sources=[
                *(
                    name(tenant, identity_key, change.source, change=_to_tell(change, message))
                    for change in part.changes
                ),
                *(name(tenant, identity_key, draft.source) for draft in _moving(part)),
            ],
        )
        for part in facts.parts
    ]


def visits(facts: Facts, people: Sequence[Person], message: Message, keys: Keys) -> list[Visit]:
    """The visits whose accounts the message tells, each with the part's person."""
    return [
        Visit(
            tenant_id=message["tenant_id"],
            account_id=str(identity.admission(keys.identity, part.account)),
            admission_id=str(identity.admission(keys.identity, part.claim.visit)),
            patient_id=person.patient_id,
        )
        for part, person in zip(facts.parts, people, strict=True)
        if part.account and part.claim.visit and not person.conflict
    ]


def _to_tell(change: IdentityChange, message: Message) -> Change:
    event_id = event_name(message, change.event_type, change.ordinal, CHANGE)
    said_at = change.occurred.at if change.reported_at is None else instant(change.reported_at)
    kind = UNDO if change.event_type == "patient.unmerged" else change.kind
    return Change(event_id=str(event_id), kind=kind, said_at=said_at)


def _moving(part: Part) -> list[Draft]:
    """The drafts that say whose a visit was."""
    return [draft for draft in part.drafts if draft.source]


def _drafts(facts: Facts, part: Part, person: Person) -> Iterator[tuple[Draft, Person]]:
    """The drafts of a part, each with the person in whose name its event stands."""
    if person.conflict:
        yield _conflict(facts, part, person, CONFLICT), person
        return
    changing = person.sources[: len(part.changes)]
    moving = iter(person.sources[len(part.changes) :])
    for draft in part.drafts:
        if draft.source:
            whose = next(moving)
            known = None if whose.conflict else whose.patient_id
            draft = replace(draft, data={**draft.data, "from_patient_id": known})
        yield draft, person
    for change, source in zip(part.changes, changing, strict=True):
        if source.conflict:
            yield _conflict(facts, part, source, f"{CONFLICT}.{change.ordinal}"), source
        elif source.patient_id != person.patient_id:
            yield _change(change, person), source


def _event(
    draft: Draft,
    part: Part,
    message: Message,
    *,
    person: Person,
    feed: Feed,
    keys: Keys,
    mapper_version: int,
    said: datetime | None,
    ids: Mapping[UUID, UUID],
) -> EventRow:
    declared = events.TYPES[draft.event_type]
    assert declared.stream_type == draft.stream_type, f"a draft of no stream: {draft.event_type}"
    named = event_name(message, draft.event_type, draft.ordinal, draft.role)
    event_id = ids.get(named, named)
    subject = UUID(person.patient_id)
    dark = bool(draft.clear) and keys.dark(subject, said)
    sealed = None if dark else keys.sealed(draft.clear, person=subject, record=event_id)
    return {
        "event_id": event_id,
        "stream_id": _stream(draft, part, person, keys),
        "stream_type": declared.stream_type,
        "event_type": declared.name,
        "schema_version": declared.schema_version,
        "tenant_id": message["tenant_id"],
        "feed_id": message["feed_id"],
        "message_id": message["message_id"],
        "person_id": person.patient_id,
        "occurred_at": draft.occurred.at,
        "occurred_precision": draft.occurred.precision,
        "occurred_field": draft.occurred_field,
        "occurred_text": draft.occurred.text,
        "data": {
            **_data(draft, part, person, feed, keys),
            **({} if sealed is None else _tokens(draft.clear, subject, keys)),
        },
        "sealed": {} if sealed is None else sealed,
        "metadata": {
            "correlation_id": message["message_id"],
            "causation_id": message["message_id"],
            "mapper_version": mapper_version,
            "trace": message["trace"],
            **({"erased": True} if sealed is None else {}),
            **({REMAPPED: True} if named in ids else {}),
        },
        "created_by": message["feed_id"],
    }


def _stream(draft: Draft, part: Part, person: Person, keys: Keys) -> str:
    """The stream an event belongs to: the patient's, a visit's, or one that the draft names."""
    if draft.stream_type == "patient":
        return person.patient_id
    if draft.stream is not None:
        return _named(draft.stream, person, keys)
    if draft.stream_type == "order":
        assert draft.order is not None, "an order has a number"
        return str(identity.order(keys.identity, draft.order))
    visit = draft.visit or part.claim.visit
    assert visit is not None, "a visit's event names a visit"
    return str(identity.admission(keys.identity, visit))


def _named(stream: StreamName, person: Person, keys: Keys) -> str:
    patient = (person.patient_id,) if stream.of_patient else ()
    return str(identity.evidence(keys.identity, *stream.parts, *patient))


def _data(draft: Draft, part: Part, person: Person, feed: Feed, keys: Keys) -> dict[str, Any]:
    data = dict(draft.data)
    if draft.stream_type != "patient":
        data["patient_id"] = person.patient_id
    if draft.stream_type == "evidence":
        visit, order = part.claim.visit, draft.order
        data["admission_id"] = visit and str(identity.admission(keys.identity, visit))
        data["order_id"] = order and str(identity.order(keys.identity, order))
    if draft.stream_type == "order":
        data |= _ordered(draft, part, keys)
    elif draft.stream_type in _RECORDS:
        data |= _recorded(draft, part, person, keys)
    if draft.attending is not None:
        authority = draft.attending.authority or feed.authority
        data["attending_id"] = str(identity.staff(keys.identity, authority, draft.attending.value))
    if draft.movement is not None:
        data["movement_id"] = str(identity.movement(keys.identity, draft.movement))
    if draft.event_type == "admission.joined":
        assert part.claim.visit is not None, "a visit that goes on has a number"
        data["into_admission_id"] = str(identity.admission(keys.identity, part.claim.visit))
    return data


def _ordered(draft: Draft, part: Part, keys: Keys) -> dict[str, str | None]:
    """The ids that an order's event has, of its visit, its other number and who ordered it."""
    key, visit, filler, provider = keys.identity, part.claim.visit, draft.filler, draft.provider
    return {
        "admission_id": str(identity.admission(key, visit)) if visit else None,
        "filler_order_id": str(identity.order(key, filler)) if filler else None,
        "provider_id": str(identity.staff(key, provider.authority, provider.value))
        if provider
        else None,
    }


def _recorded(draft: Draft, part: Part, person: Person, keys: Keys) -> dict[str, Any]:
    """The ids that the event of a thing has, as far as its contract has them."""
    key, visit, order, above = keys.identity, part.claim.visit, draft.order, draft.parent
    ids = {
        "admission_id": str(identity.admission(key, visit)) if visit else None,
        "order_id": str(identity.order(key, order)) if order else None,
        "staff_ids": [str(identity.staff(key, one.authority, one.value)) for one in draft.staff],
        "parent_document_id": _named(above, person, keys) if above else None,
    }
    return {name: made for name, made in ids.items() if name in draft.data}


def _tokens(clear: Mapping[str, Any], person: UUID, keys: Keys) -> dict[str, list[str]]:
    """By what the person is found, where what is sealed says how they are called."""
    if "demographics" not in clear:
        return {}
    return {"tokens": lookups.tokens(keys.identity, clear["demographics"], person)}


def _conflict(facts: Facts, part: Part, person: Person, role: str) -> Draft:
    first: Draft | IdentityChange = part.drafts[0] if part.drafts else part.changes[0]
    reported_at = first.data["reported_at"] if isinstance(first, Draft) else first.reported_at
    return Draft(
        event_type="identity.conflict",
        stream_type="patient",
        occurred=first.occurred,
        occurred_field=first.occurred_field,
        data={
            "trigger": facts.trigger,
            "reported_at": reported_at,
            "patients": list(person.patients),
        },
        clear={},
        ordinal=first.ordinal,
        role=role,
    )


def _change(change: IdentityChange, target: Person) -> Draft:
    """That the source is the target, or is not after all."""
    said = (
        {"from_patient_id": target.patient_id}
        if change.event_type == "patient.unmerged"
        else {"into_patient_id": target.patient_id, "kind": change.kind}
    )
    return Draft(
        event_type=change.event_type,
        stream_type="patient",
        occurred=change.occurred,
        occurred_field=change.occurred_field,
        data={"trigger": change.trigger, "reported_at": change.reported_at, **said},
        clear={},
        ordinal=change.ordinal,
        role=CHANGE,
    )
