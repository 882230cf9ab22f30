"""Reading FHIR's JSON: bounded, and every wrong shape refused by the element's name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from streams.ledger.mapping.facts import Unmappable

Resource = Mapping[str, Any]

# A Synthea history of a long life is some 10 MB; what MLLP takes is 8 MiB.
BODY_BYTES_MAX = 16 * 1024 * 1024
DEPTH_MAX = 64  # of the specification's resources none nests deeper than 20
ENTRIES_MAX = 10_000  # of a Bundle; larger imports come as NDJSON
ITEMS_MAX = 1_000  # of one list in a resource, such as the places of one visit
TEXT_CHARACTERS_MAX = 1_024  # of an identifier, a code, a reference, a name

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A resource of a document, and the full URL by which others of it may refer to it."""

    resource: Resource
    full_url: str = ""


def read(body: bytes) -> Resource:
    """Read one resource; raises `Unmappable` where it is none, too large or too deep."""
    if len(body) > BODY_BYTES_MAX:
        raise Unmappable("structure", f"a resource of more bytes than: {BODY_BYTES_MAX}")
    try:
        found = orjson.loads(body.removeprefix(_BOM))
    except orjson.JSONDecodeError:
        raise Unmappable("structure", "it is no JSON") from None
    if not isinstance(found, dict):
        raise Unmappable("structure", "it is no resource but another JSON value")
    _shallow(found)
    kind(found)
    return found


def entries(document: Resource) -> tuple[Entry, ...]:
    """The resources of a Bundle in order, or the one that it is; contained ones stay inside."""
    if kind(document) != "Bundle":
        return (Entry(resource=document),)
    found = []
    for entry in items(document, "entry", "Bundle.entry", most=ENTRIES_MAX):
        request = part(entry, "request", "Bundle.entry.request")
        if "resource" not in entry or text(request, "method", "request.method") == "DELETE":
            continue
        resource = part(entry, "resource", "Bundle.entry.resource")
        kind(resource)
        full_url = text(entry, "fullUrl", "Bundle.entry.fullUrl") or ""
        found.append(Entry(resource=resource, full_url=full_url))
    return tuple(found)


def kind(resource: Resource) -> str:
    """The resource's type; raises `Unmappable` without one."""
    found = text(resource, "resourceType", "resourceType")
    if not found:
        raise Unmappable("structure", "it has no resourceType")
    return found


def text(node: Resource, name: str, element: str) -> str | None:
    """A string; None where it isn't there or holds only white space."""
    found = node.get(name)
    if found is None:
        return None
    if not isinstance(found, str):
        raise Unmappable("structure", f"no text: {element}")
    if len(found) > TEXT_CHARACTERS_MAX:
        raise Unmappable("structure", f"text that is too long: {element}")
    return found.strip() or None


def flag(node: Resource, name: str, element: str) -> bool | None:
    """A boolean; None where it isn't there."""
    found = node.get(name)
    if found is not None and not isinstance(found, bool):
        raise Unmappable("structure", f"no boolean: {element}")
    return found


def part(node: Resource, name: str, element: str) -> Resource:
    """An element with elements of its own; an empty one where it isn't there."""
    found = node.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Unmappable("structure", f"no element with elements: {element}")
    return found


def items(node: Resource, name: str, element: str, *, most: int = ITEMS_MAX) -> Sequence[Resource]:
    """A list of elements; an empty one where it isn't there."""
    found = node.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise Unmappable("structure", f"no list of elements: {element}")
    if len(found) > most:
        raise Unmappable("structure", f"more than {most}: {element}")
    return found


def texts(node: Resource, name: str, element: str) -> list[str]:
    """A list of strings, without those that hold only white space or aren't there."""
    found = node.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > ITEMS_MAX:
        raise Unmappable("structure", f"no list of texts, or too long: {element}")
    said = [text({name: item}, name, element) for item in found]
    return [each for each in said if each]


def _shallow(document: Resource) -> None:
    """Raise `Unmappable` where JSON nests deeper than any resource, without recursion."""
    level: list[Any] = [document]
    for _ in range(DEPTH_MAX):
        level = [
            inner
            for node in level
            for inner in (node.values() if isinstance(node, dict) else node)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise Unmappable("structure", f"nested deeper than: {DEPTH_MAX}")
