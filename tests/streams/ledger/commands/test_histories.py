"""Histories of commands: clients at once, repeats, owners that die or are overtaken; and a model.

What the results and the events say must be one history of the model: each command decided once,
on the version that its result names. With HISTORIES=N in the environment: N histories, and new
ones each time.
"""

import os
import secrets
import uuid
from collections import Counter, defaultdict
from dataclasses import replace

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from schemas import commands, failpoints
from schemas.failpoints import FailPoint
from sinks import aggregates, outcomes
from sinks.database import Refused
from streams import ports
from streams.ledger.commands import REGISTRY
from streams.ledger.processor import Ledger
from streams.ownership import Ownership
from tests.sinks.inbound import both
from tests.streams.ledger.commands import modelled
from tests.streams.ledger.commands.conftest import CLERK, ISSUED, RECORD, ROOT, TENANT, TOPIC, Got
from tests.streams.ledger.commands.modelled import Asked
from tests.streams.ledger.commands.working import data_of

pytestmark = pytest.mark.stack

INBOUND = (0, 1, 2)
AWAY = 3  # where the patient stands, whose tasks so have another home than their commands
STREAMS = {"department": 2, "task": 2, "shift": 1}
LIVES = [("task", "create", "cancel", "start", "assign"), ("shift", "schedule", "assign", "assign")]
SNAPSHOT_VERSIONS = 3
POINTS = [f"ledger: {each}" for each in ("locked", "deciding", "decided", "written", "committed")]
EXAMPLES = int(os.environ.get("HISTORIES", "0"))
BOUNDED = settings(
    max_examples=EXAMPLES or 25, stateful_step_count=20, database=None, deadline=None,
    suppress_health_check=list(HealthCheck), print_blob=False,
)  # fmt: skip
QUICK = settings(BOUNDED, phases=[Phase.generate], max_examples=40)
# What befalls a history hangs on who is first to a lock, so that no one seed is sure to see all.
SEEDS = [secrets.randbits(64)] if EXAMPLES else range(8)
RULES, STANDING = aggregates.rejected, aggregates.standing_of
# Rules that refused (None: accepted), and what befell owners.
ALL_SEEN = {
    "None", "conflict", "exists", "not_found", "not_pending", "not_open", "already_assigned",
    "not_permitted", "died", "overtaken", "thawed",
}  # fmt: skip


class World:
    """The database, the log of three partitions, and who owns them now."""

    def __init__(self, line):
        self.line, self.examples, self.generations = line, 0, 0
        self.looking = psycopg.connect(line.store.admin, autocommit=True, row_factory=dict_row)
        self.logs = {partition: [] for partition in INBOUND}
        self.begun = dict.fromkeys(INBOUND, 0)  # where the log of this history begins
        self.keys = line.keys()
        self.worker = self.anew()

    def rows(self, query, *values):
        return self.looking.execute(query, values or None).fetchall()

    def anew(self):
        """Another process takes all partitions."""
        self.generations += 1
        store = self.line.store
        worker = Ledger(
            database=store.database, codec=self.line.codec, root=ROOT,
            ownership=Ownership(
                database=store.database, url=store.worker, subscriptions=("ledger",),
                bootstrap_servers="", owner=f"test {self.generations}",
            ),
        )  # fmt: skip
        worker.take([(TOPIC, each) for each in INBOUND], generation=self.generations)
        return worker

    def positions(self):
        rows = self.rows("SELECT partition, next_offset FROM subscriptions WHERE topic = %s", TOPIC)
        return {row["partition"]: row["next_offset"] for row in rows}

    def begin(self):
        """Another history: what an earlier one left unread never was."""
        self.examples += 1
        self.begun = self.positions()
        self.logs = {partition: [] for partition in INBOUND}

    def named(self, what):
        return str(uuid.uuid5(uuid.UUID(int=self.examples), what))

    def publish(self, partition, asked):
        declared, log = commands.TYPES[asked.name], self.logs[partition]
        clear = self.line.codec.encode(declared.full_record, asked.data)
        value = {
            "command_id": asked.command_id, "command_type": asked.name, "schema_version": 1,
            "tenant_id": str(TENANT), "stream_type": asked.kind, "stream_id": asked.stream,
            "expected_version": asked.expected, "issued_at": ISSUED, "issued_by": CLERK,
            "correlation_id": asked.command_id, "trace": None,
            "departments": None if asked.within is None else list(asked.within),
            "data": self.keys.seal(
                clear, person=None, record=uuid.UUID(asked.command_id), field="data"
            ),
        }  # fmt: skip
        encoded = self.line.codec.encode(RECORD, value)
        log.append((Got(self.begun[partition] + len(log), encoded), asked))

    def chunk(self, partition, most):
        """The next records that a partition's owner reads, prepared."""
        start = self.positions()[partition] - self.begun[partition]
        records = [record for record, _ in self.logs[partition][start : start + most]]
        return self.worker.prepare(TOPIC, partition, records) if records else None

    def read(self, partition, most=1_000):
        """Have the owner decide what is next in a partition."""
        chunk = self.chunk(partition, most)
        if chunk:
            self.worker.apply(TOPIC, partition, chunk)


