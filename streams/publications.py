"""What relays publish: clinical events, trajectory points, results of commands; each a table."""

from typing import Any, cast
from uuid import UUID

from schemas import headers, sealing
from schemas.clock import micros
from schemas.codec import Codec
from schemas.topics import COMMAND_RESULTS, COMMANDS, EVENTS, LETTERS, POINTS, VERIFICATIONS
from sinks import announcing
from sinks.database import Row
from sinks.relay import Source
from sinks.stored import EVENT_COLUMNS, encoded, event_of
from streams.relay import Outgoing, Publication

_POINT = POINTS.records[0]
_RESULT = COMMAND_RESULTS.records[0]
_VERIFICATION = VERIFICATIONS.records[0]
_LETTER = LETTERS.records[0]
LETTERS_SECONDS = (
    2.0  # how long a letter may wait to be told: they're rare, and looked at by people
)


def clinical_events(codec: Codec) -> Publication:
    """The ledger's events, one record type for each event type, keyed by stream."""

    def encode(row: Row) -> Outgoing:
        event = event_of(row)
        return Outgoing(
            position=event["partition_seq"],
            key=event["stream_id"].encode(),
            value=encoded(codec, event),
            headers=headers.for_event(event),
        )

    return Publication(
        source=Source(
            subscription_id="relay", topic=EVENTS.name, table="events",
            columns=EVENT_COLUMNS, unique=True,
        ),
        channel="wardtrail_events",
        encode=encode,
        position=lambda value: cast("int", codec.decode(value)[1]["partition_seq"]),
    )  # fmt: skip


def trajectory_points(codec: Codec) -> Publication:
    """Every revision of every point, keyed by admission."""

    def encode(row: Row) -> Outgoing:
        point = point_of(row)
        return Outgoing(
            position=row["partition_seq"],
            key=point["admission_id"].encode(),
            value=codec.encode(_POINT, point),
            headers=headers.for_point(point),
        )

    return Publication(
        source=Source(
            subscription_id="relay:points", topic=POINTS.name, table="trajectory_points",
            columns=_POINT_COLUMNS, unique=False,
        ),
        channel="wardtrail_points",
        encode=encode,
        position=lambda value: cast("int", codec.decode(value)[1]["partition_seq"]),
    )  # fmt: skip


def command_results(codec: Codec) -> Publication:
    """What became of every command, keyed by stream; placed by the inbound topic's offsets."""

    def encode(row: Row) -> Outgoing:
        result = {**row, "recorded_at": micros(row["recorded_at"])}
        return Outgoing(
            position=row["partition_seq"],
            key=result["stream_id"].encode(),
            value=codec.encode(_RESULT, result),
            headers=headers.for_result(result),
        )

    return Publication(
        source=Source(
            subscription_id="relay:commands", topic=COMMAND_RESULTS.name, table="command_results",
            columns=_RESULT_COLUMNS, unique=False, inbound=COMMANDS.name,
        ),
        channel="wardtrail_commands",
        encode=encode,
        position=lambda value: cast("int", codec.decode(value)[1]["partition_seq"]),
    )  # fmt: skip


def verification_results(codec: Codec) -> Publication:
    """Every revision of what is known of every task, keyed by task; numbered by itself."""

    def encode(row: Row) -> Outgoing:
        numbers = {name: row[name] for name in ("revision", "partition_seq")}
        result = {**row["result"], **numbers, "judged_at": micros(row["judged_at"])}
        return Outgoing(
            position=row["partition_seq"],
            key=result["task_id"].encode(),
            value=codec.encode(_VERIFICATION, result),
            headers=headers.for_verification(result),
        )

    return Publication(
        source=Source(
            subscription_id="relay:verification", topic=VERIFICATIONS.name,
            table="verification_results", columns=_VERIFICATION_COLUMNS, unique=True, own=True,
        ),
        channel="wardtrail_verifications",
        encode=encode,
        position=lambda value: cast("int", codec.decode(value)[1]["partition_seq"]),
    )  # fmt: skip


def dead_letters(codec: Codec) -> Publication:
    """Every dead letter with each state that it had when it was looked at, keyed by its id."""

    def encode(row: Row) -> Outgoing:
        letter = letter_of(row)
        return Outgoing(
            position=row["partition_seq"],
            key=letter["letter_id"].encode(),
            value=codec.encode(_LETTER, letter),
            headers=headers.for_letter(letter),
        )

    return Publication(
        source=Source(
            subscription_id="relay:letters", topic=LETTERS.name, table="dead_letters",
            columns=_LETTER_COLUMNS, unique=False, own=True,
        ),
        channel=None,
        encode=encode,
        position=lambda value: cast("int", codec.decode(value)[1]["partition_seq"]),
        number=announcing.number,
        poll_seconds=LETTERS_SECONDS,
    )  # fmt: skip


def letter_of(row: Row) -> dict[str, Any]:
    """The record that a row of ``dead_letters`` becomes: nothing of what it holds sealed."""
    return {
        **{name: row[name] for name in _LETTER_PLAIN},
        "letter_id": row["id"],
        "subscription": row["subscription_id"],
        "tenant_id": row["tenant_id"] or str(sealing.NOBODY),
        "record_key": None if row["key"] is None else str(UUID(row["key"].decode())),
        "created_at": micros(row["created_at"]),
        "announced_at": micros(row["announced_at"]),
    }


def point_of(row: Row) -> dict[str, Any]:
    """The record that a row of ``trajectory_points`` becomes."""
    point = {name: row[name] for name in _POINT_COLUMNS if name not in _TIMES}
    for name in _TIMES:
        point[name] = None if row[name] is None else micros(row[name])
    return point


_RESULT_COLUMNS = (
    "command_id", "tenant_id", "command_type", "stream_type", "stream_id", "outcome", "rule",
    "said", "version", "events", "event_partition", "event_seq", "recorded_at", "partition",
    "partition_seq",
)  # fmt: skip
_LETTER_COLUMNS = (
    "id", "tenant_id", "partition_seq", "state", "subscription_id", "topic", "partition",
    "offset", "position", "key", "feed_id", "message_id", "event_id", "family", "stage", "cause",
    "created_at", "announced_at",
)  # fmt: skip
_LETTER_PLAIN = frozenset(_LETTER_COLUMNS) - {
    "id", "key", "tenant_id", "subscription_id", "created_at", "announced_at",
}  # fmt: skip
_VERIFICATION_COLUMNS = ("partition_seq", "revision", "result", "judged_at")
_TIMES = ("effective_at", "ended_at", "known_from", "retracted_at", "reported_at")
_POINT_COLUMNS = (
    "point_id", "fold_version", "partition_seq", "tenant_id", "admission_id", "patient_id",
    "track", "location", "start_inferred", "end_inferred", "start_field", "start_event_id",
    "end_event_id", "facility", "building", "floor", "point_of_care", "room", "bed", *_TIMES,
)  # fmt: skip
