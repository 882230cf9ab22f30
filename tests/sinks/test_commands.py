"""Results of commands on a real database: whose they are, and who is told when they come."""

import threading
import time
from concurrent.futures import CancelledError
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from schemas.commands import TYPES, Scope
from sinks import commands
from sinks.commands import CHANNEL, WAITING_MAX, Waiting, WaitingFull
from sinks.reading import ALL, Reader, Readers
from tests.sinks.provisioned import OURS, THEIRS, Store, made

pytestmark = pytest.mark.stack
TENANT = UUID(OURS)
EVERY, OTHER = (Reader(tenant_id=UUID(each), departments=ALL) for each in (OURS, THEIRS))
WORK = ("task", "shift", "handover", "verification")
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


def decide(
    store: Store, command_id: UUID, tenant: str = OURS, *, notify: bool = True, **given: Any
) -> None:
    """What the ledger does: the row, and a notice in the same commit."""
    said = {"stream_type": "task", "department_id": None, "issued_by": None, **given}
    columns = (
        "tenant_id, command_id, command_type, stream_type, stream_id, department_id, issued_by,"
        " outcome, version, events, event_partition, event_seq, recorded_at, partition,"
        " partition_seq"
    )
    store.run(
        f"WITH noticed AS (SELECT pg_notify(%s, '') WHERE %s) INSERT INTO command_results"
        f" ({columns}) SELECT %s, %s, 'some.command', %s, %s, %s, %s, 'accepted', 2, 1, 3, 41, %s,"
        f" 0, (SELECT count(*) + 1 FROM command_results) FROM (SELECT count(*) FROM noticed) AS n",
        CHANNEL, notify, tenant, command_id, said["stream_type"], uuid4(),
        said["department_id"], said["issued_by"], AT,
    )  # fmt: skip


def test_a_result_is_its_tenants_alone(store, waiting) -> None:
    ours, theirs = uuid4(), uuid4()
    decide(store, ours)
    decide(store, theirs, THEIRS)
    found = waiting.of(EVERY, ours)
    assert (found.outcome, found.version, found.event_partition, found.event_seq) == (
        "accepted", 2, 3, 41,
    )  # fmt: skip
    assert waiting.of(EVERY, theirs) is None
    assert waiting.of(OTHER, theirs).command_id == str(theirs)
    with waiting.readers.of(EVERY) as snapshot:
        assert commands.results(snapshot, [ours, theirs]).keys() == {ours}


WARD, ICU, NURSE, OTHERS = (uuid4() for _ in range(4))


def readers_of(**given: Any) -> Reader:
    return Reader(**{"tenant_id": TENANT, "departments": frozenset({WARD}), **given})


SHOWN: dict[str, tuple[dict[str, Any], Reader, bool]] = {
    "of its department": ({"department_id": WARD}, readers_of(), True),
    "of another department": ({"department_id": ICU}, readers_of(), False),
    "of another, to who sees all": ({"department_id": ICU}, readers_of(departments=ALL), True),
    "of another, to who asked": (
        {"department_id": ICU, "issued_by": NURSE}, readers_of(issuer=NURSE), True,
    ),
    "of another, to somebody else": (
        {"department_id": ICU, "issued_by": NURSE}, readers_of(issuer=OTHERS), False,
    ),
    "of work that is no department's": ({}, readers_of(), False),
    "of what nobody knows, to who asked": (
        {"stream_type": "?", "issued_by": NURSE}, readers_of(issuer=NURSE), True,
    ),
    "of what nobody knows": ({"stream_type": "?"}, readers_of(), False),
    "to who sees no department": (
        {"department_id": WARD}, readers_of(departments=frozenset()), False,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "reader", "shown"), SHOWN.values(), ids=SHOWN)
