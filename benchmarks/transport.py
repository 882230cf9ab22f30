"""The batch transport against a plain Faust agent: the same records, codec and broker."""

import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from benchmarks.figures import Figure, figure, in_turns
from benchmarks.material import MESSAGE, RECORD, Events, raw_messages
from benchmarks.place import CHILD_SECONDS, Place, Size
from schemas.codec import Codec
from schemas.events import Event

DISTINCT = 10_000  # records; a topic holds them several times
# Each way reads for a few seconds: the slow one stops after a part of the topic.
RECORDS = {"plain": 40_000, "batch": 200_000}
ASKED = 8.0
ROUNDS_MAX = 3  # each round starts six processes
WAYS = {"plain": "plain Faust agent", "batch": "batch transport"}
# What the ledger's worker reads, and what the projections' workers do.
READ = {
    "messages": "decoding raw messages",
    "events": "decoding events",
    "": "",  # events again, as bytes
}


def run(place: Place, size: Size) -> list[Figure]:
    """Records a second of both: as bytes, and decoding each kind."""
    codec, distinct = place.codec(), size.of(DISTINCT, least=500)
    made = {
        "messages": [_wire(codec, MESSAGE, each) for each in raw_messages(distinct)],
        "events": [_wire(codec, RECORD, each) for each in _events(distinct)],
    }
    topics = {kind: place.new_topic(kind) for kind in made}
    for kind, topic in topics.items():
        for _ in range(RECORDS["batch"] // DISTINCT):
            place.fill(topic, made[kind])
    counts = {way: size.of(count, least=500) for way, count in RECORDS.items()}
    ways = {
        f"{way} {kind}": partial(
            _read, place, way, "decode" if kind else "raw", topics[kind or "events"], counts[way]
        )
        for kind in READ
        for way in WAYS
    }
    found = in_turns(ways, rounds=min(size.rounds, ROUNDS_MAX))
    figures = []
    for kind, does in READ.items():
        to, name = (", ".join(filter(None, (WAYS[way], does))) for way in ("plain", "batch"))
        its, ours = found[f"plain {kind}"], found[f"batch {kind}"]
        figures += [
            figure(to, its, "records/s"),
            figure(name, ours, "records/s", to=(to, its), asked=ASKED if kind else None),
        ]
    return figures


def _events(count: int) -> Iterator[Event]:
    events = Events("transport")
    return (events.next() for _ in range(count))


def _wire(codec: Codec, record: str, value: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """A record's key and its bytes; the key is any that spreads the records."""
    return os.urandom(16), codec.encode(record, value)


def _read(place: Place, way: str, decoding: str, topic: str, count: int) -> float:
    with place.child("reading.py", way, decoding, topic, str(count)) as process:
        said, _ = process.communicate(timeout=CHILD_SECONDS)
    assert process.returncode == 0, f"a reader ended with: {process.returncode}"
    return float(said.split()[-1])
