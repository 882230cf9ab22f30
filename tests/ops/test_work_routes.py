"""People, work and outcomes over HTTP to a real database: whose, opened for whom, page by page."""

import asyncio
import json
from base64 import urlsafe_b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from psycopg.types.json import Jsonb

from ops import keys as ring
from ops.api import Api
from ops.keys import AccessKey, Ring
from ops.openapi import document
from ops.opening import Opener
from ops.posting import Posting
from ops.questions import ROUTES
from schemas import sealing
from schemas.sealing import Key, Keys, Scope
from sinks import queries
from sinks.reading import ALL, Readers
from tests.sinks import paths
from tests.sinks.provisioned import OURS, THEIRS, Store, made

pytestmark = pytest.mark.stack
AT = "2026-03-02T10:00:00Z"
ED, ICU = UUID(int=0xED), UUID(int=0x1C)
PATIENT = UUID(int=7)
KEYS = Keys(
    tenant_id=UUID(OURS), identity=bytes(32),
    data={1: Key.of(bytes(range(32)), version=1, scope=Scope.TENANT)},
)  # fmt: skip
DESCRIBED = document(ROUTES, version="1")
WHOLE = AccessKey(
    name="whole", tenant_id=UUID(OURS), digest=ring._digest("whole"), departments=ALL, phi=True
)
HOLDERS = (
    WHOLE,
    replace(WHOLE, name="closed", digest=ring._digest("closed"), phi=False),
    replace(WHOLE, name="ed", digest=ring._digest("ed"), departments=frozenset({ED})),
    replace(WHOLE, name="none", digest=ring._digest("none"), departments=frozenset()),
    replace(WHOLE, name="theirs", digest=ring._digest("theirs"), tenant_id=UUID(THEIRS)),
)  # fmt: skip


@pytest.fixture(scope="module")
def store(stack):
    with made(stack) as one:
        yield one


@pytest.fixture(scope="module")
def readers(store):
    opened = Readers.open(store.app, name="test", size=4, seconds=10)
    yield opened
    opened.close()


@pytest.fixture(autouse=True)
def empty(store):
    for table in ("tasks", "handovers", "departments", "users", "shifts", "emr_verifications",
                  "verification_results", "verification_due", "subscriptions",
                  "flightplan_read_models"):  # fmt: skip
        store.run(f"DELETE FROM {table}")


@pytest.fixture
def get(readers):
    def ask(path: str, token: str = "whole") -> tuple[int, Any]:
        return asyncio.run(asyncio.wait_for(answered(readers, path, token), 60))

    return ask


async def answered(readers: Readers, path: str, token: str) -> tuple[int, Any]:
    nobody: Any = None
    api = Api(
        Ring(HOLDERS), readers, queries, posting=Posting(nobody), opener=Opener(lambda _: KEYS)
    )
    app = web.Application()
    app.add_subapp("/v1", api.app())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get(path, headers={"Authorization": f"Bearer {token}"})
        return answer.status, json.loads(await answer.text())


