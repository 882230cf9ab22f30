"""Requests about dead letters: done by the partition's owner, also where nothing else happens."""

import threading
import time
from dataclasses import replace

import pytest

from schemas import catalogue
from schemas.codec import Codec, Ids, Writer
from schemas.examples import good
from schemas.failpoints import FailPoint
from schemas.headers import for_event
from schemas.registry import RegistryAway
from schemas.sealing import KeyServiceAway, Root
from sinks import parking, requests
from sinks.database import for_tenants
from sinks.requests import Chosen
from streams import log
from streams.letters import Letters
from streams.ownership import Ownership
from streams.projector import Projector
from tests.sinks.provisioned import FEED, OURS, TALLY, applied, counts
from tests.streams.test_projector import CODEC, RECORD, TOPIC, Got

pytestmark = pytest.mark.stack

WAIT_SECONDS = 30.0


def told(seq, **given):
    _, value = next(iter(good(RECORD)))
    event = {**value, "partition_seq": seq, "tenant_id": OURS, "feed_id": FEED, "partition": 0}
    return {**event, "event_id": f"00000000-0000-4000-8000-{seq:012}", **given}


def got(offset, *, ours=True):
    event = told(offset + 1)
    value = CODEC.encode(RECORD, event)
    return Got(offset, value if ours else b"\0\0\0\xff\xff" + value[5:], headers=for_event(event))


class Bad:
    """The tally, but that one position can't be folded while it is bad."""

    def __init__(self, *seqs):
        self.seqs = set(seqs)

    @property
    def projection(self):
        return replace(TALLY, fold=self.fold)

    def fold(self, events, rows):
        if any(each["partition_seq"] in self.seqs for each in events):
            raise ValueError
        named = [{**each, "data": {}} for each in events]
        return TALLY.fold(named, rows)


@pytest.fixture
def make(store, monkeypatch):
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
    store.run("INSERT INTO tenants (id, name) VALUES (%s, 'ours')", OURS)

    def projector(bad, codec=CODEC, *, take=True):
        made = Projector(
            name="read-models", projections=(bad.projection,), database=store.database,
            codec=codec, root=Root(bytes(32)),
            ownership=Ownership(
                database=store.database, url=store.worker, owner="test", bootstrap_servers="",
                subscriptions=(TALLY.name,),
            ),
        )  # fmt: skip
        if take:
            made.take([(TOPIC, 0)], generation=1)
        return made

    return projector


def feed(projector, records):
    return projector.apply(TOPIC, 0, projector.prepare(TOPIC, 0, records))


def ask(store, action="retry"):
    with store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [OURS])
        heads = requests.heads(connection, Chosen())
    return requests.ask(store.database, heads, action, requested_by="tester", purpose="a test")


def ended(store):
    rows = store.rows("SELECT ended FROM dead_letter_requests ORDER BY requested_at, id")
    return [row["ended"] for row in rows]


def test_a_retry_decodes_what_was_kept_and_folds_it(store, make):
    bad = Bad(2)
    projector = make(bad)
    assert feed(projector, [got(n) for n in range(5)]) == 5
    assert applied(store) == [1]
    letters = Letters(processor=projector)
    assert letters.round() == 0
    bad.seqs.clear()
    ask(store)
    assert letters.round() == 1
    assert applied(store) == [1, 2, 3, 4, 5]
    assert letters.round() == 0
    assert ended(store) == ["done"]


def test_what_is_asked_is_done_on_a_partition_that_is_idle(store, make):
    bad = Bad(2)
    projector = make(bad)
    feed(projector, [got(n) for n in range(3)])
    bad.seqs.clear()
    letters, stop = Letters(processor=projector), threading.Event()
    thread = threading.Thread(target=letters.run, args=(stop,))
    thread.start()
    try:
        ask(store)
        deadline = time.monotonic() + WAIT_SECONDS
        while ended(store) != ["done"]:
            assert time.monotonic() < deadline, "nobody executes the request"
            stop.wait(0.05)
    finally:
        stop.set()
        thread.join(WAIT_SECONDS)
    assert applied(store) == [1, 2, 3]
    assert letters.failure is None


def test_an_event_whose_schema_only_the_registry_knows_waits_for_a_release_that_does(store, make):
    old = make(Bad())
    assert feed(old, [got(0), got(1, ours=False), got(2)]) == 3
    assert counts(store) == {"applied": 1, "dead": 1, "parked": 1}, "and no gap"
    ids = Ids.in_order()
    writer = Writer(schema_id=0xFFFF, record=RECORD, text=catalogue.text(RECORD))
    newer = make(Bad(), Codec(Ids(newest=ids.newest, older=(writer,))))
    ask(store)
    assert Letters(processor=newer).round() == 1
    assert applied(store) == [1, 2, 3]
    assert counts(store) == {"applied": 3}


def test_who_does_not_own_the_partition_leaves_the_request(store, make):
    bad = Bad(2)
    first = make(bad)
    feed(first, [got(n) for n in range(3)])
    make(bad)  # another process has taken it
    ask(store)
    assert Letters(processor=first).round() == 0
    assert Letters(processor=make(bad, take=False)).round() == 0
    assert ended(store) == [None]


def test_a_retry_that_cannot_be_executed_is_ended_with_what_happened(store, make):
    bad = Bad(2)
    projector = make(bad)
    feed(projector, [got(n) for n in range(3)])
    bad.seqs.clear()
    store.run("REVOKE SELECT ON patient_read_models FROM wt_worker")
    ask(store)
    assert Letters(processor=projector).round() == 1
    assert ended(store) == ["failed"]
    [row] = store.rows("SELECT said FROM dead_letter_requests")
    assert row["said"] == "InsufficientPrivilege"
    assert counts(store) == {"applied": 1, "dead": 1, "parked": 1}


@pytest.mark.parametrize(
    "error", [RegistryAway("away"), KeyServiceAway("away"), FailPoint("armed")]
)
def test_what_only_passes_ends_no_request(store, make, monkeypatch, error):
    def away(*_, **__):
        raise error

    projector = make(Bad(2))
    feed(projector, [got(n) for n in range(3)])
    ask(store)
    monkeypatch.setattr(parking, "execute", away)
    with pytest.raises(type(error)):
        Letters(processor=projector).round()
    assert ended(store) == [None]
