"""What a relay reads and moves: rows after its position, under a lease that one process holds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import Connection
from psycopg.sql import SQL, Identifier

from sinks.database import Database, Row, for_tenants
from sinks.subscriptions import Held, Stale
from sinks.tenancy import tenants

LEASE_SECONDS = 10  # how long the partitions of a dead relay wait for another


class RowsMissing(Exception):  # noqa: N818  named for what is wrong
    """The table has a hole in its positions: a broken invariant, nothing to publish past."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows that are published in order: ``table`` by ``partition_seq`` within ``partition``.

    ``unique`` tells that a position has one row at most; then rows must follow one another
    without a hole (invariant 6). Positions are those of events, or with ``inbound`` the offsets
    of that topic, counted from one, or the table's ``own``, counted in ``partitions``.
    """

    subscription_id: str
    topic: str
    table: str
    columns: tuple[str, ...]
    unique: bool
    inbound: str | None = None
    own: bool = False


def lease(database: Database, source: Source, *, partitions: int, owner: str) -> list[Held]:
    """Take partitions that nobody holds, keep ours; return all that are ours from now on.

    A lease that ran out belongs to who comes first, at a higher epoch; a row that another
    process has locked is left alone.
    """
    values = {
        "subscription": source.subscription_id, "topic": source.topic, "owner": owner,
        "partitions": partitions, "seconds": LEASE_SECONDS,
    }  # fmt: skip
    with database.connection() as connection, connection.transaction():
        connection.execute(_ENSURE, values)
        rows = connection.execute(_LEASE, values).fetchall()
    return [
        Held(
            subscription_id=source.subscription_id, topic=source.topic,
            partition=row["partition"], epoch=row["epoch"],
            next_offset=row["next_offset"], last_position=row["last_position"],
        )
        for row in rows
    ]  # fmt: skip


def release(database: Database, source: Source, *, owner: str) -> None:
    """Give the leases up, so that another relay takes them at once."""
    with database.connection() as connection:
        connection.execute(
            "UPDATE subscriptions SET leased_until = NULL, owner = NULL"
            " WHERE subscription_id = %s AND topic = %s AND owner = %s",
            (source.subscription_id, source.topic, owner),
        )


def again(connection: Connection[Row], subscription_id: str, partition: int, after: int) -> None:
    """Set a relay back behind rows that were written late: it has passed their positions."""
    connection.execute(_AGAIN, (after, subscription_id, partition))


def read(
    database: Database,
    source: Source,
    held: Held,
    *,
    after: int,
    limit: int,
) -> list[Row]:
    """Rows after a position, in order, of all tenants; a position's rows come all or not at all.

    An empty list means that everything is published. :class:`RowsMissing` where a source whose
    positions have one row each shows a hole that no deleted tenant left.
    """
    names = SQL(", ").join(map(Identifier, source.columns))
    statement = SQL(_READ).format(columns=names, table=Identifier(source.table))
    with _seeing_all(database) as connection:
        rows = connection.execute(statement, (held.partition, after, limit)).fetchall()
    if source.unique:
        last = rows[-1]["partition_seq"] if rows else after
        lacking = last - after - len(rows)
        if lacking and lacking > _deleted(database, source, held.partition, after, last):
            raise RowsMissing(f"positions without a row after {after}: {held.name}")
        return rows
    if len(rows) < limit:
        return rows
    last = rows[-1]["partition_seq"]
    whole = [row for row in rows if row["partition_seq"] != last]
    if whole:
        return whole
    return read(database, source, held, after=after, limit=limit * 2)


def deleted_upto(database: Database, table: str, partition: int) -> int:
    """The highest position whose row went with its tenant; 0 without any."""
    with database.connection() as connection:
        row = connection.execute(_DELETED_UPTO, (table, partition)).fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row["head"])


def _deleted(database: Database, source: Source, partition: int, after: int, last: int) -> int:
    """How many positions after one, up to another, have no row because its tenant is gone.

    Asked after the rows: where a deletion goes on meanwhile, it is more than they lack.
    """
    with database.connection() as connection:
        row = connection.execute(_DELETED, (last, after, source.table, partition, last, after))
        found = row.fetchone()
    assert found is not None, "an aggregate has one row"
    return int(found["positions"])


def head(
    database: Database, partition: int, inbound: str | None = None, own: str | None = None
) -> int:
    """The ledger's highest position in a partition; 0 before the first.

    Derived rows have the position of an event, so this is the bound for every source: their
    own table may be empty, because it is being rebuilt. Where positions are offsets of an
    inbound topic, it is how far the ledger is in that; where they are the ``own`` of an outbound
    one, what was last counted there.
    """
    with _seeing_all(database) as connection:
        if own is not None:
            row = connection.execute(_OWN, (own, partition)).fetchone()
        elif inbound is None:
            row = connection.execute(_HEAD, (partition, partition)).fetchone()
        else:
            row = connection.execute(_INBOUND, (inbound, partition)).fetchone()
    assert row is not None, "an aggregate has one row"
    return int(row["head"])


def move(database: Database, held: Held, *, to: int) -> None:
    """Move a relay's position; :class:`~sinks.subscriptions.Stale` if another one has it."""
    with database.connection() as connection:
        moved = connection.execute(
            _MOVE, (to, held.subscription_id, held.topic, held.partition, held.epoch, to)
        ).rowcount
    if moved != 1:
        raise Stale(f"another relay has taken it: {held.name}")


