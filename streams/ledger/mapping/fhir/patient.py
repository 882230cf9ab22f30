"""A Patient: demographics, and who replaces whom by its links (rule M7)."""

from collections.abc import Iterator
from datetime import datetime
from itertools import count

from schemas import identity
from schemas.identity import Identifier
from streams.ledger.mapping.facts import Claim, Draft, IdentityChange, Part, Unmappable
from streams.ledger.mapping.fhir import identifiers
from streams.ledger.mapping.fhir.demographics import demographics
from streams.ledger.mapping.fhir.encounter import told, updated
from streams.ledger.mapping.fhir.references import References
from streams.ledger.mapping.fhir.resource import Resource, flag, items, part, text

REPLACED_BY, REPLACES = "replaced-by", "replaces"
_TRIGGER = "Patient"
_Identifiers = tuple[Identifier, ...]


def patient_parts(
    patient: Resource, references: References, *, received_at: datetime, ordinal: int
) -> Iterator[Part]:
    """What one version of a Patient says of itself, and of whom it names in its links.

    Raises `Unmappable` where it has neither an identifier nor an id. An undone link is known
    only where the version before this one is (:attr:`Source.earlier`).
    """
    ours = identifiers.persons(patient, references.source)
    if not ours:
        raise Unmappable("no_patient", "neither Patient.identifier nor Patient.id names anybody")
    reported = updated(patient, references)
    at, field = told(reported, received_at)
    numbers = count(ordinal * 1_000)  # a link's place among the links of the document
    said_at = None if reported is None else reported.micros

    def change(event_type: str, source: _Identifiers) -> IdentityChange:
        return IdentityChange(
            kind="merge", event_type=event_type, source=source, occurred=at, occurred_field=field,
            reported_at=said_at, trigger=_TRIGGER, ordinal=next(numbers),
        )  # fmt: skip

    now, before = _links(patient, references), _before(patient, references)
    own, others = [], []
    for event_type, links in (
        ("patient.merged", now),
        ("patient.unmerged", [link for link in before if link not in now]),
    ):
        for type_, other in links:
            source, target = (ours, other) if type_ == REPLACED_BY else (other, ours)
            source = _apart(source, target)
            if not source:
                continue
            if type_ == REPLACES:
                own.append(change(event_type, source))
            else:
                claim = Claim(identifiers=target, visit=None)
                others.append(Part(claim=claim, drafts=(), changes=(change(event_type, source),)))
    draft = Draft(
        event_type="patient.updated", stream_type="patient", occurred=at, occurred_field=field,
        ordinal=ordinal, role="patient",
        data={"trigger": _TRIGGER, "reported_at": said_at},
        clear={"demographics": demographics(patient, references.source)},
    )  # fmt: skip
    yield Part(claim=Claim(identifiers=ours, visit=None), drafts=(draft,), changes=tuple(own))
    yield from others


def _links(patient: Resource, references: References) -> list[tuple[str, _Identifiers]]:
    """The links that say who is whom: the one replaced is no longer active, the other one is."""
    active = flag(patient, "active", "Patient.active") is not False
    found = []
    for link in items(patient, "link", "Patient.link"):
        type_ = text(link, "type", "Patient.link.type")
        if type_ != (REPLACES if active else REPLACED_BY):
            continue
        element = "Patient.link.other"
        other = identifiers.meant(part(link, "other", element), patient, element, references)
        if other:
            found.append((type_, other))
    return found


def _before(patient: Resource, references: References) -> list[tuple[str, _Identifiers]]:
    """The links of the version before, as far as this one can undo them.

    One that isn't active undoes nothing: it is only no more than it was.
    """
    earlier = references.earlier(patient)
    if earlier is None or flag(patient, "active", "Patient.active") is False:
        return []
    return _links(earlier, references)


def _apart(source: _Identifiers, target: _Identifiers) -> _Identifiers:
    """What the source gives up: what isn't the target's, too."""
    kept = {(one.authority, identity.normal(one.value)) for one in target}
    return tuple(one for one in source if (one.authority, identity.normal(one.value)) not in kept)
