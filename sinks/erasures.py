"""Erasures obeyed: keys destroyed, and this database's position in the log of them moved with it.

A database that was restored has an older position, and so destroys again what came back with it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from psycopg import Connection

from sinks import subject_keys, subscriptions, tenancy
from sinks.database import Database, Row, for_tenants
from sinks.subject_keys import Erased
from sinks.subscriptions import Held, TopicReplaced

SUBSCRIPTION = "erasures"
Outcome = Literal["applied", "ignored", "dead"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A record of the log by its offset: whom it erases, or nobody."""

    offset: int
    erased: Erased | None = None
    outcome: Outcome = "applied"


def positions(database: Database, topic: str) -> dict[int, int]:
    """The next offset of each partition that was read before."""
    with database.connection() as connection:
        rows = connection.execute(_POSITIONS, (SUBSCRIPTION, topic)).fetchall()
    return {row["partition"]: row["next_offset"] for row in rows}


def obey(
    database: Database,
    topic: str,
    topic_id: str,
    partition: int,
    read: Sequence[Read],
    *,
    upto: int,
) -> int:
    """Destroy the keys of whom records erase, and move the position, in one transaction.

    What ``read`` has beyond ``upto`` is obeyed too, and is read again; what another process
    passed already is dropped. Returns how many versions of keys were alive. Raises
    :class:`~sinks.subscriptions.TopicReplaced`.
    """
    place = (SUBSCRIPTION, topic, partition)
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenancy.tenants(connection))
        connection.execute(_ENSURE, (*place, topic_id))
        row = connection.execute(_LOCK, place).fetchone()
        assert row is not None, "it was made just now"
        if row["topic_id"] != topic_id:
            raise TopicReplaced(
                "the topic was deleted and made again since we read it, with all erasures in it;"
                f" restore it: {topic}"
            )
        at: int = row["next_offset"]
        fresh = [each for each in read if each.offset >= at]
        erased = [one.erased for one in fresh if one.erased]
        destroyed = subject_keys.erase(connection, erased)
        # They need no key to be read, and the ledger may be far from telling of it.
        connection.execute(_UNFIND, ([each.name[1] for each in erased],))
        if upto > at:
            passed = [each for each in fresh if each.offset < upto]
            _move(connection, _held(topic, partition, row), passed, upto)
    return destroyed


def _held(topic: str, partition: int, row: Row) -> Held:
    return Held(
        subscription_id=SUBSCRIPTION, topic=topic, partition=partition, epoch=row["epoch"],
        next_offset=row["next_offset"], last_position=row["last_position"],
    )  # fmt: skip


def _move(connection: Connection[Row], held: Held, passed: Sequence[Read], upto: int) -> None:
    counts = Counter[str](each.outcome for each in passed)
    counts["no_record"] = upto - held.next_offset - len(passed)
    subscriptions.move(
        connection, held, next_offset=upto, last_position=held.last_position, counts=counts
    )


_POSITIONS = """
SELECT partition, next_offset FROM subscriptions WHERE subscription_id = %s AND topic = %s
"""
_UNFIND = """
DELETE FROM patient_tokens WHERE patient_id = ANY (%s) AND NOT EXISTS (
    SELECT FROM subject_keys
    WHERE subject_keys.tenant_id = patient_tokens.tenant_id AND subject_id = patient_id
      AND destroyed_at IS NULL
)
"""
_ENSURE = """
INSERT INTO subscriptions (subscription_id, topic, partition, topic_id) VALUES (%s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT topic_id, next_offset, last_position, epoch FROM subscriptions
WHERE subscription_id = %s AND topic = %s AND partition = %s FOR UPDATE
"""
