"""PV1-3 becomes the same text whatever the feed's delimiters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.place import Place
from streams.ledger.mapping.message import parse
from streams.ledger.mapping.place import place


def read(message):
    return place(message, message.segment("PV1"), 3)


def told(adt, raw):
    return read(parse(adt(pv1={3: raw})))


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("W1", "W1"), ("W1^R2^B3", "W1^R2^B3"), ("W1^^^^", "W1"), ("W1^R2&&^", "W1^R2"),
        ("W1&Ward One&L^R2", "W1&Ward One&L^R2"), ("^^B3", "^^B3"), ("A\\T\\E^1", "A&E^1"),
        ("A^1^2^3^4^5^6^7^8^9^11", "A^1^2^3^4^5^6^7^8^9^11"), ("W1^R2~W2", "W1^R2"),
        ("Bay by the lift", "Bay by the lift"), ("W\\S\\1^R", "W\\S\\1^R"), (" W1 ^ R2 ", "W1^R2"),
        ('W1^""^B3', 'W1^""^B3'),
    ],
)  # fmt: skip
def test_a_place_is_its_components(adt, raw, text):
    assert told(adt, raw) == text


@pytest.mark.parametrize(
    ("raw", "text"),
    [("", None), ("^^^", None), ("&^&", None), ("  ", None), ('""', ""), ('""^""', ""),
     ('""~W1', "")],
)  # fmt: skip
def test_t21_empty_says_nothing_and_null_says_unknown(adt, raw, text):
    assert told(adt, raw) == text


def test_a_message_without_the_segment_says_nothing(adt):
    assert read(parse(adt(pv1=False))) is None


def test_delimiters_of_the_feed_are_rewritten():
    odd = parse(b"MSH|#!@%*|A||||2026||ADT#A01|9\rPV1||I|W1%a#R2@T@x#B@S@3")
    assert read(odd) == "W1&a^R2%x^B#3"
    without = parse(b"MSH^@~#&^A\rPV1^^I^W1@R2")
    assert read(without) == "W1^R2"


# Without a quote, which might make a null, and a backslash, which might stand before an S.
NAMES = st.text(
    st.characters(codec="ascii", exclude_categories=["Cc"], exclude_characters='"\\'), max_size=12
)


@given(st.lists(NAMES, min_size=1, max_size=9))
def test_t20_every_name_survives_escaping(adt, names):
    def escaped(name):
        pairs = {"|": "\\F\\", "^": "\\S\\", "&": "\\T\\", "~": "\\R\\"}
        return "".join(pairs.get(character, character) for character in name)

    text = told(adt, "^".join(escaped(name) for name in names))
    parsed = Place.parse(text or "")
    fields = [
        parsed.point_of_care, parsed.room, parsed.bed, parsed.facility, parsed.status,
        parsed.person_location_type, parsed.building, parsed.floor, parsed.description,
    ]  # fmt: skip
    assert fields[: len(names)] == [name.strip() for name in names]


@given(st.text(alphabet='AB^^&~ "\t', max_size=20))
def test_a_place_is_the_same_whatever_the_components_part_it(raw):
    odd = parse(f"MSH|%~\\&|A\rPV1|||{raw.replace('^', '%')}|x\r".encode())
    assert read(parse(f"MSH|^~\\&|A\rPV1|||{raw}|x\r".encode())) == read(odd)
