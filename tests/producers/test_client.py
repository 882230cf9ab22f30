"""The client against our server, and against ones that misbehave."""

import asyncio
from dataclasses import replace

import pytest

from producers import acks
from producers.client import ACKNOWLEDGEMENT, NO_ANSWER, NOT_ASKED, UNFRAMEABLE, Patience, send
from producers.files import split
from producers.mllp import Decoder, Frame, encode
from producers.peek import Header, peek
from producers.ports import NotDurable
from tests.producers.conftest import FEED


def run(test):
    asyncio.run(asyncio.wait_for(test(), 120))


def test_each_message_gets_its_answer_in_order(serving, message):
    async def test():
        async with serving() as intake:
            heard = []
            results = await send(
                "127.0.0.1", intake.port, (message(n) for n in range(100)),
                answered=lambda index, _: heard.append(index),
            )  # fmt: skip
            assert [(each.code, each.sends) for each in results] == [("AA", 1)] * 100
            assert heard == list(range(100))

    run(test)


def test_no_more_than_the_window_is_on_its_way(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sending = asyncio.create_task(
                send("127.0.0.1", intake.port, [message(n) for n in range(5)], window=2)
            )
            for n in range(5):
                await intake.until(lambda n=n: len(intake.publisher.futures) == min(n + 2, 5))
                assert intake.server.counters.frames == min(n + 2, 5)
                intake.publisher.futures[n].set_result(None)
            assert [each.code for each in await sending] == ["AA"] * 5

    run(test)


def test_what_was_not_answered_is_sent_again(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sending = asyncio.create_task(
                send("127.0.0.1", intake.port, [message(n) for n in range(3)])
            )
            await intake.until(lambda: len(intake.publisher.futures) == 3)
            intake.publisher.futures[0].set_result(None)
            intake.publisher.futures[1].set_exception(NotDurable("away"))
            intake.publisher.holding = False
            results = await sending
            assert [(each.code, each.sends) for each in results] == [
                ("AA", 1), ("AA", 2), ("AA", 2),
            ]  # fmt: skip

    run(test)


def test_without_an_answer_it_ends_and_says_so(message):
    async def test():
        async def hang_up(reader, writer):
            writer.close()

        server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        patience = Patience(without_progress=0.2)
        async with server:
            messages = [message(n) for n in range(50)]
            results = await send("127.0.0.1", port, messages, patience=patience)
        assert len(results) == 50
        assert all(each.code is None and each.cause.startswith(NO_ANSWER) for each in results)

    run(test)


@pytest.mark.parametrize(
    "said", [b"rubbish", encode(b"no answer"), encode(b"MSH|^~\\&|\rMSA|AA|another\r")]
)
def test_what_is_no_answer_to_this_message_counts_for_none(message, said):
    async def test():
        async def mislead(reader, writer):
            await reader.read(1000)
            writer.write(said + b"\x0b")
            await writer.drain()
            writer.close()

        server = await asyncio.start_server(mislead, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            (result,) = await send(
                "127.0.0.1", port, [message(1)], patience=Patience(without_progress=0.1)
            )
        assert result.code is None

    run(test)


def test_what_can_get_no_answer_is_not_sent(serving, message):
    async def test():
        async with serving() as intake:
            ack = b"MSH|^~\\&|||||||ACK|9\rMSA|AA|1\r"
            results = await send("127.0.0.1", intake.port, [ack, b"a\x1c\rb", message(1)])
            assert [(each.code, each.cause) for each in results] == [
                (None, ACKNOWLEDGEMENT), (None, UNFRAMEABLE), ("AA", None),
            ]  # fmt: skip

    run(test)


def test_a_window_of_none_is_refused():
    with pytest.raises(ValueError, match="not: 0"):
        asyncio.run(send("127.0.0.1", 1, [], window=0))


def test_every_message_of_the_corpus_gets_the_answers_that_it_asks_for(serving, corpus):
    async def test():
        bodies = [
            piece.body
            for file in sorted((corpus / "hl7v2").rglob("*"))
            if file.is_file()
            for piece in split(file.read_bytes()).messages
        ]
        assert bodies, "the corpus has messages"
        async with serving() as intake:
            patience = Patience(silence=0.5)
            results = await send("127.0.0.1", intake.port, bodies, patience=patience)
            assert all(each.sends <= 1 for each in results)
            for body, result in zip(bodies, results, strict=True):
                assert (result.code, result.cause) == on_success(peek(body))
            taken = [each for each in results if each.cause != ACKNOWLEDGEMENT]
            assert len(taken) == len(intake.publisher.records)
            stages = sum((each.code is not None) + (each.accept == "CA") for each in results)
            both = sum(each.accept == each.code == "CA" for each in results)
            assert sum(intake.server.counters.answered.values()) == stages - both

    run(test)


def on_success(header):
    """The last answer to a message that is taken, or why there is none."""
    if header.acknowledges:
        return None, ACKNOWLEDGEMENT
    asked = acks.asked(header)
    said = [stage for stage in acks.Stage if acks.wanted(asked, stage, success=True)]
    return (acks.staged("AA", said[-1]), None) if said else (None, NOT_ASKED)


def test_the_raw_bytes_of_the_corpus_files_are_answered_or_refused(serving, corpus):
    """Whole files between the marks, as a careless sender would: each frame gets one answer."""

    async def test():
        files = [file for file in sorted((corpus / "hl7v2").rglob("*")) if file.is_file()]
        async with serving(feed=replace(FEED, acknowledgement="original")) as intake:
            sender = await intake.connect()
            for file in files:
                data = b"\x0b" + file.read_bytes() + b"\x1c\r"
                await sender.say(data)
                for _ in range(wanting_answers(Decoder().feed(data))):
                    assert await sender.hear() is not None, file.name
            await sender.say(encode(b"last"))
            assert (await sender.hear())[0] == "AR"
            counters = intake.server.counters
            assert counters.batches > 10
            alone = counters.frames - counters.batches
            assert sum(counters.answered.values()) + counters.acknowledgements > alone

    run(test)


def wanting_answers(items):
    headers = [peek(item.payload) for item in items if isinstance(item, Frame)]
    return sum(not (isinstance(each, Header) and each.acknowledges) for each in headers)
