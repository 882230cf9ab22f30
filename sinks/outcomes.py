"""What became of each feed's messages, by their type: applied, ignored, dead, or known before."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg import Connection

from sinks.database import Row

# The newest of each tenant: some weeks of a large hospital, read in a second or two.
MESSAGES_MAX = 1_000_000
LINES_MAX = 10_000  # types and reasons are a few dozen; more would be a feed that sends noise
STATEMENT_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why messages were ignored, died, wait, or were applied without a part of theirs."""

    outcome: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What became of one feed's messages of one type (``ADT^A01``); counts.

    ``messages`` are the different ones, each ``applied``, ``ignored``, ``dead`` or ``parked``
    behind a dead one; of the applied ones ``left_out`` gave a part away, with the reason.
    ``duplicates`` is how often any of them came again. ``reasons`` are the most frequent first.
    """

    feed: str
    message_type: str
    messages: int
    applied: int
    left_out: int
    ignored: int
    dead: int
    parked: int
    duplicates: int
    reasons: tuple[Reason, ...]


def outcomes(
    connection: Connection[Row], *, feed: str | None = None, since: datetime | None = None
) -> list[Outcomes]:
    """By feed and type, over the newest `MESSAGES_MAX` messages that were recorded ``since``.

    The connection shows one tenant. A record of which not even the tenant could be read is a
    dead letter, and no message of anybody's.
    """
    connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT_S}s'")
    values = {"feed": feed, "since": since, "most": MESSAGES_MAX, "lines": LINES_MAX}
    grouped: dict[tuple[str, str], list[Row]] = {}
    for row in connection.execute(_OUTCOMES, values):
        grouped.setdefault((row["feed"], row["message_type"]), []).append(row)
    return [_outcomes(*key, rows) for key, rows in grouped.items()]


def known(
    connection: Connection[Row], names: Sequence[tuple[str, str, str]]
) -> set[tuple[str, str, str]]:
    """Those of the messages (tenant, feed, message id) that have their row."""
    if not names:
        return set()
    tenants, feeds, ids = zip(*names, strict=True)
    rows = connection.execute(_KNOWN, (list(tenants), list(feeds), list(ids))).fetchall()
    return {(row["tenant_id"], row["feed_id"], row["message_id"]) for row in rows}


def locked(
    connection: Connection[Row], names: Collection[tuple[str, str, str]]
) -> dict[tuple[str, str, str], Row]:
    """These messages' rows as they stand, locked in their order."""
    if not names:
        return {}
    given = [list(part) for part in zip(*sorted(names), strict=True)]
    rows = connection.execute(_LOCKED, given).fetchall()
    return {(row["tenant_id"], row["feed_id"], row["message_id"]): row for row in rows}


def count_again(connection: Connection[Row], known: Collection[tuple[str, str, str]]) -> None:
    """Count messages that are known (tenant, feed, message id) and came again, each as often."""
    if known:
        connection.execute(_AGAIN, [list(each) for each in zip(*known, strict=True)])


def _outcomes(feed: str, message_type: str, rows: Sequence[Row]) -> Outcomes:
    def total(name: str, **wanted: object) -> int:
        return sum(row[name] for row in rows if all(row[one] == wanted[one] for one in wanted))

    return Outcomes(
        feed=feed,
        message_type=message_type,
        messages=total("count"),
        applied=total("count", outcome="applied"),
        left_out=total("count", outcome="applied", left_out=True),
        ignored=total("count", outcome="ignored"),
        dead=total("count", outcome="dead"),
        parked=total("count", outcome="parked"),
        duplicates=total("duplicates"),
        reasons=tuple(
            Reason(outcome=row["outcome"], reason=row["reason"], count=row["count"])
            for row in rows
            if row["reason"] is not None
        ),
    )


_KNOWN = """
SELECT tenant_id, feed_id, message_id FROM messages
WHERE (tenant_id, feed_id, message_id)
   IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]))
"""
_OUTCOMES = """
SELECT coalesce(feeds.name, newest.feed_id::text) AS feed, message_type, outcome, reason,
       coalesce(reason ~ '(^|; )no (visit number|patient): ', false) AS left_out,
       count(*) AS count, sum(duplicates)::bigint AS duplicates
FROM (
    SELECT feed_id, message_type, outcome, reason, duplicates FROM messages
    WHERE (%(since)s::timestamptz IS NULL OR recorded_at >= %(since)s)
      AND (%(feed)s::text IS NULL OR feed_id IN (SELECT id FROM feeds WHERE name = %(feed)s))
    ORDER BY recorded_at DESC LIMIT %(most)s
) AS newest LEFT JOIN feeds ON feeds.id = newest.feed_id
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, count(*) DESC, 3, 4
LIMIT %(lines)s
"""
# Locked in order, so that two who count the same messages don't wait for each other.
_LOCKED = """
SELECT tenant_id, feed_id, message_id, topic, partition, "offset", outcome, mapper_version, events
FROM messages
WHERE (tenant_id, feed_id, message_id)
   IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]))
ORDER BY tenant_id, feed_id, message_id
FOR UPDATE
"""
_AGAIN = """
WITH again AS (
    SELECT tenant_id, feed_id, message_id, count(*) AS times
    FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS known (tenant_id, feed_id, message_id)
    GROUP BY 1, 2, 3
), locked AS MATERIALIZED (
    SELECT tenant_id, feed_id, message_id, times
    FROM messages JOIN again USING (tenant_id, feed_id, message_id)
    ORDER BY tenant_id, feed_id, message_id FOR UPDATE OF messages
)
UPDATE messages SET duplicates = duplicates + locked.times FROM locked
WHERE (messages.tenant_id, messages.feed_id, messages.message_id)
    = (locked.tenant_id, locked.feed_id, locked.message_id)
"""
