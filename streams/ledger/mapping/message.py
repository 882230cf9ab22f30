"""A lazy reader of one HL7 v2 message: only the segments and fields asked for are taken apart.

Sources: HL7 v2.8 chapter 2, 2.5 to 2.8 (delimiters, escapes, null), and what feeds really send:
any line end, odd or missing delimiters, a field broken over lines, segment ids in lower case.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from streams.ledger.mapping import charsets
from streams.ledger.mapping.delimiters import Delimiters, delimiters
from streams.ledger.mapping.facts import Unmappable

_FRAME = "\x0b\x1c\r\n \t\x00\ufeff"
_MARKS = ("\x0b", "\x1c")  # MLLP's, where they were left inside
_HEADER = re.compile(r"(?:^|[\r\n\x0b])MSH(?=[^A-Za-z0-9\s])")
FIELD_CHARACTERS_MAX = 65_536  # HL7's longest text (v2.5, 2.A.77); an event must fit its topic
GROUPS_MAX = 100  # patients that one message merges or moves; the standard's forms have one or two


class Message:
    """One message; lines of ``text`` end in CR. Its segments are found when it is made."""

    __slots__ = ("_first", "_lines", "_order", "delimiters", "text")

    def __init__(self, text: str, *, codec: str = "utf_8") -> None:
        """Take normal text that begins with MSH; raises `Unmappable`. See `parse`."""
        self.text = text
        self.delimiters = delimiters(text, codec)
        self._first: dict[str, Segment | None] = {}
        self._lines, self._order = _lines(text, self.delimiters.field)

    def segment(self, name: str) -> "Segment | None":
        """The first segment of that name."""
        first = self._first
        if name not in first:
            lines = self._lines.get(name)
            first[name] = Segment(self.delimiters, lines[0]) if lines else None
        return first[name]

    def segments(self, name: str) -> list["Segment"]:
        """All segments of that name, in order."""
        first = self.segment(name)
        if first is None:
            return []
        marks, rest = self.delimiters, self._lines[name][1:]
        return [first, *[Segment(marks, line) for line in rest]] if rest else [first]

    def count(self, name: str) -> int:
        """How many segments of that name there are."""
        return len(self._lines.get(name, ()))

    def has(self, names: frozenset[str]) -> bool:
        """Whether there is a segment of any of these names."""
        return not names.isdisjoint(self._lines)

    def ordered(self) -> "Iterator[tuple[str, Segment]]":
        """All segments with their ids, in order."""
        rest = {name: iter(lines) for name, lines in self._lines.items()}
        for name in self._order:
            yield name, Segment(self.delimiters, next(rest[name]))

    @property
    def own(self) -> list[str]:
        """The segments of the site's own (Z..), as they were sent, in order."""
        if max(self._lines) < "Z":  # no id sorts behind Z's
            return []
        rest = {name: iter(lines) for name, lines in self._lines.items()}
        return [line for name in self._order for line in (next(rest[name]),) if name[0] == "Z"]

    def split(self, name: str) -> "list[Message]":
        """One message per segment of that name: all before the first of them, and its own group.

        A message that has at most one stays whole. Raises `Unmappable` where there are too many.
        """
        if self.count(name) < 2:
            return [self]
        if self.count(name) > GROUPS_MAX:
            raise Unmappable("structure", "a group of segments repeats too often")
        rest = {each: iter(lines) for each, lines in self._lines.items()}
        groups: list[list[tuple[str, str]]] = [[]]
        for each in self._order:
            if each == name:
                groups.append([])
            groups[-1].append((each, next(rest[each])))
        return [self._of(groups[0] + group) for group in groups[1:]]

    def _of(self, lines: list[tuple[str, str]]) -> "Message":
        """A message of these segments of this one."""
        part = object.__new__(Message)
        part.text, part.delimiters = self.text, self.delimiters
        part._first, part._lines, part._order = {}, {}, [name for name, _ in lines]
        for name, line in lines:
            part._lines.setdefault(name, []).append(line)
        return part

    def resolve(self, raw: str) -> str:
        """``raw`` with its escape sequences resolved; see `Delimiters.resolve`."""
        return self.delimiters.resolve(raw)

    def said(self, raw: str) -> str | None:
        """What a text says: None nothing, empty null, else itself; see `Delimiters.said`."""
        return self.delimiters.said(raw)


