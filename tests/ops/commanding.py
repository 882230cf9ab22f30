"""The HTTP port with a log and results in memory, for tests of commands."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ops import keys as ring
from ops.api import Api
from ops.commands import Commands
from ops.keys import AccessKey, Ring
from ops.opening import Opener
from ops.posting import Posting
from producers.ports import NotDurable
from schemas.codec import Codec, Ids
from schemas.sealing import Key, Keys, Scope
from schemas.topics import COMMANDS
from sinks.commands import Result
from sinks.reading import ALL, Reader

TENANT = UUID(int=1)
USER = UUID(int=77)
KEYS = Keys(
    tenant_id=TENANT, identity=bytes(32),
    data={1: Key.of(bytes(range(32)), version=1, scope=Scope.TENANT)},
)  # fmt: skip
CODEC = Codec(Ids.in_order())
HOLDERS = {
    "user": AccessKey(name="user", tenant_id=TENANT, digest=ring._digest("user"), user_id=USER),
    "nobody": AccessKey(name="nobody", tenant_id=TENANT, digest=ring._digest("nobody")),
    "ward": AccessKey(
        name="ward",
        tenant_id=TENANT,
        digest=ring._digest("ward"),
        departments=frozenset({UUID(int=3)}),
    ),
    "every": AccessKey(
        name="every", tenant_id=TENANT, digest=ring._digest("every"), departments=ALL
    ),
}


@dataclass
class Log:
    """A log that holds what it is given, unless told otherwise; `then` is what happens next."""

    held: list[tuple[str, bytes | None, dict[str, Any], dict[str, bytes]]] = field(
        default_factory=list
    )
    away: bool = False
    silent: bool = False
    then: Callable[[dict[str, Any]], None] = lambda _: None

    def publish(self, topic: str, key: bytes | None, value: bytes, headers: Any) -> Any:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.silent:
            return future
        if self.away:
            future.set_exception(NotDurable("away"))
            return future
        record = CODEC.decode_as(COMMANDS.records[0], value)
        self.held.append((topic, key, record, dict(headers)))
        future.set_result(None)
        self.then(record)
        return future

    def data(self, number: int = 0) -> dict[str, Any]:
        """The data of a held command, opened and decoded."""
        record = self.held[number][2]
        command = UUID(record["command_id"])
        clear = KEYS.open(record["data"], person=None, record=command, field="data")
        return CODEC.decode(clear)[1]


@dataclass
class Decided:
    """Results in memory."""

    known: dict[UUID, Result] = field(default_factory=dict)
    asked: dict[UUID, list["Future[Result]"]] = field(default_factory=dict)
    raises: Exception | None = None
    looked: int = 0

    def of(self, reader: Reader, command_id: UUID) -> Result | None:
        assert reader.tenant_id == TENANT
        self.looked += 1
        if self.raises:
            raise self.raises
        return self.known.get(command_id)

    def ask(self, reader: Reader, command_id: UUID) -> "Future[Result]":
        told: Future[Result] = Future()
        self.asked.setdefault(command_id, []).append(told)
        return told

    def leave(self, reader: Reader, command_id: UUID, told: "Future[Result]") -> None:
        self.asked[command_id].remove(told)

    def decide(self, record: dict[str, Any], **given: Any) -> None:
        """What the ledger does with a record."""
        command_id = UUID(record["command_id"])
        result = decided(command_id, **given)
        self.known[command_id] = result
        for told in self.asked.get(command_id, []):
            told.set_result(result)


def decided(command_id: UUID, **given: Any) -> Result:
    """A result, accepted unless given otherwise."""
    accepted: dict[str, Any] = {
        "command_id": str(command_id), "command_type": "department.create",
        "stream_type": "department", "stream_id": str(UUID(int=5)), "outcome": "accepted",
        "rule": None, "said": None, "version": 1, "events": 1, "event_partition": 3,
        "event_seq": 41, "recorded_at": datetime(2026, 3, 2, 10, tzinfo=UTC),
    }  # fmt: skip
    refused: dict[str, Any] = {
        "outcome": "rejected", "events": 0, "event_partition": None, "event_seq": None,
        "said": "a rule refused it",
    }  # fmt: skip
    return Result(**{**accepted, **(refused if "rule" in given else {}), **given})


@dataclass(frozen=True, slots=True)
class Answered:
    status: int
    headers: Any
    json: Any


@dataclass
class Port:
    """The port; `post` is one request."""

    log: Log = field(default_factory=Log)
    results: Decided = field(default_factory=Decided)
    keys: Callable[[UUID], Keys] = lambda _: KEYS
    delivery_seconds: float = 10.0

    def app(self) -> web.Application:
        nobody: Any = None
        commands = Commands(
            publisher=self.log, codec=CODEC, keys=self.keys, results=self.results,
            delivery_seconds=self.delivery_seconds,
        )  # fmt: skip
        api = Api(
            Ring(tuple(HOLDERS.values())), nobody, nobody, posting=Posting(commands),
            opener=Opener(self.keys),
        )  # fmt: skip
        app = web.Application(client_max_size=1024)
        app.add_subapp("/v1", api.app())
        return app

    def post(self, body: Any = None, path: str = "/v1/commands", **given: Any) -> Answered:
        """One request: JSON unless ``data`` is given; ``token`` is whose key."""

        async def ask() -> Answered:
            async with TestClient(TestServer(self.app())) as client:
                return await asked(client, path, body, **given)

        return asyncio.run(asyncio.wait_for(ask(), 60))


async def asked(
    client: Any, path: str, body: Any, *, token: str = "user", data: Any = None, **headers: str
) -> Answered:
    sent = {"Authorization": f"Bearer {token}", **headers}
    payload = {"json": body} if data is None else {"data": data}
    async with client.post(path, headers=sent, **payload) as answer:
        return Answered(answer.status, answer.headers, await answer.json(content_type=None))
