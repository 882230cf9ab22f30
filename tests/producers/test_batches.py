"""Batches: each message by itself, one response batch for all."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers import intake as intake_rules
from producers.answers import read
from producers.batches import COMMENT, LINES_MAX, MESSAGES_MAX, Batch, TooMuch, together, unpack
from producers.files import Piece
from producers.intake import BATCH
from producers.mllp import Frame, encode
from producers.peek import NoHeader, peek
from producers.ports import KeysAway, NotDurable, RecordTooLarge

AT = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
ONE = b"MSH|^~\\&|A|||||||1\rEVN|A01\rPID|1||7\r"
TWO = b"MSH|^~\\&|B|||||||2\rPV1|1\r"
FHS = b"FHS|^~\\&|FA|FF|FR|FG|1||f.hl7||F-7\r"
BHS = b"BHS|^~\\&|BA|BF|BR|BG|1||b||B-7\r"


def run(test):
    asyncio.run(asyncio.wait_for(test(), 60))


def bodies(payload):
    return [each.body for each in unpack(payload).items if isinstance(each, Piece)]


@pytest.mark.parametrize(
    "payload",
    [
        FHS + BHS + ONE + TWO + b"BTS|2\rFTS|1\r",
        BHS + ONE + TWO + b"BTS|2\r",
        BHS + ONE + TWO,
        FHS + BHS + ONE + b"BTS|1\r" + BHS + TWO + b"BTS|1\rFTS|2\r",
        FHS + ONE + TWO + b"FTS|1\r",
        ONE + TWO,
        ONE + TWO + b"BTS|2\r",
        b"\r\n" + ONE + b"\r\n\r\n" + TWO,
        ONE.replace(b"\r", b"\n") + TWO.replace(b"\r", b"\n"),
        (BHS + ONE + TWO).decode().encode("utf-16"),
        (BHS + ONE + TWO).decode().encode("utf-32"),
        b"\xef\xbb\xbf" + BHS + ONE + TWO,
    ],
)
def test_a_batch_of_any_shape_becomes_its_messages(payload):
    assert bodies(payload) == [ONE, TWO]
    assert not unpack(payload).miscounted


@pytest.mark.parametrize(
    "payload",
    [
        ONE, ONE[:-1], b"\r\n" + ONE, b"text\r" + ONE, b"", b"no header", b"BTS|0\r",
        b"BTS", ONE.decode().encode("utf-16"), (ONE + TWO).decode().encode("utf-16")[:-1],
    ],
)  # fmt: skip
def test_what_is_no_batch_stays_as_it_came(payload):
    assert unpack(payload) is None


def test_one_message_in_an_envelope_is_a_batch_of_one():
    assert bodies(BHS + ONE + b"BTS|1\r") == [ONE]
    assert bodies(ONE + b"BTS|1\r") == [ONE]
    assert unpack(BHS + b"BTS|0\r") == Batch(items=(), batch=BHS[:-1])


@pytest.mark.parametrize(
    ("payload", "wrong"),
    [
        (BHS + ONE + TWO + b"BTS|3\r", True),
        (FHS + BHS + ONE + b"BTS|1\rFTS|2\r", True),
        (FHS + BHS + ONE + b"BTS|2\r" + BHS + TWO + b"BTS|1\rFTS|2\r", True),
        (BHS + ONE + b"BTS||no count\r", False),
        (BHS + ONE + b"BTS\r", False),
    ],
)
def test_trailers_are_counted(payload, wrong):
    assert unpack(payload).miscounted == wrong


def test_text_between_messages_has_its_place_among_them():
    items = unpack(b"hello\r" + ONE + b"# the next\r" + TWO).items
    assert [isinstance(each, Piece) for each in items] == [False, True, False, True]


def test_a_batch_is_bounded_in_messages_and_lines():
    assert len(unpack(ONE * MESSAGES_MAX).items) == MESSAGES_MAX
    over = MESSAGES_MAX + 1
    assert unpack(ONE * over) == TooMuch(counted=f"batch of {over} messages", limit=MESSAGES_MAX)
    lines = LINES_MAX - 1 - ONE.count(b"\r") - ONE.count(b"MSH|^~\\&")
    assert isinstance(unpack(BHS + ONE + b"A\r" * lines), Batch)
    found = unpack(BHS + ONE + b"A\r" * (lines + 1))
    assert found == TooMuch(counted=f"batch of {LINES_MAX + 1} lines", limit=LINES_MAX)


def test_the_response_names_the_batch_and_counts_the_answers():
    batch = unpack(FHS + BHS + ONE + TWO + b"BTS|3\rFTS|1\r")
    acks = [b"MSH|^~\\&|A\rMSA|AA|1\r", b"MSH|^~\\&|B\rMSA|AR|2\r"]
    said = together(batch, acks, at=AT, own_id="w1")
    assert said == (
        b"FHS|^~\\&|FR|FG|FA|FF|20240203040506+0000||||w1|F-7\r"
        b"BHS|^~\\&|BR|BG|BA|BF|20240203040506+0000||||w1|B-7\r"
        + b"".join(acks)
        + b"BTS|2|" + COMMENT.encode() + b"\rFTS|1\r"
    )  # fmt: skip
    (inside,) = hl7.parse_file(said.decode())
    assert [str(each.segment("MSA")[1]) for each in inside] == ["AA", "AR"]


@pytest.mark.parametrize("line", [b"BHS#!@%*#S#F#R#G", b"BHS", b"BHS|", b"BHS||||||", b"BHS|AAAA|"])
def test_the_response_speaks_delimiters_that_can_be_read(line):
    said = together(Batch(items=(), batch=line), [], at=AT, own_id="w1")
    own = line.startswith(b"BHS#")
    assert said.startswith(b"BHS#!@%*#R#G#S#F#" if own else b"BHS|^~\\&|")


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=8),
        st.sampled_from([ONE, TWO, FHS, BHS, b"BTS|2\r", b"FTS|1\r", b"\r", b"\n", b"BTS", b"#"]),
    ),
    max_size=12,
).map(b"".join)


@given(PIECES)
def test_any_bytes_are_a_batch_or_none_and_its_response_can_be_framed(payload):
    found = unpack(payload)
    assert not isinstance(found, TooMuch)
    if found is not None:
        assert all(not isinstance(peek(each), NoHeader) for each in bodies(payload))
        encode(together(found, [b"MSH|\r"], at=AT, own_id="w1"))


async def heard(sender):
    """The next response batch: its first and last lines, and MSA-1, MSA-2, ERR-3 of each."""
    while not sender._heard:
        sender._heard += sender._decoder.feed(await sender.reader.read(65536))
    frame = sender._heard.pop(0)
    assert isinstance(frame, Frame)
    lines = frame.payload.split(b"\r")[:-1]
    answers = []
    for part in frame.payload.split(b"\rMSH")[1:]:
        answer = read(b"MSH" + part, peek(b"MSH" + part))
        answers.append((answer.code, answer.control_id.decode(), answer.error))
    return lines[0], answers, lines[-1]


def test_the_good_messages_of_a_batch_are_kept_and_the_bad_one_is_refused_alone(serving, message):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            parts = [message(1), b"hello\r", message(2), b"BTS|3\r"]
            await sender.say(encode(b"BHS|^~\\&|||||||||B-1\r" + b"".join(parts)))
            first, answers, last = await heard(sender)
            assert first.startswith(b"BHS|^~\\&|")
            # A line that begins no segment goes on with the one before it, as in files.
            assert answers == [("AA", "1", None), ("AA", "2", None)]
            assert last == b"BTS|2|" + COMMENT.encode()
            await sender.say(encode(b"hello\r" + message(3) + message(4)))
            assert (await heard(sender))[1] == [
                ("AR", "", 100), ("AA", "3", None), ("AA", "4", None),
            ]  # fmt: skip
            assert len(intake.publisher.records) == 4
            counters = intake.server.counters
            assert (counters.frames, counters.batches, counters.miscounted) == (2, 2, 1)

    run(test)


def test_each_message_of_a_batch_is_published_as_if_it_had_come_alone(serving, message):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1)) + encode(message(2)))
            assert [await sender.hear() for _ in range(2)] == [("AA", "1", None), ("AA", "2", None)]
            await sender.say(encode(message(1) + message(2)))
            await heard(sender)
            ids = [dict(record[3])["ce_id"] for record in intake.publisher.records]
            assert ids[:2] == ids[2:]
            assert ids[0] != ids[1]

    run(test)


def test_a_batch_is_answered_when_the_brokers_hold_all_of_it(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1) + message(2)) + encode(message(3)))
            await intake.until(lambda: len(intake.publisher.futures) == 3)
            for n in (2, 1, 0):
                assert not intake.server.counters.answered
                intake.publisher.futures[n].set_result(None)
            assert [code for code, *_ in (await heard(sender))[1]] == ["AA", "AA"]
            assert await sender.hear() == ("AA", "3", None)
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_a_batch_of_which_one_message_is_not_durable_is_not_answered(serving, message):
    async def test():
        async with serving(holding=True) as intake:
            sender = await intake.connect()
            await sender.say(encode(message(1) + message(2)))
            await intake.until(lambda: len(intake.publisher.futures) == 2)
            intake.publisher.futures[0].set_result(None)
            intake.publisher.futures[1].set_exception(NotDurable("away"))
            assert await sender.hear() is None
            assert intake.server.counters.held_bytes == 0

    run(test)


@pytest.mark.parametrize("code", ["AE", "AR"])
def test_i3_with_a_code_for_what_may_be_taken_later_each_of_a_batch_is_told_its_own(
    serving, message, code
):
    async def test():
        async with serving(holding=True) as intake:
            intake.feeds.feed = replace(intake.feeds.feed, transient_answer=code)
            sender = await intake.connect()
            batch = BHS + b"".join(message(n) for n in (1, 2, 3)) + b"BTS|3\r"
            await sender.say(encode(batch))
            await intake.until(lambda: len(intake.publisher.futures) == 3)
            for n, outcome in enumerate((None, NotDurable("away"), RecordTooLarge("too large"))):
                future = intake.publisher.futures[n]
                future.set_exception(outcome) if outcome else future.set_result(None)
            first, answers, last = await heard(sender)
            assert (first[:9], last) == (b"BHS|^~\\&|", b"BTS|3")
            assert answers == [("AA", "1", None), (code, "2", 207), ("AR", "3", 102)]
            intake.publisher.holding = False
            await sender.say(encode(batch))
            assert [answer[0] for answer in (await heard(sender))[1]] == ["AA"] * 3

    run(test)


@pytest.mark.parametrize("code", ["AR", None])
def test_a_message_of_a_batch_that_cannot_be_sealed_now_is_not_durable_and_the_others_are(
    serving, message, monkeypatch, code
):
    """As where the key of one of several feeds doesn't open, or our own code fails."""
    real, looked = intake_rules.record, []

    def record(*given, **named):
        looked.append(given)
        if len(looked) == 2:
            raise KeysAway("away")
        return real(*given, **named)

    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(intake.feeds.feed, transient_answer=code)
            monkeypatch.setattr(intake_rules, "record", record)
            sender = await intake.connect()
            await sender.say(encode(message(1) + message(2) + message(3)))
            if code is None:
                assert await sender.hear() is None, "sent again, it is whole"
                assert len(intake.publisher.records) == 1
            else:
                answers = (await heard(sender))[1]
                assert answers == [("AA", "1", None), (code, "2", 207), ("AA", "3", None)]
                assert len(intake.publisher.records) == 2
            assert intake.server.counters.closed["keys away"] == 1
            assert intake.server.counters.held_bytes == 0

    run(test)


