"""Every contract of the catalogue: complete, bounded, never recursive, documented."""

import json
import re

import pytest

from schemas import catalogue, events, topics

RECORDS = catalogue.records()
EVENT_RECORDS = [f"{catalogue.EVENTS_NAMESPACE}.{kind.record}" for kind in events.TYPES.values()]
RECURSIVE = {
    "type": "record",
    "name": "List",
    "fields": [{"name": "rest", "type": ["null", "List"]}],
}


def all_fields(full):
    return list(catalogue.fields(full))


def test_every_event_type_has_a_contract_and_every_contract_an_event_type():
    files = {path.stem for path in (catalogue.AVRO / "events").glob("*.avsc")}
    assert files == set(events.TYPES)


def test_every_contract_file_is_of_a_topic_or_the_envelope():
    files = {path.stem for path in catalogue.AVRO.glob("*.avsc")}
    by_record = {topic.name for topic in topics.TOPICS.values() if topic.by_record}
    assert files == ({"event"} | set(topics.TOPICS)) - by_record


@pytest.mark.parametrize("record", RECORDS)
def test_no_contract_is_recursive_or_has_items_of_no_bytes(record):
    catalogue.check(catalogue.schema(record))


@pytest.mark.parametrize(
    "unsafe",
    [
        RECURSIVE,
        {"type": "record", "name": "a.B", "fields": [{"name": "c", "type": "a.B"}]},
        {
            "type": "record",
            "name": "Two",
            "fields": [{"name": "x", "type": {"type": "array", "items": RECURSIVE}}],
        },
        {"type": "array", "items": "null"},
        {"type": "map", "values": "null"},
        {"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}},
        {"type": "array", "items": {"type": "record", "name": "E", "fields": []}},
        {
            "type": "array",
            "items": {"type": "record", "name": "N", "fields": [{"name": "n", "type": "null"}]},
        },
        {"type": "array", "items": {"type": "null"}},
        {"type": "array", "items": "Elsewhere"},
    ],
)
def test_an_unsafe_schema_is_refused(unsafe):
    with pytest.raises(catalogue.SchemaUnsafe):
        catalogue.check(unsafe)


def test_a_schema_nested_too_deep_is_refused():
    nested = "string"
    for level in range(catalogue.DEPTH_MAX + 2):
        nested = {
            "type": "record",
            "name": f"R{level}",
            "fields": [{"name": "inner", "type": nested}],
        }
    with pytest.raises(catalogue.SchemaUnsafe):
        catalogue.check(nested)


@pytest.mark.parametrize("record", RECORDS)
def test_every_optional_field_has_the_default_null_as_its_first_branch(record):
    for field in all_fields(catalogue.schema(record)):
        if isinstance(field["type"], list):
            assert field["type"][0] == "null", field["name"]
            assert field.get("default", "none") is None, field["name"]
            assert len(field["type"]) == 2, field["name"]


@pytest.mark.parametrize("kind", events.TYPES.values(), ids=lambda kind: kind.name)
def test_every_sealed_field_is_named_in_the_contracts_documentation(kind):
    schema = catalogue.schema(f"{catalogue.EVENTS_NAMESPACE}.{kind.record}")
    data = schema["fields"][-1]["type"]
    said = re.search(r"\(sealed: ([a-z_, ]+)\)", data["doc"])
    documented = tuple(said[1].split(", ")) if said else ()
    assert documented == kind.sealed


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_is_documented_and_its_times_and_ids_are_typed(record):
    schema = catalogue.schema(record)
    assert schema["doc"]
    for field in all_fields(schema):
        kind = field["type"][1] if isinstance(field["type"], list) else field["type"]
        logical = kind.get("logicalType") if isinstance(kind, dict) else None
        if field["name"].endswith("_id"):
            assert logical == "uuid", field["name"]
        if field["name"].endswith("_at"):
            assert logical == "timestamp-micros", field["name"]


@pytest.mark.parametrize("record", EVENT_RECORDS)
def test_an_event_is_the_envelope_with_its_own_record_as_data(record):
    schema = catalogue.schema(record)
    names = [field["name"] for field in schema["fields"]]
    assert f"{schema['namespace']}.{schema['name']}" == record
    assert set(names) == set(events.Event.__annotations__)
    assert names[-1] == "data"
    assert schema["fields"][-1]["type"]["namespace"] == "wardtrail.events.data"


@pytest.mark.parametrize("record", RECORDS)
def test_the_text_to_register_is_the_schema_and_stays_the_same(record):
    assert json.loads(catalogue.text(record)) == catalogue.schema(record)
    catalogue.schema(record)["fields"].clear()
    assert catalogue.schema(record)["fields"]


@pytest.mark.parametrize("record", RECORDS)
def test_the_parsed_schema_has_no_logical_types(record):
    assert "logicalType" not in json.dumps(catalogue.parsed(record), default=str)


@pytest.mark.parametrize("record", ["wardtrail.events.Nothing", "wardtrail.raw.Nothing", "Event"])
def test_a_record_outside_the_catalogue_is_a_key_error(record):
    with pytest.raises(KeyError):
        catalogue.schema(record)


def test_subjects_follow_each_topics_naming():
    subjects = catalogue.subjects()
    assert set(subjects.values()) == {
        record for topic in topics.TOPICS.values() for record in (*topic.records, *topic.inner)
    }
    for record in topics.COMMANDS.inner:
        assert subjects[f"app.commands.v1-{record}"] == record
    assert subjects["app.commands.v1-value"] == "wardtrail.commands.Command"
    for record in topics.EVENTS.records:
        assert subjects[f"clinical.events.v1-{record}"] == record
    assert subjects["emr.hl7v2.v1-value"] == "wardtrail.raw.Hl7v2Message"
