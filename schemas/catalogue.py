"""The Avro contracts: every record, its schema, the subject it is registered under."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cavro
import fastavro

from schemas import commands, events, topics

Schema = str | list[Any] | dict[str, Any]  # as JSON gives it

AVRO = Path(__file__).parent / "avro"
EVENTS_NAMESPACE = "wardtrail.events"
PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
_FOREIGN = re.compile(re.escape(EVENTS_NAMESPACE) + r"\.[A-Z][A-Za-z0-9]{0,99}")
DEPTH_MAX = 32  # deeper than any contract; a recursive one is found by its names


class SchemaUnsafe(Exception):  # noqa: N818  named for what is wrong
    """Decoding by this schema could exhaust the process: recursive, or items of no bytes."""


def schema(record: str) -> dict[str, Any]:
    """The full Avro schema of a record (``wardtrail.events.AdmissionCreated``), a fresh copy.

    An event's is the envelope of ``event.avsc``, named after the event type's own record, with
    that record as its last field ``data``. Raises KeyError for a name outside the catalogue.
    """
    loaded: dict[str, Any] = json.loads(text(record))
    return loaded


@cache
def text(record: str) -> str:
    """The record's schema as it is registered: JSON without white space, keys as written."""
    return json.dumps(_compose(record), ensure_ascii=False, separators=(",", ":"))


@cache
def parsed(record: str) -> Mapping[str, Any]:
    """The record's schema for fastavro, ids as text and times as microseconds."""
    return prepared(schema(record))


@cache
def reader(record: str) -> cavro.Schema:
    """The record's schema for cavro, which decodes it to the same values as fastavro's.

    It is for reading alone: a string is read as the bytes it is, and they are then decoded.
    """
    full = schema(record)
    check(full)
    return cavro.Schema(_texts(_plain(full)), record_decodes_to_dict=True, logical_types=(_Text,))


class _Text(cavro.CustomLogicalType):  # type: ignore[misc]  # cavro is untyped
    """Bytes that are UTF-8. cavro's own string takes three times as long: 0.2 µs each."""

    logical_name = "text"
    underlying_types = (cavro.BytesType,)
    custom_decode_value = staticmethod(bytes.decode)

    @classmethod
    def _for_type(cls, underlying: cavro.AvroType) -> "_Text":  # noqa: ARG003  cavro's signature
        return cls()


def prepared(full: dict[str, Any]) -> Mapping[str, Any]:
    """A schema parsed for fastavro without logical types; :class:`SchemaUnsafe` if it is one.

    With logical types fastavro builds UUID and datetime objects: twice the time per event.
    """
    check(full)
    ready: dict[str, Any] = fastavro.parse_schema(_plain(full))
    return ready


def is_foreign(record: str) -> bool:
    """Whether this is the name of an event's record that isn't one of this release."""
    return _FOREIGN.fullmatch(record) is not None and record not in records()


def foreign(record: str, said: str) -> Mapping[str, Any]:
    """The schema of an event that only a newer release knows, for fastavro.

    Raises :class:`SchemaUnsafe` where it is that, no schema, or not this record's.
    """
    if not is_foreign(record):
        raise SchemaUnsafe(f"no event of a newer release: {record}")
    try:
        full = json.loads(said)
        check(full)
        if full["type"] != "record" or ".".join((full["namespace"], full["name"])) != record:
            raise SchemaUnsafe(f"the schema is of another record: {record}")
        return prepared(full)
    except SchemaUnsafe:
        raise
    except Exception as error:  # whatever the text is: it came over the network
        raise SchemaUnsafe(f"no schema of ours: {record}") from error


@cache
def envelope(record: str) -> Mapping[str, Any]:
    """The fields that every event has, for fastavro: what can be read of one of any release."""
    namespace, _, name = record.rpartition(".")
    assert namespace == EVENTS_NAMESPACE, f"an event's record is in {EVENTS_NAMESPACE}: {record}"
    return prepared({**_load(AVRO / "event.avsc"), "name": name})


@cache
def subjects() -> Mapping[str, str]:
    """Registry subject → record, for every record of every topic and those inside them."""
    found = {}
    for topic in topics.TOPICS.values():
        for record in (*topic.records, *topic.inner):
            subject = topic.subject(record)
            assert subject not in found, f"two records under one subject: {subject}"
            found[subject] = record
    return MappingProxyType(found)


def records() -> tuple[str, ...]:
    """Every record's full name, in the order of the topics."""
    return tuple(subjects().values())


def check(full: Schema) -> None:
    """Raise :class:`SchemaUnsafe` on a recursive schema or on items that take no bytes.

    Measured with fastavro: a recursive type lets 10 KB end the process, and five bytes of
    ``array<null>`` become three million items.
    """
    _walk(full, "", (), {})


