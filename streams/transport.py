"""Faust's transport over aiokafka, handing an agent a partition's records in whole chunks.

Faust spends about 70 µs on each message it delivers; here a message is a chunk of up to 2,000
records. Positions come from the processor's database and never from Kafka: its committed offsets
are a mirror for lag tools. Each method below that stands in for one of Faust's has a test that
fails when the original changes.
"""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.errors import IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord, OffsetAndMetadata, TopicPartition
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from streams.ports import Transient

CHUNK_RECORDS = 2_000  # beyond this the sink gains nothing more per row
CHUNK_BYTES = 8 * 1024 * 1024  # a record of the largest size a topic takes is a chunk alone
TAKE_SECONDS = 30.0  # Faust gives a seek broker_request_timeout, 90 s, and then ends the process
# A broker may keep a fetch waiting for so long. While one waits aiokafka sends no other, so a
# partition that it doesn't ask for isn't read until it ends: then it must be short.
ALL_ASKED_MS, SOME_ASKED_MS = 1_500, 20
GATHER_SECONDS = 0.01  # for partitions that are being emptied to be asked for together
# What is read is asked for by partition too, and without those whose buffers are full. To wait
# for others long while these have room again would hold them up as well.
SOME_READ_SECONDS = 0.02
MIRROR_SECONDS = 5.0  # a commit to Kafka is given up after this; the next one carries it


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive records as they were read at once, and what is prepared of them."""

    records: Sequence[ConsumerRecord]
    prepared: Future[Any] | None = None

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return sum(len(record.value or b"") for record in self.records)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """Consecutive records of one partition, read after the same seek, in one part or several."""

    partition: TP
    parts: Sequence[Part]
    seek: int  # how many seeks the partition had seen: an older chunk is out of date

    @property
    def records(self) -> Sequence[ConsumerRecord]:
        """The records of all parts."""
        if len(self.parts) == 1:
            return self.parts[0].records
        return [record for part in self.parts for record in part.records]


class Fetcher(fetcher.Fetcher):  # type: ignore[misc]  # as untyped as Faust
    """Fetches that wait at the broker only if they ask for every partition."""

    @classmethod
    def adopt(cls, theirs: fetcher.Fetcher) -> None:
        """Make one of these of aiokafka's own, which makes it by itself."""
        assert type(theirs) is fetcher.Fetcher, "another release makes another one"
        theirs.__class__ = cls
        theirs._prefetch_backoff = GATHER_SECONDS

    def _get_actions_per_node(self, assignment: Any) -> Any:  # noqa: ANN401  aiokafka's
        left_out = any(
            partition in self._records or assignment.state_value(partition).paused
            for partition in assignment.tps
        )
        self._fetch_max_wait_ms = SOME_ASKED_MS if left_out else ALL_ASKED_MS
        return super()._get_actions_per_node(assignment)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust is untyped
    """The thread that owns aiokafka's consumer; here records and seeks meet in one order."""

    async def on_start(self) -> None:
        """Start aiokafka's consumer, and see that no fetch of it holds up a partition."""
        await super().on_start()
        Fetcher.adopt(self._ensure_consumer()._fetcher)

    async def _fetch_records(self, *args: Any, **kwargs: Any) -> Mapping[TP, Any]:  # noqa: ANN401  Faust's
        """Records by partition, each with the number of seeks before they were read."""
        drained = await super()._fetch_records(*args, **kwargs)
        seeks = self.consumer.seeks
        return {TP(*tp): (seeks[tp], records) for tp, records in drained.items()}

    async def _seek_wait(self, consumer: Any, partitions: Mapping[TP, int]) -> None:  # noqa: ANN401
        # Nothing is awaited between the count and the seeks, so no fetch falls between them.
        self.consumer.seeks.update(partitions.keys())
        await super()._seek_wait(consumer, partitions)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        """Mirror positions into the group; a failure is no more than a mirror gone dim."""
        held = self.assignment()
        wanted = {
            TopicPartition(*tp): OffsetAndMetadata(offset, "")
            for tp, offset in offsets.items()
            if tp in held
        }
        try:
            await asyncio.wait_for(self._ensure_consumer().commit(wanted), MIRROR_SECONDS)
        except (KafkaError, TimeoutError) as trouble:
            self.log.info("positions not mirrored: %s", type(trouble).__name__)
            return False
        return True


