"""The acknowledgement."""

from datetime import UTC, datetime

import hl7
import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.answers import (
    ACCEPTED,
    ECHO_BYTES_MAX,
    ERRORS,
    REJECTED,
    Answer,
    Trouble,
    answer,
    echoed,
    read,
)
from producers.mllp import Decoder, Frame, encode
from producers.peek import Header, NoHeader, peek

AT = datetime(2024, 2, 3, 4, 5, 6, tzinfo=UTC)
MESSAGE = b"MSH|^~\\&|SEND|FAC|RECV|RFAC|20240101||ADT^A01|C-1|T|2.3||||||8859/1\r"


def say(body, code=ACCEPTED, trouble=None):
    return answer(peek(body), code, at=AT, own_id="w1", trouble=trouble)


def test_an_acceptance_names_the_message_and_swaps_the_parties():
    assert say(MESSAGE) == (
        b"MSH|^~\\&|RECV|RFAC|SEND|FAC|20240203040506+0000||ACK^A01^ACK|w1|T|2.3||||||8859/1\r"
        b"MSA|AA|C-1\r"
    )


@pytest.mark.parametrize("sign", ["separator", "component"])
def test_a_plus_that_parts_fields_stands_in_no_time(sign):
    old, new = (b"|", b"+") if sign == "separator" else (b"^", b"+")
    said = peek(say(MESSAGE.replace(old, new)))
    assert said.field(7) == b"20240203040506"
    assert said.field(9).replace(b"+", b"^") == b"ACK^A01^ACK"
    assert said.field(10) == b"w1"


def test_a_rejection_says_why_in_err_3():
    said = say(MESSAGE, REJECTED, Trouble(code=202, reason="not this id"))
    parsed = hl7.parse(said.decode())
    assert str(parsed.segment("MSA")) == "MSA|AR|C-1|not this id"
    assert str(parsed.segment("ERR")[3]) == "202^Unsupported processing id^HL70357"
    assert str(parsed.segment("ERR")[4]) == "E"


def test_a_message_without_header_is_answered():
    said = answer(
        NoHeader(3), REJECTED, at=AT, own_id="w1", trouble=Trouble(code=100, reason="no MSH")
    )
    assert b"\rMSA|AR||no MSH\rERR|||100^Segment sequence error^HL70357|E" in said


def test_the_answer_speaks_the_senders_delimiters():
    said = say(b"MSH#!@%*#S#F#R#G###ADT!A01#7#P#2.5\r", REJECTED, Trouble(code=207, reason="a!b"))
    assert said.startswith(b"MSH#!@%*#R#G#S#F#")
    assert b"\rMSA#AR#7#a b\rERR###207!Application internal error!HL70357#E" in said


@pytest.mark.parametrize("code", ERRORS)
def test_the_class_of_an_error_is_that_of_rule_i3(code):
    assert Trouble(code=code, reason="r").passes == (code in {206, 207})


def test_an_unknown_error_code_is_our_bug():
    with pytest.raises(AssertionError):
        Trouble(code=999, reason="r")


def test_an_echo_is_bounded():
    said = say(b"MSH|^~\\&|||||||A|" + b"9" * 5000)
    assert said.endswith(b"\rMSA|AA|" + b"9" * ECHO_BYTES_MAX + b"\r")


FIELD = st.one_of(st.binary(max_size=12), st.sampled_from([b"ADT^A01", b"\x1c\r", b"\x0bMSH|"]))


@given(st.lists(FIELD, min_size=17, max_size=17), st.sampled_from([*ERRORS, None]))
def test_every_answer_comes_back_as_it_was_meant(fields, error):
    header = peek(b"MSH|^~\\&|" + b"|".join(fields))
    assert isinstance(header, Header)
    code, trouble = ACCEPTED, None
    if error is not None:
        code, trouble = REJECTED, Trouble(code=error, reason="told why")
    said = answer(header, code, at=AT, own_id="w1", trouble=trouble)
    (frame,) = Decoder().feed(encode(said))
    assert isinstance(frame, Frame)
    back = peek(frame.payload)
    assert isinstance(back, Header)
    assert back.acknowledges
    expected = Answer(code=code, control_id=echoed(header.control_id), error=error)
    assert read(frame.payload, back) == expected
