"""A rebuild: what a projection holds is dropped, and folded anew out of the ledger.

While it lasts the owner of the projection's partitions is `rebuild`, from whom no worker takes
them; a rebuild that dies leaves them so, and the next one begins again. Offsets and counts stay as
they are: they tell of the log, which was read. Only the position in the ledger begins at 0.

Dead letters are tried again, each where it stands among the events. What still can't be folded
parks its stream as before; what was discarded stays out.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from psycopg.sql import SQL, Identifier

from schemas.events import TYPES, Event
from schemas.failpoints import hit
from sinks import folding, parking, relay, subscriptions, tenancy
from sinks.batches import bisect
from sinks.database import Database, Row, connect, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.projection import Projection
from sinks.relay import Source
from sinks.subscriptions import Held, Stale
from sinks.tenancy import tenants
from sinks.write import write

BATCH_EVENTS = 2_000  # as many as a worker gets in one chunk
SAID_MAX = 5  # unknown types that are named
LOOK_MINUTES = 30  # at most, for the types of a ledger of any size


class EventsUnknown(Exception):  # noqa: N818  named for what is wrong
    """The ledger holds events that this release doesn't know: nothing was changed by it."""


class EventUnfit(Exception):  # noqa: N818  named for what is wrong
    """An event can't be folded, and no dead letter of it is there from when it was live."""


class Overtaken(Exception):  # noqa: N818  named for what happened
    """Another rebuild of the same projection began; it does the whole work."""


class Told(NamedTuple):
    """An event by its place in its partition."""

    offset: int
    event: Event


Tell = Callable[[int, int], None]
"""Told of the events that are done, and of how many there are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilding:
    """What a rebuild needs: where events are read, how a row becomes what a worker would see.

    ``owner_url`` is a login that may become ``wt_owner``, who alone may drop rows. ``published``
    is the source of the relay that publishes what the projection holds, if one does.
    """

    database: Database
    owner_url: str
    events: Source
    decode: Callable[[Row], Event]
    published: Source | None = None

    def run(self, projection: Projection, tell: Tell = lambda _done, _of: None) -> int:
        """Drop the projection's rows and fold every event again; return how many there were.

        Raises :class:`EventsUnknown` before anything is dropped, :class:`EventUnfit`,
        :class:`Overtaken`, :class:`~sinks.relay.RowsMissing`,
        :class:`~sinks.database.DatabaseAway`.
        """
        refuse_unknown(_types(self.database))
        again = self.published if self._risen(projection) or self._open(projection) else None
        held = _begin(self.owner_url, projection, self.events.topic, again)
        hit("rebuild: begun")
        heads = {each.partition: relay.head(self.database, each.partition) for each in held}
        done = 0
        try:
            for each in held:
                after, part = 0, _Part(self.database, projection, each)
                while not part.ended:  # else the rest is the worker's, out of the log
                    # Asked before the events: what goes meanwhile is found when they're read again.
                    gone = relay.deleted_upto(self.database, "events", each.partition)
                    batch = self._read(each, after)
                    if not batch:
                        if after < gone:  # its last events went with their tenant
                            _pass(self.database, each, gone)
                        break
                    after = part.apply(batch)
                    done += len(batch)
                    tell(done, max(done, sum(heads.values())))
            _end(self.database, held)
        except Stale:
            raise Overtaken(f"another rebuild has begun: {projection.name}") from None
        return done

    def _read(self, held: Held, after: int) -> list[Told]:
        rows = relay.read(self.database, self.events, held, after=after, limit=BATCH_EVENTS)
        refuse_unknown(Counter((row["event_type"], row["schema_version"]) for row in rows))
        return [Told(row["partition_seq"], self.decode(row)) for row in rows]

    def _open(self, projection: Projection) -> bool:
        """Whether letters are open: rows of theirs would stand behind what was published."""
        if self.published is None:
            return False
        with self.database.connection() as connection, connection.transaction():
            for_tenants(connection, tenants(connection))
            row = connection.execute(_ANY_OPEN, (projection.name,)).fetchone()
        assert row is not None, "EXISTS has one row"
        return bool(row["any"])

    def _risen(self, projection: Projection) -> bool:
        """Whether what was published was folded by an older fold than the projection's own."""
        if self.published is None:
            return False
        newest = SQL("SELECT max(fold_version) AS version FROM {}").format(
            Identifier(self.published.table)
        )
        with self.database.connection() as connection, connection.transaction():
            for_tenants(connection, tenants(connection))
            row = connection.execute(newest).fetchone()
        assert row is not None, "an aggregate has one row"
        return row["version"] is not None and int(row["version"]) < projection.fold_version


