"""Subscriptions: how far a projection, the ledger or the relay is, in rows beside its rows."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from psycopg import Connection

from sinks.database import Database, DatabaseAway, LoginRefused, Row, connect

TAKEOVER_PATIENCE_S = 2.0  # how long a frozen owner may hold its row before it is ended
OUTCOMES = ("applied", "duplicate", "ignored", "parked", "dead", "no_record")

Place = tuple[str, int]  # topic, partition


class Stale(Exception):  # noqa: N818  named for what is wrong
    """Another owner has taken this partition: our epoch is older than the row's."""


class Hole(Exception):  # noqa: N818  named for what is wrong
    """The log goes on later than our position. ``expected`` is the offset we stand at."""

    def __init__(self, message: str, *, expected: int, found: int) -> None:
        super().__init__(message)
        self.expected = expected
        self.found = found


class TopicReplaced(Exception):  # noqa: N818  named for what is wrong
    """The topic isn't the one we were reading: it was deleted and made again."""


class BeingRebuilt(DatabaseAway):
    """A rebuild has the partitions, or died with them; only its end opens them to workers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A partition of a subscription in our hands, under the epoch at which we took it."""

    subscription_id: str
    topic: str
    partition: int
    epoch: int
    next_offset: int
    last_position: int

    @property
    def name(self) -> str:
        """As it stands in messages."""
        return f"{self.subscription_id} {self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a locked subscription stands, and how many keys are parked there."""

    next_offset: int
    last_position: int
    parked_keys: int = 0


def take(
    database: Database,
    url: str,
    subscription_id: str,
    places: Sequence[Place],
    *,
    owner: str,
    topic_ids: Mapping[str, str],
) -> dict[Place, Held]:
    """Become the owner of ``places``: raise each epoch, end a holder that doesn't let go.

    A frozen process keeps its row locked until its session times out, which takes long, and is
    never if it froze between a statement and the Sync after it; only ending it frees the row
    before. Raises :class:`TopicReplaced` where a topic's id differs from the one stored,
    :class:`BeingRebuilt` while a rebuild has them.
    """
    wanted = sorted(places)
    arrays = ([topic for topic, _ in wanted], [partition for _, partition in wanted])
    with database.connection() as connection, connection.transaction():
        # One statement at a time waits here, and what it waits for is ended.
        with _ending_holders(connection, url):
            connection.execute(_ENSURE, (subscription_id, *arrays))
            rows = connection.execute(_LOCK_ALL, (subscription_id, *arrays)).fetchall()
        if any(row["rebuilding"] for row in rows):
            raise BeingRebuilt(
                "closed to workers until its rebuild ends; if none runs, one was broken off "
                f"(hint: wardtrail rebuild {subscription_id}): {subscription_id}"
            )
        for row in rows:
            known, now = row["topic_id"], topic_ids.get(row["topic"])
            if known is not None and now is not None and known != now:
                raise TopicReplaced(
                    "the topic was deleted and made again since we read it; rebuild, "
                    f"or restore it: {row['topic']}"
                )
        taken = connection.execute(
            _TAKE,
            (owner, *arrays, [topic_ids.get(topic) for topic in arrays[0]], subscription_id),
        ).fetchall()
    assert len(taken) == len(wanted), "every partition has its row"
    return {
        (row["topic"], row["partition"]): Held(
            subscription_id=subscription_id,
            topic=row["topic"],
            partition=row["partition"],
            epoch=row["epoch"],
            next_offset=row["next_offset"],
            last_position=row["last_position"],
        )
        for row in taken
    }


def positions(
    database: Database, subscription_ids: Sequence[str], places: Sequence[Place]
) -> dict[Place, int]:
    """The lowest next offset of these subscriptions in each place."""
    topics, partitions = [topic for topic, _ in places], [number for _, number in places]
    with database.connection() as connection:
        rows = connection.execute(
            _POSITIONS, (list(subscription_ids), topics, partitions)
        ).fetchall()
    found = {(row["topic"], row["partition"]): row["next_offset"] for row in rows}
    assert found.keys() == set(places), "what was taken has its row"
    return found


def reached(database: Database, subscription_id: str, topic: str) -> dict[int, int]:
    """The next offset of each partition that somebody has taken so far."""
    with database.connection() as connection:
        rows = connection.execute(_REACHED, (subscription_id, topic)).fetchall()
    return {row["partition"]: row["next_offset"] for row in rows}


def lock(connection: Connection[Row], held: Held) -> Position:
    """Lock the subscription for this transaction; :class:`Stale` if another one took it."""
    row = connection.execute(_LOCK, (held.subscription_id, held.topic, held.partition)).fetchone()
    if row is None or row["epoch"] != held.epoch:
        raise Stale(f"another owner has taken it: {held.name}")
    return Position(
        next_offset=row["next_offset"],
        last_position=row["last_position"],
        parked_keys=row["parked_keys"],
    )


def parked_keys(connection: Connection[Row], held: Held) -> int:
    """How many keys are parked there, without a lock: it says whether to look."""
    place = (held.subscription_id, held.topic, held.partition)
    row = connection.execute(_PARKED, place).fetchone()
    return 0 if row is None else int(row["parked_keys"])


