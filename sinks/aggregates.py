"""Deciding commands inside the ledger's transaction: states loaded, rules held, snapshots made.

The partitions of the commands' streams are locked, so that nobody else decides on them. What a
state is, and what is decided on it, are functions that come with each command.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from psycopg import Connection

from schemas.failpoints import hit
from schemas.sealing import KeysWanted
from sinks.changes import Put
from sinks.database import Database, Row, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.subscriptions import Held
from sinks.tables import command_results, snapshots

SNAPSHOT_VERSIONS = 100  # a fold of so many events costs about as much as one round trip
NOT_PERMITTED = "not_permitted"  # the rule for who may not ask there
DEPARTMENT = "department_id"  # in a stream's first event: whose it is
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folding:
    """How a stream's state follows from its rows of ``events``; what a state is, is its own.

    ``freeze`` and ``thaw`` take a state to JSON's types and back, under the snapshot's id; what is
    frozen to None isn't kept. Only snapshots of this ``state_version`` are used. All may raise
    :class:`~schemas.sealing.KeysWanted`.
    """

    state_version: int
    initial: Any
    evolve: Callable[[Any, Mapping[str, Any]], Any]
    freeze: Callable[[Any, UUID], Any]
    thaw: Callable[[Any, UUID], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Why a command becomes nothing: a code, and a line; never a patient's data."""

    rule: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A command by its ids and types, as text."""

    tenant_id: str
    command_id: str
    command_type: str
    stream_type: str
    stream_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Named):
    """A command to be decided; ids are text.

    ``references`` are the streams that fields name: field, stream type, stream id; ``near`` are
    those at whose home a new stream is to stand, best first. ``decide`` gives rows of
    ``events`` that lack only their numbers and ``recorded_at``. ``taken``: the id of the stream
    that it would create was seen to be another tenant's, whose rows aren't to be seen.
    ``founds``: it may be the first of its stream, or not. ``departments`` are those in which
    its issuer may ask it (None: in all), and ``owner`` is the stream in whose department it
    does; without one it is about all of them. ``seals``: its events or its state may have text
    that is sealed; for ``person``, where it says for whom.
    """

    expected_version: int | None
    creates: bool
    references: Sequence[tuple[str, str, str]]
    near: Sequence[str]
    folding: Folding
    decide: Callable[[Any], Sequence[Mapping[str, Any]] | Rejected]
    taken: bool = False
    founds: bool = False
    departments: frozenset[str] | None = None
    owner: str | None = None
    seals: bool = False
    person: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a command became: events, or why not; ``version`` is the stream's after it."""

    version: int
    events: Sequence[Mapping[str, Any]] = ()
    rejected: Rejected | None = None
    failed: Exception | None = None
    snapshots: Sequence[Put] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A stream as it stands before a command.

    ``department`` is the one that its first event names: it never moves to another.
    """

    stream_type: str
    tenant_id: str
    version: int
    recorded_at: datetime | None
    department: str | None = None

    def after(self, event: Mapping[str, Any], now: datetime) -> "Standing":
        """With this event too, numbered as the ledger will number it."""
        last = self.recorded_at
        at = now if last is None else max(now, last + _TICK)
        department = self.department if self.version else event["data"].get(DEPARTMENT)
        return replace(self, version=self.version + 1, recorded_at=at, department=department)


def decide(
    connection: Connection[Row], commands: Sequence[Command], now: datetime
) -> list[Verdict]:
    """Decide the commands in order, each on what those before it left; what raises has failed.

    Raises :class:`~schemas.sealing.KeysWanted` for all of them together.
    """
    standing = _standing(connection, commands)
    states, far = _load(connection, commands, standing)
    verdicts, wanted = [], set[tuple[UUID, UUID]]()
    for command in commands:
        hit("ledger: deciding")
        try:
            verdicts.append(_decide(command, standing, states, far, now))
        except KeysWanted as more:
            wanted |= more.people
    if wanted:
        raise KeysWanted(wanted)
    return verdicts


def people(database: Database, commands: Sequence[Command]) -> set[tuple[UUID, UUID]]:
    """Tenant and person of whom the commands' sealed texts will be, as far as can be known.

    Those that commands name, and those of the first events of the streams that they change.
    """
    named = {
        (each.tenant_id, each.person or each.stream_id)
        for each in commands
        if each.seals and (each.person or each.creates)
    }
    changed = [each for each in commands if each.seals and not each.person and not each.creates]
    if changed:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, {each.tenant_id for each in changed})
            streams = list({each.stream_id for each in changed})
            rows = connection.execute(_PEOPLE, (streams,)).fetchall()
        named |= {(row["tenant_id"], row["person_id"] or row["stream_id"]) for row in rows}
    return {(UUID(tenant), UUID(person)) for tenant, person in named}


def result(
    command: Command, verdict: Verdict, last: Mapping[str, Any] | None, held: Held, *,
    offset: int, now: datetime,
) -> Put:  # fmt: skip
    """The row that says what became of it; ``last`` is the last of its events, as numbered.

    It replaces that of a failure, when a dead letter is retried, and no other: the row policy
    holds that.
    """
    rejected = verdict.rejected
    row = {
        **_of(command, held, offset, now),
        "outcome": "rejected" if rejected else "accepted",
        "rule": rejected.rule if rejected else None,
        "said": rejected.said if rejected else None,
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
    ours = stream if stream is not None and _is_of(stream, command) else None
    before = ours or Standing(command.stream_type, command.tenant_id, 0, None)
    rejected = _rejected(command, stream, ours, standing)
    if rejected is not None:
        return Verdict(version=before.version, rejected=rejected)
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


def _rejected(
    command: Command,
    stream: Standing | None,
    ours: Standing | None,
    standing: Mapping[str, Standing],
) -> Rejected | None:
    """The rules that hold for every command; another's stream is as good as none."""
    if command.creates and (stream is not None or command.taken):
        return Rejected(rule="exists", said="the stream that it would create exists")
    founding = command.founds and stream is None and not command.taken
    if not command.creates and ours is None and not founding:
        return Rejected(rule="not_found", said=f"there is no such stream: {command.stream_type}")
    if not _permitted(command, standing):
        said = "its issuer may not ask it, or not in this department"
        return Rejected(rule=NOT_PERMITTED, said=said)
    version = ours.version if ours else 0
    if command.expected_version is not None and command.expected_version != version:
        return Rejected(rule="conflict", said=f"the stream stands at version: {version}")
    for field, stream_type, stream_id in command.references:
        named = standing.get(stream_id)
        of_ours = named is not None and named.tenant_id == command.tenant_id
        if named is None or not of_ours or named.stream_type != stream_type:
            rule = f"unknown_reference: {field}"
            return Rejected(rule=rule, said=f"there is no such {stream_type}: {field}")
    return None