@contextmanager
def listening(database: Database, channel: str) -> Iterator[Callable[[float], None]]:
    """Listen to a channel; the function given waits for a notice, at most so many seconds."""
    with database.connection() as connection:
        connection.autocommit = True
        try:
            connection.execute(SQL("LISTEN {}").format(Identifier(channel)))
            yield lambda seconds: _wait(connection, seconds)
        finally:
            if not connection.closed:
                connection.execute("UNLISTEN *")
                connection.autocommit = False


def _wait(connection: Connection[Row], seconds: float) -> None:
    for _ in connection.notifies(timeout=seconds, stop_after=1):
        return


@contextmanager
def _seeing_all(database: Database) -> Iterator[Connection[Row]]:
    """A transaction of one snapshot that sees every tenant there is in that snapshot.

    Were the tenants of an older one, rows of a new tenant would be passed over for ever.
    """
    with database.connection() as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for_tenants(connection, tenants(connection))
        yield connection


_ENSURE = """
INSERT INTO subscriptions (subscription_id, topic, partition)
SELECT %(subscription)s, %(topic)s, n FROM generate_series(0, %(partitions)s - 1) AS n
ON CONFLICT DO NOTHING
"""
_AGAIN = """
UPDATE subscriptions SET
    epoch = epoch + 1, owner = NULL, leased_until = NULL,
    last_position = least(last_position, %s), updated_at = now()
WHERE subscription_id = %s AND partition = %s
"""
_LEASE = """
WITH free AS (
    SELECT partition FROM subscriptions
    WHERE subscription_id = %(subscription)s AND topic = %(topic)s
      AND (owner = %(owner)s OR leased_until IS NULL OR leased_until < now())
    ORDER BY partition
    FOR UPDATE SKIP LOCKED
)
UPDATE subscriptions SET
    epoch = epoch + (owner IS DISTINCT FROM %(owner)s)::int,
    owner = %(owner)s,
    leased_until = now() + make_interval(secs => %(seconds)s)
FROM free
WHERE subscription_id = %(subscription)s AND topic = %(topic)s
  AND subscriptions.partition = free.partition
RETURNING subscriptions.partition, epoch, next_offset, last_position
"""
_READ = """
SELECT {columns} FROM {table}
WHERE partition = %s AND partition_seq > %s
ORDER BY partition_seq
LIMIT %s
"""
_HEAD = """
SELECT greatest(
    (SELECT coalesce(max(partition_seq), 0) FROM events WHERE partition = %s),
    (SELECT coalesce(max(last_seq), 0) FROM deleted_positions
     WHERE table_name = 'events' AND partition = %s)
) AS head
"""
_DELETED_UPTO = """
SELECT coalesce(max(last_seq), 0) AS head FROM deleted_positions
WHERE table_name = %s AND partition = %s
"""
_DELETED = """
SELECT coalesce(sum(least(last_seq, %s) - greatest(first_seq, %s + 1) + 1), 0) AS positions
FROM deleted_positions
WHERE table_name = %s AND partition = %s AND first_seq <= %s AND last_seq > %s
"""
_INBOUND = """
SELECT coalesce(max(next_offset), 0) AS head FROM subscriptions
WHERE subscription_id = 'ledger' AND topic = %s AND partition = %s
"""
_OWN = """
SELECT coalesce(max(next_seq), 1) - 1 AS head FROM partitions WHERE topic = %s AND partition = %s
"""
_MOVE = """
UPDATE subscriptions SET last_position = %s, updated_at = now()
WHERE subscription_id = %s AND topic = %s AND partition = %s AND epoch = %s
  AND last_position <= %s
"""
