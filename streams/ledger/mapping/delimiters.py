"""What a header's delimiters make of a field's text: repetitions, components, escapes, null.

Sources: HL7 v2.8 chapter 2, 2.5 to 2.8. It knows no message: what a segment keeps of this is
shared by every message of a feed, so that one that was read is freed at once, without a cycle.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from streams.ledger.mapping.facts import Unmappable

NULL = '""'
"""HL7's null: the sender says that there is no value (an empty field says nothing)."""

REPETITIONS_MAX = 100  # nobody has more names, numbers or identifiers
_STANDARD = "^~\\&"
_USUAL = f"MSH|{_STANDARD}|"
_NEVER = "\ufffe"  # no character (Unicode 23.7), for a delimiter that a feed can't have
_DELIMITERS_MAX = 6  # four, v2.7's truncation character, and one doubled backslash
_ESCAPED_MAX = 256  # the longest escape sequence that is looked at: 127 bytes in hexadecimal


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Delimiters:
    """MSH-1 and MSH-2: one character each; of truncation (v2.7) none, where a feed has none.

    ``codec`` is that of the bytes which an escape sequence may spell. Equal by identity, which
    is cheap to remember things by: `delimiters` gives the same for the same header.
    """

    field: str
    component: str
    repetition: str
    escape: str
    subcomponent: str
    truncation: str = ""
    codec: str = "utf_8"

    def resolve(self, raw: str) -> str:
        """``raw`` with its escape sequences resolved; unknown ones stay as they are.

        Where highlighting begins and ends (H, N) is no text. P is the truncation character, of a
        feed that has one (v2.7). What switches charsets (C, M) is read before: see `charsets`.
        """
        if self.escape not in raw:
            return raw
        return _escapes(self.escape).sub(self._escaped, raw)

    def said(self, raw: str) -> str | None:
        """None if nothing is said, the empty string for HL7's null, else the resolved text."""
        if not raw:
            return None
        if raw == NULL:
            return ""
        if self.escape in raw:
            raw = self.resolve(raw)
        return raw.strip() or None

    def repetitions(self, raw: str) -> list[list[str]]:
        """A field's repetitions, each as its components, as sent; none of an empty field."""
        if not raw:
            return []
        if self.repetition not in raw:
            found = [raw.split(self.component)]
        else:
            repetitions = raw.split(self.repetition)
            if len(repetitions) > REPETITIONS_MAX:
                raise Unmappable("structure", "a field that is read repeats too often")
            found = [one.split(self.component) for one in repetitions]
        if " " in raw or not raw.isprintable():  # most have no white space
            found = [[each.strip() for each in one] for one in found]
        return found

    def _escaped(self, match: re.Match[str]) -> str:
        """The character or bytes that one escape sequence stands for."""
        code = match.group(1)
        known = {
            "F": self.field, "S": self.component, "T": self.subcomponent,
            "R": self.repetition, "E": self.escape, "P": self.truncation or _NEVER,
            ".br": "\n", "H": "", "N": "",
        }.get(code)  # fmt: skip
        if known is not None and known != _NEVER:
            return known
        if code[:1] == "X":
            try:
                text = bytes.fromhex(code[1:]).decode(self.codec)
            except ValueError:
                return match.group()
            if text and "\0" not in text and "\x1b" not in text:
                return text
        return match.group()


def delimiters(text: str, codec: str) -> Delimiters:
    """Those of a text that begins with MSH; where it leaves some out, the standard ones stand in.

    Raises `Unmappable` where MSH-1 or MSH-2 can't be any.
    """
    if text.startswith(_USUAL):
        return _read("|", _STANDARD, codec)
    field = text[3:4]
    if not field or field.isalnum() or field.isspace():
        raise Unmappable("no_header", "MSH-1 is no field separator")
    encoding = text[4:64].partition("\r")[0].partition(field)[0].rstrip()
    return _read(field, encoding, codec)


@lru_cache(maxsize=64)
def _read(field: str, encoding: str, codec: str) -> Delimiters:
    """Delimiters of a header; few are ever seen, so they are remembered."""
    if len(encoding) > _DELIMITERS_MAX or any(mark.isalnum() for mark in encoding):
        raise Unmappable("no_header", "MSH-2 holds no delimiters")
    if encoding[2:4] == "\\\\":  # an escape character that somebody escaped
        encoding = encoding[:3] + encoding[4:]
    marks = encoding[:4] + _STANDARD[len(encoding[:4]) :]
    taken = [field]
    for mark in marks:
        taken.append(_NEVER if mark in taken else mark)
    _, component, repetition, escape, subcomponent = taken
    return Delimiters(
        field=field, component=component, repetition=repetition, escape=escape,
        subcomponent=subcomponent, truncation=encoding[4:5], codec=codec,
    )  # fmt: skip


@lru_cache(maxsize=64)
def _escapes(escape: str) -> re.Pattern[str]:
    """What an escape sequence looks like with this escape character."""
    mark = re.escape(escape)
    return re.compile(f"{mark}([^{mark}]{{1,{_ESCAPED_MAX}}}){mark}")
