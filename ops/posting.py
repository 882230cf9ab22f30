"""Commands over HTTP: ``POST /v1/commands`` and ``POST /v1/sync``, and what became of one."""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

import orjson
from aiohttp import hdrs, web

from ops import commands, problems
from ops.commands import (
    BODY_BYTES_MAX,
    CONFLICT,
    FAILED,
    NOT_PERMITTED,
    WAIT_SECONDS_MAX,
    Command,
    Commands,
)
from ops.keys import AccessKey
from ops.parameters import ID, Given, Misasked, NotFound, Parameter
from ops.problems import Busy, Unfit, problem
from ops.route import JSON, POSITION, Answer, Route
from schemas.jsonform import FormInvalid
from sinks import commands as results
from sinks.commands import Result
from sinks.queries import Snapshot

SYNC_BYTES_MAX = 4 * 1024 * 1024
SYNC_COMMANDS_MAX = 100
IN_FLIGHT_MAX = 64  # requests at once; with the largest bodies 256 MiB
WAITERS_MAX = 48  # of these; with the rest, commands get in though results are late
BODY_SECONDS = 10.0  # in which a body has to arrive
PREFER, APPLIED = "Prefer", "Preference-Applied"
PATH = "/v1/commands"  # where a command's result is
RETRIED = "who runs this can retry it; the same command_id then has what becomes of it"
_STATUSES = {CONFLICT: 409, NOT_PERMITTED: 403}  # of refusals; any other is a 422
_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer to a command: status, body, and its own headers."""

    status: int
    body: Mapping[str, Any]
    headers: Mapping[str, str]

    def response(self) -> web.Response:
        """As the answer of a request."""
        if self.status >= 400:
            return problems.response(dict(self.body), headers=self.headers)
        return web.Response(
            status=self.status, body=orjson.dumps(self.body), content_type=JSON,
            headers=self.headers,
        )  # fmt: skip


class Posting:
    """The requests that ask for something to be done."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._in_flight = self._waiters = 0

    async def command(self, key: AccessKey, request: web.Request) -> web.Response:
        """One command."""
        with self._counted():
            value = await read_json(request, BODY_BYTES_MAX)
            wished = preferred(request.headers.getall(PREFER, []))
            try:
                command = commands.read(value, trace=request.headers.get("traceparent"))
            except FormInvalid as invalid:
                raise Unfit(400, *_unfit(invalid)) from None
            with self._waiting(wished) as seconds:
                [outcome] = await self._commands.accept(key, [command], seconds=seconds)
        response = said(command.command_id, outcome).response()
        return _applied(response, seconds)

    async def sync(self, key: AccessKey, request: web.Request) -> web.Response:
        """Many commands, each answered as if it had come alone."""
        with self._counted():
            value = await read_json(request, SYNC_BYTES_MAX)
            wished = preferred(request.headers.getall(PREFER, []))
            read = [_read(each, request.headers.get("traceparent")) for each in _listed(value)]
            good = [each for each in read if isinstance(each, Command)]
            with self._waiting(wished) as seconds:
                outcomes = iter(await self._commands.accept(key, good, seconds=seconds))
        answers = [
            said(each.command_id, next(outcomes)) if isinstance(each, Command) else each
            for each in read
        ]
        results = [{"status": each.status, **_inner(each)} for each in answers]
        response = web.Response(body=orjson.dumps({"results": results}), content_type=JSON)
        return _applied(response, seconds)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        if self._in_flight >= IN_FLIGHT_MAX:
            raise Busy
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1

    @contextmanager
    def _waiting(self, seconds: int) -> Iterator[int]:
        """How long a request waits: as it wishes, or not at all where as many do as may."""
        if not seconds or self._waiters >= WAITERS_MAX:
            yield 0
            return
        self._waiters += 1
        try:
            yield seconds
        finally:
            self._waiters -= 1


