"""Reading ``app.commands.v1``: each record opened, checked and made ready, or dead with a cause."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from schemas import commands, formed, identity, sealing
from schemas.clock import instant
from schemas.codec import Codec, Undecodable
from schemas.commands import CommandType
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys
from schemas.topics import COMMANDS
from sinks.asked import Named
from sinks.dead_letters import DeadLetter
from sinks.numbering import Entry
from streams import ports
from streams.ledger.commands import REGISTRY
from streams.ledger.commands.aggregate import Aggregate
from streams.ledger.commands.engine import DECIDER_VERSION, Engine
from streams.ownership import told

RECORD = COMMANDS.records[0]
FIELD = "data"  # the sealed field of a command's record

logger = logging.getLogger(__name__)


class Unfit(Exception):  # noqa: N818  named for what is wrong
    """A record that no command comes of: stage, cause and reason of its dead letter."""

    def __init__(self, stage: str, cause: str, reason: str) -> None:
        super().__init__(reason)
        self.stage, self.cause, self.reason = stage, cause, reason


@dataclass(slots=True, kw_only=True)
class Reading:
    """Makes entries of records.

    ``keys_of`` gives a tenant's keys, fresh ones if told so, or None where there are none.
    """

    codec: Codec
    keys_of: Callable[[UUID, bool], Keys | None]
    types: Mapping[str, CommandType] = field(default_factory=lambda: commands.TYPES)
    registry: Mapping[str, Aggregate[Any]] = field(default_factory=lambda: REGISTRY)
    engine: Engine | None = None

    def __post_init__(self) -> None:
        self.engine = self.engine or Engine(codec=self.codec)

    def entries(self, records: Sequence[ports.Record]) -> list[Entry]:
        """The entries of records, in order; raises what is transient."""
        held: dict[UUID, Keys] = {}
        return [self._entry(each, held) for each in records]

    def _entry(self, record: ports.Record, held: dict[UUID, Keys]) -> Entry:
        """One record's entry: with its command, or with its dead letter."""
        said: Mapping[str, Any] | None = None
        opened: Keys | None = None
        try:
            said = self._said(record.value or b"")
            declared, aggregate = self._declared(said)
            data, opened = self._opened(said, declared, held)
            assert self.engine is not None, "made with the reading"
            command = self.engine.command(said, data, declared, aggregate, opened)
        except Unfit as unfit:
            return self._dead(record, said, unfit, opened)
        except (ports.Transient, ports.Broken):
            raise
        except Exception as error:  # a fault of ours stops this command, not its partition
            raised = type(error).__name__
            logger.error("reading failed at offset %d: %s", record.offset, raised)
            return self._dead(record, said, Unfit("map", "reading_failed", raised), opened)
        message = _message(said, declared.name, said[FIELD])
        return Entry(
            offset=record.offset, key=record.key, value=record.value,
            message=message, keys=opened, command=command, said_at=message["received_at"],
        )  # fmt: skip

    def _said(self, value: bytes) -> dict[str, Any]:
        """The record ``wardtrail.commands.Command``."""
        try:
            with told():
                said = self.codec.decode_as(RECORD, value)
        except Undecodable as error:
            raise Unfit("decode", "undecodable", str(error)) from None
        flaw = formed.flaw(RECORD, said)
        if flaw is not None:
            raise Unfit("decode", "undecodable", flaw)
        return {**said, "trace": formed.trace(said["trace"])}

    def _declared(self, said: Mapping[str, Any]) -> tuple[CommandType, Aggregate[Any]]:
        """The command's type and who decides it."""
        declared = self.types.get(said["command_type"])
        if declared is None:
            raise Unfit("map", "command_unknown", "there is no such command type")
        if declared.stream_type != said["stream_type"]:
            reason = f"{declared.name} asks nothing of another stream than: {declared.stream_type}"
            raise Unfit("map", "command_unknown", reason)
        return declared, self.registry[declared.stream_type]

    def _opened(
        self, said: Mapping[str, Any], declared: CommandType, held: dict[UUID, Keys]
    ) -> tuple[dict[str, Any], Keys]:
        """The command's data and the keys that opened it; such a key may be younger than ours.

        ``held`` are those of the chunk's tenants.
        """
        tenant, envelope = UUID(said["tenant_id"]), said[FIELD]
        try:
            version = sealing.header(envelope).key_version
            keys = held.get(tenant)
            for fresh in (False, True):
                if keys is None or version not in keys.data:
                    asked = self.keys_of(tenant, fresh)
                    keys = None if asked is None else asked.apart()
            if keys is None:
                raise KeyMissing("the tenant has no keys")
            held[tenant] = keys
            clear = keys.open(envelope, person=None, record=UUID(said["command_id"]), field=FIELD)
        except (EnvelopeInvalid, KeyMissing) as error:
            raise Unfit("open", "sealed", str(error)) from None
        try:
            with told():
                data = self.codec.decode_as(declared.full_record, clear)
        except Undecodable as error:
            raise Unfit("decode", "undecodable", f"data: {error}") from None
        flaw = formed.flaw(declared.full_record, data)
        if flaw is not None:
            raise Unfit("decode", "undecodable", f"data: {flaw}")
        return data, keys

    def _dead(
        self,
        record: ports.Record,
        said: Mapping[str, Any] | None,
        unfit: Unfit,
        opened: Keys | None,
    ) -> Entry:
        """The entry of what becomes nothing; one that couldn't be opened is in the letter alone."""
        message = None
        if said is not None:
            message = {
                **_message(said, "?", said[FIELD] if opened else b""),
                "outcome": "dead", "reason": unfit.reason, "cause": unfit.cause,
            }  # fmt: skip
        letter = DeadLetter(
            offset=record.offset, key=record.key, value=record.value,
            stage=unfit.stage, cause=unfit.cause, reason=unfit.reason,
            tenant_id=UUID(said["tenant_id"]) if said else None,
            feed_id=UUID(message["feed_id"]) if message else None,
            message_id=UUID(said["command_id"]) if said else None,
        )  # fmt: skip
        return Entry(
            offset=record.offset, key=record.key, value=record.value, message=message,
            letter=letter, asked=None if said is None else self._named(said),
            said_at=message["received_at"] if message else None,
        )  # fmt: skip

    def _named(self, said: Mapping[str, Any]) -> Named:
        """The command that a record asked; of types that aren't ours nothing is repeated."""
        declared = self.types.get(said["command_type"])
        return Named(
            tenant_id=said["tenant_id"], command_id=said["command_id"],
            command_type=declared.name if declared else "?",
            stream_type=declared.stream_type if declared else "?",
            stream_id=said["stream_id"], issued_by=said["issued_by"],
        )  # fmt: skip


def _message(said: Mapping[str, Any], kind: str, body: bytes) -> dict[str, Any]:
    """The command's row of ``messages``; what became of it is said when it's decided."""
    return {
        "tenant_id": said["tenant_id"],
        "feed_id": str(identity.app_feed(UUID(said["tenant_id"]))),
        "message_id": said["command_id"],
        "received_at": instant(said["issued_at"]),
        "message_type": kind,
        "outcome": "applied",
        "reason": None,
        "mapper_version": DECIDER_VERSION,
        "body_sealed": body,
        "control_hmac": None,
    }
