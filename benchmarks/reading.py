"""Reads a topic in a process of its own, by Faust's own agent or by the batch transport.

    reading.py plain|batch raw|decode TOPIC RECORDS

Prints the events a second between the first record in hand and the last one done.
"""

import os
import signal
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import faust

from ops import access
from ops.settings import Settings
from schemas.codec import Codec
from streams import app as apps
from streams import ports


@dataclass(slots=True)
class Clock:
    """Counts records; prints the rate and ends the process in order at the last one."""

    wanted: int
    seen: int = 0
    started: float = 0.0

    def start(self) -> None:
        """The first record is in hand."""
        self.started = self.started or perf_counter()

    def done(self, count: int) -> None:
        """So many more are done."""
        before, self.seen = self.seen, self.seen + count
        if before < self.wanted <= self.seen:
            rate = self.seen / (perf_counter() - self.started)
            os.write(1, f"{rate}\n".encode())  # Faust takes sys.stdout for its log
            os.kill(os.getpid(), signal.SIGTERM)


@dataclass(slots=True, kw_only=True)
class Counting:
    """A :class:`~streams.ports.Processor` without a database; it may decode ahead."""

    topics: tuple[str, ...]
    clock: Clock
    codec: Codec | None
    name: str = field(default_factory=lambda: f"bench-{uuid.uuid4().hex}")
    _positions: Counter[int] = field(default_factory=Counter)

    def take(
        self, partitions: Sequence[ports.Partition], *, generation: int
    ) -> Mapping[ports.Partition, int]:
        """Everything from the start."""
        return dict.fromkeys(partitions, 0)

    def prepare(self, topic: str, partition: int, records: Sequence[ports.Record]) -> list[Any]:
        """The values, decoded if there is a codec."""
        self.clock.start()
        if self.codec is None:
            return [record.value for record in records]
        return self.codec.decode_many([record.value or b"" for record in records])

    def apply(self, topic: str, partition: int, batch: Sequence[Any]) -> int:
        """Count."""
        self._positions[partition] += len(batch)
        self.clock.done(len(batch))
        return self._positions[partition]

    def skip(self, topic: str, partition: int, *, upto: int) -> int:
        """Nothing is missing here."""
        raise AssertionError("a topic of plain records has no gaps")


def plain(settings: Settings, topic: str, clock: Clock, codec: Codec | None) -> None:
    """Faust as its documentation shows it, with its own defaults."""
    with tempfile.TemporaryDirectory() as folder:
        app = faust.App(
            f"bench-{uuid.uuid4().hex}",
            broker=f"kafka://{access.bootstrap_servers(settings)}",
            value_serializer="raw", store="memory://", web_enabled=False, datadir=folder,
            topic_disable_leader=True, topic_allow_declare=False,
            consumer_auto_offset_reset="earliest",
        )  # fmt: skip

        @app.agent(app.topic(topic, value_serializer="raw", key_serializer="raw"))
        async def agent(stream: Any) -> None:  # noqa: ANN401  Faust's stream
            async for value in stream:
                clock.start()
                if codec is not None:
                    codec.decode(value)
                clock.done(1)

        worker = faust.Worker(app, loglevel="ERROR", quiet=True)
        worker.spinner = None
        worker.execute_from_commandline()


def batch(settings: Settings, topic: str, clock: Clock, codec: Codec | None) -> None:
    """The batch transport, as workers run it."""
    processor = Counting(topics=(topic,), clock=clock, codec=codec)
    with tempfile.TemporaryDirectory() as folder:
        app = apps.make_app(
            processor, bootstrap_servers=access.bootstrap_servers(settings), datadir=Path(folder)
        )
        apps.run([app], loglevel="ERROR")


def main(way: str, decoding: str, topic: str, records: str) -> None:
    settings = Settings.load()
    codec = Codec(access.schema_ids(settings)) if decoding == "decode" else None
    {"plain": plain, "batch": batch}[way](settings, topic, Clock(int(records)), codec)


if __name__ == "__main__":
    main(*sys.argv[1:])
