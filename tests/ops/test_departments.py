"""Keys that may ask in some departments only, from HTTP through the ledger to rows and answers."""

import asyncio
import itertools
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ops import keys as ring
from ops.api import Api
from ops.commands import Commands
from ops.keys import AccessKey, Ring
from ops.opening import Opener
from ops.posting import Posting
from schemas import examples, jsonform
from schemas.commands import TYPES, Scope
from sinks import queries
from sinks.commands import Waiting
from sinks.reading import ALL, Readers
from streams.ledger.commands import verifications
from streams.verification.asked import id_of
from tests.ops.commanding import Answered, asked
from tests.streams.ledger.commands.conftest import ISSUED, TENANT, armed, line, store
from tests.streams.ledger.commands.working import data_of, named

__all__ = ["armed", "line", "store"]

pytestmark = pytest.mark.stack

WARD, ICU, NURSE = UUID(named("ward")), UUID(named("icu")), UUID(named("nurse"))
PATIENT = UUID(named("patient"))
EVERY = AccessKey(
    name="every", tenant_id=TENANT, digest=ring._digest("every"), departments=ALL, phi=True
)
HOLDERS = (
    EVERY,
    replace(EVERY, name="ward", digest=ring._digest("ward"), departments=frozenset({WARD})),
    replace(EVERY, name="none", digest=ring._digest("none"), departments=frozenset()),
)
CREATE = {"title": "Look", "priority": "normal", "patient_id": str(PATIENT)}
FOREVER = {"starts_at": "2026-03-02T08:00:00Z", "ends_at": "2026-03-02T16:00:00Z"}


class Port:
    """The HTTP port over a log that the ledger reads at once."""

    def __init__(self, line: Any, readers: Readers) -> None:
        self.line, self.readers = line, readers
        self.numbers = itertools.count(1)

    def publish(self, topic: str, key: bytes | None, value: bytes, headers: Any) -> Any:
        self.line.send(self.line.raw(value))
        held: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        held.set_result(None)
        return held

    def ask(self, method: str, path: str, body: Any = None, *, token: str) -> Answered:
        keys, waiting = self.line.keys(), Waiting(readers=self.readers)

        async def run() -> Answered:
            commands = Commands(
                publisher=self, codec=self.line.codec, keys=lambda _: keys, results=waiting
            )
            api = Api(
                Ring(HOLDERS), self.readers, queries, posting=Posting(commands),
                opener=Opener(lambda _: keys),
            )  # fmt: skip
            app = web.Application(client_max_size=1024)
            app.add_subapp("/v1", api.app())
            async with TestClient(TestServer(app)) as client:
                if method == "POST":
                    return await asked(client, path, body, token=token)
                sent = {"Authorization": f"Bearer {token}"}
                async with client.get(path, headers=sent) as answer:
                    return Answered(answer.status, answer.headers, await answer.json())

        return asyncio.run(asyncio.wait_for(run(), 60))

    def post(self, name: str, stream: UUID, token: str = "every", /, **data: Any) -> Answered:
        """Ask, and ask again: the second answer has the result."""
        body = {
            "command_id": str(UUID(int=0xAB0000 + next(self.numbers))), "command_type": name,
            "stream_id": str(stream), "data": data,
        }  # fmt: skip
        assert self.ask("POST", "/v1/commands", body, token=token).status == 202
        return self.ask("POST", "/v1/commands", body, token=token)


@pytest.fixture
def port(line: Any, store: Any) -> Any:
    readers = Readers.open(store.app, name="test", size=4, seconds=10)
    made = Port(line, readers)
    store.run("INSERT INTO streams VALUES (%s, 'patient', %s, 2, 1, now())", PATIENT, TENANT)
    for each, code in ((WARD, "W"), (ICU, "I")):
        assert made.post("department.create", each, code=code, name="A ward").status == 200
    user = {"name": "Nora", "email": "nora@hospital.example", "role": "nurse"}
    assert made.post("user.create", NURSE, **user, department_ids=[str(WARD)]).status == 200
    yield made
    readers.close()


def task(port: Port, department: UUID, token: str = "every") -> tuple[UUID, Answered]:
    stream = uuid4()
    said = port.post("task.create", stream, token, **CREATE, department_id=str(department))
    return stream, said


