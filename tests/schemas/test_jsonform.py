"""JSON for Avro records: its schema, what is read, what is refused without being repeated."""

from typing import Any
from uuid import UUID

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from schemas import catalogue, jsonform
from schemas.commands import TYPES
from schemas.jsonform import ITEMS_MAX, KEY_MAX, TEXT_MAX, FormInvalid

SECRET = "CANARY"
ID = "9F0C2A6E-1B1D-4C0E-8D53-5F3F5A0F7E11"
UUID_TYPE = {"type": "string", "logicalType": "uuid"}
INSTANT = {"type": "long", "logicalType": "timestamp-micros"}
EVERY = {
    "type": "record", "name": "Every", "namespace": "test", "doc": "One of each.",
    "fields": [
        {"name": "id", "type": UUID_TYPE, "doc": "whose"},
        {"name": "text", "type": "string"},
        {"name": "flag", "type": "boolean"},
        {"name": "few", "type": "int"},
        {"name": "many", "type": "long"},
        {"name": "ratio", "type": "double"},
        {"name": "at", "type": INSTANT},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "raw", "type": "bytes"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "also", "type": ["null", "Kind"], "default": None},
        {"name": "maybe_at", "type": ["null", INSTANT], "default": None},
        {"name": "either", "type": ["null", "long", "string"], "default": None},
        {"name": "clock", "type": ["null", {"type": "map", "values": "long"}], "default": None},
        {"name": "codes", "type": {"type": "array", "items": {
            "type": "record", "name": "Code", "fields": [
                {"name": "system", "type": "string"}, {"name": "code", "type": "string"}]}},
         "default": []},
    ],
}  # fmt: skip
GOOD: dict[str, Any] = {
    "id": ID, "text": "t\u00e4xt", "flag": True, "few": 3, "many": 2**63 - 1, "ratio": 1,
    "at": "2026-03-02T10:00:00.123456+01:00", "day": "1969-12-31", "raw": "AAE=", "kind": "B",
    "also": "A", "maybe_at": "2026-03-02t09:00:00z", "either": "x", "clock": {"tablet": 7},
    "codes": [{"system": "LN", "code": "1-8"}],
}  # fmt: skip
READ: dict[str, Any] = {
    "id": ID.lower(), "text": "t\u00e4xt", "flag": True, "few": 3, "many": 2**63 - 1, "ratio": 1.0,
    "at": 1_772_442_000_123_456, "day": -1, "raw": b"\x00\x01", "kind": "B", "also": "A",
    "maybe_at": 1_772_442_000_000_000, "either": "x", "clock": {"tablet": 7},
    "codes": [{"system": "LN", "code": "1-8"}],
}  # fmt: skip
BAD: list[tuple[str, object, str]] = [
    ("id", SECRET, "/id: must be a UUID"),
    ("id", ID.replace("-", ""), "/id: must be a UUID"),
    ("id", None, "/id: must be a UUID"),
    ("text", 5, "/text: must be a text"),
    ("text", SECRET + "\0", "/text: must be a text"),
    ("text", "x" * (TEXT_MAX + 1), "/text: must be a text of at most"),
    ("flag", 1, "/flag: must be true or false"),
    ("few", True, "/few: must be a whole number of 32 bits"),
    ("few", 2**31, "/few: must be a whole number of 32 bits"),
    ("few", 1.5, "/few: must be a whole number"),
    ("few", float("inf"), "/few: must be a whole number"),
    ("few", SECRET, "/few: must be a whole number"),
    ("many", 2**63, "/many: must be a whole number of 64 bits"),
    ("ratio", float("nan"), "/ratio: must be a number"),
    ("ratio", True, "/ratio: must be a number"),
    ("at", "2026-03-02T10:00:00", "/at: must be an instant of RFC 3339 with its zone"),
    ("at", "2026-13-02T10:00:00Z", "/at: must be an instant"),
    ("at", "0001-01-01T00:00:00+14:00", "/at: must be an instant"),
    ("at", 1_772_442_000, "/at: must be an instant"),
    ("day", "20260302", "/day: must be a day"),
    ("raw", SECRET + "!", "/raw: must be base64"),
    ("kind", SECRET, "/kind: must be one of: A, B"),
    ("also", SECRET, "/also: must be one of: A, B, or null"),
    ("maybe_at", SECRET, "/maybe_at: must be an instant of RFC 3339 with its zone, or null"),
    ("either", [], "/either: must be of one of its types"),
    ("clock", {SECRET: "x"}, "/clock/*: must be a whole number of 64 bits"),
    ("clock", {"": 1}, "/clock: must have names of 1 to"),
    ("clock", {"x" * (KEY_MAX + 1): 1}, "/clock: must have names of 1 to"),
    ("clock", {str(n): n for n in range(ITEMS_MAX + 1)}, "/clock: must be an object of at most"),
    ("clock", [], "/clock: must be an object of at most"),
    ("codes", {}, "/codes: must be a list of at most"),
    ("codes", [{"system": "LN", "code": "1"}, {"system": "LN"}], "/codes/1/code: is missing"),
    ("codes", [{"system": "LN", "code": "1", SECRET: 1}], "/codes/0: has a field that isn't known"),
    ("codes", [{"system": "LN", "code": "1"}] * (ITEMS_MAX + 1), "/codes: must be a list of"),
    ("codes", [SECRET], "/codes/0: must be an object"),
]  # fmt: skip