class Histories(RuleBasedStateMachine):
    """Clients that ask, owners that decide; after each step all that is told fits the model."""

    world: World
    seen: Counter[str]

    @initialize()
    def a_ward(self):
        world = self.world
        world.begin()
        self.numbers, self.asked, self.told = 0, {}, {}
        self.floor = defaultdict(int)  # the versions that every client may know of by now
        self.people = [world.named(f"nurse {n}") for n in range(3)]
        self.patient = world.named("patient")
        self.wards = [world.named("ward"), world.named("icu")]
        world.rows(
            "INSERT INTO streams SELECT * FROM (VALUES (%s::uuid, 'patient', %s::uuid, %s, 1,"
            " now())) AS made RETURNING 1", self.patient, TENANT, AWAY,
        )  # fmt: skip
        for ward in self.wards:
            world.rows(
                "INSERT INTO streams VALUES (%s, 'department', %s, 0, 1, now()) RETURNING 1",
                ward, TENANT,
            )  # fmt: skip
        for person in self.people:
            world.rows(
                "INSERT INTO streams VALUES (%s, 'user', %s, 1, 1, now()) RETURNING 1",
                person, TENANT,
            )  # fmt: skip

    def one(self, draw):
        """A command that some client thinks of, knowing what it may."""
        kind = draw(st.sampled_from(sorted(STREAMS)))
        stream = self.world.named(f"{kind} {draw(st.integers(0, STREAMS[kind] - 1))}")
        known = self.floor[stream]
        founding = not known and draw(st.integers(0, 3))
        verb = modelled.VERBS[kind][0] if founding else draw(st.sampled_from(modelled.VERBS[kind]))
        expected = draw(st.sampled_from([None, known, known, max(0, known - 1), known + 1]))
        arg = draw(st.sampled_from(self.people))
        return self.new(kind, verb, stream, expected, arg=arg, place=self.wards[0], within=None)

    def new(self, kind, verb, stream, expected, *, arg, place, within):
        self.numbers += 1
        asked = Asked(
            command_id=self.world.named(f"command {self.numbers}"), kind=kind, verb=verb,
            stream=stream, expected=expected, arg=arg, place=place, within=within,
            data=self.data(kind, verb, arg, place),
        )  # fmt: skip
        self.asked[asked.command_id] = asked
        return asked

    def data(self, kind, verb, arg, place):
        whole = {
            "department.create": {"code": "W", "name": "Ward"},
            "department.update": {"name": "Ward"},
            "task.create": {
                "title": "Look", "priority": "normal", "patient_id": self.patient,
                "department_id": place,
            },
            "task.assign": {"assigned_to": arg},
            "shift.schedule": {
                "department_id": place, "supervisor_id": self.people[0],
                "starts_at": ISSUED, "ends_at": ISSUED + 1,
            },
            "shift.assign": {"user_id": arg},
            "shift.unassign": {"user_id": arg},
        }  # fmt: skip
        name = f"{kind}.{verb}"
        return data_of(name, **whole.get(name, {}))

    @rule(data=st.data(), partition=st.sampled_from(INBOUND), most=st.integers(1, 5))
    def clients_ask(self, data, partition, most):
        for _ in range(most):
            self.world.publish(partition, self.one(data.draw))

    @rule(data=st.data(), partition=st.sampled_from(INBOUND))
    def a_client_asks_in_its_departments(self, data, partition):
        like = self.one(data.draw)
        del self.asked[like.command_id]  # only thought of
        place = data.draw(st.sampled_from(self.wards))
        within = data.draw(st.sampled_from([(), *((each,) for each in self.wards)]))
        asked = self.new(
            like.kind, like.verb, like.stream, like.expected, arg=like.arg, place=place,
            within=within,
        )  # fmt: skip
        self.world.publish(partition, asked)

    @rule(partition=st.sampled_from(INBOUND), life=st.sampled_from(LIVES))
    def a_client_asks_on_though_it_is_over(self, partition, life):
        kind, *verbs = life
        like = {"arg": self.people[0], "place": self.wards[0], "within": None}
        for verb in verbs:
            asked = self.new(kind, verb, self.world.named(f"{kind} 0"), None, **like)
            self.world.publish(partition, asked)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), partition=st.sampled_from(INBOUND))
    def a_client_that_heard_nothing_asks_again(self, data, partition):
        again = data.draw(st.sampled_from(sorted(self.asked)))
        self.world.publish(partition, self.asked[again])

    @rule(data=st.data(), apart=st.booleans())
    def two_clients_expect_the_same_version(self, data, apart):
        first = self.one(data.draw)
        like = {"arg": first.arg, "place": first.place, "within": first.within}
        first = self.new(first.kind, first.verb, first.stream, self.floor[first.stream], **like)
        second = self.new(first.kind, first.verb, first.stream, first.expected, **like)
        del self.asked[f"{self.world.named(f'command {self.numbers - 2}')}"]  # only thought of
        self.world.publish(0, first)
        self.world.publish(1 if apart else 0, second)
        self.everything_is_read_at_once()

    @rule(partition=st.sampled_from(INBOUND), most=st.integers(1, 6))
    def an_owner_reads_on(self, partition, most):
        self.world.read(partition, most)

    @rule()
    def everything_is_read_at_once(self):
        both(*(lambda each=each: self.world.read(each) for each in INBOUND))

    @rule(
        partition=st.sampled_from(INBOUND), point=st.sampled_from(POINTS),
        passage=st.integers(1, 3),
    )  # fmt: skip
    def an_owner_dies(self, partition, point, passage):
        failpoints._armed = failpoints.parse(f"{point}=raise@{passage}")
        failpoints._passages.clear()
        try:
            self.world.read(partition)
        except FailPoint:
            self.seen["died"] += 1
        finally:
            failpoints._armed = {}
        self.world.worker = self.world.anew()

    @rule(partition=st.sampled_from(INBOUND), first=st.booleans())
    def an_owner_is_overtaken(self, partition, first):
        frozen, chunk = self.world.worker, self.world.chunk(partition, 10)
        self.world.worker = self.world.anew()
        if first:
            self.world.read(partition, 4)
        if chunk:
            self.seen["overtaken"] += 1
            with pytest.raises(ports.Stale):
                frozen.apply(TOPIC, partition, chunk)

    @invariant()
    def what_is_told_is_one_history_of_the_model(self):
        if not hasattr(self, "told"):
            return
        streams = sorted({asked.stream for asked in self.asked.values()})
        found = self.world.rows(
            "SELECT * FROM command_results WHERE command_id = ANY(%s::uuid[])"
            " ORDER BY partition, partition_seq", list(self.asked),
        )  # fmt: skip
        events = defaultdict(list)
        for row in self.world.rows(
            "SELECT * FROM events WHERE stream_id = ANY(%s::uuid[]) ORDER BY event_version", streams
        ):
            events[str(row["stream_id"])].append(row)
        results = {str(row["command_id"]): row for row in found}
        assert results.keys() == self.read_so_far(), "each is decided, and only what was read"
        for name, row in self.told.items():
            assert results[name] == row, "the original result stands"
        for stream in streams:
            self.fits(stream, events[stream], results)
            self.folds_alike(stream, events[stream])
        self.floor.update({stream: len(events[stream]) for stream in streams})
        self.seen.update(str(row["rule"]) for name, row in results.items() if name not in self.told)
        self.told = results

    def read_so_far(self):
        positions, begun = self.world.positions(), self.world.begun
        return {
            asked.command_id
            for partition, log in self.world.logs.items()
            for _, asked in log[: positions[partition] - begun[partition]]
        }

    def fits(self, stream, events, results):
        """The stream's results are what the model says, each at the version that it met."""
        assert [row["event_version"] for row in events] == list(range(1, len(events) + 1))
        told, states = {}, [None]
        for row in events:
            name = str(row["message_id"])
            assert results[name]["outcome"] == "accepted", "no event is of no accepted command"
            assert name not in told, "each becomes its event once"
            told[name] = row
            refused, state = modelled.became(states[-1], len(states) - 1, self.asked[name])
            assert refused is None, f"the model refuses it: {refused}"
            states.append(state)
        for name, row in results.items():
            asked = self.asked[name]
            if asked.stream != stream:
                continue
            accepted = row["outcome"] == "accepted"
            met = row["version"] - row["events"]
            assert accepted == (name in told), "no acceptance is lost"
            assert row["events"] == accepted
            if accepted:
                assert told[name]["event_version"] == row["version"]
                assert row["event_seq"] == told[name]["partition_seq"]
            if row["rule"] == "not_permitted":  # whether there is such a thing isn't told either
                assert met == 0, "who may not look is told no version"
                known = range(0 if name in self.told else self.floor[stream], len(states))
                refusals = {modelled.became(states[at], at, asked)[0] for at in known}
                assert row["rule"] in refusals, "it is decided on what is known"
                continue
            assert modelled.became(states[met], met, asked)[0] == row["rule"]
            assert name in self.told or met >= self.floor[stream], "it is decided on what is known"
        accepted = [self.asked[name].expected for name in told]
        twice = Counter(each for each in accepted if each is not None)
        assert all(count == 1 for count in twice.values()), "one expected version, one acceptance"

    def folds_alike(self, stream, events):
        """From each snapshot on, the events lead where all of them lead; and the model too."""
        if not events:
            return
        aggregate = REGISTRY[events[0]["stream_type"]]
        engine = self.world.worker.commands.engine
        folding = engine.folding(aggregate, uuid.UUID(stream), self.world.keys)

        def folded(state, rows):
            for row in rows:
                state = folding.evolve(state, row)
            return state

        whole = folded(folding.initial, events)
        snapshots = self.world.rows("SELECT * FROM snapshots WHERE stream_id = %s", stream)
        assert {row["version"] for row in snapshots} == {
            version for version in range(1, len(events) + 1) if version % SNAPSHOT_VERSIONS == 0
        }
        for row in snapshots:
            self.seen["thawed"] += 1
            thawed = folding.thaw(row["state"]["state"], row["snapshot_id"])
            assert folded(thawed, events[row["version"] :]) == whole
        state = None
        for version, row in enumerate(events):
            _, state = modelled.became(state, version, self.asked[str(row["message_id"])])
        assert modelled.shown(aggregate.stream_type, whole) == state[1]

    def teardown(self):
        failpoints._armed = {}
        if not hasattr(self, "told"):
            return
        self.everything_is_read_at_once()
        self.what_is_told_is_one_history_of_the_model()
        assert self.told.keys() == {
            asked.command_id for log in self.world.logs.values() for _, asked in log
        }
        assert self.world.rows("SELECT cause, reason FROM dead_letters") == []


