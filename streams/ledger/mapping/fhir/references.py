"""References between resources: by full URL, type and id, or contained in one another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.feeds import Feed
from streams.ledger.mapping.fhir.resource import Entry, Resource, items, kind, part, text

_UUID, _OID = "urn:uuid:", "urn:oid:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A feed of FHIR: its settings, and what of its resources is known.

    ``base`` is its server's address, under which ids are its own; the feed's id where it has
    none. ``systems`` are the assigning authorities that HL7 v2 has for identifiers' systems.
    ``known`` are resources that came before, by ``Type/id``; ``earlier`` the version before the
    one that comes now, where there was one.
    """

    feed: Feed
    base: str = ""
    systems: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Resource] = field(default_factory=dict)
    earlier: Mapping[str, Resource] = field(default_factory=dict)

    @property
    def home(self) -> str:
        """The authority of ids: the base without a slash at its end."""
        return self.base.rstrip("/") or f"{_UUID}{self.feed.feed_id}"


class Target(NamedTuple):
    """What a reference leads to: a resource, or only an id and whose it is."""

    resource: Resource | None
    type: str = ""
    id: str = ""
    authority: str = ""


class References:
    """What the resources of one document mean by their references."""

    def __init__(self, entries: Iterable[Entry], source: Source) -> None:
        self.source = source
        self._by_url: dict[str, Resource] = {}
        self._by_id: dict[str, Resource] = {}
        for entry in entries:
            if entry.full_url:
                self._by_url[entry.full_url] = entry.resource
            named = address(entry.resource)
            if named:
                self._by_id[named] = entry.resource

    def resolve(self, reference: Resource, within: Resource, element: str) -> Target:
        """Where a Reference leads from inside a resource (R4, References 2.3.0)."""
        said = text(reference, "reference", f"{element}.reference")
        if said is None:
            return Target(None)
        if said.startswith("#"):
            return Target(_contained(within, said[1:]))
        said = said.partition("/_history/")[0]
        found = self._by_url.get(said)
        if found is not None:
            return Target(found, kind(found), *_home(found, self.source))
        if said.startswith((_UUID, _OID)):
            return Target(None, "", said.removeprefix(_UUID), self.source.home)
        server, type_name, number = _split(said)
        if not type_name:
            return Target(None)
        home = self.source.home
        if server in ("", home):
            local = f"{type_name}/{number}"
            found = self._by_id.get(local) or self.source.known.get(local)
            return Target(found, type_name, number, home)
        return Target(None, type_name, number, server)

    def earlier(self, resource: Resource) -> Resource | None:
        """The version of a resource before this one, if it is known."""
        named = address(resource)
        return self.source.earlier.get(named) if named else None


def address(resource: Resource) -> str:
    """A resource's type and id, ``Patient/7``; empty without an id."""
    number = text(resource, "id", "id")
    return f"{kind(resource)}/{number}" if number else ""


def _home(resource: Resource, source: Source) -> tuple[str, str]:
    return text(resource, "id", "id") or "", source.home


def _contained(within: Resource, name: str) -> Resource | None:
    for inner in items(within, "contained", "contained"):
        if text(inner, "id", "contained.id") == name:
            return inner
    return None


def _split(said: str) -> tuple[str, str, str]:
    """A reference's server, type and id; nothing where it is a search or no reference."""
    if "?" in said:
        return "", "", ""
    pieces = said.rstrip("/").split("/")
    if len(pieces) < 2 or not pieces[-2][:1].isupper() or not pieces[-1]:
        return "", "", ""
    return "/".join(pieces[:-2]), pieces[-2], pieces[-1]


def logical(reference: Resource, element: str) -> Resource:
    """A Reference's identifier, which names who is meant without a resource."""
    return part(reference, "identifier", f"{element}.identifier")
