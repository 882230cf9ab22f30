"""Dead letters are counted by class and listed, all or those that fit, on a real database."""

from uuid import UUID, uuid4

import pytest

from sinks import letters, queries
from sinks.letters import Which
from tests.sinks.paths import hour, insert
from tests.sinks.provisioned import FEED, OURS, THEIRS

pytestmark = pytest.mark.stack

# Each with tenant, subscription, feed, cause, state; one is of nobody.
THERE = (
    (OURS, "ledger", FEED, "no_patient", "dead"),
    (OURS, "ledger", FEED, "no_patient", "dead"),
    (None, "ledger", None, "undecodable", "dead"),
    (OURS, "patients", FEED, "refused", "dead"),
    (OURS, "patients", FEED, "behind", "parked"),
    (THEIRS, "patients", None, "refused", "discarded"),
)


@pytest.fixture
def snapshot(store):
    """What an overseer sees of the letters above, written in this order, an hour each."""
    for tenant in (OURS, THEIRS):
        insert(store, "tenants", id=tenant, name=tenant)
    insert(store, "feeds", id=FEED, tenant_id=OURS, name="city")
    for number, (tenant, subscription, feed, cause, state) in enumerate(THERE):
        insert(
            store, "dead_letters", tenant_id=tenant, subscription_id=subscription, topic="t",
            partition=0, offset=number, stage="map", cause=cause, reason="why", state=state,
            feed_id=feed, record_sealed=b"sealed", created_at=hour(number),
        )  # fmt: skip
    with queries.as_overseer(store.worker) as snapshot:
        yield snapshot


@pytest.mark.parametrize(
    ("which", "offsets"),
    [
        (Which(), [5, 4, 3, 2, 1, 0]),
        (Which(tenant_id=UUID(OURS)), [4, 3, 1, 0]),
        (Which(state="parked"), [4]),
        (Which(subscription_id="ledger"), [2, 1, 0]),
        (Which(cause="refused"), [5, 3]),
        (Which(feed="city"), [4, 3, 1, 0]),
        (Which(feed="city", cause="refused", state="dead"), [3]),
        (Which(feed="elsewhere"), []),
    ],
)
def test_letters_that_fit_come_the_newest_first_and_are_all_counted(snapshot, which, offsets):
    assert [each.offset for each in letters.newest(snapshot, which, limit=10)] == offsets
    assert sum(each.letters for each in letters.counted(snapshot, which)) == len(offsets)


def test_each_class_is_counted_the_largest_first_with_its_first_and_last(snapshot):
    counted = letters.counted(snapshot, Which())
    assert [each.letters for each in counted] == [2, 1, 1, 1, 1]
    first = counted[0]
    assert (first.subscription_id, first.feed, first.stage, first.cause, first.state) == (
        "ledger", "city", "map", "no_patient", "dead",
    )  # fmt: skip
    assert (first.oldest_at, first.newest_at) == (hour(0), hour(1))
    assert None in {each.feed for each in counted}, "also those of nobody"


def test_both_have_their_bounds(snapshot, monkeypatch):
    assert len(letters.newest(snapshot, Which(), limit=2)) == 2
    monkeypatch.setattr(letters, "CLASSES_MAX", 2)
    assert len(letters.counted(snapshot, Which())) == 2


def test_a_tenants_letters_are_its_own(store, snapshot):
    with queries.as_tenant(store.app, UUID(THEIRS)) as theirs:
        assert [each.offset for each in letters.newest(theirs, Which(), limit=10)] == [5]
    with queries.as_tenant(store.app, uuid4()) as nobodys:
        assert letters.counted(nobodys, Which()) == []


def test_what_is_open_is_counted_by_feed_and_cause_of_each_state_some(snapshot):
    found = letters.still_open(snapshot, limit=10)
    assert {
        (each.state, each.subscription_id, each.tenant_id, each.feed, each.cause): each.letters
        for each in found
    } == {
        ("dead", "ledger", OURS, "city", "no_patient"): 2,
        ("dead", "ledger", None, None, "undecodable"): 1,
        ("dead", "patients", OURS, "city", "refused"): 1,
        ("parked", "patients", OURS, "city", "behind"): 1,
    }
    assert {each.state: each.of_state for each in found} == {"dead": 4, "parked": 1}
    few = letters.still_open(snapshot, limit=2)
    assert [(each.state, each.letters, each.of_state) for each in few] == [
        ("dead", 2, 4), ("parked", 1, 1),
    ]  # fmt: skip
