"""The OpenAPI 3.1 document of the HTTP port, made from the table of routes."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints
from uuid import UUID

from ops.routes import JSON, SVG, Parameter, Route

VERSION = "3.1.0"
PROBLEM = "application/problem+json"
PREFIX = "/v1"
DOCUMENT = "/openapi.json"
_TYPES: dict[type, dict[str, Any]] = {
    str: {"type": "string"},
    UUID: {"type": "string", "format": "uuid"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    datetime: {"type": "string", "format": "date-time"},
}
_REFUSALS = {
    400: "The question can't be read; `detail` and `hint` say why, and repeat nothing of it.",
    401: "No bearer token, or one that isn't known.",
    422: "The answer would have too many rows.",
    404: "The tenant of the token has no such visit.",
    503: "The database is away, or too many ask at once; `Retry-After` says when to try again.",
}


def document(routes: Sequence[Route], *, version: str) -> dict[str, Any]:
    """The document; ``version`` is the program's."""
    rows = {kind.__name__: kind for route in routes for kind in route.rows.values()}
    return {
        "openapi": VERSION,
        "info": {
            "title": "Wardtrail",
            "version": version,
            "summary": "Where patients are and were, as known at any time.",
            "description": (
                "Ids are UUIDs; no visit number or MRN ever stands in a URL. The tenant is that "
                "of the token. An answer's `behind` is how many events wait to be folded into it."
            ),
        },
        "security": [{"bearer": []}],
        "paths": {
            **{PREFIX + route.path: {"get": _operation(route)} for route in routes},
            PREFIX + DOCUMENT: {"get": _document_operation()},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": _PROBLEM_SCHEMA,
                **{name: _row(kind) for name, kind in rows.items()},
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    lists = {
        name: {"type": "array", "items": {"$ref": f"#/components/schemas/{kind.__name__}"}}
        for name, kind in route.rows.items()
    }
    schema = {
        "type": "object",
        "required": [*lists, "behind", "cut"],
        "properties": {
            **lists,
            "behind": {"type": "integer", "description": "Events that wait to be folded."},
            "cut": {"type": "boolean", "description": "Whether there are more rows than these."},
        },
    }
    content: dict[str, Any] = {JSON: {"schema": schema}}
    if route.drawn is not None:
        content[SVG] = {"schema": {"type": "string"}}
    return {
        "operationId": route.operation,
        "summary": route.about,
        "parameters": [_parameter(each) for each in route.parameters],
        "responses": {"200": {"description": "The answer.", "content": content}, **_refusals()},
    }


def _document_operation() -> dict[str, Any]:
    return {
        "operationId": "openapi",
        "summary": "This document.",
        "responses": {
            "200": {
                "description": "The document.",
                "content": {JSON: {"schema": {"type": "object"}}},
            },
            "401": _refusals()["401"],
        },
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema = dict(parameter.kind.schema)
    if parameter.default is not None:
        schema["default"] = parameter.default
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.about,
        "schema": schema,
    }


def _refusals() -> dict[str, Any]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        str(status): {"description": said, "content": {PROBLEM: schema}}
        for status, said in _REFUSALS.items()
    }


def _row(kind: type) -> dict[str, Any]:
    """A dataclass as a schema; every field is there, null where it says so."""
    hints = get_type_hints(kind)
    names = [each.name for each in fields(kind)]
    return {
        "type": "object",
        "required": names,
        "properties": {name: _typed(hints[name]) for name in names},
    }


def _typed(hint: Any) -> dict[str, Any]:  # noqa: ANN401  any annotation
    if isinstance(hint, UnionType):
        (kind,) = (each for each in get_args(hint) if each is not NoneType)
        return {**_TYPES[kind], "type": [_TYPES[kind]["type"], "null"]}
    return _TYPES[hint]


_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "hint": {"type": "string", "description": "What to do about it."},
    },
}
