"""Folds streams' new events, and a whole stream anew where an event of it counts no more.

What an event hid is lost in the rows of a projection that keeps only the newest of each thing. The
ledger has it still: so the stream is folded from its first event on, in the same transaction.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache

from psycopg import Connection
from psycopg.sql import SQL, Composed, Identifier
from sqlalchemy import Table

from schemas.codec import Codec, Ids
from schemas.events import SUPERSEDED, Event
from schemas.failpoints import hit
from sinks.batches import FoldFailed
from sinks.changes import Change, Put, Remove, columns
from sinks.database import Row
from sinks.projection import Load, Projection
from sinks.stored import as_read
from sinks.subscriptions import Held

HISTORY_EVENTS_MAX = 20_000  # of one stream; a patient of decades has some thousands

Streams = Mapping[str, Sequence[Event]]
Loaded = Mapping[str, Mapping[str, Sequence[Row]]]  # by table name, then by stream


class TooLong(FoldFailed):
    """A stream is too long to be folded anew in one transaction."""

    def __init__(self) -> None:
        Exception.__init__(
            self,
            f"its stream has more than {HISTORY_EVENTS_MAX} events to be folded anew"
            " (hint: a release that folds more at once, then retry)",
        )


def folded(
    connection: Connection[Row], projection: Projection, held: Held, streams: Streams
) -> Iterator[Change]:
    """What the streams' new events change; raises :class:`~sinks.batches.FoldFailed`."""
    rows = _load(connection, projection, list(streams))
    anew = {stream for stream, events in streams.items() if _again(projection, events)}
    hit("sink: loaded")
    rest = {stream: events for stream, events in streams.items() if stream not in anew}
    yield from _fold(projection, rest, rows)
    for stream in sorted(anew):
        events = _history(connection, projection, held, streams[stream])
        empty: dict[str, dict[str, list[Row]]] = {table: {} for table in rows}
        changes = list(_fold(projection, {stream: events}, empty))
        yield from changes
        yield from _unsaid(projection, stream, rows, changes)


def _load(
    connection: Connection[Row], projection: Projection, streams: Sequence[str]
) -> dict[str, dict[str, list[Row]]]:
    """The rows that the folds need: by table name, then by stream."""
    loaded: dict[str, dict[str, list[Row]]] = {each.table.name: {} for each in projection.loads}
    if not streams:
        return loaded
    ids = (list(streams),)
    asked = [(each, connection.execute(_select(each), ids)) for each in projection.loads]
    for wanted, rows in asked:
        by_stream = loaded[wanted.table.name]
        for row in rows:
            by_stream.setdefault(row[wanted.by], []).append(row)
    return loaded


def _fold(
    projection: Projection,
    streams: Streams,
    rows: Loaded,
) -> Iterator[Change]:
    """Fold each stream's events; an exception there is :class:`FoldFailed`."""
    for stream, happened in streams.items():
        own = {table: by_stream.get(stream, []) for table, by_stream in rows.items()}
        try:
            changes = projection.fold(happened, own)
        except MemoryError:
            raise  # the machine's trouble, and no record's fault
        except Exception as error:
            raise FoldFailed(error) from error
        yield from changes


def _again(projection: Projection, events: Sequence[Event]) -> bool:
    return events[0]["stream_type"] in projection.again and any(
        event["event_type"] in SUPERSEDED for event in events
    )


def _history(
    connection: Connection[Row], projection: Projection, held: Held, new: Sequence[Event]
) -> list[Event]:
    """The stream's events that were folded before, and the new ones.

    Without those whose letters were discarded, or are dead and nothing waits for them: they were
    never folded. What is released before these in the same transaction has its letter still.
    """
    last = new[-1]
    values = {
        "stream": last["stream_id"], "reads": sorted(projection.reads),
        "before": new[0]["event_version"], "subscription": held.subscription_id,
        "topic": held.topic, "limit": HISTORY_EVENTS_MAX + 1,
    }  # fmt: skip
    rows = connection.execute(_HISTORY, values).fetchall()
    if len(rows) > HISTORY_EVENTS_MAX:
        raise TooLong
    return [*map(_reading(), rows), *new]


def _unsaid(
    projection: Projection, stream: str, rows: Loaded, changes: Sequence[Change]
) -> Iterator[Change]:
    """Removals of the stream's rows that weren't put again."""
    put = {
        (each.table.name, *_key(each.table, each.row))
        for each in changes
        if isinstance(each, Put | Remove)
    }
    for wanted in projection.loads:
        for row in rows[wanted.table.name].get(stream, ()):
            key = _key(wanted.table, row)
            if (wanted.table.name, *key) not in put:
                names = [str(column.name) for column in wanted.table.primary_key.columns]
                yield Remove(wanted.table, {name: row[name] for name in names})


def _key(table: Table, row: Mapping[str, object]) -> tuple[str, ...]:
    return tuple([str(row[column.name]) for column in table.primary_key.columns])


@cache
def _select(wanted: Load) -> Composed:
    names = SQL(", ").join(map(Identifier, columns(wanted.table)))
    return SQL("SELECT {} FROM {} WHERE {} = ANY(%s::uuid[]) AND {} ORDER BY {}").format(
        names,
        Identifier(wanted.table.name),
        Identifier(wanted.by),
        SQL(wanted.where),
        SQL(", ").join(Identifier(column.name) for column in wanted.table.primary_key.columns),
    )


@cache
def _reading() -> Callable[[Row], Event]:
    """Ids of schemas are of no matter to who writes and reads by the same ones."""
    return as_read(Codec(Ids.in_order()))


_HISTORY = """
SELECT event_id, stream_type, stream_id, event_version, event_type, schema_version, tenant_id,
       feed_id, message_id, person_id, occurred_at, occurred_precision, occurred_field,
       occurred_text, recorded_at, partition, partition_seq, global_position, metadata, created_by,
       sealed, data
FROM events AS event
WHERE stream_id = %(stream)s AND event_type = ANY (%(reads)s) AND event_version < %(before)s
  AND NOT EXISTS (
    SELECT FROM dead_letters AS letter
    WHERE letter.subscription_id = %(subscription)s AND letter.topic = %(topic)s
      AND letter.partition = event.partition
      AND (letter.event_id = event.event_id OR letter.position = event.partition_seq)
      AND (letter.state = 'discarded' OR letter.state = 'dead' AND NOT EXISTS (
          SELECT FROM parked_records AS waits
          WHERE waits.subscription_id = letter.subscription_id AND waits.topic = letter.topic
            AND waits.partition = letter.partition AND waits."offset" = letter."offset"))
  )
ORDER BY event_version LIMIT %(limit)s
"""
