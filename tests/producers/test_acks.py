"""Original and enhanced acknowledgement: every pair of MSH-15 and MSH-16."""

import asyncio
from dataclasses import replace

import pytest

from producers.acks import CONDITIONS, IN_ORIGINAL_MODE, Asked, Stage, asked, staged, wanted
from producers.client import NOT_ASKED, Patience, send
from producers.mllp import encode
from producers.peek import NoHeader, peek
from producers.ports import NotDurable, RecordTooLarge

BLANK = ""
VALUES = (BLANK, *CONDITIONS)
PAIRS = [(accept, application) for accept in VALUES for application in VALUES]
# What rule I1 says, written out by hand: who is told of a success, and who of a failure.
HEARS = {"AL": (True, True), "SU": (True, False), "ER": (False, True), "NE": (False, False)}
HEARS[BLANK] = HEARS["NE"]


def run(test):
    asyncio.run(asyncio.wait_for(test(), 120))


def expected(accept, application, success):
    """The codes that come back, in order."""
    if (accept, application) == (BLANK, BLANK):
        return ["AA" if success else "AR"]
    kinds = (("C", accept), ("A", application))
    return [kind + "RA"[success] for kind, said in kinds if HEARS[said][0 if success else 1]]


def asking(accept, application, control_id="1", processing_id="P"):
    return (
        f"MSH|^~\\&|S|F|R|G|1||ADT^A01|{control_id}|{processing_id}|2.5|||{accept}|{application}\r"
        "PID|1||7^^^H^MR\r"
    ).encode()


@pytest.mark.parametrize("success", [True, False])
@pytest.mark.parametrize(("accept", "application"), PAIRS)
def test_i1_the_table_says_which_acknowledgements_are_wanted(accept, application, success):
    what = asked(peek(asking(accept, application)))
    code = "AA" if success else "AR"
    said = [staged(code, stage) for stage in Stage if wanted(what, stage, success=success)]
    assert said == expected(accept, application, success)


def test_i1_every_pair_gets_its_answers_and_no_other_on_a_real_connection(serving):
    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(intake.feeds.feed, processing_ids=frozenset({"P"}))
            sender = await intake.connect()
            for success in (True, False):
                for accept, application in PAIRS:
                    await sender.say(
                        encode(asking(accept, application, "one", "P" if success else "T"))
                        + encode(asking(BLANK, BLANK, "next"))
                    )
                    codes = []
                    while (heard := await sender.hear())[1] != "next":
                        codes.append(heard[0])
                    assert codes == expected(accept, application, success), (accept, application)

    run(test)


def test_i1_a_batch_is_answered_at_each_stage_by_one_response(serving):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            parts = [asking("AL", "AL", "1"), asking("NE", "AL", "2"), asking("AL", "NE", "3")]
            await sender.say(encode(b"".join(parts)) + encode(asking(BLANK, BLANK, "next")))
            await intake.until(lambda: sum(intake.server.counters.answered.values()) == 5)
            frames = []
            while len(frames) < 3:
                frames += sender._decoder.feed(await sender.reader.read(65536))
            first, second, _ = (frame.payload for frame in frames)
            assert [first.count(code) for code in (b"|CA|1", b"|CA|3", b"|AA|")] == [1, 1, 0]
            assert [second.count(code) for code in (b"|AA|1", b"|AA|2", b"|CA|")] == [1, 1, 0]
            await sender.say(encode(asking("NE", "NE", "5") * 2) + encode(asking("", "", "6")))
            assert await sender.hear() == ("AA", "6", None)

    run(test)


@pytest.mark.parametrize("said", ["al", " AL ", "XX", "ALWAYS"])
def test_a_value_in_lower_case_or_of_no_table_asks_for_everything(said):
    assert asked(peek(asking(said, "NE"))) == Asked(accept="AL", application="NE")


def test_null_is_blank_and_no_header_is_original_mode():
    assert asked(peek(asking('""', '""'))) == IN_ORIGINAL_MODE
    assert asked(NoHeader(3)) == IN_ORIGINAL_MODE
    assert asked(peek(asking('""', "AL"))) == Asked(accept="NE", application="AL")


def test_a_feed_in_original_mode_is_answered_so_whatever_its_messages_say(serving):
    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(intake.feeds.feed, acknowledgement="original")
            sender = await intake.connect()
            for accept, application in PAIRS:
                await sender.say(encode(asking(accept, application)))
                assert await sender.hear() == ("AA", "1", None)

    run(test)


def test_an_answer_in_enhanced_mode_wants_none_itself(serving):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("AL", "NE")))
            frames = []
            while not frames:
                frames = sender._decoder.feed(await sender.reader.read(65536))
            fields = frames[0].payload.split(b"\r")[0].split(b"|")
            assert fields[14:16] == [b"NE", b"NE"]

    run(test)


@pytest.mark.parametrize("code", ["AE", "AR"])
def test_i3_what_may_be_taken_later_has_the_feeds_own_code_at_both_stages(serving, code):
    async def test():
        async with serving(holding=True) as intake:
            intake.feeds.feed = replace(
                intake.feeds.feed, transient_answer=code, refusal_answer="AE"
            )
            sender = await intake.connect()
            await sender.say(encode(asking("AL", "AL", "1")) + encode(asking("", "", "2")))
            await intake.until(lambda: len(intake.publisher.futures) == 2)
            intake.publisher.futures[0].set_exception(NotDurable("away"))
            intake.publisher.futures[1].set_exception(RecordTooLarge("too large"))
            heard = [await sender.hear() for _ in range(3)]
            assert heard == [("C" + code[1:], "1", 207), (code, "1", 207), ("AE", "2", 102)]
            intake.feeds.away = True
            await sender.say(encode(asking("", "", "3")))
            assert await sender.hear() == (code, "3", 207)
            intake.feeds.away = False
            intake.feeds.feed = replace(intake.feeds.feed, suspended=True)
            await sender.say(encode(asking("", "", "4")))
            assert await sender.hear() == (code, "4", 207)

    run(test)


