"""The lag of every processor, measured on a real broker and a real database."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ops import deploy, lag
from ops.behind import Behind, Lag
from ops.cli import lagging, playing
from ops.cli.errors import Failed
from ops.lag import Gauge, Publisher, Reader
from schemas.topics import VERIFICATIONS
from streams import ports
from tests.topics import make_topic

ALL_PUBLISHERS = lag.PUBLISHERS
OLD = 3_600_000  # a record's age in milliseconds


@dataclass
class Topic:
    """A topic of the test's own with two partitions, read by one processor of two projections."""

    name: str
    servers: str
    group: str
    produced: dict[int, int] = field(default_factory=dict)

    def produce(self, partition: int, *, age_ms: int) -> None:
        producer = Producer({"bootstrap.servers": self.servers})
        at = int(datetime.now(UTC).timestamp() * 1000) - age_ms
        producer.produce(self.name, b"value", partition=partition, timestamp=at)
        assert producer.flush(30) == 0

    def commit(self, partition: int, offset: int) -> None:
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": self.group})
        place = TopicPartition(self.name, partition, offset)
        consumer.commit(offsets=[place], asynchronous=False)
        consumer.close()


@pytest.fixture
def topic(desk, monkeypatch) -> Iterator[Topic]:
    name = f"lag-{uuid.uuid4().hex[:8]}"
    servers = desk.environ["KAFKA_BOOTSTRAP_SERVERS"]
    admin = AdminClient({"bootstrap.servers": servers})
    make_topic(servers, name, 2)
    reader = Reader(processor=name, subscriptions=("patients", "admissions"), topic=name)
    publisher = Publisher(subscription="relay", topic=name, table="events", time="recorded_at")
    monkeypatch.setattr(lag, "READERS", (reader,))
    monkeypatch.setattr(lag, "PUBLISHERS", (publisher,))
    yield Topic(name, servers, ports.group(name))
    admin.delete_topics([name])


def measured(desk) -> Lag:
    with Gauge.open(desk.settings()) as gauge:
        return gauge.measure()


def standing(desk, subscription: str, topic: Topic, partition: int, next_offset: int) -> None:
    desk.insert(
        "subscriptions", subscription_id=subscription, topic=topic.name, partition=partition,
        next_offset=next_offset, applied=next_offset, epoch=4, owner="somebody",
    )  # fmt: skip


def test_records_and_seconds_are_those_of_what_waits(desk, topic: Topic) -> None:
    for age_ms in (3 * OLD, 2 * OLD, OLD):
        topic.produce(0, age_ms=age_ms)
    standing(desk, "patients", topic, 0, 3)
    standing(desk, "admissions", topic, 0, 1)
    topic.commit(0, 1)
    found = {(e.subscription, e.partition): e for e in measured(desk).partitions}

    done, behind, idle = found["patients", 0], found["admissions", 0], found["admissions", 1]
    assert (done.records, done.seconds) == (0, 0.0)
    assert behind.records == 2
    assert behind.seconds == pytest.approx(2 * OLD / 1000, abs=60)
    assert (idle.records, idle.seconds, idle.owner) == (0, 0.0, None)
    assert (behind.next_offset, behind.committed_offset, behind.epoch) == (1, 1, 4)
    assert (behind.owner, behind.outcomes["applied"]) == ("somebody", 1)


def test_two_subscriptions_at_two_offsets_of_a_partition_both_know_their_age(desk, topic):
    topic.produce(0, age_ms=2 * OLD)
    topic.produce(0, age_ms=OLD)
    standing(desk, "patients", topic, 0, 1)
    found = {e.subscription: e for e in measured(desk).partitions if e.partition == 0}
    assert found["patients"].seconds == pytest.approx(OLD / 1000, abs=60)
    assert found["admissions"].seconds == pytest.approx(2 * OLD / 1000, abs=60)


def test_a_committed_offset_other_than_the_position_shows(desk, topic: Topic) -> None:
    topic.produce(0, age_ms=0)
    for subscription in ("patients", "admissions"):
        standing(desk, subscription, topic, 0, 1)
    assert {each.mirrored for each in measured(desk).totals()} == {False, None}
    topic.commit(0, 1)
    assert {each.mirrored for each in measured(desk).totals()} == {True, None}


def test_a_relay_is_behind_by_the_rows_after_its_position(visited, topic: Topic) -> None:
    visited.insert(
        "subscriptions", subscription_id="relay", topic=topic.name, partition=0, last_position=1
    )
    relay = [each for each in measured(visited).partitions if each.subscription == "relay"]
    assert [(each.partition, each.records) for each in relay] == [(0, 1), (1, 0)]
    expected = datetime.now(UTC) - datetime(2026, 3, 2, 9, tzinfo=UTC)
    assert relay[0].seconds == pytest.approx(expected.total_seconds(), abs=60)
    assert relay[1].seconds == 0.0


def test_dead_letters_that_the_relay_has_not_placed_yet_wait_for_it(desk, topic, monkeypatch):
    [letters] = [each for each in ALL_PUBLISHERS if each.subscription == "relay:letters"]
    monkeypatch.setattr(lag, "PUBLISHERS", (replace(letters, topic=topic.name),))
    for offset, (announced, seq) in enumerate([(None, None), ("dead", 1), ("parked", 2)]):
        desk.insert(
            "dead_letters", subscription_id="ledger", topic="t", partition=0, offset=offset,
            stage="map", cause="structure", reason="why", record_sealed=b"sealed",
            announced=announced, partition_seq=seq,
        )  # fmt: skip
    desk.insert(
        "subscriptions", subscription_id="relay:letters", topic=topic.name, partition=0,
        last_position=2,
    )  # fmt: skip
    found = [each for each in measured(desk).partitions if each.subscription == "relay:letters"]
    assert [(each.partition, each.records) for each in found] == [(0, 2), (1, 0)]


