"""What real feeds send, by number: bytes, framing, batches, headers, with messages made for it."""

import pytest

from schemas import identity
from schemas.place import Place
from tests.streams.ledger.feeds import (
    ADMITTED,
    HEAD,
    JOURNEY,
    MOVED,
    PID,
    event,
    line,
    made,
    name,
    of,
    outcomes,
    sent,
    stays,
    visit,
    whole,
)
from tests.streams.ledger.told import FEEDS, TENANT, wiped

__all__ = ["line", "whole"]

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\n\n", "mixed"])
def test_f01_lines_end_in_any_way_and_blank_lines_mean_nothing(line, end):
    whole = ADMITTED + MOVED
    data = whole.replace(b"\r", end) if end != "mixed" else b"\n".join(whole.split(b"\r", 3))
    assert sent(line, data) == []
    assert stays(line) == JOURNEY


@pytest.mark.parametrize("charset", ["utf-8-sig", "utf-16", "utf-32"])
def test_f02_byte_order_marks_and_wide_text_are_read(line, charset):
    text = ADMITTED.decode().replace("Rook^Ada", "Zoë^Ada")
    assert sent(line, text.encode(charset)) == []
    assert name(line)["family"] == "Zoë"


@pytest.mark.parametrize(
    ("said", "charset"),
    [("8859/1", "utf-8"), ("", "latin-1"), ("", "utf-8"), ("~ISO IR87", "utf-8"),
     ("8859/1~ISO IR87", "utf-8"), ("UTF-8", "utf-8"), ("UNICODE UTF-8", "utf-8"),
     ("8859/1", "latin-1"), ("ISO IR 999", "utf-8")],
)  # fmt: skip
def test_f03_a_charset_that_lies_lacks_or_repeats_is_read_for_what_it_is(line, said, charset):
    text = made(event("A01", "09:00"), PID.replace("Rook", "Müller"), visit(),
                head=HEAD + "||||||" + said).decode()  # fmt: skip
    line.send(text.encode(charset))
    assert outcomes(line) == [("applied", None)]
    assert name(line)["family"] == "Müller"


def test_f03_bytes_that_no_charset_explains_are_dead_with_all_of_them(line):
    text = made(event("A01", "09:00"), PID.replace("Rook", "Müller"), visit(),
                head=HEAD + "||||||ISO IR 999").decode()  # fmt: skip
    line.send(text.encode("latin-1"))
    assert outcomes(line) == [("dead", "charset")]
    assert not line.events()


def test_f04_marks_of_mllp_control_bytes_and_nothing_at_all(line):
    assert sent(line, b"\x0b" + ADMITTED + b"\x1c\r\x0b" + MOVED + b"\x1c\r") == []
    assert stays(line) == JOURNEY
    assert sent(line, b"") == []
    assert sent(line, b"\x00\x01\x02\x03" * 50) != []
    assert len(outcomes(line)) == 2


def test_f05_a_message_with_a_document_of_a_megabyte_is_one_event(line):
    body = made(
        PID, "OBR|1|P1^CPOE|F1^LAB|18842-5^Report^LN|||20260302080000",
        "OBX|1|ED|18842-5^Report^LN||^application^pdf^Base64^" + "QUJD" * 320_000 + "||||||F",
        "OBX|2|NM|2345-7^Glucose^LN||5.4|mmol/L|||||F", kind="ORU^R01",
    )  # fmt: skip
    assert len(body) > 1_270_000
    line.send(body)
    assert outcomes(line) == [("applied", None)]
    assert line.events(event_type="evidence.recorded")


def test_f06_a_field_broken_over_lines_goes_on(line):
    broken = ADMITTED.replace(b"Rook^Ada", b"Rook^Ada\nMaria")
    assert sent(line, broken) == []
    assert "Maria" in name(line)["given"]
    assert stays(line) == [("W1^R2^B3", "09:00", None)]


def test_f07_text_around_messages_is_told_and_hurts_none(line):
    strays = sent(line, b"exported today\n" + ADMITTED + b"# and then\n" + MOVED + b"\n\nthe end\n")
    assert len(strays) == 3
    assert stays(line) == JOURNEY
    assert sent(line, b"PID|1||7\rPV1|1\r") != []


@pytest.mark.parametrize(
    ("begin", "end", "told"),
    [(b"FHS|^~\\&\rBHS|^~\\&\r", b"", 0), (b"BHS|^~\\&\r", b"", 0),
     (b"FHS|^~\\&\rBHS|^~\\&\rBTS|0\rBHS|^~\\&\r", b"BTS|2\rFTS|2\r", 0), (b"", b"BTS|2\r", 0),
     (b"BHS|^~\\&\r", b"BTS|7\r", 1), (b"", b"FTS|1\r", 0)],
)  # fmt: skip
def test_f08_envelopes_of_any_shape_keep_their_messages_and_a_wrong_count_is_told(
    line, begin, end, told
):
    assert len(sent(line, begin + ADMITTED + MOVED + end)) == told
    assert stays(line) == JOURNEY


