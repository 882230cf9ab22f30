"""Facts that are rebuilt: nobody is judged on half of them, and outcomes stay."""

import pytest
from psycopg.types.json import Jsonb

from schemas.clock import instant
from schemas.codec import Codec, Ids
from schemas.failpoints import FailPoint
from sinks.rebuild import Rebuilding
from sinks.stored import event_of
from sinks.tables.verification import FACTS as FACTS_TABLES
from streams import publications
from streams.verification.projection import PROJECTION
from tests.sinks.provisioned import OURS, event
from tests.streams.verification import told
from tests.streams.verification.cases import uid
from tests.streams.verification.told import Line

pytestmark = pytest.mark.stack

FACTS = [
    told.rule(), told.task(), told.evidence(), told.task("u", due="15:00"),
    told.merged("q", "p"), told.spoke("23:00"),
    told.rule("asking", order_codes=[{"system": "LN", "code": "24323-8"}]),
    told.order(starts="12:00"),
    told.decided("verified", {"tablet": 1}, order="o", rule="asking", due="12:00"),
]  # fmt: skip


@pytest.fixture
def line(store):
    return Line(store)


@pytest.fixture
def rebuilding(line):
    """A line that was told everything, and a rebuild of it out of the ledger."""
    for number, fact in enumerate(FACTS, start=1):
        line.store.run(INSERT, Jsonb(row(number, {**event(number), **fact})))
    line.tell(*FACTS)
    return Rebuilding(
        database=line.store.database, owner_url=line.store.migrate, decode=event_of,
        events=publications.clinical_events(Codec(Ids.in_order())).source,
    )  # fmt: skip


def row(number, happened):
    """The row of `events` that a fact would be."""
    envelope = ("correlation_id", "causation_id", "mapper_version", "trace")
    return {
        **{name: value for name, value in happened.items() if name not in envelope},
        "metadata": {name: happened[name] for name in envelope},
        "occurred_at": instant(happened["occurred_at"]).isoformat(),
        "recorded_at": instant(happened["recorded_at"]).isoformat(),
        "partition": 0, "partition_seq": number,
    }  # fmt: skip


def stored(line):
    names = [table.name for table in FACTS_TABLES if table.name != "verification_due"]
    return {
        name: line.store.rows(f"SELECT each::text FROM {name} AS each ORDER BY 1")
        for name in (*names, "emr_verifications", "verification_results")
    }


def test_rebuilt_facts_and_outcomes_are_those_that_stood(line, rebuilding):
    before = stored(line)
    assert line.outcomes() == {
        uid("t"): "verified", uid("u"): "refuted", told.asked_of("o", "asking"): "verified",
    }  # fmt: skip
    rebuilding.run(PROJECTION)
    line.settle()
    assert stored(line) == before
    assert line.store.rows("SELECT FROM verification_due") == []


def test_an_outcome_that_was_spoilt_is_judged_again(line, rebuilding):
    before = line.rows()
    line.store.run("DELETE FROM emr_verifications")
    rebuilding.run(PROJECTION)
    line.settle()
    assert line.rows() == before


def test_nobody_is_judged_while_facts_are_missing(line, rebuilding, armed):
    before = stored(line)
    armed("rebuild: begun=raise")
    with pytest.raises(FailPoint):
        rebuilding.run(PROJECTION)
    armed("")
    line.store.run(DUE, OURS, uid("p"))
    assert line.judge.round() == 0
    assert stored(line)["emr_verifications"] == before["emr_verifications"]
    assert stored(line)["verification_results"] == before["verification_results"]
    rebuilding.run(PROJECTION)
    line.settle()
    assert stored(line) == before


INSERT = """
INSERT INTO events (event_id, stream_id, stream_type, event_type, event_version, schema_version,
    tenant_id, feed_id, message_id, person_id, occurred_at, occurred_precision, occurred_field,
    occurred_text, recorded_at, partition, partition_seq, data, sealed, metadata, created_by)
SELECT event_id, stream_id, stream_type, event_type, event_version, schema_version,
    tenant_id, feed_id, message_id, person_id, occurred_at, occurred_precision, occurred_field,
    occurred_text, recorded_at, partition, partition_seq, data, sealed, metadata, created_by
FROM jsonb_populate_record(NULL::events, %s)
"""
DUE = """
INSERT INTO verification_due (tenant_id, due, due_id, partition, partition_seq)
VALUES (%s, 'patient', %s, 0, 1)
"""
