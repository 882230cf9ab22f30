"""Every schema that was ever released is still readable, and an incompatible one is caught."""

import copy
import json
from io import BytesIO

import fastavro
import pytest

from schemas import catalogue, history
from schemas.history import Incompatible
from schemas.history.compatibility import breaks

VERSIONS = [version for subject in catalogue.subjects() for version in history.versions(subject)]
SUBJECT = "emr.hl7v2.v1-value"
RAW = "wardtrail.raw.Hl7v2Message"


def label(version):
    return f"{version.subject} {version.number}"


@pytest.mark.parametrize("subject", catalogue.subjects())
def test_the_present_schema_of_every_subject_is_frozen(subject):
    frozen = list(history.versions(subject))
    assert [version.number for version in frozen] == list(range(1, len(frozen) + 1))
    assert frozen[-1].schema == catalogue.schema(catalogue.subjects()[subject]), (
        "freeze it by: python -m schemas.history"
    )


def test_every_folder_of_history_is_a_subject():
    folders = {path.name for path in history.FOLDER.iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == set(catalogue.subjects())


@pytest.mark.parametrize("version", VERSIONS, ids=label)
def test_every_historical_example_decodes_with_the_newest_reader(version):
    newest = catalogue.parsed(catalogue.subjects()[version.subject])
    body = BytesIO(version.encoded)
    decoded = fastavro.schemaless_reader(body, catalogue.prepared(version.schema), newest)
    assert body.tell() == len(version.encoded)
    for name in decoded.keys() & version.value.keys() - {"data"}:
        assert decoded[name] == version.value[name]


@pytest.mark.parametrize("version", VERSIONS, ids=label)
def test_every_version_and_the_newest_read_each_other(version):
    present = catalogue.schema(catalogue.subjects()[version.subject])
    history.require_compatible(version.subject, present)


def field(schema, name):
    return next(one for one in schema["fields"] if one["name"] == name)


def without_default(schema):
    schema["fields"].append({"name": "extra", "type": "string"})


def removed(schema):
    schema["fields"].remove(field(schema, "tenant_id"))


def retyped(schema):
    field(schema, "size_bytes")["type"] = "string"


def widened(schema):
    field(schema, "size_bytes")["type"] = "long"


def otherwise_meant(schema):
    field(schema, "received_at")["type"]["logicalType"] = "timestamp-millis"


def renamed(schema):
    schema["name"] = "Another"


def narrowed(schema):
    field(schema, "trace")["type"] = ["null"]


def made_optional(schema):
    field(schema, "message_type")["type"] = ["null", "string"]


@pytest.mark.parametrize(
    "change",
    [
        without_default, removed, retyped, widened, otherwise_meant, renamed, narrowed,
        made_optional,
    ],
)  # fmt: skip
def test_an_incompatible_change_is_caught(change):
    schema = catalogue.schema(RAW)
    change(schema)
    with pytest.raises(Incompatible):
        history.require_compatible(SUBJECT, schema)


def test_a_field_with_a_default_may_come_and_go():
    schema = catalogue.schema(RAW)
    schema["fields"].append({"name": "extra", "type": ["null", "string"], "default": None})
    schema["fields"].remove(field(schema, "trace"))
    history.require_compatible(SUBJECT, schema)


@pytest.mark.parametrize(
    ("writer", "reader", "fits"),
    [
        ({"type": "array", "items": "int"}, {"type": "array", "items": "int"}, True),
        ({"type": "array", "items": "int"}, {"type": "array", "items": "string"}, False),
        ({"type": "map", "values": "bytes"}, {"type": "map", "values": "int"}, False),
        ("int", ["null", "int"], True),
        (["null", "int"], "int", False),
        (
            {"type": "enum", "name": "E", "symbols": ["A", "B"]},
            {"type": "enum", "name": "E", "symbols": ["A"]},
            False,
        ),
        ({"type": "fixed", "name": "F", "size": 8}, {"type": "fixed", "name": "F", "size": 9}, 0),
    ],
)
def test_what_one_schema_wrote_the_other_reads_or_not(writer, reader, fits):
    assert (not list(breaks(writer=writer, reader=reader))) == bool(fits)


def test_freezing_writes_what_is_new_once(tmp_path):
    assert list(history.freeze(tmp_path)) == [(subject, 1) for subject in catalogue.subjects()]
    assert list(history.freeze(tmp_path)) == []
    first = next(history.versions(SUBJECT, tmp_path))
    assert first.schema == catalogue.schema(RAW)


def test_freezing_takes_a_compatible_change_as_the_next_version_and_refuses_another(tmp_path):
    list(history.freeze(tmp_path))
    path = tmp_path / SUBJECT / "1.avsc"
    older = json.loads(path.read_text())
    before = copy.deepcopy(older)
    older["fields"].remove(field(older, "trace"))
    path.write_text(json.dumps(older))
    assert list(history.freeze(tmp_path)) == [(SUBJECT, 2)]
    before["fields"].remove(field(before, "tenant_id"))
    path.write_text(json.dumps(before))
    (tmp_path / SUBJECT / "2.avsc").unlink()
    with pytest.raises(Incompatible):
        list(history.freeze(tmp_path))
    assert not (tmp_path / SUBJECT / "2.avsc").exists()
