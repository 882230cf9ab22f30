"""Reading a topic to its end: by position, in bounded pieces, whatever its offsets hold."""

import uuid

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from streams import log
from streams.log import QUIET
from tests.topics import make_topic

pytestmark = pytest.mark.stack


@pytest.fixture
def topic(stack):
    """A topic of the test's own, of two partitions."""
    name = f"read-{uuid.uuid4().hex[:8]}"
    make_topic(stack.bootstrap_servers, name, 2)
    return name


def produce(stack, topic, *values):
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, **QUIET})
    for each in values:
        producer.produce(topic, each, partition=0)
    assert producer.flush(20) == 0


def transaction(stack, topic, *values):
    """One that is open, whose records the brokers hold."""
    producer = Producer(
        {"bootstrap.servers": stack.bootstrap_servers, "transactional.id": topic, **QUIET}
    )
    producer.init_transactions(20)
    producer.begin_transaction()
    for each in values:
        producer.produce(topic, each, partition=0)
    assert producer.flush(20) == 0
    return producer


def read(stack, topic, after=None):
    """Partition, the offset after it, and the values, piece by piece."""
    return [
        (partition, upto, [each.value() for each in found])
        for partition, _, upto, found in log.pieces(stack.bootstrap_servers, topic, after or {})
    ]


def piece(stack, place):
    with log._reader(stack.bootstrap_servers) as consumer:
        consumer.assign([place])
        return log._piece(consumer, 3)


def test_the_last_records_are_given_beside_a_transaction_that_stays_open(stack, topic):
    produce(stack, topic, b"1")
    held = transaction(stack, topic, b"open")
    try:
        [last] = log.last_records(stack.bootstrap_servers, topic, 0)
        assert last.value() == b"1"
    finally:
        held.abort_transaction(20)


def test_a_transaction_that_stays_open_hides_nothing_of_what_others_wrote(stack, topic):
    produce(stack, topic, b"1")
    held = transaction(stack, topic, b"open")
    produce(stack, topic, b"2")
    try:
        assert read(stack, topic) == [(0, 3, [b"1", b"open", b"2"]), (1, 0, [])]
        assert read(stack, topic, {0: 2})[0] == (0, 3, [b"2"])
    finally:
        held.abort_transaction(20)


@pytest.mark.parametrize("end", ["commit_transaction", "abort_transaction"])
def test_control_records_at_the_end_and_between_are_passed_by_position(stack, topic, end):
    for n in range(3):
        getattr(transaction(stack, topic, b"%d" % n), end)(20)
    assert read(stack, topic) == [(0, 6, [b"0", b"1", b"2"]), (1, 0, [])]
    assert read(stack, topic, {0: 5})[0] == (0, 6, [])
    assert read(stack, topic, {0: 6})[0] == (0, 6, [])
    produce(stack, topic, b"3")
    assert read(stack, topic, {0: 5})[0] == (0, 7, [b"3"])


def test_pieces_are_bounded_by_records_and_by_bytes(stack, topic, monkeypatch):
    produce(stack, topic, *(b"%d" % n * 100 for n in range(7)))
    monkeypatch.setattr(log, "PIECE", 4)
    assert [len(values) for _, _, values in read(stack, topic)] == [4, 3, 0]
    monkeypatch.setattr(log, "PIECE_BYTES", 201)
    pieces = read(stack, topic)
    assert [len(values) for _, _, values in pieces] == [3, 3, 1, 0]
    assert [upto for _, upto, _ in pieces] == [3, 6, 7, 0]
    assert [each[:1] for _, _, values in pieces for each in values] == [
        b"%d" % n for n in range(7)
    ]  # fmt: skip


def test_what_was_deleted_at_the_beginning_is_told_and_not_passed_over(stack, topic):
    produce(stack, topic, b"1", b"2", b"3")
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    place = TopicPartition(topic, 0, 2)
    admin.delete_records([place])[place].result(20)
    found = next(log.pieces(stack.bootstrap_servers, topic, {0: 1}))
    assert found == (0, 2, 3, [])


def test_a_place_that_goes_while_it_is_read_is_an_error_and_not_the_end(stack, topic):
    produce(stack, topic, b"1", b"2", b"3")
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    place = TopicPartition(topic, 0, 2)
    admin.delete_records([place])[place].result(20)
    with pytest.raises(log.BrokerAway, match="_AUTO_OFFSET_RESET"):
        piece(stack, TopicPartition(topic, 0, 1))