def test_i3_what_is_refused_whole_has_its_feeds_code_too(serving):
    async def test():
        async with serving(frame_bytes=400, batch_messages=1) as intake:
            intake.feeds.feed = replace(intake.feeds.feed, refusal_answer="AE")
            sender = await intake.connect()
            await sender.say(encode(asking("", "", "1") + b"N" * 400))
            await sender.say(encode(asking("AL", "", "2") * 2))
            await sender.say(encode(b"<ADT/>") + encode(b"no header"))
            assert [await sender.hear() for _ in range(4)] == [
                ("AE", "1", 102), ("CE", "2", 102), ("AE", "", 100), ("AE", "", 100),
            ]  # fmt: skip

    run(test)


def test_i3_without_a_code_for_it_there_is_no_answer_and_the_connection_closes(serving):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(asking("AL", "AL")))
            await intake.until(lambda: intake.publisher.futures)
            intake.publisher.futures[0].set_exception(NotDurable("away"))
            assert await sender.hear() is None

    run(test)


@pytest.mark.parametrize(
    ("feed", "said", "place"),
    [
        ({"processing_ids": frozenset({"D"})}, 202, b"|MSH^1^11|202^"),
        ({"senders": frozenset({"X"})}, 103, b"|MSH^1^3|103^"),
        ({"facilities": frozenset({"X"})}, 103, b"|MSH^1^4|103^"),
        ({"receiving_applications": frozenset({"X"})}, 103, b"|MSH^1^5|103^"),
        ({"receiving_facilities": frozenset({"X"})}, 103, b"|MSH^1^6|103^"),
        ({"certificates": frozenset({"X"})}, 103, b"ERR||103^"),
    ],
)
def test_err_2_says_where(serving, feed, said, place):
    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(intake.feeds.feed, **feed)
            sender = await intake.connect()
            await sender.say(encode(asking("", "")))
            frames = []
            while not frames:
                frames = sender._decoder.feed(await sender.reader.read(65536))
            assert place.replace(b"ERR||", b"ERR|||") in frames[0].payload

    run(test)


def test_t9_who_sends_the_same_again_is_told_the_same_but_for_the_time(serving):
    async def test():
        async with serving() as intake:
            said = []
            for _ in range(2):
                sender = await intake.connect()
                await sender.say(encode(asking("AL", "AL")))
                frames = []
                while len(frames) < 2:
                    frames += sender._decoder.feed(await sender.reader.read(65536))
                said.append([without_time(frame.payload) for frame in frames])
            assert said[0] == said[1]
            ids = [payload.split(b"|")[8] for payload in said[0]]
            assert len(set(ids)) == 2
            assert all(len(each) <= 20 for each in ids)

    run(test)


def without_time(payload):
    fields = payload.split(b"|")
    return b"|".join([*fields[:6], *fields[7:]])


def test_the_client_hears_what_each_pair_asks_for(serving):
    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(intake.feeds.feed, processing_ids=frozenset({"P"}))
            for success in (True, False):
                bodies = [
                    asking(*pair, str(number), "P" if success else "T")
                    for number, pair in enumerate(PAIRS)
                ]
                results = await send(
                    "127.0.0.1", intake.port, bodies, patience=Patience(silence=0.2)
                )
                for pair, result in zip(PAIRS, results, strict=True):
                    codes = expected(*pair, success)
                    assert result.code == (codes[-1] if codes else None), pair
                    assert result.sends == 1
                    accepts = [code for code in codes if code[0] == "C"]
                    assert result.accept == (accepts[0] if accepts else None), pair
                    assert result.cause == (None if codes else NOT_ASKED)

    run(test)


def test_the_client_takes_answers_of_two_stages_in_any_mixture():
    """As a server says them that tells what became of each as it comes to know."""

    async def test():
        acks = [("CA", 1), ("CA", 2), ("AA", 2), ("CA", 3), ("AE", 1), ("AA", 3)]

        async def answer(reader, writer):
            heard = b""
            while heard.count(b"\x1c\r") < 3:
                heard += await reader.read(65536)
            for code, number in acks:
                writer.write(encode(f"MSH|^~\\&|\rMSA|{code}|{number}\r".encode()))
            await writer.drain()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            bodies = [asking("AL", "AL", str(number)) for number in (1, 2, 3)]
            results = await send("127.0.0.1", port, bodies)
        assert [(each.accept, each.code) for each in results] == [
            ("CA", "AE"), ("CA", "AA"), ("CA", "AA"),
        ]  # fmt: skip

    run(test)


def test_the_client_ends_with_the_first_answer_of_who_says_nothing_more_after_it(serving):
    async def test():
        async def answer(reader, writer):
            await reader.read(65536)
            writer.write(encode(b"MSH|^~\\&|\rMSA|CE|1\rERR|||207\r"))
            await writer.drain()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            patience = Patience(silence=0.05)
            (result,) = await send("127.0.0.1", port, [asking("AL", "AL", "1")], patience=patience)
        assert (result.accept, result.code, result.error) == ("CE", "CE", 207)

    run(test)
