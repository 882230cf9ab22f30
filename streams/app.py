"""A Faust app for each processor, which minds every way a chunk can fail to be applied.

An exception that left the agent would restart it and lose the chunk's place, so the agent lets
none out: see `App.follow`.
"""

import asyncio
import gc
import logging
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import faust
from aiokafka.errors import KafkaConnectionError, KafkaError
from faust.types import TP, StreamT
from faust.worker import Worker

from schemas.failpoints import FailPoint, hit
from streams import ports
from streams.transport import CHUNK_BYTES, CHUNK_RECORDS, Chunk, Transport, pauses

WRITERS = 4  # transactions at a time; one core of a database is busy with about two
# A decoded chunk is thousands of objects that all live on; at Python's own 700 the collector
# walks them again and again: 20.1 µs of CPU an event against 14.9 (measured).
COLLECT_AFTER = 100_000
METADATA_MS = 3_000
NOTICE_SECONDS = 0.5  # how soon a pause notices that the flow has stopped

CRASH_REPORTS = ("Crashed reason=%r", "Reraising original exception...", "Error: %r")

Result = TypeVar("Result")
TRANSIENT = (ports.Transient, KafkaError, TimeoutError, FailPoint)

logger = logging.getLogger(__name__)


def make_app(
    processor: ports.Processor,
    *,
    bootstrap_servers: str,
    datadir: Path,
    instance_id: str | None = None,
    session_timeout_seconds: float = 10.0,
    writers: int = WRITERS,
) -> "App":
    """Return the app that reads the processor's topics as one member of its consumer group.

    ``bootstrap_servers`` is ``host:port[,host:port…]``; ``instance_id`` makes it a static member,
    which a restart doesn't rebalance.
    """
    brokers = ";".join(f"kafka://{server}" for server in bootstrap_servers.split(","))
    app = App(
        ports.group(processor.name),
        broker=brokers,
        datadir=datadir,
        store="memory://",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        key_serializer="raw",
        value_serializer="raw",
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id=instance_id,
        consumer_max_fetch_size=CHUNK_BYTES + 1024 * 1024,  # the largest record and its batch
        # A broker that has just started may not know its topics yet. Whoever assigned partitions
        # by that looks again so soon, and not after the default of five minutes.
        consumer_metadata_max_age_ms=METADATA_MS,
        broker_max_poll_records=CHUNK_RECORDS,
        broker_max_poll_interval=24 * 3600.0,  # a database that's away expels nobody
        broker_session_timeout=session_timeout_seconds,
        broker_heartbeat_interval=min(1.0, session_timeout_seconds / 4),
        broker_commit_interval=1.0,
        stream_buffer_maxsize=2,  # chunks of a partition
        stream_wait_empty=True,  # a stop or rebalance waits for the transaction under way
        table_standby_replicas=1,  # at 0 Faust leaves its co-partitioning assignor
        worker_redirect_stdouts=False,
    )
    app.attach(processor, writers=writers)
    return app


