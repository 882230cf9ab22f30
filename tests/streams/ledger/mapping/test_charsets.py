"""No character of a message is ever invented."""

import pytest

from streams.ledger.mapping.charsets import decode
from streams.ledger.mapping.facts import Unmappable

NAME = "Zoë Müller"


def body(declared, codec, name=NAME):
    text = f"MSH|^~\\&|ADT||||20260302||ADT^A08|1|P|2.5||||||{declared}\rPID|||1||{name}\r"
    return text.encode(codec)


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        ("8859/1", "latin-1"), ("8859/15", "iso8859-15"), ("UNICODE UTF-8", "utf-8"),
        ("UTF-8", "utf-8"), ("utf8", "utf-8"), ("ISO-8859-1", "latin-1"),
        ("ISO8859/1", "latin-1"), ("WINDOWS-1252", "cp1252"), ("GB 18030-2000", "gb18030"),
        ("~ISO IR87", "utf-8"), ("8859/1~ISO IR87", "latin-1"),
    ],
)  # fmt: skip
def test_a_declared_charset_is_read(declared, codec):
    assert NAME in decode(body(declared, codec), None).text


@pytest.mark.parametrize(
    ("declared", "codec"),
    [("ISO IR87", "iso2022_jp"), ("KS X 1001", "euc_kr"), ("BIG-5", "big5")],
)
def test_a_declared_multi_byte_charset_is_read(declared, codec):
    name = {"euc_kr": "김민수", "big5": "陳大文"}.get(codec, "山田太郎")
    assert name in decode(body(declared, codec, name), None).text


@pytest.mark.parametrize("declared", ["8859/1", "ASCII", "", "ISO IR 999", "UNICODE UTF-16"])
def test_valid_utf_8_is_read_as_that_whatever_is_declared(declared):
    assert NAME in decode(body(declared, "utf-8"), None).text


@pytest.mark.parametrize("codec", ["latin-1", "cp1252"])
def test_without_a_declared_charset_it_is_latin_1_as_windows_has_it(codec):
    assert NAME in decode(body("", codec), None).text
    assert decode(body("", "cp1252", "Ada…"), None).text.endswith("Ada…\r")


@pytest.mark.parametrize("declared", ["", "ISO IR 999", "8859/1", "UNICODE UTF-16"])
def test_plain_ascii_is_read_whatever_is_declared(declared):
    assert decode(body(declared, "ascii", "Ada"), None).text.endswith("Ada\r")


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_wide_text_and_byte_order_marks_say_it_themselves(codec):
    assert decode(body("8859/1", codec), "8859/1").text == body("8859/1", "utf-8").decode()


def test_the_feeds_own_charset_wins_over_msh_18():
    assert NAME in decode(body("ASCII", "latin-1"), "8859/1").text
    assert "Zoë" not in decode(body("UNICODE UTF-8", "utf-8"), "8859/1").text


@pytest.mark.parametrize(
    ("raw", "override"),
    [
        (body("ASCII", "latin-1"), None),
        (body("ISO IR 999", "latin-1"), None),
        (body("UNICODE UTF-8", "latin-1"), None),
        (body("", "latin-1", "\x81"), None),
        (body("", "latin-1"), "UNICODE UTF-8"),
        (body("", "latin-1"), "rot13"),
        (b"\xff\xfeM", None),
        (body("~ISO IR87", "latin-1"), None),
        (body("8859/1~ISO IR 999", "latin-1", "\x1b$B"), None),
    ],
)
def test_what_no_charset_explains_is_refused_without_saying_what_it_holds(raw, override):
    with pytest.raises(Unmappable) as refused:
        decode(raw, override)
    assert refused.value.cause == "charset"
    assert "999" not in str(refused.value)
    assert "M\xfcller" not in str(refused.value)


def test_no_replacement_character_is_ever_made():
    for codec in ("latin-1", "utf-8", "cp1252"):
        for declared in ("", "8859/1"):
            assert "�" not in decode(body(declared, codec), None).text


JAPANESE = "山田^太郎"
HEADERS = ("8859/1~ISO IR87", "~ISO IR87", "UNICODE UTF-8~ISO IR87", "ISO IR87")


@pytest.mark.parametrize("declared", HEADERS)
def test_iso_2022_is_read_whichever_repetition_declares_it(declared):
    assert JAPANESE in decode(body(declared, "iso2022_jp", JAPANESE), None).text


