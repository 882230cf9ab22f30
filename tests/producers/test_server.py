"""The MLLP server on real sockets, with a publisher that does as it is told."""

import asyncio
import socket
from dataclasses import replace

import pytest

from producers.limits import Limits
from producers.mllp import GARBAGE_BYTES_MAX, encode
from producers.ports import NotDurable, RecordTooLarge
from producers.replies import ENTRY_BYTES
from producers.server import Server
from schemas import failpoints
from schemas.codec import Codec, Ids
from schemas.failpoints import parse


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


def test_messages_split_at_any_byte_and_joined_are_answered_in_order(serving, message):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            stream = b"".join(encode(message(n)) for n in range(3))
            for byte in stream[:200]:
                await sender.say(bytes([byte]))
            await sender.say(stream[200:])
            assert [await sender.hear() for _ in range(3)] == [
                ("AA", str(n), None) for n in range(3)
            ]
            assert intake.server.counters.snapshot()["answered: AA"] == 3

    run(test)


def test_nothing_is_answered_before_the_brokers_hold_it(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(0)))
            await intake.until(lambda: intake.publisher.futures)
            assert not intake.server.counters.answered
            intake.publisher.futures[0].set_result(None)
            assert await sender.hear() == ("AA", "0", None)

    run(test)


def test_answers_come_in_the_order_of_arrival(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            bad = encode(b"no header")
            await sender.say(encode(message(0)) + encode(message(1)) + bad + encode(message(3)))
            await intake.until(lambda: len(intake.publisher.futures) == 3)
            for n in (2, 1, 0):
                assert not intake.server.counters.answered
                intake.publisher.futures[n].set_result(None)
            assert [(await sender.hear())[:2] for _ in range(4)] == [
                ("AA", "0"), ("AA", "1"), ("AR", ""), ("AA", "3"),
            ]  # fmt: skip

    run(test)


def test_what_is_not_durable_closes_the_connection_unanswered(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(b"".join(encode(message(n)) for n in range(3)))
            await intake.until(lambda: len(intake.publisher.futures) == 3)
            first, second, third = intake.publisher.futures
            third.set_result(None)
            second.set_exception(NotDurable("away"))
            first.set_result(None)
            assert await sender.hear() == ("AA", "0", None)
            assert await sender.hear() is None
            assert intake.server.counters.publish_failures == 1
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_a_configured_transient_answer_is_given_and_the_connection_lives(serving, message):
    async def test():
        async with serving(holding=True, transient_answer="AE") as intake:
            sender = await intake.connect()
            await sender.say(encode(message(0)) + encode(message(1)))
            await intake.until(lambda: len(intake.publisher.futures) == 2)
            intake.publisher.futures[0].set_exception(NotDurable("away"))
            intake.publisher.futures[1].set_result(None)
            assert await sender.hear() == ("AE", "0", 207)
            assert await sender.hear() == ("AA", "1", None)

    run(test)


def test_a_transient_answer_is_ae_or_ar():
    with pytest.raises(ValueError, match="not: AA"):
        Server(feeds=None, publisher=None, codec=Codec(Ids.in_order()), transient_answer="AA")


def test_a_frame_limit_whose_record_would_be_too_large_is_refused():
    with pytest.raises(ValueError, match="record is too large"):
        Limits(frame_bytes=8 * 1024 * 1024)


def test_a_record_that_the_log_never_takes_is_rejected_for_good(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(0)))
            await intake.until(lambda: intake.publisher.futures)
            intake.publisher.futures[0].set_exception(RecordTooLarge("too large"))
            assert await sender.hear() == ("AR", "0", 102)

    run(test)


def test_a_frame_over_the_limit_is_refused_and_the_connection_lives(serving, message):
    async def test():
        async with serving(frame_bytes=200) as intake:
            sender = await intake.connect()
            fitting = message("fits", rest=b"")
            fitting += b"N" * (200 - len(fitting))
            await sender.say(encode(fitting) + encode(message("over") + b"N" * 200))
            await sender.say(encode(message("after")))
            assert await sender.hear() == ("AA", "fits", None)
            assert await sender.hear() == ("AR", "over", 102)
            assert await sender.hear() == ("AA", "after", None)

    run(test)


def test_garbage_between_frames_is_counted_and_the_connection_lives(serving, message):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(b"hello" + encode(message(1)))
            assert await sender.hear() == ("AA", "1", None)
            assert intake.server.counters.refused == {"garbage between frames": 1}

    run(test)


@pytest.mark.parametrize("said", [b"<", b"x" * (GARBAGE_BYTES_MAX + 1)])
def test_what_is_no_mllp_is_hung_up_on(serving, said):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(said)
            assert await sender.hear() is None
            assert intake.server.counters.closed == {"no MLLP": 1}

    run(test)


def test_a_message_without_header_is_rejected_in_words(serving):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(encode(b"PID|1||7") + encode(b"<ADT/>") + encode(b""))
            assert [await sender.hear() for _ in range(3)] == [("AR", "", 100)] * 3
            assert intake.server.counters.refused == {"no header": 2, "markup": 1}
            assert intake.publisher.records == []

    run(test)


def test_i5_an_acknowledgement_is_never_acknowledged(serving, message):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            ack = b"MSH|^~\\&|||||||ACK^A01|9\rMSA|AA|1\r"
            await sender.say(encode(ack) + encode(message(1)))
            assert await sender.hear() == ("AA", "1", None)
            assert intake.server.counters.acknowledgements == 1

    run(test)


def test_i4_a_processing_id_or_sender_that_is_not_taken_is_rejected(serving, message):
    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(
                intake.feeds.feed, processing_ids=frozenset({"P"}), senders=frozenset({"S"})
            )
            sender = await intake.connect()
            for each in (
                message(1), message(2, processing_id="T"), message(3, processing_id=""),
                message(4, sender="X"), message(5, sender="S^1.2^ISO", processing_id="P^A"),
            ):  # fmt: skip
                await sender.say(encode(each))
            assert [await sender.hear() for _ in range(5)] == [
                ("AA", "1", None), ("AR", "2", 202), ("AR", "3", 101), ("AR", "4", 103),
                ("AA", "5", None),
            ]  # fmt: skip
            assert intake.server.counters.refused == {"processing id": 2, "sender": 1}

    run(test)


def test_a_port_without_an_active_feed_asks_to_send_again(serving, message):
    async def test():
        async with serving(feed=None) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1)))
            assert await sender.hear() == ("AR", "1", 207)

    run(test)


