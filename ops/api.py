"""The questions over HTTP: ``GET /v1/...`` for whoever holds a tenant's access key."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Protocol
from uuid import UUID

import orjson
from aiohttp import hdrs, web

from ops import routes
from ops.keys import AccessKey, Ring
from ops.openapi import DOCUMENT, PREFIX, PROBLEM, document
from ops.routes import JSON, ROUTES, SVG, Archive, Given, Misasked, NotFound, Route
from sinks.database import DatabaseAway, LoginRefused
from sinks.queries import AnswerTooLong, NotMigrated, Snapshot
from streams.trajectory import PROJECTION

READS_MAX = 8  # at once; one holds a thread and a connection
READ_SECONDS = 10  # of one statement; the slowest question takes a hundredth of that
RETRY_SECONDS = 1
_KEY = web.RequestKey("key", AccessKey)
_HEADERS: Mapping[str, str] = {
    hdrs.CACHE_CONTROL: "no-store",
    "X-Content-Type-Options": "nosniff",
    # An SVG that is opened by itself runs and fetches nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

logger = logging.getLogger(__name__)


class Snapshots(Protocol):
    """Where snapshots of one tenant come from; :class:`sinks.reading.Readers` is one."""

    def as_tenant(self, tenant_id: UUID) -> AbstractContextManager[Snapshot]:
        """A snapshot that shows this tenant's rows and no others."""


class Busy(Exception):  # noqa: N818  named for what is wrong
    """As many read as may at once."""


