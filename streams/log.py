"""Questions to the brokers: which topics there are, where a partition ends, what stands there."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

REPLY_SECONDS = 5.0
AGAIN_SECONDS = 0.05
LEADERLESS = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
PIECE = 1_000  # records in memory at a time
PIECE_BYTES = 8 * 1024 * 1024  # likewise: each may have as many, and one more than this is held
TAIL = 64  # of the last records, one at least is ours, or none of them is
# librdkafka's default of 1,000 ms between empty fetches costs a factor of seven.
FETCH = {"fetch.queue.backoff.ms": 2, "fetch.wait.max.ms": 50}
# A broker that is away is told once, by us; librdkafka would tell it twenty times a second.
QUIET = {"log_level": 2, "reconnect.backoff.ms": 100, "reconnect.backoff.max.ms": 2_000}


class BrokerAway(Exception):  # noqa: N818  named for what is wrong
    """No broker answers, or none that can."""


class TopicMissing(Exception):  # noqa: N818  named for what is wrong
    """A topic of ours isn't there."""


def topic_ids(bootstrap_servers: str, topics: Sequence[str]) -> dict[str, str]:
    """Kafka's id of each topic, which another topic of the same name doesn't have.

    Raises :class:`TopicMissing` or :class:`BrokerAway`.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
    try:
        asked = admin.describe_topics(TopicCollection(list(topics)), request_timeout=REPLY_SECONDS)
        return {name: str(future.result(REPLY_SECONDS).topic_id) for name, future in asked.items()}
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise TopicMissing("a topic is missing (hint: wardtrail migrate)") from error
        raise BrokerAway(_said(error)) from error
    except TimeoutError as error:
        raise BrokerAway(_said(error)) from error


def last_records(bootstrap_servers: str, topic: str, partition: int) -> list[Message]:
    """The records at the end of a partition, oldest first, at most ``TAIL``; none if it has none.

    Offsets may hold no record (a transaction's control records), so fewer may come.
    """
    with _reader(bootstrap_servers) as consumer:
        low, high = _bounds(consumer, TopicPartition(topic, partition))
        if low >= high:
            return []
        consumer.assign([TopicPartition(topic, partition, max(low, high - TAIL))])
        return _drain(consumer, high)


def pieces(
    bootstrap_servers: str, topic: str, after: Mapping[int, int]
) -> Iterator[tuple[int, int, int, list[Message]]]:
    """Every record of a topic from these offsets on (else from 0) to where it ends now.

    Partition by partition, ascending, at most ``PIECE`` and about ``PIECE_BYTES`` at a time:
    partition, the first offset that it still has, the offset after the last of these, and the
    records. One without unread records comes once, as does one that lacks some of them, without
    any. Offsets may hold no record, at the end too.

    Raises :class:`TopicMissing` or :class:`BrokerAway`.
    """
    # Whoever may write here could else hold up what others wrote, by a transaction left open.
    with _reader(bootstrap_servers, isolation="read_uncommitted") as consumer:
        for partition in _partitions(consumer, topic):
            low, high = _bounds(consumer, TopicPartition(topic, partition))
            at = after.get(partition, 0)
            if at >= high or low > at:
                yield partition, low, high, []
                continue
            consumer.assign([TopicPartition(topic, partition, at)])
            while at < high:
                found, at = _piece(consumer, high)
                yield partition, low, at, found


class Ends:
    """Where the partitions of a topic end now; asked often, over a connection that it keeps."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, **QUIET})
        self._topic = topic
        self._places: list[TopicPartition] = []

    def __call__(self) -> dict[int, int]:
        """The next offset of each; raises :class:`TopicMissing` or :class:`BrokerAway`."""
        try:
            if not self._places:  # they are fixed per topic version
                found = self._admin.list_topics(timeout=REPLY_SECONDS).topics.get(self._topic)
                if found is None:  # asked for by name it might be made
                    raise TopicMissing("a topic is missing (hint: wardtrail migrate)")
                self._places = [TopicPartition(self._topic, each) for each in found.partitions]
            asked = self._admin.list_offsets(
                dict.fromkeys(self._places, OffsetSpec.latest()), request_timeout=REPLY_SECONDS
            )
            return {each.partition: f.result(REPLY_SECONDS).offset for each, f in asked.items()}
        except (KafkaException, TimeoutError) as error:
            raise BrokerAway(_said(error)) from error


@contextmanager
def _reader(
    bootstrap_servers: str, *, isolation: str = "read_committed"
) -> Iterator[Consumer]:  # fmt: skip
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": "wardtrail-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": isolation,
            # Where our place is gone, the default goes to the end without a word.
            "auto.offset.reset": "error",
            **FETCH,
            **QUIET,
        }
    )
    try:
        yield consumer
    except KafkaException as error:
        raise BrokerAway(_said(error)) from error
    finally:
        consumer.close()


def _partitions(consumer: Consumer, topic: str) -> list[int]:
    found = consumer.list_topics(topic, timeout=REPLY_SECONDS).topics[topic]
    if found.error is not None:
        raise TopicMissing("a topic is missing (hint: wardtrail migrate)")
    return sorted(found.partitions)


def _bounds(consumer: Consumer, place: TopicPartition) -> tuple[int, int]:
    """The partition's first and next offset; asked again while another broker begins to lead it."""
    deadline = time.monotonic() + REPLY_SECONDS
    while True:
        try:
            low, high = consumer.get_watermark_offsets(place, timeout=REPLY_SECONDS)
        except KafkaException as error:
            if error.args[0].code() not in LEADERLESS or time.monotonic() > deadline:
                raise
            time.sleep(AGAIN_SECONDS)
        else:
            return low, high


def _drain(consumer: Consumer, high: int) -> list[Message]:
    """The records below ``high`` from where the consumer stands."""
    found: list[Message] = []
    while (message := _next(consumer, high)) is not None:
        found.append(message)
        if _place(message) == high - 1:
            break
    return found


def _piece(consumer: Consumer, high: int) -> tuple[list[Message], int]:
    """The next records below ``high``, as many as are held at a time; the offset to go on from."""
    found: list[Message] = []
    size = 0
    while len(found) < PIECE and size < PIECE_BYTES:
        message = _next(consumer, high)
        if message is None:
            return found, high
        found.append(message)
        size += len(message.value() or b"") + len(message.key() or b"")
        if _place(message) == high - 1:
            break
    return found, _place(found[-1]) + 1


def _next(consumer: Consumer, high: int) -> Message | None:
    """The next record below ``high``; None where none stands before it any more."""
    message = consumer.poll(REPLY_SECONDS)
    if message is None:
        raise BrokerAway("the broker sends nothing within the time-out")
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF:
        raise KafkaException(error)
    at = _place(message)
    if error is None:
        return message if at < high else None
    if at < high:  # another broker leads it, which lacks some
        raise BrokerAway("the partition ends before the place where it ended just now")
    return None


def _place(message: Message) -> int:
    offset: int | None = message.offset()
    assert offset is not None, "what was read has its offset"
    return offset


def _said(error: Exception) -> str:
    """The broker's error by its code alone."""
    code = error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__
    return f"the brokers can't answer now: {code}"
