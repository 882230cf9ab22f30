"""From an aggregate's pure functions to what the ledger's transaction calls, on rows of events."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson

from schemas import events, formed, identity, sealing
from schemas.clock import EPOCH, instant, micros
from schemas.codec import Codec
from schemas.commands import CommandType, Scope
from schemas.events import EventType
from schemas.sealing import KeyDestroyed, Keys
from sinks.asked import Command, Folding, Rejected
from sinks.stored import event_of
from streams.ledger.commands.aggregate import Aggregate, Asked, Happened, Rejection, Told
from streams.ledger.commands.upcasters import UPCASTERS, Upcasters, upcast

DECIDER_VERSION = 1  # in the events' mapper_version
EVENTS_MAX = 1_000  # of one command; more would fill a transaction
RULE_CHARS_MAX, SAID_CHARS_MAX = 200, 1_000  # they stand in rows, in records and on screens
HOMES = ("patient", "admission")  # whose home a new stream that names them shares
_STATE = "state"  # the sealed field of a snapshot

Row = Mapping[str, Any]


class Unpublishable(Exception):  # noqa: N818  named for what is wrong
    """An aggregate made an event whose ids, instants or numbers are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Makes commands ready to be decided. ``types`` are the events', as the catalogue has them."""

    codec: Codec
    types: Mapping[str, EventType] = field(default_factory=lambda: events.TYPES)
    upcasters: Upcasters = field(default_factory=lambda: UPCASTERS)

    def command(
        self,
        record: Row,
        data: Mapping[str, Any],
        declared: CommandType,
        aggregate: Aggregate[Any],
        keys: Keys,
    ) -> Command:
        """The command of a record ``wardtrail.commands.Command``, whose data was opened."""
        asked = Asked(
            command_id=record["command_id"], command_type=record["command_type"],
            stream_id=record["stream_id"], tenant_id=record["tenant_id"],
            issued_at=record["issued_at"], issued_by=record["issued_by"], data=data,
        )  # fmt: skip
        references = [
            (name, stream_type, each)
            for name, stream_type in declared.references.items()
            if not _unless(name, data, declared)
            for each in _named(data[name])
        ]
        near = [stream for kind in HOMES for _, each, stream in references if each == kind]

        def decide(state: Any) -> Sequence[Row] | Rejected:  # noqa: ANN401  the aggregate's own
            answer = _reserved(asked, declared) or aggregate.decide(state, asked)
            if isinstance(answer, Rejection):
                assert 0 < len(answer.rule) <= RULE_CHARS_MAX, "a rule is a short code"
                assert 0 < len(answer.said) <= SAID_CHARS_MAX, "a rule is said in a line"
                return Rejected(rule=answer.rule, said=answer.said)
            assert len(answer) <= EVENTS_MAX, "a command becomes few events"
            return [self._row(each, n, record, declared, keys) for n, each in enumerate(answer)]

        return Command(
            tenant_id=asked.tenant_id, command_id=asked.command_id,
            command_type=asked.command_type, stream_type=declared.stream_type,
            stream_id=asked.stream_id, issued_by=asked.issued_by,
            expected_version=record["expected_version"],
            creates=declared.creates, founds=declared.founds, references=references, near=near,
            folding=self.folding(aggregate, UUID(asked.stream_id), keys), decide=decide,
            departments=_permitted(record, declared), owner=_owner(record, data, declared),
            seals=bool(declared.sealed or aggregate.opens),
            person=data[declared.person] if declared.person else None,
        )  # fmt: skip

    def folding(self, aggregate: Aggregate[Any], stream_id: UUID, keys: Keys) -> Folding:
        """How a stream's state follows from its rows; sealed as a whole, where it holds PHI."""

        def freeze(state: Any, snapshot_id: UUID) -> Any:  # noqa: ANN401  any JSON value
            plain = aggregate.to_json(state)
            if not aggregate.opens:
                return orjson.loads(orjson.dumps(plain))  # what can't be stored fails here
            named = aggregate.person(state) if aggregate.person else None
            person = UUID(named) if named else stream_id
            sealed = keys.sealed({_STATE: plain}, person=person, record=snapshot_id)
            return None if sealed is None else sealed[_STATE]

        def thaw(frozen: Any, snapshot_id: UUID) -> Any:  # noqa: ANN401  any JSON value
            if not aggregate.opens:
                return aggregate.of_json(frozen)
            envelope = sealing.untext(frozen)
            person = sealing.header(envelope).person  # whose it is stands in what is frozen
            clear = keys.open(envelope, person=person, record=snapshot_id, field=_STATE)
            return aggregate.of_json(orjson.loads(clear))

        def evolve(state: Any, row: Row) -> Any:  # noqa: ANN401  the aggregate's own
            return aggregate.evolve(state, self._told(row, aggregate, stream_id, keys))

        return Folding(
            state_version=aggregate.state_version, initial=aggregate.initial,
            evolve=evolve, freeze=freeze, thaw=thaw,
        )  # fmt: skip

    def _told(self, row: Row, aggregate: Aggregate[Any], stream_id: UUID, keys: Keys) -> Told:
        kind = row["event_type"]
        return Told(
            event_type=kind,
            data=upcast(kind, row["schema_version"], row["data"], self.types, self.upcasters),
            version=row["event_version"], recorded_at=micros(row["recorded_at"]),
            clear=_clear(row, aggregate.opens, stream_id, keys) if aggregate.opens else {},
        )  # fmt: skip

    def _row(
        self, happened: Happened, ordinal: int, record: Row, declared: CommandType, keys: Keys
    ) -> dict[str, Any]:
        """The row of ``events``, without version, partition and ``recorded_at``."""
        kind = self.types[happened.event_type]
        assert kind.stream_type == declared.stream_type, "a command's events are of its stream"
        assert happened.clear.keys() <= set(kind.sealed), "what is sealed is declared as sealed"
        # Another tenant may choose the same command id.
        event_id = identity.event(
            UUID(record["command_id"]), kind.name, ordinal, f"command/{record['tenant_id']}"
        )
        person = UUID(happened.person_id or record["stream_id"])
        occurred_at = instant(
            record["issued_at"] if happened.occurred_at is None else happened.occurred_at
        )
        dark = bool(happened.clear) and keys.dark(person, instant(record["issued_at"]))
        sealed = None if dark else keys.sealed(happened.clear, person=person, record=event_id)
        row = {
            "event_id": str(event_id),
            "stream_id": record["stream_id"],
            "stream_type": kind.stream_type,
            "event_type": kind.name,
            "schema_version": kind.schema_version,
            "tenant_id": record["tenant_id"],
            "feed_id": str(identity.app_feed(UUID(record["tenant_id"]))),
            "message_id": record["command_id"],
            "person_id": happened.person_id,
            "occurred_at": occurred_at,
            "occurred_precision": "fraction",
            "occurred_field": "command",
            "occurred_text": occurred_at.isoformat(),
            "data": orjson.loads(orjson.dumps(happened.data)),  # as it will be read back
            "sealed": {} if sealed is None else sealed,
            "metadata": {
                "correlation_id": record["correlation_id"],
                "causation_id": record["command_id"],
                "mapper_version": DECIDER_VERSION,
                "trace": record["trace"],
                **({"erased": True} if sealed is None else {}),
            },
            "created_by": record["issued_by"],
        }
        self._publishable(row, kind)
        return row

    def _publishable(self, row: Row, kind: EventType) -> None:
        """Raise where the relay would, which could only stop its partition, or a reader."""
        record, event = f"wardtrail.events.{kind.record}", event_of({**row, **_UNNUMBERED})
        self.codec.encode(record, {**event})
        flaw = formed.flaw(record, event)
        if flaw is not None:
            raise Unpublishable(flaw)


