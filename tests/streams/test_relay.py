"""The relay against a real broker: in order, without a hole, and again rather than never."""

import os
import signal
import threading
import time
import uuid
from dataclasses import replace

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ops.stack import stack as embedded
from ops.stack.state import read
from schemas.codec import Codec, Ids
from schemas.examples import good
from schemas.failpoints import FailPoint
from sinks import relay as rows
from sinks.relay import RowsMissing
from sinks.subscriptions import Stale
from streams import publications
from streams import relay as relays
from streams.log import QUIET
from streams.relay import HistoryLost, NotDelivered, Relay
from tests.sinks.inbound import PARTITIONS, append, entry, take
from tests.sinks.provisioned import OURS, made
from tests.topics import make_topic

pytestmark = pytest.mark.stack

CODEC = Codec(Ids.in_order())
DATA = next(iter(good("wardtrail.events.PatientUpdated")))[1]["data"]
PATIENCE_SECONDS = 60.0


class Line:
    """A store with a topic of its own, the relay's publication to it, and what stands there."""

    def __init__(self, store, bootstrap_servers, **config):
        self.store, self.bootstrap_servers = store, bootstrap_servers
        self.topic = f"relay-{uuid.uuid4().hex[:12]}"
        self.admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        self.make_topic(**config)
        plain = publications.clinical_events(CODEC)
        self.publication = replace(plain, source=replace(plain.source, topic=self.topic))
        store.run("INSERT INTO tenants (id, name) VALUES (%s, 'ours') ON CONFLICT DO NOTHING", OURS)

    def make_topic(self, **config):
        make_topic(self.bootstrap_servers, self.topic, PARTITIONS, config)

    def relay(self, owner="one"):
        return Relay(
            publication=self.publication, database=self.store.database, owner=owner,
            bootstrap_servers=self.bootstrap_servers, partitions=PARTITIONS,
        )  # fmt: skip

    def append(self, count, *, partition=0, streams=5, **given):
        """Append events to the ledger by one inbound partition."""
        held = take(self.store, partition)
        first = held.next_offset
        batch = [
            entry(
                n, number=100_000 * partition + n, data=DATA,
                streams=(partition * 1000 + n % streams,), **given,
            )
            for n in range(first, first + count)
        ]  # fmt: skip
        append(self.store, held, batch)

    def published(self, partition=0):
        """The positions in a partition of the topic, in order."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers, "group.id": "test",
                "enable.auto.commit": False, "fetch.queue.backoff.ms": 2,
            }
        )  # fmt: skip
        place = TopicPartition(self.topic, partition, 0)
        _, high = consumer.get_watermark_offsets(place, timeout=20)
        consumer.assign([place])
        seqs = []
        while len(seqs) < high:
            message = consumer.poll(20)
            assert message is not None
            assert message.error() is None
            seqs.append(CODEC.decode(message.value())[1]["partition_seq"])
        consumer.close()
        return seqs

    def position(self, partition=0):
        row = self.store.subscription("relay", partition)
        return row["last_position"]


@pytest.fixture
def line(store, stack):
    return Line(store, stack.bootstrap_servers)


def seen(published):
    """What a consumer applies that skips what is not above its last position."""
    last, taken = 0, []
    for seq in published:
        if seq > last:
            taken.append(seq)
            last = seq
    return taken


def until(true):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, "it doesn't come about"
        time.sleep(0.02)


class Running:
    """A relay in its thread."""

    def __init__(self, relay):
        self.relay, self.stop = relay, threading.Event()
        self.thread = threading.Thread(target=relay.run, args=(self.stop,))

    def __enter__(self):
        self.thread.start()
        return self.relay

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def test_events_are_published_in_order_and_the_position_follows(line):
    line.append(30)
    line.append(20, partition=1)
    relay = line.relay()
    relay._renew()
    assert relay.round() == 50
    assert line.published() == list(range(1, 31))
    assert line.published(1) == list(range(1, 21))
    assert (line.position(), line.position(1)) == (30, 20)
    assert relay.round() == 0
    relay._close()


def test_a_round_takes_a_bounded_number_of_rows_and_the_next_one_the_rest(line, monkeypatch):
    monkeypatch.setattr(relays, "BATCH_ROWS", 7)
    line.append(20)
    relay = line.relay()
    relay._renew()
    assert [relay.round() for _ in range(4)] == [7, 7, 6, 0]
    assert line.published() == list(range(1, 21))
    relay._close()


def test_what_was_published_before_the_position_moved_is_published_again(line, armed):
    line.append(10)
    relay = line.relay()
    relay._renew()
    armed("relay: published=raise")
    with pytest.raises(FailPoint):
        relay.round()
    assert line.position() == 0
    armed("")
    relay._close()
    again = line.relay("two")
    again._renew()
    again.round()
    assert line.published() == [*range(1, 11), *range(1, 11)]
    assert seen(line.published()) == list(range(1, 11))
    assert line.position() == 10
    again._close()


def test_what_was_published_and_moved_is_not_published_again(line, armed):
    line.append(10)
    relay = line.relay()
    relay._renew()
    armed("relay: moved=raise")
    with pytest.raises(FailPoint):
        relay.round()
    armed("")
    relay._forget()
    relay._renew()
    assert relay.round() == 0
    assert line.published() == list(range(1, 11))
    relay._close()


def test_a_second_relay_waits_for_the_lease_and_the_first_is_stale_when_it_ran_out(line):
    line.append(5)
    first, second = line.relay("one"), line.relay("two")
    first._renew()
    second._renew()
    assert (sorted(first._held), sorted(second._held)) == ([0, 1, 2, 3], [])
    line.store.run("UPDATE subscriptions SET leased_until = now() - interval '1 s'")
    second._renew_at = 0.0
    second._renew()
    assert sorted(second._held) == [0, 1, 2, 3]
    assert second._held[0].epoch == first._held[0].epoch + 1
    assert second.round() == 5
    with pytest.raises(Stale):
        rows.move(line.store.database, first._held[0], to=5)
    first._renew_at = 0.0
    with pytest.raises(Stale, match="another relay"):
        first._renew()
    assert line.position() == 5
    second._close()


def test_a_relay_whose_lease_may_have_run_out_while_it_read_publishes_nothing(line):
    line.append(5)
    relay = line.relay()
    relay._renew()
    relay._leased_until = time.monotonic() - 1
    with pytest.raises(Stale, match="lease ran out"):
        relay.round()
    assert line.published() == []
    relay._close()


def test_a_lease_given_up_is_taken_at_once_at_a_higher_epoch(line):
    first, second = line.relay("one"), line.relay("two")
    first._renew()
    epoch = first._held[0].epoch
    first._close()
    second._renew()
    assert second._held[0].epoch == epoch + 1
    second._close()


def test_renewing_an_own_lease_keeps_the_epoch(line):
    relay = line.relay()
    relay._renew()
    epoch = relay._held[0].epoch
    relay._renew_at = 0.0
    relay._renew()
    assert relay._held[0].epoch == epoch
    relay._close()


def test_a_relay_that_is_set_back_while_it_publishes_begins_there(line, monkeypatch):
    line.append(5)
    relay = line.relay()
    relay._renew()
    relay.round()
    line.append(5)
    publish = relays.Relay._publish

    def publish_amid(self, batches):  # a release commits, and then the lease is renewed
        publish(self, batches)
        line.store.run(
            "UPDATE subscriptions SET epoch = epoch + 1, owner = NULL, leased_until = NULL,"
            " last_position = least(last_position, 2)"
            " WHERE subscription_id = 'relay' AND partition = 0"
        )
        self._renew_at = 0.0
        self._renew()

    monkeypatch.setattr(relays.Relay, "_publish", publish_amid)
    with pytest.raises(Stale):
        relay.round()
    assert line.position() == 2
    monkeypatch.undo()
    relay._forget()
    relay._renew()
    relay.round()
    assert line.published()[10:] == list(range(3, 11))


def test_a_topic_ahead_of_the_database_stops_the_relay(line):
    line.append(10)
    with Running(line.relay()):
        until(lambda: line.store.rows("SELECT FROM subscriptions WHERE last_position = 10"))
    line.store.run("DELETE FROM events WHERE partition_seq > 6")
    line.store.run("UPDATE subscriptions SET last_position = 6 WHERE last_position = 10")
    relay = line.relay("two")
    with pytest.raises(HistoryLost, match="holds 10, the database only 6"):
        relay._renew()
    relay.run(threading.Event())
    assert relay.failure is not None
    assert line.published() == list(range(1, 11))


def test_a_hole_among_the_events_stops_the_relay_before_it(line):
    line.append(10)
    line.store.run("DELETE FROM events WHERE partition_seq = 4")
    relay = line.relay()
    relay._renew()
    with pytest.raises(RowsMissing):
        relay.round()
    assert line.published() == []
    relay.run(threading.Event())
    assert relay.failure is not None
    assert "without a row" in relay.failure


def test_events_of_a_tenant_that_is_suspended_or_new_are_published_too(line):
    theirs = str(uuid.UUID(int=0xB0B))
    line.append(3)
    relay = line.relay()
    relay._renew()
    relay.round()
    line.store.run("INSERT INTO tenants (id, name, is_active) VALUES (%s, 'b', false)", theirs)
    line.store.run("UPDATE events SET tenant_id = %s WHERE partition_seq = 2", theirs)
    line.append(2)
    relay.round()
    assert line.published() == [1, 2, 3, 4, 5]
    relay._close()


def test_a_notice_wakes_the_relay(line, monkeypatch):
    monkeypatch.setattr(relays, "POLL_SECONDS", PATIENCE_SECONDS * 2)  # polling would be too late
    waits = threading.Event()
    real = rows._wait

    def wait(connection, seconds):
        waits.set()
        real(connection, seconds)

    monkeypatch.setattr(rows, "_wait", wait)
    running = Running(line.relay())
    with running as relay:
        assert waits.wait(PATIENCE_SECONDS)
        line.append(4)
        until(lambda: relay.published == 4)
        running.stop.set()
        line.store.run("NOTIFY wardtrail_events")
    assert line.position() == 4


def test_a_lost_notice_is_made_good_by_polling(line, monkeypatch):
    monkeypatch.setattr(rows, "_wait", lambda _, seconds: time.sleep(min(seconds, 0.05)))
    with Running(line.relay()) as relay:
        line.append(4)
        until(lambda: relay.published == 4)
    assert line.published() == [1, 2, 3, 4]


def test_a_record_that_the_broker_refuses_holds_up_those_behind_it(store, stack):
    line = Line(store, stack.bootstrap_servers, **{"max.message.bytes": "4000"})
    line.append(3)
    line.append(1, occurred_text=os.urandom(6000).hex())
    line.append(3)
    relay = line.relay()
    for _ in range(2):
        relay._renew()
        with pytest.raises(NotDelivered, match=r"MSG_SIZE_TOO_LARGE|the producer ended"):
            relay.round()
        relay._forget()
    assert line.position() == 0
    assert set(line.published()) <= {1, 2, 3}
    relay._close()


def test_a_relay_that_fails_as_nobody_foresaw_tells_so(line):
    line.append(2)

    def encode(row):
        raise KeyError("an event type of a newer release")

    relay = line.relay()
    relay.publication = replace(relay.publication, encode=encode)
    relay.run(threading.Event())
    assert relay.failure == "KeyError"
    assert line.published() == []


def test_the_last_record_is_found_behind_a_transactions_control_records(line):
    relay = line.relay()
    line.append(2)
    relay._renew()
    relay.round()
    relay._close()
    producer = Producer(
        {"bootstrap.servers": line.bootstrap_servers, "transactional.id": line.topic, **QUIET}
    )
    producer.init_transactions(20)
    for _ in range(3):
        producer.begin_transaction()
        producer.produce(line.topic, b"aborted", partition=0)
        producer.flush(20)
        producer.abort_transaction(20)
    last = relays.log.last_records(line.bootstrap_servers, line.topic, 0)[-1]
    assert CODEC.decode(last.value())[1]["partition_seq"] == 2
    assert relays.log.last_records(line.bootstrap_servers, line.topic, 1) == []


def test_a_database_that_goes_away_and_comes_back_loses_nothing(line):
    with Running(line.relay()) as relay:
        line.append(5)
        until(lambda: relay.published == 5)
        line.store.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND usename = 'wt_worker'"
        )
        for _ in range(50):
            try:
                line.append(5)
                break
            except Exception:
                time.sleep(0.05)
        until(lambda: line.position() == 10)
    assert seen(line.published()) == list(range(1, 11))


def test_a_broker_that_is_killed_and_comes_back_loses_nothing(own_stack, monkeypatch):
    monkeypatch.setattr(relays, "BATCH_ROWS", 50)
    with made(own_stack) as store:
        line = Line(store, own_stack.bootstrap_servers)
        with Running(line.relay()):
            line.append(200)
            until(lambda: line.position() >= 50)
            home = own_stack.settings.home
            os.kill(read(home).process("kafka").pid, signal.SIGKILL)
            line.append(200)
            line.append(100, partition=1)
            embedded.up(own_stack.settings)
            until(lambda: (line.position(), line.position(1)) == (400, 100))
        assert seen(line.published()) == list(range(1, 401))
        assert seen(line.published(1)) == list(range(1, 101))
