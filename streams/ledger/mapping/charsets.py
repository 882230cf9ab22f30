r"""How the bytes of a message become text, without ever inventing a character.

What is tried, in this order (MSH-18 lies both ways in real feeds, so it is evidence, not law):

1. A byte order mark, or the bytes of ``MSH`` in UTF-16, say it themselves.
2. The feed's own ``charset``, strictly: somebody looked at this feed and decided. Like MSH-18 it
   may have repetitions.
3. Bytes that are all ASCII and switch no charset mean the same in every charset that table 0211
   names but UTF-16 and UTF-32, which such bytes are not; so not even an unknown name matters.
4. The first repetition of MSH-18, if it is multi-byte and not UTF-8, and the bytes are valid in it.
5. UTF-8, if the bytes are valid in it, also under a declared 8859/1 or ASCII: text of one of
   those that is valid multi-byte UTF-8 by chance is practically never meant (it would be
   "Ã¼" and the like), whereas senders that forget to change MSH-18 are common.
6. The first repetition if it is a single-byte charset, then the others in order, strictly.
7. Nothing declared: ISO 8859-1, with the letters that Windows-1252 has in its place for
   control characters, as web browsers do it.

A message that switches charsets by ISO 2022 (an escape byte, or HL7's ``\C..\`` and ``\M..\``)
is read piece by piece, see `switching`, and only if a repetition declares what it switches to:
an escape byte is never text.

All else is `Unmappable` for its charset: an unknown name over bytes that need it, and a
declared ASCII over bytes that are neither ASCII nor UTF-8. Setting the feed's ``charset`` and
retrying the dead letter is the remedy.
"""

import codecs
import re
from functools import lru_cache
from typing import NamedTuple

from streams.ledger.mapping import switching
from streams.ledger.mapping.facts import Unmappable

_NAME_NOISE = re.compile(r"[^A-Z0-9]")
_UNDECLARED = "cp1252"
_ESCAPES_BYTES = b"\\"  # MSH-2's escape character, where it has none
_USUAL = b"MSH|^~\\&|"
DECLARED_MAX = 16  # repetitions of MSH-18 that are read: table 0211 has not many more names

