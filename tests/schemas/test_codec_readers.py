"""The two Avro readers agree: what cavro decodes fast, fastavro decodes to the same values."""

import random
from io import BytesIO

import fastavro
import pytest

from schemas import catalogue, examples
from schemas.codec import HEAD_BYTES, Codec, Ids, Undecodable

CODEC = Codec(Ids.in_order())
RECORDS = catalogue.records()


def slow(record: str, data: bytes) -> object:
    body = BytesIO(data[HEAD_BYTES:])
    value = fastavro.schemaless_reader(body, catalogue.parsed(record), None)
    assert body.tell() == len(data) - HEAD_BYTES
    return value


def encoded(record: str) -> list[bytes]:
    return [CODEC.encode(record, value) for _, value in examples.good(record)]


@pytest.mark.parametrize("record", RECORDS)
def test_every_good_example_has_the_same_values_in_both_readers(record):
    for data in encoded(record):
        assert CODEC.decode_as(record, data) == slow(record, data)


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_cut_anywhere_or_longer_by_anything_is_refused(record):
    for data in encoded(record):
        for end in range(HEAD_BYTES, len(data)):
            with pytest.raises(Undecodable):
                CODEC.decode(data[:end])
        for more in (b"\x00", b"Z", b"\x80" * 64, bytes(8), data[HEAD_BYTES:]):
            with pytest.raises(Undecodable, match="bytes after the record"):
                CODEC.decode(data + more)


@pytest.mark.parametrize("record", RECORDS)
def test_a_damaged_record_is_decoded_alike_or_refused(record):
    chance = random.Random(record)
    alike = 0
    for data in encoded(record):
        for _ in range(300):
            damaged = bytearray(data)
            damaged[chance.randrange(HEAD_BYTES, len(data))] ^= 1 << chance.randrange(8)
            try:
                fast = CODEC.decode_as(record, bytes(damaged))
            except Undecodable:
                continue
            assert fast == slow(record, bytes(damaged))
            alike += 1
    assert alike, "some damage only changes a letter"


@pytest.mark.parametrize("damage", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80"])
def test_text_that_is_not_utf_8_is_refused(damage):
    record = "wardtrail.events.AdmissionLocationChanged"
    value = next(value for _, value in examples.good(record) if value["data"]["place"])
    place = value["data"]["place"].encode()
    data = CODEC.encode(record, value)
    assert data.count(place) == 1
    assert len(damage) <= len(place)
    with pytest.raises(Undecodable, match="doesn't follow its schema"):
        CODEC.decode(data.replace(place, damage + place[len(damage) :]))
