"""Takes a command from an app: checks its form, seals it, publishes it, waits for its result."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from ops.keys import AccessKey
from ops.parameters import Position
from producers.ports import KeysAway, NotDurable, Publisher
from schemas import formed, headers, jsonform
from schemas.clock import micros
from schemas.codec import Codec
from schemas.commands import TYPES, CommandType
from schemas.jsonform import FormInvalid
from schemas.sealing import Keys
from schemas.topics import COMMANDS
from sinks.commands import Result
from sinks.database import DatabaseAway, LoginRefused
from sinks.queries import NotMigrated
from sinks.reading import ALL, Reader

BODY_BYTES_MAX = 256 * 1024  # a page of text in every field still fits
DELIVERY_SECONDS = 10.0  # of waiting for the brokers; then the sender may as well ask again
WAIT_SECONDS_MAX = 10
LOOKUPS_MAX = 4  # at once, each in a thread and on a connection
AWAY_SECONDS = 2.0  # without asking a database that just didn't answer
RECORD = COMMANDS.records[0]
CONFLICT = "conflict"  # the ledger's rule for a stream that stands at another version
NOT_PERMITTED = "not_permitted"  # its rule for who may not ask in that department
FAILED = "failed"  # the outcome of a command that became a dead letter


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command in good form; ``data`` is its record's value for Avro."""

    command_id: UUID
    kind: CommandType
    stream_id: UUID
    expected_version: int | None
    correlation_id: UUID
    data: Mapping[str, Any]
    trace: str | None = None


Outcome = Result | Exception | None
"""What became of a command; None while that isn't known."""


class Results(Protocol):
    """Where results are; :class:`sinks.commands.Waiting` is one."""

    def of(self, reader: Reader, command_id: UUID) -> Result | None:
        """The result there is."""

    def ask(self, reader: Reader, command_id: UUID) -> Any:  # noqa: ANN401  a Future of any make
        """The result, once there is one."""

    def leave(self, reader: Reader, command_id: UUID, told: Any) -> None:  # noqa: ANN401
        """Wait no longer."""


def envelope() -> dict[str, Any]:
    """The Avro schema of what stands beside the data in a command's JSON."""
    identity = {"type": "string", "logicalType": "uuid"}
    fields: list[dict[str, Any]] = [
        {"name": "command_id", "type": identity,
         "doc": "Chosen by the sender; the same again is the same command."},
        {"name": "command_type",
         "type": {"type": "enum", "name": "CommandType", "symbols": list(TYPES)}},
        {"name": "stream_id", "type": identity, "doc": "Of what is asked."},
        {"name": "expected_version", "type": ["null", "int"], "default": None,
         "doc": "Refuse (409) unless the stream stands there."},
        {"name": "correlation_id", "type": ["null", identity], "default": None,
         "doc": "Of a chain of commands and events; by default the command's own id."},
    ]  # fmt: skip
    return {"type": "record", "name": "Envelope", "fields": fields}


def read(value: object, *, trace: str | None = None) -> Command:
    """A command out of parsed JSON; :class:`~schemas.jsonform.FormInvalid` names what is wrong."""
    if not isinstance(value, Mapping):
        raise FormInvalid("", "must be an object")
    beside = {name: each for name, each in value.items() if name != "data"}
    said = jsonform.read(envelope(), beside)
    expected = said["expected_version"]
    if expected is not None and expected < 0:
        raise FormInvalid("/expected_version", "must be 0 or more")
    if "data" not in value:
        raise FormInvalid("/data", "is missing")
    kind = TYPES[said["command_type"]]
    try:
        data = jsonform.read(kind.full_record, value["data"])
    except FormInvalid as invalid:
        raise invalid.under("data") from None
    return Command(
        command_id=UUID(said["command_id"]), kind=kind, stream_id=UUID(said["stream_id"]),
        expected_version=expected, data=data,
        correlation_id=UUID(said["correlation_id"] or said["command_id"]),
        trace=formed.trace(trace),
    )  # fmt: skip


def record(
    command: Command, key: AccessKey, keys: Keys, codec: Codec, *, at: datetime
) -> dict[str, Any]:
    """The command as it stands in the topic: its data encoded, then sealed by the tenant's key."""
    encoded = codec.encode(command.kind.full_record, command.data)
    return {
        "command_id": str(command.command_id),
        "command_type": command.kind.name,
        "schema_version": command.kind.schema_version,
        "tenant_id": str(key.tenant_id),
        "stream_type": command.kind.stream_type,
        "stream_id": str(command.stream_id),
        "expected_version": command.expected_version,
        "issued_at": micros(at),
        "issued_by": str(key.issuer),
        "correlation_id": str(command.correlation_id),
        "data": keys.seal(encoded, person=None, record=command.command_id, field="data"),
        "trace": command.trace,
        "departments": None if key.departments is ALL else sorted(map(str, key.departments)),
    }


