"""What a decoded value means, beyond its Avro type: every flaw is found, and none is quoted."""

import uuid

import pytest

from schemas import catalogue, examples, formed

COMMAND = "wardtrail.commands.Command"
POINT = "wardtrail.trajectory.TrajectoryPoint"
CANARY = "CANARY"
CONFLICT = "wardtrail.events.IdentityConflict"


def full(record):
    return dict(examples.good(record))["full"]


@pytest.mark.parametrize("record", catalogue.records())
def test_every_good_example_is_well_formed(record):
    for _, value in examples.good(record):
        assert formed.flaw(record, value) is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"command_id": CANARY}, "not an id: command_id"),
        ({"command_id": ""}, "not an id: command_id"),
        ({"tenant_id": str(uuid.UUID(int=10)).upper()}, "not an id: tenant_id"),
        ({"stream_id": uuid.UUID(int=10).hex}, "not an id: stream_id"),
        ({"issued_at": formed._LAST + 1}, "not an instant: issued_at"),
        ({"issued_at": 2**63 - 1}, "not an instant: issued_at"),
        ({"schema_version": 2**31}, "out of its range: schema_version"),
        ({"expected_version": -(2**31) - 1}, "out of its range: expected_version"),
        ({"issued_at": -(2**63)}, "not an instant: issued_at"),
        ({"trace": "a\0b"}, "a text with a NUL: trace"),
        ({"command_type": "\0"}, "a text with a NUL: command_type"),
    ],
)
def test_a_flaw_is_told_by_its_field_and_never_by_its_value(changed, said):
    assert formed.flaw(COMMAND, {**full(COMMAND), **changed}) == said


def test_what_is_left_out_has_no_flaw():
    value = {**full(COMMAND), "trace": None, "expected_version": None}
    assert formed.flaw(COMMAND, value) is None


def test_a_flaw_inside_of_a_record_and_an_array_is_found():
    value = full(CONFLICT)
    data = {**value["data"], "patients": [*value["data"]["patients"], CANARY]}
    assert formed.flaw(CONFLICT, {**value, "data": data}) == "not an id: data.patients"


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_double_that_is_no_number_is_a_flaw(number):
    kind = {"type": "map", "values": ["null", "double"]}
    schema = {"type": "record", "fields": [{"name": "weights", "type": kind}]}
    check = formed.compiled(schema)
    assert check({"weights": {"a": 1.5, "b": None}}) is None
    assert check({"weights": {"a": number}}) == "not a number: weights"
    assert check({"weights": {"\0": 1.5}}) == "a text with a NUL: weights"


def test_what_avro_bounds_by_itself_needs_no_check():
    assert formed.compiled({"type": "array", "items": "boolean"}) is None
