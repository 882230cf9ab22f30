"""Requests about dead letters: which are meant, what waits behind them, who asks what and why.

Asking changes no letter. The owner of its partition executes it (:mod:`sinks.parking`).
"""

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from psycopg import Connection

from sinks.database import Database, Row, for_tenants
from sinks.parking import CHANNEL
from sinks.tenancy import tenants

Action = Literal["retry", "discard"]
ASKED_MAX = 10_000  # letters of one command; above that it is told again, by who wants it


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Which letters are meant: all that fit what is given, of those that others wait for."""

    letter_id: UUID | None = None
    subscription_id: str | None = None
    cause: str | None = None
    feed: str | None = None
    tenant_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A letter that may be retried or discarded, and how many records wait behind it."""

    letter_id: str
    subscription_id: str
    feed: str | None
    cause: str
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it stands: ``ended`` is None until the owner has executed it."""

    action: str
    requested_by: str
    purpose: str
    requested_at: datetime
    executed_at: datetime | None
    ended: str | None
    said: str | None
    released: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A letter with all that may be shown of it: never its content."""

    id: str
    created_at: datetime
    tenant_id: str | None
    feed_id: str | None
    message_id: str | None
    event_id: str | None
    subscription_id: str
    topic: str
    partition: int
    offset: int
    position: int | None
    family: str | None
    keys: list[str]
    stage: str
    cause: str
    reason: str
    state: str
    waiting: int
    requests: tuple[Asked, ...]


def heads(connection: Connection[Row], chosen: Chosen) -> list[Head]:
    """The chosen letters that are dead, oldest first, at most `ASKED_MAX`."""
    rows = connection.execute(_HEADS, _values(chosen) | {"limit": ASKED_MAX})
    return [Head(**row) for row in rows]


def whole(connection: Connection[Row], letter_id: UUID) -> Whole | None:
    """One letter with what was asked about it, oldest first; None where there is none."""
    row = connection.execute(_WHOLE, {"letter": letter_id}).fetchone()
    if row is None:
        return None
    asked = connection.execute(_ASKED, (letter_id,)).fetchall()
    names = {each.name for each in fields(Whole)}
    found: dict[str, Any] = {name: value for name, value in row.items() if name in names}
    return Whole(**found, requests=tuple(Asked(**each) for each in asked))


def ask(
    database: Database,
    letters: Collection[Head],
    action: Action,
    *,
    requested_by: str,
    purpose: str,
) -> int:
    """Write a request for each letter and wake the owners; return how many are new.

    A letter about which a request is open already gets no second one.
    """
    values = {
        "letters": [each.letter_id for each in letters],
        "action": action, "by": requested_by, "purpose": purpose,
    }  # fmt: skip
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        count = connection.execute(_ASK, values).rowcount
        connection.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
    return count


def _values(chosen: Chosen) -> dict[str, Any]:
    return {each.name: getattr(chosen, each.name) for each in fields(chosen)}


# Behind a letter waits what is under a key of its own at a later offset.
_HEADS = """
SELECT id AS letter_id, subscription_id, cause,
       (SELECT name FROM feeds WHERE feeds.id = letter.feed_id) AS feed, (
    SELECT count(DISTINCT behind."offset")
    FROM parked_records AS own JOIN parked_records AS behind
        USING (subscription_id, topic, partition, parked_key)
    WHERE (own.subscription_id, own.topic, own.partition, own."offset")
        = (letter.subscription_id, letter.topic, letter.partition, letter."offset")
      AND behind."offset" > own."offset"
) AS waiting
FROM dead_letters AS letter
WHERE state = 'dead'
  AND (%(letter_id)s::uuid IS NULL OR id = %(letter_id)s)
  AND (%(subscription_id)s::text IS NULL OR subscription_id = %(subscription_id)s)
  AND (%(cause)s::text IS NULL OR cause = %(cause)s)
  AND (%(tenant_id)s::uuid IS NULL OR tenant_id = %(tenant_id)s)
  AND (%(feed)s::text IS NULL OR feed_id IN (SELECT id FROM feeds WHERE name = %(feed)s))
ORDER BY created_at, id LIMIT %(limit)s
"""
_WHOLE = """
SELECT letter.*, ARRAY(
    SELECT parked_key FROM parked_records AS parked
    WHERE (parked.subscription_id, parked.topic, parked.partition, parked."offset")
        = (letter.subscription_id, letter.topic, letter.partition, letter."offset")
    ORDER BY parked_key
) AS keys, (
    SELECT count(DISTINCT behind."offset")
    FROM parked_records AS own JOIN parked_records AS behind
        USING (subscription_id, topic, partition, parked_key)
    WHERE (own.subscription_id, own.topic, own.partition, own."offset")
        = (letter.subscription_id, letter.topic, letter.partition, letter."offset")
      AND behind."offset" > own."offset"
) AS waiting
FROM dead_letters AS letter WHERE id = %(letter)s
"""
_ASKED = """
SELECT action, requested_by, purpose, requested_at, executed_at, ended, said, released
FROM dead_letter_requests WHERE letter_id = %s ORDER BY requested_at, id
"""
_ASK = """
INSERT INTO dead_letter_requests
    (tenant_id, letter_id, subscription_id, topic, partition, action, requested_by, purpose)
SELECT tenant_id, id, subscription_id, topic, partition, %(action)s, %(by)s, %(purpose)s
FROM dead_letters WHERE id = ANY (%(letters)s::uuid[]) AND state = 'dead'
ON CONFLICT (letter_id) WHERE executed_at IS NULL DO NOTHING
"""
