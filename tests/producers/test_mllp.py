"""The framing: bytes in, frames out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.mllp import (
    GARBAGE_BYTES_MAX,
    HEAD_BYTES,
    Cause,
    Decoder,
    Frame,
    Refusal,
    Unframeable,
    encode,
)

LIMIT = 40
PIECES = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\x0b", b"\x1c", b"\r", b"\n", b"\x1c\r", b"\x0bMSH", b"MSH|", b"<", b"abc", b"\x00"]
        ),
        st.binary(max_size=8),
        st.integers(LIMIT - 5, LIMIT + 5).map(lambda size: b"x" * size),
    ),
    max_size=30,
)


def decode(*chunks, limit=LIMIT):
    decoder = Decoder(limit)
    items = [item for chunk in chunks for item in decoder.feed(chunk)]
    items += decoder.settle()
    return items + decoder.finish()


def test_a_frame_is_what_stands_between_the_marks():
    assert decode(b"\x0bMSH|1\x1c\r") == [Frame(b"MSH|1")]


def test_several_frames_come_out_of_one_read_in_order():
    assert decode(b"\x0ba\x1c\r\x0bb\x1c\r\r\n\x0b\x1c\r") == [Frame(b"a"), Frame(b"b"), Frame(b"")]


@given(PIECES, st.data())
def test_any_split_of_the_bytes_gives_the_same_frames(pieces, data):
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*chunks) == decode(stream) == decode(*(bytes([byte]) for byte in stream))


@given(st.lists(st.binary(max_size=LIMIT).filter(lambda body: body[:1] != b"<"), max_size=8))
def test_what_was_framed_comes_back(bodies):
    framed = []
    for body in bodies:
        try:
            framed.append((body, encode(body)))
        except Unframeable:
            continue
    assert decode(b"".join(frame for _, frame in framed)) == [Frame(body) for body, _ in framed]


@pytest.mark.parametrize("mark", [b"a\x1c\rb", b"a\x1c\nb", b"a\x1c\x0bb", b"a\x0bMSH|"])
def test_a_payload_with_marks_is_not_framed(mark):
    with pytest.raises(Unframeable):
        encode(mark)


def test_a_frame_of_the_limit_passes_and_one_byte_more_is_refused():
    assert decode(encode(b"x" * LIMIT)) == [Frame(b"x" * LIMIT)]
    over = Refusal(cause=Cause.TOO_LONG, size=LIMIT + 1, head=b"x" * (LIMIT + 1), answerable=True)
    assert decode(encode(b"x" * (LIMIT + 1)), encode(b"next")) == [over, Frame(b"next")]


def test_a_frame_over_the_limit_is_skipped_without_holding_it():
    decoder = Decoder(LIMIT)
    assert decoder.feed(b"\x0bMSH|head") == []
    for _ in range(1000):
        assert decoder.feed(b"y" * 1000) == []
        assert decoder.held <= LIMIT
    (refusal, frame) = decoder.feed(b"\x1c\r" + encode(b"next"))
    assert (refusal.cause, refusal.size) == (Cause.TOO_LONG, 1_000_008)
    assert refusal.head.startswith(b"MSH|heady")
    assert len(refusal.head) == HEAD_BYTES
    assert frame == Frame(b"next")


def test_garbage_between_frames_is_refused_and_the_frames_stand():
    items = decode(b"GET\r\n" + encode(b"a") + b"xy" + encode(b"b") + b"\r\n\r\n" + encode(b"c"))
    assert items == [
        Refusal(cause=Cause.GARBAGE, size=3), Frame(b"a"),
        Refusal(cause=Cause.GARBAGE, size=2), Frame(b"b"), Frame(b"c"),
    ]  # fmt: skip


def test_garbage_is_borne_up_to_its_bound():
    assert decode(b"x" * GARBAGE_BYTES_MAX + encode(b"a"))[-1] == Frame(b"a")
    decoder = Decoder()
    assert decoder.feed(b"x" * GARBAGE_BYTES_MAX) == []
    assert [item.cause for item in decoder.feed(b"x" + encode(b"a"))] == [Cause.GARBAGE]
    assert decoder.closed
    assert decoder.feed(encode(b"b")) == []


def test_markup_on_the_connection_ends_it_by_its_first_byte():
    decoder = Decoder()
    assert [item.cause for item in decoder.feed(b"\r\n<")] == [Cause.MARKUP]
    assert decoder.closed


def test_markup_in_a_frame_is_refused_and_the_connection_lives():
    refusal, frame = decode(encode(b"<?xml?>"), encode(b"a"))
    assert (refusal.cause, refusal.answerable, refusal.head) == (Cause.MARKUP, True, b"<?xml?>")
    assert frame == Frame(b"a")


@pytest.mark.parametrize("end", [b"\x1c\r", b"\x1c\n", b"\x1c"])
def test_a_frame_ends_with_fs_and_what_may_follow_it(end):
    assert decode(b"\x0ba" + end + b"\x0bb" + end) == [Frame(b"a"), Frame(b"b")]


def test_a_lone_fs_ends_a_frame_only_after_a_silence():
    decoder = Decoder()
    assert decoder.feed(b"\x0ba\x1c") == []
    assert decoder.unsettled
    assert decoder.settle() == [Frame(b"a")]
    assert decoder.settle() == []


def test_an_fs_inside_a_message_cuts_nothing_off():
    assert decode(b"\x0ba\x1cb\x1c\r") == [Frame(b"a\x1cb")]


def test_a_frame_broken_off_by_the_next_one_is_refused():
    cut = Refusal(cause=Cause.CUT, size=6, head=b"MSH|1\r")
    assert decode(b"\x0bMSH|1\r\x0bMSH|2\x1c\r") == [cut, Frame(b"MSH|2")]


def test_a_frame_broken_off_by_the_end_is_refused():
    assert decode(b"\x0bMSH|1") == [Refusal(cause=Cause.CUT, size=5, head=b"MSH|1")]
