"""Keyed tokens by which a patient is found: words of names, their beginnings, a birth date.

What they give away, and why there are none for substrings, sex or flags:
``docs/decisions/0013-blind-indexes.md``.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any
from uuid import UUID

from schemas import identity

PREFIX_MIN, PREFIX_MAX = 3, 8  # letters; two fit too many, and after eight few names differ
WORDS_MAX = 8  # of one person, in the order in which they were said
NAME_CHARACTERS_MAX = 250  # of one part of a name; XPN has less
# So many tokens, or a multiple: two words and a birth date look like one word without.
PADDED_TO = 16
TOKENS_MAX = 64
_NAMING = ("family", "given", "middle")  # what is no name: titles, degrees, the name's type
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# Written or left out, as in O'Brien and J.R.: apostrophes as they are typed, full stops.
_WITHIN = frozenset("'`.\u00b4\u00b7\u02bb\u02bc\u2018\u2019")
# Letters that NFKD leaves whole, though people write them otherwise.
_LETTERS = str.maketrans(
    {"æ": "ae", "ð": "d", "ø": "o", "þ": "th", "đ": "d", "ħ": "h", "ł": "l", "œ": "oe"}
    | {"\u0131": "i"}
)


class Unsearchable(Exception):  # noqa: N818  named for what is wrong
    """There is no token of what is asked; the message says what could be, and repeats nothing."""


def tokens(identity_key: bytes, demographics: Mapping[str, Any], person: UUID) -> list[str]:
    """The tokens of a person's demographics as they are sealed; UUID texts, sorted.

    Their number is a multiple of :data:`PADDED_TO`: what is missing are tokens that only this
    person has. None where neither a name nor a whole birth date is said.
    """
    key = identity.lookup_key(identity_key)
    found = set(_of(key, demographics))
    missing = -len(found) % PADDED_TO
    found |= {
        identity.token(key, "padding", person.bytes, bytes([number])) for number in range(missing)
    }
    assert len(found) <= TOKENS_MAX, "words are bounded, and with them tokens"
    return sorted(found)


def named(identity_key: bytes, name: str) -> list[str]:
    """The tokens that a person has whose names contain each word of ``name``.

    Raises :class:`Unsearchable` where it has no word, or more than a person is known by.
    """
    key = identity.lookup_key(identity_key)
    return [identity.token(key, "name", word) for word in _asked(name)]


def beginning(identity_key: bytes, prefix: str) -> list[str]:
    """The tokens of persons who have for each word of ``prefix`` a name that begins so.

    Raises :class:`Unsearchable` also where a word has fewer letters than :data:`PREFIX_MIN`,
    or more than :data:`PREFIX_MAX`.
    """
    key = identity.lookup_key(identity_key)
    asked = _asked(prefix)
    if not all(PREFIX_MIN <= len(word) <= PREFIX_MAX for word in asked):
        raise Unsearchable(f"each beginning of a name has {PREFIX_MIN} to {PREFIX_MAX} letters")
    return [identity.token(key, "prefix", word) for word in asked]


def born(identity_key: bytes, day: str) -> list[str]:
    """The token of a birth date, ``YYYY-MM-DD``; raises :class:`Unsearchable`."""
    if not _whole(day):
        raise Unsearchable("a birth date is a whole date, such as 1970-01-31")
    return [identity.token(identity.lookup_key(identity_key), "birth date", day)]


def words(text: str) -> list[str]:
    """The words of a name as they are compared: no case, accents, punctuation; hyphens part."""
    folded = unicodedata.normalize("NFKD", text[:NAME_CHARACTERS_MAX]).casefold()
    if folded.isalpha() and folded.isascii():  # most are
        return [folded]
    folded = unicodedata.normalize("NFKD", folded).translate(_LETTERS)
    return "".join(map(_kept, folded)).split()


def _kept(character: str) -> str:
    """The character, nothing where it belongs to its word, a blank where it ends one."""
    if character in _WITHIN or unicodedata.combining(character):
        return ""
    return character if unicodedata.category(character)[0] in "LMN" else " "


def _of(key: bytes, demographics: Mapping[str, Any]) -> Iterator[str]:
    for word in _words(demographics.get("names") or ()):
        yield identity.token(key, "name", word)
        for length in range(PREFIX_MIN, min(PREFIX_MAX, len(word)) + 1):
            yield identity.token(key, "prefix", word[:length])
    day = demographics.get("birth_date")
    if day and _whole(day):
        yield identity.token(key, "birth date", day)


def _words(names: Any) -> list[str]:  # noqa: ANN401  a list of mappings, as it was sealed
    said = [
        word for name in names for part in _NAMING if (text := name.get(part))
        for word in words(text)
    ]  # fmt: skip
    return list(dict.fromkeys(said))[:WORDS_MAX]


def _asked(text: str) -> list[str]:
    found = list(dict.fromkeys(words(text)))
    if not 1 <= len(found) <= WORDS_MAX:
        raise Unsearchable(f"a name has 1 to {WORDS_MAX} words, with letters in them")
    return found


def _whole(day: str) -> bool:
    try:
        return bool(_DAY.fullmatch(day) and date.fromisoformat(day))
    except ValueError:
        return False
