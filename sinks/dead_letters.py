"""Dead letters: records that can't be processed, kept whole and sealed, with cause and place."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID, uuid4

import orjson

from schemas import sealing
from schemas.sealing import EnvelopeInvalid
from sinks.changes import Append
from sinks.subscriptions import Held
from sinks.tables import dead_letters, parked_records

FIELD = "record"  # the sealed field that holds key and value
# Our keys are ids; another may be anything, and is only in the sealed record.
_PSEUDONYM = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record and why it ended here; ``cause`` is a class, ``reason`` a line without PHI.

    ``keys`` are those that it parks, or behind which it waits (``state``); with none it parks
    nobody. ``position`` is the ``partition_seq`` of its event; ``family`` is that of a feed's
    message, and of nothing else.
    """

    offset: int
    key: bytes | None = field(repr=False)
    value: bytes | None = field(repr=False)
    stage: str
    cause: str
    reason: str
    tenant_id: UUID | None = None
    feed_id: UUID | None = None
    message_id: UUID | None = None
    event_id: UUID | None = None
    keys: tuple[str, ...] = ()
    state: Literal["dead", "parked"] = "dead"
    position: int | None = None
    family: str | None = None

    @property
    def told(self) -> dict[str, str]:
        """What its message's row says of what became of it."""
        return {"outcome": self.state, "reason": self.reason, "cause": self.cause}


def changes(held: Held, letters: Sequence[DeadLetter], line: sealing.Key) -> list[Append]:
    """The rows; each record sealed whole under the line's key, so that no worker needs others."""
    return [
        *(Append(dead_letters, _row(held, letter, line)) for letter in letters),
        *(
            Append(
                parked_records,
                {
                    "subscription_id": held.subscription_id, "topic": held.topic,
                    "partition": held.partition, "parked_key": key, "offset": letter.offset,
                    "tenant_id": letter.tenant_id,
                },
            )
            for letter in letters
            for key in letter.keys
        ),
    ]  # fmt: skip


def sealed(row_id: UUID, key: bytes | None, value: bytes | None, line: sealing.Key) -> bytes:
    """Key and value of a record as a row keeps them."""
    whole = orjson.dumps([part if part is None else sealing.text(part) for part in (key, value)])
    return sealing.seal(
        whole, line, tenant=sealing.NOBODY, person=None, record=row_id, field=FIELD
    )  # fmt: skip


def open_record(
    row_id: UUID, sealed: bytes, line: sealing.Key
) -> tuple[bytes | None, bytes | None]:
    """Key and value of the record that a row keeps; ``EnvelopeInvalid`` of a damaged one."""
    clear = sealing.open_sealed(
        sealed, line, tenant=sealing.NOBODY, person=None, record=row_id, field=FIELD
    )
    try:
        key, value = (text and sealing.untext(text) for text in orjson.loads(clear))
    except (ValueError, TypeError):
        raise EnvelopeInvalid("a dead letter holds no record") from None
    return key, value


def _row(held: Held, letter: DeadLetter, line: sealing.Key) -> dict[str, object]:
    row_id = uuid4()
    return {
        "id": row_id,
        "tenant_id": letter.tenant_id,
        "subscription_id": held.subscription_id,
        "topic": held.topic,
        "partition": held.partition,
        "offset": letter.offset,
        "key": letter.key if letter.key and _PSEUDONYM.fullmatch(letter.key) else None,
        "feed_id": letter.feed_id,
        "message_id": letter.message_id,
        "event_id": letter.event_id,
        "stage": letter.stage,
        "cause": letter.cause,
        "reason": letter.reason,
        "state": letter.state,
        "waited": letter.state == "parked",
        "position": letter.position,
        "family": letter.family,
        "record_sealed": sealed(row_id, letter.key, letter.value, line),
        **_UNTOLD,
    }


# Who publishes letters fills these in (:mod:`sinks.announcing`).
_UNTOLD = {"announced": None, "announced_at": None, "partition_seq": None}
