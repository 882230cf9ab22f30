"""Questions over HTTP, against an archive in memory: who may ask, what, and how it is refused."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from xml.etree import ElementTree

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from yarl import URL

from ops import keys, questions, serve
from ops.api import WAITING_MAX, Api, prefers_svg
from ops.keys import AccessKey, Ring
from ops.openapi import document
from ops.opening import Opener
from ops.parameters import WARD_CHARACTERS_MAX
from ops.posting import Posting
from ops.routes import ROUTES
from sinks.database import DatabaseAway, LoginRefused
from sinks.queries import AnswerTooLong, Contact, Happened, NotMigrated, Seen
from sinks.questions import ANSWER_MAX

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
VISIT, PATIENT = UUID(int=10), UUID(int=7)
OURS, THEIRS = UUID(int=1), UUID(int=2)
TOKENS = {"ours": OURS, "theirs": THEIRS}
SEEN = Seen(
    point_id=str(UUID(int=20)), admission_id=str(VISIT), patient_id=str(PATIENT), track="census",
    location="ED^1^A", facility="", building="", floor="", point_of_care="ED", room="1", bed="A",
    effective_at=START, ended_at=None, start_inferred=False, end_inferred=False,
    start_field="EVN-6", reported_at=None, start_event_id=str(UUID(int=30)), message_id=None,
    known_from=START, known_to=None, fold_version=1, partition_seq=1,
)  # fmt: skip
CONTACT = Contact(
    admission_id=str(UUID(int=11)), patient_id=str(UUID(int=8)), level="room", point_of_care="ED",
    room="1", started_at=START, ended_at=None, seconds=None,
)  # fmt: skip
ASKED = {
    "/where": f"/v1/where?admission={VISIT}",
    "/path": f"/v1/path?patient={PATIENT}",
    "/census/{ward}": "/v1/census/ED",
    "/contacts/{admission}": f"/v1/contacts/{VISIT}",
    "/timeline/{admission}": f"/v1/timeline/{VISIT}",
}
MRN = "MRN-4711"


@dataclass
class Memory:
    """An archive and its snapshots; remembers what it was asked, and as which tenant."""

    asked: list[tuple[Any, ...]] = field(default_factory=list)
    rows: int = 1
    visited: bool = True
    raises: Exception | None = None
    hold: Callable[[], None] = lambda: None
    folded: int = 10
    looked: list[tuple[Any, ...]] = field(default_factory=list)
    departments: Any = None

    def reached(self, *asked: Any) -> bool:
        self.looked.append(asked)
        return asked[-1] <= self.folded

    @contextmanager
    def as_tenant(self, tenant_id: UUID, departments: Any, issuer: Any) -> Iterator[Any]:
        self.departments = departments
        if self.raises:
            raise self.raises
        self.hold()
        yield tenant_id

    def where(self, connection: Any, **asked: Any) -> list[Seen]:
        return self._told("where", connection, asked)

    def path(self, connection: Any, **asked: Any) -> list[Seen]:
        return self._told("path", connection, asked)

    def census(self, connection: Any, ward: str, **asked: Any) -> list[Seen]:
        return self._told("census", connection, {"ward": ward, **asked})

    def contacts(self, connection: Any, admission_id: UUID, **asked: Any) -> list[Contact]:
        self.asked.append(("contacts", connection, {"admission_id": admission_id, **asked}))
        return [CONTACT] * self.rows

    def timeline(self, connection: Any, admission_id: UUID) -> list[Happened]:
        return [Happened(event_type="admission.created", occurred_at=START)]

    def visits(self, connection: Any, among: Any) -> list[UUID]:
        return list(among) if self.visited else []

    def behind(self, connection: Any, subscription_id: str) -> int:
        return 3

    def _told(self, question: str, connection: Any, asked: Any) -> list[Seen]:
        self.asked.append((question, connection, asked))
        return [SEEN] * self.rows


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Port:
    """The HTTP port over a memory; `get` is one request as the holder of the key of `ours`."""

    memory: Memory
    reads_max: int = 8

    def api(self) -> Api:
        ring = Ring(tuple(
            AccessKey(name=token, tenant_id=tenant, digest=keys._digest(token))
            for token, tenant in TOKENS.items()
        ))  # fmt: skip
        nobody: Any = None
        return Api(
            ring, self.memory, self.memory, reads_max=self.reads_max,
            posting=Posting(nobody), opener=Opener(nobody),
        )  # fmt: skip

    def app(self) -> web.Application:
        app = web.Application()
        app.add_subapp("/v1", self.api().app())
        return app

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Said:
        async def ask() -> Said:
            async with TestClient(TestServer(self.app())) as client:
                return await self.ask(client, path, method=method, **headers)

        return asyncio.run(asyncio.wait_for(ask(), 60))

    @staticmethod
    async def ask(
        client: Any, path: str, *, method: str = "GET", token: str | None = "ours", **headers: str
    ) -> Said:
        sent = {"Authorization": f"Bearer {token}"} if token is not None else {}
        url = URL(path, encoded=True)
        async with client.request(method, url, headers={**sent, **headers}) as answer:
            return Said(answer.status, answer.headers, await answer.read())


@pytest.fixture
def memory() -> Memory:
    return Memory()


@pytest.fixture
def port(memory: Memory) -> Port:
    return Port(memory)


def refused(said: Said, status: int) -> dict[str, Any]:
    """The problem of a refusal, which must be one of RFC 9457 in a line."""
    assert said.status == status
    assert said.headers["Content-Type"].startswith("application/problem+json")
    problem = said.json
    assert (problem["status"], problem["type"]) == (status, "about:blank")
    assert problem["detail"]
    assert "\n" not in problem["detail"]
    assert "Traceback" not in said.body.decode()
    return problem


@pytest.mark.parametrize("path", [*ASKED.values(), "/v1/openapi.json", "/v1/nothing"])
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic ours", "ours", "Bearer ours x",
     "Bearer \u00fc"],
)  # fmt: skip
def test_without_a_known_token_nothing_is_answered(port, path, header) -> None:
    headers = {} if header is None else {"Authorization": header}
    said = port.get(path, token=None, **headers)
    refused(said, 401)
    assert said.headers["WWW-Authenticate"].startswith('Bearer realm="wardtrail"')
    assert ("invalid_token" in said.headers["WWW-Authenticate"]) == (header is not None)
    assert port.memory.asked == []


@pytest.mark.parametrize("path", ASKED.values())
def test_the_tenant_comes_from_the_token_alone(port, path) -> None:
    for token, tenant in TOKENS.items():
        assert port.get(path, token=token).status == 200
        assert port.memory.asked[-1][1] == tenant
    refused(port.get(f"{path}{'&' if '?' in path else '?'}tenant={OURS}"), 400)
    port.get(path, **{"X-Tenant": str(THEIRS)})
    assert port.memory.asked[-1][1] == OURS


def test_health_needs_no_key_beside_the_questions(port) -> None:
    nobody: Any = None
    health = serve.Health(
        server=nobody, publisher=nobody, feeds=nobody, mllp_port=0, sharing=nobody,
        erasures=nobody,
    )  # fmt: skip

    async def test() -> None:
        async with TestClient(TestServer(serve.mounted(health, port.api()))) as client:
            live = await port.ask(client, "/health/live", token=None)
            assert (live.status, live.json) == (200, {"status": "live"})
            refused(await port.ask(client, ASKED["/where"], token=None), 401)
            assert (await port.ask(client, ASKED["/where"])).status == 200

    asyncio.run(asyncio.wait_for(test(), 60))


def test_where_takes_a_visit_or_a_patient_and_two_instants(port) -> None:
    at, known = "2026-03-02T09:00:00Z", "2026-03-02T10:00:00%2B01:00"
    said = port.get(f"/v1/where?admission={VISIT}&at={at}&known_at={known}")
    assert said.json["points"][0]["location"] == "ED^1^A"
    assert (said.json["behind"], said.json["cut"]) == (3, False)
    hour = START + timedelta(hours=1)
    wanted = {"admission_id": VISIT, "patient_id": None, "at": hour, "known_at": hour}
    assert port.memory.asked == [("where", OURS, wanted)]
    assert said.json["at"] == "2026-03-02T09:00:00+00:00"
    port.get(f"/v1/where?patient={PATIENT}")
    asked = port.memory.asked[-1][2]
    assert (asked["patient_id"], asked["known_at"]) == (PATIENT, None)


def test_a_plus_that_was_not_escaped_is_understood(port) -> None:
    for zone in ("+01:00", "%2B01:00", "+0100"):
        port.get(f"/v1/where?admission={VISIT}&at=2026-03-02T09:00:00{zone}")
        assert port.memory.asked[-1][2]["at"] == START


def test_a_path_can_be_of_one_track(port) -> None:
    port.get(f"/v1/path?admission={VISIT}&track=physical")
    assert port.memory.asked[-1][2]["track"] == "physical"


def test_a_census_takes_a_ward_as_the_feed_writes_it(port) -> None:
    said = port.get("/v1/census/A%26E%20%2F%20%C3%9C?at=2026-03-02T09:00:00Z")
    question, _, asked = port.memory.asked[-1]
    assert (question, asked["ward"], asked["track"]) == ("census", "A&E / \u00dc", "census")
    assert said.json["points"][0]["patient_id"] == str(PATIENT)


@pytest.mark.parametrize(("query", "level"), [("", "room"), ("?level=ward", "ward")])
def test_contacts_are_of_a_room_or_a_ward(port, query, level) -> None:
    said = port.get(f"/v1/contacts/{VISIT}{query}")
    asked = {"admission_id": VISIT, "level": level, "known_at": None, "track": "physical"}
    assert port.memory.asked == [("contacts", OURS, asked)]
    assert said.json["contacts"][0]["seconds"] is None


def test_a_timeline_is_stays_and_events_or_a_drawing(port) -> None:
    path = f"/v1/timeline/{VISIT}"
    plain = port.get(path)
    assert plain.json["events"][0]["event_type"] == "admission.created"
    drawn = port.get(path + "?zone=Asia/Tokyo", Accept="image/svg+xml")
    assert drawn.headers["Content-Type"] == "image/svg+xml; charset=utf-8"
    assert drawn.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert ElementTree.fromstring(drawn.body).get("aria-label") == f"admission {VISIT}"
    assert b"2026-03-02 17:00" in drawn.body
    assert {each.headers["Vary"] for each in (plain, drawn)} == {"Accept"}


@pytest.mark.parametrize(
    ("accept", "svg"),
    [
        ("", False), ("*/*", False), ("image/svg+xml", True), ("image/*", True),
        ("IMAGE/SVG+XML; Q=1", True), ("application/json, image/svg+xml", False),
        ("application/json;q=0.5, image/svg+xml;q=0.9", True),
        ("image/avif,image/svg+xml,image/*,*/*;q=0.8", True),
        ("text/html,application/xml;q=0.9,*/*;q=0.8", False), ("image/svg+xml;q=0", False),
        ("image/svg+xml;q=x", False), (";;,", False), ("image/svg+xml;q=nan", False),
    ],
)  # fmt: skip
def test_svg_is_given_to_who_prefers_it(accept: str, svg: bool) -> None:
    assert prefers_svg(accept) is svg


@pytest.mark.parametrize("path", ASKED.values())
def test_no_answer_is_kept_or_guessed_about(port, path) -> None:
    said = port.get(path)
    assert said.headers["Cache-Control"] == "no-store"
    assert said.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        (f"/v1/where?admission={MRN}", "ids are UUIDs"),
        (f"/v1/where?admission={VISIT.hex}", "ids are UUIDs"),
        (f"/v1/where?patient={{{PATIENT}}}", "ids are UUIDs"),
        (f"/v1/contacts/{MRN}", "ids are UUIDs"),
        (f"/v1/timeline/{MRN}", "ids are UUIDs"),
        (f"/v1/where?mrn={MRN}", "there are: admission, patient, at, known_at, limit"),
        (f"/v1/where?admission={VISIT}&{MRN}=1", "there are: admission"),
        (f"/v1/contacts/{VISIT}?admission={MRN}", "there are: level"),
        (f"/v1/where?visit_number={MRN}", "there are: admission"),
        (f"/v1/openapi.json?mrn={MRN}", "there are none"),
        ("/v1/where", "either admission=UUID or patient=UUID"),
        (f"/v1/where?admission={VISIT}&patient={PATIENT}", "either admission=UUID"),
        (f"/v1/where?admission={VISIT}&admission={VISIT}", "give each once"),
        (f"/v1/where?admission={VISIT}&at=2026-03-02T09:00:00", "ISO 8601 with its zone"),
        (f"/v1/where?admission={VISIT}&at={MRN}", "ISO 8601 with its zone"),
        (f"/v1/where?admission={VISIT}&at=", "ISO 8601 with its zone"),
        (f"/v1/where?admission={VISIT}&at=2026-03-02 10:00", "ISO 8601 with its zone"),
        (f"/v1/where?admission={VISIT}&at=0001-01-01T00:00:00%2B14:00", "ISO 8601"),
        (f"/v1/path?admission={VISIT}&known_at=yesterday", "ISO 8601 with its zone"),
        (f"/v1/path?admission={VISIT}&track={MRN}", "one of: census, physical, planned"),
        (f"/v1/contacts/{VISIT}?level={MRN}", "one of: room, ward"),
        (f"/v1/path?admission={VISIT}&limit=0", "a whole number from 1 to"),
        (f"/v1/path?admission={VISIT}&limit={ANSWER_MAX + 1}", "a whole number from 1 to"),
        (f"/v1/path?admission={VISIT}&limit=%D9%A1", "a whole number from 1 to"),
        (f"/v1/timeline/{VISIT}?zone={MRN}", "a zone of the IANA database"),
        (f"/v1/timeline/{VISIT}?zone=../../etc/passwd", "a zone of the IANA database"),
        ("/v1/census/%00", "a point of care"),
        ("/v1/census/%20", "a point of care"),
        (f"/v1/census/{'W' * (WARD_CHARACTERS_MAX + 1)}", "a point of care"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_refused_with_a_hint_and_never_repeated(port, path, hint) -> None:
    said = port.get(path.replace(" ", "%20"))
    assert hint in refused(said, 400)["hint"]
    assert port.memory.asked == []
    told = said.body.decode() + str(said.headers)
    assert MRN not in told


def test_a_bound_itself_is_still_taken(port) -> None:
    assert port.get(f"/v1/census/{'W' * WARD_CHARACTERS_MAX}").status == 200
    assert port.get(f"/v1/path?admission={VISIT}&limit={ANSWER_MAX}").status == 200


@pytest.mark.parametrize("path", ["/where", "/timeline/{admission}", "/contacts/{admission}"])
def test_a_visit_that_the_tenant_does_not_have_is_not_found(port, path) -> None:
    port.memory.visited = False
    problem = refused(port.get(ASKED[path]), 404)
    assert problem["detail"] == "this tenant has no visit of this id"


@pytest.mark.parametrize("path", [f"/v1/{MRN}", f"/v1/where/{MRN}", "/v1/", "/v1/census/"])
def test_what_is_no_question_is_not_found_and_not_repeated(port, path) -> None:
    said = port.get(path)
    refused(said, 404)
    assert MRN not in said.body.decode()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_questions_are_asked_with_get(port, method) -> None:
    said = port.get(ASKED["/where"], method=method)
    assert said.status == 405
    assert said.headers["Allow"] == "GET"
    assert port.memory.asked == []


def test_more_rows_than_asked_for_are_cut_and_that_is_said(port) -> None:
    port.memory.rows = 3
    for limit, rows, is_cut in ((2, 2, True), (3, 3, False)):
        said = port.get(f"/v1/path?admission={VISIT}&limit={limit}").json
        assert (len(said["points"]), said["cut"]) == (rows, is_cut)
    said = port.get(f"/v1/contacts/{VISIT}?limit=1").json
    assert (len(said["contacts"]), said["cut"]) == (1, True)


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (DatabaseAway("away"), 503), (LoginRefused("wt_app"), 503), (NotMigrated("table"), 503),
        (AnswerTooLong("more rows"), 422), (RuntimeError(f"row of {MRN}"), 500),
    ],
)  # fmt: skip
def test_trouble_is_told_in_a_line_and_never_by_its_text(port, caplog, raised, status) -> None:
    port.memory.raises = raised
    with caplog.at_level(logging.DEBUG):
        said = port.get(ASKED["/where"])
    refused(said, status)
    assert ("Retry-After" in said.headers) == (status == 503)
    assert MRN not in said.body.decode() + caplog.text


def test_one_reader_more_than_may_at_once_is_turned_away(memory: Memory) -> None:
    inside, go = threading.Semaphore(0), threading.Event()

    def hold() -> None:
        inside.release()
        assert go.wait(30)

    memory.hold = hold
    port = Port(memory, reads_max=2)

    async def test() -> None:
        async with TestClient(TestServer(port.app())) as client:
            readers = [asyncio.create_task(port.ask(client, ASKED["/where"])) for _ in range(2)]
            for _ in range(2):
                await asyncio.to_thread(inside.acquire)
            turned = await port.ask(client, ASKED["/where"])
            refused(turned, 503)
            assert turned.headers["Retry-After"] == "1"
            assert (await port.ask(client, "/v1/openapi.json")).status == 200
            go.set()
            assert [said.status for said in await asyncio.gather(*readers)] == [200, 200]
            assert (await port.ask(client, ASKED["/where"])).status == 200

    asyncio.run(asyncio.wait_for(test(), 60))


def test_a_reader_who_leaves_holds_the_place_until_the_thread_is_done(memory: Memory) -> None:
    inside, go = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        assert go.wait(30)

    memory.hold = hold
    port = Port(memory, reads_max=1)

    async def test() -> None:
        async with TestClient(TestServer(port.app())) as client:  # it cancels their handlers
            leaving = asyncio.create_task(port.ask(client, ASKED["/where"]))
            await asyncio.to_thread(inside.wait, 30)
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)
            refused(await port.ask(client, ASKED["/where"]), 503)
            go.set()
            while (await port.ask(client, ASKED["/where"])).status == 503:
                await asyncio.sleep(0.01)

    asyncio.run(asyncio.wait_for(test(), 60))


def test_the_document_has_every_route_and_no_other(port) -> None:
    described = port.get("/v1/openapi.json").json
    assert described["openapi"] == "3.1.0"
    served = {route.resource.canonical for route in port.app().router.routes() if route.resource}
    assert set(described["paths"]) == served
    asked = {f"/v1{route.path}" for route in questions.ROUTES}
    assert asked | {"/v1/openapi.json", "/v1/commands", "/v1/sync"} == served
    assert set(ASKED) == {route.path for route in ROUTES}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.operation)
def test_each_answer_is_as_the_document_says(port, route) -> None:
    described = port.get("/v1/openapi.json").json
    operation = described["paths"][f"/v1{route.path}"]["get"]
    schema = operation["responses"]["200"]["content"]["application/json"]["schema"]
    answer = port.get(ASKED[route.path]).json
    whole = {**schema, "components": described["components"]}
    Draft202012Validator.check_schema(whole)
    Draft202012Validator(whole).validate(answer)
    listed = {each["name"]: each for each in operation["parameters"]}
    assert set(listed) == {each.name for each in route.takes}
    for each in route.takes:
        assert listed[each.name]["required"] is (each.place == "path")


def test_the_document_refers_only_to_what_it_has() -> None:
    described = document(questions.ROUTES, version="1")
    named = {
        each.split('"')[0] for each in json.dumps(described).split("#/components/schemas/")[1:]
    }
    assert {"Problem", "Seen", "Contact", "Happened", "Command", "Command.task.create"} <= named
    assert named == described["components"]["schemas"].keys()


def test_what_is_no_http_is_refused_without_a_trace_of_it_in_the_log(memory, caplog) -> None:
    async def test() -> None:
        runner = web.AppRunner(Port(memory).app(), access_log=None, logger=serve._wire)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, number = runner.addresses[0][:2]
        for sent in (f"GET /v1/{MRN} HTTP/9.z{MRN}", f"GET /v1/x HTTP/1.1\r\n{MRN} x: \x01{MRN}"):
            reader, writer = await asyncio.open_connection(host, number)
            writer.write(sent.encode() + b"\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.0 400")
            writer.close()
        await runner.cleanup()

    with caplog.at_level(logging.DEBUG):
        asyncio.run(asyncio.wait_for(test(), 60))
    assert "an HTTP request failed: Bad" in caplog.text
    assert MRN not in caplog.text


def test_rows_are_told_with_their_provenance(port) -> None:
    (point,) = port.get(ASKED["/where"]).json["points"]
    assert set(point) == set(Seen.__slots__)
    assert {"message_id", "start_field", "start_inferred", "bed", "known_from"} <= set(point)


def test_what_is_folded_so_far_is_answered_at_once(port) -> None:
    assert port.get(ASKED["/where"] + "&min_position=3:10").status == 200
    assert port.memory.looked == [(OURS, ("trajectory",), 3, 10)]
    assert port.get(ASKED["/timeline/{admission}"] + "?min_position=3:10").status == 200
    assert port.memory.looked[-1] == (OURS, ("trajectory", "timeline"), 3, 10)
    assert port.get(ASKED["/where"]).status == 200
    assert len(port.memory.looked) == 2


def test_what_is_not_folded_yet_is_waited_for_and_then_refused(port) -> None:
    said = port.get(ASKED["/where"] + "&min_position=3:11")
    assert "not there yet" in refused(said, 503)["detail"]
    assert said.headers["Retry-After"] == "1"
    assert port.memory.asked == []
    assert len(port.memory.looked) > 2


@pytest.mark.parametrize(
    "position", ["", "3", "3:", ":3", "-1:3", "3:-1", "a:b", "32768:1", "0:9223372036854775808"]
)
def test_a_position_that_is_none_is_refused(port, position) -> None:
    said = port.get(f"{ASKED['/where']}&min_position={position}")
    assert "as Wardtrail-Position says" in refused(said, 400)["hint"]
    assert port.memory.looked == []


def test_one_more_who_waits_for_a_position_than_may_is_turned_away(memory: Memory) -> None:
    port = Port(memory)
    path = ASKED["/where"] + "&min_position=3:11"

    async def test() -> None:
        async with TestClient(TestServer(port.app())) as client:
            waiting = [asyncio.create_task(port.ask(client, path)) for _ in range(WAITING_MAX + 1)]
            answered = [said.json["detail"] for said in await asyncio.gather(*waiting)]
            assert answered.count("too much is asked at once") == 1
            memory.folded = 11
            assert (await port.ask(client, path)).status == 200

    asyncio.run(asyncio.wait_for(test(), 60))