def test_patients_who_wait_for_the_judge_show_and_so_do_those_set_aside(
    visited, topic: Topic, monkeypatch
) -> None:
    monkeypatch.setattr(lag, "VERIFICATIONS", replace(VERIFICATIONS, name=topic.name))
    waiting, aside = uuid.uuid4(), uuid.uuid4()
    for seq, patient, failed in ((1, waiting, None), (2, waiting, None), (2, aside, "KeyError")):
        visited.insert(
            "verification_due", tenant_id=deploy.DEMO_TENANT, due="patient", due_id=patient,
            partition=0, partition_seq=seq, failed=failed,
        )  # fmt: skip
    judge = [each for each in measured(visited).partitions if each.subscription == lag.JUDGE]
    assert [(each.records, each.outcomes["parked"]) for each in judge] == [(1, 1), (0, 0)]
    expected = datetime.now(UTC) - datetime(2026, 3, 2, 8, tzinfo=UTC)
    assert judge[0].seconds == pytest.approx(expected.total_seconds(), abs=60)
    assert judge[1].seconds == 0.0


def test_the_command_shows_partitions_and_totals(desk, topic: Topic, loaded) -> None:
    topic.produce(1, age_ms=OLD)
    shown = desk.run("lag").stdout
    assert f"{topic.name}/1" in shown
    assert "not yet" not in shown  # nothing read, nothing committed
    assert topic.name + "/1" not in desk.run("lag", "--totals").stdout
    report = loaded(desk.run("lag", "--json"))
    assert report["records"] == 2
    assert {each["subscription"] for each in report["totals"]} == {
        "patients", "admissions", "relay"
    }  # fmt: skip
    assert report["partitions"][0].keys() >= {"records", "seconds", "committed_offset", "epoch"}


SAID = "admissions stops rather than park more (hint: wardtrail dead-letters list), parked: 3"


def test_a_partition_that_stands_still_is_named_with_what_to_type(desk, topic, loaded) -> None:
    topic.produce(0, age_ms=OLD)
    desk.insert(
        "subscriptions", subscription_id="admissions", topic=topic.name, partition=0, epoch=4,
        owner="somebody", stopped="breaker", stopped_said=SAID,
        stopped_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
    )  # fmt: skip
    for form in ((), ("--totals",)):
        assert f"since 2026-03-02 09:00:00 UTC {SAID}\n" in desk.run("lag", *form).stdout
    partitions = loaded(desk.run("lag", "--json"))["partitions"]
    found = {(each["subscription"], each["partition"]): each["stopped"] for each in partitions}
    since = "2026-03-02T09:00:00+00:00"
    assert found["admissions", 0] == {"kind": "breaker", "said": SAID, "since": since}
    assert found["admissions", 1] is found["patients", 0] is None


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_watch_looks_until_it_is_interrupted(desk, topic, monkeypatch, form) -> None:
    looks = iter(range(2))

    def sleep(_seconds: float) -> None:
        if next(looks, None) is None:
            raise KeyboardInterrupt

    monkeypatch.setattr(lagging.time, "sleep", sleep)
    result = desk.run("lag", "--watch", *form)
    assert result.exit_code == 0
    if form:
        assert [json.loads(line)["records"] for line in result.stdout.splitlines()] == [0] * 3
    else:
        assert "patients" in result.stdout


def test_a_record_that_waited_too_long_fails_the_command(desk, topic: Topic) -> None:
    topic.produce(1, age_ms=OLD)
    assert desk.run("lag", "--max-seconds", str(2 * OLD / 1000)).exit_code == 0
    late = desk.run("lag", "--max-seconds", "60")
    assert late.exit_code == 1
    assert late.stderr == ("wardtrail: records wait for more than 60 s: admissions, patients\n")


def test_a_topic_that_is_missing_is_told_with_what_makes_it(desk, topic, monkeypatch) -> None:
    missing = replace(lag.READERS[0], topic="lag-nowhere")
    monkeypatch.setattr(lag, "READERS", (missing,))
    result = desk.run("lag")
    assert result.exit_code == 1
    assert result.stderr == "wardtrail: no such topic: lag-nowhere (hint: wardtrail migrate)\n"


def test_brokers_that_do_not_answer_are_told_within_a_bound(desk, monkeypatch) -> None:
    monkeypatch.setattr(lag, "REPLY_SECONDS", 0.5)
    desk.environ["KAFKA_BOOTSTRAP_SERVERS"] = "127.0.0.1:1"
    result = desk.run("lag")
    assert result.exit_code == 1
    assert result.stderr.startswith("wardtrail: the brokers can't answer now:")
    assert "(hint: is it up?" in result.stderr


class Standstill:
    """A gauge that never moves."""

    def measure(self) -> Lag:
        row = Behind(
            processor="ledger", subscription="ledger", topic="t", partition=0, records=5,
            seconds=None, next_offset=1, committed_offset=1, last_position=0, epoch=1,
            owner=None, outcomes={},
        )  # fmt: skip
        return Lag(at=datetime.now(UTC) - timedelta(0), partitions=(row,))


def test_a_demo_that_stands_still_gives_up_and_says_what_waits(monkeypatch) -> None:
    monkeypatch.setattr(playing, "PATIENCE_SECONDS", 0.0)
    with pytest.raises(Failed, match=r"records still wait: ledger 5 \(hint: wardtrail"):
        playing._caught_up(Standstill())  # type: ignore[arg-type]  # measures like one
