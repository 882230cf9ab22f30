"""Commands over HTTP, against a log and results in memory: what is taken, and what is promised."""

import asyncio
import json
import logging
import zlib
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator

from ops import posting
from ops.commands import BODY_BYTES_MAX, Commands
from ops.openapi import document
from ops.posting import IN_FLIGHT_MAX, SYNC_BYTES_MAX, SYNC_COMMANDS_MAX, preferred
from ops.questions import ROUTES
from ops.stack import ports
from producers.ports import KeysAway
from producers.publisher import KafkaPublisher
from sinks.commands import WaitingFull
from sinks.database import DatabaseAway
from tests.ops.commanding import HOLDERS, TENANT, USER, Port, asked, decided

SECRET = "CANARY-4711"
STREAM = UUID(int=5)
JSON = "application/json"
DESCRIBED = document(ROUTES, version="1")


def command(**given: Any) -> dict[str, Any]:
    return {
        "command_id": str(uuid4()), "command_type": "department.create",
        "stream_id": str(STREAM), "data": {"code": "W1", "name": "Ward \u00fc"}, **given,
    }  # fmt: skip


@pytest.fixture
def port() -> Port:
    return Port()


def problem(said: Any, status: int) -> dict[str, Any]:
    assert said.status == status, said.json
    assert said.headers["Content-Type"].startswith("application/problem+json")
    assert said.json["status"] == status
    assert SECRET not in json.dumps(said.json)
    return said.json


def conforms(said: Any, path: str = "/v1/commands") -> None:
    """The answer is what the document says of its status."""
    answers = DESCRIBED["paths"][path]["post"]["responses"]
    ((_, content),) = answers[str(said.status)]["content"].items()
    whole = {**content["schema"], "components": DESCRIBED["components"]}
    Draft202012Validator(whole).validate(said.json)


