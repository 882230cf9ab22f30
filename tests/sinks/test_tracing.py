"""A message's way is found by its MSH-10, its id and its events', each a tenant's own, by index."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import psycopg
import pytest

from schemas.identity import app_feed
from sinks import queries, tracing
from sinks.tables import metadata
from tests.sinks.paths import PARTS, insert
from tests.sinks.provisioned import FEED, OURS, THEIRS

pytestmark = pytest.mark.stack

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CONTROL = UUID(int=0xC0)
PATIENT, SURVIVOR = str(UUID(int=0xF0)), str(UUID(int=0xF1))
# A year of a feed: two messages a minute, each of two events, two stays and a piece of evidence.
FILL = """
INSERT INTO messages (tenant_id, feed_id, message_id, topic, partition, "offset", received_at,
    recorded_at, message_type, outcome, mapper_version, events, body_sealed, control_hmac)
SELECT %(tenant)s, %(feed)s, lpad(to_hex(number), 32, '0')::uuid, 'emr.hl7v2.v1', 0, number,
       at, at, 'ADT^A01', 'applied', 1, 2, 'x', lpad(to_hex(number), 32, 'c')::uuid
FROM generate_series(1, %(messages)s) AS number,
     LATERAL (SELECT timestamptz '2026-01-01' + number * interval '30 s' AS at);
INSERT INTO events (event_id, stream_id, stream_type, event_type, event_version, schema_version,
    tenant_id, feed_id, message_id, occurred_at, occurred_precision, occurred_field, occurred_text,
    recorded_at, partition, partition_seq, data, metadata, created_by)
SELECT gen_random_uuid(), gen_random_uuid(), 'admission', 'admission.created', 1, 1, %(tenant)s,
       %(feed)s, message_id, recorded_at, 'second', 'EVN-6', '', recorded_at, 0,
       2 * "offset" + one, '{}', '{}', %(feed)s
FROM messages, generate_series(0, 1) AS one;
INSERT INTO trajectory_points (
    id, point_id, tenant_id, admission_id, patient_id, track, location, facility, building, floor,
    point_of_care, room, bed, effective_at, ended_at, known_from, start_inferred, end_inferred,
    start_field, start_event_id, fold_version, partition, partition_seq, data)
SELECT gen_random_uuid(), gen_random_uuid(), tenant_id, stream_id, stream_id, 'census', 'W', '', '',
       '', 'W', '', '', recorded_at, NULL, recorded_at, false, false, 'EVN-6', event_id, 1,
       partition, partition_seq, '{}'
FROM events;
INSERT INTO verification_evidence (evidence_id, tenant_id, event_id, feed_id, evidence_kind,
    evidence_state, codes, patient_id, performed_at, versions, recorded_at, partition,
    partition_seq)
SELECT stream_id, tenant_id, event_id, feed_id, 'observation', 'done', '[]', stream_id,
       recorded_at, 1, recorded_at, partition, partition_seq FROM events;
INSERT INTO emr_verifications (task_id, tenant_id, patient_id, status, reasons, evidence,
    discrepancies, decisions, vector_clock, result_id, revision, judged_at, partition)
SELECT gen_random_uuid(), tenant_id, patient_id, 'verified', '[]', '[]', '[]', '[]', '{}',
       gen_random_uuid(), 1, recorded_at, 0 FROM verification_evidence;
INSERT INTO dead_letters (tenant_id, subscription_id, topic, partition, "offset", event_id, stage,
    cause, reason, record_sealed)
SELECT tenant_id, 'patients', 'clinical.events.v1', 0, partition_seq, event_id, 'fold', 'refused',
       '', '' FROM events;
INSERT INTO verification_results (partition, partition_seq, tenant_id, task_id, revision, result_id,
    result, judged_at)
SELECT 0, row_number() OVER (), tenant_id, task_id, 1, result_id, '{}', judged_at
FROM emr_verifications;
INSERT INTO verification_orders (order_id, tenant_id, version, patient_id, state, codes, said,
    recorded_at, partition, partition_seq)
SELECT evidence_id, tenant_id, 1, patient_id, 'placed', '[]', '{}', recorded_at, 0, 1
FROM verification_evidence;
INSERT INTO verification_tasks (task_id, tenant_id, version, patient_id, order_id, cancelled,
    status_said, recorded_at, partition, partition_seq)
