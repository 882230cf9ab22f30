"""Coded elements: what a CE or CWE names, and what it has as a result (rule V8)."""

import re
from dataclasses import dataclass

from schemas.identity import normal
from streams.codes import LOCAL, SYSTEMS, code, system
from streams.ledger.mapping.claim import part
from streams.ledger.mapping.delimiters import NULL
from streams.ledger.mapping.message import Message

CODE_CHARACTERS_MAX = 100  # the longest codes that are seen have some 40; longer is text
_PAIRS = ((1, 3), (4, 6), (10, 12))  # identifier and its system: CE's two, and CWE's third (v2.7)
_SPACE = re.compile(r"\s")


@dataclass(frozen=True, slots=True)
class Coding:
    """A code within its system; the text beside it is nobody's key (rule V8)."""

    system: str
    code: str

    @property
    def data(self) -> dict[str, str]:
        """As events carry it."""
        return {"system": self.system, "code": self.code}


def named(message: Message, parts: list[str]) -> tuple[Coding, ...]:
    """What a CE or CWE names, its alternates too; a code without a system is a local one."""
    return _read(message, parts, local=True)


def valued(message: Message, parts: list[str]) -> tuple[Coding, ...]:
    """The codes that a CE or CWE has as a result.

    Only what a system vouches for, and without white space: else it may be text, which is sealed.
    """
    return _read(message, parts, local=False)


def _read(message: Message, parts: list[str], *, local: bool) -> tuple[Coding, ...]:
    found: dict[Coding, None] = {}
    for identifier, of in _PAIRS:
        raw, said = part(parts, identifier), message.said(part(parts, of)) or ""
        text = "" if raw == NULL else normal(message.said(raw) or "")
        if not text or len(text) > CODE_CHARACTERS_MAX or not text.isprintable():
            continue
        known = system(said)
        if len(known) > CODE_CHARACTERS_MAX or (_SPACE.search(known) and known not in SYSTEMS):
            known, said = LOCAL, ""  # text where the system's name belongs
        if local or (said and not _SPACE.search(text)):
            found[Coding(known, code(known, text))] = None
    return tuple(found)
