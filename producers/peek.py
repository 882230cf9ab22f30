"""The few fields that the intake needs of a message, read in bytes in about 4 µs.

Nothing here raises on what a feed may send: it is soup now and then (an own delimiter set, none
at all, lower-case segments, a BOM). A better reading is the ledger's; this one routes.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass

from schemas.identity import Identifier, normal

DELIMITERS = b"^~\\&"  # component, repetition, escape, sub-component (HL7 v2, 2.5.4)
# Identifiers of one patient: real feeds have up to a dozen. The rest routes nothing.
IDENTIFIERS_MAX = 64
# HL7 v2 allows 199 characters in MSH-10; what is longer is no identifier to work with.
CONTROL_ID_BYTES_MAX = 1024
_FIELDS = 19  # MSH-18 is the last that is read
# A BOM of UTF-32 may begin with one of UTF-16: it is looked for first.
_WIDE_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
_WIDE_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LEADING = b" \t\r\n\x0b\x00" + codecs.BOM_UTF8
_HEADER_LINE = re.compile(rb"[\r\n][ \t]*(?:\xef\xbb\xbf)?(?=[Mm][Ss][Hh][!-/:-@\[-`{-~])")


@dataclass(frozen=True, slots=True)
class NoHeader:
    """There is no MSH in these bytes."""

    size: int
    acknowledges = False


@dataclass(frozen=True, slots=True)
class Header:
    """MSH, PID-3 and PV1-19 as sent: bytes, without their charset.

    ``fields[n]`` is MSH-n (1 is the separator), short where the segment is. ``delimiters`` are
    component, repetition, escape and sub-component, completed where MSH-2 leaves them out.
    """

    separator: bytes
    delimiters: bytes
    fields: Sequence[bytes]
    patient: bytes
    visit: bytes

    def field(self, number: int) -> bytes:
        """MSH-``number``, stripped; empty where there is none."""
        return self.fields[number].strip() if number < len(self.fields) else b""

    def component(self, number: int, position: int) -> bytes:
        """One component (from 1) of MSH-``number``, stripped."""
        parts = self.field(number).split(self.delimiters[:1])
        return parts[position - 1].strip() if position <= len(parts) else b""

    @property
    def control_id(self) -> bytes:
        """MSH-10, cut to the length that an answer echoes."""
        return self.field(10)[:CONTROL_ID_BYTES_MAX]

    @property
    def message_type(self) -> bytes:
        """MSH-9 as sent, such as ``ADT^A01``."""
        return self.field(9)

    @property
    def acknowledges(self) -> bool:
        """Whether the message is an acknowledgement itself (rule I5)."""
        return self.component(9, 1).upper() == b"ACK"

    def identifiers(self) -> list[Identifier]:
        """PID-3's repetitions that have a value; the authority may be empty.

        The authority is the namespace of PID-3.4, or its universal id where that is empty.
        """
        component, repetition, sub = (self.delimiters[n : n + 1] for n in (0, 1, 3))
        found = []
        for each in self.patient.split(repetition, IDENTIFIERS_MAX)[:IDENTIFIERS_MAX]:
            parts = each.split(component, 5)
            value = normal(text(parts[0].split(sub, 1)[0]))
            if not value or value == '""':
                continue
            authority = parts[3].split(sub, 2) if len(parts) > 3 else []
            named = next((part for part in authority[:2] if part.strip() not in (b"", b'""')), b"")
            kind = text(parts[4]).strip() if len(parts) > 4 else ""
            found.append(Identifier(value=value, authority=text(named).strip(), type=kind))
        return found


def peek(body: bytes) -> Header | NoHeader:
    """Read a message's header; :class:`NoHeader` where no line begins with MSH and a separator.

    Segments may end with CR, LF or CRLF, in any mixture.
    """
    if body[:4] in _WIDE_32:
        body = body.decode("utf-32", "replace").encode()
    elif body[:2] in _WIDE_16:
        body = body.decode("utf-16", "replace").encode()
    start = _header_start(body)
    if start < 0:
        return NoHeader(len(body))
    separator = body[start + 3 : start + 4]
    line = body[start : _line_end(body, start)]
    fields = line.split(separator, _FIELDS)[:_FIELDS]
    fields[0:1] = [fields[0], separator]
    encoding = fields[2].strip() if len(fields) > 2 else b""
    return Header(
        separator,
        _delimiters(separator, encoding),
        fields[:_FIELDS],
        _segment_field(body, start, b"PID", separator, 3),
        _segment_field(body, start, b"PV1", separator, 19),
    )


def text(raw: bytes) -> str:
    """Bytes as text, whatever the charset: UTF-8 where they are, else one character a byte."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _header_start(body: bytes) -> int:
    """Where MSH begins, or -1: at the start in nearly every message, else at a line's start."""
    if body[:3] == b"MSH" and _separates(body[3:4]):
        return 0
    lead = len(body) - len(body.lstrip(_LEADING))
    if body[lead : lead + 3].upper() == b"MSH" and _separates(body[lead + 3 : lead + 4]):
        return lead
    found = _HEADER_LINE.search(body)
    return found.end() if found else -1


def _separates(char: bytes) -> bool:
    """Whether this byte can be a field separator: printable ASCII, no letter, no digit."""
    return b"!" <= char <= b"~" and not char.isalnum()


def _line_end(body: bytes, start: int) -> int:
    end = body.find(b"\r", start)
    if end < 0:
        end = len(body)
    feed = body.find(b"\n", start, end)
    return feed if feed >= 0 else end


def _delimiters(separator: bytes, encoding: bytes) -> bytes:
    """MSH-2 completed to four: the customary ones where it is short or unusable."""
    if encoding == DELIMITERS:
        return DELIMITERS
    if encoding[2:4] == b"\\\\":  # an escape doubled by somebody's string literal
        encoding = encoding[:3] + encoding[4:]
    taken = [separator[0]]
    for position in range(4):
        for char in (*encoding[position : position + 1], *DELIMITERS[position:], *b"!$*;"):
            if char not in taken and not bytes((char,)).isalnum() and char > 0x20:
                taken.append(char)
                break
    return bytes(taken[1:])


def _segment_field(body: bytes, start: int, name: bytes, separator: bytes, number: int) -> bytes:
    """A field of the first segment of that name, in upper or lower case; else empty."""
    at = _segment(body, start, name + separator)
    if at < 0:
        at = _segment(body, start, name.lower() + separator)
    if at < 0:
        return b""
    fields = body[at : _line_end(body, at)].split(separator, number + 1)
    return fields[number].strip() if number < len(fields) else b""


def _segment(body: bytes, start: int, opening: bytes) -> int:
    at = body.find(b"\r" + opening, start)
    feed = body.find(b"\n" + opening, start, at if at >= 0 else None)
    found = feed if feed >= 0 else at
    return found + 1 if found >= 0 else -1
