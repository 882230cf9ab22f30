"""Connections that begin and don't go on, beside a feed that does."""

import asyncio
import resource
import socket

import pytest

from producers.client import send
from producers.mllp import encode

HALF_OPEN = 1_000
MESSAGES = 500
BEGUN = b"\x0bMSH|^~\\&|S|F|R|G|1||ADT^A01|1|P|2.5\rPID|"


def run(test):
    asyncio.run(asyncio.wait_for(test(), 300))


@pytest.fixture
def descriptors():
    """Room for both ends of all connections in one process."""
    before, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * HALF_OPEN + 500
    if most != resource.RLIM_INFINITY and most < wanted:
        pytest.skip(f"a process may have only so many descriptors: {most}")
    if before != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(before, wanted), most))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (before, most))


async def half_open(port):
    """Connections of three kinds: silent, in the middle of a frame, and with garbage."""
    loop, opened = asyncio.get_running_loop(), []
    for number in range(HALF_OPEN):
        sock = socket.socket()
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, (b"", BEGUN, b"hello")[number % 3])
        opened.append(sock)
    return opened


def test_a_thousand_half_open_connections_hold_up_no_feed(serving, message, descriptors):
    async def test():
        async with serving() as intake:
            opened = await half_open(intake.port)
            await intake.until(lambda: intake.server.counters.open_connections == HALF_OPEN)
            results = await send("127.0.0.1", intake.port, map(message, range(MESSAGES)))
            assert [(each.code, each.sends) for each in results] == [("AA", 1)] * MESSAGES
            assert intake.server.counters.open_connections >= HALF_OPEN
            assert intake.server.counters.held_bytes < HALF_OPEN * len(BEGUN)
            for sock in opened:
                sock.close()
            await intake.until(lambda: intake.server.counters.open_connections == 0)
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_half_open_connections_end_in_their_time_and_give_their_places_back(
    serving, message, descriptors
):
    async def test():
        limits = {"frame_seconds": 1.0, "idle_seconds": 1.0, "connections": HALF_OPEN}
        async with serving(**limits) as intake:
            opened = await half_open(intake.port)
            await intake.until(lambda: intake.server.counters.connections == HALF_OPEN)
            await intake.until(lambda: intake.server.counters.open_connections == 0)
            closed = intake.server.counters.closed
            assert closed["idle"] + closed["frame time-out"] == HALF_OPEN
            results = await send("127.0.0.1", intake.port, map(message, range(MESSAGES)))
            assert [(each.code, each.sends) for each in results] == [("AA", 1)] * MESSAGES
            for sock in opened:
                sock.close()

    run(test)


def test_a_slow_loris_is_ended_though_it_never_falls_silent_and_the_feed_goes_on(serving, message):
    async def test():
        async with serving(frame_seconds=0.5) as intake:
            loris, feed = await intake.connect(), await intake.connect()
            sent, ended = 0, asyncio.Event()

            async def drip():
                await loris.say(BEGUN)
                while not ended.is_set():
                    try:
                        await loris.say(b"N")
                    except ConnectionError:
                        return
                    await asyncio.sleep(0.001)

            dripping = asyncio.create_task(drip())
            while not intake.server.counters.closed["frame time-out"]:
                await feed.say(encode(message(sent)))
                assert await feed.hear() == ("AA", str(sent), None)
                sent += 1
            assert await loris.hear() is None
            ended.set()
            await dripping
            await feed.say(encode(message("after")))
            assert await feed.hear() == ("AA", "after", None)
            assert intake.server.counters.closed == {"frame time-out": 1}

    run(test)