def test_f08_a_damaged_message_in_the_midst_dies_alone(line):
    bad = ADMITTED.replace(b"ADT^A01|77|P|2.5", b"ADT^A01|77|P|2.5||||||ISO IR 999").replace(
        b"Rook", b"M\xfcller"
    )
    assert sent(line, b"BHS|^~\\&\r" + ADMITTED + bad + MOVED + b"BTS|3\r") == []
    assert [outcome for outcome, _ in outcomes(line)] == ["applied", "dead", "parked"]


def test_f09_messages_that_stand_one_behind_the_other_are_each_one(line):
    data = b"".join(
        made(event("A08", "09:00"), PID.replace("1001", f"M{number}"), kind="ADT^A08")
        for number in range(124)
    )
    assert sent(line, data.replace(b"\r", b"\n")) == []
    assert outcomes(line) == [("applied", None)] * 124


@pytest.mark.parametrize(
    "delimiters",
    ["|^~\\&", "|@~&#\\", "^|~\\&", "|#!@%*", "|^~\\&#", "|^~\\\\&", "|^~", "|"],
)
def test_f10_a_message_brings_its_own_delimiters(line, delimiters):
    plain = dict(zip("|^~\\&", delimiters.ljust(5, "\0"), strict=False))
    body = ADMITTED.decode().replace("|^~\\&|", "|\1|")
    turned = "".join(plain.get(each) if plain.get(each, "\0") != "\0" else each for each in body)
    line.send(turned.replace("\1", delimiters[1:]).encode())
    assert outcomes(line) == [("applied", None)]
    [stay] = of(line).tracks[0][1]
    assert Place.parse(stay.place).bed in ("B3", "")


@pytest.mark.parametrize(
    ("head", "became"),
    [(HEAD.format("ADT"), "applied"), (HEAD.format("ADT^A01 "), "applied"),
     (HEAD.format("ADT^A01").replace("|77|", "||"), "applied"),
     (HEAD.format("ADT^A01").removesuffix("|2.5"), "applied"),
     (HEAD.format("ADT^A01").replace("|P|2.5", "|P"), "applied"),
     (HEAD.format("XYZ^Q99"), "ignored"), (HEAD.format("ADT^Z01"), "ignored"),
     (HEAD.format("adt^a01"), "applied"), (HEAD.format(""), "applied")],
)  # fmt: skip
def test_f11_a_header_that_lacks_something_is_read_as_far_as_it_says(line, head, became):
    line.send("\r".join([head, event("A01", "09:00"), PID, visit(), ""]).encode())
    [(outcome, _)] = outcomes(line)
    assert outcome == became


def test_f11_a_bare_header_has_an_outcome(line):
    line.send(b"MSH|")
    assert [outcome for outcome, _ in outcomes(line)] == ["dead"]


def test_f12_one_control_id_for_many_messages_is_many_messages(line):
    assert sent(line, ADMITTED + MOVED) == []
    assert stays(line) == JOURNEY
    ids = {
        identity.message(b"i" * 32, FEEDS[TENANT], "77", body)
        for body in (ADMITTED, MOVED, ADMITTED)
    }
    assert len(ids) == 2


def test_f13_msh_9_is_trusted_where_evn_1_says_otherwise_or_nothing(line):
    line.send(ADMITTED, MOVED.replace(b"EVN|A02", b"EVN|A01"))
    assert stays(line) == JOURNEY
    wiped(line)
    line.send(ADMITTED, MOVED.replace(b"EVN|A02", b"EVN|"))
    assert stays(line) == JOURNEY


def test_f14_segments_in_lower_case_unknown_or_misplaced_harm_nothing(line):
    odd = ADMITTED.replace(b"PID|", b"pid|").replace(b"PV1|", b"ZZ9|what\rNK1|1\rpv1|")
    line.send(odd, MOVED.replace(b"EVN|", b"QQQ|1\rEVN|"))
    assert stays(line) == JOURNEY


def test_f14_a_swap_has_two_patients_each_with_the_visit_behind_it(line):
    other = PID.replace("1001", "2002")
    beds = [("W1^R1^B1", "V1^^^NORTH^VN"), ("W2^R2^B2", "V2^^^NORTH^VN")]
    for who, (bed, number) in zip((PID, other), beds, strict=True):
        line.send(made(event("A01", "09:00"), who, visit(bed, number=number)))
    line.send(made(event("A17", "10:00"), PID, visit(beds[1][0]), other,
                   visit(beds[0][0], number="V2^^^NORTH^VN"), kind="ADT^A17"))  # fmt: skip
    assert stays(line, "V1") == [("W1^R1^B1", "09:00", "10:00"), ("W2^R2^B2", "10:00", None)]
    assert stays(line, "V2") == [("W2^R2^B2", "09:00", "10:00"), ("W1^R1^B1", "10:00", None)]
