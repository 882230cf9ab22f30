"""Messages as they're stored, with what they became; and what mapping them anew writes."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from psycopg import Connection

from sinks import outcomes
from sinks.database import Row
from sinks.numbering import Entry
from sinks.subscriptions import Held

Name = tuple[str, str, str]  # tenant, feed, message
After = tuple[datetime, str, str]  # recorded, feed, message

# A message's events are told with it, but where a stream's time ran ahead of the clock.
NEAR = timedelta(seconds=1)
PAGE_BYTES = 32 * 1024 * 1024  # of bodies at once in memory; one more may lie across
_LEDGER = "ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """Which of a tenant's messages of ``topic``: those that became events or were ignored.

    ``below`` is the mapper that is newer than theirs; ``message_type`` a beginning (``ADT``).
    """

    tenant_id: UUID
    topic: str
    below: int | None = None
    feed_id: UUID | None = None
    message_id: UUID | None = None
    message_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None


def page(connection: Connection[Row], which: Which, after: After | None, limit: int) -> list[Row]:
    """The next messages, in the order in which they were recorded; few where they are large."""
    at, feed, message = after or (None, None, None)
    values = {
        "tenant": which.tenant_id, "topic": which.topic, "below": which.below,
        "feed": which.feed_id, "message": which.message_id, "since": which.since,
        "until": which.until, "type": which.message_type and f"{which.message_type}%",
        "after_at": at, "after_feed": feed, "after_message": message, "limit": limit,
        "bytes": PAGE_BYTES,
    }  # fmt: skip
    return connection.execute(_PAGE, values).fetchall()


def told(connection: Connection[Row], messages: Sequence[Row]) -> dict[Name, list[Row]]:
    """The events that each of these messages of one tenant told, in order, up to now."""
    found: dict[Name, dict[str, Row]] = {name_of(each): {} for each in messages}
    if not messages:
        return {}
    asked = list(messages)
    for until in (max(each["recorded_at"] for each in messages) + NEAR, "infinity"):
        values = {
            "tenant": asked[0]["tenant_id"],
            "messages": [each["message_id"] for each in asked],
            "since": min(each["recorded_at"] for each in asked),
            "until": until,
        }
        for row in connection.execute(_TOLD, values).fetchall():
            name = (row["tenant_id"], row["feed_id"], row["message_id"])
            if name in found:
                found[name][row["event_id"]] = row
        asked = [each for each in asked if len(found[name_of(each)]) < each["events"]]
        if not asked:
            break
    return {
        name: sorted(rows.values(), key=lambda row: (row["partition"], row["partition_seq"]))
        for name, rows in found.items()
    }


def name_of(message: Mapping[str, object]) -> Name:
    """How a message's row is known."""
    return str(message["tenant_id"]), str(message["feed_id"]), str(message["message_id"])


def hold(connection: Connection[Row], topic: str, partition: int) -> Held:
    """Lock the ledger's place where messages came by: its owner waits, and takes nothing."""
    row = connection.execute(_HOLD, (_LEDGER, topic, partition)).fetchone()
    assert row is not None, "what was read there has its subscription"
    return Held(
        subscription_id=_LEDGER, topic=topic, partition=partition, epoch=row["epoch"],
        next_offset=row["next_offset"], last_position=row["last_position"],
    )  # fmt: skip


def still(
    connection: Connection[Row], messages: Sequence[Row], events: Mapping[Name, Collection[str]]
) -> set[Name]:
    """Those of the messages that are as they were when they were compared, locked in order.

    ``events`` are the ids of the events that each of them had told.
    """
    was = {name_of(each): each for each in messages}
    rows = outcomes.locked(connection, was)
    same = [
        was[name]
        for name, row in rows.items()
        if all(row[each] == was[name][each] for each in ("outcome", "mapper_version", "events"))
    ]
    known = told(connection, same)
    return {name for name, found in known.items() if {r["event_id"] for r in found} == events[name]}


