"""The HTTP port's ``/v1``: questions and commands of whoever holds a tenant's access key."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from typing import Protocol
from uuid import UUID

import orjson
from aiohttp import hdrs, web

from ops import route as asking
from ops.keys import AccessKey, Ring
from ops.openapi import DOCUMENT, PREFIX, document
from ops.opening import Opener
from ops.parameters import Given, Misasked, Position
from ops.posting import Posting, read_json
from ops.problems import Busy, NotThereYet, Unfit, problem, response, told
from ops.questions import ROUTES
from ops.route import JSON, POSITION, SVG, Body, Route
from ops.routes import Archive
from sinks.queries import Snapshot
from sinks.reading import Departments
from sinks.tenancy import Standing

READS_MAX = 8  # at once; one holds a thread and a connection
READ_SECONDS = 10  # of one statement; the slowest question takes a hundredth of that
LOOKS_MAX = 2  # threads that see how far projections are, for those who wait for it
WAITING_MAX = 64  # who wait so at once
QUERY_BYTES_MAX = 4_096  # of a body that asks; names are short
POSITION_SECONDS = 2.0  # of waiting; a projection in order is a tenth of that behind
LOOK_SECONDS = 0.05  # between two looks
CONNECTIONS = READS_MAX + LOOKS_MAX
_KEY = web.RequestKey("key", AccessKey)
_LOG = logging.getLogger(__name__)
_HEADERS: Mapping[str, str] = {
    hdrs.CACHE_CONTROL: "no-store",
    "X-Content-Type-Options": "nosniff",
    # An SVG that is opened by itself runs and fetches nothing.
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Post = Callable[[AccessKey, web.Request], Awaitable[web.Response]]


class Snapshots(Protocol):
    """Where snapshots of one tenant come from; :class:`sinks.reading.Readers` is one."""

    def as_tenant(
        self, tenant_id: UUID, departments: Departments, issuer: UUID | None
    ) -> AbstractContextManager[Snapshot]:
        """A snapshot that shows this tenant's rows, of work that of these departments alone.

        And what became of the commands that the issuer issued.
        """

    def reached(
        self, tenant_id: UUID, projections: Sequence[str], partition: int, seq: int
    ) -> bool:
        """Whether each projection (without any: the ledger) is so far in a partition."""


class Tenants(Protocol):
    """Which tenants there are, out of memory; :class:`ops.feeds.LocalFeeds` is one."""

    @property
    def informed(self) -> bool:
        """Whether any is known."""

    def tenant(self, tenant_id: UUID) -> Standing | None:
        """A tenant, None where there is none."""

    def called(self, subdomain: str) -> Standing | None:
        """The tenant of this subdomain."""


class Api:
    """The routes under ``/v1`` as an application to mount there.

    A request is authenticated, then read, then asked in a thread; one more than ``reads_max``
    at once is turned away rather than queued.
    """

    def __init__(
        self,
        ring: Ring,
        snapshots: Snapshots,
        archive: Archive,
        *,
        posting: Posting,
        opener: Opener,
        tenants: Tenants | None = None,
        routes: Sequence[Route] = ROUTES,
        reads_max: int = READS_MAX,
    ) -> None:
        self._ring, self._snapshots, self._archive = ring, snapshots, archive
        self._posting, self._opener, self._routes = posting, opener, routes
        self._tenants = tenants
        self._threads = ThreadPoolExecutor(reads_max, thread_name_prefix="api")
        self._looks = ThreadPoolExecutor(LOOKS_MAX, thread_name_prefix="api-looks")
        self._free = threading.BoundedSemaphore(reads_max)
        self._waiting = 0
        self._document = orjson.dumps(document(routes, version=version("wardtrail")))

    def app(self) -> web.Application:
        """The application: questions, commands, and one route for the document of them all."""
        app = web.Application(middlewares=[self._guarded], client_max_size=1024)
        for route in self._routes:
            if route.body is None:
                app.router.add_get(route.path, partial(self._ask, route), allow_head=False)
            else:
                app.router.add_post(route.path, partial(self._ask, route))
        app.router.add_post("/commands", partial(self._post, self._posting.command))
        app.router.add_post("/sync", partial(self._post, self._posting.sync))
        app.router.add_get(DOCUMENT, self._describe, allow_head=False)
        app.cleanup_ctx.append(self._threaded)
        return app

    async def _post(self, post: Post, request: web.Request) -> web.Response:
        return await post(request[_KEY], request)

    async def _ask(self, route: Route, request: web.Request) -> web.Response:
        """One question: read it, have it answered in a thread."""
        given = route.read(request.match_info, list(request.query.items()))
        if route.body is not None:
            given = {**given, **await self._said(route.body, request)}
        drawn = route.drawn is not None and prefers_svg(request.headers.get(hdrs.ACCEPT, ""))
        if "min_position" in given:
            await self._folded(request[_KEY], route, given["min_position"])
        if not self._free.acquire(blocking=False):
            raise Busy
        try:
            asked = self._threads.submit(self._answer, request[_KEY], route, given, drawn=drawn)
        except BaseException:
            self._free.release()
            raise
        # The thread goes on when the asker has gone, so it alone says when it is free again.
        asked.add_done_callback(self._release)
        body, position = await asyncio.wrap_future(asked)
        headers: dict[str, str] = {hdrs.VARY: hdrs.ACCEPT} if route.drawn else {}
        if position is not None:
            headers[POSITION] = position
        kind = SVG if drawn else JSON
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=headers)

    async def _said(self, body: Body, request: web.Request) -> Given:
        """What a body asks for, of a key that sees what is sealed."""
        key = request[_KEY]
        if not key.phi:
            raise Unfit(403, "this key sees nothing that is sealed", "a key with phi")
        value = await read_json(request, QUERY_BYTES_MAX)
        return body.read(value, self._opener.keys(key.tenant_id))

    async def _folded(self, key: AccessKey, route: Route, position: Position) -> None:
        """Wait until what answers has come so far; :class:`NotThereYet` if it doesn't in time.

        Who waits holds neither a reader's thread nor a snapshot: the one taken afterwards is
        as new at least.
        """
        if self._waiting >= WAITING_MAX:
            raise Busy
        self._waiting += 1
        loop = asyncio.get_running_loop()
        look = partial(
            self._snapshots.reached, key.tenant_id, route.projections,
            position.partition, position.seq,
        )  # fmt: skip
        try:
            async with asyncio.timeout(POSITION_SECONDS):
                while not await loop.run_in_executor(self._looks, look):
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError:
            raise NotThereYet from None
        finally:
            self._waiting -= 1

    def _answer(
        self, key: AccessKey, route: Route, given: Given, *, drawn: bool
    ) -> tuple[bytes, str | None]:
        """Answer in one transaction as the key's tenant: the body, and its position if any.

        Every read over HTTP passes here and nowhere else, with who asks (``key``), what
        (``route``, ``given``) and the transaction: the place to record the access.
        """
        with self._snapshots.as_tenant(key.tenant_id, key.departments, key.issuer) as snapshot:
            answer = route.answer(self._archive, snapshot, given)
            behind = [self._archive.behind(snapshot, each) for each in route.projections]
        position = route.position(answer) if route.position is not None else None
        answer = asking.cut(answer, route, given)
        if behind:
            answer = {**answer, "behind": max(behind)}
        if drawn and route.drawn is not None:
            return route.drawn(answer, given).encode(), position
        if route.sealed and key.phi:
            _LOG.info("%s opens texts: key %s, tenant %s", route.operation, key.name, key.tenant_id)
        for name, sealed in route.sealed.items():
            if name in route.rows:
                rows = [asdict(each) for each in answer[name]]
                answer[name] = self._opener.page(key, sealed, rows)
            else:
                answer[name] = self._opener.opened(key, sealed, asdict(answer[name]))
        return orjson.dumps(answer), position

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
                answer: web.StreamResponse = _unauthorized(request)
            elif foreign := misplaced(key, request.headers.get(hdrs.HOST, ""), self._tenants):
                answer = response(problem(403, foreign))
            else:
                request[_KEY] = key
                answer = await handler(request)
        except web.HTTPException as error:  # no such route, or no such method on it
            allowed = {hdrs.ALLOW: error.headers.get(hdrs.ALLOW, "")}
            answer = response(
                problem(error.status, "there is no such question", f"see {PREFIX}{DOCUMENT}"),
                headers={str(name): each for name, each in allowed.items() if each},
            )
        except Exception as error:  # told by its kind; a traceback could quote a row
            answer = response(told(error))
        answer.headers.update(_HEADERS)
        return answer

    def _release(self, _: "Future[tuple[bytes, str | None]]") -> None:
        self._free.release()

    async def _threaded(self, _: web.Application) -> AsyncIterator[None]:
        yield
        for each in (self._threads, self._looks):
            each.shutdown(wait=False, cancel_futures=True)


def misplaced(key: AccessKey, host: str, tenants: Tenants | None) -> str | None:
    """Why this key isn't taken at this host, None where it is.

    The host's first label is a tenant's subdomain or means nothing: then the key alone says whose
    rows these are. A key of a tenant that is suspended or no more is taken nowhere.
    """
    if tenants is None or not tenants.informed:
        return None  # nothing is known yet; rows show the key's own tenant anyway
    standing = tenants.tenant(key.tenant_id)
    if standing is None:
        return "the tenant of this key is no more"
    label = host.partition(":")[0].lower().partition(".")
    called = tenants.called(label[0]) if label[2] else None
    if called is not None and called.tenant_id != key.tenant_id:
        return "this key is another tenant's than this address"
    if not standing.active:
        return "the tenant of this key is suspended"
    return None


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


def _unauthorized(request: web.Request) -> web.Response:
    """401 as RFC 6750 has it: an error code only where a token came."""
    challenge = 'Bearer realm="wardtrail"'
    if hdrs.AUTHORIZATION in request.headers:
        challenge += ', error="invalid_token"'
    said = problem(
        401, "a bearer token is needed, and this is none that is known",
        "Authorization: Bearer KEY; wardtrail status says where the key is",
    )  # fmt: skip
    headers: dict[str, str] = {hdrs.WWW_AUTHENTICATE: challenge}
    return response(said, headers=headers)


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
