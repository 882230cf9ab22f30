r"""ISO 2022: text whose bytes say themselves from where on they are in another charset.

A sequence of an escape byte and two to four others designates a charset (ISO 2022; HL7
v2.8 chapter 2, MSH-18 and escape sequences). HL7 may spell it: ``\C2842\`` and ``\M2442\`` are
the bytes 28 42 and 24 42 after an escape. What is switched to ends at the sequence for ASCII, and
within its line: HL7 wants every segment to end in the default charset, so one that doesn't is torn.
"""

import re
from collections.abc import Iterable

from streams.ledger.mapping.facts import Unmappable

ESCAPE = b"\x1b"
UNDECLARED = "an escape byte switches to a charset that nothing declares"
_TORN = "a line ends in a charset that it switched to"
_UNKNOWN = "an escape sequence names a charset that is not known"

# Designations of the lower half, as Python's codec for all of them takes them.
_JAPANESE = frozenset({b"$@", b"$B", b"$(D", b"(I"})
# JIS X 0201's Latin letters are ASCII's but for two, which are delimiters in nearly every feed.
_BACK = frozenset({b"(B", b"(J"})
# Designations of the upper half, whose lower half stays ASCII.
_UPPER = {
    b")I": "shift_jis", b"$)C": "euc_kr", b"-A": "iso8859_1", b"-B": "iso8859_2",
    b"-C": "iso8859_3", b"-D": "iso8859_4", b"-L": "iso8859_5", b"-G": "iso8859_6",
    b"-F": "iso8859_7", b"-H": "iso8859_8", b"-M": "iso8859_9", b"-b": "iso8859_15",
}  # fmt: skip
_FAMILY = frozenset({"iso2022_jp", "iso2022_jp_1", "shift_jis"})
_ALL_JAPANESE = "iso2022_jp_ext"
_PIECES = re.compile(rb"(\x1b[\x20-\x2f]*[\x30-\x7e]?|[\r\n]+)")


def spelled(body: bytes, mark: bytes, *, strictly: bool = True) -> bytes:
    """The body with HL7's spelled sequences as the bytes that they stand for.

    ``mark`` is the message's escape character. Raises `Unmappable` for one of a charset that
    isn't known, or lets it stand if not ``strictly``.
    """

    def turned(match: re.Match[bytes]) -> bytes:
        said = bytes.fromhex(match.group(1).decode("ascii"))
        if said in _JAPANESE or said in _BACK or said in _UPPER:
            return ESCAPE + said
        if strictly:
            raise Unmappable("charset", _UNKNOWN)
        return match.group()

    quoted = re.escape(mark)
    return re.sub(quoted + rb"[CM]((?:[0-9A-Fa-f]{2}){2,3})" + quoted, turned, body)


def decode(body: bytes, plain: str, named: Iterable[str]) -> str:
    """The text; ``plain`` is the codec of what isn't switched, ``named`` those that are declared.

    Raises UnicodeDecodeError where the bytes are not valid, and `Unmappable` where they switch to
    what isn't declared, or don't switch back.
    """
    declared = frozenset(named)
    found: list[str] = []
    lower, upper = b"", plain
    for piece in _PIECES.split(body):
        if piece.startswith(ESCAPE):
            lower, upper = _designated(piece[1:], lower, upper, declared)
        elif piece[:1] in {b"\r", b"\n"}:
            if lower:
                raise Unmappable("charset", _TORN)
            upper = plain
            found.append(piece.decode("ascii"))
        elif lower:
            found.append((ESCAPE + lower + piece).decode(_ALL_JAPANESE))
        else:
            found.append(piece.decode(upper))
    if lower:
        raise Unmappable("charset", _TORN)
    return "".join(found)


def _designated(
    said: bytes, lower: bytes, upper: str, declared: frozenset[str]
) -> tuple[bytes, str]:
    """What holds for both halves after a sequence."""
    japanese = bool(declared & _FAMILY)
    if said == b"(B" or (said == b"(J" and japanese):
        return b"", upper
    if said in _JAPANESE and japanese:
        return said, upper
    if said in _UPPER and (_UPPER[said] in declared or (said == b")I" and japanese)):
        return lower, _UPPER[said]
    raise Unmappable("charset", UNDECLARED)