class Api:
    """The routes under ``/v1`` as an application to mount there.

    A request is authenticated, then read, then asked in a thread; one more than ``reads_max``
    at once is turned away rather than queued.
    """

    def __init__(
        self, ring: Ring, snapshots: Snapshots, archive: Archive, *, reads_max: int = READS_MAX
    ) -> None:
        self._ring, self._snapshots, self._archive = ring, snapshots, archive
        self._threads = ThreadPoolExecutor(reads_max, thread_name_prefix="api")
        self._free = threading.BoundedSemaphore(reads_max)
        self._document = orjson.dumps(document(ROUTES, version=version("wardtrail")))

    def app(self) -> web.Application:
        """The application: a route for each of ``ROUTES`` and one for their document."""
        app = web.Application(middlewares=[self._guarded], client_max_size=1024)
        for route in ROUTES:
            app.router.add_get(route.path, partial(self._ask, route), allow_head=False)
        app.router.add_get(DOCUMENT, self._describe, allow_head=False)
        app.cleanup_ctx.append(self._threaded)
        return app

    async def _ask(self, route: Route, request: web.Request) -> web.Response:
        """One question: read it, have it answered in a thread."""
        given = route.read(request.match_info, list(request.query.items()))
        drawn = route.drawn is not None and prefers_svg(request.headers.get(hdrs.ACCEPT, ""))
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            asked = self._threads.submit(self._answer, request[_KEY], route, given, drawn=drawn)
        except BaseException:
            self._free.release()
            raise
        # The thread goes on when the asker has gone, so it alone says when it is free again.
        asked.add_done_callback(self._release)
        body = await asyncio.wrap_future(asked)
        headers = {hdrs.VARY: hdrs.ACCEPT} if route.drawn else None
        kind = SVG if drawn else JSON
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    def _answer(self, key: AccessKey, route: Route, given: Given, *, drawn: bool) -> bytes:
        """Answer in one transaction as the key's tenant.

        Every read over HTTP passes here and nowhere else, with who asks (``key``), what
        (``route``, ``given``) and the transaction: the place to record the access.
        """
        with self._snapshots.as_tenant(key.tenant_id) as snapshot:
            answer = route.answer(self._archive, snapshot, given)
            behind = self._archive.behind(snapshot, PROJECTION.name)
        answer = {**routes.cut(answer, route, given), "behind": behind}
        if drawn and route.drawn is not None:
            return route.drawn(answer, given).encode()
        return orjson.dumps(answer)

    async def _describe(self, request: web.Request) -> web.Response:
        """The OpenAPI document."""
        if request.query:
            raise Misasked("a query parameter isn't known here", "there are none")
        return web.Response(body=self._document, content_type=JSON)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who holds a key; tell what goes wrong as a problem."""
        try:
            key = self._ring.of(_token(request))
            if key is None:
                response: web.StreamResponse = _unauthorized(request)
            else:
                request[_KEY] = key
                response = await handler(request)
        except web.HTTPException as error:  # no such route, or no such method on it
            response = problem(error.status, "there is no such question", f"see {PREFIX}{DOCUMENT}")
            if hdrs.ALLOW in error.headers:
                response.headers[hdrs.ALLOW] = error.headers[hdrs.ALLOW]
        except Exception as error:  # told by its kind; a traceback could quote a row
            response = told(error)
        response.headers.update(_HEADERS)
        return response

    def _release(self, _: "Future[bytes]") -> None:
        self._free.release()

    async def _threaded(self, _: web.Application) -> AsyncIterator[None]:
        yield
        self._threads.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Accepted:
    """A media range of an Accept header with its weight (RFC 9110, 12.5.1)."""

    kind: str
    weight: float


def prefers_svg(accept: str) -> bool:
    """Whether an Accept header would rather have SVG than JSON; no header, or a tie, is JSON."""
    accepted = [_accepted(each) for each in accept.split(",")]

    def weight(*ranges: str) -> float:
        for wanted in ranges:  # the most specific first
            found = [each.weight for each in accepted if each.kind == wanted]
            if found:
                return max(found)
        return 0.0

    return weight(SVG, "image/*") > weight(JSON, "application/*", "*/*")


def told(error: Exception) -> web.Response:
    """The problem that an exception is; nothing of the question or of a row is in it."""
    away: dict[str, str] = {hdrs.RETRY_AFTER: str(RETRY_SECONDS)}
    match error:
        case Misasked():
            return problem(400, str(error), error.hint)
        case NotFound():
            return problem(404, str(error))
        case AnswerTooLong():
            return problem(422, str(error), "ask about less: one track, one room, an instant")
        case Busy():
            return problem(503, "too many questions at once", "ask again", headers=away)
        case DatabaseAway():
            return problem(503, "the database is away or slow", "ask again", headers=away)
        case LoginRefused() | NotMigrated():
            logger.error("questions can't be answered: %s", error)
            return problem(503, "the database isn't ready for questions", headers=away)
        case _:
            logger.error("a question failed: %s", type(error).__name__)
            return problem(500, "unexpected trouble")


def problem(
    status: int, detail: str, hint: str = "", *, headers: Mapping[str, str] | None = None
) -> web.Response:
    """An answer of RFC 9457: one line, and where there is one a hint."""
    said = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **({"hint": hint} if hint else {}),
    }
    return web.Response(
        status=status, body=orjson.dumps(said), content_type=PROBLEM, headers=headers
    )


def _unauthorized(request: web.Request) -> web.Response:
    """401 as RFC 6750 has it: an error code only where a token came."""
    challenge = 'Bearer realm="wardtrail"'
    if hdrs.AUTHORIZATION in request.headers:
        challenge += ', error="invalid_token"'
    return problem(
        401, "a bearer token is needed, and this is none that is known",
        "Authorization: Bearer KEY; wardtrail status says where the key is",
        headers={hdrs.WWW_AUTHENTICATE: challenge},
    )  # fmt: skip


def _token(request: web.Request) -> str:
    """The bearer token, or an empty text, which no key is."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _accepted(text: str) -> _Accepted:
    kind, *parameters = (part.strip().lower() for part in text.split(";"))
    weight = 1.0
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                weight = float(value)
            except ValueError:
                weight = 0.0
    return _Accepted(kind=kind, weight=weight)
