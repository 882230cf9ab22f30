"""Deciding commands inside the ledger's transaction: states loaded, rules held, snapshots made.

The partitions of the commands' streams are locked, so that nobody else decides on them. What a
state is, and what is decided on it, are functions that come with each command.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid5

from psycopg import Connection

from schemas.failpoints import hit
from schemas.sealing import KeysWanted
from sinks.asked import Command, Folding, Named, Rejected
from sinks.changes import Put
from sinks.database import Database, Row, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.standing import NOT_PERMITTED, Standing, is_of, owner_of, rejected, standing_of
from sinks.subscriptions import Held
from sinks.tables import command_results, snapshots

SNAPSHOT_VERSIONS = 100  # a fold of so many events costs about as much as one round trip


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a command became: events, or why not; ``version`` is the stream's after it.

    ``department`` is the one whose work it is about.
    """

    version: int
    events: Sequence[Mapping[str, Any]] = ()
    rejected: Rejected | None = None
    failed: Exception | None = None
    snapshots: Sequence[Put] = ()
    department: str | None = None


def decide(
    connection: Connection[Row], commands: Sequence[Command], now: datetime
) -> list[Verdict]:
    """Decide the commands in order, each on what those before it left; what raises has failed.

    Raises :class:`~schemas.sealing.KeysWanted` for all of them together.
    """
    standing = standing_of(connection, commands)
    states, far = _load(connection, commands, standing)
    verdicts, wanted = [], set[tuple[UUID, UUID]]()
    for command in commands:
        hit("ledger: deciding")
        try:
            verdict = _decide(command, standing, states, far, now)
            verdicts.append(replace(verdict, department=owner_of(command, standing)))
        except KeysWanted as more:
            wanted |= more.people
    if wanted:
        raise KeysWanted(wanted)
    return verdicts


def people(
    database: Database, commands: Sequence[Command]
) -> list[tuple[Command, tuple[UUID, UUID]]]:
    """Of whom each command's sealed texts will be, by tenant and person, as far as can be known.

    Those that commands name, and those of the first events of the streams that they change.
    """
    named = [
        (each, (each.tenant_id, each.person or each.stream_id))
        for each in commands
        if each.seals and (each.person or each.creates)
    ]
    changed = [each for each in commands if each.seals and not each.person and not each.creates]
    if changed:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, {each.tenant_id for each in changed})
            streams = list({each.stream_id for each in changed})
            rows = connection.execute(_PEOPLE, (streams,)).fetchall()
        whose = {
            (row["tenant_id"], row["stream_id"]): row["person_id"] or row["stream_id"]
            for row in rows
        }
        named += [
            (each, (each.tenant_id, whose[each.tenant_id, each.stream_id]))
            for each in changed
            if (each.tenant_id, each.stream_id) in whose
        ]
    return [(each, (UUID(tenant), UUID(person))) for each, (tenant, person) in named]


def result(
    command: Command, verdict: Verdict, last: Mapping[str, Any] | None, held: Held, *,
    offset: int, now: datetime,
) -> Put:  # fmt: skip
    """The row that says what became of it; ``last`` is the last of its events, as numbered.

    It replaces that of a failure, when a dead letter is retried, and no other: the row policy
    holds that.
    """
    refused = verdict.rejected
    row = {
        **_of(command, held, offset, now),
        "department_id": verdict.department,
        "outcome": "rejected" if refused else "accepted",
        "rule": refused.rule if refused else None,
        "said": refused.said if refused else None,
        "version": verdict.version,
        "events": len(verdict.events),
        "event_partition": last["partition"] if last else None,
        "event_seq": last["partition_seq"] if last else None,
    }
    return Put(command_results, row)


def failure(
    asked: Named, letter: DeadLetter, held: Held, *, offset: int, now: datetime
) -> Put:  # fmt: skip
    """The row that says that a command is dead, and by which cause."""
    row = {
        **_of(asked, held, offset, now),
        "department_id": None,
        "outcome": "failed",
        "rule": letter.cause,
        "said": f"it became a dead letter: {letter.reason}",
        "version": 0,
        "events": 0,
        "event_partition": None,
        "event_seq": None,
    }
    return Put(command_results, row)


def _of(asked: Named, held: Held, offset: int, now: datetime) -> dict[str, Any]:
    """What every result says of its command, and where that came."""
    return {
        "tenant_id": asked.tenant_id,
        "command_id": asked.command_id,
        "command_type": asked.command_type,
        "stream_type": asked.stream_type,
        "stream_id": asked.stream_id,
        "issued_by": asked.issued_by,
        "recorded_at": now,
        "partition": held.partition,
        "partition_seq": offset + 1,
    }


