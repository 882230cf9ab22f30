"""Files to messages."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.files import BETWEEN, COUNT, DAMAGED, NO_HEADER, split
from producers.peek import NoHeader, peek

ONE = b"MSH|^~\\&|A|||||||1\rEVN|A01\rPID|1||7\r"
TWO = b"MSH|^~\\&|B|||||||2\rPV1|1\r"


def bodies(data):
    return [piece.body for piece in split(data).messages]


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\r\n"])
@pytest.mark.parametrize("between", [b"", b"\n\n"])
def test_line_ends_of_any_kind(end, between):
    data = ONE.replace(b"\r", end) + between + TWO.replace(b"\r", end)
    assert bodies(data) == [ONE, TWO]
    assert split(data).strays == ()


@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_bom_is_understood(charset):
    data = (ONE + "PID|1||é\r".encode()).decode().encode(charset)
    assert bodies(data) == [ONE + "PID|1||é\r".encode()]


@pytest.mark.parametrize("charset", ["utf-16", "utf-32"])
def test_damaged_wide_text_is_refused_whole_and_never_mended(charset):
    for data in (ONE.decode().encode(charset)[:-1], ONE.decode().encode(charset) + b"\x00\xd8"):
        found = split(data)
        assert found.messages == ()
        assert [(s.cause, s.start, s.end) for s in found.strays] == [(DAMAGED, 0, len(data))]


def test_envelopes_stand_apart():
    data = b"FHS|^~\\&|\rBHS|^~\\&|\r" + ONE + TWO + b"BTS|2\rFTS|1\r"
    assert bodies(data) == [ONE, TWO]
    assert split(data).strays == ()
    assert split(data).envelopes == (b"FHS|^~\\&|", b"BHS|^~\\&|", b"BTS|2", b"FTS|1")


def test_a_files_batches_are_counted_by_fts_1():
    one = b"BHS|^~\\&|\r" + ONE + b"BTS|1\r"
    assert split(b"FHS|^~\\&|\r" + one + one + b"FTS|2\r").strays == ()
    data = b"FHS|^~\\&|\r" + one + one + b"FTS|1\r"
    (stray,) = split(data).strays
    assert (stray.cause, data[stray.start : stray.end]) == (COUNT, b"FTS|1")


def test_a_wrong_count_is_told():
    data = b"BHS|^~\\&|\r" + ONE + b"BTS|3|said three\r"
    (stray,) = split(data).strays
    assert (stray.cause, data[stray.start : stray.end]) == (COUNT, b"BTS|3|said three")


def test_marks_of_mllp_are_dropped():
    assert bodies(b"\x0b" + ONE + b"\x1c\r\x0b" + TWO + b"\x1c\r") == [ONE, TWO]
    assert bodies(b"\x0b" + ONE + b"\x1c\x0b" + TWO + b"\x1c") == [ONE, TWO]


def test_files_without_a_last_line_end_put_one_behind_the_other():
    assert bodies(ONE[:-1] + TWO[:-1] + ONE[:-1]) == [ONE, TWO, ONE]


def test_a_line_without_a_segment_id_continues_the_one_before():
    data = b"MSH|^~\\&|A\nOBX|1|TX|||first\nsecond, third|F\n\nPV1|1\n"
    assert bodies(data) == [b"MSH|^~\\&|A\rOBX|1|TX|||first\nsecond, third|F\rPV1|1\r"]


def test_comments_between_messages_are_strays():
    data = b"about this file\n" + ONE + b"# the next one\n" + TWO + b"\n\nthe end\nof it\n"
    found = split(data)
    assert [piece.body for piece in found.messages] == [ONE, TWO]
    assert [(stray.cause, data[stray.start : stray.end]) for stray in found.strays] == [
        (NO_HEADER, b"about this file"),
        (BETWEEN, b"# the next one"),
        (BETWEEN, b"the end\nof it"),
    ]


def test_segments_without_a_header_are_a_stray():
    data = b"PID|1||7\rPV1|1\r"
    assert [(s.cause, s.start, s.end) for s in split(data).strays] == [(NO_HEADER, 0, 14)]


@pytest.mark.parametrize("data", [b"", b"\r\n\r\n", b"\xef\xbb\xbf", b"\x0b\x1c\r"])
def test_an_empty_file_has_nothing(data):
    assert split(data) == split(b"")
    assert not split(data).messages


def test_pieces_say_where_they_stood():
    data = b"\n\n" + ONE + b"\n" + TWO
    for piece in split(data).messages:
        assert data[piece.start : piece.end] == piece.body[:-1]


LINES = st.lists(
    st.one_of(
        st.binary(max_size=10),
        st.sampled_from(
            [b"MSH|^~\\&|A|", b"PID|1", b"\r", b"\n", b"\x0b", b"\x1c", b"BHS|", b"BTS|2", b"word"]
        ),
    ),
    max_size=30,
)


@given(LINES.map(b"".join).filter(lambda data: data[:2] not in (b"\xff\xfe", b"\xfe\xff")))
def test_every_letter_is_in_a_message_in_a_stray_or_in_an_envelope(data):
    found = split(data)
    spans = sorted((s.start, s.end) for s in (*found.messages, *found.strays))
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    left = bytearray(data)
    for start, end in reversed(spans):
        del left[start:end]
    for line in bytes(left).replace(b"\x1c", b"\n").replace(b"\r", b"\n").split(b"\n"):
        rest = line.strip(b" \t\x00\x0b\xef\xbb\xbf")
        assert not rest or rest[:3].upper() in (b"BHS", b"BTS", b"FHS", b"FTS")
    assert not any(isinstance(peek(piece.body), NoHeader) for piece in found.messages)
