"""OBX-5: numbers and codes in clear, everything else sealed or left to its message."""

import pytest

from streams.ledger.mapping.delimiters import REPETITIONS_MAX
from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX
from tests.streams.ledger.mapping.messages import REQUEST, mapped, obx, one, oru


def observed(kind, value, unit="mmol/L"):
    return one(oru(REQUEST, obx(_2=kind, _5=value, _6=unit)))


def in_clear(draft):
    return {name for name in draft.data if name.startswith("value") and draft.data[name]}


@pytest.mark.parametrize(
    ("kind", "text", "number", "comparator"),
    [
        ("NM", "5.4", 5.4, None), ("NM", "-.5", -0.5, None), ("NM", "+98.", 98.0, None),
        ("SN", "^33", 33.0, None), ("SN", ">^100", 100.0, ">"), ("SN", "<=^0.5", 0.5, "<="),
        ("SN", "=^7", 7.0, None), ("ST", "5.8", 5.8, None),
    ],
)  # fmt: skip
def test_numbers_are_in_clear_with_unit_and_comparator(kind, text, number, comparator):
    data = observed(kind, text).data
    assert (data["value_number"], data["value_comparator"]) == (number, comparator)
    assert data["value_unit"] == "mmol/L"
    assert "value" not in observed(kind, text).clear


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("NM", "5.4 Rook"), ("NM", "1e5"), ("NM", "nan"), ("NM", "<5"), ("NM", "1~2"),
        ("SN", "^1^:^128"), ("SN", "^2^+"), ("SN", "about^2"), ("ST", "Rook"), ("TX", "seven"),
        ("FT", "told\\.br\\us"), ("", "Rook"), ("XAD", "1 Rookery^^Town"), ("CE", "Rook"),
        ("CWE", "^Ada Rook"), ("DT", "19600229"), ("TS", "196002290815"), ("TM", "0815"),
        ("DT", "leap day"),
    ],
)  # fmt: skip
def test_every_other_value_is_sealed_and_nowhere_in_clear(kind, text):
    draft = observed(kind, text, unit="")
    assert draft.clear["value"]["type"] == kind
    assert draft.clear["value"]["text"]
    assert not in_clear(draft)
    assert text not in repr(draft)


def test_a_text_that_is_a_number_without_unit_stays_text():
    assert observed("ST", "1001", unit="").clear["value"] == {"type": "ST", "text": "1001"}


def test_codes_are_in_clear_with_their_alternates():
    data = observed("CWE", "POS^Positive^99LAB^10828004^Positive^SCT~X^^HL70078").data
    assert data["value_code"] == "POS"
    assert [each["code"] for each in data["value_codes"]] == ["POS", "10828004", "X"]


def test_a_date_is_sealed_read_and_as_it_was_sent():
    value = observed("TS", "202603020815").clear["value"]
    assert value == {
        "type": "TS", "text": "202603020815", "at": "2026-03-02T08:15:00+00:00",
        "precision": "minute",
    }  # fmt: skip


def test_the_lines_of_a_text_are_kept():
    assert observed("TX", "one~two\\T\\three").clear["value"]["text"] == "one\ntwo&three"


@pytest.mark.parametrize("value", ["", '""'])
def test_no_value_is_none(value):
    draft = observed("NM", value)
    assert "value" not in draft.clear
    assert draft.data["value_unit"] is None


@pytest.mark.parametrize("kind", ["ED", "RP"])
def test_a_document_stays_with_its_message_however_long(kind):
    facts = mapped(oru(REQUEST, obx(_2=kind, _5="^PDF^^Base64^" + "A" * FIELD_CHARACTERS_MAX)))
    assert facts.left_out == ("a document, which its message alone keeps",)
    assert "value" not in facts.parts[0].drafts[1].clear


def test_a_text_as_long_as_may_be_is_kept_and_a_longer_one_left_out():
    longest = observed("TX", "x" * FIELD_CHARACTERS_MAX)
    assert len(longest.clear["value"]["text"]) == FIELD_CHARACTERS_MAX
    facts = mapped(oru(REQUEST, obx(_2="TX", _5="x" * (FIELD_CHARACTERS_MAX + 1))))
    assert facts.left_out == ("a value too long to keep beside its message",)
    assert facts.parts[0].drafts[1].data["state"] == "final"


def test_a_coded_value_that_repeats_without_end_is_text():
    many = "~".join(["1^^LN"] * REPETITIONS_MAX)
    assert observed("CE", many).data["value_code"] == "1"
    assert observed("CE", many + "~1^^LN").clear["value"]["type"] == "CE"


@pytest.mark.parametrize(
    ("sent", "unit"),
    [
        ("mm Hg", "mm Hg"), ("10*3/uL", "10*3/uL"), ("mL/min/{1.73_m2}", "mL/min/{1.73_m2}"),
        ("%", "%"), ("^grams^L^g^gram^UCUM", "g"), ("as she told us", None), ("x" * 33, None),
    ],
)  # fmt: skip
def test_a_unit_is_a_code_and_no_text(sent, unit):
    assert observed("NM", "5", unit=sent).data["value_unit"] == unit