def shift(port: Port, department: UUID) -> tuple[UUID, Answered]:
    stream, asked_for = uuid4(), {"supervisor_id": str(NURSE), **FOREVER}
    return stream, port.post("shift.schedule", stream, **asked_for, department_id=str(department))


def handover(port: Port, department: UUID) -> tuple[UUID, Answered]:
    stream, (early, _), (late, _) = uuid4(), shift(port, department), shift(port, department)
    return stream, port.post(
        "handover.initiate", stream, department_id=str(department), summary="Quiet.",
        from_shift_id=str(early), to_shift_id=str(late),
    )  # fmt: skip


def test_a_key_asks_for_work_in_its_departments_alone(port) -> None:
    ours, said = task(port, WARD, "ward")
    assert (said.status, said.json["outcome"]) == (200, "accepted")
    theirs, said = task(port, ICU, "ward")
    assert (said.status, said.json["rule"], said.json["outcome"]) == (
        403, "not_permitted", "rejected",
    )  # fmt: skip
    assert said.json["detail"].startswith("its issuer may not ask it, or not in this department")
    theirs, said = task(port, ICU)
    assert said.status == 200
    assert port.post("task.start", ours, "ward").status == 200
    for token in ("ward", "none"):
        assert port.post("task.start", theirs, token).status == 403
    assert port.post("task.start", ours, "none").status == 403
    assert port.post("task.start", theirs).status == 200


def answered(said: Answered) -> tuple[int, dict[str, Any]]:
    """What an answer says, but for whose command it is."""
    own = ("command_id", "stream_id", "instance", "recorded_at")
    return said.status, {name: value for name, value in said.json.items() if name not in own}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (each.name, dict(examples.good(each.full_record))["sparse"])
        for each in TYPES.values()
        if each.scope is Scope.DEPARTMENT and not each.creates
    ],
)
def test_a_thing_of_another_department_is_answered_like_one_that_is_nowhere(port, name, data):
    made = {"task": task, "shift": shift, "handover": handover}
    (theirs, _), nowhere = made.get(TYPES[name].stream_type, task)(port, ICU), uuid4()

    def refused(stream: UUID) -> tuple[int, dict[str, Any]]:
        given = data
        if name.startswith("verification."):
            given = {**data, "task_id": str(stream)}
            stream = UUID(verifications.stream_of(str(stream)))
        return answered(
            port.post(name, stream, "ward", **jsonform.write(TYPES[name].full_record, given))
        )

    assert refused(theirs) == refused(nowhere)
    assert refused(theirs)[1]["rule"] == "not_permitted"


def test_what_a_command_names_in_another_department_is_answered_like_what_is_nowhere(port):
    (ours, _), (theirs, _) = task(port, WARD), shift(port, ICU)
    said = [
        answered(port.post("task.edit", ours, "ward", shift_id=str(each)))
        for each in (theirs, uuid4())
    ]
    assert said[0] == said[1]
    assert (said[0][0], said[0][1]["rule"]) == (403, "not_permitted")


def test_a_key_decides_on_tasks_of_its_departments_alone(port) -> None:
    for department, status in ((WARD, 200), (ICU, 403)):
        stream, _ = task(port, department)
        said = port.post(
            "verification.decide", UUID(verifications.stream_of(str(stream))), "ward",
            task_id=str(stream), patient_id=str(PATIENT), outcome="verified",
        )  # fmt: skip
        assert said.status == status


def test_a_key_schedules_shifts_and_hands_over_in_its_departments_alone(port) -> None:
    shift = {"supervisor_id": str(NURSE), **FOREVER}
    shifts = {}
    for department in (WARD, ICU):
        for part in ("early", "late"):
            stream = uuid4()
            shifts[department, part] = str(stream)
            theirs = department is ICU
            asked_for = {**shift, "department_id": str(department)}
            if theirs:
                assert port.post("shift.schedule", uuid4(), "ward", **asked_for).status == 403
            token = "every" if theirs else "ward"
            assert port.post("shift.schedule", stream, token, **asked_for).status == 200
            said = port.post("shift.assign", stream, "ward", user_id=str(NURSE))
            assert said.status == (403 if theirs else 200)
    for department, status in ((WARD, 200), (ICU, 403)):
        said = port.post(
            "handover.initiate", uuid4(), "ward", department_id=str(department), summary="Quiet.",
            from_shift_id=shifts[department, "early"], to_shift_id=shifts[department, "late"],
        )  # fmt: skip
        assert said.status == status