def said(command_id: UUID, outcome: commands.Outcome) -> Said:
    """The answer that tells what became of a command."""
    where: dict[str, str] = {hdrs.LOCATION: f"{PATH}/{command_id}"}
    if outcome is None:
        body = {"command_id": str(command_id), "outcome": "pending"}
        return Said(status=202, body=body, headers=where)
    if isinstance(outcome, Exception):
        told = problems.told(outcome)
        body = {**told, "command_id": str(command_id)}
        return Said(status=told["status"], body=body, headers={})
    if outcome.outcome == "accepted":
        position = commands.position(outcome)
        headers: dict[str, str] = {} if position is None else {POSITION: str(position)}
        return Said(status=200, body=_told(outcome), headers={**where, **headers})
    failed = outcome.outcome == FAILED
    status = 500 if failed else _STATUSES.get(outcome.rule or "", 422)
    told = problem(
        status, outcome.said or "refused", RETRIED if failed else "", **_told(outcome)
    )  # fmt: skip
    return Said(status=status, body=told, headers=where)


def preferred(headers: Sequence[str]) -> int:
    """How many seconds the sender would wait (RFC 7240), at most ``WAIT_SECONDS_MAX``; else 0."""
    found = _WAIT.search(",".join(headers))
    return min(int(found[1]), WAIT_SECONDS_MAX) if found else 0


def _told(result: Result) -> dict[str, Any]:
    position = commands.position(result)
    return {**asdict(result), "position": position and str(position)}


def _inner(answer: Said) -> dict[str, Any]:
    """An answer inside an answer; its status stands beside it."""
    return {name: each for name, each in answer.body.items() if name != "status"}


def _applied(response: web.Response, seconds: int) -> web.Response:
    if seconds:
        response.headers[APPLIED] = f"wait={seconds}"
    return response


def _read(value: object, trace: str | None) -> Command | Said:
    try:
        return commands.read(value, trace=trace)
    except FormInvalid as invalid:
        line, hint = _unfit(invalid)
        return Said(status=400, body=problem(400, line, hint), headers={})


def _listed(value: object) -> list[object]:
    listed = value.get("commands") if isinstance(value, dict) and len(value) == 1 else None
    if not isinstance(listed, list) or not 1 <= len(listed) <= SYNC_COMMANDS_MAX:
        raise Unfit(
            400, f"/commands: must be a list of 1 to {SYNC_COMMANDS_MAX} commands, and all there is"
        )
    return listed


def _unfit(invalid: FormInvalid) -> tuple[str, str]:
    return f"an element doesn't fit: {invalid.path or '/'}", invalid.said


async def read_json(request: web.Request, most: int) -> object:
    """The body, parsed; :class:`~ops.problems.Unfit` where it is none of ours.

    It is read piece by piece, so that one over the bound is refused before it is held.
    """
    if request.query:
        raise Misasked("a query parameter isn't known here", "there are none")
    if request.content_type != JSON:
        raise Unfit(415, "bodies are JSON", f"Content-Type: {JSON}")
    too_large = Unfit(413, f"a body has at most so many bytes: {most}")
    if (request.content_length or 0) > most:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > most:
                    raise too_large
    except TimeoutError:
        raise Unfit(408, "the body did not arrive in time") from None
    except web.RequestPayloadError:  # chunks or a compression that are none
        raise Unfit(400, "the body can't be read as its headers say") from None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # its text quotes the body
        raise Unfit(400, "the body is not JSON") from None


def _result(_: object, snapshot: Snapshot, given: Given) -> Answer:
    found = results.results(snapshot, [given["command"]]).get(given["command"])
    if found is None:
        raise NotFound("this tenant has no result of this command (yet)")
    return _told(found)


RESULT = Route(
    path="/commands/{command}", operation="command", answer=_result, projections=(),
    about="What became of a command.", position=lambda answer: answer["position"],
    parameters=(Parameter(name="command", kind=ID, place="path", about="The command's id."),),
)  # fmt: skip
