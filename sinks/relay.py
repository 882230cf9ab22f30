"""What a relay reads and moves: rows after its position, under a lease that one process holds."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.sql import SQL, Identifier

from sinks.database import Database, Row, for_tenants
from sinks.subscriptions import Held, Stale

LEASE_SECONDS = 10  # how long the partitions of a dead relay wait for another


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Rows that are published in order: ``table`` by ``partition_seq`` within ``partition``.

    ``unique`` tells that a position has one row at most; then rows must follow one another
    without a hole (invariant 6).
    """

    subscription_id: str
    topic: str
    table: str
    columns: tuple[str, ...]
    unique: bool


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


def read(
    database: Database,
    source: Source,
    held: Held,
    *,
    after: int,
    tenants: Sequence[str],
    limit: int,
) -> list[Row]:
    """Rows after a position, in order; a position's rows come all or not at all.

    Raises nothing of its own; an empty list means that everything is published.
    """
    names = SQL(", ").join(map(Identifier, source.columns))
    statement = SQL(_READ).format(columns=names, table=Identifier(source.table))
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, list(tenants))
        rows = connection.execute(statement, (held.partition, after, limit)).fetchall()
    if len(rows) < limit or source.unique:
        return rows
    last = rows[-1]["partition_seq"]
    whole = [row for row in rows if row["partition_seq"] != last]
    if whole:
        return whole
    return read(database, source, held, after=after, tenants=tenants, limit=limit * 2)


def head(database: Database, source: Source, partition: int, tenants: Sequence[str]) -> int:
    """The highest position that the table holds for a partition; 0 before the first."""
    statement = SQL(
        "SELECT coalesce(max(partition_seq), 0) AS head FROM {} WHERE partition = %s"
    ).format(Identifier(source.table))
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, list(tenants))
        row = connection.execute(statement, (partition,)).fetchone()
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


_ENSURE = """
INSERT INTO subscriptions (subscription_id, topic, partition)
SELECT %(subscription)s, %(topic)s, n FROM generate_series(0, %(partitions)s - 1) AS n
ON CONFLICT DO NOTHING
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
_MOVE = """
UPDATE subscriptions SET last_position = %s, updated_at = now()
WHERE subscription_id = %s AND topic = %s AND partition = %s AND epoch = %s
  AND last_position <= %s
"""
