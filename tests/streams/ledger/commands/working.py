"""Streams of people and work in memory: commands are decided, their events encode and evolve."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid5

import orjson

from schemas import catalogue, commands, events
from schemas.codec import Codec, Ids
from streams.ledger.commands import REGISTRY
from streams.ledger.commands.aggregate import Asked, Happened, Rejection, Told

NAMES = UUID(int=0x3)
CODEC = Codec(Ids.in_order())
NOW = 1_770_000_000_000_000  # an instant in 2026, in microseconds
SECOND = 1_000_000


def named(name: str) -> str:
    """An id, the same for the same name."""
    return str(uuid5(NAMES, name))


TENANT, NURSE, PATIENT = named("tenant"), named("nurse"), named("patient")


def data_of(command_type: str, /, **given: Any) -> dict[str, Any]:
    """A command's data with every field, as the codec gives it."""
    record = commands.TYPES[command_type].full_record
    defaults = {
        one["name"]: one["default"]
        for one in catalogue.schema(record)["fields"]
        if "default" in one
    }
    data = {**defaults, **given}
    assert CODEC.decode(CODEC.encode(record, data)) == (record, data)
    return data


@dataclass
class Stream:
    """One stream: its state and what was told of it, as events of the topic."""

    kind: str
    name: str = "one"
    state: Any = None
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stream_id(self) -> str:
        return named(f"{self.kind} {self.name}")

    def ask(self, command_type: str, *, at: int = 0, by: str = NURSE, **given: Any) -> Any:
        """Decide a command ``at`` seconds later; the rule that refuses it, or its events' types."""
        asked = Asked(
            command_id=named(f"{command_type} {len(self.told)}"), command_type=command_type,
            stream_id=self.stream_id, tenant_id=TENANT, issued_at=NOW + at * SECOND,
            issued_by=by, data=data_of(command_type, **given),
        )  # fmt: skip
        answer = REGISTRY[self.kind].decide(self.state, asked)
        if isinstance(answer, Rejection):
            assert answer.said
            return answer.rule
        for happened in answer:
            self._take(happened, asked)
        return [happened.event_type for happened in answer]

    def _take(self, happened: Happened, asked: Asked) -> None:
        aggregate, version = REGISTRY[self.kind], len(self.told) + 1
        event = self._event(happened, asked, version)
        declared = events.TYPES[happened.event_type]
        assert set(happened.clear) <= set(declared.sealed)
        record = f"wardtrail.events.{declared.record}"
        assert CODEC.decode(CODEC.encode(record, event)) == (record, event)
        told = Told(
            event_type=happened.event_type, data=event["data"], version=version,
            recorded_at=event["recorded_at"],
        )  # fmt: skip
        self.state = aggregate.evolve(self.state, told)
        frozen = orjson.loads(orjson.dumps(aggregate.to_json(self.state)))
        assert aggregate.of_json(frozen) == self.state
        self.told.append(event)

    def _event(self, happened: Happened, asked: Asked, version: int) -> dict[str, Any]:
        at = asked.issued_at if happened.occurred_at is None else happened.occurred_at
        return {
            "event_id": named(f"{self.stream_id} {version}"),
            "stream_type": self.kind, "stream_id": self.stream_id, "event_version": version,
            "event_type": happened.event_type, "schema_version": 1, "tenant_id": asked.tenant_id,
            "feed_id": TENANT, "message_id": asked.command_id, "person_id": happened.person_id,
            "occurred_at": at, "occurred_precision": "fraction", "occurred_field": "command",
            "occurred_text": "", "recorded_at": asked.issued_at + version, "partition": 0,
            "partition_seq": version, "global_position": version,
            "correlation_id": asked.command_id, "causation_id": asked.command_id,
            "mapper_version": 1, "trace": None, "created_by": asked.issued_by,
            "sealed": {
                name: f"{name} {text} {version}".encode() for name, text in happened.clear.items()
            },
            "data": orjson.loads(orjson.dumps(happened.data)),
        }  # fmt: skip


def apart(replica: str, *, at: int = 0, **clock: int) -> dict[str, Any]:
    """The clock fields of an edit by a device that knew ``clock``, its own edit counted."""
    return {
        "clock": clock, "replica": replica, "hlc_micros": NOW + at * SECOND, "hlc_counter": 0,
    }  # fmt: skip


def task(**given: Any) -> Stream:
    """A task that was created by someone online."""
    made = Stream("task")
    fields = {
        "title": "Blood pressure", "priority": "normal", "patient_id": PATIENT,
        "department_id": named("ward"), **given,
    }  # fmt: skip
    assert made.ask("task.create", **fields) == ["task.created"]
    return made


def handover(**given: Any) -> Stream:
    """A handover that was initiated by someone online."""
    made = Stream("handover")
    fields = {
        "from_shift_id": named("early"), "to_shift_id": named("late"), "summary": "All quiet.",
        "department_id": named("ward"), "patient_id": PATIENT, **given,
    }  # fmt: skip
    assert made.ask("handover.initiate", **fields) == ["handover.initiated"]
    return made
