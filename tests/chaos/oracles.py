"""The oracles: each looks at what a line holds and says in one line what is wrong, without PHI."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any
from uuid import UUID

from ops.simulator import Day
from producers.peek import Header, peek, text
from schemas import identity
from schemas.feeds import Feed
from schemas.identity import Identifier
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
from sinks.database import Row
from sinks.projection import Projection
from tests.chaos import judged, model
from tests.chaos.seen import Logged, Seen

TRACKS = ("census", "physical")  # those that the simulator knows
OUTCOMES = ("applied", "duplicate", "ignored", "parked", "dead", "no_record")
Place = tuple[str, str, int]  # subscription, topic, partition


class OracleRed(AssertionError):  # noqa: N818  named for what is wrong
    """What must hold doesn't; the message names the oracle and the row, and quotes none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a play gave a line: every message was answered with a positive answer."""

    day: Day
    bodies: Sequence[bytes]
    feed: Feed
    keys: Keys


def check(seen: Seen, given: Given) -> None:
    """Ask every oracle; OracleRed from the first that is red."""
    for oracle in ORACLES:
        oracle(seen, given)


def fold(seen: Seen, given: Given) -> None:
    """Oracle 1: the tables equal a pure fold in memory over what was acknowledged."""
    expected = model.line(given.bodies, given.feed, given.keys)
    same(seen, expected, given, name="1 (fold)")


def rebuild(seen: Seen, _: Given, projections: Sequence[Projection] = model.ALL) -> None:
    """Oracle 1, exactly: each projection is its fold over the ledger's events, every byte."""
    for table, rows in model.rebuilt(seen.tables["events"], projections).items():
        found = model.exact(table, seen.tables[table])
        _equal(f"1 (rebuild): {table}", found, model.exact(table, rows))


def truth(seen: Seen, given: Given) -> None:
    """Oracle 1, at the source: the points now known are where the simulator saw each visit."""
    names = _authorities(given.bodies)
    expected: dict[str, list[Any]] = defaultdict(list)
    for stay in (*given.day.stays, *given.day.physical):
        number = Identifier(value=stay.visit_number, authority=names[stay.visit_number])
        visit = str(identity.admission(given.keys.identity, number))
        expected[f"{visit} {stay.track}"].append([stay.location, stay.effective_at, stay.ended_at])
    found: dict[str, list[Any]] = defaultdict(list)
    for row in seen.tables["trajectory_points"]:
        if row["known_to"] is None and row["retracted_at"] is None and row["track"] in TRACKS:
            stood = [row["location"], row["effective_at"], row["ended_at"]]
            found[f"{row['admission_id']} {row['track']}"].append(stood)
    for stays in (*found.values(), *expected.values()):
        stays.sort(key=lambda stay: stay[1])
    _equal("1 (truth): visit", _plain(found), _plain(expected))


def counts(seen: Seen, _: Given) -> None:
    """Oracle 2: every offset has one outcome; counters, tables and topics agree."""
    ends = Counter((topic, each.partition) for topic, log in seen.topics.items() for each in log)
    read = _read(seen.tables["subscriptions"])
    distinct = {
        HL7V2.name: Counter(
            partition for partition, _ in {(e.partition, e.value["message_id"]) for e in
            seen.topics[HL7V2.name]}
        ),
        COMMANDS.name: Counter(
            partition for partition, _ in {(e.partition, e.value["command_id"]) for e in
            seen.topics[COMMANDS.name]}
        ),
        ERASURES.name: Counter(
            partition for partition, _ in {(e.partition, e.value["erasure_id"]) for e in
            seen.topics[ERASURES.name]}
        ),
        EVENTS.name: Counter(
            partition for partition, _ in {(e.partition, e.value["partition_seq"]) for e in
            seen.topics[EVENTS.name]}
        ),
    }  # fmt: skip
    for (name, topic, partition), row in read.items():
        at, end = f"2 (counts): {name} {topic}/{partition}", ends[topic, partition]
        if row["next_offset"] != end:
            raise OracleRed(f"{at} stands at {row['next_offset']}, the topic ends at {end}")
        passed = sum(row[outcome] for outcome in OUTCOMES)
        if passed != row["next_offset"] - row["first_offset"]:
            raise OracleRed(f"{at} passed {row['next_offset']} offsets, counted: {passed}")
        once = row["applied"] + row["ignored"] + row["dead"]
        if once != distinct[topic][partition]:
            raise OracleRed(
                f"{at} took {once} records as new, the topic holds: {distinct[topic][partition]}"
            )
        if row["parked"] or row["no_record"]:
            raise OracleRed(f"{at} parked or missed records")
        dead = [each for each in seen.tables["dead_letters"] if _place(each) == _place(row)]
        if row["dead"] != len(dead):
            raise OracleRed(f"{at} gave up {row['dead']} records, dead letters: {len(dead)}")
        if name != "ledger" and dead:
            raise OracleRed(f"{at} gave up an event")
    outcomes = Counter(
        (row["topic"], row["partition"], row["outcome"]) for row in seen.tables["messages"]
    )
    for (name, *place), row in read.items():
        if name == "ledger" and any(row[kind] != outcomes[*place, kind] for kind in _KINDS):
            raise OracleRed(f"2 (counts): ledger {place} differs from messages")


