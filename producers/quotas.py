"""How much a feed, and all feeds of a tenant, may send: tokens, connections, bytes in flight.

Over a quota nothing is refused that was sent: its connections aren't read until there is room,
and TCP tells the sender. Only a connection too many is closed, before anything of it is taken.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from random import uniform
from uuid import UUID

from schemas.feeds import Feed

# A feed that nobody has sent by for so long has its tokens back; its bucket is forgotten.
FORGET_SECONDS = 60.0
# Until a connection that waits for its tenant's share looks again; by chance a little more or
# less, so that none of a tenant's is always the first.
CREDIT_SECONDS, CREDIT_SPREAD = 0.05, 0.5
BUCKETS_MAX = 10_000  # forgotten are the full ones first


@dataclass(slots=True)
class Bucket:
    """Tokens that come at a steady rate, at most a second's worth; below zero they are owed.

    A batch is taken whole, and all that was read when its sender hangs up.
    """

    rate: int
    tokens: float
    at: float

    def owed(self, now: float) -> float:
        """Seconds until nothing is owed any more; 0 if nothing is."""
        self.tokens = min(float(self.rate), self.tokens + (now - self.at) * self.rate)
        self.at = now
        return max(0.0, -self.tokens / self.rate)

    def take(self, now: float) -> None:
        """Take one token."""
        self.owed(now)
        self.tokens -= 1.0


class Quotas:
    """What each feed and tenant has used; times are the event loop's, in seconds."""

    def __init__(self) -> None:
        self._buckets: dict[UUID, Bucket] = {}
        self._connections: Counter[UUID] = Counter()
        self._in_flight: Counter[UUID] = Counter()

        self._credits: dict[UUID, int] = {}
        self._others: int | None = None
        self._credits_until = 0.0
        self._held: set[UUID] = set()
        self.sent: Counter[UUID] = Counter()  # messages by tenant, since the start

    def share(self, given: Mapping[UUID, int], until: float, *, others: int | None = None) -> None:
        """Let each of these tenants send so many messages until that time, and any other so many.

        Where those are None they send as they like. Another thread may call this, and
        :meth:`held`.
        """
        self._credits_until, self._others, self._credits = until, others, dict(given)

    def held(self) -> Collection[UUID]:
        """Who had to wait for a share since this was last asked."""
        held, self._held = self._held, set()
        return held

    def charge(self, feed: Feed, now: float) -> None:
        """A message of this feed was taken."""
        self.sent[feed.tenant_id] += 1
        left = self._credits.get(feed.tenant_id, self._others)
        if left is not None:
            self._credits[feed.tenant_id] = left - 1
        for bucket in self._of(feed, now):
            bucket.take(now)

    def wait(self, feed: Feed, now: float) -> float:
        """Seconds during which the feed's connections shouldn't be read."""
        wait = max((bucket.owed(now) for bucket in self._of(feed, now)), default=0.0)
        left = self._credits.get(feed.tenant_id, self._others)
        if left is None or left > 0 or now >= self._credits_until:
            return wait
        self._held.add(feed.tenant_id)
        spread = uniform(1 - CREDIT_SPREAD, 1 + CREDIT_SPREAD)  # noqa: S311  no secret
        return max(wait, CREDIT_SECONDS * spread)

    def crowded(self, feed: Feed) -> bool:
        """Whether as many bytes of the feed are in flight as may be."""
        return self._in_flight[feed.feed_id] > feed.in_flight_bytes_max

    def hold(self, feed_id: UUID, size: int) -> None:
        """Bytes of the feed that are in flight from now on; fewer than none are no longer."""
        self._in_flight[feed_id] += size
        if self._in_flight[feed_id] <= 0:
            del self._in_flight[feed_id]

    def enter(self, feed: Feed) -> bool:
        """A connection sends by this feed; False where as many do as may."""
        most = feed.connections_max
        if most is not None and self._connections[feed.feed_id] >= most:
            return False
        self._connections[feed.feed_id] += 1
        return True

    def leave(self, feed_ids: Iterable[UUID]) -> None:
        """A connection that sent by these feeds has ended."""
        for feed_id in feed_ids:
            self._connections[feed_id] -= 1
            if self._connections[feed_id] <= 0:
                del self._connections[feed_id]

    def _of(self, feed: Feed, now: float) -> list[Bucket]:
        rates = (
            (feed.feed_id, feed.messages_per_second),
            (feed.tenant_id, feed.tenant_messages_per_second),
        )
        return [self._bucket(each, rate, now) for each, rate in rates if rate is not None]

    def _bucket(self, key: UUID, rate: int, now: float) -> Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            if len(self._buckets) >= BUCKETS_MAX:
                self._forget(now)
            bucket = self._buckets[key] = Bucket(rate, float(rate), now)
        elif bucket.rate != rate:  # set anew: what is owed stays owed
            bucket.owed(now)
            bucket.rate, bucket.tokens = rate, min(bucket.tokens, float(rate))
        return bucket

    def _forget(self, now: float) -> None:
        """Make room: those long unused are full again anyway."""
        kept = {k: each for k, each in self._buckets.items() if now - each.at < FORGET_SECONDS}
        self._buckets = kept if len(kept) < BUCKETS_MAX else {}
