"""Values of Avro records as JSON: their JSON schema, how they are read, how they are written.

In JSON a uuid is its text, an instant (timestamp-micros) is RFC 3339 with its zone, a day is
ISO 8601, bytes are base64. What may be left out of a record is what has a default.
"""

import math
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from uuid import UUID

from schemas import catalogue
from schemas.clock import instant, micros

TEXT_MAX = 8_000  # characters; a page and a half, the longest description that anybody reads
ITEMS_MAX = 1_000  # of an array or a map
KEY_MAX = 200  # characters of a map's key
INT_BITS, LONG_BITS = 31, 63

Avro = Any  # a schema, or a part of one, as JSON gives it
Names = Mapping[str, Mapping[str, Any]]
_DAY = date(1970, 1, 1)
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


class FormInvalid(Exception):  # noqa: N818  named for what is wrong
    """The JSON isn't what the record takes. Neither ``path`` nor ``said`` repeats a value.

    ``path`` is a JSON pointer made of the schema's names and of positions in arrays.
    """

    def __init__(self, path: str, said: str) -> None:
        super().__init__(f"{path or '/'}: {said}")
        self.path, self.said = path, said

    def under(self, name: str) -> "FormInvalid":
        """The same, of a value that stands in the field ``name``."""
        return FormInvalid(f"/{name}{self.path}", self.said)


def to_json_schema(record: str | Mapping[str, Any]) -> dict[str, Any]:
    """The JSON schema (2020-12) of a record: a full name of the catalogue, or an Avro schema."""
    avro, names = _resolved(record)
    return _schema(avro, names)


def read(record: str | Mapping[str, Any], value: object) -> dict[str, Any]:
    """The record's value for Avro, out of parsed JSON; defaults stand where nothing was given.

    Raises :class:`FormInvalid`: unknown and missing fields, wrong types, texts over
    :data:`TEXT_MAX` characters, more than :data:`ITEMS_MAX` items.
    """
    avro, names = _resolved(record)
    found: dict[str, Any] = _read(avro, value, "", names)
    return found