@pytest.fixture
def shifts(port: Port) -> dict[UUID, list[UUID]]:
    """Two shifts of each department."""
    made: dict[UUID, list[UUID]] = {WARD: [], ICU: []}
    for department, streams in made.items():
        for _ in range(2):
            streams.append(uuid4())
            asked_for = {
                "supervisor_id": str(NURSE), **FOREVER, "department_id": str(department),
            }  # fmt: skip
            assert port.post("shift.schedule", streams[-1], **asked_for).status == 200
    return made


def test_what_a_command_names_is_of_departments_in_which_its_issuer_asks(port, shifts) -> None:
    (early, late), (theirs, _) = shifts[WARD], shifts[ICU]
    (ours, _), (other, _) = task(port, WARD), task(port, ICU)

    def refused(name: str, stream: UUID, field: str, /, **data: Any) -> None:
        said = port.post(name, stream, "ward", **data)
        assert (said.status, said.json["rule"]) == (403, "not_permitted"), said.json
        assert said.json["detail"].endswith(f"another department's: {field}")
        assert port.post(name, stream, **data).status == 200, "who may ask in both may name both"

    refused("task.create", uuid4(), "shift_id", **CREATE, department_id=str(WARD),
            shift_id=str(theirs))  # fmt: skip
    refused("task.edit", ours, "shift_id", shift_id=str(theirs))
    handed = uuid4()
    hand = {"department_id": str(WARD), "summary": "Quiet.", "from_shift_id": str(early)}
    refused("handover.initiate", uuid4(), "to_shift_id", **hand, to_shift_id=str(theirs))
    refused("handover.initiate", handed, "task_ids", **hand, to_shift_id=str(late),
            task_ids=[str(ours), str(other)])  # fmt: skip
    refused("handover.edit", handed, "task_ids", task_ids=[str(other)])
    named = {**hand, "to_shift_id": str(late), "task_ids": [str(ours)]}
    assert port.post("handover.initiate", uuid4(), "ward", **named).status == 200
    assert port.post("task.edit", ours, "ward", shift_id=str(late)).status == 200


def test_people_are_the_whole_tenants_to_name(port) -> None:
    (ours, _) = task(port, WARD)
    nurse = uuid4()
    user = {"name": "Ida", "email": "ida@hospital.example", "role": "nurse"}
    assert port.post("user.create", nurse, **user, department_ids=[str(ICU)]).status == 200
    assert port.post("task.assign", ours, "ward", assigned_to=str(nurse)).status == 200


def test_what_became_of_work_is_shown_to_its_department_and_to_who_asked(port) -> None:
    (_, ours), (_, theirs) = task(port, WARD), task(port, ICU)
    (_, refused) = task(port, ICU, "ward")
    shown = {(name, said): port.ask(
        "GET", f"/v1/commands/{each.json['command_id']}", token=name
    ).status for name in ("every", "ward", "none")
        for said, each in (("ours", ours), ("theirs", theirs), ("refused", refused))}  # fmt: skip
    assert {key for key, status in shown.items() if status == 200} == {
        ("every", "ours"), ("every", "theirs"), ("every", "refused"),
        ("ward", "ours"), ("ward", "refused"),
    }  # fmt: skip


def test_what_was_asked_elsewhere_under_an_id_is_not_told_to_who_asks_the_same_again(port) -> None:
    stream = uuid4()
    body = {
        "command_id": str(uuid4()), "command_type": "task.create", "stream_id": str(stream),
        "data": {**CREATE, "department_id": str(ICU)},
    }  # fmt: skip
    for token, status in (("every", 202), ("every", 200), ("ward", 202), ("ward", 202)):
        assert port.ask("POST", "/v1/commands", body, token=token).status == status
    assert (
        len(port.line.store.rows("SELECT FROM command_results WHERE stream_id = %s", stream)) == 1
    )


