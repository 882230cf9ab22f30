"""Whom a message names anywhere that names persons, whatever becomes of it: every identifier."""

import re
from collections.abc import Iterator
from contextlib import suppress

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import claim
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.message import Message, parse
from streams.ledger.mapping.switching import ESCAPE

# PID-2 to PID-4; MRG-1, MRG-2 and MRG-4: what is or was a number of the patient's. NK1-33: a
# relative's, who may be a patient too. Numbers of accounts, policies and staff name no patient.
FIELDS = {"PID": (2, 3, 4), "MRG": (1, 2, 4), "NK1": (33,)}
_HEADER = re.compile(rb"[\r\n\x0b](?=MSH[^A-Za-z0-9\s])")


def mentioned(body: bytes, feed: Feed) -> list[Identifier]:
    """Every identifier of a person in the message, of whatever trigger, torn as it may be.

    None of one that can't be read at all: whose it is can't be told. So of one at which we fail,
    beyond where we do: it is a dead letter by that already, and stops nobody here.
    """
    found: dict[Identifier, None] = {}
    with suppress(Exception):
        for message in _messages(body, feed):
            for each in _persons(message, feed):
                found.setdefault(each)
    return list(found)


def control_id(body: bytes, feed: Feed) -> str:
    """MSH-10 of the first header that can be read, torn as its message may be; empty without."""
    with suppress(Exception):
        for message in _messages(body, feed):
            header = message.segment("MSH")
            if header is not None and (said := message.resolve(header.field(10))):
                return said
    return ""


def _persons(message: Message, feed: Feed) -> Iterator[Identifier]:
    for name, numbers in FIELDS.items():
        for segment in message.segments(name):
            for number in numbers:
                # A field that is too long, or repeats too often
                with suppress(Unmappable):
                    yield from claim.persons(message, segment, number, feed)


def _messages(body: bytes, feed: Feed) -> Iterator[Message]:
    """What can be read of the bytes: as it is, else piece by piece, by whatever charset."""
    try:
        yield parse(body, charset=feed.charset)
    except Unmappable:
        for part in _HEADER.split(body.replace(b"\0", b"").replace(ESCAPE, b"")):
            for charset in (feed.charset, "8859/1"):
                try:
                    yield parse(part, charset=charset)
                    break
                except Unmappable:
                    continue
