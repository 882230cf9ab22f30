"""What the ledger leaves out of what is told of erased people, under the locks of its transaction.

Keys that a process still holds may have sealed after a key was destroyed, and tokens need no key
to be read: so what is to be written is looked at once more, where ``patient.erased`` and its
tombstone commit together and nothing of the same stream comes between.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import Connection

from schemas import sealing
from sinks import identities
from sinks.aliases import TELLING
from sinks.database import Row
from sinks.identities import Name
from sinks.numbering import Entry

UNDONE = "the merge of an erased person isn't undone"
_UNDOING = "patient.unmerged"
# What an event says of other people than its own.
_OTHERS = ("patient_id", "from_patient_id", "into_patient_id")

Event = Mapping[str, Any]


class KeysStale(Exception):  # noqa: N818  named for what is wrong
    """Keys at hand were destroyed since: with those of now the same becomes what it is to be."""

    def __init__(self, people: Collection[tuple[UUID, UUID]]) -> None:
        super().__init__(f"keys at hand were destroyed since, people: {len(people)}")
        self.people = frozenset(people)  # tenant and person


@dataclass(frozen=True, slots=True)
class Tomb:
    """An erased person: the destroyed versions, the last erasure, whether they came anew."""

    versions: frozenset[int]
    erased_at: datetime
    anew: bool

    def dark(self, said_at: datetime | None) -> bool:
        """Whether what was said then is not to be kept."""
        return not self.anew or said_at is None or said_at <= self.erased_at


def darken(
    connection: Connection[Row], entries: list[Entry], counts: dict[str, int]
) -> list[Entry]:
    """The entries without what is told of erased people; the very same list, as is mostly so.

    Of them stays what isn't sealed: codes, places, times, ids. No text, no token, no raw body, no
    dead letter's record; and no undoing of a merge, whose message is then counted as ignored.
    Raises :class:`KeysStale`.
    """
    tenants = sorted({name[0] for entry in entries if (name := entry.known_as())})
    if not tenants or connection.execute(_ANY, (tenants,)).fetchone() is None:
        return entries
    named = _named(connection, entries)
    people = [_people(entry, named) for entry in entries]
    tombs = _tombs(connection, tenants, {each for one in people for each in one})
    if not tombs:
        return entries
    stale = _stale(entries, tombs)
    if stale:
        raise KeysStale(stale)
    return [
        _darkened(entry, _of(entry, one, tombs), counts)
        for entry, one in zip(entries, people, strict=True)
    ]


def people(events: Iterable[Event]) -> set[str]:
    """Everybody whom events are about, as text."""
    found: set[str] = set()
    for event in events:
        data = event["data"]
        said = [event["person_id"], *(data.get(name) for name in _OTHERS)]
        if event["stream_type"] == "patient":
            said += [event["stream_id"], *data.get("patients", ())]
        found.update(str(each) for each in said if each is not None)
    return found


def _darkened(entry: Entry, tombs: Mapping[str, Tomb], counts: dict[str, int]) -> Entry:
    if not tombs:
        return entry
    if any(_undoes(event, tombs) for event in entry.events):
        assert entry.message is not None, "who tells of two patients is a message"
        counts[entry.message["outcome"]] -= 1
        counts["ignored"] += 1
        ignored = {"outcome": "ignored", "reason": UNDONE, "cause": "erased"}
        message = {**entry.message, **ignored, "body_sealed": b""}
        return Entry(offset=entry.offset, message=message, stands=entry.stands)
    events = [_without_texts(event, tombs, entry.said_at) for event in entry.events]
    entry = replace(entry, events=events)
    if not any(tomb.dark(entry.said_at) for tomb in tombs.values()):
        return entry
    letter = entry.letter and replace(entry.letter, key=None, value=None)
    assert entry.message is not None, "whose it is stands in its message"
    message = {**entry.message, "body_sealed": b""}
    return replace(entry, key=None, value=None, message=message, letter=letter, names=None)


def _undoes(event: Event, tombs: Mapping[str, Tomb]) -> bool:
    if event["event_type"] != _UNDOING:
        return False
    return not tombs.keys().isdisjoint({str(event["stream_id"]), event["data"][TELLING[_UNDOING]]})


def _stale(
    entries: Iterable[Entry], tombs: Mapping[tuple[str, str], Tomb]
) -> set[tuple[UUID, UUID]]:
    """Tenant and person of whom something was sealed by a key that is destroyed."""
    found = set()
    for event in (event for entry in entries for event in entry.events if event["sealed"]):
        name = (str(event["tenant_id"]), str(event["person_id"]))
        tomb = tombs.get(name)
        if tomb and not tomb.versions.isdisjoint(_versions(event["sealed"].values())):
            found.add((UUID(name[0]), UUID(name[1])))
    return found


def _without_texts(event: Event, tombs: Mapping[str, Tomb], said_at: datetime | None) -> Event:
    """The event without what mustn't be kept, such as what is told again of a joined visit."""
    tomb = tombs.get(str(event["person_id"]))
    if tomb is None or not event["sealed"] or not tomb.dark(said_at):
        return event
    data = {name: value for name, value in event["data"].items() if name != "tokens"}
    return {**event, "data": data, "sealed": {}, "metadata": {**event["metadata"], "erased": True}}


def _versions(envelopes: Iterable[str]) -> set[int]:
    return {sealing.header(sealing.untext(each)).key_version for each in envelopes}


def _of(
    entry: Entry, people: Iterable[str], tombs: Mapping[tuple[str, str], Tomb]
) -> dict[str, Tomb]:
    """The erased ones of an entry's people, who are its tenant's."""
    name = entry.known_as()
    if name is None:
        return {}
    return {each: tombs[name[0], each] for each in people if (name[0], each) in tombs}


def _people(entry: Entry, named: Mapping[Name, str]) -> set[str]:
    found = {*people(entry.events), *entry.about}
    if entry.names is not None:
        found.update(named[each] for each in entry.names() if each in named)
    return found


def _named(connection: Connection[Row], entries: Iterable[Entry]) -> dict[Name, str]:
    """Whom the identifiers of messages name that became no events."""
    names = sorted({each for entry in entries if entry.names for each in entry.names()})
    if not names:
        return {}
    return identities.within(connection, list(zip(*names, strict=True)))


def _tombs(
    connection: Connection[Row], tenants: Sequence[str], among: set[str]
) -> dict[tuple[str, str], Tomb]:
    """Those of these people who are erased, by tenant and id."""
    found: dict[tuple[str, str], list[Row]] = {}
    asked = sorted(str(UUID(each)) for each in among)
    for row in connection.execute(_TOMBS, (list(tenants), asked)).fetchall():
        found.setdefault((row["tenant_id"], row["subject_id"]), []).append(row)
    return {name: _tomb(rows) for name, rows in found.items()}


def _tomb(rows: Sequence[Row]) -> Tomb:
    erased = {row["version"]: row["destroyed_at"] for row in rows if row["destroyed_at"]}
    newest = max(row["version"] for row in rows)
    return Tomb(frozenset(erased), max(erased.values()), anew=newest not in erased)


_ANY = """
SELECT FROM subject_keys WHERE tenant_id = ANY (%s::uuid[]) AND destroyed_at IS NOT NULL LIMIT 1
"""
_TOMBS = """
SELECT tenant_id, subject_id, version, destroyed_at FROM subject_keys
WHERE (tenant_id, subject_id) IN (
    SELECT tenant_id, subject_id FROM subject_keys
    WHERE tenant_id = ANY (%s::uuid[]) AND subject_id = ANY (%s::uuid[])
      AND destroyed_at IS NOT NULL
)
"""
