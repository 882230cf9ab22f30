"""Every Patient and Encounter of the real FHIR files is mapped, or refused with its reason."""

from collections import Counter
from datetime import UTC, datetime
from itertools import product
from uuid import UUID

import orjson
import pytest

from schemas.feeds import Feed
from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.fhir.document import map_document
from streams.ledger.mapping.fhir.references import Source

RECEIVED = datetime(2026, 3, 9, 12, tzinfo=UTC)
SOURCE = Source(feed=Feed(feed_id=UUID(int=3), tenant_id=UUID(int=1), name="corpus"))
EXPECTED = {"Encounter": "admission.encounter_stated", "Patient": "patient.updated"}


@pytest.fixture(scope="module")
def documents(corpus):
    """Each JSON document of the files, and each line of NDJSON ones."""
    found = []
    for path in sorted((corpus / "fhir").rglob("*")):
        if not path.is_file():
            continue
        raw = path.read_bytes()
        whole = raw.splitlines() if path.suffix == ".ndjson" else [raw]
        found += [(path.name, body) for body in whole if body.strip()]
    return found


def resources(body):
    """The resources that a document carries itself, one by one."""
    try:
        document = orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError:
        return []
    if not isinstance(document, dict):
        return []
    if document.get("resourceType") != "Bundle":
        return [document]
    return [
        entry["resource"]
        for entry in document.get("entry", [])
        if "resource" in entry and entry.get("request", {}).get("method") != "DELETE"
    ]


def said(body):
    try:
        return map_document(body, SOURCE, received_at=RECEIVED)
    except Unmappable as refused:
        return refused


def test_every_document_is_mapped_whole_or_refused_with_a_reason(documents):
    outcomes = Counter()
    for name, body in documents:
        told = said(body)
        outcomes[type(told).__name__] += 1
        if isinstance(told, Facts):
            drafts = Counter(each.event_type for part in told.parts for each in part.drafts)
            sent = Counter(each.get("resourceType") for each in resources(body))
            assert drafts == {EXPECTED[kind]: sent[kind] for kind in EXPECTED if sent[kind]}, name
    assert outcomes["Facts"] > 70, outcomes
    assert sum(outcomes.values()) == len(documents)


def test_every_patient_and_encounter_by_itself_is_mapped_or_refused_with_a_reason(documents):
    outcomes = Counter()
    for (_, body), kind in product(documents, EXPECTED):
        for each in resources(body):
            if each.get("resourceType") == kind:
                told = said(orjson.dumps(each))
                outcomes[kind, getattr(told, "cause", type(told).__name__)] += 1
    assert set(outcomes) <= {
        (kind, cause) for kind in EXPECTED for cause in ("Facts", "no_patient", "no_visit")
    }, outcomes
    assert outcomes["Encounter", "Facts"] > 50, outcomes
    assert outcomes["Patient", "Facts"] > 40, outcomes