@pytest.mark.parametrize(
    ("declared", "codec"), [("8859/1~ISO IR87", "latin-1"), ("UNICODE UTF-8~ISO IR87", "utf-8")]
)
def test_the_text_between_is_in_the_first_charset(declared, codec):
    name = f"{NAME}^\x1b$B;3ED\x1b(B^{NAME}"
    assert f"{NAME}^山田^{NAME}" in decode(body(declared, codec, name), None).text


@pytest.mark.parametrize(
    ("declared", "sent", "name"),
    [
        ("ISO IR6~ISO IR14~ISO IR87~ISO IR159", b"\x1b(I\x54\x40\x1b(B", "ﾔﾀ"),
        ("~ISO IR14", b"\x1b)I\xd4\xc0", "ﾔﾀ"),
        ("~ISO IR159", b"\x1b$(D\x30\x21\x1b(B", "丂"),
        ("~ISO IR87", b"\x1b$@;3ED\x1b(J", "山田"),
        ("~KS X 1001", b"\x1b$)C" + "김민수".encode("euc_kr"), "김민수"),
        ("ISO-2022-KR", "김민수".encode("iso2022_kr"), "김민수"),
        ("~8859/7", b"\x1b-F" + "Άδα".encode("iso8859_7"), "Άδα"),
        ("~ISO IR87", b"\\M2442\\;3ED\\C2842\\", "山田"),
        ("~ISO IR159", b"\\M242844\\\x30\x21\\C2842\\", "丂"),
        ("", b"\\C2842\\Ada", "Ada"),
    ],
)
def test_every_declared_switch_of_iso_2022_is_read(declared, sent, name):
    raw = body(declared, "ascii", "?").replace(b"?", sent)
    assert f"|||1||{name}\r" in decode(raw, None).text
    assert f"|||1||{name}\r" in decode(raw, declared or "ASCII").text


@pytest.mark.parametrize("declared", ["", "ASCII", "8859/1", "UNICODE UTF-8", "~8859/7", "GB18030"])
@pytest.mark.parametrize("sent", [b"\x1b$B;3ED\x1b(B", b"\x1b", b"\x1bM", b"\\M2442\\;3ED"])
def test_an_escape_byte_is_never_text(declared, sent):
    raw = body(declared, "ascii", "?").replace(b"?", sent)
    for override in (None, "8859/1", "UTF-8", "ASCII"):
        with pytest.raises(Unmappable) as refused:
            decode(raw, override)
        assert refused.value.cause == "charset"


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("sent", ["\x1b$B;3ED\x1b(B", "\\M2442\\;3ED", "\\M999999\\"])
def test_nor_is_it_text_behind_a_byte_order_mark(codec, sent):
    with pytest.raises(Unmappable, match="charset"):
        decode(body("~ISO IR87", codec, sent), None)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x1b$B;3ED", b"\x1b$B;3E\x1b(B", b"\x1b$B\xff\xff\x1b(B", b"\x1b$B\x7f\x7f\x1b(B",
        b"\\M999999\\text", b"\\C9999\\text", b"\xe9\x1b$B;3ED\x1b(B",
    ],
)  # fmt: skip
def test_torn_or_unknown_switches_are_refused(sent):
    with pytest.raises(Unmappable) as refused:
        decode(body("~ISO IR87", "ascii", "?").replace(b"?", sent), None)
    assert refused.value.cause == "charset"


def test_what_looks_like_a_switch_and_is_none_stays_where_the_feed_has_its_own_charset():
    raw = body("", "ascii", "\\M999999\\text")
    assert "\\M999999\\text" in decode(raw, "ASCII").text


def test_a_charset_of_a_later_repetition_explains_bytes_that_the_first_does_not():
    assert NAME in decode(body("ASCII~8859/1", "latin-1"), None).text
    assert NAME in decode(body("~ISO IR14~8859/1", "utf-8"), None).text


def test_odd_escape_characters_spell_switches_too():
    raw = b"MSH|^~@&|A|||||||||||||||~ISO IR87\rPID|||1||@M2442@;3ED@C2842@\r"
    assert "|||1||山田\r" in decode(raw, None).text


def test_repetitions_of_msh_18_are_read_as_far_as_there_are_names():
    assert "山田" in decode(body("~" * 15 + "ISO IR87", "iso2022_jp", "山田"), None).text
    with pytest.raises(Unmappable):
        decode(body("~" * 16 + "ISO IR87", "iso2022_jp", "山田"), None)
