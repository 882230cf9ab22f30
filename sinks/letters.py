"""Questions about dead letters: how many of each class, and which; never their content."""

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from uuid import UUID

from psycopg.sql import SQL

from sinks.queries import Snapshot

CLASSES_MAX = 200  # there are some dozens: subscriptions by feeds by causes by states


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which letters are meant: those that fit all that is given."""

    tenant_id: UUID | None = None
    state: str | None = None
    subscription_id: str | None = None
    cause: str | None = None
    feed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How many letters are of one class, from when to when; of no feed's where none was told."""

    subscription_id: str
    feed: str | None
    stage: str
    cause: str
    state: str
    letters: int
    oldest_at: datetime
    newest_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter without its record: nothing here is a patient's."""

    id: str
    created_at: datetime
    tenant_id: str | None
    feed: str | None
    subscription_id: str
    topic: str
    partition: int
    offset: int
    stage: str
    cause: str
    reason: str
    state: str
    family: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """How many letters of a feed and cause are neither retried nor discarded.

    ``of_state`` is how many there are in this state at all.
    """

    state: str
    subscription_id: str
    tenant_id: str | None
    feed: str | None
    cause: str
    letters: int
    of_state: int


def counted(snapshot: Snapshot, which: Which) -> list[Count]:
    """How many there are of each class, the largest first, at most :data:`CLASSES_MAX`."""
    values = {**asdict(which), "limit": CLASSES_MAX}
    return [Count(**row) for row in snapshot.execute(SQL(_COUNTED).format(_WHICH), values)]


def newest(snapshot: Snapshot, which: Which, *, limit: int) -> list[Letter]:
    """The letters that are meant, the newest first."""
    rows = snapshot.execute(SQL(_NEWEST).format(_WHICH), {**asdict(which), "limit": limit})
    names = [each.name for each in fields(Letter)]
    return [Letter(**{name: row[name] for name in names}) for row in rows]


def still_open(snapshot: Snapshot, *, limit: int) -> list[Open]:
    """What is dead or waits, by feed and cause, of every state the largest first."""
    return [Open(**row) for row in snapshot.execute(_OPEN, {"limit": limit})]


_WHICH = SQL("""
    (%(tenant_id)s::uuid IS NULL OR letter.tenant_id = %(tenant_id)s)
AND (%(state)s::text IS NULL OR letter.state = %(state)s)
AND (%(subscription_id)s::text IS NULL OR letter.subscription_id = %(subscription_id)s)
AND (%(cause)s::text IS NULL OR letter.cause = %(cause)s)
AND (%(feed)s::text IS NULL OR feed.name = %(feed)s)
""")
_COUNTED = """
SELECT letter.subscription_id, feed.name AS feed, letter.stage, letter.cause, letter.state,
       count(*) AS letters, min(letter.created_at) AS oldest_at, max(letter.created_at) AS newest_at
FROM dead_letters AS letter LEFT JOIN feeds AS feed ON feed.id = letter.feed_id
WHERE {}
GROUP BY 1, 2, 3, 4, 5 ORDER BY letters DESC, 1, 2, 3, 4, 5 LIMIT %(limit)s
"""
_NEWEST = """
SELECT letter.*, feed.name AS feed
FROM dead_letters AS letter LEFT JOIN feeds AS feed ON feed.id = letter.feed_id
WHERE {} ORDER BY letter.created_at DESC, letter.id LIMIT %(limit)s
"""
# Of each state some, or those that wait might hide those that are waited for.
_OPEN = """
SELECT state, subscription_id, tenant_id, feed, cause, letters, of_state FROM (
    SELECT letter.state, letter.subscription_id, letter.tenant_id, feed.name AS feed, letter.cause,
           count(*) AS letters,
           (sum(count(*)) OVER (PARTITION BY letter.state))::bigint AS of_state,
           row_number() OVER (PARTITION BY letter.state ORDER BY count(*) DESC) AS number
    FROM dead_letters AS letter LEFT JOIN feeds AS feed ON feed.id = letter.feed_id
    WHERE letter.state IN ('dead', 'parked')
    GROUP BY 1, 2, 3, 4, 5
) AS class
ORDER BY number, state LIMIT %(limit)s
"""
