"""The people in the corpus of real test messages: names, identifiers, phones."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from producers import files

REPOSITORY = Path(__file__).parent.parent
FILE_BYTES_MAX = 8 << 20
# Fields that name somebody, by HL7 v2.5, chapters 3 and 6; those of names by themselves.
NAMES = {"PID": (5, 6, 9), "NK1": (2, 30), "GT1": (3,), "IN1": (16,)}
PERSONAL = {
    "PID": (2, 3, 4, 5, 6, 9, 11, 13, 14, 18, 19, 20, 21), "NK1": (2, 4, 5, 6, 30, 31, 32),
    "MRG": (1, 2, 3, 4, 5, 7), "GT1": (3, 5, 6, 7, 12), "IN1": (16, 19, 36),
}  # fmt: skip
_SPLIT = re.compile(rb"[\^~&\r\n]")
_PATIENT = ("identifier", "name", "telecom", "address", "contact")
_SAYING = frozenset({"value", "family", "given", "line"})
_WORD = re.compile(r"[0-9A-Za-z_-]{8,}")
_OURS = ("*.py", "*.md", "*.sql", "*.toml", "*.json")


def corpus() -> Path | None:
    """The corpus's folder, if there is one."""
    named = os.environ.get("WARDTRAIL_CORPUS")
    folder = Path(named) if named else REPOSITORY.parent / "shared/data"
    return folder if folder.is_dir() else None


def people(folder: Path | None) -> set[str]:
    """Values of people, without those that also stand where nobody is named, such as codes.

    Words without a digit are taken from names only, and not if our own texts have them.
    """
    if folder is None:
        return set()
    personal: set[str] = set()
    others = _ours()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
            found: Iterator[tuple[bool, bool, str]] = iter(())
            if "hl7v2" in path.parts:
                found = _fields(path.read_bytes())
            elif "fhir" in path.parts and path.suffix in (".json", ".ndjson"):
                found = _resources(path.read_text("utf-8", "replace"))
            for about, naming, value in found:
                for word in _WORD.findall(value):
                    if not about:
                        others.add(word.lower())
                    elif naming or any(map(str.isdigit, word)):
                        personal.add(word)
    return {each for each in personal if each.lower() not in others}


def _ours() -> set[str]:
    """The words of our own texts."""
    texts = (path for kind in _OURS for path in REPOSITORY.glob(f"[!.]*/**/{kind}"))
    found: set[str] = set()
    for path in (*texts, *REPOSITORY.glob("*.md")):
        found.update(each.lower() for each in _WORD.findall(path.read_text("utf-8")))
    return found


def _fields(data: bytes) -> Iterator[tuple[bool, bool, str]]:
    """Each component: whether it is about a person, whether it is a name, and its text."""
    for message in files.split(data).messages:
        for segment in re.split(rb"[\r\n]+", message.body):
            fields = segment.split(b"|")
            kind = fields[0].decode("latin-1")
            about, names = PERSONAL.get(kind, ()), NAMES.get(kind, ())
            for number, field in enumerate(fields):
                for part in _SPLIT.split(field):
                    yield number in about, number in names, part.decode("utf-8", "replace")


def _resources(text: str) -> Iterator[tuple[bool, bool, str]]:
    """Likewise of FHIR resources: a file of one, or a line for each."""
    try:
        yield from _strings(json.loads(text))
    except ValueError:
        for line in text.splitlines():
            with suppress(ValueError):
                yield from _strings(json.loads(line))


def _strings(node: Any, *, about: bool = False, name: str = "") -> Iterator[tuple[bool, bool, str]]:
    """Every text; those of a Patient's identifiers, names, addresses and phones are about."""
    if isinstance(node, dict):
        patient = node.get("resourceType") == "Patient"
        for key, value in node.items():
            yield from _strings(value, about=about or (patient and key in _PATIENT), name=key)
    elif isinstance(node, list):
        for each in node:
            yield from _strings(each, about=about, name=name)
    elif isinstance(node, str):
        yield about and name in _SAYING, name in ("family", "given"), node
