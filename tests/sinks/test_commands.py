"""Results of commands on a real database: whose they are, and who is told when they come."""

import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from uuid import UUID, uuid4

import pytest

from sinks import commands
from sinks.commands import CHANNEL, WAITING_MAX, Waiting, WaitingFull
from sinks.reading import Readers
from tests.sinks.provisioned import OURS, THEIRS, Store, made

pytestmark = pytest.mark.stack
TENANT, OTHER = UUID(OURS), UUID(THEIRS)
AT = "2026-03-02T10:00:00Z"
SECONDS = 30


@pytest.fixture(scope="module")
def store(stack):
    with made(stack) as one:
        yield one


@pytest.fixture
def readers(store):
    opened = Readers.open(store.app, name="test", size=3, seconds=5)
    yield opened
    opened.close()


@pytest.fixture
def waiting(readers):
    thread = Waiting(readers=readers)
    thread.start()
    yield thread
    thread.stop()


def decide(store: Store, command_id: UUID, tenant: str = OURS, *, notify: bool = True) -> None:
    """What the ledger does: the row, and a notice in the same commit."""
    columns = (
        "tenant_id, command_id, command_type, stream_type, stream_id, outcome, version, events,"
        " event_partition, event_seq, recorded_at, partition, partition_seq"
    )
    store.run(
        f"WITH noticed AS (SELECT pg_notify(%s, '') WHERE %s) INSERT INTO command_results"
        f" ({columns}) SELECT %s, %s, 'task.start', 'task', %s, 'accepted', 2, 1, 3, 41, %s, 0,"
        f" (SELECT count(*) + 1 FROM command_results) FROM (SELECT count(*) FROM noticed) AS n",
        CHANNEL, notify, tenant, command_id, uuid4(), AT,
    )  # fmt: skip


def test_a_result_is_its_tenants_alone(store, waiting) -> None:
    ours, theirs = uuid4(), uuid4()
    decide(store, ours)
    decide(store, theirs, THEIRS)
    found = waiting.of(TENANT, ours)
    assert (found.outcome, found.version, found.event_partition, found.event_seq) == (
        "accepted", 2, 3, 41,
    )  # fmt: skip
    assert waiting.of(TENANT, theirs) is None
    assert waiting.of(OTHER, theirs).command_id == str(theirs)
    with waiting.readers.as_tenant(TENANT) as snapshot:
        assert commands.results(snapshot, [ours, theirs]).keys() == {ours}


@pytest.mark.parametrize("notify", [True, False])
def test_who_waits_is_told_with_the_notice_or_without_one(store, waiting, notify) -> None:
    wanted, also = uuid4(), uuid4()
    told = [waiting.ask(TENANT, each) for each in (wanted, wanted, also)]
    elsewhere = waiting.ask(OTHER, wanted)
    decide(store, wanted, notify=notify)
    assert [each.result(SECONDS).command_id for each in told[:2]] == [str(wanted)] * 2
    assert not told[2].done()
    assert not elsewhere.done()
    waiting.leave(TENANT, also, told[2])
    waiting.leave(OTHER, wanted, elsewhere)
    assert waiting._asked == {}


def test_a_result_that_stands_already_is_told(store, waiting) -> None:
    wanted = uuid4()
    decide(store, wanted)
    assert waiting.ask(TENANT, wanted).result(SECONDS).command_id == str(wanted)


def test_who_left_is_told_nothing_and_leaving_twice_does_no_harm(store, waiting) -> None:
    wanted = uuid4()
    left, given_up = waiting.ask(TENANT, wanted), waiting.ask(TENANT, wanted)
    waiting.leave(TENANT, wanted, left)
    waiting.leave(TENANT, wanted, left)
    assert given_up.cancel()
    stays = waiting.ask(TENANT, wanted)
    decide(store, wanted)
    stays.result(SECONDS)
    with pytest.raises(NotYet):
        left.result(0)
    with pytest.raises(CancelledError):
        given_up.result(0)


def test_one_more_than_may_wait_is_turned_away(readers) -> None:
    idle = Waiting(readers=readers)
    wanted = uuid4()
    told = [idle.ask(TENANT, wanted) for _ in range(WAITING_MAX)]
    with pytest.raises(WaitingFull):
        idle.ask(TENANT, uuid4())
    idle.leave(TENANT, wanted, told[0])
    idle.ask(TENANT, uuid4())


def test_a_database_that_comes_back_is_listened_to_again(store, waiting) -> None:
    def backends() -> list[int]:
        rows = store.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename = 'wt_app'"
            " AND query LIKE 'LISTEN%%'",
            store.name,
        )
        return [row["pid"] for row in rows]

    first = waiting.ask(TENANT, uuid4())
    deadline = time.monotonic() + SECONDS
    while not backends():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    for pid in backends():
        store.run("SELECT pg_terminate_backend(%s)", pid)
    wanted = uuid4()
    told = waiting.ask(TENANT, wanted)
    decide(store, wanted)
    assert told.result(SECONDS).command_id == str(wanted)
    assert not first.done()


def test_a_projection_has_reached_what_it_folded_and_not_more(store, readers) -> None:
    for name, partition, position in (("one", 1, 7), ("two", 1, 5), ("one", 2, 9)):
        store.run(
            "INSERT INTO subscriptions (subscription_id, topic, partition, last_position)"
            " VALUES (%s, 'clinical.events.v1', %s, %s)",
            name, partition, position,
        )  # fmt: skip
    store.run(
        "INSERT INTO partitions (topic, partition, next_seq) VALUES ('clinical.events.v1', 1, 12)"
    )
    for projections, partition, seq, reached in (
        (["one"], 1, 7, True), (["one"], 1, 8, False), (["one", "two"], 1, 5, True),
        (["one", "two"], 1, 6, False), (["one"], 2, 9, True), (["one"], 3, 1, False),
        (["none"], 1, 1, False), ([], 1, 11, True), ([], 1, 12, False), ([], 2, 1, False),
    ):  # fmt: skip
        assert readers.reached(TENANT, projections, partition, seq) is reached
