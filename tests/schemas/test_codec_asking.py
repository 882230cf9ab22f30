"""A record of an unknown schema id: the registry is asked once, before it is refused."""

import json

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
