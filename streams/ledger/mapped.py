"""A record of a feed as it was read and mapped, and the ledger's entry that it becomes."""

import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

from schemas import identity
from schemas.clock import instant
from schemas.feeds import Feed
from schemas.sealing import Keys
from sinks.accounts import Visit
from sinks.dead_letters import DeadLetter
from sinks.identities import Name
from sinks.numbering import Entry
from streams.ledger import identities
from streams.ledger.decide import decide, named, said_at, visits
from streams.ledger.families import family
from streams.ledger.mapping.facts import Facts, Ignored
from streams.ledger.mapping.hl7v2 import MAPPER_VERSION
from streams.ledger.mapping.mentions import control_id, mentioned

# MSH-9 as sent may be anything, also a name where a torn message has one.
_CODES = re.compile(r"[A-Za-z0-9]{1,3}([_^][A-Za-z0-9]{1,3}(\^[A-Za-z0-9]{3}_[A-Za-z0-9]{3})?)?")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """A record read and mapped: the message with its feed and keys, what it says, of whom.

    ``named`` has what each part of :class:`Facts` names; with a ``letter`` nothing else counts.
    ``body`` is kept of what becomes no events: where somebody was erased, whom it names is asked.
    ``ids`` are for :func:`~streams.ledger.decide.decide`, where it is mapped anew.
    """

    offset: int
    key: bytes | None
    value: bytes | None
    message: Mapping[str, Any] | None = None
    feed: Feed | None = None
    keys: Keys | None = None
    said: Facts | Ignored | None = None
    named: tuple[identities.Named, ...] = ()
    letter: DeadLetter | None = None
    body: bytes | None = field(default=None, repr=False)
    ids: Mapping[UUID, UUID] = field(default_factory=dict)

    def known_as(self) -> tuple[str, str, str] | None:
        """Tenant, feed and message id, by which the same message is known again."""
        if self.message is None:
            return None
        return self.message["tenant_id"], self.message["feed_id"], self.message["message_id"]


def entry_of(
    mapped: Mapped,
    people: Mapping[tuple[int, int], identities.Person],
    touches: Callable[[Mapped, Collection[str]], frozenset[str]],
) -> Entry:
    """What the ledger's transaction is to write of a record.

    ``touches`` tells the keys of a message under which it would wait, with its patients'.
    """
    rows: list[dict[str, Any]] = []
    learned: list[Visit] = []
    told: str | None = None
    touching = None
    if mapped.letter is None and isinstance(mapped.said, Facts):
        whom = [people[mapped.offset, number] for number in range(len(mapped.said.parts))]
        touching = partial(touches, mapped, [each for one in whom for each in _everybody(one)])
        try:
            rows, learned = _decided(mapped, mapped.said, whom)
            told = _reason(mapped.said, whom)
        except Exception as error:  # as a fault of the mapper
            rows, learned = [], []
            dead = replace(failed(mapped, "decide", "decide", error), keys=tuple(touching()))
            mapped = replace(mapped, letter=replace(dead, family=_family(mapped)))
    message, said = mapped.message, mapped.said
    became = {"outcome": "applied", "reason": told, "cause": None}
    if mapped.letter is not None:
        became = {**mapped.letter.told}
    elif isinstance(said, Ignored):
        became = {"outcome": "ignored", "reason": said.reason, "cause": said.cause}
    return Entry(
        offset=mapped.offset,
        key=mapped.key,
        value=mapped.value,
        message=message and _row(message, mapped, became),
        events=rows,
        visits=learned,
        letter=mapped.letter,
        keys=mapped.keys,
        said_at=said_at(said) if isinstance(said, Facts) else None,
        names=partial(_names, mapped) if mapped.body is not None or mapped.letter else None,
        family=_family(mapped),
        touches=touching,
    )


def _everybody(person: identities.Person) -> Iterator[str]:
    """The patients whom a part names, and those of its sources."""
    for each in (person, *person.sources):
        yield from each.patients


def _family(mapped: Mapped) -> str | None:
    known = mapped.message is not None and mapped.feed is not None
    return family(mapped.message["message_type"]) if known and mapped.message else None


