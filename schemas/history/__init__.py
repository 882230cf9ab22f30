"""Every version of every subject's schema that was ever released, each with an encoded example.

``<subject>/<n>.avsc`` is the schema as registered, ``<subject>/<n>.json`` an example: its Avro
bytes (hexadecimal, without the wire format's head) and the value that they mean. Files here are
never changed or deleted. ``python -m schemas.history`` freezes the present version of each
subject as the next number if it is new, after checking it against all versions before it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro

from schemas import catalogue, examples
from schemas.history.compatibility import breaks

FOLDER = Path(__file__).parent


class Incompatible(Exception):  # noqa: N818  named for what is wrong
    """The present schema can't read a historical record, or the other way round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One frozen version: its number, schema, example value and the example's Avro bytes."""

    subject: str
    number: int
    schema: dict[str, Any]
    value: Mapping[str, Any]
    encoded: bytes


def versions(subject: str, folder: Path = FOLDER) -> Iterator[Version]:
    """The frozen versions of a subject, oldest first."""
    numbers = sorted(int(path.stem) for path in (folder / subject).glob("*.avsc"))
    for number in numbers:
        stem = folder / subject / str(number)
        schema = json.loads(stem.with_suffix(".avsc").read_text("utf-8"))
        example = json.loads(stem.with_suffix(".json").read_text("utf-8"))
        yield Version(
            subject=subject,
            number=number,
            schema=schema,
            value=examples.revive(schema, example["value"]),
            encoded=bytes.fromhex(example["avro"]),
        )


def freeze(folder: Path = FOLDER) -> Iterator[tuple[str, int]]:
    """Freeze every subject whose schema is new; yield subject and number of what was frozen.

    Raises :class:`Incompatible` before anything of that subject is written.
    """
    for subject, record in catalogue.subjects().items():
        present = catalogue.schema(record)
        frozen = list(versions(subject, folder))
        if frozen and frozen[-1].schema == present:
            continue
        require_compatible(subject, present, frozen)
        number = frozen[-1].number + 1 if frozen else 1
        _write(folder / subject / str(number), record, present)
        yield subject, number


def require_compatible(
    subject: str, present: dict[str, Any], frozen: list[Version] | None = None
) -> None:
    """Raise :class:`Incompatible` unless ``present`` fits every frozen version, both ways."""
    for version in versions(subject) if frozen is None else frozen:
        reasons = [
            *breaks(writer=version.schema, reader=present),
            *breaks(writer=present, reader=version.schema),
        ]
        if reasons:
            raise Incompatible(
                f"{subject} doesn't fit its version {version.number} "
                f"(add fields with defaults only): {'; '.join(sorted(set(reasons)))}"
            )


def _write(stem: Path, record: str, present: dict[str, Any]) -> None:
    name, value = next(examples.good(record), ("", None))
    if value is None:
        raise Incompatible(f"a record needs a good example before it is frozen: {record}")
    encoded = BytesIO()
    fastavro.schemaless_writer(encoded, catalogue.parsed(record), value)
    stem.parent.mkdir(parents=True, exist_ok=True)
    example = {
        "example": name,
        "avro": encoded.getvalue().hex(),
        "value": examples.plain(present, value),
    }
    # With the schema last: a version without its example is none, and the next run writes it.
    for suffix, content in ((".json", example), (".avsc", present)):
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        stem.with_suffix(suffix).write_text(text, encoding="utf-8")
