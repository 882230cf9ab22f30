"""Pseudonymous ids: keyed, of the right version, never equal where the things are not."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import identity
from schemas.identity import Identifier

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
MRN = Identifier(value="12345", authority="HOSPITAL", type="MR")
FEED = uuid.UUID(int=7)


def made(key, identifier=MRN):
    return {
        "patient": identity.patient(key, identifier),
        "lookup": uuid.UUID(bytes=identity.lookup(key, identifier)),
        "admission": identity.admission(key, identifier),
        "movement": identity.movement(key, identifier),
        "order": identity.order(key, identifier),
        "evidence": identity.evidence(key, identifier.authority, identifier.value),
        "staff": identity.staff(key, identifier.authority, identifier.value),
        "message": identity.message(key, FEED, identifier.value, b"content"),
    }


@pytest.mark.parametrize("kind", made(KEY))
def test_every_keyed_id_is_a_uuid_of_version_8(kind):
    number = made(KEY)[kind]
    assert number.version == 8
    assert number.variant == uuid.RFC_4122


def test_the_same_value_gives_another_id_for_every_kind_and_every_key():
    ids = [*made(KEY).values(), *made(OTHER).values()]
    assert len(set(ids)) == len(ids)


def test_the_same_identifier_gives_the_same_id():
    assert made(KEY) == made(KEY)
    spaced = Identifier(value=" 12345  ", authority="HOSPITAL", type="MR")
    assert identity.patient(KEY, spaced) == identity.patient(KEY, MRN)


def test_another_authority_is_another_patient():
    elsewhere = Identifier(value="12345", authority="CLINIC", type="MR")
    assert identity.patient(KEY, elsewhere) != identity.patient(KEY, MRN)


@given(st.lists(st.binary(max_size=8), max_size=4), st.lists(st.binary(max_size=8), max_size=4))
def test_no_two_lists_of_parts_share_an_id(one, other):
    same = identity.keyed(KEY, "kind", *one) == identity.keyed(KEY, "kind", *other)
    assert same == (one == other)


def test_the_id_is_the_first_128_bits_of_the_hmac():
    expected = uuid.UUID("00000000-0000-8000-8000-000000000000").int
    digest = identity.hmac.new(KEY, b"kind", "sha256").digest()[:16]
    kept = int.from_bytes(digest, "big") & ~((0xF << 76) | (0b11 << 62))
    assert identity.keyed(KEY, "kind").int == kept | expected


def test_a_message_is_its_feed_its_control_id_and_its_content():
    first = identity.message(KEY, FEED, "1", b"content")
    assert first == identity.message(KEY, FEED, "1", b"content")
    assert first != identity.message(KEY, uuid.UUID(int=8), "1", b"content")
    assert first != identity.message(KEY, FEED, "2", b"content")
    assert first != identity.message(KEY, FEED, "1", b"Content")


def test_an_event_is_its_message_type_ordinal_and_role():
    message = uuid.UUID(int=1)
    ids = {
        identity.event(message, "admission.created", 0, "visit"),
        identity.event(message, "admission.updated", 0, "visit"),
        identity.event(message, "admission.created", 1, "visit"),
        identity.event(message, "admission.created", 0, "patient"),
        identity.event(uuid.UUID(int=2), "admission.created", 0, "visit"),
    }
    assert len(ids) == 5
    assert {number.version for number in ids} == {5}


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33)])
def test_a_key_of_another_length_is_our_own_mistake(key):
    with pytest.raises(AssertionError):
        identity.keyed(key, "kind", "value")


def test_an_identifier_has_a_value():
    with pytest.raises(AssertionError):
        Identifier(value="", authority="HOSPITAL")


def test_white_space_is_normalised_and_case_is_kept():
    assert identity.normal("  a \t b\n") == "a b"
    assert identity.normal("Ab") != identity.normal("ab")