def _clear(row: Row, opens: frozenset[str], stream_id: UUID, keys: Keys) -> dict[str, Any]:
    """The sealed fields of an event that its aggregate needs; none whose key was destroyed."""
    person = UUID(str(row["person_id"])) if row["person_id"] else stream_id
    record, sealed = UUID(str(row["event_id"])), row["sealed"]
    try:
        return {
            name: orjson.loads(
                keys.open(sealing.untext(sealed[name]), person=person, record=record, field=name)
            )
            for name in opens & sealed.keys()
        }
    except KeyDestroyed:
        return {}


def _reserved(asked: Asked, declared: CommandType) -> Rejection | None:
    """Refuse an id that something else may come to have: the one or the other could not be."""
    if not declared.creates or declared.follows or not identity.reserved(asked.stream_id):
        return None
    said = "ids of version 8 follow from other things: choose another, as of version 4"
    return Rejection(rule="id_reserved", said=said)


def _permitted(record: Row, declared: CommandType) -> frozenset[str] | None:
    """The departments in which the issuer may ask this; None: in all."""
    listed = record["departments"]
    return None if listed is None or declared.scope is Scope.TENANT else frozenset(listed)


def _owner(record: Row, data: Mapping[str, Any], declared: CommandType) -> str | None:
    """The stream whose department the command is about; None where it is about all."""
    owner = declared.owner
    if declared.scope is not Scope.DEPARTMENT or (owner and _unless(owner, data, declared)):
        return None
    return str(data[owner] if owner else record["stream_id"])


def _unless(name: str, data: Mapping[str, Any], declared: CommandType) -> bool:
    """Whether a field names no stream, for another one is said."""
    other = declared.unless.get(name)
    return other is not None and data[other] is not None


def _named(value: str | Sequence[str] | None) -> Sequence[str]:
    """The ids that a field holds: none, one or several."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


_UNNUMBERED = {
    "event_version": 1, "recorded_at": EPOCH, "partition": 0, "partition_seq": 1,
    "global_position": 1,
}  # fmt: skip
