"""Finds canaries in bytes, in whichever encoding they stand there."""

import binascii
import os
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path

CHUNK_BYTES = 1 << 20  # bounds the memory; overlaps are searched twice
OVERLAP_BYTES = 4096
HITS_MAX = 5  # of one place: more tell nothing more
WORD_BYTES = 8  # shorter words are in source and logs by chance
NUMBER_DIGITS = 10
_TIME = re.compile(r"(?:19|20)\d{6}|1\d{9}(?:\d{3}){0,3}$")  # as digits, or seconds since 1970
_WORD = rb"[0-9A-Za-z_-]"
_RUNS = re.compile(_WORD + rb"{8,}")
_WIDE_RUNS = re.compile(rb"(?:" + _WORD + rb"\0){7,}" + _WORD)
_CODED_RUNS = re.compile(rb"[0-9A-Za-z_+/-]{16,}")
_HEX = re.compile(rb"[0-9A-Fa-f]{16,}")


@dataclass(frozen=True, slots=True)
class Hit:
    """A canary at a place; `form` is the encoding it stands in."""

    place: str
    value: str
    form: str

    def __str__(self) -> str:
        return f"{self.place}: {self.value!r} as {self.form}"


@dataclass(frozen=True, slots=True)
class Needle:
    """What to look for in lowercased bytes, and what has to stand there as it was."""

    low: bytes
    exactly: re.Pattern[bytes]
    value: str
    form: str


class Needles:
    """All canaries, prepared: looked for piece by piece, in bounded memory.

    A marker is looked for in every form by its own bytes. Words are many: every run of letters
    and digits is looked up, also in what runs of base64 and hex decode to.
    """

    def __init__(self, markers: Iterable[Needle], words: Iterable[str] = ()) -> None:
        self._markers = tuple(markers)
        self._words: dict[bytes, list[bytes]] = defaultdict(list)
        for value in {longest(each) for each in words if distinctive(each)}:
            self._words[value[:WORD_BYTES].lower()].append(value)

    def in_text(self, place: str, text: str) -> list[Hit]:
        """Those in a text."""
        return self.in_bytes(place, text.encode("utf-8", "surrogatepass"))

    def in_bytes(self, place: str, data: bytes) -> list[Hit]:
        """Those in bytes that are at hand."""
        step = range(0, len(data), CHUNK_BYTES)
        return self._in(place, (data[at : at + CHUNK_BYTES + OVERLAP_BYTES] for at in step))

    def in_file(self, path: Path, place: str = "") -> list[Hit]:
        """Those in a file; its holes are skipped. A file that is gone has none."""
        try:
            return self._in(place or str(path), _parts(path))
        except (FileNotFoundError, IsADirectoryError):
            return []

    def _in(self, place: str, parts: Iterable[bytes]) -> list[Hit]:
        hits: dict[Hit, None] = {}
        for part in parts:
            for value, form in self._each(part):
                hits[Hit(place, value, form)] = None
                if len(hits) >= HITS_MAX:
                    return list(hits)
        return list(hits)

    def _each(self, part: bytes) -> Iterator[tuple[str, str]]:
        low = part.lower()
        for needle in self._markers:
            at = low.find(needle.low)
            while at >= 0:
                if needle.exactly.match(part, at):
                    yield needle.value, needle.form
                    break
                at = low.find(needle.low, at + 1)
        if self._words:
            yield from self._words_in(part)

    def _words_in(self, part: bytes) -> Iterator[tuple[str, str]]:
        for value in self._looked_up(_RUNS.findall(part)):
            yield value, "text"
        for value in self._looked_up(run[::2] for run in _WIDE_RUNS.findall(part)):
            yield value, "utf-16"
        for run in _CODED_RUNS.findall(part):
            for form, clear in _decoded(run):
                for value in self._looked_up(_RUNS.findall(clear)):
                    yield value, form

    def _looked_up(self, runs: Iterable[bytes]) -> Iterator[str]:
        """Words at any place in the runs: what stands before one may be its length."""
        words = self._words
        for run in runs:
            low = run.lower()
            for at in range(len(run) - WORD_BYTES + 1):
                if (starting := low[at : at + WORD_BYTES]) not in words:
                    continue
                # In the cases that people write; others are in base64 by chance.
                for word in words[starting]:
                    found = run[at : at + len(word)]
                    if found in (word, word.lower(), word.upper(), word.title(), word.capitalize()):
                        yield word.decode()


