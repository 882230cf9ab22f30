"""Questions over HTTP to a real database, as the role of apps: whose rows, and how long."""

import asyncio
import hashlib
import json
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ops.api import Api
from ops.keys import AccessKey, Ring
from ops.opening import Opener
from ops.posting import Posting
from ops.stack import ports
from sinks import queries
from sinks.database import DatabaseAway
from sinks.queries import NotMigrated
from sinks.reading import ALL, Readers
from tests.sinks.paths import alias, fact, insert, person, stay, visit
from tests.sinks.provisioned import OURS, THEIRS, made

pytestmark = pytest.mark.stack
AT = "2026-03-02T08:30:00Z"


@pytest.fixture
def store(stack):
    with made(stack) as one:
        yield one


@pytest.fixture
def readers(store):
    opened = Readers.open(store.app, name="test", size=2, seconds=10)
    yield opened
    opened.close()


@pytest.fixture
def get(readers):
    """One request as the holder of a tenant's key; the status and what was said."""
    return partial(answered, readers)


def answered(readers, path, tenant=OURS, accept="application/json"):
    ring = Ring(tuple(
        AccessKey(name=each, tenant_id=UUID(each), digest=_digest(each)) for each in (OURS, THEIRS)
    ))  # fmt: skip

    async def ask():
        app = web.Application()
        nobody: Any = None
        api = Api(
            ring, readers, queries, posting=Posting(nobody), opener=Opener(nobody)
        )  # fmt: skip
        app.add_subapp("/v1", api.app())
        headers = {"Authorization": f"Bearer {tenant}", "Accept": accept}
        async with TestClient(TestServer(app)) as client:
            answer = await client.get(path, headers=headers)
            text = await answer.text()
            return answer.status, text if "svg" in answer.content_type else json.loads(text)

    return asyncio.run(asyncio.wait_for(ask(), 60))


def _digest(token):
    return hashlib.sha256(token.encode()).digest()


def heard_of(store, number, tenant=OURS):
    insert(
        store, "streams", stream_id=visit(number), stream_type="admission", tenant_id=tenant,
        partition=0, version=1, recorded_at=AT,
    )  # fmt: skip


def places(answer):
    return [point["location"] for point in answer["points"]]


def test_each_question_is_answered_from_the_rows(store, get) -> None:
    heard_of(store, 1)
    event = fact(store, 1, "created", 0, place="W^2^B")
    stay(store, 1, "W^2^B", 0, 2, start_event_id=event)
    stay(store, 1, "W^2^B", 0, 2, track="physical")
    stay(store, 1, "ICU^1^A", 2)
    stay(store, 2, "W^2^C", 1, track="physical")
    insert(
        store, "timeline_events", id=uuid4(), tenant_id=OURS, admission_id=visit(1),
        event_type="admission.created", occurred_at=AT, data={}, partition=0, partition_seq=1,
    )  # fmt: skip

    status, here = get(f"/v1/where?admission={visit(1)}&at={AT}")
    assert (status, places(here)) == (200, ["W^2^B", "W^2^B"])
    assert {point["track"] for point in here["points"]} == {"census", "physical"}
    messages = store.rows("SELECT message_id::text AS id FROM trajectory_facts")
    assert here["points"][0]["message_id"] == messages[0]["id"]
    known = get(f"/v1/where?admission={visit(1)}&at={AT}&known_at=2026-03-02T07:00:00Z")
    assert places(known[1]) == []

    assert places(get(f"/v1/path?admission={visit(1)}&track=census")[1]) == ["W^2^B", "ICU^1^A"]
    assert places(get(f"/v1/census/W?at={AT}")[1]) == ["W^2^B"]
    (met,) = get(f"/v1/contacts/{visit(1)}?level=room")[1]["contacts"]
    assert (met["admission_id"], met["room"], met["seconds"]) == (str(visit(2)), "2", 3_600)

    whole = get(f"/v1/timeline/{visit(1)}")[1]
    assert len(whole["points"]) == 3
    assert [event["event_type"] for event in whole["events"]] == ["admission.created"]
    assert "W^2^B: in the bed" in get(f"/v1/timeline/{visit(1)}", accept="image/svg+xml")[1]