def test_a_result_is_shown_to_who_sees_its_work_and_to_who_asked(
    store, waiting, given, reader, shown
) -> None:
    command = uuid4()
    decide(store, command, **given)
    assert (waiting.of(reader, command) is not None) is shown
    assert waiting.of(EVERY, command) is not None
    assert waiting.of(replace(reader, tenant_id=OTHER.tenant_id), command) is None


@pytest.mark.parametrize(
    "stream_type", sorted({kind.stream_type for kind in TYPES.values()} - set(WORK))
)
def test_what_the_whole_tenant_reads_has_results_for_the_whole_tenant(
    store, waiting, stream_type
) -> None:
    command = uuid4()
    decide(store, command, stream_type=stream_type)
    assert waiting.of(readers_of(departments=frozenset()), command) is not None


def test_every_type_of_work_is_asked_in_departments(store, waiting) -> None:
    for kind in TYPES.values():
        assert (kind.scope is Scope.DEPARTMENT) == (kind.stream_type in WORK)


def test_who_waits_is_told_of_their_own_departments_alone(store, waiting) -> None:
    command = uuid4()
    theirs, ours = (waiting.ask(each, command) for each in (
        readers_of(departments=frozenset({ICU})), readers_of(),
    ))  # fmt: skip
    decide(store, command, department_id=WARD)
    assert ours.result(SECONDS).command_id == str(command)
    assert not theirs.done()


@pytest.mark.parametrize("notify", [True, False])
def test_who_waits_is_told_with_the_notice_or_without_one(store, waiting, notify) -> None:
    wanted, also = uuid4(), uuid4()
    told = [waiting.ask(EVERY, each) for each in (wanted, wanted, also)]
    elsewhere = waiting.ask(OTHER, wanted)
    decide(store, wanted, notify=notify)
    assert [each.result(SECONDS).command_id for each in told[:2]] == [str(wanted)] * 2
    assert not told[2].done()
    assert not elsewhere.done()
    waiting.leave(EVERY, also, told[2])
    waiting.leave(OTHER, wanted, elsewhere)
    assert waiting._asked == {}


def test_a_result_that_stands_already_is_told(store, waiting) -> None:
    wanted = uuid4()
    decide(store, wanted)
    assert waiting.ask(EVERY, wanted).result(SECONDS).command_id == str(wanted)


def test_who_left_is_told_nothing_and_leaving_twice_does_no_harm(store, waiting) -> None:
    wanted = uuid4()
    left, given_up = waiting.ask(EVERY, wanted), waiting.ask(EVERY, wanted)
    waiting.leave(EVERY, wanted, left)
    waiting.leave(EVERY, wanted, left)
    assert given_up.cancel()
    stays = waiting.ask(EVERY, wanted)
    decide(store, wanted)
    stays.result(SECONDS)
    with pytest.raises(NotYet):
        left.result(0)
    with pytest.raises(CancelledError):
        given_up.result(0)


def test_one_more_than_may_wait_is_turned_away(readers) -> None:
    idle = Waiting(readers=readers)
    wanted = uuid4()
    told = [idle.ask(EVERY, wanted) for _ in range(WAITING_MAX)]
    with pytest.raises(WaitingFull):
        idle.ask(EVERY, uuid4())
    idle.leave(EVERY, wanted, told[0])
    idle.ask(EVERY, uuid4())


def test_a_database_that_comes_back_is_listened_to_again(store, waiting) -> None:
    def backends() -> list[int]:
        rows = store.rows(
            "SELECT pid FROM pg_stat_activity WHERE datname = %s AND usename = 'wt_app'"
            " AND query LIKE 'LISTEN%%'",
            store.name,
        )
        return [row["pid"] for row in rows]

    first = waiting.ask(EVERY, uuid4())
    deadline = time.monotonic() + SECONDS
    while not backends():
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    for pid in backends():
        store.run("SELECT pg_terminate_backend(%s)", pid)
    wanted = uuid4()
    told = waiting.ask(EVERY, wanted)
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