def longest(value: str) -> bytes:
    """The longest part of a value that is letters and digits."""
    return max(_RUNS.findall(value.encode()), key=len, default=b"")


def distinctive(value: str) -> bool:
    """Whether a value can't stand somewhere by chance; the others are left out.

    Words under eight characters are in source and logs. Numbers under ten digits are in UUIDs and
    hashes, and those that may be a date or an instant are in every file.
    """
    word = longest(value).decode().lower()
    if not set(word) - set("0123456789abcdef-_"):
        digits = word.replace("-", "").replace("_", "")
        if len(digits) < NUMBER_DIGITS or _TIME.match(digits):
            return False
    return len(set(word)) >= 4


def marker(value: str) -> list[Needle]:
    """Needles of a made-up word that stands in many values, in lower or upper case."""
    needles = {}
    for spelled in (value.lower(), value.upper()):
        data = spelled.encode()
        # In base64 of something else it may stand by chance, but hardly before these.
        ended = re.compile(b"(?:%s|%s)(?![A-Za-z+/])" % (data.lower(), data.upper()))
        forms = [
            ("text", data, ended),
            ("utf-16", spelled.encode("utf-16-le")[:-1], None),
            ("hex", data.hex().encode(), re.compile(b"(?i:%s)" % data.hex().encode())),
        ]
        forms += [("base64", coded, None) for coded in _coded(data)]
        for form, looked_for, exactly in forms:
            # In UTF-16, in either case; in base64, upper and lower case are other letters.
            case = re.IGNORECASE if form == "utf-16" else 0
            pattern = exactly or re.compile(re.escape(looked_for), case)
            needles[form, looked_for.lower()] = Needle(looked_for.lower(), pattern, value, form)
    return list(needles.values())


def numbers_after(start: str, digits: int) -> list[Needle]:
    """Needles of all numbers of so many digits after `start`.

    In clear, UTF-16 and hex: in base64 so short a start has no letters of its own.
    """
    plain, wide = start.encode(), start.encode("utf-16-le")[:-1]
    high = plain.hex().encode()
    patterns = (
        ("text", plain, re.escape(plain) + b"[0-9]{%d}" % digits),
        ("utf-16", wide, re.escape(wide) + rb"(?:\0[0-9]){%d}" % digits),
        ("hex", high, b"(?i:%s)(?:3[0-9]){%d}" % (high, digits)),
    )
    return [
        Needle(low, re.compile(exactly, re.DOTALL), f"{start}…", form)
        for form, low, exactly in patterns
    ]


def _coded(data: bytes) -> Iterator[bytes]:
    """What of the base64 of these bytes is the same whatever stands around them."""
    for before in range(3):
        coded = b64encode(bytes(before) + data)
        yield coded[ceil(8 * before / 6) : 8 * (before + len(data)) // 6]


def _decoded(run: bytes) -> Iterator[tuple[str, bytes]]:
    """What a run of letters may be in clear, wherever in it the code begins."""
    for hexed in _HEX.findall(run):
        for start in range(2):
            part = hexed[start:]
            yield "hex", binascii.unhexlify(part[: len(part) // 2 * 2])
    plain = run.translate(bytes.maketrans(b"-_", b"+/"))
    for start in range(4):
        part = plain[start:]
        part = part[:-1] if len(part) % 4 == 1 else part
        yield "base64", binascii.a2b_base64(part + b"=" * (-len(part) % 4))


def _parts(path: Path) -> Iterator[bytes]:
    """The data of a file in pieces that overlap."""
    zeros = bytes(CHUNK_BYTES + OVERLAP_BYTES)
    with path.open("rb", buffering=0) as file:
        at = 0
        while True:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole is left, or nothing
                return
            part = os.pread(file.fileno(), CHUNK_BYTES + OVERLAP_BYTES, at)
            if part != zeros[: len(part)]:
                yield part
            at += CHUNK_BYTES
