"""Joined visits: a visit whose number was changed goes on in the new number's stream (A50).

The stream that stays is the new number's, so that the order of arrival doesn't matter. What the
old stream holds is told again there, as events of their own; what comes later by the old number
goes there at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from psycopg import Connection

from schemas import identity, sealing
from schemas.sealing import EnvelopeInvalid, KeyDestroyed, KeyMissing, Keys, KeysWanted
from sinks.changes import Append
from sinks.database import Refused, Row
from sinks.tables import admission_aliases

JOINED = "admission.joined"
TOLD_AGAIN_MAX = 20_000  # a visit of years has some hundreds; more would hold every lock too long
_TOO_MANY = "54000"  # program_limit_exceeded
_UNREADABLE = "22000"  # data_exception


Event = Mapping[str, Any]  # a row of ``events``
Said = tuple[Sequence[Event], Keys | None]
"""A message's events without numbers, and the tenant's keys to seal again what is told again."""


@dataclass(slots=True)
class Visits:
    """Which visit goes on as which other one."""

    into: dict[str, str]

    def last(self, admission_id: str) -> str:
        """The visit as which it goes on; itself where its number never changed."""
        passed = {admission_id}
        while (further := self.into.get(admission_id)) is not None:
            assert further not in passed, "visits are joined one at a time, and never in a ring"
            passed.add(further)
            admission_id = further
        return admission_id


def follow(connection: Connection[Row], messages: Sequence[Said]) -> list[list[Event]] | None:
    """Each message's events, those of a joined visit in the stream in which it goes on.

    Under the tenant's lock where the messages join visits, and under those of the streams'
    partitions: a stream is joined only by an event of its own.
    None, where no visit of these was joined, as is nearly always so. Raises
    :class:`~schemas.sealing.KeysWanted` for all of them together.
    """
    streams = {
        str(each)
        for events, _ in messages
        for event in events
        if event["stream_type"] == "admission"
        for each in (event["stream_id"], event["data"].get("into_admission_id"))
        if each is not None
    }
    if not streams:
        return None
    going = visits(connection, streams)
    ended = [_join(events, going) for events, _ in messages]
    if not going.into and not any(_joins(events) for events, _ in messages):
        return None
    wanted = set[tuple[UUID, UUID]]()  # of all messages at once: each round is a transaction
    moved = [
        _moved(connection, said, each, going, wanted)
        for said, each in zip(messages, ended, strict=True)
    ]
    if wanted:
        raise KeysWanted(wanted)
    return moved


def visits(connection: Connection[Row], streams: Iterable[str]) -> Visits:
    """As which visits these go on."""
    rows = connection.execute(_INTO, (sorted(streams),)).fetchall()
    return Visits({row["admission_id"]: row["into_admission_id"] for row in rows})


def aliases(events: Iterable[Event]) -> list[Append]:
    """The rows that numbered events of joined visits write."""
    return [
        Append(
            admission_aliases,
            {
                "tenant_id": event["tenant_id"],
                "admission_id": event["stream_id"],
                "into_admission_id": event["data"]["into_admission_id"],
                "event_id": event["event_id"],
                "recorded_at": event["recorded_at"],
            },
        )
        for event in events
    ]


def _joins(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event["event_type"] == JOINED]


def _join(events: Iterable[Event], visits: Visits) -> dict[str, str]:
    """The visits that these events end, by the id of the event that says so.

    Two numbers of one visit already are one; a number that comes back ends nothing.
    """
    ended = {}
    for event in _joins(events):
        old = visits.last(str(event["stream_id"]))
        new = visits.last(event["data"]["into_admission_id"])
        if old != new:
            visits.into[old] = new
            ended[str(event["event_id"])] = old
    return ended


def _moved(
    connection: Connection[Row],
    said: Said,
    ended: Mapping[str, str],
    visits: Visits,
    wanted: set[tuple[UUID, UUID]],
) -> list[Event]:
    events, keys = said
    moved: list[Event] = []
    for event in events:
        if event["event_type"] == JOINED:
            old = ended.get(str(event["event_id"]))
            if old is not None:
                new = visits.last(old)
                data = {**event["data"], "into_admission_id": new}
                moved.append({**event, "stream_id": old, "data": data})
                limit = TOLD_AGAIN_MAX - len(moved)
                try:
                    moved += _again(connection, event, old, new, keys, limit=limit)
                except KeysWanted as more:
                    wanted |= more.people
        elif event["stream_type"] == "admission":
            moved.append({**event, "stream_id": visits.last(str(event["stream_id"]))})
        else:
            moved.append(event)
    return moved


def _again(
    connection: Connection[Row], joined: Event, old: str, new: str, keys: Keys | None, *, limit: int
) -> list[dict[str, Any]]:
    """What the old stream holds, as events of the new one; no more than ``limit``."""
    rows = connection.execute(_STREAM, (old, JOINED, limit + 1)).fetchall()
    if len(rows) > limit:
        raise Refused(_TOO_MANY, "told_again_max")
    _wanted(rows, keys)
    again = []
    for row in rows:
        event_id = identity.told_again(row["event_id"], new)
        sealed = _sealed_again(row, event_id, keys)
        metadata = {**row["metadata"], "causation_id": str(joined["message_id"])}
        if len(sealed) < len(row["sealed"]):
            metadata["erased"] = True
        again.append(
            {
                **row,
                "event_id": event_id,
                "stream_id": new,
                "sealed": sealed,
                "metadata": metadata,
            }
        )
    return again


def _sealed_again(row: Row, event_id: UUID, keys: Keys | None) -> dict[str, str]:
    """The envelopes for the new event under the same person's key, none if that is destroyed."""
    person = None if row["person_id"] is None else UUID(row["person_id"])
    sealed: dict[str, str] = {}
    for field, envelope in row["sealed"].items():
        assert keys is not None, "who opened the message has its tenant's keys"
        try:
            clear = keys.open(
                sealing.untext(envelope), person=person, record=UUID(row["event_id"]), field=field
            )
            again = keys.seal(clear, person=person, record=event_id, field=field)
        except KeyDestroyed:
            continue
        except KeysWanted:
            raise
        except (EnvelopeInvalid, KeyMissing):
            raise Refused(_UNREADABLE, "told_again_sealed") from None
        sealed[field] = sealing.text(again)
    return sealed


def _wanted(rows: Sequence[Row], keys: Keys | None) -> None:
    """Ask for the keys of all whose texts are to be sealed again, before any is opened."""
    people = {UUID(row["person_id"]) for row in rows if row["sealed"] and row["person_id"]}
    if people:
        assert keys is not None, "who opened the message has its tenant's keys"
        lacking = [each for each in people if not keys.has(each)]
        if lacking:
            raise KeysWanted([(keys.tenant_id, each) for each in lacking])


_INTO = """
WITH RECURSIVE way (admission_id, into_admission_id) AS (
    SELECT admission_id, into_admission_id FROM admission_aliases
    WHERE admission_id = ANY (%s::uuid[])
    UNION
    SELECT next.admission_id, next.into_admission_id
    FROM way JOIN admission_aliases AS next ON next.admission_id = way.into_admission_id
)
SELECT admission_id, into_admission_id FROM way
"""
_STREAM = """
SELECT event_id, stream_id, stream_type, event_type, schema_version, tenant_id, feed_id,
       message_id, person_id, occurred_at, occurred_precision, occurred_field, occurred_text,
       data, sealed, metadata, created_by
FROM events WHERE stream_id = %s AND event_type <> %s
ORDER BY event_version LIMIT %s
"""
