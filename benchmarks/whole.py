"""The whole line: messages over MLLP until the rows of their paths stand."""

import asyncio
import time
from contextlib import closing
from zlib import crc32

from benchmarks.figures import Figure, figure
from benchmarks.place import Place, Size
from benchmarks.senders import send
from ops import line
from ops.simulator import day, sized
from producers import mllp
from schemas.topics import EVENTS, HL7V2
from sinks.database import Database

MESSAGES = 10_000
CONNECTIONS, WINDOW = 8, 64
ROUNDS_MAX = 3
LAG_SECONDS = 180.0


def run(place: Place, size: Size) -> list[Figure]:
    """Messages a second: taken over MLLP, in the ledger, and in the trajectory with lag 0."""
    taken, committed, stands = [], [], []
    joined = line.up(place.settings)
    with closing(place.database(joined)) as database:
        _settle(place, database)  # the workers have their partitions
        for number in range(min(size.rounds, ROUNDS_MAX)):
            queues = _queues(size.of(MESSAGES, least=70), seed=2_000 + number)
            count = sum(map(len, queues))
            start = time.perf_counter()
            outcome = asyncio.run(send("127.0.0.1", joined.mllp_port, queues, window=WINDOW))
            assert outcome.refused == 0, f"answers that are not AA: {outcome.refused}"
            _settle(place, database, until=_LEDGER)
            committed.append(count / (time.perf_counter() - start))
            _settle(place, database)
            stands.append(count / (time.perf_counter() - start))
            taken.append(count / outcome.seconds)
    return [
        figure("whole line: taken over MLLP meanwhile", taken, "messages/s"),
        figure("whole line: from the socket to the ledger's commit", committed, "messages/s"),
        figure("whole line: until the trajectory stands", stands, "messages/s"),
    ]


def _queues(messages: int, *, seed: int) -> list[list[bytes]]:
    """A day's frames, each patient's in order on one connection."""
    queues: list[list[bytes]] = [[] for _ in range(CONNECTIONS)]
    for message in day(sized(messages, seed=seed)):
        queues[crc32(message.mrn.encode()) % CONNECTIONS].append(mllp.encode(message.body))
    return queues


def _settle(place: Place, database: Database, *, until: str | None = None) -> None:
    """Until all messages there are have come so far; as paths, where nothing else is said."""
    deadline = time.monotonic() + LAG_SECONDS
    ends = sum(place.ends(HL7V2.name))
    while not _level(ends, database, until or f"{_LEDGER} AND {_TRAJECTORY}"):
        assert time.monotonic() < deadline, "the line is still behind"
        time.sleep(0.02)


def _level(ends: int, database: Database, condition: str) -> bool:
    with database.connection() as connection:
        row = connection.execute(
            f"SELECT {condition} AS level",
            {"ends": ends, "raw": HL7V2.name, "events": EVENTS.name},
        ).fetchone()
    assert row is not None, "an aggregate has a row"
    return bool(row["level"])


_LEDGER = """
%(ends)s = (
    SELECT coalesce(sum(next_offset), 0) FROM subscriptions
    WHERE subscription_id = 'ledger' AND topic = %(raw)s
)
"""
_TRAJECTORY = """
NOT EXISTS (
    SELECT FROM partitions LEFT JOIN subscriptions AS trajectory
      ON trajectory.subscription_id = 'trajectory' AND trajectory.topic = partitions.topic
     AND trajectory.partition = partitions.partition
    WHERE partitions.topic = %(events)s AND next_seq - 1 > coalesce(trajectory.last_position, 0)
)
"""