def test_a_patient_is_asked_for_under_any_alias(store, get) -> None:
    stay(store, 1, "W^1^A", 0)
    stay(store, 2, "ED^1^A", 0)
    alias(store, 1, 2, 0)
    for number in (1, 2):
        answer = get(f"/v1/where?patient={person(number)}&at={AT}")[1]
        assert sorted(places(answer)) == ["ED^1^A", "W^1^A"]


def test_a_key_shows_its_tenants_rows_and_no_others(store, get) -> None:
    heard_of(store, 1, THEIRS)
    stay(store, 1, "W^2^B", 0, tenant_id=THEIRS)
    stay(store, 1, "W^2^B", 0, track="physical", tenant_id=THEIRS)
    for question in ("where?admission={}", "path?admission={}", "contacts/{}", "timeline/{}"):
        path = "/v1/" + question.format(visit(1))
        # One pool serves both, in turn: a tenant ends with its transaction.
        assert [get(path, tenant)[0] for tenant in (THEIRS, OURS, THEIRS, OURS)] == [
            200, 404, 200, 404,
        ]  # fmt: skip
    for path in (f"/v1/where?patient={person(1)}", "/v1/census/W"):
        assert [len(get(path, tenant)[1]["points"]) for tenant in (THEIRS, OURS, THEIRS)] == [
            2 if "where" in path else 1, 0, 2 if "where" in path else 1,
        ]  # fmt: skip


def test_a_snapshot_can_not_write_and_leaves_no_tenant_behind(readers) -> None:
    for departments, listed, every in (
        (ALL, "{}", "on"), (frozenset(), "{}", ""), ({UUID(int=2)}, f"{{{UUID(int=2)}}}", ""),
    ):  # fmt: skip
        with readers.as_tenant(UUID(OURS), departments) as snapshot:
            shown = snapshot.execute(
                "SELECT current_setting('transaction_read_only') AS only,"
                " current_setting('wt.departments') AS listed,"
                " current_setting('wt.all_departments') AS every"
            )
            assert shown.fetchone() == {"only": "on", "listed": listed, "every": every}
    for _ in range(3):
        with readers.database.connection() as connection:
            row = connection.execute(
                "SELECT nullif(current_setting('wt.tenant', true), '') AS tenant,"
                " nullif(current_setting('wt.departments', true), '') AS departments,"
                " nullif(current_setting('wt.all_departments', true), '') AS every,"
                " current_setting('statement_timeout') AS timeout"
            ).fetchone()
            assert row == {"tenant": None, "departments": None, "every": None, "timeout": "1min"}


def test_a_statement_that_takes_too_long_is_given_up(store) -> None:
    hasty = Readers.open(store.app, name="test", size=1, seconds=1)
    try:
        with pytest.raises(DatabaseAway), hasty.as_tenant(UUID(OURS)) as snapshot:
            snapshot.execute("SELECT pg_sleep(30)")
        with hasty.as_tenant(UUID(OURS)) as snapshot:
            assert snapshot.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    finally:
        hasty.close()


def test_an_older_database_is_told_from_one_that_is_away(store, get, readers) -> None:
    store.run("DROP TABLE timeline_events")
    with pytest.raises(NotMigrated), readers.as_tenant(UUID(OURS)) as snapshot:
        queries.timeline(snapshot, visit(1))
    heard_of(store, 1)
    assert get(f"/v1/timeline/{visit(1)}")[0] == 503


def test_a_database_that_is_away_is_503() -> None:
    url = f"postgresql://wt_app:a@127.0.0.1:{ports.choose([])}/none"
    away = Readers.open(url, name="test", size=1, seconds=1)
    try:
        status, problem = answered(away, f"/v1/where?admission={visit(1)}")
    finally:
        away.close()
    assert (status, problem["status"]) == (503, 503)
    assert str(visit(1)) not in str(problem)
