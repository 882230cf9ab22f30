"""The command types: each with its contract, and what it declares stands in that contract."""

import re

import pytest

from schemas import catalogue, commands
from schemas.topics import COMMANDS

TYPES = commands.TYPES.values()


def named(declared):
    return declared.name


def fields(declared):
    """The contract's fields by name, each with its type where it isn't null."""
    found = {}
    for field in catalogue.schema(declared.full_record)["fields"]:
        kind = field["type"]
        found[field["name"]] = kind[1] if isinstance(kind, list) else kind
    return found


def test_every_command_type_has_a_contract_and_every_contract_a_command_type():
    files = {path.stem for path in (catalogue.AVRO / "commands").glob("*.avsc")}
    assert files == set(commands.TYPES)


def test_every_command_types_data_travels_in_the_topic():
    assert set(COMMANDS.inner) == {declared.full_record for declared in TYPES}


@pytest.mark.parametrize("declared", TYPES, ids=named)
def test_a_command_type_is_named_after_its_stream_and_what_is_to_be_done(declared):
    assert re.fullmatch(r"[a-z_]+\.[a-z_]+", declared.name)
    assert declared.name.partition(".")[0] == declared.stream_type
    words = re.split(r"[._]", declared.name)
    assert declared.record == "".join(word.capitalize() for word in words)
    assert len(declared.name) <= 32, "messages and command_results hold as much"
    assert declared.schema_version >= 1


@pytest.mark.parametrize("declared", TYPES, ids=named)
def test_what_a_command_type_names_are_ids_in_its_data(declared):
    found = fields(declared)
    for name in declared.references:
        kind = found[name]
        one = kind["items"] if kind["type"] == "array" else kind
        assert one["logicalType"] == "uuid", name
    if declared.person is not None:
        assert found[declared.person]["logicalType"] == "uuid"


@pytest.mark.parametrize("declared", TYPES, ids=named)
def test_a_record_outside_the_types_is_a_key_error(declared):
    with pytest.raises(KeyError):
        catalogue.schema(f"{declared.full_record}s")
