"""The batch transport against a plain Faust agent: the same events, codec and broker."""

from functools import partial

from benchmarks.figures import Figure, figure, in_turns
from benchmarks.material import RECORD, Events
from benchmarks.place import CHILD_SECONDS, Place, Size

DISTINCT = 10_000  # events; the topic holds them several times
# Each way reads for a few seconds: the slow one stops after a part of the topic.
RECORDS = {"plain": 40_000, "batch": 200_000}
ASKED = 8.0
ROUNDS_MAX = 3  # each round starts four processes
NAMES = {
    ("plain", "raw"): "plain Faust agent",
    ("batch", "raw"): "batch transport",
    ("plain", "decode"): "plain Faust agent, decoding",
    ("batch", "decode"): "batch transport, decoding",
}


def run(place: Place, size: Size) -> list[Figure]:
    """Events a second of both, without and with decoding."""
    topic = place.new_topic("transport")
    codec, events = place.codec(), Events("transport")
    distinct = size.of(DISTINCT, least=500)
    made = [
        (event["stream_id"].encode(), codec.encode(RECORD, event))
        for event in (events.next() for _ in range(distinct))
    ]
    for _ in range(RECORDS["batch"] // DISTINCT):
        place.fill(topic, made)
    counts = {way: size.of(count, least=500) for way, count in RECORDS.items()}
    ways = {
        f"{way} {decoding}": partial(_read, place, way, decoding, topic, counts[way])
        for way, decoding in NAMES
    }
    found = in_turns(ways, rounds=min(size.rounds, ROUNDS_MAX))
    figures = []
    for decoding in ("raw", "decode"):
        to, name = NAMES["plain", decoding], NAMES["batch", decoding]
        its, ours = found[f"plain {decoding}"], found[f"batch {decoding}"]
        asked = ASKED if decoding == "decode" else None
        figures += [
            figure(to, its, "events/s"),
            figure(name, ours, "events/s", to=(to, its), asked=asked),
        ]
    return figures


def _read(place: Place, way: str, decoding: str, topic: str, count: int) -> float:
    with place.child("reading.py", way, decoding, topic, str(count)) as process:
        said, _ = process.communicate(timeout=CHILD_SECONDS)
    assert process.returncode == 0, f"a reader ended with: {process.returncode}"
    return float(said.split()[-1])