def positive(seen: Seen, given: Given) -> None:
    """Oracle 3: what was answered positively stands in the ledger, and nothing else."""
    answered = {model.message_id(body, given.feed, given.keys) for body in given.bodies}
    rows = [row for row in seen.tables["messages"] if row["topic"] == HL7V2.name]
    held = Counter(row["message_id"] for row in rows)
    if missing := answered - held.keys():
        raise OracleRed(f"3 (positive answers): messages missing: {len(missing)}")
    if foreign := held.keys() - answered:
        raise OracleRed(f"3 (positive answers): messages never sent: {len(foreign)}")
    if max(held.values(), default=1) > 1:
        raise OracleRed("3 (positive answers): a message stands twice")
    first: dict[str, tuple[int, int]] = {}
    came = Counter(each.value["message_id"] for each in seen.topics[HL7V2.name])
    for each in seen.topics[HL7V2.name]:
        first.setdefault(each.value["message_id"], (each.partition, each.offset))
    for row in rows:
        if first.get(row["message_id"]) != (row["partition"], row["offset"]):
            raise OracleRed(f"3 (positive answers): not from its first record: {row['offset']}")
        if row["duplicates"] != came[row["message_id"]] - 1:
            raise OracleRed(f"3 (positive answers): doubles are miscounted: {row['offset']}")


def positions(seen: Seen, _: Given) -> None:
    """Oracle 4: positions only rise; an epoch has one owner, and another owner a higher epoch."""
    last: dict[Place, Row] = {}
    owners: dict[tuple[Place, int], str] = {}
    for row in seen.history:
        place = _place(row)
        before = last.get(place)
        for name in ("next_offset", "last_position", "epoch"):
            if before is not None and row[name] < before[name]:
                raise OracleRed(f"4 (positions): {name} goes back: {place}")
        if row["owner"] is not None:
            owner = owners.setdefault((place, row["epoch"]), row["owner"])
            if owner != row["owner"]:
                raise OracleRed(f"4 (positions): an epoch with two owners: {place}")
        elif before is not None and row["next_offset"] != before["next_offset"]:
            raise OracleRed(f"4 (positions): moved by nobody: {place}")
        last[place] = row
    for row in seen.tables["subscriptions"]:
        before = last.get(_place(row))
        if before is None or any(before[name] != row[name] for name in _MOVED):
            raise OracleRed(f"4 (positions): a move that wasn't seen: {_place(row)}")


def tenants(seen: Seen, given: Given) -> None:
    """Oracle 5: header, key and body name the same tenant and thing everywhere."""
    key_of = {
        EVENTS.name: "stream_id", POINTS.name: "admission_id", COMMANDS.name: "stream_id",
        COMMAND_RESULTS.name: "stream_id", VERIFICATIONS.name: "task_id",
        LETTERS.name: "letter_id",
    }  # fmt: skip
    for topic, log in seen.topics.items():
        for each in log:
            at = f"{topic}/{each.partition}@{each.offset}"
            if not each.tenant == given.feed.tenant_id == UUID(each.value["tenant_id"]):
                raise OracleRed(f"5 (tenants): header and body differ: {at}")
            if topic in key_of and each.key != each.value[key_of[topic]]:
                raise OracleRed(f"5 (tenants): key and body differ: {at}")
    people: dict[str, set[str]] = defaultdict(set)  # of a merge both, else one
    for row in seen.tables["events"]:
        people[row["message_id"]].add(row["person_id"])
    for each in seen.topics[HL7V2.name]:
        if each.key not in people.get(each.value["message_id"], {each.key}):
            raise OracleRed(f"5 (tenants): key and person differ: {each.partition}@{each.offset}")
    for table, rows in seen.tables.items():
        if {row["tenant_id"] for row in rows if "tenant_id" in row} - {str(given.feed.tenant_id)}:
            raise OracleRed(f"5 (tenants): a row of another tenant: {table}")


