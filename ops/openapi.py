"""The OpenAPI 3.1 document of the HTTP port, made from the table of routes and the commands."""

from collections.abc import Mapping, Sequence

from ops.commands import WAIT_SECONDS_MAX, envelope
from ops.parameters import Parameter
from ops.posting import APPLIED, PREFER, SYNC_COMMANDS_MAX
from ops.problems import PROBLEM
from ops.route import JSON, POSITION, SVG, Route
from ops.shapes import Schema, row
from schemas import jsonform
from schemas.commands import TYPES, CommandType
from sinks.commands import Result

VERSION = "3.1.0"
PREFIX = "/v1"
DOCUMENT = "/openapi.json"
_REFUSALS: Mapping[int, str] = {
    400: "The question can't be read; `detail` and `hint` say why, and repeat nothing of it.",
    401: "No bearer token, or one that isn't known.",
    422: "The answer would have too many rows.",
    404: "The tenant of the token has no such thing.",
    503: (
        "The database is away, too many ask at once, or `min_position` isn't folded yet; "
        "`Retry-After` says when to try again."
    ),
}
_BODIES: Mapping[int, str] = {
    400: "The body doesn't fit; `detail` names the element, and repeats no value.",
    401: _REFUSALS[401],
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body isn't said to be JSON.",
    503: "The brokers are away, or too much is asked at once; nothing is promised. Send it again.",
}


def document(routes: Sequence[Route], *, version: str) -> Schema:
    """The document; ``version`` is the program's."""
    rows = {
        kind.__name__: kind
        for route in routes
        for kind in (*route.rows.values(), *route.one.values())
    }
    return {
        "openapi": VERSION,
        "info": {
            "title": "Wardtrail",
            "version": version,
            "summary": "Where patients are and were, what is to be done, and whether it was done.",
            "description": (
                "Ids are UUIDs; no visit number or MRN ever stands in a URL. The tenant is that "
                "of the token. An answer's `behind` is how many events wait to be folded into it."
            ),
        },
        "security": [{"bearer": []}],
        "paths": {
            **{PREFIX + route.path: _asked(route) for route in routes},
            f"{PREFIX}/commands": {"post": _post_operation()},
            f"{PREFIX}/sync": _sync_operations(routes),
            PREFIX + DOCUMENT: {"get": _document_operation()},
        },
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": _PROBLEM_SCHEMA,
                "Refused": _refused(),
                "Result": _result(),
                "Pending": _PENDING_SCHEMA,
                "Command": _command(),
                **{_name(kind): _one_command(kind) for kind in TYPES.values()},
                **{name: row(kind) for name, kind in rows.items()},
            },
        },
    }


def _asked(route: Route) -> Schema:
    """The question as what its method is; one with a body is told of its faults too."""
    if route.body is None:
        return {"get": _operation(route)}
    operation = _operation(route)
    bodies = {status: _BODIES[status] for status in (408, 413, 415)}
    operation["requestBody"] = {
        "required": True, "content": {JSON: {"schema": dict(route.body.schema)}},
    }  # fmt: skip
    operation["responses"] |= _problems({403: "The key sees nothing that is sealed.", **bodies})
    return {"post": operation}


def _operation(route: Route) -> Schema:
    lists = {
        name: {"type": "array", "items": {"$ref": f"#/components/schemas/{kind.__name__}"}}
        for name, kind in route.rows.items()
    }
    one = {
        name: {"$ref": f"#/components/schemas/{kind.__name__}"} for name, kind in route.one.items()
    }
    beside: Schema = {**one, **{name: dict(schema) for name, schema in route.more.items()}}
    if route.projections:
        beside["behind"] = {"type": "integer", "description": "Events that wait to be folded."}
    if route.limited:
        said = "Whether there are more rows than these."
        beside["cut"] = {"type": "boolean", "description": said}
    schema = {
        "type": "object",
        "required": [*lists, *beside],
        "properties": {**lists, **beside},
    }
    content: Schema = {JSON: {"schema": schema}}
    if route.drawn is not None:
        content[SVG] = {"schema": {"type": "string"}}
    return {
        "operationId": route.operation,
        "summary": route.about,
        "parameters": [_parameter(each) for each in route.takes],
        "responses": {
            "200": {
                "description": "The answer.",
                "content": content,
                **({"headers": _position()} if route.position else {}),
            },
            **_problems(_REFUSALS),
        },
    }


def _post_operation() -> Schema:
    pending, result = _content("Pending"), _content("Result")
    return {
        "operationId": "post_command",
        "summary": "Ask for something: accepted into events, or refused by a rule.",
        "description": (
            "Answered when the brokers hold the command. A command_id that has a result already "
            "is answered with that result, whatever else the body says, and not carried out again."
        ),
        "parameters": [_prefer()],
        "requestBody": {"required": True, "content": _content("Command")},
        "responses": {
            "200": {
                "description": "Accepted.", "content": result,
                "headers": {**_position(), **_location(), **_applied()},
            },
            "202": {
                "description": "Taken; not decided yet, or not waited for.", "content": pending,
                "headers": {**_location(), **_applied()},
            },
            "403": _refusal("The key may not ask this, or not in that department."),
            "409": _refusal("The stream stands at another version: `version`."),
            "422": _refusal("Refused by the rule `rule`; `detail` says it in words."),
            "500": _refusal("It failed, became a dead letter and can be retried here: `rule`."),
            **_problems(_BODIES),
        },
    }  # fmt: skip


