"""JSON schemas of the rows that questions are answered with."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import date, datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints
from uuid import UUID

Schema = dict[str, Any]
_TYPES: Mapping[Any, Schema] = {
    str: {"type": "string"},
    UUID: {"type": "string", "format": "uuid"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    Any: {},
    # A sealed field, as it is answered.
    bytes: {"type": ["string", "null"], "description": "Null for who may not see it."},
}


def row(kind: type) -> Schema:
    """A dataclass as a schema; every field is there, null where it says so."""
    hints = get_type_hints(kind)
    names = [each.name for each in fields(kind)]
    return {
        "type": "object",
        "required": names,
        "properties": {name: _typed(hints[name]) for name in names},
    }


def _typed(hint: Any) -> Schema:  # noqa: ANN401  any annotation
    if isinstance(hint, UnionType):
        (kind,) = (each for each in get_args(hint) if each is not NoneType)
        schema = _typed(kind)
        return {**schema, "type": [schema["type"], "null"]} if kind is not bytes else schema
    origin = get_origin(hint)
    if origin in (list, tuple):
        return {"type": "array", "items": _typed(get_args(hint)[0])}
    if origin is not None and issubclass(origin, dict):
        return {"type": "object"}
    return dict(_TYPES[hint])
