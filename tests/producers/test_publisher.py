"""The publisher and the whole intake against a real broker."""

import asyncio
import os
import signal
import time
import uuid
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException

from ops.stack.state import read
from producers.client import send
from producers.ports import NotDurable, RecordTooLarge
from producers.publisher import KafkaPublisher, configuration
from schemas import identity
from schemas.codec import Codec, Ids
from schemas.identity import Identifier
from schemas.topics import HL7V2, RECORD_BYTES_MAX
from tests import topics

pytestmark = pytest.mark.stack


def run(test):
    asyncio.run(asyncio.wait_for(test(), 120))


def make_topic(bootstrap_servers, name, partitions=4):
    try:
        topics.make_topic(
            bootstrap_servers, name, partitions, {"max.message.bytes": str(RECORD_BYTES_MAX)}
        )
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def await_stopped(pid):
    """Wait until every thread of a process that was sent SIGSTOP has stopped."""
    deadline = time.monotonic() + 10
    while not all(
        stat.read_text().rpartition(")")[2].split()[0] == "T"
        for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ):
        assert time.monotonic() < deadline, "it doesn't stop"
        time.sleep(0.01)


def consume(bootstrap_servers, topic, count, key=None):
    """The first ``count`` records of the topic, or of that key in it."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"test-{uuid.uuid4()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": RECORD_BYTES_MAX,
        }
    )
    consumer.subscribe([topic])
    found = []
    try:
        for _ in range(120):
            found += [
                each
                for each in consumer.consume(count, 0.5)
                if each.error() is None and key in (None, each.key())
            ]
            if len(found) >= count:
                return found
    finally:
        consumer.close()
    raise AssertionError(f"records found: {len(found)}")


@pytest.fixture
def topic(stack):
    name = f"test.{uuid.uuid4()}"
    make_topic(stack.bootstrap_servers, name)
    return name


def test_a_record_is_held_when_its_publication_is_done(stack, topic):
    async def test():
        async with KafkaPublisher(stack.bootstrap_servers) as publisher:
            await publisher.publish(topic, b"k", b"v", [("a", b"b")])
            (record,) = await asyncio.to_thread(consume, stack.bootstrap_servers, topic, 1)
            assert (record.key(), record.value()) == (b"k", b"v")
            assert record.headers() == [("a", b"b")]
            assert publisher.counters.published == 1

    run(test)


def test_records_of_a_key_keep_their_order(stack, topic):
    async def test():
        async with KafkaPublisher(stack.bootstrap_servers) as publisher:
            await asyncio.gather(
                *(publisher.publish(topic, b"k", b"%d" % n, []) for n in range(2000))
            )
        found = await asyncio.to_thread(consume, stack.bootstrap_servers, topic, 2000)
        assert [int(record.value()) for record in found] == list(range(2000))

    run(test)


def test_a_record_larger_than_the_topic_takes_is_too_large(stack, topic):
    async def test():
        async with KafkaPublisher(stack.bootstrap_servers) as publisher:
            with pytest.raises(RecordTooLarge):
                await publisher.publish(topic, b"k", b"v" * (RECORD_BYTES_MAX + 1), [])
            await publisher.publish(topic, b"k", b"next", [])
            assert publisher.counters.renewed == 1

    run(test)


def test_a_publisher_without_brokers_says_so_in_time():
    async def test():
        async with KafkaPublisher("127.0.0.1:1", delivery_seconds=1.0) as publisher:
            with pytest.raises(NotDurable):
                await publisher.publish("t", b"k", b"v", [])

    run(test)


def test_a_full_queue_is_not_durable(stack, topic, monkeypatch):
    async def test():
        monkeypatch.setattr("producers.publisher.QUEUE_RECORDS", 1)
        async with KafkaPublisher("127.0.0.1:1", delivery_seconds=1.0) as publisher:
            first = publisher.publish(topic, b"k", b"1", [])
            with pytest.raises(NotDurable, match="full"):
                await publisher.publish(topic, b"k", b"2", [])
            with pytest.raises(NotDurable):
                await first

    run(test)


def test_it_recovers_by_itself_when_the_broker_comes_back(own_stack):
    async def test():
        name = "test.recovery"
        await asyncio.to_thread(make_topic, own_stack.bootstrap_servers, name, 1)
        pid = read(own_stack.settings.home).process("kafka").pid
        async with KafkaPublisher(own_stack.bootstrap_servers, delivery_seconds=2.0) as publisher:
            await publisher.publish(name, b"k", b"before", [])
            os.kill(pid, signal.SIGSTOP)
            await asyncio.to_thread(await_stopped, pid)
            try:
                outcomes = await asyncio.gather(
                    *(publisher.publish(name, b"k", b"during", []) for _ in range(3)),
                    return_exceptions=True,
                )
            finally:
                os.kill(pid, signal.SIGCONT)
            assert [type(each) for each in outcomes] == [NotDurable] * 3
            for _ in range(30):
                try:
                    await publisher.publish(name, b"k", b"after", [])
                    break
                except NotDurable:
                    continue
            else:
                raise AssertionError("it did not recover")
            assert publisher.counters.renewed >= 1

    run(test)


def test_the_clients_settings_are_those_of_the_design():
    settings = configuration("b", 30.0)
    assert settings["enable.idempotence"] is True
    assert settings["acks"] == "all"
    assert settings["partitioner"] == "murmur2_random"
    assert settings["message.max.bytes"] == RECORD_BYTES_MAX


def test_a_message_sent_is_a_sealed_record_that_opens_to_its_bytes(stack, serving, feed, keys):
    secret = b"ZZSURNAME"
    body = (
        b"MSH|^~\\&|S|F|R|G|20240101||ADT^A01|CTRL77|P|2.5\r"
        b"PID|1||MRN4711^^^HOSP^MR||" + secret + b"^GIVENZZ||19700102\r"
        b"PV1|1|I||||||||||||||||VISIT9\r"
    )
    large = body + b"OBX|1|ED|||" + os.urandom(1_500_000).hex().encode() + b"\r"

    async def test():
        make_topic(stack.bootstrap_servers, HL7V2.name)
        async with (
            KafkaPublisher(stack.bootstrap_servers) as publisher,
            serving(publisher=publisher) as intake,
        ):
            results = await send("127.0.0.1", intake.port, [body, large])
            assert [each.code for each in results] == ["AA", "AA"]
        named = Identifier(value="MRN4711", authority="HOSP", type="MR")
        key = str(identity.patient(keys.identity, named)).encode()
        records = await asyncio.to_thread(consume, stack.bootstrap_servers, HL7V2.name, 2, key)
        for record, sent in zip(records, (body, large), strict=True):
            value = Codec(Ids.in_order()).decode_as(HL7V2.records[0], record.value())
            message_id = identity.message(keys.identity, feed.feed_id, "CTRL77", sent)
            assert value["message_id"] == str(message_id)
            assert value["message_type"] == "ADT^A01"
            assert keys.open(value["body"], person=None, record=message_id, field="body") == sent
            outside = repr((record.key(), record.headers())).encode() + record.value()
            for phi in (secret, b"GIVENZZ", b"MRN4711", b"VISIT9", b"19700102", b"CTRL77"):
                assert phi not in outside

    run(test)
