"""The real registry: registered once, looked up exactly, too weak or away said clearly."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from confluent_kafka.schema_registry import Schema

from schemas import catalogue, examples
from schemas.codec import Codec, Ids
from schemas.registry import (
    COMPATIBILITY,
    FOREIGN_MAX,
    CompatibilityWeak,
    Registry,
    RegistryAway,
    SchemaIncompatible,
    SchemaMissing,
)

SUBJECT = "emr.hl7v2.v1-value"
RAW = "wardtrail.raw.Hl7v2Message"


@pytest.fixture
def renamed(monkeypatch):
    """Gives every subject a suffix of its own, so that each test finds an empty registry."""

    def rename(suffix):
        subjects = {f"{name}.{suffix}": record for name, record in catalogue.subjects().items()}
        monkeypatch.setattr("schemas.registry.catalogue.subjects", lambda: subjects)
        return subjects

    return rename


@pytest.fixture
def registry(stack):
    asked = Registry(stack.registry_url)
    yield asked
    asked.close()


@pytest.mark.stack
def test_registering_gives_every_record_an_id_and_registering_again_the_same(registry):
    first = registry.register_all()
    assert set(first.newest) == set(catalogue.records())
    assert registry.register_all() == first
    assert registry.lookup() == first
    registry.check()
    codec = Codec(Ids.loads(first.dumps()))
    for record in catalogue.records():
        for _, value in examples.good(record):
            assert codec.decode(codec.encode(record, value)) == (record, value)


@pytest.mark.stack
def test_looking_up_what_was_never_registered_says_which_subject_and_registers_nothing(
    registry, renamed
):
    subjects = renamed("never")
    with pytest.raises(SchemaMissing, match="wardtrail migrate"):
        registry.lookup()
    with pytest.raises(SchemaMissing):
        registry.lookup()
    assert not set(subjects) & set(registry._client.get_subjects())


@pytest.mark.stack
def test_an_older_version_is_found_and_what_it_wrote_is_read(registry, renamed, monkeypatch):
    renamed("older")
    older = catalogue.schema(RAW)
    older["fields"] = [field for field in older["fields"] if field["name"] != "trace"]
    text, newest = catalogue.text, catalogue.text(RAW)
    present = {RAW: json.dumps(older)}
    monkeypatch.setattr(
        "schemas.registry.catalogue.text", lambda record: present.get(record) or text(record)
    )
    before = registry.register_all()
    present[RAW] = newest
    after = registry.register_all()
    assert [(one.schema_id, one.record) for one in after.older] == [(before.newest[RAW], RAW)]
    assert after.newest[RAW] != before.newest[RAW]

    value = dict(examples.good(RAW))["full"]
    body = Codec(after).encode(RAW, {**value, "trace": None})[5:-1]  # the null of trace
    written = bytes([0]) + before.newest[RAW].to_bytes(4, "big") + body
    assert Codec(after).decode(written) == (RAW, {**value, "trace": None})


@pytest.mark.stack
def test_the_registry_refuses_an_incompatible_change(registry, renamed, monkeypatch):
    renamed("incompatible")
    registry.register_all()
    broken = catalogue.schema(RAW)
    broken["fields"].append({"name": "extra", "type": "string"})
    text = catalogue.text
    monkeypatch.setattr(
        "schemas.registry.catalogue.text",
        lambda record: json.dumps(broken) if record == RAW else text(record),
    )
    with pytest.raises(SchemaIncompatible, match=r"emr\.hl7v2\.v1-value\.incompatible"):
        registry.register_all()


@pytest.mark.stack
def test_a_subject_checked_less_is_refused_until_registering_sets_it_right(registry):
    registry.register_all()
    registry._client.set_compatibility(SUBJECT, "BACKWARD")
    with pytest.raises(CompatibilityWeak, match="BACKWARD"):
        registry.check()
    registry.register_all()
    registry.check()
    assert registry._client.get_compatibility(SUBJECT) == COMPATIBILITY


@pytest.mark.stack
def test_a_registry_that_checks_less_everywhere_is_refused(registry):
    registry.register_all()
    registry._client.set_compatibility(level="NONE")
    try:
        with pytest.raises(CompatibilityWeak, match="NONE"):
            registry.check()
    finally:
        registry.register_all()
    registry.check()


def test_a_registry_inside_the_client_is_refused():
    with pytest.raises(ValueError, match="http"):
        Registry("mock://anything")


def test_a_registry_that_is_not_there_is_away():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        away = Registry(f"http://127.0.0.1:{taken.getsockname()[1]}", timeout_seconds=1)
        for ask in (away.lookup, away.check, away.register_all):
            with pytest.raises(RegistryAway):
                ask()


def test_a_registry_that_never_answers_is_away():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        away = Registry(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_seconds=0.2)
        with pytest.raises(RegistryAway):
            away.lookup()


@pytest.mark.parametrize(
    ("status", "said"),
    [(500, b"{}"), (503, b"busy"), (200, b"<html>"), (200, b"[]"), (200, b"{}"), (401, b"{}")],
)
def test_a_server_that_is_no_registry_is_away(status, said):
    class Answers(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST  # noqa: N815  the name that the server calls

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        away = Registry(f"http://127.0.0.1:{server.server_address[1]}", timeout_seconds=2)
        try:
            with pytest.raises(RegistryAway):
                away.lookup()
        finally:
            server.shutdown()
            thread.join(timeout=10)


LEVITATED = "wardtrail.events.AdmissionLevitated"
KNOWN = "wardtrail.events.AdmissionLocationChanged"


@pytest.mark.stack
def test_an_event_that_a_newer_release_registered_is_learned_by_asking(registry):
    ids = registry.register_all()
    codec = Codec(ids, ask=registry.lookup)
    schema = {**catalogue.schema(KNOWN), "name": "AdmissionLevitated"}
    subject = f"clinical.events.v1-{LEVITATED}"
    value = dict(examples.good(KNOWN))["full"] | {"event_type": "admission.levitated"}
    body = Codec(ids).encode(KNOWN, value)[5:]  # the same fields, so the same bytes
    try:
        number = registry._client.register_schema(
            subject, Schema(json.dumps(schema), schema_type="AVRO")
        )
        found, read = codec.decode(bytes([0]) + number.to_bytes(4, "big") + body)
    finally:
        registry._client.delete_subject(subject)
        registry._client.delete_subject(subject, permanent=True)
    assert found == LEVITATED
    assert read == {name: each for name, each in value.items() if name != "data"}
    assert registry.lookup().foreign == ()


@pytest.mark.stack
def test_a_registry_that_names_too_many_subjects_of_ours_is_none(registry, monkeypatch):
    registry.register_all()
    names = [f"clinical.events.v1-wardtrail.events.E{n}" for n in range(FOREIGN_MAX + 1)]
    monkeypatch.setattr(registry._client, "get_subjects", lambda: names)
    with pytest.raises(RegistryAway, match="too many"):
        registry.lookup()
