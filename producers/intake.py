"""From a frame to what is done about it: an answer, a record to publish, or nothing; pure.

Checked is only what an honest answer needs. Nothing is mapped: what the message means is the
ledger's to say, and a better reading of it can be replayed over what was kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from producers.answers import Trouble
from producers.mllp import Cause, Refusal
from producers.peek import Header, NoHeader, text
from schemas import headers, identity
from schemas.clock import micros
from schemas.codec import Codec
from schemas.feeds import Feed
from schemas.identity import Identifier
from schemas.sealing import Keys
from schemas.topics import HL7V2

RECORD = HL7V2.records[0]
MESSAGE_TYPE_MAX = 32  # characters of MSH-9 that the record keeps

# One word for each reason to say no, as the counters name it.
NO_HEADER, NO_FEED, PROCESSING_ID, SENDER = "no header", "no feed", "processing id", "sender"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A message that isn't taken: what is counted, and what the sender is told."""

    cause: str
    trouble: Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A message as it goes into the log, its body sealed."""

    message_id: UUID
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def check(header: Header | NoHeader, feed: Feed | None) -> Rejection | None:
    """Whether this feed takes this message; None if it does (rule I4)."""
    if feed is None or not feed.active:
        return _rejection(NO_FEED, 207, "no active feed belongs to this port")
    if isinstance(header, NoHeader):
        return _rejection(NO_HEADER, 100, "no MSH segment begins this message")
    if feed.processing_ids:
        processing_id = text(header.component(11, 1)).upper()
        if processing_id not in feed.processing_ids:
            return _rejection(PROCESSING_ID, 202, "this feed does not take the id in MSH-11")
    if feed.senders and not feed.senders & {
        text(header.field(3)),
        text(header.component(3, 1)),
    }:
        return _rejection(SENDER, 103, "this feed does not take the sender in MSH-3")
    return None


def refuse(refusal: Refusal, limit: int) -> Rejection:
    """What the sender of a frame that was refused whole is told."""
    assert refusal.answerable, "who waits for no answer gets none"
    if refusal.cause is Cause.MARKUP:
        return _rejection(refusal.cause, 100, "a message begins with MSH and is no XML")
    return _rejection(
        refusal.cause, 102, f"message of {refusal.size} bytes is over the limit: {limit}"
    )


def record(
    body: bytes, header: Header, feed: Feed, keys: Keys, codec: Codec, *, received_at: datetime
) -> Record:
    """The message sealed and encoded; its id is a keyed hash of feed, MSH-10 and content."""
    message_id = identity.message(keys.identity, feed.feed_id, text(header.control_id), body)
    named = preferred(header, feed)
    key = identity.patient(keys.identity, named) if named else message_id
    value = {
        "message_id": str(message_id),
        "tenant_id": str(feed.tenant_id),
        "feed_id": str(feed.feed_id),
        "received_at": micros(received_at),
        "message_type": _message_type(header),
        "size_bytes": len(body),
        "body": keys.seal(body, person=None, record=message_id, field="body"),
        "trace": None,
    }
    return Record(
        message_id=message_id,
        key=str(key).encode(),
        value=codec.encode(RECORD, value),
        headers=headers.for_raw(value),
    )


def preferred(header: Header, feed: Feed) -> Identifier | None:
    """The identifier that routes: the feed's best type, else the first of PID-3, else none."""
    found = header.identifiers()
    if not found:
        return None
    order = feed.identifier_types
    best = min(found, key=lambda each: order.index(each.type) if each.type in order else len(order))
    if best.authority or not feed.authority:
        return best
    return Identifier(value=best.value, authority=feed.authority, type=best.type)


def _message_type(header: Header) -> str:
    """MSH-9 as the record keeps it, only where it looks like one: the record is in clear."""
    said = header.message_type[:MESSAGE_TYPE_MAX]
    coded = said.translate(None, header.delimiters[:1] + b"_").isalnum()
    return text(said) if coded and said.isascii() else ""


def _rejection(cause: str, code: int, reason: str) -> Rejection:
    return Rejection(cause=str(cause), trouble=Trouble(code=code, reason=reason))