def test_without_keys_nothing_is_taken(serving, message):
    async def test():
        async with serving() as intake:
            intake.feeds.away = True
            sender = await intake.connect()
            await sender.say(encode(message(1)) + encode(message(2)))
            assert await sender.hear() is None
            assert intake.publisher.records == []
            assert intake.server.counters.closed["keys away"] == 1

    run(test)


def test_connections_are_bounded_and_one_more_is_closed(serving, message):
    async def test():
        async with serving(connections=2) as intake:
            held = [await intake.connect() for _ in range(2)]
            await intake.until(lambda: intake.server.counters.open_connections == 2)
            assert await (await intake.connect()).hear() is None
            await held[0].say(encode(message(1)))
            assert await held[0].hear() == ("AA", "1", None)
            assert intake.server.counters.connections_refused == 1

    run(test)


def test_a_lone_fs_is_answered_after_a_silence(serving, message):
    async def test():
        async with serving(settle_seconds=0.01) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1))[:-1])
            assert await sender.hear() == ("AA", "1", None)

    run(test)


@pytest.mark.parametrize(
    ("limits", "said", "reason"),
    [
        ({"idle_seconds": 0.01}, b"", "idle"),
        ({"frame_seconds": 0.01}, b"\x0bMSH|", "frame time-out"),
    ],
)
def test_a_silent_connection_is_closed(serving, limits, said, reason):
    async def test():
        async with serving(**limits) as intake:
            sender = await intake.connect()
            await sender.say(said)
            assert await sender.hear() is None
            assert intake.server.counters.closed == {reason: 1}

    run(test)


