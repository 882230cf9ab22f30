"""A question over HTTP: its path, what it takes, what answers, and what that looks like."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ops.parameters import MIN_POSITION, Given, Misasked, Parameter
from schemas.sealing import Keys
from sinks.queries import Snapshot
from sinks.tenancy import ZoneUnknown
from streams.trajectory import PROJECTION as TRAJECTORY

JSON, SVG = "application/json", "image/svg+xml"
POSITION = "Wardtrail-Position"  # the header that says where a write stands
Answer = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """A sealed field of a row: the field that its envelope names, whose id it is bound to.

    ``whose`` are fields of the row: the first that isn't null holds the id. ``within`` says
    that the envelopes stand somewhere inside the field's value.
    """

    field: str
    whose: tuple[str, ...]
    within: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """What is asked in a request's body, as it would be a patient's data in a URL.

    ``schema`` is its JSON schema; ``read`` makes the parameters of it by the tenant's keys, and
    raises :class:`~ops.parameters.Misasked`.
    """

    schema: Mapping[str, Any]
    read: Callable[[object, Keys], Given]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A question: its path under ``/v1``, what it takes, who answers, which lists it gives.

    ``answer`` is given the archive, a snapshot of the asker's tenant, and the parameters.
    ``projections`` made what it answers from; without any it is the ledger itself. ``rows`` are
    lists, ``one`` rows that stand alone; ``more`` are the JSON schemas of what stands beside
    them. ``sealed`` are their fields that hold envelopes. ``drawn`` makes an SVG of an answer,
    for those that can be looked at. ``position`` is where a write that is told of stands, which
    goes into a header too. One with a ``body`` is a POST, of keys that see what is sealed.
    """

    path: str
    operation: str
    about: str
    answer: Callable[[Any, Snapshot, Given], Answer]
    parameters: tuple[Parameter, ...] = ()
    rows: Mapping[str, type] = field(default_factory=dict)
    more: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    projections: tuple[str, ...] = (TRAJECTORY.name,)
    one: Mapping[str, type] = field(default_factory=dict)
    sealed: Mapping[str, Mapping[str, Sealed]] = field(default_factory=dict)
    drawn: Callable[[Answer, Given], str] | None = None
    position: Callable[[Answer], str | None] | None = None
    body: Body | None = None

    @property
    def takes(self) -> tuple[Parameter, ...]:
        """Its own parameters, and the one that every question has whose URL is read."""
        return (*self.parameters, MIN_POSITION) if self.body is None else self.parameters

    @property
    def limited(self) -> bool:
        """Whether the asker says how many rows at most; more are cut off, and that is said."""
        names = {each.name for each in self.parameters}
        return "limit" in names and names.isdisjoint({"cursor", "since"})

    def read(self, path: Mapping[str, str], query: Sequence[tuple[str, str]]) -> Given:
        """The parameters of a request; raises :class:`~ops.parameters.Misasked`."""
        known = {each.name: each for each in self.takes}
        queried = [each.name for each in self.takes if each.place == "query"]
        given = {name: each.default for name, each in known.items() if each.default is not None}
        texts = dict(path)
        for name, text in query:
            if name not in queried:
                raise Misasked(
                    "a query parameter isn't known here", f"there are: {', '.join(queried)}"
                )
            if name in texts:
                raise Misasked(f"a parameter stands twice: {name}", "give each once")
            texts[name] = text
        for name, text in texts.items():
            kind = known[name].kind
            try:
                given[name] = kind.read(text)
            except (ValueError, ZoneUnknown):
                raise Misasked(f"a parameter can't be read: {name}", kind.hint) from None
        return given


def cut(answer: Answer, route: Route, given: Given) -> Answer:
    """The answer with no more rows than asked for, and whether that left any out.

    One that comes in pages has been cut to the page's size already.
    """
    if not route.limited:
        return answer
    limit = given["limit"]
    kept = {name: answer[name][:limit] for name in route.rows}
    return {**answer, **kept, "cut": any(len(answer[name]) > limit for name in route.rows)}
