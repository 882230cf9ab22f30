"""Announcing: each state of a dead letter gets its place in the topic that tells of letters.

A letter whose state was never told waits for that by being as it is: whoever writes it, in
whatever transaction, has nothing to do for it. The relay numbers what waits before it reads, so
that no writer waits for another's number, and numbers rise in the order in which rows are seen.
"""

from collections.abc import Collection

from sinks.database import Database, for_tenants
from sinks.tenancy import tenants

NUMBERED_MAX = 2_000  # at a time; the next round has the next ones


def number(database: Database, topic: str, partitions: Collection[int]) -> int:
    """Place the states that were never told behind those told before; return how many.

    A letter's own partition is the one in which it is told of. One that somebody has locked, to
    change its state, is left for the next round.
    """
    values = {"topic": topic, "partitions": sorted(partitions), "most": NUMBERED_MAX}
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        return connection.execute(_NUMBER, values).rowcount


_NUMBER = """
WITH waiting AS MATERIALIZED (
    SELECT id, partition, created_at, "offset" FROM dead_letters
    WHERE announced IS DISTINCT FROM state AND partition = ANY (%(partitions)s::smallint[])
    ORDER BY created_at, "offset", id LIMIT %(most)s
    FOR UPDATE SKIP LOCKED
), head AS (
    INSERT INTO partitions (topic, partition, next_seq)
    SELECT %(topic)s, partition, 1 + count(*) FROM waiting GROUP BY partition ORDER BY partition
    ON CONFLICT (topic, partition)
    DO UPDATE SET next_seq = partitions.next_seq + excluded.next_seq - 1
    RETURNING partition, next_seq
), placed AS (
    SELECT id, next_seq - row_number() OVER (
        PARTITION BY partition ORDER BY created_at DESC, "offset" DESC, id DESC
    ) AS seq
    FROM waiting JOIN head USING (partition)
)
UPDATE dead_letters SET announced = state, announced_at = now(), partition_seq = placed.seq
FROM placed WHERE dead_letters.id = placed.id
"""
