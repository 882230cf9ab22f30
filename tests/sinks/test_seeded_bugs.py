"""Each oracle is shown failing: a bug is put in, and what guards against it turns red."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from schemas.failpoints import FailPoint
from sinks import batches, database, folding, ledger, subscriptions
from sinks import relay as rows
from sinks import transaction as sink
from sinks.database import DatabaseAway
from sinks.subscriptions import Hole, Position, Stale
from streams.relay import NotDelivered, Relay
from tests.sinks import inbound
from tests.sinks.inbound import append, both, check, concurrent, entry, take
from tests.sinks.provisioned import OURS, TALLY, applied, apply, counts, record, records, stream_id
from tests.streams.test_relay import Line, seen

pytestmark = pytest.mark.stack


def red(oracle, *arguments):
    """The oracle must not pass."""
    with pytest.raises(AssertionError):
        oracle(*arguments)


def all_applied(store, count):
    """Oracle 1: the tables equal the fold over what was published; oracle 2: counts add up."""
    assert applied(store) == list(range(1, count + 1))
    assert sum(counts(store).values()) == count


# --- numbering under the inbound topic's own lock -------------------------------------------------


def unlocked(connection, topic, wanted):
    """The partitions' heads, read without their lock."""
    query = ledger._PARTITIONS.replace("FOR UPDATE", "")
    found = connection.execute(query, (topic, wanted, wanted)).fetchall()
    return {row["partition"]: row["next_seq"] for row in found}


def test_numbering_without_the_partitions_lock_gives_a_number_twice(store, monkeypatch):
    monkeypatch.setattr(ledger, "_lock_partitions", unlocked)
    append(store, take(store, 0), [entry(0, streams=(7,))])
    append(store, take(store, 1), [entry(0, number=50, streams=(7,))])  # same home
    one, two = take(store, 0), take(store, 1)
    store.run("ALTER TABLE events DROP CONSTRAINT idx_events_partition")
    store.run("ALTER TABLE events DROP CONSTRAINT idx_events_stream")
    barrier = threading.Barrier(2)
    real = ledger.number

    def number(*arguments, **named):
        done = real(*arguments, **named)
        barrier.wait(10)
        return done

    monkeypatch.setattr(ledger, "number", number)
    both(
        lambda: append(store, one, [entry(1, number=1, streams=(7,))]),
        lambda: append(store, two, [entry(1, number=51, streams=(7,))]),
    )
    red(check, store)


def test_numbering_without_the_partitions_lock_is_refused_by_the_constraint(store, monkeypatch):
    """With the constraints in place the same bug can't commit; a batch of one is tried again."""
    monkeypatch.setattr(ledger, "_lock_partitions", unlocked)
    assert concurrent(store, entries=40, size=5) == []
    doubles = store.rows("SELECT FROM events GROUP BY partition, partition_seq HAVING count(*) > 1")
    assert doubles == []


def test_numbers_drawn_ahead_of_their_lock_show_a_reader_a_hole(store, monkeypatch):
    """Numbers from a sequence: a later one commits first, and a reader passes the earlier by."""
    append(store, take(store, 0), [entry(0, streams=(7,)), entry(1, streams=(8,))])
    drawn = iter(range(3, 100))
    monkeypatch.setattr(ledger, "_lock_partitions", lambda *_: {0: next(drawn), 1: 1})
    late, go = threading.Event(), threading.Event()
    real = ledger.write

    def write(connection, changes):
        if threading.current_thread().name == "slow":
            late.set()
            go.wait(10)
        return real(connection, changes)

    monkeypatch.setattr(ledger, "write", write)
    one, two = take(store, 0), take(store, 1)
    slow = threading.Thread(target=append, args=(store, one, [entry(2, streams=(7,))]), name="slow")
    slow.start()
    assert late.wait(10)
    torn, last, stop = [], {0: 2, 1: 0, 2: 0, 3: 0}, threading.Event()
    stop.set()
    append(store, two, [entry(0, number=51, streams=(8,))])
    inbound.follow(store, stop, last, torn)
    go.set()
    slow.join()
    assert torn == [(0, 2, 4)], "position 3 is passed over for ever"


# --- a race taken for a bad record ----------------------------------------------------------------


def test_a_lost_race_condemned_at_once_costs_a_message(store, monkeypatch):
    monkeypatch.setattr(batches, "RACES_MAX", 0)
    one, two = take(store, 0), take(store, 1)
    barrier, met, real = threading.Barrier(2), threading.local(), ledger._states

    def states(connection, homes):
        found = real(connection, homes)
        if not getattr(met, "yes", False):
            met.yes = True
            barrier.wait(10)
        return found

    monkeypatch.setattr(ledger, "_states", states)
    both(
        lambda: append(store, one, [entry(0, number=0, streams=(7,))]),
        lambda: append(store, two, [entry(0, number=1, streams=(7,))]),
    )

    def nothing_dead():
        assert store.rows("SELECT FROM dead_letters") == []

    red(nothing_dead)


# --- epoch not checked ----------------------------------------------------------------------------