class Segment:
    """One segment, split into fields. Fields, components and repetitions count from 1."""

    __slots__ = ("_delimiters", "_fields", "_long")

    def __init__(self, delimiters: Delimiters, line: str) -> None:
        self._delimiters = delimiters
        fields = line.split(delimiters.field)
        if fields[0].upper() == "MSH":  # MSH-1 is the field separator itself
            fields.insert(1, delimiters.field)
        self._fields = fields
        self._long = len(line) > FIELD_CHARACTERS_MAX

    @property
    def text(self) -> str:
        """The segment as it was sent; of a header without MSH-1, which is its separator."""
        return self._delimiters.field.join(self._fields)

    def field(self, number: int) -> str:
        """The field as sent, without surrounding white space; empty beyond the last."""
        fields = self._fields
        text = fields[number].strip() if number < len(fields) else ""
        if self._long and len(text) > FIELD_CHARACTERS_MAX:
            raise Unmappable("structure", "a field that is read is too long")
        return text

    def length(self, number: int) -> int:
        """How many characters the field has as sent, white space included."""
        return len(self._fields[number]) if number < len(self._fields) else 0

    def repetitions(self, number: int) -> list[list[str]]:
        """The field's repetitions, each as its components, as sent."""
        return self._delimiters.repetitions(self.field(number))

    def component(self, number: int, component: int = 1) -> str:
        """One component of the field's first repetition, as sent."""
        raw = self.field(number)
        marks = self._delimiters
        if marks.repetition in raw:
            raw = raw.partition(marks.repetition)[0].rstrip()
        if marks.component not in raw:
            return raw if component == 1 else ""
        components = raw.split(marks.component, component)
        return components[component - 1].strip() if component <= len(components) else ""

    def said(self, number: int, component: int = 1) -> str | None:
        """What a component says: None nothing, empty null, else its text (rule T21)."""
        raw = self.component(number, component)
        return self._delimiters.said(raw) if raw else None


def parse(body: bytes, *, charset: str | None = None) -> Message:
    """Read the bytes between two MLLP marks; ``charset`` is the feed's own, if it has one.

    What stands before the MSH is no part of the message. Raises `Unmappable`: ``charset``,
    ``no_header``, or ``structure`` where there are two messages or a NUL.
    """
    text, codec = charsets.decode(body, charset)
    text = text.strip(_FRAME)
    if not text.startswith("MSH"):
        found = _HEADER.search(text)
        if found is None:
            raise Unmappable("no_header", "no line begins with MSH")
        text = text[found.end() - 3 :]
    if "\0" in text:
        raise Unmappable("structure", "a NUL is inside the message")
    for mark in _MARKS:
        if mark in text:
            text = text.replace(mark, "\r")
    if "\n" in text:
        text = text.replace("\r\n", "\r").replace("\n", "\r")
    return Message(text, codec=codec)


def _lines(text: str, field: str) -> tuple[dict[str, list[str]], list[str]]:
    """Segments by id in upper case, and the ids in order; a line without one continues."""
    found: dict[str, list[str]] = {}
    order: list[str] = []
    broken: list[tuple[list[str], int, list[str]]] = []  # joined at the end: adding is quadratic
    last: list[str] = []
    for line in text.split("\r"):
        name = line[:3]
        begins = line[3:4] == field or (line == name and line.isupper())
        if begins and (name := _id(name)):
            last = found.setdefault(name, [])
            last.append(line)
            order.append(name)
        elif line:
            if not broken or broken[-1][0] is not last or broken[-1][1] != len(last):
                broken.append((last, len(last), []))
            broken[-1][2].append(line)
    for lines, number, more in broken:
        lines[number - 1] = "\n".join((lines[number - 1], *more))
    if len(found["MSH"]) > 1:
        raise Unmappable("structure", "more than one MSH in one message")
    return found, order


@lru_cache(maxsize=256)
def _id(text: str) -> str:
    """Three characters as a segment id, ``PV1`` or ``pv1`` but not ``May``; empty if none."""
    one_case = text in {text.upper(), text.lower()}
    known = one_case and text.isascii() and text.isalnum() and text[0].isalpha()
    return text.upper() if known else ""