def test_who_reads_no_answers_is_dropped(serving, message):
    async def test():
        async with serving(write_seconds=0.01) as intake:
            sender = await intake.connect()
            sender.writer.transport.pause_reading()
            echo = "c" * 1000

            async def flood():
                while True:
                    await sender.say(encode(message(echo)) * 200)

            with pytest.raises(ConnectionError):
                await flood()
            assert intake.server.counters.closed == {"write time-out": 1}

    run(test)


def test_bytes_in_flight_are_bounded_by_reading_no_more(serving, message):
    async def test():
        size = 20_000
        body = message("big") + b"N" * size
        async with serving(holding=True, connection_bytes=100_000) as intake:
            sender = await intake.connect()
            flood = asyncio.create_task(sender.say(encode(body) * 2000))
            (connection,) = await connected(intake)
            await intake.until(lambda: connection._paused)
            read = intake.server.counters.frames
            assert read * (size + ENTRY_BYTES) < 100_000 + 2 * 256 * 1024
            for _ in range(20):
                await asyncio.sleep(0)
            assert intake.server.counters.frames == read
            intake.publisher.holding = False
            for future in tuple(intake.publisher.futures):
                future.set_result(None)
            assert {(await sender.hear())[0] for _ in range(2000)} == {"AA"}
            await flood
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_large_messages_of_some_leave_small_ones_of_others_alone(serving, message):
    async def test():
        async with serving(holding=True, total_bytes=50_000, small_bytes=20_000) as intake:
            large, small = await intake.connect(), await intake.connect()
            await large.say(encode(message("large") + b"N" * 60_000))
            await intake.until(lambda: intake.publisher.futures)
            crowded = next(each for each in intake.server.connections if each._held > 50_000)
            await intake.until(lambda: crowded._paused)
            await small.say(encode(message("small")))
            await intake.until(lambda: len(intake.publisher.futures) == 2)
            intake.publisher.futures[1].set_result(None)
            assert await small.hear() == ("AA", "small", None)
            intake.publisher.futures[0].set_result(None)
            assert await large.hear() == ("AA", "large", None)
            assert not crowded._paused

    run(test)


def test_an_end_of_sending_is_answered_to_the_last(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1)) + b"\x0bMSH|cut")
            sender.writer.write_eof()
            await intake.until(lambda: intake.server.counters.refused)
            intake.publisher.futures[0].set_result(None)
            assert await sender.hear() == ("AA", "1", None)
            assert await sender.hear() is None
            assert intake.server.counters.refused == {"frame broken off": 1}

    run(test)


def test_closing_answers_what_was_taken_and_takes_nothing_more(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1)))
            await intake.until(lambda: intake.publisher.futures)
            closing = asyncio.create_task(intake.server.close(grace_seconds=20))
            await asyncio.sleep(0)
            with pytest.raises(OSError, match=r"refused|failed"):
                await intake.connect()
            intake.publisher.futures[0].set_result(None)
            assert await sender.hear() == ("AA", "1", None)
            assert await sender.hear() is None
            await closing

    run(test)


def test_a_vanished_peer_is_looked_for(serving):
    async def test():
        async with serving() as intake:
            await intake.connect()
            (connection,) = await connected(intake)
            sock = connection._transport.get_extra_info("socket")
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1

    run(test)


@pytest.mark.parametrize(
    "name", ["intake: frame read", "intake: checked", "intake: produced", "intake: delivered"]
)
def test_an_exception_at_each_fail_point_is_no_answer(serving, message, monkeypatch, name):
    async def test():
        async with serving() as intake:
            monkeypatch.setattr(failpoints, "_armed", parse(f"{name}=raise"))
            sender = await intake.connect()
            await sender.say(encode(message(1)))
            assert await sender.hear() is None
            monkeypatch.setattr(failpoints, "_armed", {})
            again = await intake.connect()
            await again.say(encode(message(1)))
            assert await again.hear() == ("AA", "1", None)
            produced = name in ("intake: produced", "intake: delivered")
            assert len(intake.publisher.records) == (2 if produced else 1)

    run(test)


async def connected(intake):
    await intake.until(lambda: intake.server.connections)
    return tuple(intake.server.connections)
