"""Good and bad examples of every record: files that tests, documents and history read.

``<record>/good/*.json`` are values; bytes stand as base64. ``<record>/bad/*.json`` have ``why``
and either ``value``, which must not encode, or ``wire`` (hexadecimal) and ``cause``: bytes that
must not decode; the schema id in them is the record's own, written as ``IDIDIDID``.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas import catalogue

FOLDER = Path(__file__).parent
ID = "IDIDIDID"


def good(record: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and value of each good example, sorted by name."""
    for path in sorted((FOLDER / record / "good").glob("*.json")):
        yield path.stem, revive(catalogue.schema(record), json.loads(path.read_text("utf-8")))


def bad(record: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of each bad example, sorted by name; a ``value`` has its bytes."""
    for path in sorted((FOLDER / record / "bad").glob("*.json")):
        example = json.loads(path.read_text("utf-8"))
        if "value" in example:
            example["value"] = revive(catalogue.schema(record), example["value"])
        yield path.stem, example


def revive(schema: catalogue.Schema, value: object) -> dict[str, Any]:
    """The record with bytes where its schema has bytes and the JSON has base64."""
    return _record(schema, value, lambda text: b64decode(text) if isinstance(text, str) else text)


def plain(schema: catalogue.Schema, value: object) -> dict[str, Any]:
    """The record with base64 where its schema has bytes, for JSON."""
    return _record(schema, value, lambda raw: b64encode(raw).decode("ascii"))


def _record(
    schema: catalogue.Schema, value: object, turn: Callable[[Any], object]
) -> dict[str, Any]:
    turned = _turn(schema, value, turn)
    assert isinstance(turned, dict), "an example is a record"
    return turned


def _turn(schema: catalogue.Schema, value: object, turn: Callable[[Any], object]) -> object:
    if isinstance(schema, list):
        branches = [branch for branch in schema if branch != "null"]
        return value if value is None or len(branches) != 1 else _turn(branches[0], value, turn)
    kind = schema["type"] if isinstance(schema, dict) else schema
    if kind == "bytes":
        return turn(value)
    assert isinstance(schema, dict) or kind in catalogue.PRIMITIVES, f"a type by name: {kind}"
    if kind == "record" and isinstance(schema, dict) and isinstance(value, Mapping):
        types = {field["name"]: field["type"] for field in schema["fields"]}
        return {
            name: _turn(types[name], item, turn) if name in types else item
            for name, item in value.items()
        }
    if kind == "map" and isinstance(schema, dict) and isinstance(value, Mapping):
        return {name: _turn(schema["values"], item, turn) for name, item in value.items()}
    if kind == "array" and isinstance(schema, dict) and isinstance(value, list):
        return [_turn(schema["items"], item, turn) for item in value]
    return value