class App(faust.App):  # type: ignore[misc]  # Faust is untyped
    """One processor's worker: owns its partitions, their positions and what became of them."""

    def attach(self, processor: ports.Processor, *, writers: int) -> None:
        """Read the processor's topics, with one agent task for each partition."""
        self.processor = processor
        self.paused: dict[ports.Partition, str] = {}  # stopped partitions, and why
        self.counts: Counter[str] = Counter()  # what happened to chunks, by kind
        self.broken: BaseException | None = None  # why the process must end
        self.end: Callable[[], None] | None = None  # stops the process in order
        self._rewound: dict[TP, int] = {}  # where a hole made us read again
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix=f"{processor.name}-write")
        self._preparer = ThreadPoolExecutor(1, thread_name_prefix=f"{processor.name}-prepare")
        self._prepare: Callable[..., Any] | None = getattr(processor, "prepare", None)
        topic = self.topic(*processor.topics, key_serializer="raw", value_serializer="raw")
        self.agent(topic, name=processor.name, isolated_partitions=True)(self.consume)

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def on_stop(self) -> None:
        """Wait for the transactions under way; what was only decoded is dropped."""
        await super().on_stop()
        self._writers.shutdown(wait=False, cancel_futures=True)
        self._preparer.shutdown(wait=False, cancel_futures=True)

    async def crash(self, reason: BaseException) -> None:
        """Apply nothing more and stop the process in order, which `run` then ends with 1.

        Faust's own way ends in a storm of agents that are restarted and cancelled in turn.
        """
        if self.end is None:
            await super().crash(reason)
            return
        self.broken = self.broken or reason
        if self._consumer is not None:
            self._consumer.stop_flow()
        self.end()

    async def consume(self, stream: StreamT) -> None:
        """The agent: one partition's chunks, one after the other."""
        async for event in stream.events():
            chunk = self.consumer.gather(event.value)
            if chunk is not None:
                await self.follow(chunk)

    def prepare(self, tp: TP, records: Sequence[ports.Record]) -> Future[Any] | None:
        """Begin to decode a chunk while those before it are being written."""
        if self._prepare is None:
            return None
        return self._preparer.submit(self._prepare, tp.topic, tp.partition, records)

    async def take(self, partitions: Sequence[TP]) -> Mapping[TP, int]:
        """Ask the processor for the partitions; raise only what is transient."""
        mine = [(tp.topic, tp.partition) for tp in partitions if tp.topic in self.processor.topics]
        generation = self.consumer_generation_id
        try:
            taken = await asyncio.to_thread(self.processor.take, mine, generation=generation)
        except TRANSIENT:
            raise
        except Exception as error:
            await self.crash(ports.Broken(f"partitions can't be taken: {describe(error)}"))
            return {}
        assert set(taken) == set(mine), "a processor takes all partitions or raises"
        for partition in mine:
            self.paused.pop(partition, None)
            self._rewound.pop(TP(*partition), None)
        return {TP(*partition): offset for partition, offset in taken.items()}

    async def follow(self, chunk: Chunk) -> None:
        """Apply a chunk, or see to it that it comes again, or stop its partition."""
        again = pauses()
        while self.holds(chunk):
            try:
                await self._attempt(chunk)
                return
            except TRANSIENT as trouble:
                self.counts["transient"] += 1
                pause = next(again)
                logger.warning("%s: again in %.1f s: %s", where(chunk), pause, describe(trouble))
                await self._pause(chunk, pause)
            except ports.Broken as broken:
                await self.crash(broken)
            except Exception as error:
                self._stop(chunk.partition, describe(error))

    def holds(self, chunk: Chunk) -> bool:
        """Whether the chunk is still ours to apply; if not, a seek has followed it or will.

        Faust's flag for rebalancing falls only after records flow again, and so isn't asked.
        """
        tp = chunk.partition
        return (
            not self.should_stop
            and self.consumer.flow_active
            and (tp.topic, tp.partition) not in self.paused
            and self.consumer.seeks[tp] == chunk.seek
        )

    async def _attempt(self, chunk: Chunk) -> None:
        """Apply the chunk once; on a stale epoch or a hole, read again from the right place."""
        tp = chunk.partition
        position = self.consumer.positions.get(tp)
        if position is not None and chunk.records[0].offset < position:
            # After a seek nothing older is read, unless the log no longer reaches the position.
            raise Lost(f"the log goes back to {chunk.records[0].offset}, behind {position}")
        try:
            if position is None:
                raise ports.Stale("not taken yet")
            reached = await self._write(chunk)
        except ports.Stale:
            self.counts["stale"] += 1
            # A worker that was frozen learns within a heartbeat that the partition isn't its own.
            await self._pause(chunk, self.conf.broker_heartbeat_interval)
            if self.holds(chunk):
                await self.consumer.take([tp])
        except ports.Hole as hole:
            await self._mind(hole, chunk)
        else:
            self._rewound.pop(tp, None)
            self._reach(chunk, reached)

    async def _write(self, chunk: Chunk) -> int:
        """Run the processor's transaction in a thread; return the next offset."""
        batch: list[Any] = []
        for part in chunk.parts:
            prepared = part.prepared
            if prepared is not None and prepared.done() and prepared.exception() is not None:
                prepared = self.prepare(chunk.partition, part.records)  # the cause may be gone
            batch += part.records if prepared is None else await asyncio.wrap_future(prepared)
        self.counts["chunks"] += 1
        return await self._in_thread(self._apply, chunk.partition, batch)

    def _apply(self, tp: TP, batch: Any) -> int:  # noqa: ANN401  the processor's own type
        hit("processor: fetched")
        reached = self.processor.apply(tp.topic, tp.partition, batch)
        hit("processor: mirrored")
        return reached

    async def _mind(self, hole: ports.Hole, chunk: Chunk) -> None:
        """Read the missing offsets again, once; if they hold nothing, say so or stop."""
        tp, first = chunk.partition, chunk.records[0].offset
        assert hole.expected < first, "a chunk has no hole inside, and none at its position"
        if self._rewound.get(tp) != hole.expected:
            self.counts["rewound"] += 1
            await self.consumer.rewind({tp: hole.expected})
            self._rewound[tp] = hole.expected
            return
        begins = (await self.consumer.earliest_offsets(tp))[tp]
        if begins > hole.expected:
            raise Lost(f"the log begins at {begins}, after {hole.expected}")
        self.counts["skipped"] += first - hole.expected
        skip = partial(self.processor.skip, tp.topic, tp.partition, upto=first)
        self._reach(chunk, await self._in_thread(skip))
        await self._attempt(chunk)

    def _reach(self, chunk: Chunk, position: int) -> None:
        """Note a position; after a seek or a rebalance it is no longer ours to note."""
        if self.consumer.seeks[chunk.partition] == chunk.seek:
            self.consumer.positions[chunk.partition] = position

    def _stop(self, tp: TP, reason: str) -> None:
        """Pause a partition for good, loudly; a new owner tries it again."""
        self.counts["stopped"] += 1
        self.paused[tp.topic, tp.partition] = reason
        self.consumer.pause_partitions([tp])
        logger.error("partition stopped: %s %s/%s: %s", self.processor.name, *tp, reason)

    async def _in_thread(self, call: Callable[..., Result], *args: Any) -> Result:  # noqa: ANN401
        return await asyncio.get_running_loop().run_in_executor(self._writers, call, *args)

    async def _pause(self, chunk: Chunk, seconds: float) -> None:
        """Wait, but not when the chunk has ceased to be ours."""
        until = self.loop.time() + seconds
        while self.holds(chunk) and (left := until - self.loop.time()) > 0:
            await self.sleep(min(left, NOTICE_SECONDS))


