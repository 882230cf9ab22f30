"""An Encounter as one statement of its visit (rule T27)."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from schemas.events import TYPES
from streams.ledger.mapping.facts import Claim, Draft, Part, Unmappable
from streams.ledger.mapping.fhir import identifiers, locations, times
from streams.ledger.mapping.fhir.references import References
from streams.ledger.mapping.fhir.resource import Resource, items, part, text
from streams.ledger.mapping.times import Moment

STAYS_MAX = 500  # a visit of a year has some hundreds; each version is folded with the others
RECEIVED, UPDATED = "received", "meta.lastUpdated"
_EVENT = TYPES["admission.encounter_stated"]
_NUMBER_DIGITS = 18  # what an Avro long holds of digits
# The v2-to-FHIR guide's table from PV1-2 (HL7 table 0004), read backwards.
_CLASSES = {
    "IMP": "I", "ACUTE": "I", "NONAC": "I", "SS": "I", "AMB": "O", "VR": "O", "HH": "O",
    "FLD": "O", "EMER": "E", "PRENC": "P",
}  # fmt: skip


def encounter_part(
    encounter: Resource, references: References, *, received_at: datetime, ordinal: int
) -> Part:
    """What one version of an Encounter says; raises `Unmappable` without a patient or number."""
    source = references.source
    patient = identifiers.meant(
        part(encounter, "subject", "Encounter.subject"), encounter, "Encounter.subject", references
    )
    if not patient:
        raise Unmappable("no_patient", "Encounter.subject names no patient")
    number = identifiers.visit(encounter, source)
    reported = updated(encounter, references)
    stays = [
        _stay(node, encounter, references)
        for node in items(encounter, "location", "Encounter.location", most=STAYS_MAX)
    ]
    period = part(encounter, "period", "Encounter.period")
    zone = source.feed.zone
    start = times.moment(period, "start", "Encounter.period.start", zone)
    end = times.end(period, "end", "Encounter.period.end", zone)
    occurred, field = _occurred(start, (begun for _, begun in stays), reported, received_at)
    draft = Draft(
        event_type=_EVENT.name, stream_type=_EVENT.stream_type, occurred=occurred,
        occurred_field=field, ordinal=ordinal, role="visit",
        data={
            "trigger": "Encounter",
            "reported_at": None if reported is None else reported.micros,
            **_version(encounter),
            "status": text(encounter, "status", "Encounter.status"),
            "patient_class": _class(encounter),
            "period_started_at": None if start is None else start.micros,
            "period_ended_at": None if end is None else end.micros,
            "stays": [stay for stay, _ in stays],
        },
        clear={"visit_number": number.value},
    )  # fmt: skip
    return Part(claim=Claim(identifiers=patient, visit=number), drafts=(draft,))


def updated(resource: Resource, references: References) -> Moment | None:
    """When its source says that this version came to be: meta.lastUpdated."""
    meta = part(resource, "meta", "meta")
    return times.moment(meta, "lastUpdated", UPDATED, references.source.feed.zone)


def told(reported: Moment | None, received_at: datetime) -> tuple[Moment, str]:
    """When a version was told at the latest, and which field says so."""
    if reported is not None:
        return reported, UPDATED
    return Moment(received_at.astimezone(UTC), "fraction", ""), RECEIVED


def _occurred(
    start: Moment | None,
    begun: Iterable[Moment | None],
    reported: Moment | None,
    received_at: datetime,
) -> tuple[Moment, str]:
    """When what it tells of began; of a version without any time when it was told."""
    if start is not None:
        return start, "Encounter.period"
    first = min((each for each in begun if each), key=lambda each: each.at, default=None)
    return (first, "location.period") if first else told(reported, received_at)


def _stay(
    node: Resource, encounter: Resource, references: References
) -> tuple[Mapping[str, Any], Moment | None]:
    """One Encounter.location, and when it began."""
    period = part(node, "period", "Encounter.location.period")
    zone = references.source.feed.zone
    start = times.moment(period, "start", "Encounter.location.period.start", zone)
    end = times.end(period, "end", "Encounter.location.period.end", zone)
    element = "Encounter.location.location"
    stay = {
        "place": locations.place(part(node, "location", element), encounter, element, references),
        "status": text(node, "status", "Encounter.location.status"),
        "started_at": start and start.micros,
        "ended_at": end and end.micros,
        "precision": start and start.precision,
    }
    return stay, start


def _version(encounter: Resource) -> dict[str, Any]:
    version = text(part(encounter, "meta", "meta"), "versionId", "meta.versionId")
    numeric = version is not None and version.isascii() and version.isdigit()
    number = int(version) if version and numeric and len(version) <= _NUMBER_DIGITS else None
    return {"version": version, "version_number": number}


def _class(encounter: Resource) -> str | None:
    """Encounter.class as PV1-2 has it, else as it is."""
    code = text(part(encounter, "class", "Encounter.class"), "code", "Encounter.class.code")
    return None if code is None else _CLASSES.get(code, code)