def unfenced(connection, held):
    row = connection.execute(
        subscriptions._LOCK, (held.subscription_id, held.topic, held.partition)
    ).fetchone()
    return Position(next_offset=row["next_offset"], last_position=row["last_position"])


def test_an_epoch_that_is_not_checked_lets_a_zombie_write(store, monkeypatch):
    old = store.take()
    store.take()
    monkeypatch.setattr(subscriptions, "lock", unfenced)
    with pytest.raises(Stale):  # the second guard: move asks for the epoch too
        apply(store, old, records(0, 4))
    unguarded = subscriptions._MOVE.replace("AND epoch = %(epoch)s", "")
    monkeypatch.setattr(subscriptions, "_MOVE", unguarded)

    def the_zombie_writes_nothing():
        with pytest.raises(Stale):
            apply(store, old, records(0, 4))
        assert applied(store) == []

    with pytest.raises(pytest.fail.Exception):
        the_zombie_writes_nothing()
    assert applied(store) == [1, 2, 3, 4, 5], "the zombie wrote"


# --- decide, or load, before the lock -------------------------------------------------------------


def test_rows_loaded_before_the_lock_lose_what_another_owner_wrote(store, monkeypatch):
    held = store.take()
    apply(store, held, records(0, 2, streams=1))
    stale = []
    real_load = folding._load

    def load(connection, projection, streams):
        return stale[0]

    with store.database.connection() as connection, connection.transaction():
        sink.for_tenants(connection, [OURS])
        stale.append(real_load(connection, TALLY, [stream_id(0)]))
    apply(store, held, records(3, 5, streams=1))  # what happened between the load and the lock
    monkeypatch.setattr(folding, "_load", load)
    apply(store, held, records(6, 8, streams=1))
    red(all_applied, store, 9)


def test_states_read_before_the_lock_number_a_version_twice(store, monkeypatch):
    append(store, take(store, 0), [entry(0, streams=(7,))])
    before = []
    real = ledger._states

    def states(connection, homes):
        found, now = real(connection, homes)
        before.append(found)
        return before[0], now

    monkeypatch.setattr(ledger, "_states", states)
    held = take(store, 0)
    store.run("ALTER TABLE events DROP CONSTRAINT idx_events_stream")
    append(store, held, [entry(1, streams=(7,))])
    append(store, held, [entry(2, streams=(7,))])
    for state in before[0].values():
        state.version = 1
    append(store, held, [entry(3, streams=(7,))])
    red(check, store)


# --- position moved outside the transaction -------------------------------------------------------


def test_a_position_moved_in_another_transaction_loses_records(store, armed, monkeypatch):
    held = store.take()

    moves = []

    def move(connection, *arguments, **named):
        moves.append((arguments, named))

    real = subscriptions.move
    monkeypatch.setattr(subscriptions, "move", move)
    armed("sink: moved=raise")
    with pytest.raises(FailPoint):
        apply(store, held, records(0, 4))  # the rows are rolled back
    with store.database.connection() as connection:
        for arguments, named in moves:
            real(connection, *arguments, **named)  # and the position moves all the same
    armed("")
    monkeypatch.setattr(subscriptions, "move", real)
    assert apply(store, held, records(0, 4)) == 5
    red(all_applied, store, 5)


# --- hole ignored ---------------------------------------------------------------------------------


def test_a_hole_that_is_ignored_breaks_the_counts_before_it_can_lose_anything(store, monkeypatch):
    held = store.take()
    monkeypatch.setattr(sink, "until_hole", lambda batch: (batch, None))
    monkeypatch.setattr(sink, "unseen", lambda batch, _: batch)
    with pytest.raises(Exception, match=r"nothing_vanishes|expected"):
        apply(store, held, [record(0), record(1), record(4, seq=3)])
    assert applied(store) == [1, 2], "what came before the hole, and nothing after it"


def test_a_hole_that_is_ignored_and_not_counted_loses_a_record(store, monkeypatch):
    held = store.take()
    store.run("ALTER TABLE subscriptions DROP CONSTRAINT ck_subscriptions_nothing_vanishes")
    monkeypatch.setattr(sink, "until_hole", lambda batch: (batch, None))
    with pytest.raises(sink.Gap):  # the positions would still tell
        apply(store, held, [record(0), record(1), *records(3, 5)])
    real = sink.sort

    def sort(projection, held, fresh, position, condemned, **said):
        ahead = Position(
            next_offset=position.next_offset, last_position=fresh[0].event["partition_seq"] - 1
        )
        return real(projection, held, fresh, ahead, condemned, **said)

    monkeypatch.setattr(sink, "sort", sort)
    monkeypatch.setattr(sink, "unseen", lambda batch, _: batch)
    apply(store, held, records(0, 1))
    apply(store, held, records(3, 5))
    red(all_applied, store, 6)


# --- ack before commit ----------------------------------------------------------------------------


class Acked:
    """A reader that trusts what was acked, as a plain Kafka consumer does."""

    def __init__(self):
        self.offset = 0

    def follow(self, log: Sequence[object], size, act, *, early):
        while self.offset < len(log):
            batch = log[self.offset : self.offset + size]
            if early:
                self.offset = batch[-1].offset + 1
            act(batch)
            self.offset = batch[-1].offset + 1


