"""A Patient's demographics in the names that HL7 v2's have, to be sealed like these."""

from typing import Any

from streams.ledger.mapping.fhir import times
from streams.ledger.mapping.fhir.identifiers import identifier
from streams.ledger.mapping.fhir.references import Source
from streams.ledger.mapping.fhir.resource import Resource, flag, items, text, texts

_SEX = {"male": "M", "female": "F", "other": "O", "unknown": "U"}  # HL7 table 0001
_ADDRESS = (
    ("city", "city"), ("state", "state"), ("postal_code", "postalCode"), ("country", "country"),
    ("type", "use"),
)  # fmt: skip
_PHONES = frozenset(("phone", "fax", "pager", "sms"))


def demographics(patient: Resource, source: Source) -> dict[str, Any]:
    """JSON values by name: identifiers, names, birth_date, sex, addresses, phones, deceased."""
    gender = text(patient, "gender", "Patient.gender")
    died = times.moment(patient, "deceasedDateTime", "Patient.deceasedDateTime", source.feed.zone)
    deceased = flag(patient, "deceasedBoolean", "Patient.deceasedBoolean")
    found: dict[str, Any] = {
        "identifiers": _identifiers(patient, source),
        "names": [_name(node) for node in items(patient, "name", "Patient.name")],
        "birth_date": times.day(patient, "birthDate", "Patient.birthDate"),
        "sex": _SEX.get(gender, gender) if gender else None,
        "addresses": [_address(node) for node in items(patient, "address", "Patient.address")],
        "phones": [
            said
            for node in items(patient, "telecom", "Patient.telecom")
            if (said := _contact(node))
        ],
    }
    if died is not None:
        found["deceased_at"] = {
            "at": died.at.isoformat(), "precision": died.precision, "text": died.text,
        }  # fmt: skip
    if died is not None or deceased is not None:
        found["deceased"] = "Y" if died is not None or deceased else "N"
    return {name: value for name, value in found.items() if value}


def _identifiers(patient: Resource, source: Source) -> list[dict[str, str]]:
    element = "Patient.identifier"
    found = (identifier(node, element, source) for node in items(patient, "identifier", element))
    return [
        {"value": one.value, "authority": one.authority, "type": one.type} for one in found if one
    ]


def _name(node: Resource) -> dict[str, Any]:
    given = texts(node, "given", "Patient.name.given")
    return _said(
        family=text(node, "family", "Patient.name.family") or text(node, "text", "Patient.name"),
        given=given[0] if given else None,
        middle=" ".join(given[1:]),
        suffix=" ".join(texts(node, "suffix", "Patient.name.suffix")),
        prefix=" ".join(texts(node, "prefix", "Patient.name.prefix")),
        type=text(node, "use", "Patient.name.use"),
    )


def _address(node: Resource) -> dict[str, Any]:
    lines = texts(node, "line", "Patient.address.line")
    return _said(
        street=lines[0] if lines else text(node, "text", "Patient.address.text"),
        other=" ".join(lines[1:]),
        **{ours: text(node, theirs, f"Patient.address.{theirs}") for ours, theirs in _ADDRESS},
    )


def _contact(node: Resource) -> dict[str, Any]:
    value = text(node, "value", "Patient.telecom.value")
    system = text(node, "system", "Patient.telecom.system")
    if not value or (system != "email" and system not in _PHONES):
        return {}
    use = {"home": "PRN", "work": "WPN"}.get(text(node, "use", "Patient.telecom.use") or "", "ORN")
    return {"use": use, ("email" if system == "email" else "number"): value}


def _said(**values: str | None) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value}
