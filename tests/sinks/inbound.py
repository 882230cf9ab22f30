"""Inbound batches of the ledger, and everything that it promises of what it holds."""

import random
import threading
import uuid
from collections import defaultdict
from itertools import pairwise

from sinks import ledger
from sinks.numbering import Entry
from tests.sinks.provisioned import FEED, LINE, OURS, TOPIC, event

RAW = "emr.hl7v2.v1"
PARTITIONS = 4
NUMBERED = ("event_version", "recorded_at", "partition", "partition_seq", "global_position")
ENVELOPE = ("correlation_id", "causation_id", "mapper_version", "trace")


def message(number, *, outcome="applied", **given):
    return {
        "tenant_id": OURS,
        "feed_id": FEED,
        "message_id": str(uuid.UUID(int=0x4D0000 + number)),
        "received_at": "2026-03-02T08:00:00Z",
        "message_type": "ADT^A01",
        "outcome": outcome,
        "reason": None,
        "mapper_version": 1,
        "body_sealed": b"sealed",
        "control_hmac": None,
        **given,
    }


def happened(number, stream, **given):
    """A row of `events` that lacks only its numbers."""
    full = event(number, stream=stream, **given)
    row = {name: value for name, value in full.items() if name not in (*NUMBERED, *ENVELOPE)}
    return {
        **row,
        "event_id": str(uuid.uuid5(uuid.UUID(int=number), str(stream))),
        "occurred_at": "2026-03-02T08:00:00Z",
        "metadata": {name: full[name] for name in ENVELOPE},
    }


def entry(offset, *, number=None, streams=(0,), **given):
    """The entry at an offset: a message with an event for each stream."""
    number = offset if number is None else number
    rows = [happened(number, stream, **given) for stream in streams]
    return Entry(offset=offset, key=b"key", value=b"value", message=message(number), events=rows)


def take(store, *partitions):
    ledger.ensure_partitions(store.database, TOPIC, PARTITIONS)
    return store.take("ledger", *partitions, topic=RAW)


def append(store, held, batch):
    return ledger.append(store.database, held, batch, topic=TOPIC, line=LINE)


def events(store):
    return store.rows("SELECT * FROM events ORDER BY partition, partition_seq")


def check(store):
    """Every order the ledger promises, in all that it holds."""
    partitions, streams = defaultdict(list), defaultdict(list)
    for row in events(store):
        partitions[row["partition"]].append(row["partition_seq"])
        streams[row["stream_id"]].append(row)
    for seqs in partitions.values():
        assert seqs == list(range(1, len(seqs) + 1)), "positions have no hole"
    known = {row["stream_id"]: row for row in store.rows("SELECT * FROM streams")}
    assert known.keys() == streams.keys()
    for stream, rows in streams.items():
        rows.sort(key=lambda row: row["event_version"])
        assert [row["event_version"] for row in rows] == list(range(1, len(rows) + 1))
        assert {row["partition"] for row in rows} == {known[stream]["partition"]}, "one home"
        times = [row["recorded_at"] for row in rows]
        assert all(a < b for a, b in pairwise(times)), "known time rises"
        order = [row["partition_seq"] for row in rows]
        assert order == sorted(order), "a stream's versions are in its partition's order"
        assert known[stream]["version"] == len(rows)
        assert known[stream]["recorded_at"] == times[-1]
    for row in store.rows("SELECT * FROM partitions WHERE topic = %s", TOPIC):
        assert row["next_seq"] == len(partitions[row["partition"]]) + 1


def both(*calls):
    """Run calls in threads; raise what one of them raised."""
    failed = []

    def run(call):
        try:
            call()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def follow(store, stop, seen, torn):
    """A reader that never saw a hole: it remembers each partition's positions as they appear."""
    while True:
        last = stop.is_set()
        for partition in range(PARTITIONS):
            new = store.rows(
                "SELECT partition_seq FROM events WHERE partition = %s AND partition_seq > %s"
                " ORDER BY partition_seq", partition, seen[partition],
            )  # fmt: skip
            for row in new:
                if row["partition_seq"] != seen[partition] + 1:
                    torn.append((partition, seen[partition], row["partition_seq"]))
                seen[partition] = row["partition_seq"]
        if last:
            return


def concurrent(store, *, appends=append, inbound=PARTITIONS, entries=320, size=20, seed=1):
    """Append from several inbound partitions at once; return the holes that a reader saw.

    Streams are shared by all of them, so that most messages belong to another home.
    """
    rng = random.Random(seed)
    work = []
    for partition in range(inbound):
        held = take(store, partition)
        batches, offset = [], 0
        while offset < entries:
            upto = min(entries, offset + rng.randint(1, size * 2))
            batches.append(
                [
                    entry(
                        n, number=1000 * (partition + 1) + n,
                        streams=tuple(rng.sample(range(40), rng.choice((1, 2)))),
                    )
                    for n in range(offset, upto)
                ]
            )  # fmt: skip
            offset = upto
        work.append((held, batches))
    seen, torn, stop = defaultdict(int), [], threading.Event()
    reader = threading.Thread(target=follow, args=(store, stop, seen, torn))
    reader.start()

    def run(held, batches):
        for batch in batches:
            appends(store, held, batch)

    try:
        both(*(lambda held=held, batches=batches: run(held, batches) for held, batches in work))
    finally:
        stop.set()
        reader.join()
    return torn