def _decide(
    command: Command,
    standing: dict[str, Standing],
    states: dict[str, Any],
    far: set[str],
    now: datetime,
) -> Verdict:
    stream = standing.get(command.stream_id)
    ours = stream if stream is not None and is_of(stream, command) else None
    before = ours or Standing(command.stream_type, command.tenant_id, 0, None)
    refused = rejected(command, stream, ours, standing)
    if refused is not None:  # where its issuer may not look, its version isn't told either
        version = 0 if refused.rule == NOT_PERMITTED else before.version
        return Verdict(version=version, rejected=refused)
    state = states.get(command.stream_id, command.folding.initial)
    try:
        if isinstance(state, Exception):
            raise state
        answer = command.decide(state)
        if isinstance(answer, Rejected):
            return Verdict(version=before.version, rejected=answer)
        after, kept = before, []
        for event in answer:
            after = after.after(event, now)
            numbers = {"event_version": after.version, "recorded_at": after.recorded_at}
            state = command.folding.evolve(state, {**event, **numbers})
            if after.version % SNAPSHOT_VERSIONS == 0:
                kept += _snapshot(command, after.version, state)
        if answer and not kept and command.stream_id in far:
            kept += _snapshot(command, after.version, state)
    except KeysWanted:
        raise
    except Exception as error:  # a fault of ours stops this command, not its partition
        return Verdict(version=before.version, failed=error)
    if answer:
        standing[command.stream_id], states[command.stream_id] = after, state
        far.discard(command.stream_id)
    return Verdict(version=after.version, events=answer, snapshots=kept)


def _snapshot(command: Command, version: int, state: object) -> list[Put]:
    """The state kept; not, where it holds what is known only of somebody who was erased."""
    snapshot_id = uuid5(UUID(command.stream_id), f"snapshot/{version}")
    frozen = command.folding.freeze(state, snapshot_id)
    if frozen is None:
        return []
    row = {
        "snapshot_id": snapshot_id,
        "stream_id": command.stream_id,
        "stream_type": command.stream_type,
        "version": version,
        "tenant_id": command.tenant_id,
        "state": {
            "state_version": command.folding.state_version,
            "state": frozen,
        },
    }
    return [Put(snapshots, row)]


def _load(
    connection: Connection[Row],
    commands: Sequence[Command],
    standing: Mapping[str, Standing],
) -> tuple[dict[str, Any], set[str]]:
    """The state of each stream that stands; the exception instead, where it can't be folded.

    And those folded from afar, whose snapshots are of another shape or can't be read: the next
    command leaves one, or each up to the next hundredth version would fold as much again.
    """
    asked: dict[str, Command] = {}
    for command in commands:
        stream = standing.get(command.stream_id)
        if not command.creates and stream is not None and is_of(stream, command):
            asked.setdefault(command.stream_id, command)
    if not asked:
        return {}, set()
    reached = _thawed(connection, asked)
    rows = connection.execute(
        _EVENTS, (list(asked), [reached.get(stream, (0, None))[0] for stream in asked])
    ).fetchall()
    told: dict[str, list[Row]] = {stream: [] for stream in asked}
    for row in rows:
        told[row["stream_id"]].append(row)
    far = {stream for stream in asked if len(told[stream]) >= SNAPSHOT_VERSIONS}
    return {
        stream: _folded(
            command.folding, told[stream],
            reached.get(stream, (0, command.folding.initial)), standing[stream].version,
        )
        for stream, command in asked.items()
    }, far  # fmt: skip


def _thawed(
    connection: Connection[Row], asked: Mapping[str, Command]
) -> dict[str, tuple[int, Any]]:
    """Version and state of each stream's newest snapshot; one that can't be read is none."""
    versions = [command.folding.state_version for command in asked.values()]
    found: dict[str, tuple[int, Any]] = {}
    for row in connection.execute(_SNAPSHOTS, (list(asked), versions)).fetchall():
        thaw = asked[row["stream_id"]].folding.thaw
        try:
            state = thaw(row["state"]["state"], UUID(row["snapshot_id"]))
        except KeysWanted:
            raise
        except Exception:  # noqa: S112  disposable: the events say the same
            continue
        found[row["stream_id"]] = (row["version"], state)
    return found


def _folded(folding: Folding, rows: Sequence[Row], begun: tuple[int, Any], version: int) -> object:
    reached, state = begun
    try:
        for row in rows:
            reached += 1
            assert row["event_version"] == reached, "a stream's versions have no hole"
            state = folding.evolve(state, row)
        assert reached == version, "a stream has all of its versions"
    except KeysWanted:
        raise
    except Exception as error:  # the commands on this stream fail by it, and no others
        return error
    return state


_PEOPLE = """
SELECT tenant_id, stream_id, person_id FROM events
WHERE stream_id = ANY(%s::uuid[]) AND event_version = 1
"""
_SNAPSHOTS = """
SELECT newest.* FROM unnest(%s::uuid[], %s::int[]) AS wanted (stream_id, state_version)
CROSS JOIN LATERAL (
    SELECT stream_id, snapshot_id, version, state FROM snapshots
    WHERE snapshots.stream_id = wanted.stream_id
      AND (state ->> 'state_version')::int = wanted.state_version
    ORDER BY version DESC LIMIT 1
) AS newest
"""
_EVENTS = """
SELECT event_id, events.stream_id, event_type, event_version, schema_version, person_id,
       recorded_at, data, sealed
FROM unnest(%s::uuid[], %s::int[]) AS wanted (stream_id, after)
JOIN events ON events.stream_id = wanted.stream_id AND event_version > wanted.after
ORDER BY events.stream_id, event_version
"""
