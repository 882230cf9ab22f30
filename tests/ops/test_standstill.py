"""What stands still shows in the counters: by partition, and letters by feed and cause."""

import threading

import pytest

from ops import standstill
from ops.standstill import Standstill
from sinks import subscriptions
from sinks.database import DatabaseAway
from tests.sinks.paths import insert
from tests.sinks.provisioned import FEED, OURS, store

__all__ = ["store"]
pytestmark = pytest.mark.stack

PLACE = 'subscription="ledger",topic="t",partition="0",kind="breaker"'
NAME = 'a "b"\\c\nd'


def letter(store, offset, cause, state):
    insert(
        store, "dead_letters", tenant_id=OURS, subscription_id="ledger", topic="t", partition=0,
        offset=offset, stage="map", cause=cause, reason="why", state=state, feed_id=FEED,
        record_sealed=b"sealed",
    )  # fmt: skip


def test_stopped_partitions_and_open_letters_are_samples_of_the_text_format(store):
    insert(store, "tenants", id=OURS, name="ours")
    insert(store, "feeds", id=FEED, tenant_id=OURS, name=NAME)
    for offset, (cause, state) in enumerate(
        [("charset", "dead"), ("charset", "dead"), ("behind", "parked"), ("charset", "retried")]
    ):
        letter(store, offset, cause, state)
    held = store.take("ledger", topic="t")
    subscriptions.stop(store.database, held, kind="breaker", said="it stops")
    standing = Standstill(lambda: standstill.look(store.worker))
    assert standing.lines() == ["wardtrail_standstill_age_seconds 0"]
    standing.look()
    kind = f'subscription="ledger",tenant="{OURS}",feed="a \\"b\\"\\\\c\\nd"'
    assert standing.lines() == [
        "wardtrail_standstill_age_seconds 0",
        "wardtrail_partitions_stopped 1",
        f"wardtrail_partition_stopped{{{PLACE}}} 1",
        'wardtrail_letters{state="dead"} 2',
        'wardtrail_letters{state="parked"} 1',
        f'wardtrail_letters_of_feed{{state="dead",{kind},cause="charset"}} 2',
        f'wardtrail_letters_of_feed{{state="parked",{kind},cause="behind"}} 1',
    ]


def test_with_nothing_amiss_the_totals_are_there_and_zero(store):
    standing = Standstill(lambda: standstill.look(store.worker))
    standing.look()
    assert standing.lines()[1:] == [
        "wardtrail_partitions_stopped 0",
        'wardtrail_letters{state="dead"} 0',
        'wardtrail_letters{state="parked"} 0',
    ]


def test_while_the_database_is_away_the_last_look_ages_and_is_taken_again(monkeypatch):
    monkeypatch.setattr(standstill, "LOOK_SECONDS", 0.001)
    looks, again = iter(range(10_000)), threading.Event()

    def looked():
        if next(looks) % 2:
            raise DatabaseAway("away")
        if next(looks) > 4:
            again.set()
        return standstill.Seen(at=-100.0, totals={"dead": 7})

    standing = Standstill(looked)
    standing.start()
    assert again.wait(20)
    standing.stop()
    age, *rest = standing.lines()
    assert int(age.split()[1]) >= 100
    assert 'wardtrail_letters{state="dead"} 7' in rest
