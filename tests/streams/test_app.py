"""The transport and its app against a real broker, with a processor that keeps rows in memory."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from faust.types import TP
from mode.threads import WorkerThread

from streams import ports, transport
from streams.app import App, describe, make_app
from streams.log import QUIET
from streams.transport import Chunk, Part
from tests.topics import make_topic

PARTITIONS = 4
PATIENCE_SECONDS = 40.0

pytestmark = pytest.mark.stack


class Store:
    """What a database would hold: rows, positions, epochs; shared by the workers of a test."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rows: Counter[tuple[str, int, int]] = Counter()
        self.positions: dict[ports.Partition, int] = {}
        self.epochs: Counter[ports.Partition] = Counter()
        self.no_record: Counter[ports.Partition] = Counter()
        self.orders: dict[ports.Partition, list[int]] = {}


@dataclass(frozen=True)
class Read:
    """A record, as far as chunks ask."""

    offset: int
    value: bytes = b"v"


class Fake:
    """A processor of one topic; ``trouble`` may raise before a chunk is applied."""

    name: str
    topics: Sequence[str]

    def __init__(self, topic: str, store: Store) -> None:
        self.name = self.topic = topic
        self.topics = [topic]
        self.store = store
        self.trouble: Callable[[ports.Partition, Sequence[ports.Record]], None] = lambda *_: None
        self._held: dict[ports.Partition, tuple[int, int]] = {}

    def take(
        self, partitions: Sequence[ports.Partition], *, generation: int
    ) -> Mapping[ports.Partition, int]:
        with self.store.lock:
            for partition in partitions:
                if self._held.get(partition, (0, None))[1] != generation:
                    self.store.epochs[partition] += 1
                    self._held[partition] = (self.store.epochs[partition], generation)
            return {partition: self.store.positions.get(partition, 0) for partition in partitions}

    def apply(self, topic: str, partition: int, batch: Sequence[ports.Record]) -> int:
        where = (topic, partition)
        self.trouble(where, batch)
        with self.store.lock:
            if self._held[where][0] != self.store.epochs[where]:
                del self._held[where]
                raise ports.Stale
            position = self.store.positions.get(where, 0)
            fresh = [record for record in batch if record.offset >= position]
            if fresh and fresh[0].offset != position:
                raise ports.Hole(position)
            self.store.rows.update((topic, partition, record.offset) for record in fresh)
            self.store.orders.setdefault(where, []).extend(record.offset for record in fresh)
            self.store.positions[where] = max(position, batch[-1].offset + 1)
            return self.store.positions[where]

    def skip(self, topic: str, partition: int, *, upto: int) -> int:
        where = (topic, partition)
        with self.store.lock:
            self.store.no_record[where] += upto - self.store.positions.get(where, 0)
            self.store.positions[where] = upto
        return upto


class Line:
    """A topic of its own on the broker, and workers over it in threads of this process."""

    def __init__(self, servers: str, folder: Path) -> None:
        self.servers, self.folder = servers, folder
        self.topic = f"fake-{uuid.uuid4().hex[:8]}"
        self.admin = AdminClient({"bootstrap.servers": servers})
        self.store = Store()
        make_topic(servers, self.topic, PARTITIONS)

    def produce(self, count: int, *, partitions: Sequence[int] = range(PARTITIONS)) -> None:
        """Append ``count`` records to each of the partitions."""
        producer = Producer({"bootstrap.servers": self.servers, "linger.ms": 5, **QUIET})
        for number in range(count):
            for partition in partitions:
                producer.produce(self.topic, b"v%d" % number, partition=partition)
            producer.poll(0)
        assert producer.flush(20) == 0

    @contextmanager
    def worker(self, fake: Fake | None = None) -> Iterator[App]:
        """Run one app in a thread, and stop it in order at the end."""
        ready: list[tuple[App, asyncio.Event]] = []
        begun = threading.Event()

        async def serve() -> None:
            app = make_app(
                fake or Fake(self.topic, self.store),
                bootstrap_servers=self.servers,
                datadir=self.folder / uuid.uuid4().hex,
                session_timeout_seconds=6.0,
            )
            end = asyncio.Event()
            ready.append((app, end))
            try:
                await app.start()
            finally:
                begun.set()
            await end.wait()
            await app.stop()
            for thread in threading.enumerate():
                if isinstance(thread, WorkerThread) and thread.service.app is app:
                    await asyncio.to_thread(thread.join, PATIENCE_SECONDS)

        thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        thread.start()
        assert begun.wait(PATIENCE_SECONDS)
        app, end = ready[0]
        try:
            yield app
        finally:
            app.loop.call_soon_threadsafe(end.set)
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()

    def committed(self) -> dict[ports.Partition, int]:
        """The group's offsets on the broker."""
        asked = ConsumerGroupTopicPartitions(ports.group(self.topic))
        [(_, answer)] = self.admin.list_consumer_group_offsets([asked]).items()
        return {(tp.topic, tp.partition): tp.offset for tp in answer.result(10).topic_partitions}

    def total(self) -> int:
        with self.store.lock:
            return sum(self.store.rows.values())