def _permitted(command: Command, standing: Mapping[str, Standing]) -> bool:
    """Whether its issuer may ask it, in the department that it is about."""
    if command.departments is None:
        return True
    owner = None if command.owner is None else standing.get(command.owner)
    if owner is None or owner.tenant_id != command.tenant_id:
        return False
    itself = owner.stream_type == "department"
    return (command.owner if itself else owner.department) in command.departments


def _is_of(stream: Standing, command: Command) -> bool:
    return (stream.tenant_id, stream.stream_type) == (command.tenant_id, command.stream_type)


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


def _standing(connection: Connection[Row], commands: Sequence[Command]) -> dict[str, Standing]:
    """The streams that the commands ask something of, and those that they name."""
    ids = {command.stream_id for command in commands}
    ids.update(each for command in commands for _, _, each in command.references)
    rows = connection.execute(_STANDING, (sorted(ids),)).fetchall()
    owners = {command.owner for command in commands if command.departments is not None} - {None}
    owned = connection.execute(_OWNED, (DEPARTMENT, list(owners))).fetchall() if owners else []
    departments = {row["stream_id"]: row["department"] for row in owned}
    return {
        row["stream_id"]: Standing(
            row["stream_type"], row["tenant_id"], row["version"], row["recorded_at"],
            departments.get(row["stream_id"]),
        )
        for row in rows
    }  # fmt: skip


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
        if not command.creates and stream is not None and _is_of(stream, command):
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
_STANDING = """
SELECT stream_id, stream_type, tenant_id, version, recorded_at FROM streams
WHERE stream_id = ANY(%s::uuid[])
"""
_OWNED = """
SELECT stream_id, data ->> %s AS department FROM events
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
