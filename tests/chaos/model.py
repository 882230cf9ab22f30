"""The line as pure functions in memory: what must stand in the tables after these messages."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from producers.peek import Header, peek, text
from schemas import identity, sealing
from schemas.clock import instant, micros
from schemas.events import Event
from schemas.feeds import Feed
from schemas.sealing import Keys
from schemas.topics import (
    COMMAND_RESULTS,
    COMMANDS,
    ERASURES,
    EVENTS,
    HL7V2,
    LETTERS,
    POINTS,
    VERIFICATIONS,
)
from sinks.changes import Append, Change, Raise, columns
from sinks.database import Row
from sinks.projection import Projection
from sinks.stored import event_of
from sinks.tables import feed_watermarks, metadata, verification_due
from streams.ledger import identities
from streams.ledger.decide import decide, named, whose
from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.hl7v2 import MAPPER_VERSION, map_message
from streams.ledger.mapping.mentions import control_id
from streams.publications import point_of
from streams.read_models import PROJECTIONS
from streams.trajectory import PROJECTION as TRAJECTORY
from streams.verification.projection import PROJECTION as VERIFICATION
from tests.chaos.seen import Logged, Seen

ALL = (*PROJECTIONS, TRAJECTORY, VERIFICATION)
WORK = frozenset({verification_due.name})  # what waits for the judge; at rest nothing does
BEGAN = datetime(2026, 4, 1, tzinfo=UTC)  # the model's clock; no oracle compares it
# Columns that say when a row came and what came beside it.
ARRIVAL = frozenset(
    {
        "recorded_at", "created_at", "updated_at", "partition", "partition_seq", "global_position",
    }
)  # fmt: skip
JUDGED = ("emr_verifications", "verification_results")
Content = dict[str, dict[Any, Any]]  # by table, by key: what doesn't depend on arrival


def message_id(body: bytes, feed: Feed, keys: Keys) -> str:
    """The id that the intake gives these bytes."""
    header = peek(body)
    assert isinstance(header, Header), "the simulator writes headers"
    return str(identity.message(keys.identity, feed.feed_id, text(header.control_id), body))


def line(bodies: Sequence[bytes], feed: Feed, keys: Keys, *, partitions: int = 4) -> Seen:
    """What an undisturbed line holds after these messages; a partition has one owner for ever."""
    tables: dict[str, list[Row]] = {name: [] for name in ("events", "messages", "dead_letters")}
    raw: list[Logged] = []
    heads, ends, doubles, dead = (dict.fromkeys(range(partitions), 0) for _ in range(4))
    streams: dict[str, Row] = {}
    known: dict[identities.Name, str] = {}
    taken: set[str] = set()
    again: Counter[str] = Counter()
    for tick, body in enumerate(bodies, start=1):
        now = BEGAN + timedelta(milliseconds=tick)
        message = _message(body, feed, keys)
        facts = _mapped(body, feed)
        parts = [] if facts is None else named(facts, message, keys.identity)
        key = parts[0].newcomer if parts else message["message_id"]
        home = UUID(key).int % partitions
        raw.append(
            Logged(partition=home, offset=ends[home], key=key, tenant=feed.tenant_id, value=message)
        )
        ends[home] += 1
        if message["message_id"] in taken:
            doubles[home] += 1
            again[message["message_id"]] += 1
            continue
        taken.add(message["message_id"])
        if facts is None:
            dead[home] += 1
            told = control_id(body, feed)
            lost = told and str(identity.control(keys.identity, feed.feed_id, told))
            tables["messages"].append(_row(message, None, raw[-1], 0, now, lost or None))
            tables["dead_letters"].append(_letter(message, raw[-1], dead[home]))
            continue
        people, learned = identities.resolve(parts, known)
        known |= {each.name: each.patient_id for each in learned}
        for person in whose(facts, people) - keys.subjects.keys():
            secret = hashlib.sha256(person.bytes).digest()
            key = sealing.Key.of(secret, version=1, scope=sealing.Scope.PERSON)
            keys.subjects[person] = sealing.Subject(keys={1: key})
        rows = decide(facts, people, message, feed=feed, keys=keys, mapper_version=MAPPER_VERSION)
        for row in rows:
            numbers = _numbered(streams, row, home, now)
            heads[numbers["partition"]] += 1
            numbers["partition_seq"] = heads[numbers["partition"]]
            place = {"global_position": len(tables["events"]) + 1}
            tables["events"].append({**row, **numbers, **place, "event_id": str(row["event_id"])})
        control = str(identity.control(keys.identity, feed.feed_id, facts.control_id))
        tables["messages"].append(_row(message, facts, raw[-1], len(rows), now, control))
    for row in tables["messages"]:
        row["duplicates"] = again[row["message_id"]]
    tables["streams"] = list(streams.values())
    tables |= {name: [] for name in ("command_results", *JUDGED, *WORK)}
    tables["partitions"] = [
        {"topic": EVENTS.name, "partition": partition, "next_seq": head + 1}
        for partition, head in heads.items()
    ]
    tables |= rebuilt(tables["events"])
    # Messages of the simulator tell of no evidence, and nobody asks for anything.
    unasked = (COMMANDS.name, COMMAND_RESULTS.name, VERIFICATIONS.name, ERASURES.name)
    silent: dict[str, list[Logged]] = {name: [] for name in unasked}
    topics = {HL7V2.name: raw, **silent, **_published(tables)}
    seen = Seen(tables=tables, topics=topics, people=keys.subjects)
    seen.tables["subscriptions"] = list(_subscriptions(seen, heads, ends, doubles, dead))
    seen.history = [dict(row) for row in seen.tables["subscriptions"]]
    return seen


def rebuilt(events: Iterable[Row], projections: Iterable[Projection] = ALL) -> dict[str, list[Row]]:
    """Every projection's rows, folded over the ledger's events alone (invariant 10)."""
    ordered = sorted(events, key=lambda row: (row["partition"], row["partition_seq"]))
    return {
        table: list(rows.values())
        for projection in projections
        for table, rows in _folded(projection, map(event_of, ordered)).items()
        if table not in WORK
    }


def _folded(projection: Projection, events: Iterable[Event]) -> dict[str, dict[Any, Row]]:
    streams: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["event_type"] in projection.reads:
            streams[event["stream_id"]].append(event)
    tables: dict[str, dict[Any, Row]] = {table.name: {} for table in projection.owns}
    for happened in streams.values():
        for change in projection.fold(happened, {table.name: [] for table in projection.owns}):
            key = tuple(str(change.row[each.name]) for each in change.table.primary_key.columns)
            rows = tables[change.table.name]
            assert not (isinstance(change, Append) and key in rows), "an appended row is new"
            rows[key] = _changed(change, rows.get(key))
    return tables


def _changed(change: Change, known: Row | None) -> Row:
    """The row after the change; the columns of a risen one are the greater of both."""
    if known is None or not isinstance(change, Raise):
        return dict(change.row)
    return {name: max(value, known[name]) for name, value in change.row.items()}


def exact(table: str, rows: Iterable[Row]) -> dict[Any, bytes]:
    """A projection's rows by key, every column that a change gives, byte for byte."""
    declared = metadata.tables[table]
    names = columns(declared)
    keys = [column.name for column in declared.primary_key.columns]
    found: dict[Any, bytes] = {}
    for row in rows:
        key = tuple(str(row[name]) for name in keys)
        while key in found:
            key = (*key, "again")
        found[key] = plain({name: row[name] for name in names})
    return found