def test_v11_a_task_that_an_order_makes_is_decided_on_by_who_has_all_departments(port) -> None:
    order, rule = uuid4(), uuid4()
    task_id = id_of(str(order), str(rule), 3)
    made = {"task_id": task_id, "order_id": str(order), "rule_id": str(rule)}
    stream = UUID(verifications.stream_of(task_id))

    def decide(name: str = "decide", token: str = "every", **given: Any) -> Answered:
        due = {"due_at": "2026-03-01T10:00:00Z"}
        data = {**made, **due, "patient_id": str(PATIENT), "outcome": "verified", **given}
        return port.post(f"verification.{name}", stream, token, **data)

    assert decide().json["rule"] == "unknown_reference: order_id"
    port.line.store.run(
        "INSERT INTO streams VALUES (%s, 'order', %s, 2, 1, now())", order, TENANT
    )  # fmt: skip
    assert decide().json["rule"] == "unknown_reference: rule_id"
    port.line.store.run(
        "INSERT INTO streams VALUES (%s, 'verification_rule', %s, 2, 1, now())", rule, TENANT
    )  # fmt: skip
    assert decide(token="ward").status == 403
    assert decide().json["outcome"] == "accepted"
    assert decide("resolve", outcome="refuted").json["version"] == 2
    assert decide(order_id=str(rule), rule_id=str(order)).status == 422
    told = port.line.store.rows("SELECT data FROM events WHERE stream_id = %s", stream)
    assert [each["data"]["order_id"] for each in told] == [str(order)] * 2


def test_v11_nobody_decides_on_a_task_of_an_order_by_creating_one_under_its_id(port) -> None:
    made = id_of(str(uuid4()), str(uuid4()), 0)
    said = port.post(
        "task.create", UUID(made), "ward", **CREATE, department_id=str(WARD)
    )  # fmt: skip
    assert (said.status, said.json["rule"]) == (422, "id_reserved")
    said = port.post(
        "verification.decide", UUID(verifications.stream_of(made)), "ward",
        task_id=made, patient_id=str(PATIENT), outcome="verified",
    )  # fmt: skip
    assert said.json["outcome"] == "rejected"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("department.update", {"name": "Other"}),
        ("department.create", {"code": "X", "name": "Other"}),
        ("user.deactivate", {"reason_code": "left"}),
    ],
)
def test_what_concerns_all_departments_is_asked_by_who_has_all(port, name, data) -> None:
    stream = {"department.update": WARD, "user.deactivate": NURSE}.get(name, uuid4())
    assert port.post(name, stream, "ward", **data).status == 403
    assert port.post(name, stream, **data).status == 200


def test_a_command_that_is_published_directly_may_ask_in_all(port) -> None:
    port.line.send(
        port.line.record(
            "department.update", {**data_of("department.update", name="Other")},
            stream_id=str(WARD), issued_at=ISSUED,
        )
    )  # fmt: skip
    assert port.line.results()[-1]["outcome"] == "accepted"


def test_what_became_of_a_command_says_where_its_write_stands_in_a_header_too(port) -> None:
    _, said = task(port, WARD)
    found = port.ask("GET", f"/v1/commands/{said.json['command_id']}", token="every")
    assert found.status == 200
    assert found.headers["Wardtrail-Position"] == found.json["position"]
    assert found.json["position"] == said.headers["Wardtrail-Position"]
    _, said = task(port, ICU, "ward")
    found = port.ask("GET", f"/v1/commands/{said.json['command_id']}", token="ward")
    assert (found.status, found.json["outcome"]) == (200, "rejected")
    assert "Wardtrail-Position" not in found.headers


def test_a_command_that_failed_is_told_so_and_not_left_pending(port) -> None:
    stream, _ = task(port, WARD)
    port.line.store.run("UPDATE events SET schema_version = 99 WHERE stream_id = %s", stream)
    said = port.post("task.start", stream)
    assert (said.status, said.json["outcome"], said.json["rule"]) == (
        500,
        "failed",
        "decide_failed",
    )
    assert said.json["detail"] == "it became a dead letter: decide raised: EventUnknown"
    found = port.ask("GET", f"/v1/commands/{said.json['command_id']}", token="every")
    assert (found.status, found.json["outcome"]) == (200, "failed")