def order(seen: Seen, _: Given) -> None:
    """Invariant 6: versions and places without a hole; topics in order but for doubles."""
    streams: dict[str, list[Row]] = defaultdict(list)
    places: dict[int, list[int]] = defaultdict(list)
    for row in sorted(
        seen.tables["events"], key=lambda row: (row["partition"], row["partition_seq"])
    ):
        streams[row["stream_id"]].append(row)
        places[row["partition"]].append(row["partition_seq"])
    for partition, found in places.items():
        _dense(f"6 (order): partition {partition}", found)
    standing = {row["stream_id"]: row for row in seen.tables["streams"]}
    for stream, rows in streams.items():
        _dense(f"6 (order): stream {stream}", [row["event_version"] for row in rows])
        if {row["partition"] for row in rows} != {standing[stream]["partition"]}:
            raise OracleRed(f"6 (order): a stream away from home: {stream}")
        if any(a["recorded_at"] >= b["recorded_at"] for a, b in pairwise(rows)):
            raise OracleRed(f"6 (order): known time doesn't rise: {stream}")
        if standing[stream]["version"] != len(rows):
            raise OracleRed(f"6 (order): a stream's version isn't its last event's: {stream}")
    for row in seen.tables["partitions"]:
        if row["topic"] == EVENTS.name and row["next_seq"] != len(places[row["partition"]]) + 1:
            raise OracleRed(f"6 (order): partition {row['partition']} counts on from elsewhere")


def published(seen: Seen, _: Given) -> None:
    """Invariant 6 on the topics: every row published, in order; a double says the same."""
    events = {(row["partition"], row["partition_seq"]): row["event_id"] for row in
              seen.tables["events"]}  # fmt: skip
    points = {(row["partition"], row["partition_seq"], row["point_id"]): row["location"] for row in
              seen.tables["trajectory_points"]}  # fmt: skip
    found = _once(EVENTS.name, seen.topics[EVENTS.name], ("partition_seq",), "event_id")
    _equal("6 (published): events", found, events)
    found = _once(POINTS.name, seen.topics[POINTS.name], ("partition_seq", "point_id"), "location")
    _equal("6 (published): points", found, points)
    results = {(row["partition"], row["partition_seq"]): row["command_id"] for row in
               seen.tables["command_results"]}  # fmt: skip
    log = seen.topics[COMMAND_RESULTS.name]
    found = _once(COMMAND_RESULTS.name, log, ("partition_seq",), "command_id")
    _equal("6 (published): results", found, results)
    verdicts = {(row["partition"], row["partition_seq"]): row["result_id"] for row in
                seen.tables["verification_results"]}  # fmt: skip
    log = seen.topics[VERIFICATIONS.name]
    found = _once(VERIFICATIONS.name, log, ("partition_seq",), "result_id")
    _equal("6 (published): verifications", found, verdicts)
    heads = {
        EVENTS.name: _heads(events), POINTS.name: _heads(points),
        COMMAND_RESULTS.name: _heads(results), VERIFICATIONS.name: _heads(verdicts),
        LETTERS.name: _letters(seen),
    }  # fmt: skip
    for row in seen.tables["subscriptions"]:
        if row["subscription_id"].startswith("relay"):
            head = heads[row["topic"]].get(row["partition"], 0)
            if row["last_position"] != head:
                raise OracleRed(f"6 (published): relay away from the head: {_place(row)}")


def _letters(seen: Seen) -> dict[int, int]:
    """The heads of what is told of dead letters: each as it stands is what was told last of it."""
    log = seen.topics[LETTERS.name]
    _once(LETTERS.name, log, ("partition_seq",), "letter_id")
    told = {each.value["letter_id"]: each for each in log}
    found = {key: (each.value["partition_seq"], each.value["state"]) for key, each in told.items()}
    rows = seen.tables["dead_letters"]
    standing = {row["id"]: (row["partition_seq"], row["state"]) for row in rows}
    _equal("6 (published): letters", found, standing)
    return _heads({(row["partition"], row["partition_seq"]): row["id"] for row in rows})


