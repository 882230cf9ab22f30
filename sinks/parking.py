"""Parking: records wait in order behind one that couldn't be processed, until it is released.

The open dead letters of a key stand in ``parked_records`` by offset: first the one that parked
it, then those that wait. A record may touch several keys; it waits behind all that are parked.
Who asks for a release only writes a request; the partition's owner executes it, under the lock
that batches take too, so that nothing is released twice and nothing overtakes.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias
from uuid import UUID

from psycopg import Connection

from schemas import sealing
from schemas.failpoints import hit
from sinks import subscriptions
from sinks.batches import FoldFailed
from sinks.database import Database, Refused, Row, for_tenants, told
from sinks.dead_letters import open_record
from sinks.subscriptions import Held
from sinks.tenancy import tenants

CHANNEL = "wardtrail_letters"  # on which a partition's owner hears of requests
OPENED_MAX = 500  # records in clear at a time
REQUESTS_MAX = 100  # of a partition, in one round: one without an owner holds up no other


Transaction: TypeAlias = Connection[Row]
"""In which a request is executed, under the subscription's lock."""


class Unfit(Exception):  # noqa: N818  named for what is wrong
    """A record can't be processed, and by which stage, cause class and PHI-free reason."""

    def __init__(self, *, stage: str, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.stage, self.cause = stage, cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A dead letter's record, opened, and the keys under which it is parked."""

    offset: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    keys: frozenset[str]
    message: tuple[str, str, str] | None = None  # tenant, feed, message id, where it told them


class Releasing(Protocol):
    """What a processor does with records that are released: the same as with fresh ones."""

    def apply(self, connection: Connection[Row], kept: Sequence[Kept]) -> Sequence[str]:
        """Process the records, all or none; say what became of each (``applied``, ``ignored``).

        The transaction shows all tenants; what is written is to be narrowed to the records' own.
        Raises :class:`Unfit`, :class:`~sinks.batches.FoldFailed` or what the database refuses.
        """
        ...

    def end(self, connection: Connection[Row]) -> None:
        """Tell those that follow, once, after something was processed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What somebody asked about a dead letter, as far as its place."""

    request_id: UUID
    subscription_id: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a request ended: ``done``, ``partly``, ``failed`` or ``moot``, and in words."""

    how: str
    said: str
    released: int


def blocked(connection: Connection[Row], held: Held, keys: Collection[str]) -> frozenset[str]:
    """Those of the keys that are parked, in a transaction that holds the subscription's lock."""
    place = (held.subscription_id, held.topic, held.partition)
    rows = connection.execute(_BLOCKED, (sorted(keys), *place))
    return frozenset(row["parked_key"] for row in rows)


def requests(database: Database, subscription_ids: Collection[str]) -> list[Request]:
    """The oldest requests that nobody has executed yet, of a partition at most `REQUESTS_MAX`."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        rows = connection.execute(_REQUESTS, (sorted(subscription_ids), REQUESTS_MAX)).fetchall()
    return [Request(**row | {"request_id": UUID(row["request_id"])}) for row in rows]


def execute(
    database: Database,
    held: Held,
    request_id: UUID,
    releasing: Releasing,
    *,
    line: sealing.Key,
) -> Ended | None:
    """Execute a request in one transaction; None if it was executed before.

    A retry processes the letter and those behind it, in order; a discard those behind it. What
    fails stays, and holds up what comes after it. Raises :class:`~sinks.subscriptions.Stale`,
    :class:`~sinks.database.DatabaseAway`.
    """
    with database.connection() as connection:
        with connection.transaction():
            everybody = tenants(connection)
            for_tenants(connection, everybody)
            subscriptions.lock(connection, held)
            row = connection.execute(_REQUEST, (request_id,)).fetchone()
            if row is None:
                return None
            if row["state"] != "dead":
                said = f"the letter is {row['state'] or 'gone'}"
                ended = Ended(how="moot", said=said, released=0)
            else:
                queue = _queue(connection, held, row["offset"])
                discard = row["action"] == "discard"
                release = _Release(
                    connection, held, queue, releasing, line, row["offset"], everybody
                )
                ended = release.run(discard=discard)
            _end(connection, request_id, ended)
            hit("sink: released")
        hit("sink: committed")
    return ended


def refuse(database: Database, request_id: UUID, said: str) -> None:
    """End a request that can't be executed at all; nothing else is changed."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        _end(connection, request_id, Ended(how="failed", said=said, released=0))


def settle(
    connection: Connection[Row], held: Held, became: Mapping[int, str], *, state: str
) -> None:
    """Note that open letters, by offset, were processed or ended in a ``state``.

    What each of them ``became`` is counted in place of what it was; its keys are free where
    nothing is left under them.
    """
    if not became:
        return
    place = (held.subscription_id, held.topic, held.partition)
    offsets = sorted(became)
    counts: Counter[str] = Counter()
    for row in connection.execute(_CLOSE, (*place, offsets, state)).fetchall():
        counts[row["state"]] -= 1
        counts[became[row["offset"]]] += 1
    freed = connection.execute(_FREE, (*place, offsets)).fetchall()
    keys = sorted({row["parked_key"] for row in freed})
    left = blocked(connection, held, keys) if keys else frozenset()
    subscriptions.recount(connection, held, counts, parked_keys=len(left) - len(keys))


def condemn(connection: Connection[Row], held: Held, offset: int, failed: Unfit) -> None:
    """Make a letter that waited one that others wait for, with its own cause."""
    place = (held.subscription_id, held.topic, held.partition)
    said = (failed.stage, failed.cause, str(failed))
    if connection.execute(_CONDEMN, (*said, *place, offset)).rowcount:
        connection.execute(_MESSAGE, (str(failed), failed.cause, *place, offset))
        subscriptions.recount(connection, held, {"parked": -1, "dead": 1}, parked_keys=0)


def unfit(error: Exception) -> Unfit:
    """What an error says of the record that it befell."""
    if isinstance(error, Unfit):
        return error
    stage, cause = ("write", "refused") if isinstance(error, Refused) else ("fold", "fold_failed")
    return Unfit(stage=stage, cause=cause, reason=str(error))


@dataclass(slots=True)
class _Release:
    """One letter with all that may have to wait for it, by offset."""

    connection: Connection[Row]
    held: Held
    queue: "dict[int, _Open]"
    releasing: Releasing
    line: sealing.Key
    first: int
    everybody: Sequence[UUID]

    def run(self, *, discard: bool) -> Ended:
        """Process what may go, until nothing more may."""
        failed: dict[int, Unfit] = {}
        released = 0
        if discard:
            settle(self.connection, self.held, {self.first: "dead"}, state="discarded")
            self.queue.pop(self.first, None)
        while ready := self._ready(failed):
            became, trouble = self._process(ready)
            settle(self.connection, self.held, became, state="retried")
            for offset in became:
                del self.queue[offset]
            released += len(became)
            if trouble is not None:
                failed.update([trouble])
        if released:
            self.releasing.end(self.connection)
        for offset, error in failed.items():
            if offset != self.first:
                condemn(self.connection, self.held, offset, error)
        return self._ended(failed, released)

    def _ready(self, failed: Mapping[int, Unfit]) -> list[int]:
        """Those that wait for nothing: what stays holds up what comes after it."""
        stuck: set[str] = set()
        ready = []
        for offset, letter in sorted(self.queue.items()):
            another = letter.state == "dead" and offset != self.first
            if another or offset in failed or not letter.keys.isdisjoint(stuck):
                stuck |= letter.keys
            else:
                ready.append(offset)
        return ready

    def _process(self, offsets: Sequence[int]) -> tuple[dict[int, str], tuple[int, Unfit] | None]:
        """Process records up to the first that fails: what became of them, and that one."""
        became: dict[int, str] = {}
        size = OPENED_MAX
        while len(became) < len(offsets):
            part = offsets[len(became) : len(became) + size]
            kept = self._opened(part)
            try:
                with told(), self.connection.transaction():
                    outcomes = self.releasing.apply(self.connection, kept)
                    for_tenants(self.connection, self.everybody)
            except (Refused, FoldFailed, Unfit) as error:
                if len(part) == 1:
                    return became, (part[0], unfit(error))
                size = len(part) // 2
            else:
                became.update(zip(part, outcomes, strict=True))
        return became, None

    def _opened(self, offsets: Sequence[int]) -> list[Kept]:
        place = (self.held.subscription_id, self.held.topic, self.held.partition)
        rows = self.connection.execute(_RECORDS, (*place, list(offsets))).fetchall()
        assert len(rows) == len(offsets), "what is parked is kept"
        return [self._kept(row) for row in rows]

    def _kept(self, row: Row) -> Kept:
        key, value = open_record(UUID(row["id"]), row["record_sealed"], self.line)
        keys = self.queue[row["offset"]].keys
        told = (row["tenant_id"], row["feed_id"], row["message_id"])
        return Kept(
            offset=row["offset"], key=key, value=value, keys=keys,
            message=None if None in told else told,
        )  # fmt: skip

    def _ended(self, failed: Mapping[int, Unfit], released: int) -> Ended:
        if not failed:
            return Ended(how="done", said="all were released", released=released)
        offset, error = min(failed.items())
        how = "failed" if offset == self.first else "partly"
        return Ended(how=how, said=f"offset {offset}: {error}", released=released)


@dataclass(frozen=True, slots=True)
class _Open:
    """An open letter's state and keys."""

    state: str
    keys: frozenset[str]


def _queue(connection: Connection[Row], held: Held, offset: int) -> dict[int, _Open]:
    """The letter and all that share a key with it, or with one that does."""
    place = {
        "subscription": held.subscription_id, "topic": held.topic,
        "partition": held.partition, "offset": offset,
    }  # fmt: skip
    keys: dict[int, set[str]] = defaultdict(set)
    states = {offset: "dead"}
    for row in connection.execute(_QUEUE, place):
        keys[row["offset"]].add(row["parked_key"])
        states[row["offset"]] = row["state"]
    return {each: _Open(state, frozenset(keys[each])) for each, state in states.items()}


def _end(connection: Connection[Row], request_id: UUID, ended: Ended) -> None:
    connection.execute(_ENDED, (ended.how, ended.said, ended.released, request_id))


_BLOCKED = """
SELECT parked_key FROM unnest(%s::text[]) AS wanted (parked_key)
WHERE EXISTS (
    SELECT FROM parked_records
    WHERE subscription_id = %s AND topic = %s AND partition = %s
      AND parked_records.parked_key = wanted.parked_key
)
"""
_REQUESTS = """
SELECT request_id, subscription_id, topic, partition FROM (
    SELECT id AS request_id, subscription_id, topic, partition, row_number() OVER (
        PARTITION BY subscription_id, topic, partition ORDER BY requested_at, id
    ) AS number
    FROM dead_letter_requests WHERE executed_at IS NULL AND subscription_id = ANY (%s)
) AS open WHERE number <= %s
ORDER BY number, request_id
"""
_REQUEST = """
SELECT action, dead_letters.state, dead_letters.offset
FROM dead_letter_requests LEFT JOIN dead_letters ON dead_letters.id = letter_id
WHERE dead_letter_requests.id = %s AND executed_at IS NULL
FOR UPDATE OF dead_letter_requests
"""
_ENDED = """
UPDATE dead_letter_requests SET executed_at = now(), ended = %s, said = %s, released = %s
WHERE id = %s AND executed_at IS NULL
"""
_RECORDS = """
SELECT id, "offset", record_sealed, tenant_id, feed_id, message_id FROM dead_letters
WHERE subscription_id = %s AND topic = %s AND partition = %s AND "offset" = ANY (%s)
ORDER BY "offset"
"""
# The state before the update: what the offset is counted as.
_CLOSE = """
WITH open AS (
    SELECT id AS letter_id, state AS was FROM dead_letters
    WHERE subscription_id = %s AND topic = %s AND partition = %s AND "offset" = ANY (%s)
      AND state IN ('dead', 'parked')
)
UPDATE dead_letters SET state = %s FROM open WHERE id = letter_id
RETURNING "offset", was AS state
"""
_FREE = """
DELETE FROM parked_records
WHERE subscription_id = %s AND topic = %s AND partition = %s AND "offset" = ANY (%s)
RETURNING parked_key
"""
_CONDEMN = """
UPDATE dead_letters SET state = 'dead', stage = %s, cause = %s, reason = %s
WHERE subscription_id = %s AND topic = %s AND partition = %s AND "offset" = %s
  AND state = 'parked'
"""
# The row of a message that waited in the ledger; projections' records stand at other places.
_MESSAGE = """
UPDATE messages SET outcome = 'dead', reason = %s, cause = %s FROM dead_letters AS letter
WHERE subscription_id = %s AND letter.topic = %s AND letter.partition = %s AND letter."offset" = %s
  AND (messages.tenant_id, messages.feed_id, messages.message_id)
    = (letter.tenant_id, letter.feed_id, letter.message_id)
  AND (messages.topic, messages.partition, messages."offset")
    = (letter.topic, letter.partition, letter."offset")
  AND outcome = 'parked'
"""
_QUEUE = """
WITH RECURSIVE place AS NOT MATERIALIZED (
    SELECT parked_key, "offset" FROM parked_records
    WHERE subscription_id = %(subscription)s AND topic = %(topic)s AND partition = %(partition)s
), reached (parked_key) AS (
    SELECT parked_key FROM place WHERE "offset" = %(offset)s
    UNION
    SELECT also.parked_key FROM reached
    JOIN place USING (parked_key) JOIN place AS also USING ("offset")
)
SELECT place.parked_key, place."offset", dead_letters.state
FROM reached JOIN place USING (parked_key)
JOIN dead_letters ON dead_letters."offset" = place."offset"
WHERE subscription_id = %(subscription)s AND topic = %(topic)s AND partition = %(partition)s
"""
