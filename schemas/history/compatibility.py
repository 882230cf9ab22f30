"""Whether what one schema wrote can be read by another (Avro specification, Schema Resolution)."""

from collections.abc import Iterator
from typing import Any

from schemas.catalogue import Schema

_PROMOTED = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


def breaks(*, writer: Schema, reader: Schema, at: str = "") -> Iterator[str]:
    """Yield a reason for every place where ``reader`` can't read what ``writer`` wrote.

    Stricter than the specification in two points: the type of a number may not change, since
    the value that comes out would, and a logical type is part of its type.
    """
    if isinstance(writer, list):
        for branch in writer:
            yield from breaks(writer=branch, reader=reader, at=at)
        return
    if isinstance(reader, list):
        if all(any(breaks(writer=writer, reader=branch, at=at)) for branch in reader):
            yield f"no branch for {_kind(writer)} at: {at or 'the top'}"
        return
    if _kind(writer) != _kind(reader):
        promoted = _kind(reader) in _PROMOTED.get(_kind(writer), ())
        how = "changes its type" if promoted else "has another type"
        yield f"{how} from {_kind(writer)} to {_kind(reader)}: {at or 'the top'}"
    elif isinstance(writer, dict) and isinstance(reader, dict):
        yield from _inside(writer, reader, at)


def _kind(schema: Schema) -> str:
    """The type's name with its logical type, such as ``string uuid``."""
    if not isinstance(schema, dict):
        return str(schema)
    return " ".join(filter(None, (str(schema["type"]), schema.get("logicalType"))))


def _inside(writer: dict[str, Any], reader: dict[str, Any], at: str) -> Iterator[str]:
    kind = writer["type"]
    if kind in ("record", "enum", "fixed") and writer["name"] != reader["name"]:
        yield f"renamed from {writer['name']} to {reader['name']}: {at or 'the top'}"
    if kind == "record":
        written = {field["name"]: field["type"] for field in writer["fields"]}
        for field in reader["fields"]:
            where = f"{at}.{field['name']}".lstrip(".")
            if field["name"] in written:
                yield from breaks(writer=written[field["name"]], reader=field["type"], at=where)
            elif "default" not in field:
                yield f"no default: {where}"
    elif kind in ("array", "map"):
        inner = "items" if kind == "array" else "values"
        yield from breaks(writer=writer[inner], reader=reader[inner], at=f"{at}[]")
    elif kind == "enum" and not set(writer["symbols"]) <= set(reader["symbols"]):
        yield f"symbols missing: {at}"
    elif kind == "fixed" and writer["size"] != reader["size"]:
        yield f"another size: {at}"