def refuse_unknown(found: Mapping[tuple[str, int], int]) -> None:
    """Raise :class:`EventsUnknown` where an event's type or version isn't one of this release."""
    odd = {
        f"{name} (version {version})": count
        for (name, version), count in sorted(found.items())
        if name not in TYPES or not 1 <= version <= TYPES[name].schema_version
    }
    if odd:
        named = [f"{name} {count}" for name, count in odd.items()][:SAID_MAX]
        more = [f"{len(odd) - SAID_MAX} more"] if len(odd) > SAID_MAX else []
        raise EventsUnknown(
            f"the ledger holds events that this release doesn't know: {', '.join(named + more)}"
        )


def _types(database: Database) -> dict[tuple[str, int], int]:
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, tenants(connection))
        connection.execute(SQL("SET LOCAL statement_timeout = {}").format(f"{LOOK_MINUTES}min"))
        rows = connection.execute(_TYPES).fetchall()
    return {(row["event_type"], row["schema_version"]): row["count"] for row in rows}


def _begin(url: str, projection: Projection, topic: str, again: Source | None) -> list[Held]:
    """Drop the rows, begin at position 0 and close the partitions, in one transaction.

    The subscriptions are locked first, as every writer does, so that none is under way.
    """
    place = {"subscription": projection.name, "topic": topic}
    tables = SQL(", ").join(Identifier(table.name) for table in projection.owns)
    with connect(url, name="rebuild") as connection, connection.transaction():
        connection.execute("SET LOCAL ROLE wt_owner")
        connection.execute(_ENSURE, place)
        connection.execute(_LOCK, place)
        connection.execute(SQL("TRUNCATE {}").format(tables))
        rows = connection.execute(_CLOSE, place).fetchall()
        if again is not None:
            relayed = {"subscription": again.subscription_id, "topic": again.topic}
            connection.execute(_AGAIN, relayed)
    return sorted(
        (
            Held(
                subscription_id=projection.name, topic=topic, partition=row["partition"],
                epoch=row["epoch"], next_offset=row["next_offset"], last_position=0,
            )
            for row in rows
        ),
        key=lambda held: held.partition,
    )  # fmt: skip


@dataclass(slots=True)
class _Part:
    """One partition's events, and what its dead letters are worth by now."""

    database: Database
    projection: Projection
    held: Held
    ended: bool = False
    stuck: set[str] = field(default_factory=set)  # streams of letters that still can't be folded
    letters: dict[int, Row] = field(default_factory=dict)  # of a batch, by the event's position

    def apply(self, batch: Sequence[Told]) -> int:
        """Fold one batch; return the position reached."""
        self.letters = _letters(self.database, self.held, batch)
        return bisect(batch, self._fold, condemn=self._condemn)

    def _condemn(self, told: Told, error: Exception) -> DeadLetter:
        letter = self.letters.get(told.offset)
        if letter is None:
            raise EventUnfit(
                f"{self.held.subscription_id} can't fold an event ({error}) and stays closed to"
                f" workers (hint: mend it and rebuild again): {told.event['event_id']}"
            ) from error
        found = parking.unfit(error)
        return DeadLetter(
            offset=letter["offset"], key=None, value=None,
            stage=found.stage, cause=found.cause, reason=str(found),
        )  # fmt: skip

    def _fold(self, batch: Sequence[Told], condemned: DeadLetter | None) -> int:
        """One transaction, as a worker's, but that the offset stays."""
        whole = self._before_the_unkept(batch)
        if not whole:
            return batch[0].offset - 1
        with self.database.connection() as connection:
            with connection.transaction():
                for_tenants(connection, {told.event["tenant_id"] for told in whole})
                position = subscriptions.lock(connection, self.held)
                gone = tenancy.gone(connection, {told.event["tenant_id"] for told in whole})
                fit = [
                    told
                    for told in whole
                    if condemned is None
                    and told.event["tenant_id"] not in gone
                    and self._fits(told)
                ]
                streams: dict[str, list[Event]] = {}
                for told in fit:
                    if told.event["event_type"] in self.projection.reads:
                        streams.setdefault(told.event["stream_id"], []).append(told.event)
                write(
                    connection,
                    list(folding.folded(connection, self.projection, self.held, streams)),
                )
                hit("rebuild: written")
                parking.settle(connection, self.held, self._mended(fit), state="retried")
                if condemned is not None:
                    parking.condemn(connection, self.held, condemned.offset, _why(condemned))
                subscriptions.move(
                    connection, self.held, next_offset=position.next_offset,
                    last_position=whole[-1].offset, counts={},
                )  # fmt: skip
            hit("rebuild: committed")
        if condemned is not None and self.letters[whole[0].offset]["parks"]:
            self.stuck.add(whole[0].event["stream_id"])
        return whole[-1].offset

    def _before_the_unkept(self, batch: Sequence[Told]) -> Sequence[Told]:
        """The events up to one that would have to wait and isn't kept: the worker keeps it."""
        for index, told in enumerate(() if self.ended else batch):
            if (
                told.event["stream_id"] in self.stuck
                and told.event["event_type"] in self.projection.reads
                and told.offset not in self.letters
            ):
                self.ended = True
                return batch[:index]
        return () if self.ended else batch

    def _fits(self, told: Told) -> bool:
        letter = self.letters.get(told.offset)
        discarded = letter is not None and letter["state"] == "discarded"
        return not discarded and told.event["stream_id"] not in self.stuck

    def _mended(self, fit: Sequence[Told]) -> dict[int, str]:
        """What the open letters of these events are counted as from now on, by offset."""
        return {
            self.letters[told.offset]["offset"]:
                "applied" if told.event["event_type"] in self.projection.reads else "ignored"
            for told in fit
            if told.offset in self.letters
        }  # fmt: skip


