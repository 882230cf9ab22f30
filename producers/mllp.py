"""MLLP framing, bytes in and frames out: ``<VT> message <FS><CR>`` (HL7 v2 transport, MLLP 1).

What is tolerated, and what not:

- ``<FS>`` ends a frame when CR, LF or the next frame's VT follows. Followed by anything else it
  is content, so that a stray FS never cuts a message short. A sender that leaves out the CR and
  waits is served by :meth:`Decoder.settle`, which the owner of the socket calls after a silence.
- CR and LF between frames mean nothing. Other bytes there are refused, up to a bound.
- ``<VT>MSH`` inside a frame starts the next one: the sender broke off, the first is refused.
- XML is refused by its first byte, on the connection and in a frame; nothing parses it.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

VT, FS, CR = b"\x0b", b"\x1c", b"\r"
# The largest message seen in public feeds has 1.27 MB (an embedded document). A record of 8 MiB
# holds this one sealed, with room.
FRAME_BYTES_MAX = 5 * 1024 * 1024
# Enough of a refused frame to answer its MSH; the rest is skipped and never held.
HEAD_BYTES = 4096
# A banner or a log line is a few hundred bytes; more between two frames is no MLLP sender.
GARBAGE_BYTES_MAX = 64 * 1024

_RESTART = VT + b"MSH"
_KEPT = len(_RESTART) - 1  # of a skipped frame: the longest beginning of a mark
_ENDERS = b"\r\n\x0b"
_SPACE = b"\r\n"
_INSIDE = re.compile(rb"\x1c[\r\n\x0b]|\x0bMSH")


class Cause(StrEnum):
    """Why bytes were refused."""

    GARBAGE = "garbage between frames"
    MARKUP = "markup"
    TOO_LONG = "frame over the limit"
    CUT = "frame broken off"


class Unframeable(Exception):  # noqa: N818  named for what is wrong
    """The payload holds MLLP's own marks and can't be framed."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The bytes between the marks, as sent."""

    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Bytes that are no frame we take. ``size`` counts them; ``head`` is how a frame began.

    ``answerable``: a whole frame, which the sender waits to hear about.
    """

    cause: Cause
    size: int
    head: bytes = b""
    answerable: bool = False


class Decoder:
    """One connection's bytes to frames; the same frames however the bytes are split.

    Holds at most ``limit`` bytes and what was fed last. After ``closed`` nothing more comes.
    """

    __slots__ = ("_buffer", "_garbage", "_head", "_inside", "_limit", "_scanned", "_skipped",
                 "_why", "closed")  # fmt: skip
    _why: Cause | None  # the frame is refused already, and skipped

    def __init__(self, limit: int = FRAME_BYTES_MAX) -> None:
        assert limit > 0, "a limit of no bytes takes nothing"
        self._limit = limit
        self._buffer = bytearray()
        self._scanned = 0  # no mark begins before this index of the buffer
        self._inside = False
        self._garbage = 0
        self.closed = False
        self._start_frame()

    def feed(self, data: bytes) -> list[Frame | Refusal]:
        """What these bytes complete, in order."""
        self._buffer += data
        out: list[Frame | Refusal] = []
        while not self.closed and (self._frame(out) if self._inside else self._between(out)):
            pass
        if self.closed:
            self._buffer.clear()
        return out

    def settle(self) -> list[Frame | Refusal]:
        """After a silence: a frame whose FS came and whose CR did not is complete."""
        return self.feed(CR) if self.unsettled else []

    def finish(self) -> list[Refusal]:
        """The stream has ended: what is left over is refused. A lone FS ends its frame before."""
        assert not self.unsettled, "settle first"
        if self._inside and not self.closed:
            cut = self._refusal(Cause.CUT, len(self._buffer), answerable=False)
            left = [cut] if cut.size else []
        else:
            left = self._take_garbage()
        self.closed = True
        self._buffer.clear()
        return left

    @property
    def inside(self) -> bool:
        """Whether a frame has begun and not ended."""
        return self._inside

    @property
    def unsettled(self) -> bool:
        """Whether everything but the byte after FS is there."""
        return self._inside and not self.closed and self._buffer[-1:] == FS

    @property
    def held(self) -> int:
        """Bytes held in memory."""
        return len(self._buffer)

    def _between(self, out: list[Frame | Refusal]) -> bool:
        """Up to the next VT; whether there is more to look at."""
        start = self._buffer.find(VT)
        stray = self._buffer[: start if start >= 0 else None].translate(None, _SPACE)
        if stray:
            if not self._garbage and stray[:1] == b"<":
                out.append(Refusal(cause=Cause.MARKUP, size=1))
                self.closed = True
                return False
            self._garbage += len(stray)
            if self._garbage > GARBAGE_BYTES_MAX:
                out.append(Refusal(cause=Cause.GARBAGE, size=GARBAGE_BYTES_MAX))
                self.closed = True
                return False
        if start < 0:
            self._buffer.clear()
            return False
        out += self._take_garbage()
        del self._buffer[: start + 1]
        self._start_frame()
        self._inside = True
        return True

    def _frame(self, out: list[Frame | Refusal]) -> bool:
        """Up to the frame's end; whether there is more to look at."""
        buffer = self._buffer
        if self._why is None and buffer[:1] == b"<":
            self._why = Cause.MARKUP
        end = buffer.find(FS, self._scanned)
        restart = buffer.find(_RESTART, max(0, self._scanned - _KEPT), end if end >= 0 else None)
        if restart >= 0:
            cut = self._refusal(Cause.CUT, restart, answerable=False)
            if cut.size:
                out.append(cut)
            del buffer[: restart + 1]
            self._start_frame()
            return True
        if end < 0 or end + 1 == len(buffer):
            self._scanned = end if end >= 0 else len(buffer)
            self._skip()
            return False
        if buffer[end + 1] not in _ENDERS:
            self._scanned = end + 1
            return True
        self._end_frame(end, out)
        return True

    def _end_frame(self, end: int, out: list[Frame | Refusal]) -> None:
        if self._why is None and end > self._limit:
            self._why = Cause.TOO_LONG
        if self._why is None:
            out.append(Frame(bytes(memoryview(self._buffer)[:end])))
        else:
            out.append(self._refusal(self._why, end, answerable=True))
        followed_by_frame = self._buffer[end + 1] == VT[0]
        del self._buffer[: end + (1 if followed_by_frame else 2)]
        self._inside = False
        self._start_frame()

    def _skip(self) -> None:
        """Drop what was scanned of a frame that is refused already, or now is too long."""
        if self._why is None:
            # A mark's beginning at the end of the buffer may not be content.
            if len(self._buffer) - _KEPT <= self._limit:
                return
            self._why = Cause.TOO_LONG
        dropped = max(0, len(self._buffer) - _KEPT)
        self._head += self._buffer[: min(dropped, HEAD_BYTES - len(self._head))]
        self._skipped += dropped
        del self._buffer[:dropped]
        self._scanned = max(0, self._scanned - dropped)

    def _refusal(self, cause: Cause, size: int, *, answerable: bool) -> Refusal:
        """The frame so far, of which ``size`` bytes stand in the buffer."""
        head = bytes(self._head + self._buffer[: min(size, HEAD_BYTES - len(self._head))])
        return Refusal(cause=cause, size=self._skipped + size, head=head, answerable=answerable)

    def _take_garbage(self) -> list[Refusal]:
        size, self._garbage = self._garbage, 0
        return [Refusal(cause=Cause.GARBAGE, size=size)] if size else []

    def _start_frame(self) -> None:
        self._head = bytearray()
        self._skipped = 0
        self._scanned = 0
        self._why = None


def encode(payload: bytes) -> bytes:
    """The payload as a frame; raises :class:`Unframeable` where it holds a mark."""
    if (FS in payload or VT in payload) and _INSIDE.search(payload):
        raise Unframeable("a message holds the marks of MLLP")
    return VT + payload + FS + CR
