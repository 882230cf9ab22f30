"""Codes compare by system and code, under one name each."""

import pytest

from streams import codes
from streams.codes import SYSTEMS
from streams.ledger.mapping import codings
from streams.ledger.mapping.codings import CODE_CHARACTERS_MAX, Coding
from streams.ledger.mapping.message import Message

MESSAGE = Message("MSH|^~\\&|")


def named(text):
    return codings.named(MESSAGE, text.split("^"))


def valued(text):
    return codings.valued(MESSAGE, text.split("^"))


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("LN", "LN"), ("loinc", "LN"), ("2.16.840.1.113883.6.1", "LN"), ("http://loinc.org", "LN"),
        ("urn:oid:2.16.840.1.113883.6.96", "SCT"), ("C4", "CPT"), ("Local", "L"), ("", "L"),
        ("99LAB", "99LAB"), (" NIP001", "NIP001"),
    ],
)  # fmt: skip
def test_v8_a_system_has_one_name(said, name):
    assert codes.system(said) == name


def test_no_name_of_a_system_is_another_ones():
    names = [one for name, others in SYSTEMS.items() for one in (name, *others)]
    assert len(names) == len(set(names))
    assert all(codes.system(one) in SYSTEMS for one in names)


@pytest.mark.parametrize(
    ("system", "said", "code"),
    [
        ("CVX", "3", "03"), ("CVX", "003", "03"), ("CVX", "115", "115"), ("CVX", "?", "?"),
        ("NDC", "0002-7597-01", "00002759701"), ("NDC", "50090-347-1", "50090034701"),
        ("NDC", "58160084252", "58160084252"), ("LN", " 2345-7 ", "2345-7"),
    ],
)  # fmt: skip
def test_v8_a_code_is_as_its_system_compares_it(system, said, code):
    assert codes.code(system, said) == code


def test_a_code_without_a_system_is_local_and_text_is_no_code():
    assert named("GLU^Glucose") == (Coding("L", "GLU"),)
    assert named("^Glucose") == ()
    assert named('""^Glucose^LN') == ()
    assert named("GLU^Glucose^POST 12H FAST") == (Coding("L", "GLU"),)


def test_all_three_codes_of_a_cwe_count_once_each():
    text = "1^a^LN^2^b^L^^^^3^c^SCT"
    assert named(text) == (Coding("LN", "1"), Coding("L", "2"), Coding("SCT", "3"))
    assert named("1^a^LN^1^b^LOINC") == (Coding("LN", "1"),)


def test_a_value_is_a_code_only_where_its_system_is_named():
    assert valued("260373001^Detected^SCT") == (Coding("SCT", "260373001"),)
    assert valued("Rook") == valued("Rook^Ada") == valued("Ada Rook^^L") == ()
    assert valued("Rook^Ada^as she told us") == ()


def test_a_code_that_is_too_long_is_text():
    assert named("x" * CODE_CHARACTERS_MAX) != ()
    assert named("x" * (CODE_CHARACTERS_MAX + 1)) == ()
