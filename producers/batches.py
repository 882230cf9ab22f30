"""A frame of several messages taken apart, and the answers to them put together; pure.

A batch is what has FHS or BHS around messages (HL7 v2, 2.10.3), or several messages one behind
the other. Each of its messages is taken or refused as if it had come alone.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from producers import answers
from producers.files import COUNT, Piece, Split, Stray, split
from producers.peek import DELIMITERS

# The largest seen in public files holds 124. All of a batch are answered together, so a sender
# waits for the last: a thousand are durable in some tenths of a second.
MESSAGES_MAX = 1_000
# Lines are read one by one, about 2 µs each: messages of 50 segments fill a batch.
LINES_MAX = 50_000
COMMENT = "the trailers count otherwise"
# A second header or any envelope at the start of a line; a frame of one message has none.
_SEVERAL = re.compile(
    rb"(?:\A|[\r\n\x1c])[ \t\x00\x0b]*(?:\xef\xbb\xbf)?"
    rb"(?:(?i:MSH)[!-/:-@\[-`{-~]|(?i:FHS|BHS|BTS|FTS)(?:[!-/:-@\[-`{-~]|\s*(?:[\r\n]|\Z)))"
)
_ENVELOPES = (b"FHS", b"BHS", b"BTS", b"FTS")
_TWO = 2  # headers make a batch
_BREAKS = (b"\r", b"\n", b"\x1c", b"MSH|^~\\&")
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\x00\x00\xfe\xff")
_CONTROL_ID, _REFERENCE = 11, 12  # of FHS and BHS: a batch's own id, and the one it answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a frame of several messages holds, in its order: messages, and text that is none.

    ``file`` and ``batch`` are the lines of FHS and of the only BHS, empty where there is none.
    ``miscounted``: BTS-1 or FTS-1 say other than what is there.
    """

    items: tuple[Piece | Stray, ...]
    file: bytes = b""
    batch: bytes = b""
    miscounted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TooMuch:
    """A batch of more messages or lines than are taken at once, counted."""

    counted: str
    limit: int


def unpack(payload: bytes, most: int = MESSAGES_MAX) -> Batch | TooMuch | None:
    """The batch that a frame holds; None for one message, or none, without an envelope.

    Damaged UTF-16 or UTF-32 is one message whatever it holds: its bytes are kept as they are.
    """
    wide = payload.startswith(_WIDE)
    if not wide and not _several(payload):
        return None
    lines = sum(map(payload.count, _BREAKS))
    if lines > LINES_MAX:
        return TooMuch(counted=f"batch of {lines} lines", limit=LINES_MAX)
    found = split(payload)
    if len(found.messages) > most:
        return TooMuch(counted=f"batch of {len(found.messages)} messages", limit=most)
    return of(found)


def of(found: Split) -> Batch | None:
    """The batch that a file or frame is; None for one message, or none, without an envelope."""
    begun = [line for line in found.envelopes if line[:3].upper() in (b"FHS", b"BHS")]
    if len(found.messages) < _TWO and not (begun or (found.messages and found.envelopes)):
        return None
    files = [line for line in begun if line[:3].upper() == b"FHS"]
    batches = [line for line in begun if line[:3].upper() == b"BHS"]
    strays = [stray for stray in found.strays if stray.cause != COUNT]
    return Batch(
        items=tuple(sorted((*found.messages, *strays), key=lambda each: each.start)),
        file=files[0] if files else b"",
        batch=batches[0] if len(batches) == 1 else b"",
        miscounted=len(strays) < len(found.strays),
    )


def together(batch: Batch, said: Sequence[bytes], *, at: datetime, own_id: str) -> bytes:
    """The response batch of these acknowledgements; its segments end with CR.

    It has FHS and FTS where the batch came with them. BTS-1 counts the acknowledgements; BTS-2
    tells where the trailers of what came had another count than we.
    """
    line = batch.batch or batch.file
    separator, delimiters = _delimiters(line)
    head = _header(b"BHS", batch.batch, at, own_id, separator, delimiters)
    tail = [b"BTS", b"%d" % len(said), *([COMMENT.encode()] if batch.miscounted else [])]
    parts = [head, *(each.removesuffix(b"\r") for each in said), separator.join(tail)]
    if batch.file:
        parts.insert(0, _header(b"FHS", batch.file, at, own_id, separator, delimiters))
        parts.append(separator.join((b"FTS", b"1")))
    return b"\r".join((*parts, b""))


def _several(payload: bytes) -> bool:
    """Whether a second header or an envelope stands anywhere in it.

    Nearly every frame is one message: that is told without a look at each line.
    """
    loud = payload.upper()
    if loud.count(b"MSH") < _TWO and not any(name in loud for name in _ENVELOPES):
        return False
    for seen, found in enumerate(_SEVERAL.finditer(payload)):
        if seen or found[0][-4:-1].upper() != b"MSH":
            return True
    return False


def _header(
    name: bytes, theirs: bytes, at: datetime, own_id: str, separator: bytes, delimiters: bytes
) -> bytes:
    """FHS or BHS: sender and receiver change places, their control id comes back in field 12."""
    said = theirs.split(theirs[3:4], _REFERENCE) if len(theirs) > 3 else []

    def field(number: int) -> bytes:
        """Field ``number``; the separator is field 1, so it stands one before its number."""
        return answers.echoed(said[number - 1]) if number <= len(said) else b""

    parties = [field(5), field(6), field(3), field(4)]
    stamp = answers.stamp(at, separator + delimiters)
    rest = [stamp, b"", b"", b"", own_id.encode(), field(_CONTROL_ID)]
    return separator.join((name, delimiters, *parties, *rest))


def _delimiters(line: bytes) -> tuple[bytes, bytes]:
    """Field separator and the rest as the envelope has them; the customary ones without it."""
    if len(line) < 8:  # the name, the separator and four delimiters
        return b"|", DELIMITERS
    separator, delimiters = line[3:4], line[4:8]
    taken = separator + delimiters
    odd = len(set(taken)) < 5 or any(char <= 0x20 or char > 0x7E for char in taken)
    if odd or taken.translate(None, b"\\").isalnum() or line[8:9] not in (b"", separator):
        return b"|", DELIMITERS
    return separator, delimiters
