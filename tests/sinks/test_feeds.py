"""Counts of refused messages: added up by hour, of each tenant alone, and gone in time."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from sinks import feeds
from sinks.feeds import HOURS_KEPT, Kind
from tests.sinks.provisioned import OURS, THEIRS
from tests.sinks.test_policies import filled

__all__ = ["filled"]
pytestmark = pytest.mark.stack

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
EDGE = NOW - timedelta(hours=HOURS_KEPT)


def counted(store, *hours, tenant=None, port=2575):
    kinds = {
        Kind(
            hour=hour, port=port, reason="sender", tenant_id=tenant and UUID(tenant),
            feed_id=None, sender_hmac=None,
        ): 1
        for hour in hours
    }  # fmt: skip
    feeds.count_refusals(store.database, kinds)


def hours(store):
    rows = store.rows("SELECT hour FROM intake_refusals WHERE port < 10000 ORDER BY hour")
    return [row["hour"] for row in rows]


def test_a_count_is_kept_to_the_hour_and_no_longer_whose_it_may_be(filled):
    filled.run("DELETE FROM intake_refusals")
    second = timedelta(seconds=1)
    for tenant in (OURS, THEIRS, None):
        counted(filled, EDGE - second, EDGE, tenant=tenant)
    assert feeds.forget_refusals(filled.database, NOW) == 3
    assert hours(filled) == [EDGE] * 3
    assert feeds.forget_refusals(filled.database, NOW) == 0
    assert feeds.forget_refusals(filled.database, NOW + second) == 3


def test_no_more_go_at_once_than_the_bound_and_the_oldest_first(filled, monkeypatch):
    filled.run("DELETE FROM intake_refusals")
    monkeypatch.setattr(feeds, "SWEPT_ROWS", 4)
    old = [EDGE - timedelta(hours=number) for number in range(1, 6)]
    counted(filled, *old)
    assert feeds.forget_refusals(filled.database, NOW) == 4
    assert hours(filled) == [old[0]]
    assert feeds.forget_refusals(filled.database, NOW) == 1


def test_who_sweeps_waits_for_nobody(filled):
    filled.run("DELETE FROM intake_refusals")
    counted(filled, EDGE - timedelta(hours=1), EDGE - timedelta(hours=2))
    other = filled.open()
    with other.connection() as connection, connection.transaction():
        connection.execute("SET LOCAL wt.tenants = '{}'")
        held = "SELECT id FROM intake_refusals WHERE tenant_id IS NULL ORDER BY hour LIMIT 1"
        connection.execute(f"{held} FOR UPDATE")
        assert feeds.forget_refusals(filled.database, NOW) == 1
    assert feeds.forget_refusals(filled.database, NOW) == 1
