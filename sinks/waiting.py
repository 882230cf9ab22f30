"""Waiting: which messages of a batch are kept behind a dead one of the same patient and family."""

from collections.abc import Iterable, Mapping

from psycopg import Connection

from sinks import darkening, parking
from sinks.database import Row
from sinks.dead_letters import DeadLetter
from sinks.numbering import Entry
from sinks.subscriptions import Held, Position

BEHIND = "behind"
SAID = "it waits behind another message of its patient"


class Freed(Exception):  # noqa: N818  named for what happened
    """What a message was to wait for was released meanwhile: the batch is looked at again."""


def behind(
    connection: Connection[Row],
    held: Held,
    position: Position,
    entries: list[Entry],
    counts: dict[str, int],
) -> tuple[list[Entry], frozenset[str]]:
    """The entries, those that wait as such; and which keys of theirs are parked already.

    Under the subscription's lock. Raises :class:`Freed` where one waits for nothing any more.
    """
    if not position.parked_keys and all(each.letter is None for each in entries):
        return entries, frozenset()
    stuck: frozenset[str] = frozenset()
    touched = {each.offset: touches(each) for each in entries}
    if position.parked_keys:
        asked = {key for keys in touched.values() for key in keys}
        stuck = parking.blocked(connection, held, asked) if asked else stuck
    parked = set(stuck)
    sorted_out = []
    for entry in entries:
        keys = touched[entry.offset]
        waits = not parked.isdisjoint(keys)
        if entry.letter is not None and entry.letter.state == "parked" and not waits:
            raise Freed(f"released meanwhile: {held.name}, offset: {entry.offset}")
        if waits:
            entry = _waiting(entry, keys, counts)
        if entry.letter is not None:
            parked |= keys
        sorted_out.append(entry)
    return sorted_out, stuck


def touches(entry: Entry) -> frozenset[str]:
    """The keys of what an entry tells of: none of one that becomes nothing, and of a command."""
    if entry.letter is not None:
        return frozenset(entry.letter.keys)
    if entry.touches is None or not (entry.events or entry.visits):
        return frozenset()
    return entry.touches()


def letter(entry: Entry, keys: Iterable[str]) -> DeadLetter:
    """What is kept of an entry that waits."""
    row: Mapping[str, object] = entry.message or {}
    return DeadLetter(
        offset=entry.offset, key=entry.key, value=entry.value,
        stage="map", cause=BEHIND, reason=SAID, state="parked",
        keys=tuple(sorted(keys)), family=entry.family,
        **{name: row.get(name) for name in ("tenant_id", "feed_id", "message_id")},  # type: ignore[arg-type]  # as text
    )  # fmt: skip


def _waiting(entry: Entry, keys: frozenset[str], counts: dict[str, int]) -> Entry:
    """The entry as it is kept, with those whom it is about, should they be erased."""
    assert entry.message is not None, "what has keys is a message"
    if entry.letter is not None and entry.letter.state == "parked":
        return entry
    counts[entry.message["outcome"]] -= 1
    counts["parked"] += 1
    kept = letter(entry, keys)
    return Entry(
        offset=entry.offset, message={**entry.message, **kept.told},
        letter=kept, about=entry.about | darkening.people(entry.events), names=entry.names,
        said_at=entry.said_at, family=entry.family,
    )  # fmt: skip