def verified(seen: Seen, _: Given) -> None:
    """What is known of each task is what the pure judge says; its revisions rise one by one."""
    if marks := seen.tables["verification_due"]:
        failed = sum(row["failed"] is not None for row in marks)
        raise OracleRed(f"judge: marks at rest: {len(marks)}, of them failed: {failed}")
    standing = judged.current(seen.tables)
    _equal("judge: task", _plain(standing), _plain(judged.expected(seen.tables)))
    numbers: dict[int, list[int]] = defaultdict(list)
    revisions: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(
        seen.tables["verification_results"],
        key=lambda row: (row["partition"], row["partition_seq"]),
    ):
        numbers[row["partition"]].append(row["partition_seq"])
        revisions[row["task_id"]].append(row)
    for partition, found in numbers.items():
        _dense(f"judge: partition {partition}", found)
    for task, rows in revisions.items():
        _dense(f"judge: task {task}", [row["revision"] for row in rows])
        told = [judged.content(row["result"]) for row in rows]
        if any(a == b for a, b in pairwise(told)):
            raise OracleRed(f"judge: a result is told twice: {task}")
    held = {row["task_id"]: judged.shown(row) for row in seen.tables["emr_verifications"]}
    newest = {
        task: judged.shown({**rows[-1]["result"], "revision": rows[-1]["revision"]})
        for task, rows in revisions.items()
    }
    _equal("judge: newest result", _plain(newest), _plain(held))
    consumed = judged.kept(each.value for each in seen.topics[VERIFICATIONS.name])
    published = {task: judged.shown(each) for task, each in consumed.items()}
    _equal("judge: newest record", _plain(published), _plain(held))


def same(seen: Seen, other: Seen, given: Given, *, name: str = "1 (undisturbed)") -> None:
    """Two lines hold the same rows, apart from when and in which company these came."""
    ours, theirs = (
        model.content(each.tables, replace(given.keys, subjects=each.people))
        for each in (seen, other)
    )
    for table in theirs:
        _equal(f"{name}: {table}", ours[table], theirs[table])


ORACLES: tuple[Callable[[Seen, Given], None], ...] = (
    positive, counts, positions, tenants, order, published, rebuild, fold, truth, verified,
)  # fmt: skip
_KINDS = ("applied", "ignored", "dead")
_MOVED = ("next_offset", "last_position", "epoch", "owner")


def _once(
    topic: str, log: Iterable[Logged], names: Sequence[str], said: str
) -> dict[tuple[Any, ...], Any]:
    """A topic's records without doubles; the first ones of a partition come in order."""
    found: dict[tuple[Any, ...], Any] = {}
    heads: dict[int, int] = defaultdict(int)
    for each in log:
        key = (each.partition, *(each.value[name] for name in names))
        if key in found:
            if found[key] != each.value[said]:
                raise OracleRed(f"6 (published): a double says otherwise: {topic}@{each.offset}")
            continue
        if each.value["partition_seq"] < heads[each.partition]:
            raise OracleRed(f"6 (published): out of order: {topic}/{each.partition}@{each.offset}")
        heads[each.partition] = each.value["partition_seq"]
        found[key] = each.value[said]
    return found


def _heads(places: Iterable[tuple[Any, ...]]) -> dict[int, int]:
    heads: dict[int, int] = defaultdict(int)
    for partition, seq, *_ in places:
        heads[partition] = max(heads[partition], seq)
    return heads


def _read(rows: Iterable[Row]) -> dict[Place, Row]:
    return {_place(row): row for row in rows if not row["subscription_id"].startswith("relay")}


def _place(row: Row) -> Place:
    return (row["subscription_id"], row["topic"], row["partition"])


def _dense(at: str, numbers: Sequence[int]) -> None:
    if list(numbers) != list(range(1, len(numbers) + 1)):
        raise OracleRed(f"{at}: numbers aren't 1, 2, 3 …")


def _plain(value: Mapping[Any, Any]) -> dict[Any, bytes]:
    return {key: model.plain(each) for key, each in value.items()}


def _authorities(bodies: Iterable[bytes]) -> dict[str, str]:
    """The assigning authority of each visit number, as PV1-19 names it."""
    found = {}
    for body in bodies:
        header = peek(body)
        assert isinstance(header, Header), "the simulator writes headers"
        if not header.visit:
            continue  # a message that nobody can map
        parts = header.visit.split(b"^")
        found[text(parts[0])] = text(parts[3])
    return found


def _equal(at: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> None:
    """Equal, or the keys (pseudonyms) of the first difference."""
    if found == expected:
        return
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    other = [key for key in expected if key in found and found[key] != expected[key]]
    first = (missing or extra or other)[0]
    raise OracleRed(
        f"{at}: missing {len(missing)}, too many {len(extra)}, different {len(other)}: {first}"
    )
