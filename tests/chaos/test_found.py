"""What plays have found, each as the smallest test that shows it."""

import time
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.streams.test_app import PARTITIONS, Fake, Line, Store

pytestmark = [pytest.mark.stack, pytest.mark.alone]
SEEN_SECONDS = 30.0  # a tenth of what the default would take


class Later(Line):
    """A line whose topic isn't there yet, as a broker sees it that has just started."""

    def __init__(self, servers: str, folder: Path) -> None:
        self.servers, self.folder, self.topic = servers, folder, f"later-{time.time_ns()}"
        self.admin = AdminClient({"bootstrap.servers": servers})
        self.store = Store()

    def appear(self) -> None:
        new = NewTopic(self.topic, num_partitions=PARTITIONS, replication_factor=1)
        self.admin.create_topics([new])[self.topic].result(10)


def test_partitions_assigned_by_a_broker_that_knew_no_topic_are_assigned_again_soon(
    stack, tmp_path
):
    line = Later(stack.bootstrap_servers, tmp_path)
    with line.worker(Fake(line.topic, line.store)):
        line.appear()
        line.produce(3)
        deadline = time.monotonic() + SEEN_SECONDS
        while len(line.store.rows) < 3 * PARTITIONS:
            assert time.monotonic() < deadline, "the topic is never seen"
            time.sleep(0.1)
