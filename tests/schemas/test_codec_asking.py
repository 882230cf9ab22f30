"""A record of an unknown schema id: the registry is asked once, before it is refused."""

import json
from io import BytesIO

import fastavro
import pytest

from schemas import catalogue, examples
from schemas.codec import Codec, Ids, Undecodable, Writer
from schemas.registry import RegistryAway

RECORD = "wardtrail.trajectory.TrajectoryPoint"
FIRST = Ids.in_order()
SECOND = Ids(newest={record: number + 1_000 for record, number in FIRST.newest.items()})
VALUE = next(iter(examples.good(RECORD)))[1]
NEWER = Codec(SECOND).encode(RECORD, VALUE)


def test_a_record_of_a_newer_release_is_read_after_asking():
    asked = []
    codec = Codec(FIRST, ask=lambda: asked.append(1) or SECOND)
    assert codec.decode_as(RECORD, NEWER) == VALUE
    assert asked == [1]


def test_a_foreign_id_is_refused_and_asked_for_only_once_in_a_while():
    asked = []
    codec = Codec(FIRST, ask=lambda: asked.append(1) or FIRST)
    for _ in range(5):
        with pytest.raises(Undecodable, match="no schema of ours"):
            codec.decode(NEWER)
    assert asked == [1]


def test_while_the_registry_is_away_such_a_record_is_neither_good_nor_bad():
    def away() -> Ids:
        raise RegistryAway("the registry doesn't answer")

    codec = Codec(FIRST, ask=away)
    for _ in range(2):
        with pytest.raises(RegistryAway):
            codec.decode(NEWER)


def test_what_else_is_wrong_with_a_record_asks_nobody():
    def ask() -> Ids:
        raise AssertionError("asked")

    codec = Codec(FIRST, ask=ask)
    for data in (b"", b"\x01abcdef", Codec(FIRST).encode(RECORD, VALUE)[:-1]):
        with pytest.raises(Undecodable):
            codec.decode(data)


def test_what_was_learned_reads_the_older_version_too():
    older = Writer(
        schema_id=FIRST.newest[RECORD], record=RECORD, text=json.dumps(catalogue.schema(RECORD))
    )
    both = Ids(newest=SECOND.newest, older=(older,))
    codec = Codec(FIRST, ask=lambda: both)
    codec.decode(NEWER)
    assert codec.decode_as(RECORD, Codec(FIRST).encode(RECORD, VALUE)) == VALUE


# --- events that only a newer release knows -------------------------------------------------------

KNOWN = "wardtrail.events.AdmissionLocationChanged"
FOREIGN = "wardtrail.events.AdmissionLevitated"
EVENT = next(iter(examples.good(KNOWN)))[1] | {"event_type": "admission.levitated"}


def levitated(**changed):
    """The schema of an event of a newer release, with a field that ours lacks."""
    return {**catalogue.schema(KNOWN), "name": "AdmissionLevitated", **changed}


def foreign(schema, record=FOREIGN):
    writer = Writer(schema_id=9_000, record=record, text=json.dumps(schema))
    return Ids(newest=FIRST.newest, foreign=(writer,))


def written(schema, value):
    body = BytesIO()
    body.write((0).to_bytes(1, "big") + (9_000).to_bytes(4, "big"))
    fastavro.schemaless_writer(body, fastavro.parse_schema(schema), value)
    return body.getvalue()


def test_of_an_event_that_only_a_newer_release_knows_the_envelope_is_read():
    schema = levitated()
    schema["fields"].insert(0, {"name": "height", "type": "double", "default": 0.0})
    codec = Codec(FIRST, ask=lambda: foreign(schema))
    record, value = codec.decode(written(schema, {**EVENT, "height": 3.5}))
    assert record == FOREIGN
    assert value == {name: each for name, each in EVENT.items() if name != "data"}


def test_such_an_event_is_checked_to_its_end():
    schema = levitated()
    codec = Codec(foreign(schema))
    data = written(schema, EVENT)
    for bad in (data[:-1], data[:40], data + b"\0"):
        with pytest.raises(Undecodable):
            codec.decode(bad)
    with pytest.raises(KeyError):
        codec.encode(FOREIGN, EVENT)


RECURSIVE = {"name": "next", "type": ["null", FOREIGN], "default": None}
NOTHINGS = {"name": "many", "type": {"type": "array", "items": "null"}, "default": []}


@pytest.mark.parametrize(
    ("schema", "record"),
    [
        (levitated(fields=[*levitated()["fields"], RECURSIVE]), FOREIGN),
        (levitated(fields=[*levitated()["fields"], NOTHINGS]), FOREIGN),
        (levitated(name="AdmissionSank"), FOREIGN),
        (levitated(namespace="elsewhere.events"), "elsewhere.events.AdmissionLevitated"),
        (catalogue.schema(KNOWN), KNOWN),
        ({"type": "record"}, FOREIGN),
        ("string", FOREIGN),
        ([], FOREIGN),
    ],
    ids=[
        "recursive",
        "no bytes",
        "misnamed",
        "elsewhere",
        "ours",
        "no fields",
        "no record",
        "list",
    ],
)
def test_a_schema_that_is_unsafe_or_not_of_our_events_is_not_learned(schema, record):
    assert 9_000 not in set(Codec(foreign(schema, record)).known())


def test_a_schema_that_lacks_a_field_of_every_event_reads_none():
    schema = levitated()
    schema["fields"] = [each for each in schema["fields"] if each["name"] != "partition_seq"]
    codec = Codec(foreign(schema))
    value = {name: each for name, each in EVENT.items() if name != "partition_seq"}
    with pytest.raises(Undecodable) as refused:
        codec.decode(written(schema, value))
    assert refused.value.cause == "malformed"


def test_what_was_learned_is_stored_with_the_ids():
    ids = foreign(levitated())
    assert Ids.loads(ids.dumps()) == ids
    without = json.loads(ids.dumps())
    del without["foreign"]  # as an earlier release stored them
    assert Ids.loads(json.dumps(without)) == FIRST
