"""What is looked through for an erasure is found by an index, however much there is beside it."""

import uuid

import psycopg
import pytest

from sinks import remains
from sinks.database import for_tenants
from tests.sinks.provisioned import OURS

pytestmark = pytest.mark.stack

FILL = """
INSERT INTO messages (tenant_id, feed_id, message_id, topic, partition, "offset", received_at,
    recorded_at, message_type, outcome, mapper_version, events, body_sealed)
SELECT %s, gen_random_uuid(), gen_random_uuid(), 'emr.hl7v2.v1', 0, n, now(), now(), 'ADT^A01',
       'applied', 1, CASE WHEN n %% 1000 = 0 THEN 0 ELSE 1 END, decode(repeat('00', 200), 'hex')
FROM generate_series(1, 20000) AS n
"""


def test_messages_that_became_no_events_are_found_without_reading_those_that_did(store):
    with psycopg.connect(store.admin, autocommit=True) as connection:
        connection.execute(FILL, (OURS,))
        connection.execute("ANALYZE messages")
    with store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [OURS])
        nobody = uuid.UUID(int=0)
        rows = connection.execute(
            f"EXPLAIN {remains._SILENT}", (OURS, nobody, nobody, remains.PAGE)
        ).fetchall()
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "idx_messages_silent" in plan, plan
    [page] = remains.silent(store.database, uuid.UUID(str(OURS)))
    assert len(page) == 20
