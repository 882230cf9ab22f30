"""Patients found over HTTP: by a body alone, for keys that see what is sealed, unlogged."""

import asyncio
import json
import logging
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from jsonschema import Draft202012Validator
from yarl import URL

from ops.api import QUERY_BYTES_MAX, Api
from ops.keys import Ring
from ops.opening import Opener
from ops.posting import Posting
from schemas import identity, lookups, sealing
from schemas.identity import Identifier
from schemas.sealing import Key, Scope, Subject
from sinks import queries
from sinks.reading import Readers
from tests.ops.test_work_routes import DESCRIBED, HOLDERS, KEYS
from tests.sinks.paths import insert
from tests.sinks.provisioned import OURS, made

pytestmark = pytest.mark.stack
PATIENT = UUID(int=7)
MRN, NAME = "MRN-4711", "Rookcanary"
DEMOGRAPHICS = {"names": [{"family": NAME, "given": "Ann"}], "birth_date": "1970-01-31"}
PATH = "/v1/patients/search"
SUBJECT = Subject(keys={1: Key.of(bytes(range(1, 33)), version=1, scope=Scope.PERSON)})


@pytest.fixture(scope="module")
def port(stack):
    """Asks the HTTP port over a database with one patient."""
    with made(stack) as store:
        for token in lookups.tokens(KEYS.identity, DEMOGRAPHICS, PATIENT):
            insert(
                store, "patient_tokens", tenant_id=OURS, token=token, patient_id=PATIENT,
                partition=0, partition_seq=1,
            )  # fmt: skip
        hashed = identity.lookup(KEYS.identity, Identifier(value=MRN, authority=""))
        insert(
            store, "patient_identifiers", tenant_id=OURS, authority="NORTH", type="MR",
            value_hmac=UUID(bytes=hashed), patient_id=PATIENT,
        )  # fmt: skip
        keys = KEYS.apart()
        keys.subjects[PATIENT] = SUBJECT
        envelope = keys.seal(
            orjson.dumps(DEMOGRAPHICS), person=PATIENT, record=uuid4(), field="demographics"
        )
        insert(
            store, "patient_read_models", id=PATIENT, tenant_id=OURS, created_at="2026-03-02",
            updated_at="2026-03-02", partition=0, partition_seq=1,
            data={"demographics": sealing.text(envelope)},
        )  # fmt: skip
        readers = Readers.open(store.app, name="test", size=4, seconds=10)

        def ask(body: Any, token: str = "whole", *, path: str = PATH, **request: Any):
            return asyncio.run(asyncio.wait_for(answered(readers, path, body, token, request), 60))

        yield ask
        readers.close()


async def answered(
    readers: Readers, path: str, body: Any, token: str, request: dict[str, Any]
) -> tuple[int, Any]:
    nobody: Any = None
    opener = Opener(lambda _: KEYS, lambda wanted, **_: dict.fromkeys(wanted, SUBJECT))
    api = Api(Ring(HOLDERS), readers, queries, posting=Posting(nobody), opener=opener)
    app = web.Application()
    app.add_subapp("/v1", api.app())
    asked = {"method": "POST", "data": orjson.dumps(body), **request}
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with TestClient(TestServer(app)) as client:
        answer = await client.request(
            asked.pop("method"), URL(path, encoded=True), headers=headers, **asked
        )
        return answer.status, json.loads(await answer.text())


@pytest.mark.parametrize(
    "query",
    [
        {"name": "ann ROOKCANARY"},
        {"name_prefix": "rookc"},
        {"birth_date": "1970-01-31"},
        {"mrn": {"value": f" {MRN} "}},
        {"mrn": {"value": MRN, "authority": "NORTH"}, "name": NAME, "birth_date": "1970-01-31"},
    ],
)
def test_a_patient_is_found_and_told_in_clear(port, query):
    status, answer = port(query)
    assert status == 200
    assert answer["patients"] == [
        {"id": str(PATIENT), "found_as": [str(PATIENT)], "demographics": DEMOGRAPHICS}
    ]
    assert answer["cut"] is False
    answers = DESCRIBED["paths"][PATH]["post"]["responses"]
    schema = answers["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": DESCRIBED["components"]}).validate(answer)


@pytest.mark.parametrize(
    "query",
    [
        {"name": "Ann", "birth_date": "1970-02-01"},
        {"name": "ookcanary"},
        {"mrn": {"value": MRN, "authority": "SOUTH"}},
    ],
)
def test_who_is_not_all_that_is_said_is_not_found(port, query):
    assert port(query)[1]["patients"] == []


def test_another_tenant_finds_nobody_even_by_the_same_tokens(port):
    assert port({"name": NAME}, "theirs")[1]["patients"] == []


def test_a_key_that_sees_nothing_sealed_may_not_seek(port):
    status, answer = port({"name": NAME}, "closed")
    assert (status, answer["title"]) == (403, "Forbidden")


@pytest.mark.parametrize(
    "query",
    [
        None, [], "x", {}, {"sex": "F"}, {"name": NAME, "flag": "vip"}, {"name": 5},
        {"name": ""}, {"name": "-"}, {"name": "\u0000"}, {"name": "x" * 251},
        {"name_prefix": "ro"}, {"name_prefix": NAME}, {"birth_date": "1970"},
        {"birth_date": "31.01.1970"}, {"mrn": MRN}, {"mrn": {}}, {"mrn": {"value": ""}},
        {"mrn": {"value": MRN, "authority": None}}, {"mrn": {"value": MRN, "type": "MR"}},
        {"name": NAME, "mrn": None}, {"mrn": {"value": "\u0000"}},
    ],
)  # fmt: skip
def test_a_query_that_cannot_be_read_is_refused_and_not_repeated(port, query):
    status, answer = port(query)
    assert status == 400
    assert answer["detail"]
    assert not {NAME, MRN, "1970", "31.01"} & set(json.dumps(answer).split('"'))


def test_half_a_character_is_refused(port):
    assert port(None, data=b'{"name": "\\ud800"}')[0] == 400
    assert port(None, data=b'{"mrn": {"value": "\\ud800"}}')[0] == 400


def test_a_query_over_its_bound_is_refused(port):
    assert port({"name": "x" * QUERY_BYTES_MAX})[0] == 413


def test_no_url_takes_what_a_patient_is_found_by(port):
    for path in (f"{PATH}?name={NAME}", f"/v1/patients?name={NAME}", f"/v1/patients/{NAME}"):
        for method in ("GET", "POST"):
            status, answer = port({"name": NAME}, path=path, method=method)
            assert status in (400, 404, 405), path
            assert NAME not in json.dumps(answer)


def test_who_may_see_texts_and_asks_for_some_stands_in_the_log(port, caplog):
    with caplog.at_level(logging.INFO):
        port({"name": NAME})
        port({"name": NAME}, "closed")
    said = [each.getMessage() for each in caplog.records if each.name == "ops.api"]
    [line] = said
    assert line.startswith("search_patients opens texts: key whole, tenant ")


def test_nothing_that_was_asked_stands_in_a_log(port, caplog):
    with caplog.at_level(logging.DEBUG):
        for query in ({"name": NAME}, {"mrn": {"value": MRN}}, {"mrn": MRN}, {"name": [NAME]}):
            port(query)
            port(query, "closed")
    assert NAME not in caplog.text
    assert MRN not in caplog.text
