"""Commands of a play: made from a seed, put on the topic, and what must have become of each."""

import random
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from confluent_kafka import Producer

from ops import access
from schemas import headers
from schemas.codec import Codec
from schemas.commands import TYPES
from schemas.sealing import Keys
from schemas.topics import COMMANDS
from streams.ledger.commands import REGISTRY
from streams.ledger.commands.aggregate import Asked, Rejection, Told
from streams.log import QUIET
from tests.chaos.oracles import OracleRed
from tests.chaos.parts import Line
from tests.chaos.seen import Seen

ISSUED = 1_772_443_800_000_000
CLERK = str(UUID(int=0xC1E4C))
DELIVERY_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A command: the record's fields and its data in clear."""

    record: Mapping[str, Any]
    data: Mapping[str, Any]


def asks(seed: int, count: int, *, streams: int, tenant: UUID) -> list[Ask]:
    """So many commands on a few departments: made, changed, ended, out of date, and told twice."""
    rng = random.Random(f"asks/{seed}")
    made: list[Ask] = []
    for number in range(count):
        if made and rng.random() < 0.1:
            made.append(rng.choice(made[-20:]))
            continue
        stream = str(UUID(int=rng.getrandbits(32) % streams + 0xDE0000))
        name = rng.choices(
            ("department.create", "department.update", "department.deactivate"), (1, 8, 1)
        )[0]
        content: dict[str, Mapping[str, Any]] = {
            "department.create": {"code": f"W{number}", "name": "Ward"},
            "department.update": {"code": f"W{number}", "name": None},
            "department.deactivate": {"reason_code": None},
        }
        command_id = str(UUID(int=rng.getrandbits(128), version=4))
        expected = rng.randrange(count // streams) if rng.random() < 0.3 else None
        record = {
            "command_id": command_id, "command_type": name, "schema_version": 1,
            "tenant_id": str(tenant), "stream_type": "department", "stream_id": stream,
            "expected_version": expected, "issued_at": ISSUED + number, "issued_by": CLERK,
            "correlation_id": command_id, "trace": None,
        }  # fmt: skip
        made.append(Ask(record=record, data=content[name]))
    return made


def publish(line: Line, asked: Iterable[Ask], codec: Codec, keys: Keys) -> None:
    """Put the commands on the topic, in order; the brokers hold all of them on return."""
    servers = access.bootstrap_servers(line.settings)
    producer = Producer(
        {"bootstrap.servers": servers, "acks": "all", "enable.idempotence": True,
         "partitioner": "murmur2_random", **QUIET}
    )  # fmt: skip
    for each in asked:
        clear = codec.encode(TYPES[each.record["command_type"]].full_record, each.data)
        envelope = keys.seal(
            clear, person=None, record=UUID(each.record["command_id"]), field="data"
        )
        value = {**each.record, "data": envelope}
        producer.produce(
            COMMANDS.name, key=each.record["stream_id"].encode(),
            value=codec.encode(COMMANDS.records[0], value), headers=headers.for_command(value),
        )  # fmt: skip
    assert producer.flush(DELIVERY_SECONDS) == 0, "the brokers hold every command"


def decided(seen: Seen, asked: Sequence[Ask]) -> None:
    """The results are those of a pure fold over the topic, and the events those of the results."""
    clear = {each.record["command_id"]: each.data for each in asked}
    expected = _folded(seen, clear)
    found = {
        row["command_id"]: (row["outcome"], row["rule"], row["version"], row["events"])
        for row in seen.tables["command_results"]
    }
    if found != expected:
        other = sum(found.get(name) != said for name, said in expected.items())
        raise OracleRed(f"results: {len(found)} of {len(expected)}, otherwise decided: {other}")
    events: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in sorted(seen.tables["events"], key=lambda row: row["event_version"]):
        events[row["message_id"]].append(row)
    for row in seen.tables["command_results"]:
        became = events.pop(row["command_id"], [])
        versions = [each["event_version"] for each in became]
        last = became[-1] if became else {"partition": None, "partition_seq": None}
        place = (last["partition"], last["partition_seq"])
        if versions != list(range(row["version"] - row["events"] + 1, row["version"] + 1)) * bool(
            row["events"]
        ) or place != (row["event_partition"], row["event_seq"]):
            raise OracleRed(f"results: other events than it says: {row['command_id']}")
    if events:
        raise OracleRed(f"results: events of no accepted command: {len(events)}")


def _folded(seen: Seen, clear: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """What each command of the topic must become, by its id."""
    states: dict[str, Any] = {}
    versions: dict[str, int] = defaultdict(int)
    became: dict[str, tuple[Any, ...]] = {}
    for each in seen.topics[COMMANDS.name]:
        record = each.value
        if record["command_id"] in became:
            continue
        stream, declared = record["stream_id"], TYPES[record["command_type"]]
        rule, told = _ruled(record, declared.creates, versions[stream]), 0
        if rule is None:
            aggregate = REGISTRY[declared.stream_type]
            asked = Asked(
                data=clear[record["command_id"]],
                **{name: record[name] for name in Asked.__dataclass_fields__ if name != "data"},
            )
            answer = aggregate.decide(states.get(stream, aggregate.initial), asked)
            if isinstance(answer, Rejection):
                rule = answer.rule
            else:
                for happened in answer:
                    versions[stream] += 1
                    event = Told(
                        event_type=happened.event_type, data=happened.data,
                        version=versions[stream], recorded_at=0,
                    )  # fmt: skip
                    states[stream] = aggregate.evolve(states.get(stream), event)
                told = len(answer)
        outcome = "rejected" if rule else "accepted"
        became[record["command_id"]] = (outcome, rule, versions[stream], told)
    return became


def _ruled(record: Mapping[str, Any], creates: bool, version: int) -> str | None:
    """The rule that holds for every command, if one refuses it."""
    if creates and version:
        return "exists"
    if not creates and not version:
        return "not_found"
    expected = record["expected_version"]
    return "conflict" if expected is not None and expected != version else None
