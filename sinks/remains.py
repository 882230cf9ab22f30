"""What there is of erased people in the ledger's rows, part by part, and raw bodies taken out.

Nothing here opens anything: who holds keys tells whose a body is that became no events.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from psycopg import Connection

from sinks.database import Database, Row, connect, for_tenants

WINDOW = 50_000  # positions looked at by one statement: some tenths of a second
PAGE = 200  # bodies in memory at a time; each may have some MiB
TAKEN_MAX = 5_000  # bodies of one transaction
_BY_TENANT = "AQEB"  # how the base64 of an envelope under a tenant's key begins: versions, scope

Message = tuple[UUID, UUID]
"""A feed's id and a message's."""


@dataclass(slots=True)
class Remains:
    """What was found of each of some people: events, envelopes, messages, other streams.

    ``under_tenant`` are envelopes that the tenant's key sealed, before people had keys.
    """

    people: frozenset[UUID]
    events: Counter[UUID] = field(default_factory=Counter)
    envelopes: Counter[UUID] = field(default_factory=Counter)
    under_tenant: Counter[UUID] = field(default_factory=Counter)
    messages: dict[UUID, set[Message]] = field(default_factory=lambda: defaultdict(set))
    streams: dict[UUID, UUID] = field(default_factory=dict)  # whose each is


@dataclass(frozen=True, slots=True, kw_only=True)
class Silent:
    """A message that became no events and has its body, or a dead letter of the ledger's."""

    id: UUID
    feed_id: UUID | None
    topic: str
    stream_id: UUID | None
    sealed: bytes = field(repr=False)


def find(database: Database, tenant_id: UUID, people: Sequence[UUID]) -> Remains:
    """Look through the ledger's events, window by window."""
    found = Remains(people=frozenset(people))
    for partition, head in _heads(database):
        for first in range(1, head, WINDOW):
            values = {
                "partition": partition, "first": first, "last": first + WINDOW - 1,
                "people": list(people), "texts": [str(each) for each in people],
            }  # fmt: skip
            with database.connection() as connection, connection.transaction():
                for_tenants(connection, [tenant_id])
                for row in connection.execute(_THEIRS, values).fetchall():
                    _count(found, row)
    return found


def names(
    database: Database, tenant_id: UUID, people: Sequence[UUID]
) -> dict[tuple[str, UUID], UUID]:
    """Every identifier that names these people, and whom: assigning authority and keyed hash."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        rows = connection.execute(_NAMES, (list(people),)).fetchall()
    return {(row["authority"], UUID(row["value_hmac"])): UUID(row["patient_id"]) for row in rows}


def silent(database: Database, tenant_id: UUID) -> Iterator[list[Silent]]:
    """The tenant's messages that became no events and still have a body, some at a time."""
    after = (UUID(int=0), UUID(int=0))
    while True:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, [tenant_id])
            rows = connection.execute(_SILENT, (tenant_id, *after, PAGE)).fetchall()
        if not rows:
            return
        after = (UUID(rows[-1]["feed_id"]), UUID(rows[-1]["message_id"]))
        yield [
            Silent(
                id=UUID(row["message_id"]), feed_id=UUID(row["feed_id"]), topic=row["topic"],
                stream_id=row["stream_id"] and UUID(row["stream_id"]), sealed=row["body_sealed"],
            )
            for row in rows
        ]  # fmt: skip


def letters(database: Database, tenant_id: UUID) -> Iterator[list[Silent]]:
    """The ledger's dead letters of the tenant, and of nobody, some at a time.

    Those of projections hold events, whose texts are under people's own keys.
    """
    after = UUID(int=0)
    while True:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, [tenant_id])
            rows = connection.execute(_LETTERS, (after, PAGE)).fetchall()
        if not rows:
            return
        after = UUID(rows[-1]["id"])
        yield [
            Silent(
                id=UUID(row["id"]), feed_id=row["feed_id"] and UUID(row["feed_id"]),
                topic=row["topic"], stream_id=None, sealed=row["record_sealed"],
            )
            for row in rows
        ]  # fmt: skip


def take_out(url: str, bodies: Mapping[UUID, Sequence[Message]]) -> int:
    """Take the raw bodies of messages, by request, out of rows; of how many it hadn't been done.

    ``url`` is a login that may become ``wt_owner``. Raises ``DatabaseAway`` unless the requests'
    keys are destroyed.
    """
    done = 0
    with connect(url, name="erase") as connection:
        connection.execute("SET ROLE wt_owner")
        for request_id, messages in bodies.items():
            for start in range(0, len(messages), TAKEN_MAX):
                part = messages[start : start + TAKEN_MAX]
                feeds, ids = ([each[place] for each in part] for place in (0, 1))
                row = connection.execute(_TAKE_OUT, (request_id, feeds, ids)).fetchone()
                assert row is not None, "a function answers"
                done += row["bodies"]
    return done


