"""The breaker: so many bad records stop a partition, rather than be kept one by one."""

from collections import Counter
from collections.abc import Collection, Sequence

from psycopg import Connection

from sinks.database import Row
from sinks.dead_letters import DeadLetter
from sinks.subscriptions import Held

# Bad records are a handful. So many keys mean bad code, or a newer release's events: somebody
# should look, and until then the records are safe in the log.
KEYS_MAX = 1_000
# One message in a hundred is no longer a bad message, but a feed that changed or a broken mapper.
RECORDS = 10_000  # the newest of a partition
DEAD_MAX = RECORDS // 100  # of one feed among them, neither retried nor discarded


class BreakerOpen(Exception):  # noqa: N818  named for what happened
    """So many records or keys are kept that the partition stops rather than keep more."""


def parking(
    connection: Connection[Row],
    held: Held,
    letters: Sequence[DeadLetter],
    before: Collection[str],
) -> int:
    """How many keys these letters park that weren't parked ``before``.

    Raises :class:`BreakerOpen` where the subscription would have more than `KEYS_MAX`, or a feed
    more than `DEAD_MAX` dead messages among the newest `RECORDS` of the partition. It closes
    when they are retried or discarded.
    """
    dead = Counter(
        str(each.feed_id) for each in letters if each.state == "dead" and each.family is not None
    )
    if dead:
        asked = {
            "subscription": held.subscription_id, "topic": held.topic,
            "partition": held.partition, "feeds": sorted(dead),
            "oldest": max(each.offset for each in letters) - RECORDS,
        }  # fmt: skip
        for row in connection.execute(_DEAD, asked).fetchall():
            if row["count"] + dead[row["feed_id"]] > DEAD_MAX:
                raise BreakerOpen(
                    f"{held.name} stops: more than {DEAD_MAX} of the newest {RECORDS} records are"
                    f" dead messages of one feed ({_hint(held)}), feed: {row['feed_id']}"
                )
    new = {key for letter in letters for key in letter.keys}.difference(before)
    if new:
        kept = connection.execute(_KEYS, (held.subscription_id,)).fetchone()
        assert kept is not None, "an aggregate has one row"
        if kept["keys"] + len(new) > KEYS_MAX:
            raise BreakerOpen(
                f"{held.name} stops rather than park more than {KEYS_MAX} keys ({_hint(held)}),"
                f" parked: {kept['keys']}"
            )
    return len(new)


def _hint(held: Held) -> str:
    listed = f"wardtrail dead-letters list --state dead --subscription {held.subscription_id}"
    return f"hint: {listed}; then retry or discard"


_DEAD = """
SELECT feed.id AS feed_id, count(letter.id)
FROM unnest(%(feeds)s::uuid[]) AS feed (id) LEFT JOIN dead_letters AS letter
  ON subscription_id = %(subscription)s AND topic = %(topic)s AND partition = %(partition)s
 AND "offset" > %(oldest)s AND state = 'dead' AND family IS NOT NULL AND letter.feed_id = feed.id
GROUP BY feed.id
"""
_KEYS = """
SELECT coalesce(sum(parked_keys), 0)::int AS keys FROM subscriptions WHERE subscription_id = %s
"""