def until(reached: Callable[[], bool], what: str) -> None:
    """Wait for a state of the world, for a bounded time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.05)


@pytest.fixture
def line(stack, tmp_path: Path) -> Line:
    return Line(stack.bootstrap_servers, tmp_path)


def test_two_workers_share_the_partitions_and_apply_each_record_once_in_order(line: Line) -> None:
    line.produce(500)
    with line.worker() as first:
        until(lambda: line.total() == 500 * PARTITIONS, "the first records")
        with line.worker() as second:
            until(lambda: len(second.consumer.positions) == PARTITIONS // 2, "a share")
            line.produce(500)
            until(lambda: line.total() == 1000 * PARTITIONS, "records of both")
            assert second.counts["chunks"] > 0
        until(lambda: len(first.consumer.positions) == PARTITIONS, "all partitions back")
        line.produce(500)
        until(lambda: line.total() == 1500 * PARTITIONS, "records after the rebalances")
    assert set(line.store.rows.values()) == {1}
    assert all(offsets == list(range(1500)) for offsets in line.store.orders.values())


def test_a_restart_begins_at_the_database_and_not_at_the_committed_offset(line: Line) -> None:
    line.produce(100)
    with line.worker():
        until(lambda: line.total() == 400, "the first records")
    line.store.positions[line.topic, 0] = 40  # as after a restore
    line.store.rows = Counter({row: 1 for row in line.store.rows if row[1] or row[2] < 40})
    line.store.positions[line.topic, 1] = 100
    assert line.committed()[line.topic, 0] == 100
    line.produce(10, partitions=[1])
    with line.worker():
        until(lambda: line.total() == 410, "what the database lacked")
        until(lambda: line.committed() == line.store.positions, "a mirror of it")
    assert set(line.store.rows.values()) == {1}


def test_committed_offsets_equal_the_positions_of_idle_partitions_too(line: Line) -> None:
    line.produce(7, partitions=[2])
    line.store.positions.update({(line.topic, number): 0 for number in range(PARTITIONS)})
    with line.worker():
        until(lambda: line.total() == 7, "the records")
        until(lambda: line.committed() == line.store.positions, "a mirror of all partitions")
    assert len(line.committed()) == PARTITIONS


def test_transient_trouble_keeps_the_batch_and_tries_again(line: Line) -> None:
    fake = Fake(line.topic, line.store)
    seen: list[tuple[int, int]] = []

    def trouble(_: ports.Partition, batch: Sequence[ports.Record]) -> None:
        seen.append((batch[0].offset, batch[-1].offset))
        if len(seen) < 3:
            raise ports.Transient("the database is away")

    fake.trouble = trouble
    line.produce(50, partitions=[0])
    with line.worker(fake) as app:
        until(lambda: line.total() == 50, "the records")
        assert app.counts["transient"] == 2
        assert not app.paused
    assert seen[0] == seen[1] == seen[2]


def test_an_unknown_error_stops_its_partition_and_no_other(
    line: Line, caplog: pytest.LogCaptureFixture
) -> None:
    fake = Fake(line.topic, line.store)

    def trouble(partition: ports.Partition, _: Sequence[ports.Record]) -> None:
        if partition[1] == 1:
            raise KeyError("Jane Doe")

    fake.trouble = trouble
    line.produce(20)
    with line.worker(fake) as app:
        until(lambda: line.total() == 60, "the records of the others")
        until(lambda: bool(app.paused), "a stopped partition")
        line.produce(2_500)
        until(lambda: line.total() == 2_520 * 3, "more of the others")
        assert set(app.paused) == {(line.topic, 1)}
        assert app.counts["stopped"] == 1
    assert not [row for row in line.store.rows if row[1] == 1]
    assert "KeyError" in caplog.text
    assert "Jane" not in caplog.text


def test_a_stale_epoch_is_taken_again_and_read_again(line: Line) -> None:
    line.produce(20, partitions=[0])
    with line.worker() as app:
        until(lambda: line.total() == 20, "the first records")
        with line.store.lock:
            line.store.epochs[line.topic, 0] += 1  # someone else took it and applied a record
            line.store.positions[line.topic, 0] = 21
        line.produce(20, partitions=[0])
        until(lambda: line.total() == 39, "the rest")
        assert app.counts["stale"] == 1
    assert (line.topic, 0, 20) not in line.store.rows


def test_offsets_of_control_records_are_counted_as_no_record(line: Line) -> None:
    producer = Producer(
        {"bootstrap.servers": line.servers, "transactional.id": f"tx-{line.topic}", **QUIET}
    )
    producer.init_transactions(20)
    for _ in range(3):
        producer.begin_transaction()
        for _ in range(5):
            producer.produce(line.topic, b"v", partition=0)
        producer.commit_transaction(20)
    line.produce(5, partitions=[0])
    with line.worker() as app:
        until(lambda: line.total() == 20, "the records around the control records")
        assert app.counts["rewound"] == 3
        assert not app.paused
    assert line.store.no_record == {(line.topic, 0): 3}
    assert line.store.positions[line.topic, 0] == 23


def test_a_log_cut_behind_the_position_stops_the_partition(line: Line) -> None:
    line.produce(50)
    line.store.positions.update({(line.topic, number): 10 for number in range(PARTITIONS)})
    cut = TopicPartition(line.topic, 3, 30)
    line.admin.delete_records([cut])[cut].result(10)
    with line.worker() as app:
        until(lambda: line.total() == 120, "the records of the others")
        until(lambda: bool(app.paused), "a stopped partition")
        assert app.paused == {(line.topic, 3): "the log begins at 30, after 10"}
    assert line.store.positions[line.topic, 3] == 10


def test_a_log_that_went_back_behind_the_position_stops_the_partition(line: Line) -> None:
    line.produce(50, partitions=[0])
    line.store.positions[line.topic, 0] = 70
    with line.worker() as app:
        until(lambda: bool(app.paused), "a stopped partition")
        assert app.paused == {(line.topic, 0): "the log goes back to 0, behind 70"}
    assert line.total() == 0


def test_partitions_that_cannot_be_taken_in_time_are_taken_when_records_come(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streams.transport.TAKE_SECONDS", 0.2)
    fake = Fake(line.topic, line.store)
    calls: list[int] = []
    take = fake.take

    def away(partitions: Sequence[ports.Partition], *, generation: int) -> Mapping:
        calls.append(len(partitions))
        if len(calls) < 6:
            raise ports.Transient("the database is away")
        return take(partitions, generation=generation)

    monkeypatch.setattr(fake, "take", away)
    line.produce(30)
    with line.worker(fake):
        until(lambda: line.total() == 120, "the records")
    assert set(line.store.rows.values()) == {1}


def test_the_next_chunk_is_prepared_while_one_is_applied_and_order_holds(line: Line) -> None:
    prepared_meanwhile = threading.Event()

    class Preparing(Fake):
        def prepare(self, topic: str, partition: int, records: Sequence[ports.Record]) -> list:
            if records[0].offset > 0:
                prepared_meanwhile.set()
            return list(records)

        def apply(self, topic: str, partition: int, batch: list) -> int:
            assert isinstance(batch, list)
            assert prepared_meanwhile.wait(PATIENCE_SECONDS)
            return super().apply(topic, partition, batch)

    line.produce(6_000, partitions=[0])
    with line.worker(Preparing(line.topic, line.store)):
        until(lambda: line.total() == 6_000, "the records")
    assert line.store.orders[line.topic, 0] == list(range(6_000))


@pytest.mark.parametrize("prepares", [True, False])
def test_what_is_read_beside_a_transaction_is_applied_by_the_next_one_together(
    line: Line, prepares: bool
) -> None:
    begun, go, batches = threading.Event(), threading.Event(), []

    def trouble(_: ports.Partition, batch: Sequence[ports.Record]) -> None:
        batches.append([record.offset for record in batch])
        begun.set()
        assert go.wait(PATIENCE_SECONDS)

    fake = Fake(line.topic, line.store)
    fake.trouble = trouble
    if prepares:
        fake.prepare = lambda *chunk: list(chunk[-1])
    tp = TP(line.topic, 0)
    with line.worker(fake) as app:
        line.produce(1, partitions=[0])
        assert begun.wait(PATIENCE_SECONDS)
        for waiting in (1, 2):
            line.produce(1, partitions=[0])
            until(lambda n=waiting: len(app.consumer._read[tp]) == n, "chunks that wait")
        go.set()
        until(lambda: line.total() == 3, "the records")
        line.produce(1, partitions=[0])
        until(lambda: line.total() == 4, "one more")
        assert app.counts["chunks"] == 3
    assert batches == [[0], [1, 2], [3]]


def test_a_partition_whose_buffer_was_full_is_read_on_while_the_others_are_silent(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = transport.Consumer.getmany
    monkeypatch.setattr(transport.Consumer, "getmany", lambda self, **_: read(self, 3_600.0))
    begun, go = threading.Event(), threading.Event()

    def trouble(*_: object) -> None:
        begun.set()
        assert go.wait(PATIENCE_SECONDS)

    fake = Fake(line.topic, line.store)
    fake.trouble = trouble
    tp = TP(line.topic, 0)
    with line.worker(fake) as app:
        line.produce(1, partitions=[0])
        assert begun.wait(PATIENCE_SECONDS)
        sent = 1
        while tp not in app.consumer._buffered_partitions:
            line.produce(1, partitions=[0])
            sent += 1
            until(lambda n=sent: len(app.consumer._read[tp]) == n - 1, "a chunk that waits")
        line.produce(1, partitions=[0])
        fetched = app.consumer._thread._consumer._fetcher._records
        until(lambda: tp in fetched, "a record that there is no room for")
        go.set()
        until(lambda: line.total() == sent + 1, "all records")


@pytest.mark.parametrize(
    ("offsets", "seeks", "limit", "gathered"),
    [
        ([[1, 2], [3], [4, 5]], [0, 0, 0], 100, [1, 2, 3, 4, 5]),
        ([[1, 2], [3], [4, 5]], [0, 0, 0], 4, [1, 2, 3]),
        ([[1, 2], [3], [4, 5]], [0, 0, 1], 100, [1, 2, 3]),
        ([[1, 2], [4], [5]], [0, 0, 0], 100, [1, 2]),
    ],
)
def test_chunks_are_gathered_within_their_limits_and_never_past_a_hole_or_a_seek(
    offsets: list[list[int]], seeks: list[int], limit: int, gathered: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(transport, "CHUNK_RECORDS", limit)
    tp = TP("t", 0)
    consumer = transport.Consumer.__new__(transport.Consumer)
    made = [
        Chunk(partition=tp, parts=(Part([Read(each) for each in run]),), seek=seek)
        for run, seek in zip(offsets, seeks, strict=True)
    ]
    dropped = Chunk(partition=tp, parts=(Part([Read(1)]),), seek=0)
    consumer._read = {tp: deque([dropped, *made])}
    found = consumer.gather(made[0])
    assert [record.offset for record in found.records] == gathered
    left = [consumer.gather(each) for each in made[1:]]
    told = [r.offset for each in (found, *left) if each is not None for r in each.records]
    assert told == [each for run in offsets for each in run], "each record once, in order"
    assert consumer.gather(made[0]) is None
    assert consumer.gather(dropped) is None


WORKER = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_app import Fake, Store
    from streams import ports
    from streams.app import make_app, run

    class Subject(Fake):
        def apply(self, topic, partition, batch):
            {body}

    subject = Subject({topic!r}, Store())
    sys.exit(run([make_app(subject, bootstrap_servers={servers!r}, datadir=Path({folder!r}))]))
"""