@pytest.fixture
def histories(line, monkeypatch):
    monkeypatch.setattr(aggregates, "SNAPSHOT_VERSIONS", SNAPSHOT_VERSIONS)
    monkeypatch.setattr(failpoints, "_armed", {})
    world = World(line)
    yield type("TheseHistories", (Histories,), {"world": world, "seen": Counter()})
    world.looking.close()


def play(histories, bounds, enough=lambda: False):
    """One seed after another, until it is enough."""
    for number in SEEDS:
        run_state_machine_as_test(seed(number)(histories), settings=bounds)
        if enough():
            return


def test_every_history_of_concurrent_clients_is_one_of_the_model(histories):
    play(histories, BOUNDED, lambda: histories.seen.keys() >= ALL_SEEN)

    assert histories.seen.keys() >= ALL_SEEN, "they were histories that try it"


def forgetful(command, *rest):
    """Rules that don't mind which version was expected."""
    return RULES(replace(command, expected_version=None), *rest)


def open_to_all(command, *rest):
    """Rules that don't mind in which departments the issuer asks."""
    return RULES(replace(command, departments=None), *rest)


def deaf(command, standing, *_):
    """A ledger that accepts and writes nothing."""
    stream = standing.get(command.stream_id)
    return aggregates.Verdict(version=stream.version if stream else 0)


class Hasty:
    """Decides on what stood before the last lock, not under this one."""

    def __init__(self):
        self.before = {}

    def __call__(self, connection, wanted):
        now = STANDING(connection, wanted)
        stale = {stream: self.before.get(stream, each) for stream, each in now.items()}
        self.before = {**self.before, **now}
        return stale


@pytest.mark.parametrize(
    ("module", "name", "bug"),
    [
        (aggregates, "rejected", lambda: forgetful),
        (aggregates, "rejected", lambda: open_to_all),
        (aggregates, "_decide", lambda: deaf),
        (aggregates, "standing_of", Hasty),
        (outcomes, "known", lambda: lambda *_: set()),
    ],
    ids=[
        "no expected version",
        "any department",
        "nothing written",
        "decided before the lock",
        "decided twice",
    ],
)
def test_a_ledger_that_decides_otherwise_is_caught(histories, monkeypatch, module, name, bug):
    monkeypatch.setattr(module, name, bug())
    with pytest.raises((AssertionError, Refused, Flaky)):
        play(histories, QUICK)
