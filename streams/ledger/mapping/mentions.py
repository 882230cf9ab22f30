"""Whom a message names anywhere that names persons, whatever becomes of it: every identifier."""

import re
from collections.abc import Iterator

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import claim
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.message import Message, parse

# PID-2 to PID-4; MRG-1, MRG-2 and MRG-4: what is or was a number of the patient's.
FIELDS = {"PID": (2, 3, 4), "MRG": (1, 2, 4)}
_HEADER = re.compile(rb"[\r\n\x0b](?=MSH[^A-Za-z0-9\s])")


def mentioned(body: bytes, feed: Feed) -> list[Identifier]:
    """Every identifier of a person in the message, of whatever trigger, torn as it may be.

    None of one that can't be read at all: whose it is can't be told.
    """
    found: dict[Identifier, None] = {}
    for message in _messages(body, feed):
        for name, numbers in FIELDS.items():
            for segment in message.segments(name):
                for number in numbers:
                    try:
                        found.update(dict.fromkeys(claim.persons(message, segment, number, feed)))
                    except Unmappable:  # a field that is too long, or repeats too often
                        continue
    return list(found)


def _messages(body: bytes, feed: Feed) -> Iterator[Message]:
    """What can be read of the bytes: as it is, else piece by piece, by whatever charset."""
    try:
        yield parse(body, charset=feed.charset)
    except Unmappable:
        for part in _HEADER.split(body.replace(b"\0", b"")):
            for charset in (feed.charset, "8859/1"):
                try:
                    yield parse(part, charset=charset)
                    break
                except Unmappable:
                    continue
