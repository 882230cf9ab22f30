"""What became of messages is counted by feed and type, as the role of apps sees it."""

from uuid import UUID, uuid4

import pytest

from sinks import outcomes, queries
from tests.sinks import inbound
from tests.sinks.paths import hour, insert
from tests.sinks.provisioned import FEED, OURS, THEIRS

pytestmark = pytest.mark.stack

OTHER = str(UUID(int=0xFEE2))
NO_VISIT = "no visit number: PV1-19 and PID-18 are empty"


def message(store, outcome, reason=None, *, feed=FEED, tenant=OURS, at=0, **given):
    insert(
        store, "messages", tenant_id=tenant, feed_id=feed, message_id=uuid4(), topic="t",
        partition=0, offset=1, received_at=hour(at), recorded_at=hour(at), outcome=outcome,
        reason=reason, mapper_version=1, events=1, body_sealed=b"x",
        **{"message_type": "ADT^A01", **given},
    )  # fmt: skip


@pytest.fixture
def found(store):
    for tenant, feeds in ((OURS, {"ours": FEED, "beside": OTHER}), (THEIRS, {"theirs": uuid4()})):
        insert(store, "tenants", id=tenant, name=tenant)
        for name, feed in feeds.items():
            insert(store, "feeds", id=feed, tenant_id=tenant, name=name)

    def ask(**wanted):
        with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
            return outcomes.outcomes(snapshot, **wanted)

    return ask


def test_messages_are_counted_by_feed_type_outcome_and_reason(store, found):
    message(store, "applied", duplicates=2)
    message(store, "applied", NO_VISIT, duplicates=1)
    message(store, "applied", "already one patient")
    for _ in range(2):
        message(store, "ignored", "no patient: there is no PID")
    message(store, "dead", "it can't be read")
    message(store, "ignored", "status of a bed: A20", message_type="ADT^A20", feed=OTHER)
    message(store, "applied", tenant=THEIRS)
    beside, ours = found()
    assert (beside.feed, beside.message_type, beside.messages) == ("beside", "ADT^A20", 1)
    assert (ours.feed, ours.message_type, ours.messages) == ("ours", "ADT^A01", 6)
    assert (ours.applied, ours.left_out, ours.ignored, ours.dead) == (3, 1, 2, 1)
    assert ours.duplicates == 3
    told = [(each.outcome, each.reason, each.count) for each in ours.reasons]
    assert told[0] == ("ignored", "no patient: there is no PID", 2)
    assert set(told[1:]) == {
        ("applied", NO_VISIT, 1), ("applied", "already one patient", 1),
        ("dead", "it can't be read", 1),
    }  # fmt: skip


def test_a_message_left_something_out_whatever_else_is_told_of_it(store, found):
    message(store, "applied", f"an observation that names nothing: OBX-3 is empty; {NO_VISIT}")
    message(store, "applied", "a document, which its message alone keeps")
    [one] = found()
    assert (one.applied, one.left_out) == (2, 1)


def test_one_feed_and_a_time_may_be_asked_for(store, found):
    message(store, "applied", at=1)
    message(store, "applied", at=3)
    message(store, "applied", feed=OTHER)
    assert [each.messages for each in found(feed="ours")] == [2]
    assert [each.messages for each in found(feed="ours", since=hour(2))] == [1]
    assert found(feed="theirs") == []


def test_the_newest_messages_are_counted_and_no_more_than_the_limit(store, found, monkeypatch):
    monkeypatch.setattr(outcomes, "MESSAGES_MAX", 2)
    for at, outcome in enumerate(("applied", "dead", "ignored")):
        message(store, outcome, at=at)
    [one] = found()
    assert (one.messages, one.applied) == (2, 0)


def test_a_message_that_comes_again_is_counted_with_itself(store):
    held = inbound.take(store, 0)
    inbound.append(store, held, [inbound.entry(0, number=1), inbound.entry(1, number=1)])
    inbound.append(store, held, [inbound.entry(2, number=2), inbound.entry(3, number=1)])
    rows = store.rows("SELECT duplicates FROM messages ORDER BY message_id")
    assert [row["duplicates"] for row in rows] == [2, 0]


def test_two_who_count_the_same_messages_do_not_stop_each_other(store):
    holds = {partition: inbound.take(store, partition) for partition in (0, 1)}
    first = [inbound.entry(n, number=n) for n in range(20)]
    inbound.append(store, holds[0], first)

    def again(partition, start, order):
        batch = [
            inbound.entry(start + place, number=number) for place, number in enumerate(order)
        ]  # fmt: skip
        inbound.append(store, holds[partition], batch)

    inbound.both(
        lambda: again(0, 20, list(range(20))), lambda: again(1, 0, list(reversed(range(20))))
    )
    rows = store.rows("SELECT DISTINCT duplicates FROM messages")
    assert [row["duplicates"] for row in rows] == [2]