def empty_letter(connection: Connection[Row], letter_id: UUID, sealed: bytes) -> None:
    """Put an empty record in a dead letter's place."""
    connection.execute(_EMPTY, (sealed, letter_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """What erasures become: the messages and events of these ids, of a tenant's feed."""

    tenant_id: UUID
    feed_id: UUID
    messages: Sequence[UUID]
    events: Sequence[UUID]


def told(
    connection: Connection[Row], telling: Telling, people: Sequence[UUID], *,
    projection: str, topic: str,
) -> tuple[int, bool, int]:  # fmt: skip
    """How many of its messages the ledger applied, whether a projection is past the events.

    And how many tokens people are still found by.
    """
    for_tenants(connection, [telling.tenant_id])
    events = list(telling.events)
    named = (telling.tenant_id, telling.feed_id, list(telling.messages))
    applied = connection.execute(_APPLIED, named).fetchone()
    behind = connection.execute(_BEHIND, (projection, topic, events)).fetchone()
    tokens = connection.execute(_TOKENS, (list(people),)).fetchone()
    assert applied is not None, "an aggregate has one row"
    assert tokens is not None, "an aggregate has one row"
    return applied["messages"], behind is None, tokens["tokens"]


def _count(found: Remains, row: Mapping[str, Any]) -> None:
    message = (UUID(row["feed_id"]), UUID(row["message_id"]))
    said = (row["person_id"], row["stream_id"], *row["others"], *(row["patients"] or ()))
    for each in found.people & {UUID(one) for one in said if one is not None}:
        found.messages[each].add(message)
    person = None if row["person_id"] is None else UUID(row["person_id"])
    if person is None or person not in found.people:
        return
    found.streams[UUID(row["stream_id"])] = person
    found.events[person] += 1
    found.envelopes[person] += len(row["sealed"])
    found.under_tenant[person] += sum(
        text.startswith(_BY_TENANT) for text in row["sealed"].values()
    )


def _heads(database: Database) -> list[tuple[int, int]]:
    with database.connection() as connection:
        rows = connection.execute(_HEADS).fetchall()
    return [(row["partition"], row["head"]) for row in rows]


_HEADS = """
SELECT partition, max(next_seq) AS head FROM partitions GROUP BY partition ORDER BY partition
"""
_THEIRS = """
SELECT feed_id, message_id, person_id, stream_id, sealed, data -> 'patients' AS patients,
       ARRAY[data ->> 'patient_id', data ->> 'from_patient_id', data ->> 'into_patient_id']
           AS others
FROM events
WHERE partition = %(partition)s AND partition_seq BETWEEN %(first)s AND %(last)s
  AND event_type <> 'patient.erased' AND (
    person_id = ANY (%(people)s) OR stream_id = ANY (%(people)s)
    OR data ->> 'patient_id' = ANY (%(texts)s) OR data ->> 'from_patient_id' = ANY (%(texts)s)
    OR data ->> 'into_patient_id' = ANY (%(texts)s) OR data -> 'patients' ?| %(texts)s
)
"""
_NAMES = (
    "SELECT authority, value_hmac, patient_id FROM patient_identifiers WHERE patient_id = ANY (%s)"
)
_SILENT = """
SELECT message.feed_id, message.message_id, message.topic, message.body_sealed, result.stream_id
FROM messages AS message
LEFT JOIN command_results AS result
       ON result.tenant_id = message.tenant_id AND result.command_id = message.message_id
WHERE message.tenant_id = %s AND message.events = 0 AND message.body_sealed <> ''
  AND (message.feed_id, message.message_id) > (%s, %s)
ORDER BY message.feed_id, message.message_id LIMIT %s
"""
_LETTERS = """
SELECT id, feed_id, topic, record_sealed FROM dead_letters
WHERE subscription_id = 'ledger' AND id > %s ORDER BY id LIMIT %s
"""
_TAKE_OUT = "SELECT erase_bodies(%s, %s::uuid[], %s::uuid[]) AS bodies"
_EMPTY = "UPDATE dead_letters SET record_sealed = %s WHERE id = %s"
_APPLIED = """
SELECT count(*) AS messages FROM messages
WHERE tenant_id = %s AND feed_id = %s AND message_id = ANY (%s) AND outcome = 'applied'
"""
_BEHIND = """
SELECT FROM events
LEFT JOIN subscriptions AS held ON held.partition = events.partition
      AND held.subscription_id = %s AND held.topic = %s
WHERE event_id = ANY (%s) AND partition_seq > coalesce(held.last_position, 0) LIMIT 1
"""
_TOKENS = """
SELECT count(*) AS tokens FROM patient_tokens WHERE patient_id = ANY (%s) AND NOT EXISTS (
    SELECT FROM subject_keys
    WHERE subject_keys.tenant_id = patient_tokens.tenant_id AND subject_id = patient_id
      AND destroyed_at IS NULL
)
"""