def _pass(database: Database, held: Held, upto: int) -> None:
    """Go on to a position whose row is no more."""
    with database.connection() as connection, connection.transaction():
        position = subscriptions.lock(connection, held)
        subscriptions.move(
            connection, held, next_offset=position.next_offset, last_position=upto, counts={}
        )


def _why(letter: DeadLetter) -> parking.Unfit:
    return parking.Unfit(stage=letter.stage, cause=letter.cause, reason=letter.reason)


def _letters(database: Database, held: Held, batch: Sequence[Told]) -> dict[int, Row]:
    """The dead letters of the events, by position: those that are open, and those discarded."""
    positions = {told.event["event_id"]: told.offset for told in batch}
    place = {
        "subscription": held.subscription_id, "topic": held.topic, "partition": held.partition,
        "events": list(positions), "first": batch[0].offset, "last": batch[-1].offset,
    }  # fmt: skip
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, {told.event["tenant_id"] for told in batch})
        rows = connection.execute(_LETTERS, place).fetchall()
    return {positions.get(row["event_id"], row["position"]): row for row in rows}


def _end(database: Database, held: Sequence[Held]) -> None:
    """Open the partitions to workers again, all at once; :class:`Stale` if they aren't ours."""
    if not held:
        return  # the ledger numbers no partition yet
    values = {
        "subscription": held[0].subscription_id, "topic": held[0].topic,
        "partitions": [each.partition for each in held], "epochs": [each.epoch for each in held],
    }  # fmt: skip
    with database.connection() as connection, connection.transaction():
        opened = connection.execute(_OPEN, values).rowcount
        if opened != len(held):
            raise Stale("another owner has taken a partition")


_TYPES = """
SELECT event_type, schema_version, count(*) AS count FROM events
GROUP BY event_type, schema_version
"""
_ENSURE = """
INSERT INTO subscriptions (subscription_id, topic, partition)
SELECT %(subscription)s, topic, partition FROM partitions WHERE topic = %(topic)s
ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT FROM subscriptions WHERE subscription_id = %(subscription)s AND topic = %(topic)s
ORDER BY topic, partition
FOR UPDATE
"""
_CLOSE = """
UPDATE subscriptions SET
    epoch = epoch + 1, owner = 'rebuild', last_position = 0, updated_at = now(),
    stopped_at = NULL, stopped = NULL, stopped_said = NULL
WHERE subscription_id = %(subscription)s AND topic = %(topic)s
RETURNING partition, epoch, next_offset
"""
_AGAIN = """
UPDATE subscriptions SET
    epoch = epoch + 1, owner = NULL, leased_until = NULL, last_position = 0, updated_at = now()
WHERE subscription_id = %(subscription)s AND topic = %(topic)s
"""
_OPEN = """
UPDATE subscriptions SET owner = NULL, updated_at = now()
FROM unnest(%(partitions)s::smallint[], %(epochs)s::bigint[]) AS held (partition, epoch)
WHERE subscription_id = %(subscription)s AND topic = %(topic)s
  AND (subscriptions.partition, subscriptions.epoch) = (held.partition, held.epoch)
"""
_ANY_OPEN = """
SELECT EXISTS (
    SELECT FROM dead_letters WHERE subscription_id = %s AND state IN ('dead', 'parked')
) AS any
"""
_LETTERS = """
SELECT "offset", event_id, position, state, EXISTS (
    SELECT FROM parked_records AS parked
    WHERE (parked.subscription_id, parked.topic, parked.partition, parked.offset)
        = (letter.subscription_id, letter.topic, letter.partition, letter.offset)
) AS parks
FROM dead_letters AS letter
WHERE subscription_id = %(subscription)s AND topic = %(topic)s AND partition = %(partition)s
  AND state IN ('dead', 'parked', 'discarded')
  AND (
    event_id = ANY (%(events)s::uuid[])
    OR event_id IS NULL AND position BETWEEN %(first)s AND %(last)s
  )
"""
