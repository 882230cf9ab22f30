"""One owner for each partition: epochs, takeover from the frozen, counts that add up."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import psycopg
import pytest

from sinks import subscriptions
from sinks.database import DatabaseAway, Refused
from sinks.subscriptions import Stale, TopicReplaced, lock, move, skip, take
from tests.sinks.provisioned import TOPIC, applied, apply, counts, records

pytestmark = pytest.mark.stack


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    monkeypatch.setattr(subscriptions, "TAKEOVER_PATIENCE_S", 0.2)


def test_taking_raises_the_epoch_and_tells_the_positions(store):
    first = store.take()
    apply(store, first, records(0, 9))
    again = store.take(owner="another")
    assert again.epoch == first.epoch + 1
    assert (again.next_offset, again.last_position) == (10, 10)
    assert store.subscription()["owner"] == "another"


def test_several_partitions_are_taken_at_once_and_only_those(store):
    places = [(TOPIC, 2), (TOPIC, 0)]
    taken = take(store.database, store.worker, "tally", places, owner="a", topic_ids={})
    assert sorted(taken) == [(TOPIC, 0), (TOPIC, 2)]
    assert len(store.rows("SELECT FROM subscriptions")) == 2


def test_an_older_epoch_writes_nothing(store):
    old = store.take()
    apply(store, old, records(0, 4))
    new = store.take()
    with pytest.raises(Stale):
        apply(store, old, records(5, 9))
    assert applied(store) == [1, 2, 3, 4, 5]
    with pytest.raises(Stale):
        skip(store.database, old, upto=9)
    assert store.subscription()["next_offset"] == 5
    assert apply(store, new, records(5, 9)) == 10


def test_a_partition_that_nobody_ever_took_is_stale(store):
    held = store.take()
    store.run("DELETE FROM subscriptions")
    with pytest.raises(Stale):
        apply(store, held, records(0, 4))


def test_moving_under_an_older_epoch_is_refused_even_without_the_lock(store):
    old = store.take()
    store.take()
    with (
        pytest.raises(Stale),
        store.database.connection() as connection,
        connection.transaction(),
    ):
        move(connection, old, next_offset=1, last_position=1, counts={"applied": 1})
    assert store.subscription()["next_offset"] == 0


@pytest.mark.parametrize("to", [{"next_offset": 4, "last_position": 5},
                                {"next_offset": 5, "last_position": 4}])  # fmt: skip
def test_a_position_never_goes_back(store, to):
    held = store.take()
    apply(store, held, records(0, 4))
    with (
        pytest.raises(Stale),
        store.database.connection() as connection,
        connection.transaction(),
    ):
        move(connection, held, **to, counts={})
    assert store.subscription()["next_offset"] == 5


@pytest.mark.parametrize("told", [{}, {"applied": 1}, {"applied": 2, "dead": 1}])
def test_counts_that_do_not_add_up_are_refused(store, told):
    held = store.take()
    with (
        pytest.raises(Refused, match="nothing_vanishes"),
        store.database.connection() as connection,
        connection.transaction(),
    ):
        move(connection, held, next_offset=2, last_position=0, counts=told)
    assert store.subscription()["next_offset"] == 0


def test_offsets_that_hold_nothing_are_counted(store):
    held = store.take()
    assert skip(store.database, held, upto=3) == 3
    assert skip(store.database, held, upto=3) == 3
    assert counts(store) == {"no_record": 3}


def test_another_topic_of_the_same_name_stops_and_takes_nothing(store):
    known = {"owner": "a", "topic_ids": {TOPIC: "id-1"}}
    take(store.database, store.worker, "tally", [(TOPIC, 0)], **known)
    take(store.database, store.worker, "tally", [(TOPIC, 0)], **known)
    with pytest.raises(TopicReplaced):
        take(
            store.database, store.worker, "tally", [(TOPIC, 0)], owner="b",
            topic_ids={TOPIC: "id-2"},
        )  # fmt: skip
    row = store.subscription()
    assert (row["epoch"], row["owner"], row["topic_id"]) == (2, "a", "id-1")


def test_a_topic_whose_id_is_not_told_keeps_the_one_that_is_known(store):
    take(store.database, store.worker, "t", [(TOPIC, 0)], owner="a", topic_ids={TOPIC: "id-1"})
    take(store.database, store.worker, "t", [(TOPIC, 0)], owner="a", topic_ids={})
    assert store.subscription("t")["topic_id"] == "id-1"


def test_a_holder_idle_in_its_transaction_is_ended_and_its_commit_fails(store):
    old = store.take()
    with psycopg.connect(store.worker) as frozen:
        frozen.row_factory = psycopg.rows.dict_row
        lock(frozen, old)
        move(frozen, old, next_offset=1, last_position=1, counts={"applied": 1})
        new = store.take()
        assert new.epoch == old.epoch + 1
        with pytest.raises(psycopg.OperationalError):
            frozen.commit()
    assert store.subscription()["next_offset"] == 0


def test_a_holder_that_lets_go_in_time_is_not_ended(store, monkeypatch):
    monkeypatch.setattr(subscriptions, "TAKEOVER_PATIENCE_S", 5.0)
    old = store.take()
    with psycopg.connect(store.worker, row_factory=psycopg.rows.dict_row) as holder:
        lock(holder, old)
        taken = []
        taker = threading.Thread(target=lambda: taken.append(store.take()))
        taker.start()
        while not store.rows("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            pass
        move(holder, old, next_offset=2, last_position=2, counts={"applied": 2})
        holder.commit()
        taker.join()
    assert taken[0].next_offset == 2


def test_a_watch_that_cannot_connect_leaves_the_wait_to_its_own_time_out(store, monkeypatch):
    held = store.take()
    gone = threading.excepthook
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    nowhere = store.worker.replace("wt_worker:w@", "wt_worker:wrong@")
    with psycopg.connect(store.worker, row_factory=psycopg.rows.dict_row) as holder:
        lock(holder, held)
        database = store.open(size=1)
        with database.connection() as connection:
            connection.execute("SET lock_timeout = '900ms'")
        with pytest.raises(DatabaseAway, match="55P03"):
            take(database, nowhere, "tally", [(TOPIC, 0)], owner="b", topic_ids={})
    monkeypatch.setattr(threading, "excepthook", gone)
    assert failed == []


FROZEN_IN_ITS_WRITE = """
    import sys
    from sinks import write
    from tests.sinks.provisioned import TALLY, LINE, records
    from sinks import transaction
    from sinks.database import Database, DatabaseAway
    from sinks.subscriptions import Held

    held = Held(subscription_id="tally", topic="clinical.events.v1", partition=0, epoch=1,
                next_offset=0, last_position=0)
    real = write._send
    def slowly(connection, statement, rows):
        print("writing", flush=True)
        sys.stdin.readline()
        write._send = real
        return real(connection, statement, rows)
    write._send = slowly
    database = Database.open(sys.argv[1], name="frozen")
    try:
        transaction.apply(database, TALLY, held, records(0, 9), line=LINE)
        print("applied", flush=True)
    except DatabaseAway:
        print("away", flush=True)
"""


def test_a_process_frozen_inside_its_write_is_ended_and_writes_nothing_when_it_thaws(store):
    assert store.take().epoch == 1
    frozen = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(FROZEN_IN_ITS_WRITE), store.worker],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert frozen.stdout.readline() == "writing\n"
        os.kill(frozen.pid, signal.SIGSTOP)
        held = store.take()
        assert apply(store, held, records(0, 4)) == 5
        os.kill(frozen.pid, signal.SIGCONT)
        said, _ = frozen.communicate("go\n", timeout=30)
        assert said == "away\n"
    finally:
        frozen.kill()
        frozen.wait()
    assert applied(store) == [1, 2, 3, 4, 5]
    assert counts(store) == {"applied": 5}


def test_takers_at_once_get_different_epochs_and_only_the_last_one_writes(store, monkeypatch):
    monkeypatch.setattr(subscriptions, "TAKEOVER_PATIENCE_S", 5.0)
    store.take()
    helds = []
    threads = [threading.Thread(target=lambda: helds.append(store.take())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(held.epoch for held in helds) == [2, 3, 4, 5]
    for held in sorted(helds, key=lambda held: held.epoch)[:-1]:
        with pytest.raises(Stale):
            apply(store, held, records(0, 4))