def test_each_type_is_read_for_avro_and_written_back() -> None:
    read = jsonform.read(EVERY, GOOD)
    assert read == READ
    fastavro.validate(read, fastavro.parse_schema(catalogue._plain(EVERY)))
    written = jsonform.write(EVERY, read)
    assert written["at"] == "2026-03-02T09:00:00.123456+00:00"
    assert (written["day"], written["raw"], written["either"]) == ("1969-12-31", "AAE=", "x")
    assert jsonform.read(EVERY, written) == read


def test_what_has_a_default_may_be_left_out() -> None:
    optional = {"also", "maybe_at", "either", "clock", "codes"}
    given = {name: value for name, value in GOOD.items() if name not in optional}
    read = jsonform.read(EVERY, given)
    assert {name: read[name] for name in optional} == {
        "also": None, "maybe_at": None, "either": None, "clock": None, "codes": [],
    }  # fmt: skip
    assert set(jsonform.to_json_schema(EVERY)["required"]) == GOOD.keys() - optional


@pytest.mark.parametrize(("name", "value", "said"), BAD)
def test_what_does_not_fit_is_named_and_not_repeated(name, value, said) -> None:
    with pytest.raises(FormInvalid) as caught:
        jsonform.read(EVERY, {**GOOD, name: value})
    assert str(caught.value).startswith(said)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [None, [], "x", 5])
def test_what_is_no_object_is_refused(value) -> None:
    with pytest.raises(FormInvalid, match=r"^/: must be an object$"):
        jsonform.read(EVERY, value)


def test_a_field_that_is_not_known_is_refused_and_the_known_ones_are_told() -> None:
    with pytest.raises(FormInvalid, match="there are: id, text") as caught:
        jsonform.read(EVERY, {**GOOD, SECRET: 1})
    assert SECRET not in str(caught.value)
    assert str(caught.value.under("data")).startswith("/data: ")


def test_bounds_themselves_are_taken() -> None:
    bounds = {
        "text": "x" * TEXT_MAX, "few": -(2**31), "many": -(2**63),
        "clock": {"x" * KEY_MAX: 1}, "codes": [{"system": "", "code": ""}] * ITEMS_MAX,
    }  # fmt: skip
    jsonform.read(EVERY, {**GOOD, **bounds})


def test_the_schema_takes_what_is_read_and_refuses_what_is_not() -> None:
    schema = jsonform.to_json_schema(EVERY)
    Draft202012Validator.check_schema(schema)
    checks = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
    checks.validate(GOOD)
    told_by_format = {"id", "at", "maybe_at", "day", "raw"}  # formats are notes to validators
    for name, value, _ in BAD:
        if name not in told_by_format and value not in (float("inf"),) and value == value:
            assert not checks.is_valid({**GOOD, name: value}), (name, value)


@pytest.mark.parametrize("kind", TYPES.values(), ids=lambda kind: kind.name)
def test_every_command_has_a_schema(kind) -> None:
    schema = jsonform.to_json_schema(kind.full_record)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(sorted(GOOD)), value=anything)
def test_any_json_is_read_or_refused(name, value) -> None:
    try:
        read = jsonform.read(EVERY, {**GOOD, name: value})
    except FormInvalid:
        return
    fastavro.validate(read, fastavro.parse_schema(catalogue._plain(EVERY)))
    assert jsonform.read(EVERY, jsonform.write(EVERY, read)) == read


@settings(max_examples=100, deadline=None)
@given(value=st.uuids(), at=st.datetimes(timezones=st.timezones()))
def test_ids_and_instants_come_back_as_they_were(value: UUID, at) -> None:
    try:
        read = jsonform.read(EVERY, {**GOOD, "id": str(value), "at": at.isoformat()})
    except FormInvalid:  # offsets of seconds, and years that UTC hasn't
        return
    assert read["id"] == str(value)
    assert jsonform.read(EVERY, jsonform.write(EVERY, read))["at"] == read["at"]
