"""Delimiters are a header's, and one and the same for every message that has it."""

import pytest

from streams.ledger.mapping.delimiters import REPETITIONS_MAX, delimiters
from streams.ledger.mapping.facts import Unmappable

USUAL = "MSH|^~\\&|"


def test_the_same_header_has_the_same_delimiters():
    assert delimiters(USUAL + "A", "ascii") is delimiters(USUAL + "B|C", "ascii")


@pytest.mark.parametrize(
    ("text", "codec"), [(USUAL, "utf_8"), ("MSH|^~\\&#|", "ascii"), ("MSH#^~\\&#", "ascii")]
)
def test_another_header_or_codec_has_others(text, codec):
    assert delimiters(text, codec) is not delimiters(USUAL, "ascii")


def test_a_byte_that_is_spelled_is_of_the_codec():
    assert delimiters(USUAL, "iso8859_1").said("M\\XFC\\ller") == "Müller"
    assert delimiters(USUAL, "utf_8").said("M\\XC3BC\\ller") == "Müller"


@pytest.mark.parametrize("white", ["", " ", "\t", "\u00a0", "\u2028"])
def test_components_have_no_white_space_around_and_keep_what_is_within(white):
    read = delimiters(USUAL, "utf_8").repetitions
    said = f"{white}a{white}b{white}^{white}c~d{white}"
    assert read(said) == [[f"a{white}b", "c"], ["d"]]
    assert read(said.partition("~")[0]) == [[f"a{white}b", "c"]]


def test_repetitions_have_a_bound():
    read = delimiters(USUAL, "utf_8").repetitions
    assert len(read("~" * (REPETITIONS_MAX - 1))) == REPETITIONS_MAX
    with pytest.raises(Unmappable, match="repeats too often"):
        read("~" * REPETITIONS_MAX)