@pytest.mark.parametrize("early", [True, False])
def test_an_ack_before_the_commit_loses_the_batch_that_fails(store, armed, early):
    held, reader, log = store.take(), Acked(), records(0, 9)
    armed("sink: written=raise@1")
    with pytest.raises(FailPoint):
        reader.follow(log, 5, lambda batch: apply(store, held, batch), early=early)
    armed("")
    if early:
        with pytest.raises(Hole):  # the position in the database tells at once
            reader.follow(log, 5, lambda batch: apply(store, held, batch), early=early)
        red(all_applied, store, 10)
    else:
        reader.follow(log, 5, lambda batch: apply(store, held, batch), early=early)
        all_applied(store, 10)


# --- transient trouble swallowed ------------------------------------------------------------------


def test_transient_trouble_taken_for_a_bad_record_makes_dead_letters(store, monkeypatch):
    store.run(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '40001'; END $$"
    )
    store.run(
        "CREATE TRIGGER trouble BEFORE INSERT ON timeline_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
    )
    held = store.take()
    with pytest.raises(DatabaseAway):
        apply(store, held, records(0, 3))
    monkeypatch.setattr(database, "TRANSIENT", frozenset())
    monkeypatch.setattr(database, "POISON", frozenset({"40"}))
    apply(store, held, records(0, 3))
    red(all_applied, store, 4)
    assert counts(store) == {"dead": 3, "parked": 1}


# --- the relay ------------------------------------------------------------------------------------


def contiguous(published):
    """Oracle: a consumer that skips what it has seen gets every position, without a hole."""
    assert seen(published) == list(range(1, len(seen(published)) + 1))


class Pipelining(Relay):
    """A relay that goes on with the next rows whatever became of those before."""

    def _publish(self, batches):
        for partition, batch in batches.items():
            for row in batch:
                try:
                    super()._publish({partition: [row]})
                except NotDelivered:
                    self._forget_producer()

    def _forget_producer(self):
        producer, self._producer = self._producer, None
        producer.purge()


def test_a_relay_that_pipelines_past_a_refused_record_leaves_a_hole(store, stack):
    line = Line(store, stack.bootstrap_servers, **{"max.message.bytes": "4000"})
    line.append(3)
    line.append(1, occurred_text=os.urandom(6000).hex())
    line.append(3)
    honest = line.relay()
    honest._renew()
    with pytest.raises(NotDelivered):
        honest.round()
    contiguous(line.published())
    honest._close()
    buggy = Pipelining(**fields(line.relay("two")))
    buggy._renew()
    assert buggy.round() == 7
    assert line.position() == 7
    red(contiguous, line.published())
    buggy._close()


def fields(relay):
    return {
        name: getattr(relay, name)
        for name in ("publication", "database", "bootstrap_servers", "partitions", "owner")
    }


def test_a_zombies_publish_harms_only_a_consumer_that_does_not_skip(store, stack):
    line = Line(store, stack.bootstrap_servers)
    line.append(5)
    zombie, owner = line.relay("zombie"), line.relay("owner")
    zombie._renew()
    read = rows.read(store.database, line.publication.source, zombie._held[0], after=0, limit=100)
    held = [line.publication.encode(row) for row in read]
    store.run("UPDATE subscriptions SET leased_until = now() - interval '1 s'")
    owner._renew_at = 0.0
    owner._renew()
    assert owner.round() == 5
    zombie._renew_at = time.monotonic() + 60  # it wakes and doesn't know
    zombie._publish({0: held})
    with pytest.raises(Stale):
        rows.move(store.database, zombie._held[0], to=5)
    line.append(3)
    owner.round()
    published = line.published()
    assert published == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5, 6, 7, 8]
    contiguous(published)

    def never_skips(seqs):
        assert seqs == sorted(set(seqs)), "applied twice, out of order"

    never_skips(seen(published))
    red(never_skips, published)
    held_by = store.take()
    again = [record(offset, seq=seq) for offset, seq in enumerate(published)]
    apply(store, held_by, again)
    assert applied(store) == list(range(1, 9))
    assert counts(store) == {"applied": 8, "duplicate": 5}
    zombie._forget()
    owner._close()


def test_a_relay_that_moves_before_the_brokers_hold_the_rows_leaves_a_hole(store, stack):
    line = Line(store, stack.bootstrap_servers)
    line.append(5)

    class Early(Relay):
        def _publish(self, batches):
            """Hand over and go; the process dies before anything is sent."""

    early = Early(**fields(line.relay("early")))
    early._renew()
    early.round()
    early._close()
    line.append(3)
    late = line.relay("late")
    late._renew()
    late.round()
    red(contiguous, line.published())
    late._close()


def test_a_relay_that_never_looked_for_holes_publishes_past_one(store, stack):
    line = Line(store, stack.bootstrap_servers)
    line.append(5)
    store.run("DELETE FROM events WHERE partition_seq = 3")
    plain = line.publication
    line.publication = replace(plain, source=replace(plain.source, unique=False))
    relay = line.relay()
    relay._renew()
    relay.round()
    red(contiguous, line.published())
    relay._close()