def _sync_operations(routes: Sequence[Route]) -> Schema:
    """Pushing, and where there is a question of that path, pulling."""
    listed: Schema = {"type": "array", "minItems": 1, "maxItems": SYNC_COMMANDS_MAX}
    refs = [{"$ref": f"#/components/schemas/{name}"} for name in ("Pending", "Result", "Refused")]
    status = {"type": "integer", "description": "As it would be of the command alone."}
    one = {"type": "object", "required": ["status"], "properties": {"status": status}}
    answers = {"type": "array", "items": {"allOf": [one, {"anyOf": [*refs, _INNER_SCHEMA]}]}}
    post = {
        "operationId": "push",
        "summary": "What was done while offline: many commands, in order, each answered alone.",
        "parameters": [_prefer()],
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": {
                        "type": "object",
                        "required": ["commands"],
                        "properties": {
                            "commands": {
                                **listed, "items": {"$ref": "#/components/schemas/Command"},
                            },
                        },
                        "additionalProperties": False,
                    }
                }
            },
        },
        "responses": {
            "200": {
                "description": "An answer to each, in their order.",
                "headers": _applied(),
                "content": {
                    JSON: {
                        "schema": {
                            "type": "object", "required": ["results"],
                            "properties": {"results": answers},
                        }
                    }
                },
            },
            **_problems(_BODIES),
        },
    }  # fmt: skip
    pulls = [_operation(route) for route in routes if route.path == "/sync"]
    return {**({"get": pulls[0]} if pulls else {}), "post": post}


def _document_operation() -> Schema:
    schema = {JSON: {"schema": {"type": "object"}}}
    refusals = {status: _REFUSALS[status] for status in (400, 401)}
    return {
        "operationId": "openapi",
        "summary": "This document.",
        "responses": {
            "200": {"description": "The document.", "content": schema},
            **_problems(refusals),
        },
    }


def _parameter(parameter: Parameter) -> Schema:
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


def _prefer() -> Schema:
    return {
        "name": PREFER, "in": "header", "required": False,
        "description": f"wait=N: wait for the result, 1 to {WAIT_SECONDS_MAX} s (RFC 7240).",
        "schema": {"type": "string"},
    }  # fmt: skip


def _problems(said: Mapping[int, str]) -> Schema:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {str(status): {"description": each, "content": content} for status, each in said.items()}


def _refusal(said: str) -> Schema:
    content = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Refused"}}}
    return {"description": said, "content": content, "headers": {**_location(), **_applied()}}


def _content(name: str) -> Schema:
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{name}"}}}


def _position() -> Schema:
    return {POSITION: {"schema": {"type": "string"}, "description": _POSITION_SAID}}


def _location() -> Schema:
    return {"Location": {"schema": {"type": "string"}, "description": "Where its result is."}}


def _applied() -> Schema:
    said = "That it was waited for, and how long at most."
    return {APPLIED: {"schema": {"type": "string"}, "description": said}}


def _name(kind: CommandType) -> str:
    return f"Command.{kind.name}"


def _command() -> Schema:
    refs = {kind.name: f"#/components/schemas/{_name(kind)}" for kind in TYPES.values()}
    return {
        "oneOf": [{"$ref": ref} for ref in refs.values()],
        "discriminator": {"propertyName": "command_type", "mapping": refs},
    }


def _one_command(kind: CommandType) -> Schema:
    schema = jsonform.to_json_schema(envelope())
    properties: Schema = schema["properties"]
    properties["command_type"] = {"type": "string", "const": kind.name}
    properties["expected_version"]["minimum"] = 0
    properties["data"] = jsonform.to_json_schema(kind.full_record)
    return {**schema, "required": [*schema["required"], "data"]}


def _result() -> Schema:
    schema = row(Result)
    schema["required"].append("position")
    schema["properties"]["position"] = {"type": ["string", "null"], "description": _POSITION_SAID}
    schema["properties"]["outcome"] = {"type": "string", "enum": ["accepted", "rejected", "failed"]}
    return schema


def _refused() -> Schema:
    """A result inside a problem."""
    result = _result()
    return {
        "type": "object",
        "description": "A problem of RFC 9457 with the result in it.",
        "required": [*_PROBLEM_SCHEMA["required"], *result["required"]],
        "properties": {**_PROBLEM_SCHEMA["properties"], **result["properties"]},
    }


_POSITION_SAID = "Where its last event stands; as min_position of a question it reads this write."
_PENDING_SCHEMA: Schema = {
    "type": "object",
    "required": ["command_id", "outcome"],
    "properties": {
        "command_id": {"type": "string", "format": "uuid"},
        "outcome": {"type": "string", "const": "pending"},
    },
}
_INNER_SCHEMA: Schema = {
    "type": "object",
    "description": "A problem inside an answer.",
    "required": ["type", "title", "status", "detail"],
}
_PROBLEM_SCHEMA: Schema = {
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
