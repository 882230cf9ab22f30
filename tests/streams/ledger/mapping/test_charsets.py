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