def _compose(record: str) -> dict[str, Any]:
    namespace, _, name = record.rpartition(".")
    if namespace == EVENTS_NAMESPACE:
        declared = next((kind for kind in events.TYPES.values() if kind.record == name), None)
        if declared is None:
            raise KeyError(f"no event type carries the record: {record}")
        data = _load(AVRO / "events" / f"{declared.name}.avsc")
        envelope = _load(AVRO / "event.avsc")
        envelope["name"] = name
        envelope["doc"] = data["doc"]
        envelope["fields"].append({"name": "data", "type": data})
        return envelope
    if namespace == commands.NAMESPACE:
        return _command(record)
    for topic in topics.TOPICS.values():
        if record in topic.records:
            loaded = _load(AVRO / f"{topic.name}.avsc")
            assert f"{loaded['namespace']}.{loaded['name']}" == record, f"misnamed: {record}"
            return loaded
    raise KeyError(f"no topic carries the record: {record}")


def _command(record: str) -> dict[str, Any]:
    """The data of a command type: its own contract, as it stands."""
    for declared in commands.TYPES.values():
        if declared.full_record == record:
            loaded = _load(AVRO / "commands" / f"{declared.name}.avsc")
            assert f"{loaded['namespace']}.{loaded['name']}" == record, f"misnamed: {record}"
            return loaded
    raise KeyError(f"no command type carries the record: {record}")


def _load(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return loaded


def _plain(node: Schema) -> Schema:
    """The schema without logical types and without documentation."""
    if isinstance(node, list):
        return [_plain(branch) for branch in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in {"logicalType", "doc"}}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = _plain(kept[key])
    if "fields" in kept:
        kept["fields"] = [_plain(field) for field in kept["fields"]]
    return kept["type"] if set(kept) == {"type"} else kept


def _texts(node: Schema) -> Schema:
    """A plain schema with bytes that are text for each string; its defaults, never read, go."""
    if isinstance(node, list):
        return [_texts(branch) for branch in node]
    if node == "string":
        return {"type": "bytes", "logicalType": _Text.logical_name}
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key != "default"}
    for key in ("type", "items", "values"):
        if key in kept:
            kept[key] = _texts(kept[key])
    if "fields" in kept:
        kept["fields"] = [_texts(field) for field in kept["fields"]]
    return kept


def _walk(node: Schema, namespace: str, above: tuple[str, ...], seen: dict[str, int]) -> int:
    """The least number of bytes a value takes; ``seen`` holds that of each finished name."""
    if len(above) > DEPTH_MAX:
        raise SchemaUnsafe(f"nested deeper than: {DEPTH_MAX}")
    if isinstance(node, list):
        return 1 + min((_walk(branch, namespace, above, seen) for branch in node), default=0)
    if isinstance(node, str):
        return _named(node, namespace, above, seen)
    kind = node["type"]
    if kind in ("array", "map"):
        least = _walk(node["items" if kind == "array" else "values"], namespace, above, seen)
        if least == 0:  # a map's keys take a byte each, yet an item of nothing says nothing
            raise SchemaUnsafe(f"items take no bytes in: {kind} under {'.'.join(above)}")
        return 1
    if kind not in ("record", "error", "enum", "fixed"):
        return _walk(kind, namespace, above, seen)
    name, namespace = _full_name(node, namespace)
    if kind in ("enum", "fixed"):
        seen[name] = 1 if kind == "enum" else int(node["size"])
        return seen[name]
    least = sum(_walk(field["type"], namespace, (*above, name), seen) for field in node["fields"])
    seen[name] = least
    return least


def _named(node: str, namespace: str, above: tuple[str, ...], seen: Mapping[str, int]) -> int:
    if node in PRIMITIVES:
        return {"null": 0, "float": 4, "double": 8}.get(node, 1)
    name = node if "." in node or not namespace else f"{namespace}.{node}"
    if name in above:
        raise SchemaUnsafe(f"recursive type: {name}")
    if name not in seen:
        raise SchemaUnsafe(f"unknown type: {name}")
    return seen[name]


def _full_name(node: Mapping[str, Any], namespace: str) -> tuple[str, str]:
    """Full name and namespace of a named type (Avro specification, Names)."""
    name: str = node["name"]
    if "." in name:
        return name, name.rpartition(".")[0]
    inner: str = node.get("namespace", namespace)
    return (f"{inner}.{name}" if inner else name), inner


def fields(full: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Every field of a schema's records, the outer ones first."""
    yield from full["fields"]
    for field in full["fields"]:
        if isinstance(field["type"], dict) and field["type"]["type"] == "record":
            yield from fields(field["type"])