def start(line: Line, body: str, *, servers: str | None = None) -> subprocess.Popen[str]:
    """Run a worker as a process of its own, whose processor does ``body``."""
    script = textwrap.dedent(WORKER).format(
        tests=str(Path(__file__).parent),
        topic=line.topic,
        body=body,
        servers=servers or line.servers,
        folder=str(line.folder),
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_a_broken_invariant_ends_the_process_with_one_line_that_says_why(line: Line) -> None:
    line.produce(5)
    worker = start(line, "raise ports.Broken('partition_seq has a hole: 7')")
    out, err = worker.communicate(timeout=PATIENCE_SECONDS)
    assert worker.returncode == 1
    assert out == ""
    assert [text for text in err.splitlines() if "partition_seq" in text] == err.splitlines()
    assert len(err.splitlines()) == 1


def test_a_broker_that_is_away_at_the_start_is_one_line(line: Line) -> None:
    worker = start(line, "raise AssertionError", servers="127.0.0.1:9")
    _, err = worker.communicate(timeout=PATIENCE_SECONDS)
    assert worker.returncode == 1
    assert "the broker can't be reached" in err
    assert "Traceback" not in err


def test_a_stop_waits_for_the_transaction_under_way_and_exits_0(line: Line) -> None:
    line.produce(5, partitions=[0])
    body = (
        "print('begun', flush=True); time.sleep(2); n = super().apply(topic, partition, batch); "
        "print('applied', n, flush=True); return n"
    )
    worker = start(line, body)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begun\n"
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=PATIENCE_SECONDS)
    assert (worker.returncode, out, err) == (0, "applied 5\n", "")
    assert line.committed()[line.topic, 0] == 5


def test_a_foreign_exception_is_described_without_its_message() -> None:
    with pytest.raises(ValueError, match="Jane") as caught:
        int("Jane Doe")
    assert describe(caught.value).startswith("ValueError in test_app.py:")
