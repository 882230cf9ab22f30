"""Retrying: what was dead in the ledger, or waited there, is appended as if it came now."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from psycopg import Connection

from schemas import sealing
from sinks import ledger, outcomes, tenancy
from sinks.database import Row, for_tenants
from sinks.numbering import Entry
from sinks.parking import Unfit
from sinks.subscriptions import Held

ERASED = {
    "stage": "decide",
    "cause": "erased",
    "reason": "it tells of a person who was erased (hint: discard it)",
}
TAKEN_OUT = "an erasure took it out before it was released"
_OPEN = ("dead", "parked")


def retry(
    connection: Connection[Row],
    held: Held,
    entries: Sequence[Entry],
    *,
    topic: str,
    line: sealing.Key,
) -> list[str]:
    """Append the entries of released records, all or none; say what became of each.

    In a transaction that holds the subscription's lock. Every output partition is locked: what
    a further part of the release needs can't lie below, and is there. A message whose row tells
    of another record, or that it became something, is a duplicate. Raises
    :class:`~sinks.parking.Unfit` where one is dead again, and what the database refuses.
    """
    for entry in entries:
        if entry.letter is not None:
            raise ledger.unfit(entry.letter)
    tenants = {name[0] for each in entries if (name := each.known_as())}
    for_tenants(connection, tenants)
    ledger.lock_all(connection, topic)  # before rows of messages, as batches do
    gone = tenancy.gone(connection, tenants)
    rows = outcomes.locked(connection, {name for each in entries if (name := each.known_as())})
    became: dict[int, str] = {}
    new = []
    again = []
    for entry in entries:
        name = entry.known_as()
        row = None if name is None else rows.get(name)
        if name is None or name[0] in gone or (row is None and _emptied(entry)):
            became[entry.offset] = "ignored"
        elif row is not None and not _ours(row, held, entry):
            became[entry.offset] = "duplicate"
            again.append(name)
        else:
            new.append(replace(entry, stands=row is not None))
            rows[name] = {"outcome": "applied"}  # should the same come again within the release
    written = ledger.write_down(
        connection, held, new, Counter[str](), topic=topic, line=line, extra=None
    )
    for told, entry in zip(new, written, strict=True):
        assert told.message is not None, "who isn't known by a name was passed"
        assert entry.message is not None, "and keeps its message"
        # Nobody here may take a body out of its row: an erasure does, where it can be read.
        if entry.stands and told.message["body_sealed"] and not entry.message["body_sealed"]:
            raise Unfit(**ERASED)
        became[entry.offset] = entry.message["outcome"]
    _become(connection, [entry for entry in written if entry.stands])
    outcomes.count_again(connection, again)
    return [became[entry.offset] for entry in entries]


def taken_out(offset: int, name: tuple[str, str, str]) -> Entry:
    """What becomes of a record that an erasure has emptied: its message is ignored."""
    tenant, feed, message = name
    row = {
        "tenant_id": tenant, "feed_id": feed, "message_id": message,
        "outcome": "ignored", "reason": TAKEN_OUT, "cause": ERASED["cause"], "body_sealed": b"",
    }  # fmt: skip
    return Entry(offset=offset, message=row)


def _emptied(entry: Entry) -> bool:
    return entry.message is not None and entry.message["reason"] == TAKEN_OUT


def _ours(row: Mapping[str, Any], held: Held, entry: Entry) -> bool:
    """Whether a message's row tells of this very record, and that it became nothing yet."""
    place = _place(held, entry)
    return row["outcome"] in _OPEN and all(row[name] == place[name] for name in place)


def _place(held: Held, entry: Entry) -> dict[str, Any]:
    return {"topic": held.topic, "partition": held.partition, "offset": entry.offset}


def _become(connection: Connection[Row], entries: Sequence[Entry]) -> None:
    """Say in the messages' rows what they became; what isn't told stays."""
    for entry in entries:
        message = entry.message or {}
        done = connection.execute(
            _BECOME,
            {
                "events": len(entry.events),
                **{
                    each: message.get(each) for each in (
                        "tenant_id", "feed_id", "message_id", "outcome", "reason", "cause",
                        "mapper_version", "message_type", "control_hmac",
                    )
                },
            },
        ).fetchone()  # fmt: skip
        assert done is not None, "a row that stands open is locked"


_BECOME = """
UPDATE messages SET
    outcome = %(outcome)s, reason = %(reason)s, cause = %(cause)s, events = %(events)s,
    mapper_version = coalesce(%(mapper_version)s, mapper_version),
    message_type = coalesce(%(message_type)s, message_type),
    control_hmac = coalesce(%(control_hmac)s::uuid, control_hmac)
WHERE tenant_id = %(tenant_id)s AND feed_id = %(feed_id)s AND message_id = %(message_id)s
  AND outcome IN ('dead', 'parked')
RETURNING message_id
"""