def write(record: str | Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """A record's Avro value as what JSON can hold."""
    avro, names = _resolved(record)
    written: dict[str, Any] = _write(avro, value, names)
    return written


def _resolved(record: str | Mapping[str, Any]) -> tuple[Mapping[str, Any], Names]:
    if isinstance(record, str):
        return _of_catalogue(record)
    names: dict[str, Mapping[str, Any]] = {}
    _collect(record, "", names)
    return record, names


@cache
def _of_catalogue(record: str) -> tuple[Mapping[str, Any], Names]:
    return _resolved(catalogue.schema(record))


def _collect(node: Avro, namespace: str, names: dict[str, Mapping[str, Any]]) -> None:
    """Every named type by its name and its full name; contracts don't use a name twice."""
    if isinstance(node, list):
        for branch in node:
            _collect(branch, namespace, names)
    elif isinstance(node, Mapping):
        if "name" in node and node.get("type") in ("record", "enum", "fixed"):
            namespace = node.get("namespace", namespace)
            names[node["name"]] = names[f"{namespace}.{node['name']}"] = node
            for field in node.get("fields", ()):
                _collect(field["type"], namespace, names)
        for part in ("type", "items", "values"):
            if isinstance(node.get(part), list | Mapping):
                _collect(node[part], namespace, names)


def _kind(node: Avro, names: Names) -> tuple[str, Mapping[str, Any]]:
    """What a part of a schema is, in one word, with its declaration."""
    if isinstance(node, list):
        return "union", {"branches": node}
    if isinstance(node, str):
        return (node, {}) if node in catalogue.PRIMITIVES else _kind(names[node], names)
    kind = node["type"]
    if not isinstance(kind, str) or kind in names:
        return _kind(kind, names)
    return node.get("logicalType", kind), node


# --- schemas -------------------------------------------------------------------------------------

# Nothing that PostgreSQL can't hold: its texts have no NUL.
_TEXT = {"type": "string", "maxLength": TEXT_MAX, "pattern": r"^[^\u0000]*$"}
_PLAIN: Mapping[str, dict[str, Any]] = {
    "null": {"type": "null"},
    "boolean": {"type": "boolean"},
    "int": {"type": "integer", "minimum": -(2**INT_BITS), "maximum": 2**INT_BITS - 1},
    "long": {"type": "integer", "minimum": -(2**LONG_BITS), "maximum": 2**LONG_BITS - 1},
    "float": {"type": "number"},
    "double": {"type": "number"},
    "string": _TEXT,
    "bytes": {"type": "string", "contentEncoding": "base64", "maxLength": TEXT_MAX},
    "uuid": {"type": "string", "format": "uuid"},
    "timestamp-micros": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
}


def _schema(node: Avro, names: Names) -> dict[str, Any]:
    kind, declared = _kind(node, names)
    if kind in _PLAIN:
        return dict(_PLAIN[kind])
    match kind:
        case "enum":
            return {"type": "string", "enum": list(declared["symbols"])}
        case "array":
            items = _schema(declared["items"], names)
            return {"type": "array", "items": items, "maxItems": ITEMS_MAX}
        case "map":
            return {
                "type": "object", "additionalProperties": _schema(declared["values"], names),
                "propertyNames": {**_TEXT, "minLength": 1, "maxLength": KEY_MAX},
                "maxProperties": ITEMS_MAX,
            }  # fmt: skip
        case "union":
            return _union([_schema(each, names) for each in declared["branches"]])
        case _:
            assert kind == "record", f"no JSON for: {kind}"
            return _object(declared, names)


def _object(declared: Mapping[str, Any], names: Names) -> dict[str, Any]:
    properties = {}
    for field in declared["fields"]:
        said = {"description": field["doc"]} if "doc" in field else {}
        properties[field["name"]] = {**_schema(field["type"], names), **said}
    schema = {
        "type": "object",
        "required": [each["name"] for each in declared["fields"] if "default" not in each],
        "properties": properties,
        "additionalProperties": False,
    }
    return {"description": declared["doc"], **schema} if "doc" in declared else schema


def _union(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """A nullable type in one piece, anything else as a choice."""
    others = [each for each in branches if each != _PLAIN["null"]]
    if len(others) == 1 and len(branches) == 2 and "anyOf" not in others[0]:
        nullable = {**others[0], "type": [others[0]["type"], "null"]}
        if "enum" in nullable:
            nullable["enum"] = [*nullable["enum"], None]
        return nullable
    return {"anyOf": branches}


# --- reading -------------------------------------------------------------------------------------


def _read(node: Avro, value: object, path: str, names: Names) -> Any:  # noqa: ANN401  any type's
    kind, declared = _kind(node, names)
    if kind in _READERS:
        try:
            return _READERS[kind](value)
        except (ValueError, OverflowError):
            raise FormInvalid(path, f"must be {_WANTED[kind]}") from None
    match kind:
        case "enum":
            if not isinstance(value, str) or value not in declared["symbols"]:
                raise FormInvalid(path, f"must be one of: {', '.join(declared['symbols'])}")
            return value
        case "array":
            if not isinstance(value, list) or len(value) > ITEMS_MAX:
                raise FormInvalid(path, f"must be a list of at most: {ITEMS_MAX}")
            items = declared["items"]
            return [_read(items, each, f"{path}/{n}", names) for n, each in enumerate(value)]
        case "map":
            return _read_map(declared["values"], value, path, names)
        case "union":
            return _read_union(declared["branches"], value, path, names)
        case _:
            assert kind == "record", f"no JSON for: {kind}"
            return _read_record(declared, value, path, names)


def _read_record(
    declared: Mapping[str, Any], value: object, path: str, names: Names
) -> dict[str, Any]:
    fields = {each["name"]: each for each in declared["fields"]}
    if not isinstance(value, Mapping):
        raise FormInvalid(path, "must be an object")
    if value.keys() - fields.keys():  # their names are the sender's words: not repeated
        raise FormInvalid(path, f"has a field that isn't known; there are: {', '.join(fields)}")
    found = {}
    for name, field in fields.items():
        if name in value:
            found[name] = _read(field["type"], value[name], f"{path}/{name}", names)
        elif "default" in field:
            found[name] = field["default"]
        else:
            raise FormInvalid(f"{path}/{name}", "is missing")
    return found


def _read_map(values: Avro, value: object, path: str, names: Names) -> dict[str, Any]:
    if not isinstance(value, Mapping) or len(value) > ITEMS_MAX:
        raise FormInvalid(path, f"must be an object of at most so many members: {ITEMS_MAX}")
    if any(not each or len(each) > KEY_MAX or "\0" in each for each in value):
        raise FormInvalid(path, f"must have names of 1 to {KEY_MAX} characters")
    return {name: _read(values, each, f"{path}/*", names) for name, each in value.items()}


def _read_union(branches: list[Avro], value: object, path: str, names: Names) -> Any:  # noqa: ANN401
    refusals = []
    for branch in branches:
        try:
            return _read(branch, value, path, names)
        except FormInvalid as refusal:
            refusals.append((_kind(branch, names)[0], refusal))
    # With null there is one type that was meant; what that one says is what helps.
    said = [refusal for kind, refusal in refusals if kind != "null"]
    if len(said) == 1:
        nullable = ", or null" if len(refusals) > 1 and said[0].path == path else ""
        raise FormInvalid(said[0].path, said[0].said + nullable)
    raise FormInvalid(path, "must be of one of its types")


def _nothing(value: object) -> None:
    if value is not None:
        raise ValueError


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _whole(bits: int) -> Callable[[object], int]:
    def whole(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            raise ValueError
        number = int(value)
        if not -(2**bits) <= number < 2**bits:
            raise ValueError
        return number

    return whole


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return float(value)


def _text(value: object) -> str:
    if not isinstance(value, str) or len(value) > TEXT_MAX or "\0" in value:
        raise ValueError
    return value


def _bytes(value: object) -> bytes:
    return b64decode(_text(value), validate=True)


def _uuid(value: object) -> str:
    if not isinstance(value, str) or not _UUID.fullmatch(value):
        raise ValueError
    return str(UUID(value))


def _instant(value: object) -> int:
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise ValueError
    return micros(datetime.fromisoformat(value.upper()).astimezone(UTC))


def _date(value: object) -> int:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError
    return (date.fromisoformat(value) - _DAY).days


_READERS: Mapping[str, Callable[[object], Any]] = {
    "null": _nothing, "boolean": _boolean, "int": _whole(INT_BITS), "long": _whole(LONG_BITS),
    "float": _number, "double": _number, "string": _text, "bytes": _bytes, "uuid": _uuid,
    "timestamp-micros": _instant, "date": _date,
}  # fmt: skip
_WANTED: Mapping[str, str] = {
    "null": "null", "boolean": "true or false", "int": f"a whole number of {INT_BITS + 1} bits",
    "long": f"a whole number of {LONG_BITS + 1} bits", "float": "a number", "double": "a number",
    "string": f"a text of at most {TEXT_MAX} characters, without NUL", "bytes": "base64",
    "uuid": "a UUID", "timestamp-micros": "an instant of RFC 3339 with its zone",
    "date": "a day of ISO 8601",
}  # fmt: skip

# --- writing -------------------------------------------------------------------------------------


def _write(node: Avro, value: Any, names: Names) -> Any:  # noqa: ANN401  any type's value
    kind, declared = _kind(node, names)
    match kind:
        case "timestamp-micros":
            return instant(value).isoformat()
        case "date":
            return (_DAY + timedelta(days=value)).isoformat()
        case "bytes":
            return b64encode(value).decode()
        case "array":
            return [_write(declared["items"], each, names) for each in value]
        case "map":
            return {name: _write(declared["values"], each, names) for name, each in value.items()}
        case "union":
            return None if value is None else _write_union(declared["branches"], value, names)
        case "record":
            fields = {each["name"]: each["type"] for each in declared["fields"]}
            return {name: _write(node, value[name], names) for name, node in fields.items()}
        case _:
            return value


_PYTHON: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,), "int": (int,), "long": (int,), "float": (float,), "double": (float,),
    "bytes": (bytes,), "timestamp-micros": (int,), "date": (int,), "array": (list,),
    "map": (dict,), "record": (dict,),
}  # fmt: skip


def _write_union(branches: list[Avro], value: object, names: Names) -> Any:  # noqa: ANN401
    others = [each for each in branches if _kind(each, names)[0] != "null"]
    fitting = [
        each for each in others if isinstance(value, _PYTHON.get(_kind(each, names)[0], (str,)))
    ]
    return _write((fitting or others)[0], value, names)