def test_a_command_is_taken_when_the_log_holds_it_sealed(port) -> None:
    asked_for = command(expected_version=4, correlation_id=str(UUID(int=9)))
    said = port.post(asked_for, traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    conforms(said)
    assert (said.status, said.json) == (
        202, {"command_id": asked_for["command_id"], "outcome": "pending"},
    )  # fmt: skip
    assert said.headers["Location"] == f"/v1/commands/{asked_for['command_id']}"
    ((topic, key, record, headers),) = port.log.held
    assert (topic, key) == ("app.commands.v1", str(STREAM).encode())
    assert {name: record[name] for name in record if name not in ("data", "issued_at")} == {
        "command_id": asked_for["command_id"], "command_type": "department.create",
        "schema_version": 1, "tenant_id": str(TENANT), "stream_type": "department",
        "stream_id": str(STREAM), "expected_version": 4, "issued_by": str(USER),
        "correlation_id": str(UUID(int=9)), "trace": f"00-{'a' * 32}-{'b' * 16}-01",
        "departments": [],
    }  # fmt: skip
    assert b"Ward" not in record["data"]
    assert port.log.data()["name"] == "Ward \u00fc"
    assert headers["ce_id"].decode() == asked_for["command_id"]


def test_a_command_of_a_key_without_a_user_is_issued_by_the_key(port) -> None:
    port.post(command(), token="nobody", traceparent=SECRET)
    port.post(command(), token="nobody")
    issuers = {record["issued_by"] for _, _, record, _ in port.log.held}
    assert issuers == {str(HOLDERS["nobody"].issuer)}
    assert issuers.isdisjoint({str(USER)})
    assert port.log.held[0][2]["trace"] is None
    for _, _, record, _ in port.log.held:
        assert record["correlation_id"] == record["command_id"]


def test_who_waits_is_told_the_result_with_its_position(port) -> None:
    port.log.then = port.results.decide
    said = port.post(command(), Prefer="wait=5")
    conforms(said)
    assert (said.status, said.json["outcome"], said.json["version"]) == (200, "accepted", 1)
    assert (said.json["position"], said.headers["Wardtrail-Position"]) == ("3:41", "3:41")
    assert said.headers["Preference-Applied"] == "wait=5"
    assert port.results.asked == {UUID(said.json["command_id"]): []}


def test_who_waits_in_vain_is_told_that_it_is_pending(port) -> None:
    said = port.post(command(), Prefer="wait=1")
    conforms(said)
    assert (said.status, said.json["outcome"]) == (202, "pending")
    assert list(port.results.asked.values()) == [[]]


@pytest.mark.parametrize(
    ("rule", "status"),
    [("conflict", 409), ("not_permitted", 403), ("exists", 422), ("unknown_reference: a", 422)],
)
def test_a_refusal_says_its_rule_and_the_version(port, rule, status) -> None:
    port.log.then = lambda record: port.results.decide(record, rule=rule, version=7)
    said = port.post(command(), Prefer="wait=5")
    conforms(said)
    found = problem(said, status)
    assert (found["rule"], found["version"], found["detail"]) == (rule, 7, "a rule refused it")
    assert (found["outcome"], found["position"]) == ("rejected", None)
    assert "Wardtrail-Position" not in said.headers


def test_a_command_that_failed_is_no_success_and_says_why(port) -> None:
    port.log.then = lambda record: port.results.decide(
        record, outcome="failed", rule="decide_failed", version=0, said="it became a dead letter"
    )
    said = port.post(command(), Prefer="wait=5")
    conforms(said)
    found = problem(said, 500)
    assert (found["outcome"], found["rule"]) == ("failed", "decide_failed")
    assert found["detail"] == "it became a dead letter"
    assert "retry" in found["hint"]


def test_a_command_says_in_which_departments_its_issuer_may_ask(port) -> None:
    for token in ("user", "ward", "every"):
        port.post(command(), token=token)
    listed = [record["departments"] for _, _, record, _ in port.log.held]
    assert listed == [[], [str(UUID(int=3))], None]


def test_nothing_is_waited_for_that_can_not_come(port, monkeypatch) -> None:
    known = command()
    port.results.known[UUID(known["command_id"])] = decided(UUID(known["command_id"]))
    waited = Commands._await

    async def counted(told: Any, seconds: float) -> None:
        assert not told
        await waited(told, seconds)

    monkeypatch.setattr(Commands, "_await", staticmethod(counted))
    assert port.post(known, Prefer="wait=10").status == 200
    port.log.away = True
    assert port.post(command(), Prefer="wait=10").status == 503


@pytest.mark.parametrize(("rule", "status"), [(None, 200), ("conflict", 409), ("closed", 422)])
def test_a_known_command_is_answered_with_its_result_and_not_published(port, rule, status) -> None:
    first = command()
    known = UUID(first["command_id"])
    given = {"rule": rule} if rule else {}
    port.results.known[known] = decided(known, **given)
    for name in ("Ward", "other content"):
        data = {"code": "W1", "name": name}
        assert port.post({**first, "data": data}).status == status
    assert port.log.held == []


def test_brokers_that_are_away_are_503_and_nothing_is_promised(port) -> None:
    port.log.away = True
    for prefer in ("", "wait=5"):
        said = port.post(command(), Prefer=prefer)
        conforms(said)
        assert "nothing is promised" in problem(said, 503)["detail"]
        assert said.headers["Retry-After"] == "1"
        assert "Location" not in said.headers


def test_a_real_client_without_brokers_promises_nothing() -> None:
    """Nobody listens at the address: the client's own time-out comes first, or ours."""
    for delivery, ours in ((0.5, 20.0), (20.0, 0.5)):

        async def test(delivery: float = delivery, ours: float = ours) -> None:
            address = f"127.0.0.1:{ports.choose([])}"
            async with KafkaPublisher(address, delivery_seconds=delivery) as publisher:
                port = Port(delivery_seconds=ours)
                port.log = publisher
                async with TestClient(TestServer(port.app())) as client:
                    problem(await asked(client, "/v1/commands", command()), 503)
                await publisher.close(0.0)

        asyncio.run(asyncio.wait_for(test(), 60))


def test_brokers_that_do_not_answer_in_time_are_503() -> None:
    port = Port(delivery_seconds=0.05)
    port.log.silent = True
    problem(port.post(command(), Prefer="wait=5"), 503)
    assert list(port.results.asked.values()) == [[]]


def test_commands_are_taken_while_the_database_is_away(port) -> None:
    port.results.raises = DatabaseAway("away")

    async def test() -> None:
        async with TestClient(TestServer(port.app())) as client:
            for _ in range(3):
                assert (await asked(client, "/v1/commands", command())).status == 202

    asyncio.run(asyncio.wait_for(test(), 60))
    assert len(port.log.held) == 3
    assert port.results.looked == 1


def test_keys_that_are_away_are_503() -> None:
    def away(_: UUID) -> Any:
        raise KeysAway("not known here yet")

    port = Port(keys=away)
    problem(port.post(command()), 503)
    assert port.log.held == []


def test_as_many_who_wait_as_may_is_503(port, monkeypatch) -> None:
    def full(*_: Any) -> Any:
        raise WaitingFull("full")

    monkeypatch.setattr(port.results, "ask", full)
    problem(port.post(command(), Prefer="wait=1"), 503)
    assert port.log.held == []
    assert port.post(command()).status == 202


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"command_id": SECRET}, "/command_id"), ({"command_id": None}, "/command_id"),
        ({"command_type": SECRET}, "/command_type"), ({"stream_id": 5}, "/stream_id"),
        ({"expected_version": -1}, "/expected_version"),
        ({"expected_version": "1"}, "/expected_version"),
        ({"correlation_id": SECRET}, "/correlation_id"), ({"data": None}, "/data"),
        ({"data": {}}, "/data/code"), ({"data": {"code": "W", "name": 5}}, "/data/name"),
        ({"data": {"code": "W", "name": "x", SECRET: 1}}, "/data"), ({SECRET: 1}, "/"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_400_and_named(port, changed, said) -> None:
    answer = port.post(command(**changed))
    conforms(answer)
    assert problem(answer, 400)["detail"] == f"an element doesn't fit: {said}"
    assert port.log.held == []


@pytest.mark.parametrize("name", ["command_id", "command_type", "stream_id", "data"])
def test_what_is_missing_is_400_and_named(port, name) -> None:
    body = command()
    del body[name]
    assert problem(port.post(body), 400)["detail"] == f"an element doesn't fit: /{name}"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", SECRET.encode(), b"[" * 5_000])
def test_what_is_no_json_is_400_and_not_repeated(port, body) -> None:
    said = port.post(data=body, **{"Content-Type": JSON})
    assert problem(said, 400)["detail"] == "the body is not JSON"


@pytest.mark.parametrize("body", [b"[]", b"5", b"null", b'"x"'])
def test_what_is_no_object_is_400(port, body) -> None:
    problem(port.post(data=body, **{"Content-Type": JSON}), 400)


def test_a_body_that_is_not_said_to_be_json_is_415(port) -> None:
    problem(port.post(data=json.dumps(command()), **{"Content-Type": "text/plain"}), 415)


def test_a_command_takes_no_query(port) -> None:
    problem(port.post(command(), path=f"/v1/commands?name={SECRET}"), 400)


def test_without_a_key_nothing_is_taken(port) -> None:
    for path in ("/v1/commands", "/v1/sync"):
        problem(port.post(command(), path=path, token="wrong"), 401)
    assert port.log.held == []


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("path", "most"), [("/v1/commands", BODY_BYTES_MAX), ("/v1/sync", SYNC_BYTES_MAX)]
)
def test_a_body_over_its_bound_is_413_before_it_is_read(port, chunked, path, most) -> None:
    whole = b" " * (most + 1)

    async def pieces() -> Any:
        yield whole[: most // 2]
        yield whole[most // 2 :]

    body = pieces() if chunked else whole
    problem(port.post(path=path, data=body, **{"Content-Type": JSON}), 413)
    bound = json.dumps(command()).encode().ljust(most)
    said = port.post(path=path, data=bound, **{"Content-Type": JSON})
    assert said.status == (202 if path == "/v1/commands" else 400)


def test_a_body_that_does_not_arrive_is_408(port, monkeypatch) -> None:
    monkeypatch.setattr(posting, "BODY_SECONDS", 0.05)

    async def stalled() -> Any:
        yield b"{"
        await asyncio.Event().wait()

    problem(port.post(data=stalled(), **{"Content-Type": JSON}), 408)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_that_is_not_compressed_as_it_says_is_400(port, caplog, coding) -> None:
    given = {"Content-Type": JSON, "Content-Encoding": coding}
    said = problem(port.post(data=SECRET.encode(), **given), 400)
    assert said["detail"] == "the body can't be read as its headers say"
    assert SECRET not in caplog.text


def test_a_compressed_body_is_bounded_by_what_is_in_it(port) -> None:
    given = {"Content-Type": JSON, "Content-Encoding": "deflate"}
    small = zlib.compress(json.dumps(command()).encode())
    assert port.post(data=small, **given).status == 202
    problem(port.post(data=zlib.compress(b" " * (BODY_BYTES_MAX + 1)), **given), 413)


@pytest.mark.parametrize("path", ["/v1/commands", "/v1/sync"])
def test_where_as_many_wait_as_may_a_command_is_taken_and_not_waited_for(
    port, monkeypatch, path
) -> None:
    monkeypatch.setattr(posting, "WAITERS_MAX", 1)
    assert posting.WAITERS_MAX < IN_FLIGHT_MAX

    async def test() -> None:
        async with TestClient(TestServer(port.app())) as client:

            def post(path: str) -> Any:
                body = command() if path == "/v1/commands" else {"commands": [command()]}
                return asyncio.create_task(asked(client, path, body, Prefer="wait=2"))

            waiting = post("/v1/commands")
            while not port.results.asked:
                await asyncio.sleep(0.01)
            said = await post(path)
            assert "Preference-Applied" not in said.headers
            assert not waiting.done()
            assert len(port.log.held) == 2
            assert (await waiting).headers["Preference-Applied"] == "wait=2"

    asyncio.run(asyncio.wait_for(test(), 60))


def test_one_request_more_than_may_be_in_flight_is_503(port, monkeypatch) -> None:
    monkeypatch.setattr(posting, "IN_FLIGHT_MAX", 2)
    assert IN_FLIGHT_MAX > 2

    async def test() -> None:
        async with TestClient(TestServer(port.app())) as client:

            def post(prefer: str) -> Any:
                return asyncio.create_task(asked(client, "/v1/commands", command(), Prefer=prefer))

            waiting = [post("wait=2"), post("wait=2")]
            while sum(map(len, port.results.asked.values())) < 2:
                await asyncio.sleep(0.01)
            problem(await post(""), 503)
            assert [said.status for said in await asyncio.gather(*waiting)] == [202, 202]
            assert (await post("")).status == 202

    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], 0), ([""], 0), (["wait=5"], 5), (["wait=0"], 0), (["WAIT = 5"], 5), (["wait=11"], 10),
        (["wait=999999999"], 10), (["respond-async, wait=3"], 3), (["respond-async", "wait=3"], 3),
        (['wait="4"'], 4), (["wait=4; foo=bar"], 4), (["wait=-1"], 0), (["wait=x"], 0),
        (["await=5"], 0), (["wait=5x"], 0), (["wait=99999999999"], 0), (["return=minimal"], 0),
    ],
)  # fmt: skip
def test_a_preference_is_seconds_up_to_ten_and_what_is_none_is_passed_over(headers, seconds):
    assert preferred(headers) == seconds