def _names(mapped: Mapped) -> list[Name]:
    """Whom a message names that became no events, under keyed hashes, as far as it was read."""
    message, feed, keys = mapped.message, mapped.feed, mapped.keys
    if message is None or mapped.body is None or feed is None or keys is None:
        return [name for one in mapped.named for each in one.everyone for name in each.names]
    return [
        identities.hashed_name(message["tenant_id"], keys.identity, each)
        for each in mentioned(mapped.body, feed)
    ]


def _decided(
    mapped: Mapped, said: Facts, people: Sequence[identities.Person]
) -> tuple[list[dict[str, Any]], list[Visit]]:
    """The events that a message becomes, and the visits whose accounts it tells."""
    assert mapped.message is not None, "what was mapped is a message"
    assert mapped.feed is not None, "what was mapped has its feed"
    assert mapped.keys is not None, "what was opened has its keys"
    rows = decide(
        said, people, mapped.message,
        feed=mapped.feed, keys=mapped.keys, mapper_version=MAPPER_VERSION, ids=mapped.ids,
    )  # fmt: skip
    return rows, visits(said, people, mapped.message, mapped.keys)


def _reason(said: Facts, people: Sequence[identities.Person]) -> str | None:
    """What is to be told of a message beside its events, what it left out first."""
    return "; ".join((*said.left_out, *_of_identity(people))) or None


def _of_identity(people: Sequence[identities.Person]) -> Iterator[str]:
    """What is to be told of whom a message names."""
    everyone = [each for person in people for each in (person, *person.sources)]
    if any(each.conflict for each in everyone):
        yield "identity.conflict"
    elif any(each.sources for each in people) and all(each.one_already for each in people):
        yield "already one patient"


def _row(
    message: Mapping[str, Any], mapped: Mapped, became: Mapping[str, str | None]
) -> dict[str, Any]:
    said, keys = mapped.said, mapped.keys
    kind = message["message_type"] if said is None else said.message_type
    control, told = None, _control_id(mapped)
    if told and keys is not None:
        control = str(identity.control(keys.identity, UUID(message["feed_id"]), told))
    return {
        "tenant_id": message["tenant_id"],
        "feed_id": message["feed_id"],
        "message_id": message["message_id"],
        "received_at": instant(message["received_at"]),
        "message_type": kind if _CODES.fullmatch(kind) else "?",
        "control_hmac": control,
        **became,
        "mapper_version": MAPPER_VERSION,
        "body_sealed": message["body"],
    }


def _control_id(mapped: Mapped) -> str:
    """MSH-10, by which somebody may look for the message; also of one that couldn't be mapped."""
    if mapped.said is not None:
        return mapped.said.control_id
    if mapped.body is None or mapped.feed is None:
        return ""
    return control_id(mapped.body, mapped.feed)


def naming(mapped: Mapped) -> Mapped:
    """The message with whom its parts name, or dead where that can't be told."""
    said, message, keys = mapped.said, mapped.message, mapped.keys
    if not isinstance(said, Facts):
        return mapped
    assert message is not None, "what was mapped is a message"
    assert keys is not None, "what was opened has its keys"
    try:
        return replace(mapped, named=tuple(named(said, message, keys.identity)), body=None)
    except Exception as error:  # as a fault of the mapper
        return replace(mapped, letter=failed(mapped, "decide", "decide", error))


def failed(read: Mapped, stage: str, what: str, error: Exception) -> DeadLetter:
    """A fault of ours, which stops this message and not its partition; says nothing of it."""
    kind = type(error).__name__
    logger.error("%s failed at offset %d: %s", what, read.offset, kind)
    return letter_of(read, stage, f"{what}_failed", f"{what} raised: {kind}")


def letter_of(read: Mapped, stage: str, cause: str, reason: str) -> DeadLetter:
    """The dead letter of a record, with what is known of its message."""
    message = read.message or {}
    tenant, feed, message_id = (
        UUID(message[each]) if each in message else None
        for each in ("tenant_id", "feed_id", "message_id")
    )
    return DeadLetter(
        offset=read.offset,
        key=read.key,
        value=read.value,
        stage=stage,
        cause=cause,
        reason=reason,
        tenant_id=tenant,
        feed_id=feed,
        message_id=message_id,
    )