class Commands:
    """Accepts commands of whoever holds a key; used from one event loop."""

    def __init__(
        self,
        *,
        publisher: Publisher,
        codec: Codec,
        keys: Callable[[UUID], Keys],
        results: Results,
        delivery_seconds: float = DELIVERY_SECONDS,
    ) -> None:
        self._publisher, self._codec, self._keys = publisher, codec, keys
        self._results, self._delivery_seconds = results, delivery_seconds
        self._threads = ThreadPoolExecutor(LOOKUPS_MAX, thread_name_prefix="commands")
        self._away_until = 0.0

    async def accept(
        self, key: AccessKey, commands: Sequence[Command], *, seconds: float
    ) -> list[Outcome]:
        """Have commands carried out, in their order; what became of each within ``seconds``.

        A command that has a result already isn't published again. Returns only when the brokers
        hold all of them; where they don't hold one, those after it aren't published either,
        and each is answered with the exception: :class:`~producers.ports.NotDurable`,
        :class:`~producers.ports.KeysAway`. Raises :class:`~sinks.commands.WaitingFull`.
        """
        outcomes: list[Outcome] = []
        waits: dict[UUID, Any] = {}
        try:
            for command in commands:
                if outcomes and isinstance(outcomes[-1], Exception):
                    outcomes.append(outcomes[-1])
                    continue
                if seconds > 0 and command.command_id not in waits:
                    # Before the result can be there, so that its notice isn't missed.
                    waits[command.command_id] = self._results.ask(key.reader, command.command_id)
                outcomes.append(await self._one(key, command))
            undecided = {
                command.command_id
                for command, outcome in zip(commands, outcomes, strict=True)
                if outcome is None
            }
            await self._await([waits[each] for each in undecided & waits.keys()], seconds)
            return [
                _come(waits.get(command.command_id)) if outcome is None else outcome
                for command, outcome in zip(commands, outcomes, strict=True)
            ]
        finally:
            for command_id, told in waits.items():
                self._results.leave(key.reader, command_id, told)

    def close(self) -> None:
        """Ask for nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _one(self, key: AccessKey, command: Command) -> Outcome:
        earlier = await self._earlier(key.reader, command.command_id)
        if earlier is not None:
            return earlier
        try:
            await self._publish(key, command)
        except (NotDurable, KeysAway) as trouble:
            return trouble
        return None

    @staticmethod
    async def _await(told: Sequence[Any], seconds: float) -> None:
        """Wait until every result has come, or the time is over."""
        if not told:
            return
        futures = [asyncio.ensure_future(asyncio.wrap_future(each)) for each in told]
        _, late = await asyncio.wait(futures, timeout=seconds)
        for each in late:
            each.cancel()

    async def _earlier(self, reader: Reader, command_id: UUID) -> Result | None:
        """The result there is already.

        None too while the database is away: commands are taken then, and one that comes again
        does no harm, for the ledger knows it.
        """
        if time.monotonic() < self._away_until:
            return None
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, self._results.of, reader, command_id)
        except (DatabaseAway, LoginRefused, NotMigrated):
            self._away_until = time.monotonic() + AWAY_SECONDS
            return None

    async def _publish(self, key: AccessKey, command: Command) -> None:
        value = record(
            command, key, self._keys(key.tenant_id), self._codec, at=datetime.now(UTC)
        )  # fmt: skip
        future = self._publisher.publish(
            COMMANDS.name, value["stream_id"].encode(), self._codec.encode(RECORD, value),
            headers.for_command(value),
        )  # fmt: skip
        done, _ = await asyncio.wait([future], timeout=self._delivery_seconds)
        if not done:
            future.add_done_callback(lambda late: late.cancelled() or late.exception())
            raise NotDurable("the brokers did not answer in time")
        future.result()


def _come(told: Any) -> Result | None:  # noqa: ANN401  a Future of any make
    """The result that was waited for, if it came."""
    if told is None or told.cancelled() or not told.done():
        return None
    result: Result = told.result()
    return result


def position(result: Result) -> Position | None:
    """Where the last event of a command stands; None where it became none."""
    if result.event_partition is None or result.event_seq is None:
        return None
    return Position(result.event_partition, result.event_seq)
