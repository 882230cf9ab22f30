"""What a message's events were, and what they would be now: which count no more, which are new."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final
from uuid import UUID

import orjson

from schemas import catalogue, identity
from schemas.clock import micros
from schemas.events import SUPERSEDED, TYPES
from schemas.sealing import EnvelopeInvalid, KeyDestroyed, KeyMissing, Keys, untext
from sinks.joins import JOINED
from streams.ledger.decide import CHANGE, CONFLICT, REMAPPED, EventRow, event_name
from streams.ledger.identities import Person
from streams.ledger.mapping.facts import Facts, IdentityChange, Part

Row = Mapping[str, Any]  # of ``events``, ids as text

WHO_IS_WHO: Final = frozenset(
    {
        "patient.merged", "patient.unmerged", "patient.erased", "identity.conflict",
        "admission.patient_changed", JOINED,
    }
)  # fmt: skip
"""What others were told by, or decided by, since: it isn't taken back by itself."""
NEW, GONE = "new", "gone"
AGAIN: Final[tuple[str, ...]] = ("counts again",)
_ENVELOPE = ("occurred_precision", "occurred_field", "occurred_text")
_UNKNOWN = ("?", "??")  # in conflict: nobody is known by it
_TOKENS = "tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class Differs:
    """What a message says now that it didn't, and the reverse.

    ``gone`` are rows of events that are to count no more; ``ids`` are those of the events that are
    to be new, by their names; ``said`` tells each difference by event type and what differs,
    names of fields and nothing of what they hold. What is ``left`` as it is, and why.
    """

    gone: tuple[Row, ...] = ()
    ids: Mapping[UUID, UUID] = field(default_factory=dict)
    said: tuple[tuple[str, str], ...] = ()
    left: str | None = None

    @property
    def any(self) -> bool:
        """Whether events are to be appended."""
        return bool(self.gone or self.ids)

    @property
    def same(self) -> bool:
        """Whether the message says what it said."""
        return not self.any and self.left is None


class Readable(Keys):
    """A tenant's keys that seal nothing: what would be sealed stays as it is, to be compared."""

    __slots__ = ()

    def sealed(
        self, clear: Mapping[str, Any], *, person: UUID, record: UUID
    ) -> dict[str, str] | None:
        """The values as JSON: bound to nothing, and for nobody's eyes but ours."""
        del person, record
        return {name: orjson.dumps(value).decode() for name, value in clear.items()}


@dataclass(frozen=True, slots=True)
class Told:
    """What is stored of one message: its events in the order in which they were told."""

    message: Mapping[str, Any]
    events: tuple[Row, ...]

    @property
    def superseded(self) -> frozenset[str]:
        """The ids of those that count no more."""
        return frozenset(
            row["data"]["event_id"] for row in self.events if row["event_type"] in SUPERSEDED
        )

    @property
    def standing(self) -> Iterator[Row]:
        """Those that count, without what was told again in other streams because of others."""
        ids, gone = [UUID(row["event_id"]) for row in self.events], self.superseded
        for row in self.events:
            again = {str(identity.told_again(each, row["stream_id"])) for each in ids}
            if row["event_type"] not in SUPERSEDED and row["event_id"] not in gone | again:
                yield row

    def last(self, name: UUID) -> Row | None:
        """The newest event of this name, whether it counts or not."""
        rows = {row["event_id"]: row for row in self.events}
        found = None
        while str(name) in rows:
            found, name = rows[str(name)], identity.instead(name)
        return found

    def named(self, event_type: str, ordinal: int, role: str) -> Row | None:
        """The newest event that the message told under these."""
        return self.last(event_name(self.message, event_type, ordinal, role))


def people(told: Told, facts: Facts, now: Sequence[Person]) -> list[Person]:
    """Whom each part named when it was told; who was never told is whom it names ``now``.

    A message that is mapped anew isn't told anew: what is known of people since changes nothing.
    """
    if not told.events:
        return list(now)
    return [_person(told, part, person) for part, person in zip(facts.parts, now, strict=True)]


def _person(told: Told, part: Part, now: Person) -> Person:
    first = part.drafts[0] if part.drafts else part.changes[0]
    conflict = told.named("identity.conflict", first.ordinal, CONFLICT)
    if conflict is not None:
        return replace(now, patients=tuple(conflict["data"]["patients"]))
    known = [
        row["person_id"]
        for draft in part.drafts
        if (row := told.named(draft.event_type, draft.ordinal, draft.role)) is not None
    ]
    sources = [_source(told, part, change) for change in part.changes]
    changed = [told.named(change.event_type, change.ordinal, CHANGE) for change in part.changes]
    mine = known or [_target(row) for row in changed if row is not None]
    patients = (mine[0],) if mine else now.patients
    one = Person(patients=patients)
    return Person(
        patients=patients,
        sources=(*(source or one for source in sources), *_owners(told, part, now)),
        one_already=bool(part.changes) and not any(changed),
    )


def _target(row: Row) -> str:
    data = row["data"]
    return str(data["into_patient_id"] if "into_patient_id" in data else data["from_patient_id"])


