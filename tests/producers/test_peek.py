"""The fields of a message that the intake reads."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.peek import IDENTIFIERS_MAX, Header, NoHeader, peek
from schemas.identity import Identifier

MESSAGE = (
    b"MSH|^~\\&|SEND|FAC|RECV|RFAC|20240101||ADT^A01^ADT_A01|C-1|P|2.5|||AL|NE||UTF-8\r"
    b"EVN|A01\rPID|1||77^^^HOSP&1.2.3&ISO^MR~88^^^&2.16.840&ISO^SS~^^^X^PI||DOE^JOHN\r"
    b"PV1|1|I|W^1^2||||||||||||||||V99^^^HOSP\r"
)


def test_the_header_is_read():
    header = peek(MESSAGE)
    assert isinstance(header, Header)
    assert header.delimiters == b"^~\\&"
    assert [header.field(n) for n in (3, 4, 7, 9, 10, 11, 12, 15, 16, 18)] == [
        b"SEND", b"FAC", b"20240101", b"ADT^A01^ADT_A01", b"C-1", b"P", b"2.5", b"AL", b"NE",
        b"UTF-8",
    ]  # fmt: skip
    assert header.visit == b"V99^^^HOSP"
    assert header.identifiers() == [
        Identifier(value="77", authority="HOSP", type="MR"),
        Identifier(value="88", authority="2.16.840", type="SS"),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r\r\n"])
def test_segments_may_end_in_any_way(end):
    assert peek(MESSAGE.replace(b"\r", end)) == peek(MESSAGE)


@pytest.mark.parametrize(
    "lead", [b"\xef\xbb\xbf", b"\r\n\r\n", b"\xef\xbb\xbf\n", b"  ", b"# a comment\r\n"]
)
def test_what_stands_before_the_header_does_not_hide_it(lead):
    assert peek(lead + MESSAGE) == peek(MESSAGE)


def test_lower_case_segments_are_read():
    lowered = MESSAGE.replace(b"MSH|", b"msh|").replace(b"PID|", b"pid|").replace(b"PV1", b"pv1")
    header = peek(lowered)
    assert isinstance(header, Header)
    assert (header.control_id, header.visit) == (b"C-1", b"V99^^^HOSP")
    assert header.identifiers()[0].value == "77"


def test_utf_16_is_read():
    for charset in ("utf-16", "utf-32"):
        assert peek(MESSAGE.decode().encode(charset)) == peek(MESSAGE)


@pytest.mark.parametrize(
    ("separator", "encoding", "delimiters"),
    [
        (b"@", b"~&#\\", b"~&#\\"),
        (b"^", b"~|\\&", b"~|\\&"),
        (b"#", b"!@%*", b"!@%*"),
        (b"|", b"^~\\&#", b"^~\\&"),
        (b"|", b"^~\\\\&", b"^~\\&"),
        (b"|", b"^~", b"^~\\&"),
        (b"|", b"", b"^~\\&"),
        (b"^", b"", b"~\\&!"),
    ],
)
def test_odd_delimiters_are_taken_from_the_header(separator, encoding, delimiters):
    c = delimiters[:1]
    line = separator.join([b"MSH", encoding, b"S", b"F", b"R", b"G", b"", b"", b"ADT" + c + b"A01"])
    pid = separator.join([b"PID", b"1", b"", b"5" + c * 3 + b"H" + c + b"MR"])
    header = peek(line + b"\r" + pid)
    assert isinstance(header, Header)
    assert header.delimiters == delimiters
    assert header.component(9, 2) == b"A01"
    assert header.identifiers() == [Identifier(value="5", authority="H", type="MR")]


@pytest.mark.parametrize("body", [b"", b"MSH", b"MSHX|", b"hello", b"PID|1\rPV1|", b"\x01MSH\r"])
def test_bytes_without_a_header_have_none(body):
    assert peek(body) == NoHeader(len(body))


def test_a_bare_header_is_one():
    header = peek(b"MSH|")
    assert isinstance(header, Header)
    assert (header.control_id, header.message_type, header.identifiers()) == (b"", b"", [])


def test_identifiers_are_bounded():
    many = b"~".join(b"%d" % n for n in range(IDENTIFIERS_MAX + 1))
    header = peek(b"MSH|^~\\&|\rPID|1||" + many)
    assert isinstance(header, Header)
    assert len(header.identifiers()) == IDENTIFIERS_MAX


def test_an_acknowledgement_is_known_as_one():
    header = peek(b"MSH|^~\\&|||||||ack^A01|1\rMSA|AA|2")
    assert isinstance(header, Header)
    assert header.acknowledges


SOUP = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.sampled_from([b"MSH", b"|", b"^~\\&", b"\r", b"\n", b"PID|", b"PV1|", b"~", b"^^^A&B"]),
    ),
    max_size=40,
)


@given(SOUP.map(b"".join))
def test_no_soup_raises(body):
    header = peek(body)
    if isinstance(header, Header):
        header.identifiers()
        assert len(set(header.delimiters + header.separator)) == 5
        assert header.component(9, 3) is not None
