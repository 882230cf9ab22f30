"""The MLLP server with its real publisher and broker, against one that only frames and answers."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial

from benchmarks.figures import Figure, figure, in_turns
from benchmarks.place import Place, Size
from benchmarks.senders import Outcome, send
from ops.simulator import day, sized
from ops.stack import ports
from producers import mllp

MESSAGES = 4_000
ONE_CONNECTION = 1_000  # each waits for the one before
PATTERNS = ((1, 1), (8, 1), (64, 1), (1, 64), (8, 16))  # connections, window of each
ROUNDS_MAX = 5
READY_SECONDS = 30.0


def run(place: Place, size: Size) -> list[Figure]:
    """Messages a second and waits, by connections and window."""
    frames = [mllp.encode(message.body) for message in day(sized(size.of(MESSAGES, least=70)))]
    bare_port, port = ports.choose([]), place.settings.mllp_port
    figures: list[Figure] = []
    with place.child("serving.py", "bare", str(bare_port)), place.child("serving.py", "real"):
        for each in (bare_port, port):
            _await(each)
        for connections, window in PATTERNS:
            figures += _compare(frames, port, bare_port, connections, window, size)
    return figures


def _compare(
    frames: Sequence[bytes], port: int, bare_port: int, connections: int, window: int, size: Size
) -> list[Figure]:
    count = size.of(MESSAGES if connections * window > 1 else ONE_CONNECTION, least=64)
    queues = [frames[:count][number::connections] for number in range(connections)]
    outcomes: dict[str, list[Outcome]] = {"bare": [], "server": []}

    def once(name: str, to: int) -> float:
        outcome = asyncio.run(send("127.0.0.1", to, queues, window=window))
        assert outcome.refused == 0, f"answers that are not AA: {outcome.refused}"
        outcomes[name].append(outcome)
        return len(outcome.waits) / outcome.seconds

    ways: dict[str, Callable[[], float]] = {
        "bare": partial(once, "bare", bare_port), "server": partial(once, "server", port),
    }  # fmt: skip
    for each in (*ways.values(), outcomes["bare"].clear, outcomes["server"].clear):
        each()  # the first message waits for the client to know its brokers
    found = in_turns(ways, rounds=min(size.rounds, ROUNDS_MAX))
    here = f"{connections} connection{'s' * (connections > 1)}, window {window}"
    to = f"bare asyncio: {here}"
    figures = [
        figure(to, found["bare"], "messages/s"),
        figure(f"MLLP server: {here}", found["server"], "messages/s", to=(to, found["bare"])),
    ]
    for share, label in ((0.5, "p50"), (0.99, "p99")):
        waits = {name: [each.percentile(share) for each in done] for name, done in outcomes.items()}
        its = f"bare asyncio: {here}, {label}"
        figures += [
            figure(its, waits["bare"], "ms"),
            figure(f"MLLP server: {here}, {label}", waits["server"], "ms", to=(its, waits["bare"])),
        ]
    return figures


def _await(port: int) -> None:
    """Until something listens there, within a bound."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
        except OSError:
            assert time.monotonic() < deadline, f"nothing listens on port {port}"
            time.sleep(0.05)
        else:
            return
