"""FHIR documents to facts: a resource or a Bundle of them, as HL7 v2's messages become."""

import re
from collections.abc import Iterator
from datetime import datetime

from streams.ledger.mapping.facts import Facts, Ignored, Part, Unmappable
from streams.ledger.mapping.fhir import resource
from streams.ledger.mapping.fhir.encounter import encounter_part
from streams.ledger.mapping.fhir.patient import patient_parts
from streams.ledger.mapping.fhir.references import References, Source
from streams.ledger.mapping.fhir.resource import Entry, Resource

MAPPER_VERSION = 1  # rises when the same bytes give other drafts
PARTS_MAX = 1_000  # all parts of a document are written in one transaction

_TYPE = re.compile(r"[A-Z][A-Za-z]{1,63}")


def map_document(body: bytes, source: Source, *, received_at: datetime) -> Facts | Ignored:
    """The facts of one resource or Bundle, or why it is none of ours; raises `Unmappable`.

    A Bundle is whole or nothing: who may take it in part maps its entries one by one.
    ``received_at`` has a zone. The same arguments always give the same drafts.
    """
    assert received_at.tzinfo is not None, "a moment has a zone"
    document = resource.read(body)
    kind = resource.kind(document)
    name = kind if _TYPE.fullmatch(kind) else "?"
    control_id = resource.text(document, "id", "id") or ""
    entries = resource.entries(document)
    parts = tuple(_parts(entries, References(entries, source), received_at))
    if not parts:
        reason = f"resource type not mapped: {name}" if kind != "Bundle" else "nothing mapped in it"
        return Ignored(
            message_type=name, control_id=control_id, reason=reason, cause="message_type"
        )
    return Facts(message_type=name, trigger=name, control_id=control_id, parts=parts)


def _parts(
    entries: tuple[Entry, ...], references: References, received_at: datetime
) -> Iterator[Part]:
    found = 0
    for ordinal, entry in enumerate(entries):
        for part in _mapped(entry.resource, references, received_at, ordinal):
            found += 1
            if found > PARTS_MAX:
                raise Unmappable("structure", f"more parts than: {PARTS_MAX}")
            yield part


def _mapped(
    found: Resource, references: References, received_at: datetime, ordinal: int
) -> Iterator[Part]:
    kind = resource.kind(found)
    if kind == "Encounter":
        yield encounter_part(found, references, received_at=received_at, ordinal=ordinal)
    elif kind == "Patient":
        yield from patient_parts(found, references, received_at=received_at, ordinal=ordinal)
