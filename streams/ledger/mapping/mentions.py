"""Whom a message names anywhere that names persons, whatever becomes of it: every identifier."""

from schemas.feeds import Feed
from schemas.identity import Identifier
from streams.ledger.mapping import claim
from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.message import parse

# PID-2 to PID-4; MRG-1, MRG-2 and MRG-4: what is or was a number of the patient's.
FIELDS = {"PID": (2, 3, 4), "MRG": (1, 2, 4)}


def mentioned(body: bytes, feed: Feed) -> list[Identifier]:
    """Every identifier of a person in the message, of whatever trigger.

    None of one that can't be read at all: whose it is can't be told.
    """
    try:
        message = parse(body, charset=feed.charset)
        return list(
            dict.fromkeys(
                each
                for name, numbers in FIELDS.items()
                for segment in message.segments(name)
                for number in numbers
                for each in claim.persons(message, segment, number, feed)
            )
        )
    except Unmappable:
        return []
