"""A whole line of its own: servers, intake, workers, driven by its command line only."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Message, TopicPartition

from ops import line as whole
from ops.access import schema_ids
from ops.lag import Gauge
from ops.settings import Settings
from schemas.codec import Codec
from schemas.topics import RECORD_BYTES_MAX, Topic
from tests import canaries
from tests.conftest import home

QUIET_SECONDS = 60.0  # at most, until everything sent has arrived


@dataclass(frozen=True, slots=True)
class Line:
    """The line's settings, and its command."""

    settings: Settings

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run ``wardtrail`` as a user does."""
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", *arguments],
            env={**os.environ, **self.settings.environ(), "WARDTRAIL_HOME": str(self.home)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
        )
        canaries.hear_command(arguments, done.stdout, done.stderr)
        assert not check or done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self.run(*arguments, "--json", stdin=stdin).stdout)

    @property
    def home(self) -> Path:
        return self.settings.home

    def settle(self) -> dict[str, dict[str, int]]:
        """Wait until no processor is behind; the outcomes of each subscription."""
        deadline = time.monotonic() + QUIET_SECONDS
        with Gauge.open(self.settings) as gauge:
            while time.monotonic() < deadline:
                lag = gauge.measure()
                totals = lag.totals()
                if lag.records == 0 and all(each.mirrored in (True, None) for each in totals):
                    return {each.subscription: dict(each.outcomes) for each in totals}
                time.sleep(0.2)
        raise AssertionError(f"still behind: {totals}")

    def published(self, topic: Topic) -> Iterator[Any]:
        """All records of a topic of one kind of record, decoded."""
        codec = Codec(schema_ids(self.settings))
        for record in self.records(topic.name):
            yield codec.decode_as(topic.records[0], record.value() or b"")

    def records(self, topic: str) -> Iterator[Message]:
        """All records of a topic, partition by partition."""
        consumer = Consumer(
            {"bootstrap.servers": self.settings.kafka_bootstrap_servers, "group.id": "records",
             "auto.offset.reset": "earliest", "fetch.message.max.bytes": RECORD_BYTES_MAX}
        )  # fmt: skip
        for partition in range(self.settings.partitions):
            place = TopicPartition(topic, partition, 0)
            low, high = consumer.get_watermark_offsets(place, timeout=10)
            consumer.assign([place])
            while low < high:
                record = consumer.poll(10)
                assert record is not None
                assert record.error() is None
                yield record
                low = record.offset() + 1
        consumer.close()

    def export(self) -> list[dict[str, Any]]:
        """Every stay, as programs get it."""
        text = self.run("export", "trajectory", "--tenant", "demo", "--ndjson").stdout
        return [json.loads(each) for each in text.splitlines()]


@pytest.fixture(scope="module")
def line() -> Iterator[Line]:
    with home() as settings:
        yield Line(whole.up(settings))