def test_many_commands_are_answered_in_order_each_as_alone(port) -> None:
    def decide(record: dict[str, Any]) -> None:
        if record["expected_version"] is not None:
            port.results.decide(record, rule="conflict", version=9)
        else:
            port.results.decide(record)

    port.log.then = decide
    known = command()
    port.results.known[UUID(known["command_id"])] = decided(UUID(known["command_id"]))
    pushed = [
        command(),
        command(expected_version=1),
        command(data={"code": "W1", "name": 5}),
        known,
        command(),
    ]
    said = port.post({"commands": pushed}, path="/v1/sync", Prefer="wait=5")
    conforms(said, "/v1/sync")
    results = said.json["results"]
    assert [each["status"] for each in results] == [200, 409, 400, 200, 200]
    assert [each.get("command_id") for each in results] == [
        each["command_id"] if number != 2 else None for number, each in enumerate(pushed)
    ]
    assert results[1]["version"] == 9
    assert results[2]["detail"] == "an element doesn't fit: /data/name"
    published = [record["command_id"] for _, _, record, _ in port.log.held]
    assert published == [pushed[number]["command_id"] for number in (0, 1, 4)]
    assert not any(port.results.asked.values())


def test_a_push_without_waiting_is_pending(port) -> None:
    said = port.post({"commands": [command(), command()]}, path="/v1/sync")
    conforms(said, "/v1/sync")
    assert [each["outcome"] for each in said.json["results"]] == ["pending", "pending"]


