"""Rows as documents: what a column holds comes back as it went in, and faults are faults."""

import uuid
from datetime import UTC, datetime

import psycopg
import pytest

from sinks import write as writing
from sinks.changes import Append, Put
from sinks.database import DatabaseAway, Refused, for_tenants
from sinks.tables import messages, patient_read_models
from sinks.write import write
from tests.sinks.provisioned import FEED, OURS, THEIRS

pytestmark = pytest.mark.stack

AT = datetime(2026, 3, 1, 7, 0, 0, 123456, tzinfo=UTC)


def patient(number: int, *, tenant: str = OURS, data: object = None) -> dict:
    return {
        "id": str(uuid.UUID(int=number)), "tenant_id": tenant, "data": data or {"n": number},
        "partition": 0, "partition_seq": number, "created_at": AT, "updated_at": AT,
    }  # fmt: skip


def put(store, *rows: dict) -> int:
    with store.database.transaction() as connection:
        for_tenants(connection, [OURS])
        return write(connection, [Put(patient_read_models, row) for row in rows])


def names(store) -> list[int]:
    return [row["n"] for row in store.rows(
        "SELECT (data ->> 'n')::int AS n FROM patient_read_models ORDER BY n"
    )]  # fmt: skip


@pytest.mark.parametrize("rows_max", [1, 3, 100])
def test_rows_are_written_however_many_a_document_holds(store, rows_max, monkeypatch):
    monkeypatch.setattr(writing, "ROWS_MAX", rows_max)
    assert put(store, *map(patient, range(1, 8))) == 7
    assert names(store) == list(range(1, 8))


def test_bytes_times_and_documents_come_back_as_they_went_in(store):
    text = 'q"\\u0041\\\n\t é 病 \U0001f600'
    data = {"n": 2**63 - 1, "text": text, "x": [None, True, {"": ""}, 0.1]}
    put(store, patient(1, data=data))
    [found] = store.rows("SELECT data, created_at FROM patient_read_models")
    assert found == {"data": data, "created_at": AT}
    message = {
        "tenant_id": OURS, "feed_id": FEED, "message_id": str(uuid.UUID(int=3)), "topic": text,
        "partition": 1, "offset": 2**62, "received_at": AT, "recorded_at": AT,
        "message_type": "ADT^A01", "outcome": "dead", "reason": None, "mapper_version": 1,
        "events": 0, "body_sealed": bytes(range(256)), "control_hmac": None, "duplicates": 0,
        "cause": None,
    }  # fmt: skip
    with store.database.transaction() as connection:
        for_tenants(connection, [OURS])
        write(connection, [Append(messages, message)])
    [found] = store.rows("SELECT * FROM messages")
    assert {name: str(value) if isinstance(value, uuid.UUID) else value
            for name, value in found.items()} == message  # fmt: skip


def test_a_row_of_another_tenant_is_refused_though_nobody_waited_for_its_answer(store):
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        put(store, patient(1), patient(2, tenant=THEIRS))
    assert names(store) == []
    assert put(store, patient(3)) == 1  # by the same connections
    assert names(store) == [3]


def test_what_a_constraint_refuses_is_told_at_the_end_of_the_transaction(store):
    with pytest.raises(Refused, match="23502"):
        put(store, patient(1), {**patient(2), "partition_seq": None})
    assert names(store) == []


def test_a_text_that_no_column_can_hold_is_the_rows_fault(store):
    with pytest.raises(Refused, match="22"):
        put(store, patient(1, data={"n": 1, "text": "\x00"}))


def test_what_no_column_holds_is_named_by_its_type_alone(store):
    odd = {"who": {"Rook"}}
    with pytest.raises(TypeError, match=r"not JSON serializable: set$"):
        put(store, patient(1, data=odd))


def test_a_connection_that_died_a_moment_ago_is_away_once_and_then_another_one(store):
    database = store.open(size=1)
    with database.connection() as connection:
        connection.execute("SELECT 1")
    store.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'wardtrail test' AND datname = current_database()"
    )
    with pytest.raises(DatabaseAway), database.transaction() as connection:
        connection.execute("SELECT 1").fetchall()
    with database.transaction() as connection:
        assert connection.execute("SELECT 1 AS one").fetchall() == [{"one": 1}]


def test_statements_are_one_transaction_whenever_their_answers_come(store):
    def fail_late() -> None:
        with store.database.transaction() as connection:
            for_tenants(connection, [OURS])
            write(connection, [Put(patient_read_models, patient(1))])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_late()
    assert names(store) == []
