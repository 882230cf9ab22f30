"""FHIR resources for tests, as Python values."""

import json
from datetime import UTC, datetime
from uuid import UUID

from schemas.feeds import Feed
from streams.ledger.mapping.fhir.document import map_document
from streams.ledger.mapping.fhir.references import Source

FEED = Feed(feed_id=UUID(int=0xF1), tenant_id=UUID(int=1), name="fhir", authority="NORTH")
BASE = "https://hospital.example/fhir"
SOURCE = Source(feed=FEED, base=BASE)
RECEIVED = datetime(2026, 3, 9, 12, tzinfo=UTC)


def at(clock):
    """A dateTime of one day: ``08:00``."""
    return f"2026-03-02T{clock}:00Z"


def mrn(value, *, kind="MR", system=None):
    coding = {"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": kind}
    return {"value": value, "type": {"coding": [coding]}, **({"system": system} if system else {})}


def stay(place, start=None, end=None, status="active", location=None):
    period = {name: at(each) for name, each in (("start", start), ("end", end)) if each}
    return {
        "location": location or {"identifier": {"value": place}},
        **({"status": status} if status else {}),
        **({"period": period} if period else {}),
    }


def encounter(*stays, start="08:00", end=None, status="in-progress", version=1, **more):
    period = {name: at(each) for name, each in (("start", start), ("end", end)) if each}
    return {
        "resourceType": "Encounter", "id": "e1", "status": status,
        "meta": {"versionId": str(version), "lastUpdated": f"2026-03-03T{version:02}:00:00Z"},
        "identifier": [mrn("V1", kind="VN")],
        "class": {"code": "IMP"},
        "subject": {"identifier": mrn("A")},
        "period": period, "location": list(stays), **more,
    }  # fmt: skip


def location(number, code=None, name=None, part_of=None, **more):
    coding = {"physicalType": {"coding": [{"code": code}]}} if code else {}
    above = {"partOf": {"reference": part_of}} if part_of else {}
    return {
        "resourceType": "Location", "id": number, **coding, **above,
        **({"name": name} if name else {}), **more,
    }  # fmt: skip


def patient(number, *numbers, active=True, links=(), version=1, system=None, **more):
    return {
        "resourceType": "Patient", "id": number, "active": active,
        "meta": {"versionId": str(version), "lastUpdated": f"2026-03-02T{9 + version:02}:00:00Z"},
        "identifier": [mrn(each, system=system) for each in numbers],
        "link": [
            {"type": kind, "other": other if isinstance(other, dict) else {"reference": other}}
            for kind, other in links
        ], **more,
    }  # fmt: skip


def bundle(*resources):
    return {
        "resourceType": "Bundle", "type": "collection",
        "entry": [
            {"fullUrl": f"{BASE}/{each['resourceType']}/{each.get('id')}", "resource": each}
            for each in resources
        ],
    }  # fmt: skip


def body(resource):
    return json.dumps(resource).encode()


def mapped(resource, source=SOURCE):
    return map_document(body(resource), source, received_at=RECEIVED)


def draft(resource, source=SOURCE):
    """The one draft of a resource that becomes one."""
    [part] = mapped(resource, source).parts
    [only] = part.drafts
    return only
