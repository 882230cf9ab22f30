"""Locations: a place within its partOf chain as PV1-3 would name it (rule T20)."""

from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.fhir.references import References, address, logical
from streams.ledger.mapping.fhir.resource import Resource, items, part, text

CHAIN_MAX = 16  # from a bed to its country; a chain that is longer goes in a ring
# Location.physicalType (location-physical-type) by PL's component, counted from 1.
_COMPONENTS = {"bd": 3, "ro": 2, "wa": 1, "lvl": 8, "bu": 7, "si": 4}
# Where no ward is named these are the point of care, as is whatever has no type.
_POINT_OF_CARE = 1
_OUTSIDE = frozenset(("ho",))  # a home's name may be its owner's
_HOME = "home"
_CARET = "\\S\\"  # a caret inside a component keeps HL7's standard escape


def place(
    reference: Resource, within: Resource, element: str, references: References
) -> str | None:
    """The place's text ``point of care^room^bed^facility^^^building^floor``; None if not said.

    A component is the Location's identifier, else its name, else its id. A Location of no type
    is the point of care, as PL has no other; what isn't known further up the chain is left out.
    """
    chain = _chain(reference, within, element, references)
    if not chain:
        named = text(logical(reference, element), "value", f"{element}.identifier.value")
        target = references.resolve(reference, within, element)
        name = named or target.id or text(reference, "display", f"{element}.display")
        return _component(name) if name else None
    components = [""] * 8
    others = []
    for location in chain:
        code, name = _code(location), _name(location)
        number = _COMPONENTS.get(code)
        if number is None:
            others.append(name)
        elif not components[number - 1]:
            components[number - 1] = _component(name)
    said = [name for name in others if name]
    if said and not components[_POINT_OF_CARE - 1]:
        components[_POINT_OF_CARE - 1] = _component(said[0])
    return "^".join(components).rstrip("^") or None


def _chain(
    reference: Resource, within: Resource, element: str, references: References
) -> list[Resource]:
    """The Location and what it is part of, as far as they are known; never in a ring."""
    chain: list[Resource] = []
    holder = within
    while reference:
        found = references.resolve(reference, holder, element).resource
        if found is None or found.get("resourceType") != "Location":
            break
        if len(chain) == CHAIN_MAX:
            raise Unmappable("structure", "a place that is part of itself: Location.partOf")
        chain.append(found)
        contained = text(reference, "reference", element) or ""
        holder = holder if contained.startswith("#") else found
        reference, element = part(found, "partOf", "Location.partOf"), "Location.partOf"
    return chain


def _code(location: Resource) -> str:
    kind = part(location, "physicalType", "Location.physicalType")
    for coding in items(kind, "coding", "Location.physicalType.coding"):
        code = text(coding, "code", "Location.physicalType.coding.code")
        if code:
            return code
    return ""


def _name(location: Resource) -> str:
    """What it is called in a code as short as there is one."""
    for node in items(location, "identifier", "Location.identifier"):
        value = text(node, "value", "Location.identifier.value")
        if value:
            return value
    if _code(location) in _OUTSIDE:
        return _HOME
    name = text(location, "name", "Location.name")
    return name or address(location).partition("/")[2]


def _component(name: str) -> str:
    return " ".join(name.replace("^", _CARET).split())
