"""Whom a message names, whatever else is wrong with it."""

import uuid

import pytest

from schemas.feeds import Feed
from streams.ledger.mapping.delimiters import REPETITIONS_MAX
from streams.ledger.mapping.mentions import control_id, mentioned

FEED = Feed(feed_id=uuid.UUID(int=1), tenant_id=uuid.UUID(int=2), name="n", authority="OWN")
HEAD = "MSH|^~\\&|A|B|||20260302||ADT^A99|1|P|2.5\r"


def named(text, feed=FEED):
    body = text if isinstance(text, bytes) else text.encode()
    return [(each.value, each.authority) for each in mentioned(body, feed)]


def test_every_field_that_names_a_person_is_read_of_every_trigger():
    told = HEAD + "PID|1|OLD|A^^^NORTH~B|C||X\rMRG|D^^^SOUTH|E||F\rPID|2||G\r"
    told += "NK1|1" + "|" * 32 + "H^^^WEST^MR\rROL|1|AD|AT|STAFF\rAIP|1|A|STAFF\rGT1|1|ACCOUNT\r"
    assert set(named(told)) == {
        ("OLD", "OWN"), ("A", "NORTH"), ("B", "OWN"), ("C", "OWN"), ("D", "SOUTH"), ("E", "OWN"),
        ("F", "OWN"), ("G", "OWN"), ("H", "WEST"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "torn",
    [
        HEAD + "PID|1||A\rPV1|1|\x00I\r",
        HEAD + "PID|1||A\r" + HEAD + "PID|1||A\r",
        (HEAD + "PID|1||A||M\xfcller\r").encode("latin-1"),
        HEAD + "PID|1||A|" + "~".join("B" * (REPETITIONS_MAX + 1)) + "\r",
        "noise\r" + HEAD + "PID|1||A\r",
        HEAD + "PID|1||A||\x1b$B;3ED\x1b(B\r",
    ],
)
def test_what_is_torn_is_read_as_far_as_it_goes(torn):
    assert ("A", "OWN") in named(torn)
    assert control_id(torn if isinstance(torn, bytes) else torn.encode(), FEED) == "1"


def test_two_messages_in_one_name_both_patients():
    assert named(HEAD + "PID|1||A\r" + HEAD + "PID|1||B\r") == [("A", "OWN"), ("B", "OWN")]


@pytest.mark.parametrize("soup", [b"", b"\xff\xfe\x00", b"<xml/>", b"PID|1||A\r"])
def test_what_is_no_message_names_nobody(soup):
    assert named(soup) == []
    assert control_id(soup, FEED) == ""