def _source(told: Told, part: Part, change: IdentityChange) -> Person | None:
    """Who was to be another; None who was so already."""
    row = told.named(change.event_type, change.ordinal, CHANGE)
    if row is not None:
        return Person(patients=(row["stream_id"],))
    first = part.drafts[0] if part.drafts else part.changes[0]
    role = f"{CONFLICT}.{change.ordinal}"
    conflict = told.named("identity.conflict", first.ordinal, role)
    if conflict is not None:
        return Person(patients=tuple(conflict["data"]["patients"]))
    return None


def _owners(told: Told, part: Part, now: Person) -> Iterator[Person]:
    """Whose the visits were that are somebody else's now."""
    moving = [draft for draft in part.drafts if draft.source]
    for draft, source in zip(moving, now.sources[len(part.changes) :], strict=True):
        row = told.named(draft.event_type, draft.ordinal, draft.role)
        if row is None:
            yield source
            continue
        owner = row["data"]["from_patient_id"]
        yield Person(patients=_UNKNOWN if owner is None else (owner,))


def compare(
    told: Told, rows: Sequence[EventRow], keys: Keys, last: Callable[[str], str]
) -> Differs:
    """What differs between a message's standing events and the ``rows`` that it would be now.

    ``rows`` are as :class:`Readable` keys leave them. ``last`` tells as which visit another one
    goes on. Raises :class:`~schemas.sealing.KeysWanted` where a person's key isn't at hand.
    """
    gone: list[Row] = []
    ids: dict[UUID, UUID] = {}
    said: list[tuple[str, str]] = []
    standing = {row["event_id"]: row for row in told.standing}
    for row in rows:
        name = row["event_id"]
        before = told.last(name)
        if before is None:
            if row["event_type"] == JOINED:  # who was so already was told nothing
                continue
            ids[name] = name
            said.append((row["event_type"], NEW))
            continue
        stands = standing.pop(before["event_id"], None)
        fields: tuple[str, ...] = AGAIN if stands is None else _fields(before, row, keys, last)
        if fields:
            ids[name] = identity.instead(UUID(before["event_id"]))
            said.append((row["event_type"], f"changed: {', '.join(fields)}"))
            gone += [] if stands is None else [stands]
    for lost in standing.values():
        gone.append(lost)
        said.append((lost["event_type"], GONE))
    return Differs(gone=tuple(gone), ids=ids, said=tuple(said))


def marker(row: Row, mapper_version: int) -> EventRow:
    """The event by which another one counts no more, without its numbers."""
    stream_type = row["stream_type"]
    declared = TYPES[f"{stream_type}.superseded"]
    kept = (
        "stream_id", "stream_type", "tenant_id", "feed_id", "message_id", "person_id",
        "occurred_at", "occurred_precision", "occurred_field", "occurred_text", "created_by",
    )  # fmt: skip
    return {
        **{name: row[name] for name in kept},
        "event_id": identity.superseding(UUID(row["event_id"])),
        "event_type": declared.name,
        "schema_version": declared.schema_version,
        "data": {
            "event_id": row["event_id"],
            "event_type": row["event_type"],
            "reported_at": row["data"].get("reported_at"),
        },
        "sealed": {},
        "metadata": {**row["metadata"], "mapper_version": mapper_version, REMAPPED: True},
    }


def _fields(before: Row, now: EventRow, keys: Keys, last: Callable[[str], str]) -> tuple[str, ...]:
    """The names of what an event would say otherwise."""
    if before["event_type"] in WHO_IS_WHO:
        return ()  # which of two is the other was told by all that was known then
    found = []
    stream = str(now["stream_id"])
    if before["stream_id"] not in {stream, last(stream)}:
        found.append("stream")
    if before["person_id"] != now["person_id"]:
        found.append("person")
    if micros(before["occurred_at"]) != micros(now["occurred_at"]):
        found.append("occurred_at")
    found += [name for name in _ENVELOPE if before[name] != now[name]]
    dark = "erased" in before["metadata"] or "erased" in now["metadata"]
    data, data_now = (_filled(before["event_type"], each["data"]) for each in (before, now))
    found += [
        name
        for name in sorted(data.keys() | data_now.keys())
        if data.get(name) != data_now.get(name) and not (dark and name == _TOKENS)
    ]
    return (*found, *(() if dark else _sealed(before, now, keys)))


def _sealed(before: Row, now: EventRow, keys: Keys) -> Iterator[str]:
    """The sealed fields that differ; of somebody whose key is gone nobody can tell."""
    person, record = UUID(before["person_id"]), UUID(before["event_id"])
    for name in sorted(before["sealed"].keys() | now["sealed"].keys()):
        envelope, clear = before["sealed"].get(name), now["sealed"].get(name)
        if envelope is None or clear is None:
            yield name
            continue
        try:
            opened = keys.open(untext(envelope), person=person, record=record, field=name)
        except (KeyDestroyed, KeyMissing, EnvelopeInvalid):
            continue
        if orjson.loads(opened) != orjson.loads(clear):
            yield name


def _filled(event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What an event says as its readers get it: what it doesn't say by its default."""
    said = orjson.loads(orjson.dumps(dict(data)))
    return {**_defaults(event_type), **said}


@cache
def _defaults(event_type: str) -> Mapping[str, Any]:
    fields = catalogue.schema(f"{catalogue.EVENTS_NAMESPACE}.{TYPES[event_type].record}")["fields"]
    [data] = [each["type"] for each in fields if each["name"] == "data"]
    return {each["name"]: each["default"] for each in data["fields"] if "default" in each}
