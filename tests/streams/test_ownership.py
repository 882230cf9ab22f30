"""Which partitions a process holds, and the sinks' errors in the transport's words."""

import pytest
from confluent_kafka.admin import AdminClient

from schemas.failpoints import FailPoint
from sinks import subscriptions
from sinks.breaker import BreakerOpen
from sinks.database import DatabaseAway
from sinks.transaction import Gap, TypeUnknown
from streams import log, ports
from streams.ownership import Ownership, told
from tests.sinks.provisioned import apply, counts, records
from tests.topics import make_topic

pytestmark = pytest.mark.stack

TOPIC = "clinical.events.v1"
PLACES = [(TOPIC, 0), (TOPIC, 1)]


@pytest.fixture
def ownership(store, monkeypatch):
    """Two subscriptions' ownership; the topic's id is what the test says."""
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
    return Ownership(
        database=store.database, url=store.worker, subscriptions=("tally", "other"),
        bootstrap_servers="", owner="test",
    )  # fmt: skip


def epochs(store, name="tally"):
    return [store.subscription(name, partition)["epoch"] for _, partition in PLACES]


def test_an_epoch_is_raised_once_per_generation(store, ownership):
    assert ownership.take(PLACES, generation=1) == {(TOPIC, 0): 0, (TOPIC, 1): 0}
    ownership.take(PLACES, generation=1)
    assert epochs(store) == epochs(store, "other") == [1, 1]
    ownership.take(PLACES[:1], generation=2)
    assert epochs(store) == [2, 1]


def test_nothing_to_take_asks_nobody(ownership, monkeypatch):
    monkeypatch.setattr(log, "topic_ids", None)
    assert ownership.take([], generation=1) == {}


def test_the_lowest_position_of_the_subscriptions_is_where_to_read(store, ownership):
    ownership.take(PLACES, generation=1)
    apply(store, ownership.held("tally", TOPIC, 0), records(0, 9))
    assert ownership.take(PLACES, generation=2) == {(TOPIC, 0): 0, (TOPIC, 1): 0}
    subscriptions.skip(store.database, ownership.held("other", TOPIC, 0), upto=4)
    assert ownership.take(PLACES, generation=3)[TOPIC, 0] == 4


def test_work_under_an_older_epoch_is_stale_and_the_next_take_raises_it_again(store, ownership):
    ownership.take(PLACES, generation=1)
    store.take("tally")
    with pytest.raises(ports.Stale), ownership.holding("tally", TOPIC, 0) as held:
        apply(store, held, records(0, 4))
    ownership.take(PLACES, generation=1)
    assert (epochs(store), epochs(store, "other")) == ([3, 1], [1, 1])
    with ownership.holding("tally", TOPIC, 0) as held:
        assert apply(store, held, records(0, 4)) == 5


def test_a_partition_that_was_never_taken_is_stale(ownership):
    with pytest.raises(ports.Stale, match="not taken"), ownership.holding("tally", TOPIC, 3):
        pass


def test_a_skip_counts_for_every_subscription(store, ownership):
    ownership.take(PLACES, generation=1)
    apply(store, ownership.held("tally", TOPIC, 0), records(0, 1))
    assert ownership.skip(TOPIC, 0, upto=3) == 3
    assert counts(store) == {"applied": 2, "no_record": 1}
    assert counts(store, "other") == {"no_record": 3}


def test_another_topic_of_the_same_name_is_a_broken_invariant(ownership, monkeypatch):
    ownership.take(PLACES, generation=1)
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-2"))
    with pytest.raises(ports.Broken, match="deleted and made again"):
        ownership.take(PLACES, generation=2)


@pytest.mark.parametrize(
    ("raised", "heard"),
    [
        (subscriptions.Stale("x"), ports.Stale),
        (subscriptions.Hole("x", expected=3, found=5), ports.Hole),
        (subscriptions.TopicReplaced("x"), ports.Broken),
        (DatabaseAway("x"), ports.Transient),
        (log.BrokerAway("x"), ports.Transient),
        (KeyError("x"), KeyError),
    ],
)
def test_each_error_of_the_sinks_has_its_word(raised, heard):
    with pytest.raises(heard), told():
        raise raised


def test_a_hole_tells_the_offset_that_is_wanted():
    with pytest.raises(ports.Hole) as hole, told():
        raise subscriptions.Hole("x", expected=3, found=5)
    assert hole.value.expected == 3


def test_a_topic_made_again_has_another_id_and_a_missing_one_is_told(stack):
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    ids = []
    for _ in range(2):
        make_topic(stack.bootstrap_servers, "again", 1)
        ids += [log.topic_ids(stack.bootstrap_servers, ["again"])["again"] for _ in range(2)]
        admin.delete_topics(["again"], operation_timeout=10)["again"].result(10)
        while "again" in admin.list_topics(timeout=10).topics:
            pass
    assert ids[0] == ids[1] != ids[2] == ids[3]
    with pytest.raises(log.TopicMissing):
        log.topic_ids(stack.bootstrap_servers, ["again"])


def test_brokers_that_do_not_answer_are_away(monkeypatch):
    monkeypatch.setattr(log, "REPLY_SECONDS", 0.5)
    with pytest.raises(log.BrokerAway):
        log.topic_ids("127.0.0.1:1", ["any"])
    with pytest.raises(log.BrokerAway):
        log.last_records("127.0.0.1:1", "any", 0)


def note(store, name="tally"):
    row = store.subscription(name)
    return row["stopped"], row["stopped_said"]


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (BreakerOpen("tally stops: said"), "breaker", "tally stops: said"),
        (Gap("expected 1, got: 2"), "gap", "expected 1, got: 2"),
        (TypeUnknown("type: x"), "type_unknown", "type: x"),
        (KeyError("CANARY"), "failed", f"tally {TOPIC}/0 stops"),
    ],
)
def test_what_stops_a_partition_is_noted_until_it_moves(store, ownership, error, kind, said):
    ownership.take(PLACES, generation=1)
    with pytest.raises(type(error)), ownership.holding("tally", TOPIC, 0):
        raise error
    assert note(store)[0] == kind
    assert said in note(store)[1]
    assert "CANARY" not in note(store)[1]
    assert note(store, "other") == (None, None)
    since = store.subscription("tally")["stopped_at"]
    with pytest.raises(type(error)), ownership.holding("tally", TOPIC, 0):
        raise error
    assert store.subscription("tally")["stopped_at"] == since, "it never went on between"
    with ownership.holding("tally", TOPIC, 0) as held:
        apply(store, held, records(0, 1))
    assert note(store) == (None, None)


def test_a_new_owner_takes_the_note_away_and_an_old_one_writes_none(store, ownership):
    ownership.take(PLACES, generation=1)
    with pytest.raises(KeyError), ownership.holding("tally", TOPIC, 0):
        raise KeyError
    store.take("tally")
    assert note(store) == (None, None)
    with pytest.raises(KeyError), ownership.holding("tally", TOPIC, 0):
        raise KeyError
    assert note(store) == (None, None)


@pytest.mark.parametrize("error", [DatabaseAway("away"), FailPoint("here"), ports.Broken("it")])
def test_what_passes_or_ends_the_process_stops_no_partition(store, ownership, error):
    ownership.take(PLACES, generation=1)
    with pytest.raises(Exception), ownership.holding("tally", TOPIC, 0):  # noqa: B017, PT011  in other words
        raise error
    assert note(store) == (None, None)
