"""Rows that only rise: whatever order values come in, the greatest stands."""

import itertools
from datetime import UTC, datetime

import pytest

from sinks.changes import Raise
from sinks.database import for_tenants
from sinks.tables import feed_watermarks
from sinks.write import write
from tests.sinks.provisioned import FEED, OURS

pytestmark = pytest.mark.stack


def raised(hour, *, feed=FEED):
    row = {
        "tenant_id": OURS, "feed_id": feed, "partition": 0, "told": "adt",
        "clinical_at": datetime(2026, 3, 1, hour, tzinfo=UTC),
    }  # fmt: skip
    return Raise(feed_watermarks, row)


def test_the_greatest_value_stands_within_a_batch_and_over_batches(store):
    for order in itertools.permutations([8, 10, 9]):
        store.run("DELETE FROM feed_watermarks")
        for batch in ([raised(order[0]), raised(order[1])], [raised(order[2])]):
            with store.database.connection() as connection, connection.transaction():
                for_tenants(connection, [OURS])
                write(connection, batch)
        [row] = store.rows("SELECT clinical_at FROM feed_watermarks")
        assert row["clinical_at"].hour == 10, order


def test_a_column_too_many_or_missing_fails_when_the_value_is_made():
    with pytest.raises(ValueError, match="clinical_at"):
        Raise(feed_watermarks, {name: None for name in raised(8).row if name != "clinical_at"})
