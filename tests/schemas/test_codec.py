"""The wire format, over every good and bad example of every record."""

import contextlib
import json
import traceback

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas import catalogue, codec, examples
from schemas.codec import Codec, Ids, IdsInvalid, Undecodable, Unencodable, Writer
from schemas.topics import RECORD_BYTES_MAX

RECORDS = catalogue.records()
CODEC = Codec(Ids.in_order())
GOOD = [(record, name, value) for record in RECORDS for name, value in examples.good(record)]
BAD = [(record, name, example) for record in RECORDS for name, example in examples.bad(record)]
LOCATION_CHANGED = "wardtrail.events.AdmissionLocationChanged"
RAW = "wardtrail.raw.Hl7v2Message"
SECRET = "Geheimrat"
OLDER = 60_001  # an id of none of the newest


def named(parameter):
    return parameter if isinstance(parameter, str) else ""


def wire_of(record, text):
    number = Ids.in_order().newest[record]
    return bytes.fromhex(text.replace(examples.ID, f"{number:08x}"))


@pytest.fixture(scope="module")
def encoded():
    return [CODEC.encode(record, value) for record, _, value in GOOD]


@pytest.mark.parametrize("record", RECORDS)
def test_every_record_has_examples_good_and_bad_and_every_example_a_record(record):
    assert {"full", "sparse"} <= {name for name, _ in examples.good(record)}
    causes = {example.get("cause") for _, example in examples.bad(record)}
    assert {None, "cut", "trailing", "magic", "schema_id", "malformed"} <= causes
    folders = {path.name for path in examples.FOLDER.iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == set(RECORDS)


@pytest.mark.parametrize(("record", "name", "value"), GOOD, ids=named)
def test_every_good_example_comes_back_as_it_went(record, name, value):
    data = CODEC.encode(record, value)
    assert CODEC.decode(data) == (record, value)
    assert CODEC.decode_as(record, data) == value
    assert data[0] == 0
    assert int.from_bytes(data[1:5], "big") == Ids.in_order().newest[record]


@pytest.mark.parametrize(("record", "name", "example"), BAD, ids=named)
def test_every_bad_example_is_refused(record, name, example):
    assert example["why"]
    if "value" in example:
        with pytest.raises(Unencodable):
            CODEC.encode(record, example["value"])
        return
    with pytest.raises(Undecodable) as refused:
        CODEC.decode(wire_of(record, example["wire"]))
    assert refused.value.cause == example["cause"]


@pytest.mark.parametrize(("record", "name", "value"), GOOD, ids=named)
def test_a_record_cut_anywhere_is_refused(record, name, value):
    data = CODEC.encode(record, value)
    for length in range(len(data)):
        with pytest.raises(Undecodable):
            CODEC.decode(data[:length])


@pytest.mark.parametrize(("record", "name", "value"), GOOD, ids=named)
def test_a_record_with_bytes_after_it_is_refused(record, name, value):
    data = CODEC.encode(record, value)
    for tail in (b"\0", b"\x02", b"\xff" * 9, data):
        with pytest.raises(Undecodable) as refused:
            CODEC.decode(data + tail)
        assert refused.value.cause == "trailing"


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_change_of_a_record_decodes_or_is_undecodable_and_nothing_else(encoded, data):
    changed = bytearray(data.draw(st.sampled_from(encoded)))
    for _ in range(data.draw(st.integers(1, 8))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Undecodable):
        CODEC.decode(bytes(changed))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(RECORDS), st.binary(max_size=400))
def test_noise_behind_a_good_head_decodes_or_is_undecodable_and_nothing_else(record, noise):
    head = bytes([0]) + Ids.in_order().newest[record].to_bytes(4, "big")
    with contextlib.suppress(Undecodable):
        assert CODEC.decode(head + noise)[0] == record


def test_a_count_of_items_beyond_the_record_is_refused_at_once():
    value = dict(examples.good("wardtrail.events.IdentityConflict"))["sparse"]
    data = CODEC.encode("wardtrail.events.IdentityConflict", value)
    huge = (b"\xff" * 8) + b"\x7f"  # a count of about 2**62
    with pytest.raises(Undecodable):
        CODEC.decode(data[:-1] + huge)


def test_no_bytes_are_no_record():
    with pytest.raises(Undecodable) as refused:
        CODEC.decode(b"")
    assert refused.value.cause == "empty"


def test_a_record_at_the_limit_is_decoded_and_one_over_it_refused():
    value = dict(examples.good(RAW))["sparse"]
    room = RECORD_BYTES_MAX - len(CODEC.encode(RAW, {**value, "body": b""})) - 3
    largest = {**value, "body": bytes(room)}
    data = CODEC.encode(RAW, largest)
    assert len(data) == RECORD_BYTES_MAX
    assert CODEC.decode_as(RAW, data) == largest
    with pytest.raises(Undecodable) as refused:
        CODEC.decode(data + b"\0")
    assert refused.value.cause == "too_large"
    with pytest.raises(Unencodable):
        CODEC.encode(RAW, {**value, "body": bytes(room + 1)})