# HL7 table 0211 (v2.8, 2.C.2.88) and the spellings seen beside it, without punctuation.
_CODECS = {
    "ASCII": "ascii", "USASCII": "ascii", "ISOIR6": "ascii",
    **{f"8859{part}": f"iso8859_{part}" for part in (1, 2, 3, 4, 5, 6, 7, 8, 9, 15)},
    "ISOIR100": "iso8859_1", "LATIN1": "iso8859_1",
    "WINDOWS1250": "cp1250", "WINDOWS1251": "cp1251", "WINDOWS1252": "cp1252",
    "CP1250": "cp1250", "CP1251": "cp1251", "CP1252": "cp1252",
    "ISOIR14": "shift_jis", "SHIFTJIS": "shift_jis",
    "ISOIR87": "iso2022_jp", "ISOIR159": "iso2022_jp_1",
    "2022JP": "iso2022_jp", "2022KR": "iso2022_kr",
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
_UNKNOWN = "MSH-18 names no charset of table 0211, and it is no UTF-8"
_NEITHER = "the bytes are neither in the charset of MSH-18 nor UTF-8"


class Decoded(NamedTuple):
    """The text, and the codec that its hexadecimal escapes are in."""

    text: str
    codec: str


def decode(body: bytes, override: str | None) -> Decoded:
    """The message as text; raises `Unmappable` with cause ``charset`` (see the module)."""
    if not body.startswith(b"MSH"):
        for mark, codec in _MARKS:
            if body.startswith(mark):
                return _marked(body[len(mark) :], codec)
        for opening, codec in _UNMARKED:
            if body.lstrip(b"\x0b\r\n ").startswith(opening):
                return _marked(body.lstrip(b"\x0b\r\n "), codec)
    mark = _mark(body)
    if override is not None:
        return _overridden(body, override, mark)
    escapes = body.count(mark) > 1  # beside the one that declares it
    if escapes and (mark + b"C" in body or mark + b"M" in body):
        body = switching.spelled(body, mark)
    if switching.ESCAPE not in body and body.isascii():
        return Decoded(body.decode("ascii"), _of_escapes(body, mark) if escapes else "ascii")
    return _undeclared_or_lying(body, _declared(body))


def _marked(body: bytes, codec: str) -> Decoded:
    """By a byte order mark, which leaves nothing to switch to."""
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        raise Unmappable("charset", f"the bytes are not valid in: {codec}") from None
    raw = text.encode()
    spelled = switching.spelled(raw, _mark(raw))
    return Decoded(switching.decode(spelled, "utf_8", ()), codec)


def _overridden(body: bytes, override: str, mark: bytes) -> Decoded:
    """By the feed's own charset; what looks like a switch of charsets and is none stays text."""
    first, *others = override.split("~")[:DECLARED_MAX]
    names = [_known(first or "ASCII" if others else first), *map(_known, others)]
    body = switching.spelled(body, mark, strictly=False)
    if switching.ESCAPE not in body:
        return _strict(body, names[0])
    return _switched(body, [_plain(names[0])], names)


def _undeclared_or_lying(body: bytes, declared: tuple[str, ...]) -> Decoded:
    """Steps 4 to 7: bytes that need a charset, with what MSH-18 says."""
    candidates, named, unknown = _candidates(declared)
    if switching.ESCAPE in body:
        return _switched(body, [_plain(codec) for codec in candidates], named)
    for candidate in candidates:
        try:
            return Decoded(body.decode(candidate), candidate)
        except UnicodeDecodeError:
            continue
    raise Unmappable("charset", _UNKNOWN if unknown else _NEITHER)


@lru_cache(maxsize=64)
def _candidates(declared: tuple[str, ...]) -> tuple[list[str], list[str], bool]:
    """What may explain the bytes, what is named, and whether a name isn't known; few ever come."""
    known = [_codec(name) if name else None for name in declared]
    # In none of the wide ones are these bytes, or MSH-18 couldn't have been found in them
    named = [codec for codec in known if codec is not None and codec not in _WIDE]
    first = known[0] if known else None
    candidates = ["utf_8"]
    if first is not None and first not in _SINGLE_BYTE | _WIDE:
        candidates.insert(0, first)
    candidates += [codec for codec in named if not codec.startswith("iso2022")]
    if not any(declared):
        candidates.append(_UNDECLARED)
    unknown = any(name and codec is None for name, codec in zip(declared, known, strict=True))
    return list(dict.fromkeys(candidates)), named, unknown


def _switched(body: bytes, candidates: list[str], named: list[str]) -> Decoded:
    """Of a message that switches charsets: the first candidate in which the rest is valid."""
    if "iso2022_kr" in named:
        return _strict(body, "iso2022_kr")
    for candidate in dict.fromkeys(candidates):
        try:
            return Decoded(switching.decode(body, candidate, named), candidate)
        except UnicodeDecodeError:
            continue
    raise Unmappable("charset", _NEITHER)


def _plain(codec: str) -> str:
    """What stands outside of what is switched to, where that codec is the default."""
    return "ascii" if codec.startswith("iso2022") else codec


def _strict(body: bytes, codec: str) -> Decoded:
    """Decode by a charset that is beyond doubt."""
    try:
        text = body.decode(codec)
    except UnicodeDecodeError:
        raise Unmappable("charset", f"the bytes are not valid in: {codec}") from None
    if "\x1b" in text:
        raise Unmappable("charset", switching.UNDECLARED)
    return Decoded(text, codec)


def _known(name: str) -> str:
    """The codec of a name that must be known."""
    codec = _codec(name)
    if codec is None:
        raise Unmappable("charset", "the feed's charset is not known")
    return codec


def _codec(name: str) -> str | None:
    """Python's codec for a name of table 0211 or a usual spelling of one."""
    plain = _NAME_NOISE.sub("", name.upper())
    return _CODECS.get(plain) or _CODECS.get(plain.removeprefix("ISO"))


def _of_escapes(body: bytes, mark: bytes) -> str:
    """The codec of hexadecimal escapes in a message of ASCII, where it has any."""
    if mark + b"X" not in body:
        return "ascii"
    declared = _declared(body)
    return (_codec(declared[0]) if declared else None) or "utf_8"


def _mark(body: bytes) -> bytes:
    """The byte of MSH-2's escape character, as far as it has one."""
    if body.startswith(_USUAL):
        return _ESCAPES_BYTES
    start = body.find(b"MSH")
    mark = body[start + 6 : start + 7] if start >= 0 else b""
    odd = not mark or mark.isalnum() or mark.isspace() or mark == body[start + 3 : start + 4]
    return _ESCAPES_BYTES if odd else mark


def _declared(body: bytes) -> tuple[str, ...]:
    """MSH-18's repetitions as they stand in the bytes; none if it is empty."""
    start = body.find(b"MSH")
    if start < 0:
        return ()
    end = body.find(b"\r", start)
    header = body[start:] if end < 0 else body[start:end]
    fields = header.partition(b"\n")[0].split(header[3:4] or b"|", 18)
    return _names(fields[17], fields[1][1:2] or b"~") if len(fields) >= 18 else ()


@lru_cache(maxsize=64)
def _names(field: bytes, repetition: bytes) -> tuple[str, ...]:
    said = field.split(repetition)[:DECLARED_MAX]
    names = tuple(name.decode("ascii", "ignore").strip() for name in said)
    return names if any(names) else ()
