"""Segments of a site's own travel along verbatim, sealed, with the first event of their part."""

import pytest

from streams.ledger.mapping.message import FIELD_CHARACTERS_MAX
from tests.streams.ledger.mapping.messages import PATIENT, VISIT, mapped, message, obx
from tests.streams.ledger.mapping.test_participations import KINDS

OWN = ["ZPI|1|Aunt \\T\\ uncle^^x~y|", "ZZZ", "ZPI|2|\tlast"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_carries_them_as_they_were_sent(kind):
    facts = mapped(message(kind, KINDS[kind][0], OWN[0], *KINDS[kind][1:], *OWN[1:]))
    first, *others = facts.parts[0].drafts
    assert first.stream_type == "patient"
    assert first.clear["z_segments"] == OWN
    assert not any("z_segments" in each.clear for each in others)


def test_without_any_nothing_is_sealed_of_them():
    facts = mapped(message("ADT^A01", PATIENT, VISIT))
    assert "z_segments" not in facts.parts[0].drafts[0].clear


def test_each_part_carries_its_own():
    other = PATIENT.replace("1001", "1002")
    facts = mapped(message("ORU^R01", PATIENT, obx(), "ZA1|a", other, obx(), "ZB1|b"))
    assert [part.drafts[0].clear["z_segments"] for part in facts.parts] == [["ZA1|a"], ["ZB1|b"]]


def test_a_line_that_goes_on_is_part_of_its_segment():
    facts = mapped(message("ADT^A01", PATIENT, VISIT, "ZPI|one", "two"))
    assert facts.parts[0].drafts[0].clear["z_segments"] == ["ZPI|one\ntwo"]


def test_more_of_them_than_an_event_takes_stay_with_their_message():
    fits = "ZPI|" + "x" * (FIELD_CHARACTERS_MAX - 4)
    kept = mapped(message("ADT^A01", PATIENT, VISIT, fits))
    assert kept.parts[0].drafts[0].clear["z_segments"] == [fits]
    facts = mapped(message("ADT^A01", PATIENT, VISIT, fits, "ZZZ"))
    assert "z_segments" not in facts.parts[0].drafts[0].clear
    assert facts.left_out == ("segments of the site's own too long to keep beside their message",)
