"""From a frame to what is done about it: an answer, a record to publish, or nothing; pure.

Checked is only what an honest answer needs. Nothing is mapped: what the message means is the
ledger's to say, and a better reading of it can be replayed over what was kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

from producers import binding
from producers.answers import REJECTED, Trouble
from producers.batches import TooMuch
from producers.mllp import Cause, Refusal
from producers.peek import Header, NoHeader, text
from producers.ports import Feeds, FeedUnread, KeysAway, Refused
from schemas import headers, identity
from schemas.clock import micros
from schemas.codec import Codec
from schemas.feeds import Feed
from schemas.identity import Identifier
from schemas.sealing import Keys
from schemas.topics import HL7V2

RECORD = HL7V2.records[0]
MESSAGE_TYPE_MAX = 32  # characters of MSH-9 that the record keeps
_NAME_MAX = 1_000  # characters of MSH-3 and MSH-4 that tell senders apart
_HEADLESS = "no MSH segment begins this message"

# One word for each reason to say no, as the counters name it; the binding has its own.
NO_HEADER, NO_FEED, PROCESSING_ID = "no header", "no feed", "processing id"
SUSPENDED, CONNECTIONS = "suspended", "connections"
BATCH = "batch over the limit"
# What the sender is told of each mismatch: an error of table 0357, and a sentence.
_MISMATCHES: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        binding.CERTIFICATE: (103, "this feed does not take this client certificate"),
        binding.SENDER: (103, "this feed does not take the sender in MSH-3"),
        binding.FACILITY: (103, "this feed does not take the facility in MSH-4"),
        binding.RECEIVER: (103, "this feed is not the receiver in MSH-5 and MSH-6"),
        binding.NO_FIT: (103, "no feed of this port takes this sender and facility"),
        binding.SEVERAL_FIT: (103, "several feeds of this port take this sender and facility"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A message that isn't taken: what is counted, and what the sender is told."""

    cause: str
    trouble: Trouble
    feed: Feed | None = None  # whose it would have been, where that is known
    answer: str = REJECTED


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A message as it goes into the log, its body sealed."""

    message_id: UUID
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]]


def admit(
    header: Header | NoHeader, feeds: Sequence[Feed], certificate: str | None = None
) -> Feed | Rejection:
    """The feed that takes this message, or why none does (rule I4).

    Raises :class:`~producers.ports.FeedUnread` where that can't be told.
    """
    if not feeds:
        return _rejection(NO_FEED, 207, "no active feed belongs to this port")
    bound = binding.bind(header, feeds, certificate)
    asked = feeds if isinstance(bound, binding.Mismatch) else (bound,)
    if any(each.fault is not None for each in asked):
        raise FeedUnread("the settings of a feed can't be read")
    if isinstance(bound, binding.Mismatch):
        if isinstance(header, NoHeader) and bound.cause != binding.CERTIFICATE:
            return _rejection(NO_HEADER, 100, _HEADLESS, bound.feed)
        code, reason = _MISMATCHES[bound.cause]
        return _rejection(bound.cause, code, reason, bound.feed, field=bound.field)
    if bound.suspended:
        return _rejection(SUSPENDED, 207, "the tenant of this feed is suspended", bound)
    if not bound.active:
        return _rejection(NO_FEED, 207, "no active feed belongs to this port", bound)
    if isinstance(header, NoHeader):
        return _rejection(NO_HEADER, 100, _HEADLESS, bound)
    return _processed(header, bound)


def _processed(header: Header, feed: Feed) -> Feed | Rejection:
    """The feed, or why it doesn't take the processing id."""
    processing_id = text(header.component(11, 1)).upper()
    if not feed.processing_ids or processing_id in feed.processing_ids:
        return feed
    if not processing_id:
        return _rejection(PROCESSING_ID, 101, "MSH-11 is empty", feed, field=11)
    said = "this feed does not take the id in MSH-11"
    return _rejection(PROCESSING_ID, 202, said, feed, field=11)


def too_many(feed: Feed) -> Rejection:
    """As a connection is counted that is one more than the feed may have."""
    return _rejection(CONNECTIONS, 207, "as many connections send by this feed as may", feed)


def refused(rejection: Rejection, header: Header | NoHeader, port: int, feeds: Feeds) -> Refused:
    """A rejection as it is counted: the sender's names only as a keyed hash of its tenant."""
    feed, told = rejection.feed, feeds.by_port(port)
    tenants = {feed.tenant_id} if feed else {each.tenant_id for each in told}
    tenant = tenants.pop() if len(tenants) == 1 else None
    sender = None
    if tenant is not None and isinstance(header, Header):
        try:
            key = feeds.keys(tenant).identity
        except KeysAway:
            pass  # counted without whose it was
        else:
            sender = sender_hmac(key, text(header.field(3)), text(header.field(4)))
    return Refused(
        port=port, reason=rejection.cause, tenant_id=tenant,
        feed_id=None if feed is None else feed.feed_id, sender_hmac=sender,
    )  # fmt: skip


def sender_hmac(identity_key: bytes, application: str, facility: str) -> UUID:
    """MSH-3 and MSH-4 as refusals keep them: a torn header may have a patient's name there."""
    return identity.keyed(identity_key, "sender", application[:_NAME_MAX], facility[:_NAME_MAX])


def refuse(refusal: Refusal, limit: int, feed: Feed | None) -> Rejection:
    """What the sender of a frame that was refused whole is told."""
    assert refusal.answerable, "who waits for no answer gets none"
    if refusal.cause is Cause.MARKUP:
        return _rejection(refusal.cause, 100, "a message begins with MSH and is no XML", feed)
    said = f"message of {refusal.size} bytes is over the limit: {limit}"
    return _rejection(refusal.cause, 102, said, feed)


def too_much(batch: TooMuch, feed: Feed | None) -> Rejection:
    """What the sender of a batch of too many messages or lines is told: nothing of it is taken."""
    return _rejection(BATCH, 102, f"{batch.counted} is over the limit: {batch.limit}", feed)


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


def _rejection(
    cause: str, code: int, reason: str, feed: Feed | None = None, *, field: int | None = None
) -> Rejection:
    """A rejection with its feed's code: what passes may have another than what stays (rule I3)."""
    trouble, answer = Trouble(code=code, reason=reason, field=field), REJECTED
    if feed is not None:
        answer = (trouble.passes and feed.transient_answer) or feed.refusal_answer
    return Rejection(cause=str(cause), trouble=trouble, feed=feed, answer=answer)