def move(
    connection: Connection[Row],
    held: Held,
    *,
    next_offset: int,
    last_position: int,
    counts: Mapping[str, int],
    parked_keys: int = 0,
) -> None:
    """Move the position, counting what became of each offset passed (invariant 8).

    ``parked_keys`` is how many were parked by this.
    """
    moved = connection.execute(
        _MOVE,
        {
            "subscription_id": held.subscription_id,
            "topic": held.topic,
            "partition": held.partition,
            "epoch": held.epoch,
            "next_offset": next_offset,
            "last_position": last_position,
            "parked_keys": parked_keys,
            **{outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        },
    ).fetchone()
    if moved is None:
        raise Stale(f"another owner has taken it: {held.name}")


def stop(database: Database, held: Held, *, kind: str, said: str) -> None:
    """Note why a partition of ours stands still, until it moves or is taken again.

    ``said`` is shown to everybody who looks, and holds no patient's data.
    """
    values = (kind, said, held.subscription_id, held.topic, held.partition, held.epoch)
    with database.connection() as connection:
        connection.execute(_STOP, values)


def recount(
    connection: Connection[Row], held: Held, counts: Mapping[str, int], *, parked_keys: int
) -> None:
    """Count offsets anew that were passed before: outcomes and parked keys, by difference."""
    assert sum(counts.values()) == 0, "an offset that leaves one outcome has another one"
    connection.execute(
        _RECOUNT,
        {
            "subscription_id": held.subscription_id,
            "topic": held.topic,
            "partition": held.partition,
            "parked_keys": parked_keys,
            **{outcome: counts.get(outcome, 0) for outcome in OUTCOMES},
        },
    )


def skip(database: Database, held: Held, *, upto: int) -> int:
    """Count offsets that hold no record (a transaction's control records) and pass them."""
    with database.connection() as connection, connection.transaction():
        position = lock(connection, held)
        if upto <= position.next_offset:
            return position.next_offset
        move(
            connection,
            held,
            next_offset=upto,
            last_position=position.last_position,
            counts={"no_record": upto - position.next_offset},
        )
    return upto


@contextmanager
def _ending_holders(connection: Connection[Row], url: str) -> Iterator[None]:
    """While the block waits for a lock longer than our patience, end whoever holds it."""
    waiting = connection.info.backend_pid
    done = threading.Event()

    def end_holders() -> None:
        while not done.wait(TAKEOVER_PATIENCE_S):
            try:
                with connect(url, name="takeover") as other:
                    other.execute(_END_HOLDERS, (waiting,))
            except (DatabaseAway, LoginRefused, psycopg.Error):
                continue  # the waiting statement has its own time-out and tells

    watch = threading.Thread(target=end_holders, name="takeover", daemon=True)
    watch.start()
    try:
        yield
    finally:
        done.set()
        watch.join()


_ENSURE = """
INSERT INTO subscriptions (subscription_id, topic, partition)
SELECT %s, topic, partition FROM unnest(%s::text[], %s::int[]) AS wanted (topic, partition)
ON CONFLICT DO NOTHING
"""
_LOCK_ALL = """
SELECT topic, partition, topic_id, owner = 'rebuild' AS rebuilding FROM subscriptions
WHERE subscription_id = %s
  AND (topic, partition) IN (SELECT * FROM unnest(%s::text[], %s::int[]))
ORDER BY topic, partition
FOR UPDATE
"""
_TAKE = """
UPDATE subscriptions SET
    epoch = epoch + 1, topic_id = coalesce(wanted.topic_id, subscriptions.topic_id),
    owner = %s, updated_at = now(), stopped_at = NULL, stopped = NULL, stopped_said = NULL
FROM unnest(%s::text[], %s::int[], %s::text[]) AS wanted (topic, partition, topic_id)
WHERE subscription_id = %s
  AND subscriptions.topic = wanted.topic AND subscriptions.partition = wanted.partition
RETURNING subscriptions.topic, subscriptions.partition, epoch, next_offset, last_position
"""
_POSITIONS = """
SELECT topic, partition, min(next_offset) AS next_offset FROM subscriptions
WHERE subscription_id = ANY (%s)
  AND (topic, partition) IN (SELECT * FROM unnest(%s::text[], %s::int[]))
GROUP BY topic, partition
"""
_REACHED = """
SELECT partition, next_offset FROM subscriptions WHERE subscription_id = %s AND topic = %s
"""
_LOCK = """
SELECT epoch, next_offset, last_position, parked_keys FROM subscriptions
WHERE subscription_id = %s AND topic = %s AND partition = %s
FOR UPDATE
"""
_PARKED = """
SELECT parked_keys FROM subscriptions WHERE subscription_id = %s AND topic = %s AND partition = %s
"""
_MOVE = """
UPDATE subscriptions SET
    next_offset = %(next_offset)s, last_position = %(last_position)s,
    applied = applied + %(applied)s, duplicate = duplicate + %(duplicate)s,
    ignored = ignored + %(ignored)s, parked = parked + %(parked)s, dead = dead + %(dead)s,
    no_record = no_record + %(no_record)s, parked_keys = parked_keys + %(parked_keys)s,
    updated_at = now(), stopped_at = NULL, stopped = NULL, stopped_said = NULL
WHERE subscription_id = %(subscription_id)s AND topic = %(topic)s AND partition = %(partition)s
  AND epoch = %(epoch)s AND next_offset <= %(next_offset)s AND last_position <= %(last_position)s
RETURNING next_offset
"""
_STOP = """
UPDATE subscriptions SET stopped_at = coalesce(stopped_at, now()), stopped = %s, stopped_said = %s
WHERE subscription_id = %s AND topic = %s AND partition = %s AND epoch = %s
"""
_RECOUNT = """
UPDATE subscriptions SET
    applied = applied + %(applied)s, duplicate = duplicate + %(duplicate)s,
    ignored = ignored + %(ignored)s, parked = parked + %(parked)s, dead = dead + %(dead)s,
    no_record = no_record + %(no_record)s, parked_keys = parked_keys + %(parked_keys)s,
    updated_at = now()
WHERE subscription_id = %(subscription_id)s AND topic = %(topic)s AND partition = %(partition)s
"""
_END_HOLDERS = """
SELECT pg_terminate_backend(holder) FROM unnest(pg_blocking_pids(%s)) AS holder
"""