def content(tables: Mapping[str, Sequence[Row]], keys: Keys) -> Content:
    """The rows without what depends on arrival, clocks and chance; sealed fields opened."""
    found: Content = {
        "events": {row["event_id"]: _event(row, keys) for row in tables["events"]},
        "messages": {row["message_id"]: _kept(row, *_OF_ITS_WAY) for row in tables["messages"]},
        "streams": {row["stream_id"]: _kept(row) for row in tables["streams"]},
        "trajectory_points": _revisions(tables["trajectory_points"]),
        "timeline_events": {row["id"]: _entry(row) for row in tables["timeline_events"]},
    }
    found[feed_watermarks.name] = _watermarks(tables[feed_watermarks.name])
    for projection in ALL:
        for table in projection.owns:
            names = [column.name for column in table.primary_key.columns]
            rows = {
                row[names[0]] if len(names) == 1 else tuple(row[each] for each in names): row
                for row in tables[table.name]
            }
            found.setdefault(
                table.name, {key: _opened(_kept(row), keys) for key, row in rows.items()}
            )
    return found


# Of a message: where and when it came, and what was said of it beside its outcome.
_OF_ITS_WAY = (
    "offset", "topic", "received_at", "body_sealed", "reason", "cause", "duplicates",
)  # fmt: skip


