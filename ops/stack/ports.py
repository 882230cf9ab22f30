"""Loopback ports for servers that are stopped and started again."""

import random
import socket
import time
from collections.abc import Collection
from pathlib import Path

# Below the kernel's ephemeral range: from within it, any client's outgoing connection may
# take a server's port while the server is down, and a client that dials a dead port of that
# range on loopback can even be connected to itself.
LOWEST = 20_000
TRIES = 200


def choose(taken: Collection[int] = ()) -> int:
    """A port that nobody listens on now, and that isn't in `taken`."""
    highest = _ephemeral_from() - 1
    lowest = LOWEST if highest - LOWEST > 1_000 else 2_000
    for _ in range(TRIES):
        port = random.randint(lowest, highest)  # noqa: S311  not a secret
        if port not in taken and free(port):
            return port
    raise OSError(f"no free port on loopback after this many tries: {TRIES}")


def free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the servers do
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_within(port: int, seconds: float) -> bool:
    """Whether the port is free, or becomes so within that time."""
    deadline = time.monotonic() + seconds
    while not (is_free := free(port)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return is_free


def _ephemeral_from() -> int:
    try:
        text = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii")
    except OSError:
        return 32_768  # Linux's default
    return int(text.split()[0])