def test_what_comes_after_a_command_that_the_log_lost_is_not_published(port) -> None:
    pushed = [command() for _ in range(3)]

    def lose(_: dict[str, Any]) -> None:
        port.log.away = True

    port.log.then = lose
    said = port.post({"commands": pushed}, path="/v1/sync", Prefer="wait=1")
    conforms(said, "/v1/sync")
    assert [each["status"] for each in said.json["results"]] == [202, 503, 503]
    assert len(port.log.held) == 1


@pytest.mark.parametrize(
    "body",
    [
        {}, [], {"commands": []}, {"commands": {}}, {"commands": [1], SECRET: 1},
        {"commands": [{}] * (SYNC_COMMANDS_MAX + 1)},
    ],
)  # fmt: skip
def test_what_is_no_list_of_commands_is_400(port, body) -> None:
    problem(port.post(body, path="/v1/sync"), 400)


def test_as_many_commands_as_may_are_taken_at_once(port) -> None:
    said = port.post({"commands": [command() for _ in range(SYNC_COMMANDS_MAX)]}, path="/v1/sync")
    assert [each["status"] for each in said.json["results"]] == [202] * SYNC_COMMANDS_MAX


def test_nothing_of_a_command_is_logged(port, caplog) -> None:
    port.keys = lambda _: 1 / 0
    with caplog.at_level(logging.DEBUG):
        problem(port.post(command(data={"code": "W1", "name": SECRET})), 500)
    assert SECRET not in caplog.text


def test_a_result_says_when_it_was_decided() -> None:
    told = posting.said(UUID(int=3), decided(UUID(int=3))).body
    assert isinstance(told["recorded_at"], datetime)
