"""Identifiers: whom a Patient names, and which visit an Encounter is."""

from collections.abc import Iterable

from schemas.identity import Identifier
from streams.ledger.mapping.claim import ACCOUNT, NOT_PERSONS
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.fhir.references import References, Source, Target, logical
from streams.ledger.mapping.fhir.resource import Resource, items, kind, part, text

TABLE_0203 = "http://terminology.hl7.org/CodeSystem/v2-0203"
BY_ID = "FHIR id"  # the type of an id under a server's address
VISIT = "VN"
_GIVEN_UP = "old"  # Identifier.use: whose it was


def identifier(node: Resource, element: str, source: Source) -> Identifier | None:
    """An Identifier: value, assigning authority, type by HL7 table 0203; None without a value.

    The authority is what the feed has for its system, else the system itself, else the feed's
    own: equal to HL7 v2's where both say the same.
    """
    value = text(node, "value", f"{element}.value")
    if value is None:
        return None
    system = text(node, "system", f"{element}.system")
    authority = source.feed.authority if system is None else source.systems.get(system, system)
    return Identifier(value=value, authority=authority, type=_type(node, element))


def persons(patient: Resource, source: Source) -> tuple[Identifier, ...]:
    """A Patient's identifiers: the feed's preferred types first, then in order, its id last."""
    found = dict.fromkeys(
        one
        for node in items(patient, "identifier", "Patient.identifier")
        if text(node, "use", "Patient.identifier.use") != _GIVEN_UP
        and (one := identifier(node, "Patient.identifier", source))
        and one.type not in NOT_PERSONS
    )
    number = text(patient, "id", "Patient.id")
    own = [Identifier(value=number, authority=source.home, type=BY_ID)] if number else []
    return (*_ranked(found, source), *own)


def meant(
    reference: Resource, within: Resource, element: str, references: References
) -> tuple[Identifier, ...]:
    """Whom a reference to a Patient names: by its identifier, the resource, its id; or nobody."""
    source = references.source
    target = references.resolve(reference, within, element)
    found = []
    named = identifier(logical(reference, element), f"{element}.identifier", source)
    if named is not None:
        found.append(named)
    resource = target.resource
    if resource is not None:
        if kind(resource) != "Patient":
            return ()
        contained = not target.id and (text(reference, "reference", element) or "")[:1] == "#"
        ours = {**resource, "id": None} if contained else resource
        found += persons(ours, source)
    elif target.id and target.type in ("", "Patient"):
        found.append(_by_id(target))
    return tuple(dict.fromkeys(found))


def visit(encounter: Resource, source: Source) -> Identifier:
    """Which visit it is: a visit number, else the first with a system, else any, else its id.

    The identity is the one that PV1-19 gives (rule T25). Raises `Unmappable` without any.
    """
    nodes = items(encounter, "identifier", "Encounter.identifier")
    current = [each for each in nodes if text(each, "use", "identifier.use") != _GIVEN_UP]
    found = [
        (one, "system" in node)
        for node in current
        if (one := identifier(node, "Encounter.identifier", source)) and one.type != ACCOUNT
    ]
    for wanted in (
        [one for one, _ in found if one.type == VISIT],
        [one for one, systematic in found if systematic],
        [one for one, _ in found],
    ):
        if wanted:
            return wanted[0]
    number = text(encounter, "id", "Encounter.id")
    if number is None:
        raise Unmappable("no_visit", "neither Encounter.identifier nor Encounter.id names it")
    return Identifier(value=number, authority=source.home, type=BY_ID)


def _by_id(target: Target) -> Identifier:
    return Identifier(value=target.id, authority=target.authority, type=BY_ID)


def _type(node: Resource, element: str) -> str:
    """Its code in HL7 table 0203, else the first that it has."""
    codings = items(part(node, "type", f"{element}.type"), "coding", f"{element}.type.coding")
    codes = [
        (text(each, "system", f"{element}.type.coding.system") != TABLE_0203, code)
        for each in codings
        if (code := text(each, "code", f"{element}.type.coding.code"))
    ]
    return min(codes, key=lambda each: each[0])[1][:20] if codes else ""


def _ranked(found: Iterable[Identifier], source: Source) -> list[Identifier]:
    types = source.feed.identifier_types
    rank = {name: number for number, name in enumerate(types)}
    return sorted(found, key=lambda one: rank.get(one.type, len(types)))