class Consumer(driver.Consumer):  # type: ignore[misc]  # Faust is untyped
    """A consumer whose messages are chunks and whose positions are the database's."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Faust's own
        self.seeks: Counter[TP] = Counter()
        self.positions: dict[TP, int] = {}  # next offset of each partition taken
        self._mirrored: dict[TP, int] = {}
        self._room = asyncio.Event()
        self._read: defaultdict[TP, deque[Chunk]] = defaultdict(deque)  # and not applied yet
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Any]]:
        """Yield a message for each chunk; stop as soon as flow or generation changes."""
        if self.flow_active and self._buffered_partitions and not self._get_active_partitions():
            # Faust would sleep a second here, long enough for every buffer to run dry.
            self._room.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._room.wait(), timeout)
            return
        if self._buffered_partitions:
            timeout = min(timeout, SOME_READ_SECONDS)
        fetched, _ = await self._wait_next_records(timeout)
        # Asked after the wait, which may have been for a rebalance and the seek that ends it.
        generation = self.app.consumer_generation_id
        for tp, (seek, records) in (fetched or {}).items():
            for part in chunks(records, most=CHUNK_RECORDS, most_bytes=CHUNK_BYTES):
                if (
                    self.should_stop
                    or not self.flow_active  # what was read is dropped: flow resumes with a seek
                    or generation != self.app.consumer_generation_id
                ):
                    return
                # Faust drops what lies below the offset it read last; a rewind goes below it.
                self._read_offset[tp] = None
                prepared = self.app.prepare(tp, part)
                chunk = Chunk(partition=tp, parts=(Part(part, prepared),), seek=seek)
                self._read[tp].append(chunk)
                yield tp, self._message(chunk, generation)

    def gather(self, chunk: Chunk) -> Chunk | None:
        """The chunk with those that were read since, as one; None if it was gathered before.

        Beside a transaction what comes is read in bits, and each bit would cost another one.
        """
        read = self._read[chunk.partition]
        if chunk not in read:
            return None
        while read.popleft() is not chunk:
            pass  # what a seek or a rebalance dropped
        parts = list(chunk.parts)
        records, size = len(chunk.records), parts[0].size
        while read and read[0].seek == chunk.seek:
            [part] = read[0].parts
            records, size = records + len(part.records), size + part.size
            follows = part.records[0].offset == parts[-1].records[-1].offset + 1
            if not follows or records > CHUNK_RECORDS or size > CHUNK_BYTES:
                break
            parts.append(part)
            read.popleft()
        return replace(chunk, parts=parts)

    def _message(self, chunk: Chunk, generation: int) -> ConsumerMessage:
        """The chunk as one message at its last record's offset."""
        last = chunk.records[-1]
        return ConsumerMessage(
            topic=last.topic,
            partition=last.partition,
            offset=last.offset,
            timestamp=last.timestamp / 1000.0,
            timestamp_type=last.timestamp_type,
            headers=[],
            key=None,
            value=chunk,
            checksum=None,
            serialized_key_size=0,
            serialized_value_size=len(chunk.records),
            tp=chunk.partition,
            generation_id=generation,  # a message without it is dropped by the stream
        )

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Take the assigned partitions and seek to their positions.

        Faust calls this after every rebalance, as the last thing before records flow: a seek at
        any earlier moment is undone.
        """
        self.positions.clear()
        self._mirrored.clear()
        self._read.clear()
        deadline = self.loop.time() + TAKE_SECONDS
        for pause in pauses():
            try:
                return dict(await self.take(self.assignment()))
            except IllegalStateError:
                raise  # the assignment has changed again, and Faust starts over
            except (Transient, KafkaError, TimeoutError) as trouble:
                if self.should_stop or self.loop.time() + pause > deadline:
                    self.log.warning("partitions not taken yet: %s", trouble)
                    break
                await self.sleep(pause)
        return {}  # each is taken when its first chunk comes

    async def take(self, partitions: Iterable[TP]) -> Mapping[TP, int]:
        """Become the owner of the partitions and read on from their positions."""
        positions: Mapping[TP, int] = await self.app.take(sorted(partitions))
        await self.rewind(positions)
        return positions

    async def rewind(self, positions: Mapping[TP, int]) -> None:
        """Read on from the positions; chunks read before are recognised and dropped."""
        if positions:
            await self.seek_wait(positions)
            self.positions.update(positions)

    def on_buffer_drop(self, tp: TP) -> None:
        """Read a partition again whose buffer has room, unless the partition is paused."""
        super().on_buffer_drop(tp)
        if tp in self._paused_partitions:
            self._get_active_partitions().discard(tp)
        self._room.set()

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Nothing: whether offsets are missing is seen where the position is."""

    def _filter_tps_with_pending_acks(self, topics: object = None) -> Iterator[TP]:
        """All assigned partitions, so that an idle one is mirrored too."""
        return iter(self.assignment())

    def _filter_committable_offsets(self, tps: Iterable[TP]) -> dict[TP, int]:
        """The positions that the group doesn't show yet, in place of Faust's own count of acks."""
        self._acked.clear()
        self._acked_index.clear()
        return {
            tp: self.positions[tp]
            for tp in tps
            if tp in self.positions and self.positions[tp] != self._mirrored.get(tp)
        }

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        mirrored = bool(await super()._commit(offsets))
        if mirrored:
            self._mirrored.update(offsets)
        return mirrored

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: a partition that waits for the database isn't hanging, and lag shows it."""


class Transport(driver.Transport):  # type: ignore[misc]  # Faust is untyped
    """The aiokafka transport with the consumer above."""

    Consumer = Consumer


def chunks(
    records: Sequence[ConsumerRecord], *, most: int, most_bytes: int
) -> Iterator[Sequence[ConsumerRecord]]:
    """Cut records into runs without a hole, of ``most`` records and ``most_bytes`` of values.

    A record that alone is larger makes a run of its own.
    """
    start = size = 0
    for index, record in enumerate(records):
        length = len(record.value or b"")
        if index > start and (
            index - start == most
            or size + length > most_bytes
            or record.offset != records[index - 1].offset + 1
        ):
            yield records[start:index]
            start, size = index, 0
        size += length
    if start < len(records):
        yield records[start:]


def pauses() -> Iterator[float]:
    """Seconds to wait before each further attempt: 0.1, doubling up to 30."""
    pause = 0.1
    while True:
        yield pause
        pause = min(pause * 2, 30.0)
