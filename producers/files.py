"""HL7 v2 files to messages, as files come: nothing that was in them is lost without a word.

Segments leave with CR behind each; a line that begins with no segment id continues the one
before and keeps its break as LF. UTF-16 and UTF-32 files (told by their BOM) are transcoded to
UTF-8, and all offsets are those of the transcoded bytes; a damaged one is refused whole. Envelopes
(FHS, BHS, BTS, FTS) stand apart; BOMs, blank lines and the marks of MLLP are left out.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass

NO_HEADER = "no message header before it"
BETWEEN = "text between messages"
COUNT = "batch trailer counts other than what is there"
DAMAGED = "its BOM says UTF-16 or UTF-32, and its bytes are none"

_WIDE = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# A line ends with CR, LF, CRLF or MLLP's FS; also before a header that VT marks, or that stands
# in the middle of a line where files without a last line end were put one behind the other.
_BREAK = re.compile(rb"\r\n|\r|\n|\x1c|\x0b(?=MSH)|(?<=[^\x0b\r\n\x1c])(?=MSH\|\^~\\&)")
_MARGIN = b" \t\x00\x0b" + codecs.BOM_UTF8
_HEADER = re.compile(rb"(?i:MSH)([!-/:-@\[-`{-~])")
_ENVELOPE = re.compile(rb"(?i:FHS|BHS|BTS|FTS)(?:[!-/:-@\[-`{-~]|\s*$)")
_FIRST = frozenset(b"%c" % char for char in b"MmFfBb")  # letters of headers and envelopes
_TRAILER = re.compile(rb"(?i:BTS|FTS)([!-/:-@\[-`{-~])\s*([0-9]{1,9})\s*(?:\1|$)")
_SEGMENT = re.compile(rb"[A-Za-z][A-Za-z0-9]{2}(?=(.)|\s*$)", re.DOTALL)
_COMMENT = (b"#", b"//", b"<!--", b"--")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One message: its bytes as they are sent, and where they stood."""

    body: bytes
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """Bytes that belong to no message, and why."""

    cause: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What a file came to, each in the file's order."""

    messages: tuple[Piece, ...]
    strays: tuple[Stray, ...]
    envelopes: tuple[bytes, ...] = ()  # the lines of FHS, BHS, BTS and FTS


@dataclass(slots=True, kw_only=True)
class _Line:
    text: bytes
    start: int
    end: int
    ends_frame: bool


def split(data: bytes) -> Split:
    """The messages of a file, and what in it was none."""
    try:
        narrow = _narrow(data)
    except UnicodeDecodeError:
        return Split(messages=(), strays=(Stray(cause=DAMAGED, start=0, end=len(data)),))
    state = _State()
    for line in _lines(narrow):
        state.add(line)
        if line.ends_frame:
            state.close()
    state.close()
    return Split(
        messages=tuple(state.messages),
        strays=tuple(_merged(state.strays)),
        envelopes=tuple(state.envelopes),
    )


class _State:
    """How far a file is read."""

    def __init__(self) -> None:
        self.messages: list[Piece] = []
        self.strays: list[Stray] = []
        self.envelopes: list[bytes] = []
        self._open: list[_Line] = []  # of the message that is being read
        self._batch = 0  # messages since the last BHS or BTS
        self._batches = 0  # since the last FHS; messages without a BHS are one
        self._begun = False  # whether a batch has begun and not ended

    def add(self, line: _Line) -> None:
        if line.text[:1] not in _FIRST:  # nearly every line, told without a look
            self._go_on(line)
        elif _HEADER.match(line.text):
            self.close()
            self._open = [line]
            self._count()
        elif _ENVELOPE.match(line.text):
            self.close()
            self._envelope(line)
        else:
            self._go_on(line)

    def _go_on(self, line: _Line) -> None:
        if self._open:
            self._open.append(line)
        elif line.text:
            self.strays.append(Stray(cause=NO_HEADER, start=line.start, end=line.end))

    def close(self) -> None:
        """The message that is being read, if any, ends here."""
        if self._open:
            piece, left = _message(self._open)
            self.messages.append(piece)
            self.strays.extend(left)
            self._open = []

    def _count(self) -> None:
        """Another message; the first of a batch that nothing has begun begins one."""
        if not self._batch and not self._begun:
            self._batches += 1
            self._begun = True
        self._batch += 1

    def _envelope(self, line: _Line) -> None:
        """BTS-1 counts messages, FTS-1 batches; what begins or ends here is counted anew."""
        self.envelopes.append(line.text)
        name, trailer = line.text[:3].upper(), _TRAILER.match(line.text)
        counted = self._batch if name == b"BTS" else self._batches
        if trailer and int(trailer[2]) != counted:
            self.strays.append(Stray(cause=COUNT, start=line.start, end=line.end))
        self._batch, self._begun = 0, name == b"BHS"
        if name == b"BHS":
            self._batches += 1
        elif name in (b"FHS", b"FTS"):
            self._batches = 0


def _narrow(data: bytes) -> bytes:
    """UTF-8 where a BOM says that it was wider; raises ``UnicodeDecodeError`` where it isn't."""
    for bom, charset in _WIDE:
        if data.startswith(bom):
            return data.decode(charset).encode()
    return data


def _lines(data: bytes) -> Iterator[_Line]:
    """Lines without margin and end; ``start`` and ``end`` span what is left of each."""
    at = 0
    while at < len(data):
        found = _BREAK.search(data, at)
        if found and found.end() == at:  # the header that ended the line before begins this one
            found = _BREAK.search(data, at + 1)
        stop, after = (found.start(), found.end()) if found else (len(data), len(data))
        raw = data[at:stop]
        text = raw.lstrip(_MARGIN)
        start = stop - len(text)
        text = text.rstrip(b"\x00")
        ends_frame = found is not None and found[0] == b"\x1c"
        yield _Line(text=text, start=start, end=start + len(text), ends_frame=ends_frame)
        at = after


def _message(lines: list[_Line]) -> tuple[Piece, list[Stray]]:
    """One message out of its lines: the first is MSH, the rest runs up to the next message."""
    separator = lines[0].text[3:4]
    begins = [n == 0 or _begins(line.text, separator) for n, line in enumerate(lines)]
    last = len(lines) - 1 - begins[::-1].index(True)
    end = last + 1
    while end < len(lines) and lines[end].text and not lines[end].text.startswith(_COMMENT):
        end += 1  # the last segment goes on
    body = bytearray(lines[0].text)
    following = zip(lines[1:end], begins[1:end], strict=True)
    kept = [(line, begun) for line, begun in following if line.text]
    for line, begun in kept:
        body += (b"\r" if begun else b"\n") + line.text
    body += b"\r"
    strays = [
        Stray(cause=BETWEEN, start=line.start, end=line.end) for line in lines[end:] if line.text
    ]
    final = kept[-1][0] if kept else lines[0]
    return Piece(body=bytes(body), start=lines[0].start, end=final.end), strays


def _begins(text: bytes, separator: bytes) -> bool:
    """Whether a line begins a segment: an id and the message's separator, or an id alone."""
    found = _SEGMENT.match(text)
    return found is not None and (found[1] is None or found[1] == separator or text[3:].isspace())


def _merged(strays: list[Stray]) -> Iterator[Stray]:
    """Lines that follow one another with the same cause, as one."""
    held: Stray | None = None
    for stray in strays:
        if held and held.cause == stray.cause != COUNT and stray.start - held.end <= 2:
            held = Stray(cause=held.cause, start=held.start, end=stray.end)
            continue
        if held:
            yield held
        held = stray
    if held:
        yield held