def test_a_batch_over_the_limit_is_refused_whole_and_the_connection_lives(serving, message):
    async def test():
        async with serving(batch_messages=3) as intake:
            sender = await intake.connect()
            await sender.say(encode(b"".join(message(n) for n in range(3))))
            assert len((await heard(sender))[1]) == 3
            await sender.say(encode(b"".join(message(n) for n in range(4))))
            assert await sender.hear() == ("AR", "0", 102)
            await sender.say(encode(message(5)))
            assert await sender.hear() == ("AA", "5", None)
            assert len(intake.publisher.records) == 4
            assert intake.server.counters.refused == {BATCH: 1}
            assert [each.reason for each in intake.refusals.noted] == [BATCH]

    run(test)


def test_i5_a_batch_of_acknowledgements_gets_no_answer(serving, message):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            ack = b"MSH|^~\\&|||||||ACK^A01|9\rMSA|AA|1\r"
            await sender.say(encode(BHS + ack + ack + b"BTS|2\r") + encode(message(1)))
            assert await sender.hear() == ("AA", "1", None)
            assert intake.server.counters.acknowledgements == 2

    run(test)


def test_an_empty_batch_is_answered_by_an_empty_one(serving):
    async def test():
        async with serving() as intake:
            sender = await intake.connect()
            await sender.say(encode(BHS + b"BTS|0\r"))
            first, answers, last = await heard(sender)
            assert (first[:8], answers, last) == (b"BHS|^~\\&", [], b"BTS|0")

    run(test)
