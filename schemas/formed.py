"""Whether a decoded value means what its schema's logical types say: ids, instants, texts."""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any

from schemas import catalogue
from schemas.clock import micros

Check = Callable[[Any], str | None]
"""What is wrong with a value: the field's name and the flaw, or None."""

# An id written otherwise would be another one, wherever ids are text.
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_FIRST = micros(datetime.min.replace(tzinfo=UTC))
_LAST = micros(datetime.max.replace(tzinfo=UTC))
# Avro's own, which neither writer nor readers hold.
_RANGES = {"int": (-(2**31), 2**31 - 1), "long": (-(2**63), 2**63 - 1)}


def trace(text: str | None) -> str | None:
    """The text if it is a trace (W3C ``traceparent``), else None.

    It travels in clear, in headers too, where a text of any length would stop the relay.
    """
    return text if text and _TRACE.fullmatch(text) else None


def flaw(record: str, value: Mapping[str, Any]) -> str | None:
    """What is wrong, and in which field; None if nothing is. Never says what stands there.

    The codec reads ids as text and instants as numbers, and looks at neither.
    """
    return _check(record)(value)


@cache
def _check(record: str) -> Check:
    found = compiled(catalogue.schema(record))
    assert found is not None, "a record has a check"
    return found


def compiled(node: Any, at: str = "") -> Check | None:  # noqa: ANN401  any schema
    """The check of a schema's values; None where every value that Avro allows is one."""
    if isinstance(node, list):
        return _optional(compiled(node[-1], at))
    kind = node["type"] if isinstance(node, dict) else node
    logical = node.get("logicalType") if isinstance(node, dict) else None
    if kind == "record":
        return _record(node, at)
    if kind == "array":
        return _array(compiled(node["items"], at))
    if kind == "map":
        return _map(compiled(node["values"], at), at)
    if logical == "uuid":
        return lambda value: None if _ID.fullmatch(value) else f"not an id: {at}"
    if logical == "timestamp-micros":
        return lambda value: None if _FIRST <= value <= _LAST else f"not an instant: {at}"
    if kind == "string":
        return lambda value: f"a text with a NUL: {at}" if "\0" in value else None
    if kind in _RANGES:
        low, high = _RANGES[kind]
        return lambda value: None if low <= value <= high else f"out of its range: {at}"
    if kind in ("double", "float"):
        return lambda value: None if math.isfinite(value) else f"not a number: {at}"
    return None


def _record(node: Mapping[str, Any], at: str) -> Check:
    checks = [
        (field["name"], each)
        for field in node["fields"]
        if (each := compiled(field["type"], f"{at}.{field['name']}".lstrip("."))) is not None
    ]

    def check(value: Mapping[str, Any]) -> str | None:
        for name, each in checks:
            found = each(value[name])
            if found is not None:
                return found
        return None

    return check


def _optional(inner: Check | None) -> Check | None:
    return inner and (lambda value: None if value is None else inner(value))


def _array(inner: Check | None) -> Check | None:
    return inner and (lambda value: next(filter(None, map(inner, value)), None))


def _map(inner: Check | None, at: str) -> Check:
    def check(value: Mapping[str, Any]) -> str | None:
        if any("\0" in key for key in value):
            return f"a text with a NUL: {at}"
        return next(filter(None, map(inner, value.values())), None) if inner else None

    return check