def plain(value: Any) -> bytes:
    """Any row's value in one form: sorted keys, UTC, ids as text."""
    return orjson.dumps(_simple(value), option=orjson.OPT_SORT_KEYS)


def _simple(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {str(name): _simple(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_simple(each) for each in value]
    return value


def _kept(row: Mapping[str, Any], *but: str) -> Any:
    """What of a row doesn't depend on when and in which company it came."""
    return _simple({name: row[name] for name in row if name not in ARRIVAL and name not in but})


def _event(row: Row, keys: Keys) -> Any:
    opened = {name: _open(sealed, keys) for name, sealed in row["sealed"].items()}
    return [_kept(row, "sealed"), opened]


def _entry(row: Row) -> Any:
    data = dict(row["data"])
    data["details"] = _kept(data["details"])
    return _kept({**row, "data": data})


def _revisions(rows: Iterable[Row]) -> dict[Any, Any]:
    """Each point's revisions in the order they became known."""
    found: dict[Any, Any] = {}
    for row in sorted(rows, key=lambda row: (row["point_id"], row["partition_seq"])):
        ended = [row["retracted_at"] is not None, row["known_to"] is not None]
        kept = _kept(row, "id", "known_from", "known_to", "known", "effective", "retracted_at")
        found.setdefault(row["point_id"], []).append([kept, *ended])
    return found


def _watermarks(rows: Iterable[Row]) -> dict[Any, datetime]:
    """How far each feed has told, over all partitions: which one it is depends on the others."""
    found: dict[Any, datetime] = {}
    for row in rows:
        key = tuple(row[name] for name in ("tenant_id", "feed_id", "told"))
        found[key] = max(row["clinical_at"], found.get(key, row["clinical_at"]))
    return found


def _opened(value: Any, keys: Keys) -> Any:
    """JSON with every envelope in it opened; each belongs to the tenant it says."""
    if isinstance(value, Mapping):
        return {name: _opened(each, keys) for name, each in value.items()}
    if isinstance(value, list):
        return [_opened(each, keys) for each in value]
    if isinstance(value, str) and len(value) > ENVELOPE_TEXT_MIN and " " not in value:
        return _open(value, keys)
    return value


def _open(sealed: str, keys: Keys) -> str:
    envelope = sealing.untext(sealed)
    header = sealing.header(envelope)
    return keys.open(
        envelope, person=header.person, record=header.record, field=header.field
    ).decode()


ENVELOPE_TEXT_MIN = 160  # characters of base64; nothing else without a space is as long


def _message(body: bytes, feed: Feed, keys: Keys) -> Row:
    header = peek(body)
    assert isinstance(header, Header), "the simulator writes headers"
    return {
        "message_id": message_id(body, feed, keys), "tenant_id": str(feed.tenant_id),
        "feed_id": str(feed.feed_id), "received_at": micros(BEGAN),
        "message_type": text(header.message_type), "body": b"", "trace": None,
    }  # fmt: skip


def _mapped(body: bytes, feed: Feed) -> Facts | None:
    """What a message says; nothing for one that nobody can map."""
    try:
        facts = map_message(body, feed, received_at=BEGAN)
    except Unmappable:
        return None
    assert isinstance(facts, Facts), "the simulator sends nothing that is ignored"
    return facts


def _numbered(streams: dict[str, Row], row: Row, home: int, now: datetime) -> Row:
    """The next version of the event's stream, which the event begins if need be."""
    stream = streams.setdefault(
        row["stream_id"],
        {
            **{name: row[name] for name in ("stream_id", "stream_type", "tenant_id")},
            "partition": home, "version": 0,
        },
    )  # fmt: skip
    stream["version"] += 1
    # Known time rises strictly within a stream, also for two events of one message.
    stream["recorded_at"] = max(now, stream.get("recorded_at", BEGAN) + timedelta(microseconds=1))
    return {
        "event_version": stream["version"], "recorded_at": stream["recorded_at"],
        "partition": stream["partition"],
    }  # fmt: skip


def _row(
    message: Row, facts: Facts | None, place: Logged, events: int, now: datetime,
    control: str | None,
) -> Row:  # fmt: skip
    return {
        **{name: message[name] for name in ("tenant_id", "feed_id", "message_id")},
        "topic": HL7V2.name, "partition": place.partition, "offset": place.offset,
        "received_at": instant(message["received_at"]), "recorded_at": now,
        "message_type": facts.message_type if facts else message["message_type"],
        "outcome": "applied" if facts else "dead", "mapper_version": MAPPER_VERSION,
        "events": events, "control_hmac": control,
    }  # fmt: skip


def _letter(message: Row, place: Logged, seq: int) -> Row:
    return {
        "id": message["message_id"], "state": "dead", "partition_seq": seq,
        "tenant_id": message["tenant_id"], "subscription_id": "ledger", "topic": HL7V2.name,
        "partition": place.partition, "offset": place.offset,
    }  # fmt: skip


def _published(tables: Mapping[str, Sequence[Row]]) -> dict[str, list[Logged]]:
    """What the relays publish, each row once."""
    ends: dict[tuple[str, int], int] = defaultdict(int)
    topics: dict[str, list[Logged]] = {each.name: [] for each in (EVENTS, POINTS, LETTERS)}

    def publish(topic: str, row: Row, key: str, value: Mapping[str, Any]) -> None:
        place = (topic, row["partition"])
        topics[topic].append(
            Logged(
                partition=row["partition"], offset=ends[place], key=key,
                tenant=UUID(row["tenant_id"]), value=value,
            )
        )  # fmt: skip
        ends[place] += 1

    for row in sorted(tables["events"], key=lambda row: row["partition_seq"]):
        publish(EVENTS.name, row, row["stream_id"], event_of(row))
    for row in sorted(tables["trajectory_points"], key=lambda row: row["partition_seq"]):
        publish(POINTS.name, row, row["admission_id"], point_of(row))
    for row in tables["dead_letters"]:
        publish(LETTERS.name, row, row["id"], {**row, "letter_id": row["id"]})
    return topics


def _subscriptions(
    seen: Seen,
    heads: Mapping[int, int],
    ends: Mapping[int, int],
    doubles: Mapping[int, int],
    dead: Mapping[int, int],
) -> Iterable[Row]:
    types: dict[int, list[str]] = defaultdict(list)
    for row in seen.tables["events"]:
        types[row["partition"]].append(row["event_type"])
    for partition, head in heads.items():
        common = {
            "partition": partition, "epoch": 1, "owner": "one", "first_offset": 0, "ignored": 0,
            "duplicate": 0, "parked": 0, "dead": 0, "no_record": 0, "applied": 0,
        }  # fmt: skip
        yield {
            **common, "subscription_id": "ledger", "topic": HL7V2.name, "last_position": 0,
            "next_offset": ends[partition], "duplicate": doubles[partition],
            "dead": dead[partition],
            "applied": ends[partition] - doubles[partition] - dead[partition],
        }  # fmt: skip
        for topic in (COMMANDS, ERASURES):
            yield {
                **common, "subscription_id": "ledger", "topic": topic.name, "last_position": 0,
                "next_offset": 0,
            }  # fmt: skip
        for projection in ALL:
            read = sum(name in projection.reads for name in types[partition])
            yield {
                **common, "subscription_id": projection.name, "topic": EVENTS.name,
                "next_offset": head, "last_position": head, "applied": read,
                "ignored": head - read,
            }  # fmt: skip
        for name, topic, table in (
            ("relay", EVENTS.name, "events"), ("relay:points", POINTS.name, "trajectory_points"),
            ("relay:commands", COMMAND_RESULTS.name, "command_results"),
            ("relay:verification", VERIFICATIONS.name, "verification_results"),
            ("relay:letters", LETTERS.name, "dead_letters"),
        ):  # fmt: skip
            rows = [row for row in seen.tables[table] if row["partition"] == partition]
            last = max((row["partition_seq"] for row in rows), default=0)
            yield {
                **common, "subscription_id": name, "topic": topic, "next_offset": 0,
                "last_position": last,
            }  # fmt: skip