def test_another_record_than_expected_is_refused():
    data = CODEC.encode(RAW, dict(examples.good(RAW))["full"])
    with pytest.raises(Undecodable) as refused:
        CODEC.decode_as(LOCATION_CHANGED, data)
    assert refused.value.cause == "record"


def test_a_batch_decodes_in_order(encoded):
    assert CODEC.decode_many(encoded) == [(record, value) for record, _, value in GOOD]
    assert CODEC.decode_many([]) == []


def test_a_batch_says_which_record_is_the_first_bad_one(encoded):
    for index in (0, 7, len(encoded) - 1):
        batch = [*encoded[:index], encoded[index][:-1], *encoded[index + 1 :], b""]
        with pytest.raises(Undecodable) as refused:
            CODEC.decode_many(batch)
        assert (refused.value.index, refused.value.cause) == (index, "cut")


def test_no_refusal_says_what_stands_in_the_record():
    value = {**dict(examples.good(LOCATION_CHANGED))["full"], "created_by": SECRET}
    data = CODEC.encode(LOCATION_CHANGED, value)
    for broken in (data[:-1], data + b"\0", data.replace(b"Geh", b"\xffeh")):
        with pytest.raises(Undecodable) as refused:
            CODEC.decode(broken)
        assert "heimrat" not in "".join(traceback.format_exception(refused.value))
    with pytest.raises(Unencodable) as unfit:
        CODEC.encode(LOCATION_CHANGED, {**value, "partition": SECRET})
    assert SECRET not in "".join(traceback.format_exception(unfit.value))


def older_location_changed():
    """The schema before ``attending_id`` came, and with a field that has gone since."""
    schema = catalogue.schema(LOCATION_CHANGED)
    data = schema["fields"][-1]["type"]
    data["fields"] = [field for field in data["fields"] if field["name"] != "attending_id"]
    data["fields"].append({"name": "gone", "type": ["null", "string"], "default": None})
    return schema


def test_what_an_older_schema_wrote_is_read_by_the_newest():
    text = json.dumps(older_location_changed())
    writer = Writer(schema_id=OLDER, record=LOCATION_CHANGED, text=text)
    ids = Ids(newest=Ids.in_order().newest, older=(writer,))
    value = dict(examples.good(LOCATION_CHANGED))["full"]
    data = {**value["data"], "gone": "x"}
    del data["attending_id"]
    body = codec.BytesIO()
    codec.fastavro.schemaless_writer(
        body, catalogue.prepared(older_location_changed()), {**value, "data": data}
    )
    wire = OLDER.to_bytes(5, "big") + body.getvalue()
    expected = {**value, "data": {**value["data"], "attending_id": None}}
    assert Codec(ids).decode(wire) == (LOCATION_CHANGED, expected)
    for length in range(5, len(wire)):  # also inside the field that is skipped
        with pytest.raises(Undecodable):
            Codec(ids).decode(wire[:length])
    with pytest.raises(Undecodable) as refused:
        CODEC.decode(wire)
    assert refused.value.cause == "schema_id"


def test_an_unsafe_older_schema_is_never_decoded_by():
    unsafe = older_location_changed()
    unsafe["fields"].append({"name": "nothing", "type": {"type": "array", "items": "null"}})
    writer = Writer(schema_id=OLDER, record=LOCATION_CHANGED, text=json.dumps(unsafe))
    built = Codec(Ids(newest=Ids.in_order().newest, older=(writer,)))
    assert OLDER not in built.known()
    with pytest.raises(Undecodable) as refused:
        built.decode(OLDER.to_bytes(5, "big") + b"\0")
    assert refused.value.cause == "schema_id"


def test_ids_come_back_from_where_they_were_stored():
    writer = Writer(schema_id=OLDER, record=RAW, text=catalogue.text(RAW))
    ids = Ids(newest=Ids.in_order().newest, older=(writer,))
    assert Ids.loads(ids.dumps()) == ids


@pytest.mark.parametrize("stored", ["", "{", "[]", "{}", '{"newest": 1}', "null"])
def test_stored_ids_that_cant_be_read_are_refused(stored):
    with pytest.raises(IdsInvalid):
        Ids.loads(stored)


def test_stored_ids_of_other_schemas_are_refused():
    stored = json.loads(Ids.in_order().dumps())
    stored["schemas"][RAW] = stored["schemas"][LOCATION_CHANGED]
    with pytest.raises(IdsInvalid):
        Ids.loads(json.dumps(stored))


def test_ids_that_lack_a_record_or_repeat_are_refused():
    newest = dict(Ids.in_order().newest)
    with pytest.raises(IdsInvalid):
        Ids(newest={**newest, RAW: newest[LOCATION_CHANGED]})
    with pytest.raises(IdsInvalid):
        Ids(newest={**newest, RAW: 2**32})
    del newest[RAW]
    with pytest.raises(IdsInvalid):
        Ids(newest=newest)