def conforms(path: str, answer: Any) -> None:
    answers = DESCRIBED["paths"][path]["get"]["responses"]
    schema = answers["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DESCRIBED["components"]}).validate(answer)


def sealed(text: str, whose: UUID, field: str) -> bytes:
    return sealing.seal(
        orjson.dumps(text), KEYS.data[1], tenant=KEYS.tenant_id, person=whose,
        record=uuid4(), field=field,
    )  # fmt: skip


def insert(store: Store, table: str, **row: Any) -> None:
    """A row whose lists are JSON."""
    json_of = {name: Jsonb(each) for name, each in row.items() if isinstance(each, list)}
    paths.insert(store, table, **{**row, **json_of})


def lived(number: int, seq: int, **given: Any) -> dict[str, Any]:
    return {
        "id": UUID(int=number), "tenant_id": OURS, "created_by": uuid4(), "created_at": AT,
        "updated_at": AT, "deleted_at": None, "version": 1, "partition": 0, "partition_seq": seq,
        **given,
    }  # fmt: skip


def shared() -> dict[str, Any]:
    return {
        "vector_clock": {"tablet": 1}, "hlc_micros": 1, "hlc_counter": 0, "registers": {},
        "conflicts": {},
    }  # fmt: skip


def task(store: Store, number: int, department: UUID = ED, **given: Any) -> None:
    row = {
        "patient_id": PATIENT, "department_id": department, "priority": "normal",
        "status": "pending", "title": sealed(f"task {number}", PATIENT, "title"), **shared(),
    }  # fmt: skip
    insert(store, "tasks", **{**lived(number, number), **row, **given})


def outcome(store: Store, number: int, seq: int, **given: Any) -> None:
    row = {
        "task_id": UUID(int=number), "tenant_id": OURS, "patient_id": PATIENT,
        "status": "pending", "reasons": ["absent"], "evidence": [], "discrepancies": [],
        "decisions": [], "vector_clock": {}, "result_id": uuid4(), "revision": 1,
        "judged_at": AT, "partition": 0,
    }  # fmt: skip
    insert(store, "emr_verifications", **{**row, **given})
    insert(
        store, "verification_results", partition=0, partition_seq=seq, tenant_id=OURS,
        task_id=UUID(int=number), revision=1, result_id=uuid4(), result={}, judged_at=AT,
    )  # fmt: skip


def folded(store: Store, name: str, position: int) -> None:
    insert(
        store, "subscriptions", subscription_id=name, topic="clinical.events.v1", partition=0,
        last_position=position,
    )  # fmt: skip


def test_sealed_texts_are_opened_for_who_may_see_them_and_null_for_others(store, get) -> None:
    whose = UUID(int=3)
    sibling = sealing.text(sealed("the other title", PATIENT, "title"))
    clock = {"tablet": 1}
    task(
        store, 1, description=sealed("how", PATIENT, "description"), status="cancelled",
        cancel_reason=sealed("why", PATIENT, "reason"), deleted_at=AT,
        conflicts={"title": [{"value": sibling, "clock": clock}], "priority": [{"value": "high"}]},
    )  # fmt: skip
    insert(
        store, "departments", **lived(3, 1), code="ED", name=sealed("Ward", whose, "name"),
        is_active=True,
    )  # fmt: skip
    insert(
        store, "users", **lived(3, 1), name=sealed("Ann", whose, "name"), role="nurse",
        email=sealed("a@b", whose, "email"), is_active=True,
    )  # fmt: skip
    insert(
        store, "handovers", **lived(4, 1), from_shift_id=uuid4(), to_shift_id=uuid4(),
        department_id=ED, status="initiated", summary=sealed("all well", UUID(int=4), "summary"),
        task_ids=[], initiated_by=uuid4(), initiated_at=AT, **shared(),
    )  # fmt: skip
    (open_task,) = get("/v1/tasks")[1]["tasks"]
    assert [open_task[name] for name in ("title", "description", "cancel_reason")] == [
        "task 1", "how", "why",
    ]  # fmt: skip
    assert open_task["conflicts"] == {
        "title": [{"value": "the other title", "clock": clock}], "priority": [{"value": "high"}],
    }  # fmt: skip
    (closed_task,) = get("/v1/tasks", "closed")[1]["tasks"]
    assert [closed_task[name] for name in ("title", "description", "cancel_reason")] == [None] * 3
    assert closed_task["conflicts"]["title"] == [{"value": None, "clock": clock}]
    assert get("/v1/departments")[1]["departments"][0]["name"] == "Ward"
    (user,) = get("/v1/users")[1]["users"]
    assert (user["name"], user["email"]) == ("Ann", "a@b")
    assert get("/v1/handovers")[1]["handovers"][0]["summary"] == "all well"
    for name in ("tasks", "departments", "users", "handovers"):
        for token in ("whole", "closed"):
            conforms(f"/v1/{name}", get(f"/v1/{name}", token)[1])


def test_a_flight_plan_is_opened_with_its_items(store, get) -> None:
    def told(text: str, field: str) -> str:
        return sealing.text(sealed(text, PATIENT, field))

    insert(
        store, "flightplan_read_models", id=UUID(int=1), tenant_id=OURS, admission_id=uuid4(),
        created_at=AT, updated_at=AT, partition=0, partition_seq=1,
        data={
            "patient_id": str(PATIENT), "title": told("home", "title"), "status": "draft",
            "goals": [{"goal_id": str(uuid4()), "name": told("walks", "name"), "achieved": False}],
            "tasks": [], "milestones": [], "risk_score": 0.5, "alerts": [], "version": 2,
        },
    )  # fmt: skip
    for token, said in (("whole", ("home", "walks")), ("closed", (None, None))):
        (listed,) = get("/v1/flightplans?status=draft", token)[1]["flightplans"]
        one = get(f"/v1/flightplans/{UUID(int=1)}", token)[1]["flightplan"]
        assert listed == one
        assert (one["title"], one["goals"][0]["name"]) == said
    conforms("/v1/flightplans", get("/v1/flightplans")[1])
    assert get("/v1/flightplans", "theirs")[1]["flightplans"] == []


def test_an_envelope_that_belongs_elsewhere_stays_closed(store, get, caplog) -> None:
    task(store, 1, title=sealed("secret", UUID(int=9), "title"))
    task(store, 2, title=sealed("secret", PATIENT, "description"))
    task(store, 3, title=b"no envelope at all")
    assert [each["title"] for each in get("/v1/tasks")[1]["tasks"]] == [None] * 3
    assert "secret" not in caplog.text


def test_a_key_shows_the_work_of_its_departments_and_its_tenant(store, get) -> None:
    folded(store, "work", 2)
    task(store, 1, ED)
    task(store, 2, ICU)
    outcome(store, 1, 1)
    outcome(store, 2, 2)
    for path in ("tasks", "verifications", "sync"):
        name, own = ("tasks", "id") if path != "verifications" else (path, "task_id")
        shown = {
            token: {UUID(each[own]).int for each in get(f"/v1/{path}", token)[1][name]}
            for token in ("whole", "ed", "none", "theirs")
        }
        assert shown == {"whole": {1, 2}, "ed": {1}, "none": set(), "theirs": set()}, path
    for path in ("tasks", "verifications"):
        for token, status in (("whole", 200), ("ed", 404), ("theirs", 404)):
            assert get(f"/v1/{path}/{UUID(int=2)}", token)[0] == status
    assert len(get("/v1/sync", "ed")[1]["verifications"]) == 1
    total = [get(f"/v1/patients/{PATIENT}/task-summary", each)[1]["summary"]["total_tasks"]
             for each in ("whole", "ed", "none", "theirs")]  # fmt: skip
    assert total == [2, 1, 0, 0]


def test_pages_join_without_a_gap_while_rows_come(store, get) -> None:
    for number in range(1, 8):
        task(store, number, due_date=AT if number % 2 else None)
        outcome(store, number, number)
    for name, own in (("tasks", "id"), ("verifications", "task_id")):
        seen, path = [], f"/v1/{name}?limit=3"
        for _ in range(3):
            answer = get(path)[1]
            conforms(f"/v1/{name}", answer)
            seen += [UUID(each[own]).int for each in answer[name]]
            if len(seen) == 3 and name == "tasks":
                task(store, 100, due_date="2020-01-01T00:00:00Z")  # before what was given
            path = f"/v1/{name}?limit=3&cursor={quote(answer['next'] or '')}"
        assert answer["next"] is None
        assert sorted(seen) == list(range(1, 8))


@pytest.mark.parametrize(
    "cursor", ["x", "AAAA", "%00", "W10=", "eyJhIjoxfQ==", "%C3%BC", "a" * 5_000]
)
@pytest.mark.parametrize("asked", ["tasks?cursor", "verifications?cursor", "sync?since"])
def test_a_cursor_that_is_none_of_ours_is_refused(get, asked, cursor) -> None:
    status, problem = get(f"/v1/{asked}={cursor}")
    assert (status, problem["hint"]) == (400, "a cursor as the last answer gave it")


@pytest.mark.parametrize(
    ("at", "status"),
    [
        ("2026-W01-1T00:00:00+00:00", 200), ("2026-01-01x00:00:00+00:00:30.5", 200),
        ("infinity", 200), ("2026-01-01T00:00:00", 400), ("0001-01-01T00:00:00+23:59", 400),
        ("9999-12-31T23:59:59-23:59", 400), (5, 400),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["tasks", "shifts", "handovers"])
def test_a_cursor_with_another_time_in_it_is_read_or_refused(get, name, at, status) -> None:
    cursor = urlsafe_b64encode(orjson.dumps([at, str(UUID(int=1))])).decode()
    assert get(f"/v1/{name}?cursor={quote(cursor)}")[0] == status


def test_a_device_pulls_what_changed_since_and_nothing_twice(store, get) -> None:
    folded(store, "work", 5)
    for number in (1, 2):
        task(store, number)
    outcome(store, 1, 1)
    first = get("/v1/sync")[1]
    conforms("/v1/sync", first)
    assert ({each["id"] for each in first["tasks"]}, first["more"]) == (
        {str(UUID(int=1)), str(UUID(int=2))}, False,
    )  # fmt: skip
    again = get(f"/v1/sync?since={quote(first['cursor'])}")[1]
    assert (again["tasks"], again["verifications"]) == ([], [])
    task(store, 6)
    outcome(store, 2, 2, status="refuted")
    store.run("UPDATE subscriptions SET last_position = 6")
    then = get(f"/v1/sync?since={quote(again['cursor'])}")[1]
    assert [UUID(each["id"]).int for each in then["tasks"]] == [6]
    assert [each["status"] for each in then["verifications"]] == ["refuted"]
    pages, cursor = [], ""
    for _ in range(4):
        page = get(f"/v1/sync?limit=1{cursor}")[1]
        pages += [UUID(each["id"]).int for each in page["tasks"]]
        cursor = f"&since={quote(page['cursor'])}"
    assert pages == [1, 2, 6]


def test_an_outcome_is_pulled_with_its_task_that_came_later(store, get) -> None:
    folded(store, "work", 0)
    outcome(store, 1, 1)
    early = get("/v1/sync", "ed")[1]
    assert early["verifications"] == []
    task(store, 1)
    store.run("UPDATE subscriptions SET last_position = 1")
    late = get(f"/v1/sync?since={quote(early['cursor'])}", "ed")[1]
    assert [each["task_id"] for each in late["verifications"]] == [str(UUID(int=1))]


def test_an_outcome_is_read_once_its_event_is_judged_and_not_before(store, get) -> None:
    for name in ("work", "verification"):
        folded(store, name, 5)
    mark = {"tenant_id": OURS, "due": "patient", "due_id": PATIENT, "partition": 0}
    insert(store, "verification_due", **mark, partition_seq=4)
    assert get("/v1/verifications?min_position=0:3")[0] == 200
    assert get("/v1/verifications?min_position=0:4")[0] == 503
    assert get("/v1/tasks?min_position=0:4")[0] == 200
    store.run("UPDATE verification_due SET failed = 'Broken'")
    assert get("/v1/verifications?min_position=0:5")[0] == 200
    assert get("/v1/verifications?min_position=0:6")[0] == 503


@pytest.mark.parametrize(
    "asked",
    ["tasks?status=none", "tasks?department=x", "users?inactive=yes", "tasks?limit=1001",
     "shifts?at=now", "verifications?status=x", "sync?since=", "tasks?tenant=x"],
)  # fmt: skip
def test_what_can_not_be_read_is_refused(get, asked) -> None:
    assert get(f"/v1/{asked}")[0] == 400
