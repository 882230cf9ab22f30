"""How the bytes of a message become text, without ever inventing a character.

What is tried, in this order (MSH-18 lies both ways in real feeds, so it is evidence, not law):

1. A byte order mark, or the bytes of ``MSH`` in UTF-16, say it themselves.
2. The feed's own ``charset``, strictly: somebody looked at this feed and decided.
3. Bytes that are all ASCII without an escape character mean the same in every charset that
   table 0211 names but UTF-16 and UTF-32, which such bytes are not; so not even an unknown
   name matters.
4. A declared multi-byte charset that isn't UTF-8, if the bytes are valid in it.
5. UTF-8, if the bytes are valid in it, also under a declared 8859/1 or ASCII: text of one of
   those that is valid multi-byte UTF-8 by chance is practically never meant (it would be
   "Ã¼" and the like), whereas senders that forget to change MSH-18 are common.
6. A declared single-byte charset, strictly.
7. Nothing declared: ISO 8859-1, with the letters that Windows-1252 has in its place for
   control characters, as web browsers do it.

All else is `Unmappable` for its charset: an unknown name over bytes that need it, and a
declared ASCII over bytes that are neither ASCII nor UTF-8. Setting the feed's ``charset`` and
retrying the dead letter is the remedy.
"""

import codecs
import re
from typing import NamedTuple

from streams.ledger.mapping.facts import Unmappable

_NAME_NOISE = re.compile(r"[^A-Z0-9]")
_ESCAPE = 0x1B  # switches charsets in ISO 2022, so ASCII bytes around it may not be ASCII
_UNDECLARED = "cp1252"

# HL7 table 0211 (v2.8, 2.C.2.88) and the spellings seen beside it, without punctuation.
_CODECS = {
    "ASCII": "ascii", "USASCII": "ascii", "ISOIR6": "ascii",
    **{f"8859{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISOIR100": "iso8859_1", "LATIN1": "iso8859_1",
    "WINDOWS1250": "cp1250", "WINDOWS1251": "cp1251", "WINDOWS1252": "cp1252",
    "CP1250": "cp1250", "CP1251": "cp1251", "CP1252": "cp1252",
    "ISOIR14": "shift_jis", "SHIFTJIS": "shift_jis",
    "ISOIR87": "iso2022_jp", "ISOIR159": "iso2022_jp_1",
    "GB180302000": "gb18030", "GB18030": "gb18030",
    "KSX1001": "euc_kr", "BIG5": "big5",
    "UNICODE": "utf_8", "UNICODEUTF8": "utf_8", "UTF8": "utf_8",
    "UNICODEUTF16": "utf_16", "UTF16": "utf_16",
    "UNICODEUTF32": "utf_32", "UTF32": "utf_32",
}  # fmt: skip
_SINGLE_BYTE = frozenset(
    codec for codec in _CODECS.values() if codec.startswith(("ascii", "iso8859", "cp"))
)
_WIDE = frozenset({"utf_16", "utf_32"})
_MARKS = (
    (codecs.BOM_UTF8, "utf_8"),
    (codecs.BOM_UTF32_LE, "utf_32_le"),  # begins with UTF-16's mark, so it comes before it
    (codecs.BOM_UTF16_LE, "utf_16_le"),
    (codecs.BOM_UTF16_BE, "utf_16_be"),
)
_UNMARKED = ((b"M\0S\0H\0", "utf_16_le"), (b"\0M\0S\0H", "utf_16_be"))


class Decoded(NamedTuple):
    """The text, and the codec that its hexadecimal escapes are in."""

    text: str
    codec: str


def decode(body: bytes, override: str | None) -> Decoded:
    """The message as text; raises `Unmappable` with cause ``charset`` (see the module)."""
    for mark, codec in _MARKS:
        if body.startswith(mark):
            return _strict(body[len(mark) :], codec)
    for opening, codec in _UNMARKED:
        if body.lstrip(b"\x0b\r\n ").startswith(opening):
            return _strict(body.lstrip(b"\x0b\r\n "), codec)
    if override is not None:
        return _strict(body, _known(override, "the feed's charset is not known"))
    if body.isascii() and _ESCAPE not in body:
        return Decoded(body.decode("ascii"), _codec(_declared(body)) or "utf_8")
    return _undeclared_or_lying(body, _declared(body))


def _undeclared_or_lying(body: bytes, declared: str) -> Decoded:
    """Steps 4 to 7: bytes that need a charset, with what MSH-18 says."""
    codec = _codec(declared)
    candidates = ["utf_8"]
    if codec in _WIDE:  # which these bytes are not, or MSH-18 couldn't have been found in them
        codec = "utf_8"
    elif codec is not None and codec not in _SINGLE_BYTE:
        candidates.insert(0, codec)
    elif codec is not None:
        candidates.append(codec)
    elif not declared:
        candidates.append(_UNDECLARED)
    for candidate in candidates:
        try:
            return Decoded(body.decode(candidate), candidate)
        except UnicodeDecodeError:
            continue
    if declared and codec is None:
        raise Unmappable("charset", "MSH-18 names no charset of table 0211, and it is no UTF-8")
    raise Unmappable("charset", "the bytes are neither in the charset of MSH-18 nor UTF-8")


def _strict(body: bytes, codec: str) -> Decoded:
    """Decode by a charset that is beyond doubt."""
    try:
        return Decoded(body.decode(codec), codec)
    except UnicodeDecodeError:
        raise Unmappable("charset", f"the bytes are not valid in: {codec}") from None


def _known(name: str, otherwise: str) -> str:
    """The codec of a name that must be known."""
    codec = _codec(name)
    if codec is None:
        raise Unmappable("charset", otherwise)
    return codec


def _codec(name: str) -> str | None:
    """Python's codec for a name of table 0211 or a usual spelling of one."""
    plain = _NAME_NOISE.sub("", name.upper())
    return _CODECS.get(plain) or _CODECS.get(plain.removeprefix("ISO"))


def _declared(body: bytes) -> str:
    """MSH-18's first repetition as it stands in the bytes; empty if there is none."""
    start = body.find(b"MSH")
    if start < 0:
        return ""
    end = min((at for at in (body.find(b"\r", start), body.find(b"\n", start)) if at > 0),
              default=len(body))  # fmt: skip
    header = body[start:end]
    fields = header.split(header[3:4] or b"|", 18)
    if len(fields) < 18:
        return ""
    repetition = fields[1][1:2] or b"~"
    return fields[17].split(repetition)[0].decode("ascii", "ignore").strip()
