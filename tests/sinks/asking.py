"""Commands as the ledger's transaction gets them, on streams that count; and what they became."""

import uuid

from schemas.clock import micros
from sinks import ledger
from sinks.asked import Command, Folding, Rejected
from sinks.numbering import Entry
from tests.sinks.inbound import ENVELOPE, NUMBERED, PARTITIONS, append, message
from tests.sinks.provisioned import FEED, OURS, TOPIC, event, stream_id

COMMANDS = "app.commands.v1"
KIND = "counter"
LIMIT = 10**9


def command_id(number):
    return str(uuid.UUID(int=0xC0000000 + number))


def happened(command, amount, ordinal=0, **given):
    """A row of `events` that lacks only its numbers: that a counter counted on."""
    full = event(1, tenant=command["tenant_id"], message_id=command["command_id"])
    row = {name: value for name, value in full.items() if name not in (*NUMBERED, *ENVELOPE)}
    return {
        **row,
        "event_id": str(uuid.uuid5(uuid.UUID(command["command_id"]), f"{ordinal}")),
        "event_type": "counter.added",
        "stream_type": KIND,
        "stream_id": command["stream_id"],
        "occurred_at": "2026-03-02T08:00:00Z",
        "data": {"amount": amount},
        "metadata": {name: full[name] for name in ENVELOPE},
        **given,
    }


def evolve(state, row):
    """The sum so far, and version and time of the newest event."""
    if row["data"].get("unreadable"):
        raise RuntimeError("told to")
    total = (state or {"total": 0})["total"] + row["data"]["amount"]
    at = micros(row["recorded_at"])
    return {"total": total, "version": row["event_version"], "at": at}


def folding(**given):
    plain = {
        "state_version": 1, "initial": None, "evolve": evolve,
        "freeze": lambda state, _: state, "thaw": lambda state, _: state,
    }  # fmt: skip
    return Folding(**{**plain, **given})


def asked(number, stream=0, *, tenant=OURS, amounts=(1,), decide=None, **given):
    """A command that counts on by each amount; not beyond the limit."""
    named = {
        "tenant_id": tenant, "command_id": command_id(number), "command_type": "counter.add",
        "stream_type": KIND, "stream_id": stream_id(stream),
    }  # fmt: skip

    def counting(state):
        if (state or {"total": 0})["total"] + sum(amounts) > LIMIT:
            return Rejected(rule="full", said="it counts no further than it does")
        return [happened(named, amount, n) for n, amount in enumerate(amounts)]

    plain = {
        **named, "expected_version": None, "creates": False, "references": (), "near": (),
        "folding": folding(), "decide": decide or counting,
    }  # fmt: skip
    return Command(**{**plain, **given})


def told(offset, command):
    """The entry of a command at an offset."""
    row = message(
        0, tenant_id=command.tenant_id, feed_id=FEED, message_id=command.command_id,
        message_type=command.command_type,
    )  # fmt: skip
    return Entry(offset=offset, key=b"key", value=b"value", message=row, command=command)


def results(store):
    """What became of the commands, in the order of the inbound partitions."""
    return store.rows("SELECT * FROM command_results ORDER BY partition, partition_seq")


def outcomes(store):
    return [row["rule"] or row["outcome"] for row in results(store)]


def reach(store, partition=0):
    ledger.ensure_partitions(store.database, TOPIC, PARTITIONS)
    return store.take("ledger", partition, topic=COMMANDS)


def ask(store, held, *commands, offset=None):
    """Append one batch of these commands at the next offsets."""
    if offset is None:
        offset = store.rows(
            "SELECT next_offset FROM subscriptions WHERE subscription_id = 'ledger'"
            " AND topic = %s AND partition = %s", COMMANDS, held.partition,
        )[0]["next_offset"]  # fmt: skip
    return append(store, held, [told(n, each) for n, each in enumerate(commands, start=offset)])