class Lost(Exception):  # noqa: N818  named for what happened
    """Records that were never applied are gone from the log."""


def run(apps: Sequence[App], *, loglevel: str = "WARNING") -> int:
    """Run apps in this process until a signal or a crash; return the exit code.

    SIGTERM and SIGINT wait for the transactions under way and end with 0. A crash of one app ends
    all, with 1 and one line on the log that says why.
    """
    logging.basicConfig(
        level=loglevel.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(one_line)
    collect_seldom()
    worker = Worker(*apps, quiet=True, loglevel=loglevel, override_logging=False)
    worker.spinner = None
    for app in apps:
        app.end = partial(worker._schedule_shutdown, signal.SIGTERM)
    try:
        worker.execute_from_commandline()
    except SystemExit as end:
        broken = [app.broken for app in apps if app.broken]
        if not end.code and not broken:
            return 0
        reason = broken[0] if broken else worker.crash_reason or end.__context__
        logger.critical("worker stopped: %s", describe(reason))
    return 1


def collect_seldom() -> None:
    """Let the collector look seldom, and never at what was loaded: batches make no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def one_line(record: logging.LogRecord) -> bool:
    """Cut tracebacks, and drop Faust's own reports of the crash that `run` reports."""
    if logging.getLogger().level > logging.DEBUG:
        record.exc_info = record.exc_text = None
        return not str(record.msg).endswith(CRASH_REPORTS)
    return True


def describe(error: BaseException | None) -> str:
    """What went wrong, without the data it went wrong on: a foreign message may quote PHI."""
    if isinstance(error, ports.Transient | ports.Broken | ports.Hole | Lost | FailPoint):
        return str(error)
    if isinstance(error, KafkaConnectionError):
        return "the broker can't be reached"
    if error is None:
        return "no reason given"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def where(chunk: Chunk) -> str:
    """A chunk's place in the log."""
    return f"{chunk.partition.topic}/{chunk.partition.partition}@{chunk.records[0].offset}"