def become(
    connection: Connection[Row], held: Held, entries: Iterable[Entry], counts: Mapping[Name, int]
) -> None:
    """Say in the messages' rows what they became, and in the ledger's how many of each there are.

    ``counts`` are how many events of each message count by now.
    """
    applied = 0
    for entry in entries:
        assert entry.message is not None, "what is mapped anew is a message"
        message = entry.message
        row = connection.execute(
            _BECOME,
            {
                "events": counts[name_of(message)],
                **{
                    each: message.get(each) for each in (
                        "tenant_id", "feed_id", "message_id", "outcome", "reason", "cause",
                        "mapper_version", "message_type", "control_hmac",
                    )
                },
            },
        ).fetchone()  # fmt: skip
        assert row is not None, "a row that is locked stays"
        applied += (message["outcome"] == "applied") - (row["before"] == "applied")
    if applied:
        place = (applied, applied, held.subscription_id, held.topic, held.partition)
        connection.execute(_COUNT, place)


def same(connection: Connection[Row], messages: Sequence[Row], version: int) -> None:
    """Say of messages that the mapper of this version makes of them what they are."""
    names = sorted(name_of(each) for each in messages if each["mapper_version"] < version)
    if names:
        given = [list(part) for part in zip(*names, strict=True)]
        connection.execute(_SAME, (version, *given, version))


_PAGE = """
WITH next AS (
SELECT tenant_id, feed_id, message_id, topic, partition, "offset", received_at, recorded_at,
       message_type, outcome, mapper_version, events, body_sealed
FROM messages
WHERE tenant_id = %(tenant)s AND topic = %(topic)s AND outcome IN ('applied', 'ignored')
  AND (%(below)s::int IS NULL OR mapper_version < %(below)s)
  AND (%(feed)s::uuid IS NULL OR feed_id = %(feed)s)
  AND (%(message)s::uuid IS NULL OR message_id = %(message)s)
  AND (%(type)s::text IS NULL OR message_type LIKE %(type)s)
  AND (%(since)s::timestamptz IS NULL OR received_at >= %(since)s)
  AND (%(until)s::timestamptz IS NULL OR received_at < %(until)s)
  AND (%(after_at)s::timestamptz IS NULL OR (recorded_at, feed_id, message_id)
       > (%(after_at)s, %(after_feed)s::uuid, %(after_message)s::uuid))
ORDER BY tenant_id, recorded_at, feed_id, message_id LIMIT %(limit)s
), upto AS (
    SELECT *, sum(octet_length(body_sealed)) OVER (ORDER BY recorded_at, feed_id, message_id
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM next
)
SELECT * FROM upto WHERE coalesce(before, 0) < %(bytes)s
ORDER BY recorded_at, feed_id, message_id
"""
# Of what was mapped anew there is an index by message, else only one by tenant and time.
_TOLD = """
SELECT event_id, stream_id, stream_type, event_type, schema_version, tenant_id, feed_id,
       message_id, person_id, occurred_at, occurred_precision, occurred_field, occurred_text,
       partition, partition_seq, data, sealed, metadata, created_by
FROM events
WHERE event_id IN (
    SELECT event_id FROM events
    WHERE tenant_id = %(tenant)s AND message_id = ANY (%(messages)s::uuid[])
      AND created_at >= %(since)s AND created_at <= %(until)s::timestamptz
    UNION ALL
    SELECT event_id FROM events
    WHERE message_id = ANY (%(messages)s::uuid[]) AND metadata ? 'remapped'
)
"""
_HOLD = """
SELECT epoch, next_offset, last_position FROM subscriptions
WHERE subscription_id = %s AND topic = %s AND partition = %s
FOR UPDATE
"""
_BECOME = """
UPDATE messages SET
    outcome = %(outcome)s, reason = %(reason)s, cause = %(cause)s, events = %(events)s,
    mapper_version = %(mapper_version)s, message_type = %(message_type)s,
    control_hmac = coalesce(%(control_hmac)s::uuid, messages.control_hmac)
FROM (SELECT outcome AS before FROM messages
      WHERE tenant_id = %(tenant_id)s AND feed_id = %(feed_id)s AND message_id = %(message_id)s)
     AS old
WHERE tenant_id = %(tenant_id)s AND feed_id = %(feed_id)s AND message_id = %(message_id)s
RETURNING old.before
"""
_COUNT = """
UPDATE subscriptions SET applied = applied + %s, ignored = ignored - %s
WHERE subscription_id = %s AND topic = %s AND partition = %s
"""
_SAME = """
UPDATE messages SET mapper_version = %s
WHERE (tenant_id, feed_id, message_id)
   IN (SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]))
  AND mapper_version < %s
"""