SELECT task_id, tenant_id, 1, patient_id, patient_id, false, '[]', judged_at, 0, 1
FROM emr_verifications;
INSERT INTO patient_aliases (tenant_id, patient_id, into_patient_id, event_id, kind, recorded_at)
SELECT tenant_id, patient_id, gen_random_uuid(), event_id, 'merge', recorded_at
FROM verification_evidence;
INSERT INTO command_results (tenant_id, command_id, command_type, stream_type, stream_id, outcome,
    version, events, recorded_at, partition, partition_seq)
SELECT tenant_id, message_id, 'task.create', 'task', message_id, 'accepted', 1, 0, recorded_at, 0,
       "offset" FROM messages;
"""
FEW = frozenset({"feeds", "tasks", "subscriptions"})  # not filled: what is small is read whole


def message(store, *, number=1, tenant=OURS, feed=FEED, events=0, **given) -> UUID:
    """A row of `messages`; its id."""
    message_id = given.pop("message_id", UUID(int=0x4D0000 + number))
    insert(
        store, "messages", tenant_id=tenant, feed_id=feed, message_id=message_id, topic="t",
        partition=0, offset=number, outcome="applied", mapper_version=1,
        events=events, body_sealed=b"x", message_type="ADT^A01",
        **{"received_at": START, "recorded_at": START, "control_hmac": CONTROL, **given},
    )  # fmt: skip
    return message_id


def event(store, message_id, seq, *, tenant=OURS, at=START, **given) -> str:
    event_id = str(uuid4())
    insert(
        store, "events", event_id=event_id, event_version=1, schema_version=1, tenant_id=tenant,
        feed_id=FEED, message_id=message_id, person_id=PATIENT, occurred_at=START,
        occurred_precision="second", occurred_field="EVN-6", occurred_text="", recorded_at=at,
        partition=0, partition_seq=seq, data={}, metadata={"mapper_version": 3}, created_by=FEED,
        **{"stream_id": uuid4(), "stream_type": "admission", "event_type": "admission.created",
           **given},
    )  # fmt: skip
    return event_id


@pytest.fixture
def ask(store):
    """Asks as the role of apps, for a tenant."""
    for tenant, feed in ((OURS, FEED), (THEIRS, uuid4())):
        insert(store, "tenants", id=tenant, name=tenant)
        insert(store, "feeds", id=feed, tenant_id=tenant, name="one")

    def asked(question, *given, tenant=OURS):
        with queries.as_tenant(store.app, UUID(tenant)) as snapshot:
            return question(snapshot, *given)

    return asked


def by_id(ask, asked, tenant=OURS):
    return ask(tracing.by_id, UUID(tenant), UUID(str(asked)), tenant=tenant)


def test_messages_of_an_msh_10_come_the_newest_first_and_bounded(store, ask, monkeypatch):
    for number in range(1, 5):
        message(store, number=number, received_at=START + number * SECOND)
    message(store, number=9, control_hmac=uuid4())
    hashes = [CONTROL, uuid4()]
    found = ask(tracing.by_control, UUID(OURS), hashes)
    assert [each.offset for each in found] == [4, 3, 2, 1]
    monkeypatch.setattr(tracing, "MESSAGES_MAX", 2)
    assert len(ask(tracing.by_control, UUID(OURS), hashes)) == 3, "one more says that there is"
    assert ask(tracing.by_control, UUID(OURS), []) == []


def test_a_message_is_found_by_its_id_and_by_any_of_its_events(store, ask):
    named = message(store, events=1)
    of_an_app = message(store, number=2, feed=app_feed(UUID(OURS)), message_id=uuid4())
    happened = event(store, named, 1)
    assert [each.message_id for each in by_id(ask, named)] == [str(named)]
    assert [each.message_id for each in by_id(ask, happened)] == [str(named)]
    assert [each.message_id for each in by_id(ask, of_an_app)] == [str(of_an_app)]
    assert by_id(ask, uuid4()) == []


def test_nobody_finds_another_tenants_message(store, ask):
    named = message(store, events=1)
    happened = event(store, named, 1)
    for asked in (named, happened):
        assert by_id(ask, asked, THEIRS) == []
        assert ask(tracing.by_id, UUID(OURS), UUID(str(asked)), tenant=THEIRS) == []
    assert ask(tracing.by_control, UUID(OURS), [CONTROL], tenant=THEIRS) == []
    [found] = by_id(ask, named)
    assert ask(tracing.events, found, tenant=THEIRS) == []


@pytest.mark.parametrize("late", [timedelta(0), tracing.NEAR, tracing.NEAR + SECOND / 1000])
def test_events_are_found_however_much_later_their_stream_was(store, ask, late):
    named = message(store, events=2)
    first, second = event(store, named, 1), event(store, named, 2, at=START + late)
    event(store, uuid4(), 3)
    [found] = by_id(ask, named)
    told = ask(tracing.events, found)
    assert [each.event_id for each in told] == [first, second]
    assert (told[0].mapper_version, told[0].person_id) == (3, PATIENT)


def test_events_are_bounded_with_one_more_where_there_are_more(store, ask, monkeypatch):
    monkeypatch.setattr(tracing, "EVENTS_MAX", 2)
    named = message(store, events=4)
    for seq in range(1, 5):
        event(store, named, seq)
    [found] = by_id(ask, named)
    assert len(ask(tracing.events, found)) == 3


def test_letters_are_those_of_the_record_and_of_the_events(store, ask):
    named = message(store, number=7, events=1)
    happened = event(store, named, 1)
    letter = {"tenant_id": OURS, "stage": "map", "reason": "r", "record_sealed": b""}
    place = {"topic": "t", "partition": 0}
    for number, (subscription, offset, given) in enumerate(
        (
            ("ledger", 7, {}),
            ("patients", 1, {"event_id": happened}),
            ("ledger", 8, {}),
            ("patients", 7, {}),
        )
    ):
        insert(
            store, "dead_letters", subscription_id=subscription, offset=offset, cause=str(number),
            **letter, **place, **given,
        )  # fmt: skip
    [found] = by_id(ask, named)
    told = ask(tracing.letters, found, ask(tracing.events, found))
    assert sorted(each.cause for each in told) == ["0", "1"]


def test_points_are_those_that_folding_the_events_wrote(store, ask):
    named = message(store, events=1)
    event(store, named, 5)
    for seq in (4, 5):
        insert(
            store, "trajectory_points", id=uuid4(), point_id=UUID(int=seq), tenant_id=OURS,
            admission_id=uuid4(), patient_id=PATIENT, track="census", location="ED^1",
            **dict.fromkeys(PARTS, ""), effective_at=START, known_from=START, start_inferred=False,
            end_inferred=False, start_field="EVN-6", start_event_id=uuid4(), fold_version=1,
            partition=0, partition_seq=seq, data={},
        )  # fmt: skip
    [found] = by_id(ask, named)
    told = ask(tracing.points, ask(tracing.events, found))
    assert [UUID(each.point_id).int for each in told] == [5]
    assert ask(tracing.points, []) == []


def verdict(store, task, *, evidence=(), patient=SURVIVOR) -> None:
    insert(
        store, "emr_verifications", task_id=task, tenant_id=OURS, patient_id=patient,
        status="verified", reasons={}, discrepancies={}, decisions={}, vector_clock={},
        evidence=psycopg.types.json.Jsonb([{"evidence_id": each} for each in evidence]),
        result_id=uuid4(), revision=2, judged_at=START, partition=0,
    )  # fmt: skip


def test_verdicts_are_those_of_told_tasks_and_those_that_the_evidence_counts_for(store, ask):
    told, task, beside = str(uuid4()), uuid4(), uuid4()
    named = message(store, events=2)
    first = event(store, named, 1, stream_id=told, stream_type="evidence")
    event(store, named, 2, stream_id=task, stream_type="task")
    insert(
        store, "verification_evidence", evidence_id=told, tenant_id=OURS, event_id=first,
        feed_id=FEED, evidence_kind="observation", evidence_state="done", codes={},
        patient_id=PATIENT, performed_at=START, versions=1, recorded_at=START, partition=0,
        partition_seq=1,
    )  # fmt: skip
    insert(
        store, "patient_aliases", tenant_id=OURS, patient_id=PATIENT, into_patient_id=SURVIVOR,
        event_id=uuid4(), kind="merge", recorded_at=START,
    )  # fmt: skip
    verdict(store, beside, evidence=[told])  # of who the patient is since
    verdict(store, task)
    verdict(store, uuid4(), evidence=[str(uuid4())])
    insert(
        store, "verification_results", partition=0, partition_seq=8, tenant_id=OURS,
        task_id=beside, revision=2, result_id=uuid4(), result={}, judged_at=START,
    )  # fmt: skip
    [found] = by_id(ask, named)
    events = ask(tracing.events, found)
    [evidence] = ask(tracing.evidence, events)
    assert (evidence.evidence_id, evidence.kind, evidence.event_id) == (told, "observation", first)
    known = {each.task_id: each.partition_seq for each in ask(tracing.verdicts, events)}
    assert known == {str(beside): 8, str(task): None}


def test_what_became_of_a_command_is_found_by_its_message(store, ask):
    named = message(store, feed=app_feed(UUID(OURS)), message_id=uuid4())
    [found] = by_id(ask, named)
    assert ask(tracing.decided, found) is None
    insert(
        store, "command_results", tenant_id=OURS, command_id=named, command_type="task.create",
        stream_type="task", stream_id=uuid4(), outcome="rejected", rule="exists", said="it is",
        version=1, events=0, recorded_at=START, partition=0, partition_seq=4,
    )  # fmt: skip
    told = ask(tracing.decided, found)
    assert (told.outcome, told.rule, told.partition_seq) == ("rejected", "exists", 4)


class Explained:
    """A snapshot that keeps the plan of whatever it is asked."""

    def __init__(self, snapshot) -> None:
        self.snapshot, self.plans = snapshot, []

    def execute(self, statement, values=None):
        text = statement if isinstance(statement, str) else statement.as_string(self.snapshot)
        rows = self.snapshot.execute(f"EXPLAIN {text}", values)
        self.plans.append("\n".join(row["QUERY PLAN"] for row in rows))
        return self.snapshot.execute(statement, values)


def asked_everything(store, number: int) -> list[str]:
    """The plans of all questions about a message of many, as the role of apps."""
    with queries.as_tenant(store.app, UUID(OURS)) as snapshot:
        explained = Explained(snapshot)
        [found] = tracing.by_control(explained, UUID(OURS), [UUID(f"{number:x}".rjust(32, "c"))])
        assert tracing.by_id(explained, UUID(OURS), UUID(int=number)) == [found]
        events = tracing.events(explained, found)
        assert len(events) == 2
        told = [replace(events[0], stream_type=kind) for kind in ("evidence", "order", "task")]
        assert len(tracing.letters(explained, found, events)) == 2
        assert len(tracing.points(explained, events)) == 2
        assert len(tracing.evidence(explained, told)) == 1
        assert len(tracing.verdicts(explained, told)) == 1
        assert tracing.decided(explained, found) is not None
        return explained.plans


def filled(store, messages: int) -> None:
    with psycopg.connect(store.admin, autocommit=True, cursor_factory=psycopg.ClientCursor) as one:
        one.execute(FILL, {"tenant": OURS, "feed": FEED, "messages": messages})
        one.execute("ANALYZE")


def test_no_question_reads_a_table_of_10000_messages_from_end_to_end(store, ask):
    filled(store, 10_000)
    plans = asked_everything(store, 5_000)
    assert len(plans) == 8
    tables = metadata.tables.keys() - FEW
    scans = [plan for plan in plans if any(f"Seq Scan on {each} " in plan for each in tables)]
    assert not scans, scans[0]
    assert "idx_messages_control" in plans[0]
    assert "pk_messages" in plans[1]
    assert "idx_events_tenant" in plans[2]


def test_a_plan_without_the_index_is_seen(store, ask):
    filled(store, 10_000)
    with psycopg.connect(store.admin, autocommit=True) as connection:
        connection.execute("DROP INDEX idx_messages_control")
    assert "idx_messages_control" not in asked_everything(store, 5_000)[0]
