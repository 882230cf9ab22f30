"""A whole line that judges: told over MLLP, commanded over HTTP, read by row, topic and query."""

import asyncio
import json
import secrets
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import count, pairwise
from typing import Any
from uuid import UUID, uuid4, uuid5

from click.testing import CliRunner
from confluent_kafka import Consumer, TopicPartition

from ops import access, deploy, keys
from ops import line as whole
from ops.cli.verifying import verify
from ops.deploy import DEMO, DEMO_TENANT
from ops.lag import Gauge
from ops.settings import Settings
from ops.stack import stack as servers
from ops.stack.state import read
from producers import client
from schemas import identity, sealing
from schemas.codec import Codec
from schemas.feeds import Feed
from schemas.identity import Identifier
from schemas.topics import EVENTS, VERIFICATIONS
from sinks import ledger, subscriptions, tenancy
from sinks.database import Database, Row, connect
from sinks.numbering import Entry
from streams.ledger.commands.verifications import stream_of
from streams.ledger.decide import decide
from streams.ledger.identities import Person
from streams.ledger.mapping.facts import Facts
from streams.log import FETCH, QUIET
from streams.read_models.work import PROJECTION as WORK
from streams.verification.projection import PROJECTION as VERIFICATION
from tests.chaos import judged
from tests.conftest import home
from tests.line import north
from tests.line.conftest import Line
from tests.line.messages import AUTHORITY, PEOPLE, adt
from tests.line.north import NORTH, SECONDS

FHIR = "emr.fhir.v1"
RULE: Mapping[str, Any] = {
    "name": "temperature", "evidence_kinds": ["observation"],
    "codes": [{"system": "LN", "code": "8310-5"}], "window_before_s": 1800,
    "window_after_s": 1800, "encounter_policy": "any", "thresholds": None, "feeds": [],
    "stale_after_s": 7200,
    # Absence says nothing for so long that no other scenario's messages end the waiting.
    "allowance_s": 300 * 24 * 3600,
}  # fmt: skip
_ASKED = ("status", "reasons", "revision", "rule_version", "vector_clock", "patient_id")


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of a task, and what was known before, the same wherever one looks."""

    row: Row
    history: Sequence[Mapping[str, Any]]
    """The records of the topic, by revision."""

    @property
    def outcome(self) -> str:
        return str(self.row["status"])

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(self.row["reasons"])

    @property
    def evidence(self) -> list[str]:
        """The ids of the evidence that counts."""
        return [each["evidence_id"] for each in self.row["evidence"]]

    @property
    def versions(self) -> list[str | None]:
        """The sender's versions of it."""
        return [each["version"] for each in self.row["evidence"]]

    @property
    def differing(self) -> set[str]:
        """The fields in which evidence differs from what was asked."""
        return {each["field"] for each in self.row["discrepancies"]}

    @property
    def outcomes(self) -> list[str]:
        """Of every revision."""
        return [each["outcome"] for each in self.history]


@dataclass(slots=True, kw_only=True)
class Judging:
    """The line, with what a test needs to look at it."""

    line: Line
    gauge: Gauge
    consumer: Consumer
    codec: Codec
    database: Database
    superuser: str
    ports: Mapping[str, int]
    tokens: Mapping[UUID, str]
    identity_keys: Mapping[UUID, sealing.Keys]
    records: dict[str, list[Mapping[str, Any]]] = field(
        default_factory=lambda: defaultdict(list)
    )  # of the topic, by task
    offsets: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    appended: Iterator[int] = field(default_factory=count)
    people: Iterator[str] = field(default_factory=lambda: iter(PEOPLE))
    """Those of whom nobody has told yet."""

    @classmethod
    @contextmanager
    def up(cls) -> Iterator["Judging"]:
        """Servers, three feeds of two tenants, every processor; some people everybody knows."""
        with home() as settings, ExitStack() as open_:
            servers.up(settings)
            joined = settings.joined(read(settings.home))
            deploy.migrate(joined)
            database = Database.open(access.role_url(joined, "wt_worker"), name="test", size=2)
            open_.callback(database.close)
            north.found(joined, database)
            tokens = {NORTH: _key(joined)}
            tokens[DEMO_TENANT] = keys.generate(
                joined, name=DEMO, tenant_id=DEMO_TENANT
            ).read_text("ascii").strip()  # fmt: skip
            whole._spawn(joined, "serve", ("serve",))
            whole._spawn(joined, "workers", ("worker", "--in-one"))
            codec = Codec(access.schema_ids(joined))
            further = open_.enter_context(north.listening(joined, database, codec))
            line = Line(joined)
            assert joined.postgres is not None, "it is up"
            consumer = Consumer(
                {"bootstrap.servers": joined.kafka_bootstrap_servers, "group.id": "judged",
                 "enable.auto.commit": False, "auto.offset.reset": "earliest", **FETCH, **QUIET}
            )  # fmt: skip
            open_.callback(consumer.close)
            up = cls(
                line=line, gauge=open_.enter_context(Gauge.open(joined)), consumer=consumer,
                codec=codec, database=database,
                superuser=joined.postgres.superuser_url(joined.postgres.database),
                ports={DEMO: joined.mllp_port, **further}, tokens=tokens,
                identity_keys=_keys(joined, database),
            )  # fmt: skip
            up.found()
            yield up

    def person(self) -> str:
        """The record number of somebody known to both tenants, for one scenario alone."""
        return next(self.people)

    def found(self) -> None:
        """Make the ward and the people known that tasks name."""
        for feed in (DEMO, "ward"):
            self.tell(*(adt("A28", person, "00:00") for person in PEOPLE), feed=feed)
        self.rest()
        for tenant in (DEMO_TENANT, NORTH):
            ward = {"code": "W1", "name": "Ward"}
            self.command("department.create", ward_of(tenant), ward, tenant=tenant)

    def tell(self, *bodies: bytes, feed: str = DEMO) -> None:
        """Send messages, one after another; each has its positive answer on return."""
        host, patience = self.line.settings.mllp_host, client.Patience(without_progress=SECONDS)
        sent = client.send(host, self.ports[feed], bodies, window=1, patience=patience)
        for result in asyncio.run(sent):
            assert result.code == "AA", result.code or result.cause

    def ask(self, path: str, body: Any = None, *, tenant: UUID = DEMO_TENANT) -> tuple[int, Any]:
        """A question or command over HTTP: its status and answer."""
        sent = {"Authorization": f"Bearer {self.tokens[tenant]}", "Prefer": "wait=10"}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        url = f"http://127.0.0.1:{self.line.settings.http_port}/v1{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, sent), timeout=60) as got:
                return got.status, json.load(got)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def command(self, kind: str, stream: str, data: Any, *, tenant: UUID = DEMO_TENANT) -> Any:
        """A command that is accepted; its result."""
        asked = {
            "command_id": str(uuid4()), "command_type": kind, "stream_id": stream, "data": data,
        }  # fmt: skip
        deadline = time.monotonic() + SECONDS
        while (said := self.ask("/commands", asked, tenant=tenant))[0] in (202, 503):
            assert time.monotonic() < deadline, said
        assert said[0] == 200, said
        return said[1]

    def rule(self, *, tenant: UUID = DEMO_TENANT, **given: Any) -> str:
        """Define a rule, by what it has of its own."""
        rule = str(uuid4())
        self.command("verification_rule.define", rule, {**RULE, **given}, tenant=tenant)
        return rule

    def revise(self, rule: str, **given: Any) -> None:
        """Define a rule anew."""
        self.command("verification_rule.revise", rule, {**RULE, **given})

    def task(
        self, rule: str, patient: str, due: str, *, tenant: UUID = DEMO_TENANT, **given: Any
    ) -> str:
        """Create a task of a patient, by the value of their record number."""
        task = str(uuid4())
        data = {
            "title": "Temperature", "priority": "normal", "due_at": due, "rule_id": rule,
            "department_id": ward_of(tenant), "patient_id": self.patient(patient, tenant), **given,
        }  # fmt: skip
        self.command("task.create", task, data, tenant=tenant)
        return task

    def decide(self, task: str, patient: str, outcome: str, **given: Any) -> None:
        """A person decides, or with ``resolves`` settles what contradicts itself."""
        kind = "verification.resolve" if given.pop("resolves", False) else "verification.decide"
        data = {"task_id": task, "patient_id": self.patient(patient), "outcome": outcome, **given}
        self.command(kind, stream_of(task), data)

    def patient(self, number: str, tenant: UUID = DEMO_TENANT) -> str:
        """The id of the person with this record number."""
        key = self.identity_keys[tenant].identity
        return str(identity.patient(key, Identifier(value=number, authority=AUTHORITY)))

    def visit(self, number: str) -> str:
        """The id of the visit with this number."""
        key = self.identity_keys[DEMO_TENANT].identity
        return str(identity.admission(key, Identifier(value=number, authority=AUTHORITY)))

    def order(self, number: str) -> str:
        """The id of the order with this placer's number."""
        key = self.identity_keys[DEMO_TENANT].identity
        return str(identity.order(key, Identifier(value=number, authority="CPOE")))

    def feed(self, name: str) -> str:
        """A feed's id."""
        return str(uuid5(NORTH, name))

    def append(self, facts: Facts, patient: str) -> None:
        """Have the ledger told of facts as the intake of FHIR resources will tell it.

        By the ledger's own transaction, numbered beside its worker's: under the subscription
        that a processor of that topic has, since there is none yet.
        """
        offset, held = next(self.appended), self._held()
        message = {
            "tenant_id": str(DEMO_TENANT), "feed_id": str(uuid5(DEMO_TENANT, DEMO)),
            "message_id": str(uuid4()), "trace": None,
        }  # fmt: skip
        feed = Feed(feed_id=UUID(message["feed_id"]), tenant_id=DEMO_TENANT, name=DEMO)
        rows = decide(
            facts, [Person(patients=(self.patient(patient),))], message, feed=feed,
            keys=self.identity_keys[DEMO_TENANT], mapper_version=1,
        )  # fmt: skip
        row = {
            **{name: message[name] for name in ("tenant_id", "feed_id", "message_id")},
            "received_at": facts.parts[0].drafts[0].occurred.at, "message_type": "FHIR",
            "control_hmac": None, "outcome": "applied", "reason": None, "mapper_version": 1,
            "body_sealed": b"",
        }  # fmt: skip
        entry = Entry(offset=offset, key=b"", value=b"", message=row, events=rows)
        line = access.root(self.line.settings).line()
        ledger.append(self.database, held, [entry], topic=EVENTS.name, line=line)

    def _held(self) -> subscriptions.Held:
        place = (FHIR, 0)
        url = access.role_url(self.line.settings, "wt_worker")
        taken = subscriptions.take(
            self.database, url, "ledger", [place], owner="test", topic_ids={}
        )  # fmt: skip
        return taken[place]

    def rest(self) -> None:
        """Wait until nobody is behind: no processor, no relay, no judge."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if not self.gauge.measure().records:
                with connect(self.superuser, name="test") as connection:
                    if not judged.outdated(connection):
                        return
            time.sleep(0.05)
        raise AssertionError(f"still behind: {self.gauge.measure().totals()}")

    def held(self) -> dict[str, list[str]]:
        """All rows of work and verification once all is at rest, but for marks."""
        self.rest()
        names = [table.name for each in (WORK, VERIFICATION) for table in each.owns]
        names += ["emr_verifications", "verification_results"]
        with connect(self.superuser, name="test") as connection:
            return {
                name: [row["row"] for row in connection.execute(
                    f"SELECT each::text AS row FROM {name} AS each ORDER BY 1"
                )]
                for name in names if name != "verification_due"
            }  # fmt: skip

    def judged(self, task: str, *, tenant: UUID = DEMO_TENANT) -> Judged:
        """What is known of a task once all is at rest: the same by row, topic and query."""
        [found] = self.each(task, tenant=tenant)
        return found

    def each(self, *tasks: str, tenant: UUID = DEMO_TENANT) -> list[Judged]:
        """What is known of each task once all is at rest."""
        self.rest()
        self._consume()
        return [self._judged(task, tenant) for task in tasks]

    def _judged(self, task: str, tenant: UUID) -> Judged:
        with connect(self.superuser, name="test") as connection:
            (row,) = connection.execute(
                "SELECT * FROM emr_verifications WHERE task_id = %s", (task,)
            ).fetchall()
            written = connection.execute(
                "SELECT * FROM verification_results WHERE task_id = %s ORDER BY revision", (task,)
            ).fetchall()
        told = {each["revision"]: each for each in self.records[task]}
        assert list(told) == [each["revision"] for each in written] == list(range(1, len(told) + 1))
        assert [each["result_id"] for each in told.values()] == [
            each["result_id"] for each in written
        ]
        newest = told[row["revision"]]
        assert row["revision"] == len(told)
        assert judged.shown(row) == judged.shown(newest)
        assert _stands_on(row) == _stands_on(newest)
        status, answer = self.ask(f"/verifications/{task}", tenant=tenant)
        assert status == 200, answer
        shown = answer["verification"]
        assert {name: shown[name] for name in _ASKED} == {name: row[name] for name in _ASKED}
        assert _stands_on(shown) == _stands_on(row)
        said = [judged.content(each) for each in told.values()]
        assert all(a != b for a, b in pairwise(said)), "a revision changes something"
        return Judged(row, list(told.values()))

    def explained(self, task: str, *, tenant: str = DEMO) -> str:
        """What ``wardtrail verify`` says of a task."""
        environ = {**self.line.settings.environ(), "WARDTRAIL_HOME": str(self.line.home)}
        done = CliRunner().invoke(verify, [task, "--tenant", tenant], env=environ)
        assert done.exit_code == 0, done.output
        return done.output

    def _consume(self) -> None:
        """Read the topic on, as a consumer does who keeps every record once."""
        for partition in range(self.line.settings.partitions):
            place = TopicPartition(VERIFICATIONS.name, partition, self.offsets[partition])
            _, end = self.consumer.get_watermark_offsets(place, timeout=20)
            self.consumer.assign([place])
            while self.offsets[partition] < end:
                record = self.consumer.poll(20)
                assert record is not None, "the topic goes on to its end"
                assert record.error() is None, record.error()
                value = self.codec.decode_as(VERIFICATIONS.records[0], record.value() or b"")
                known = self.records[value["task_id"]]
                if value["revision"] not in {each["revision"] for each in known}:
                    known.append(value)
                self.offsets[partition] = record.offset() + 1


def ward_of(tenant: UUID) -> str:
    """The department of all of a tenant's tasks."""
    return str(uuid5(tenant, "department"))


def _stands_on(told: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    names = ("evidence_id", "event_id", "version", "feed_id", "state")
    return [tuple(each[name] for name in names) for each in told["evidence"]]


def _key(joined: Settings) -> str:
    """An access key of the second tenant."""
    token = secrets.token_urlsafe(keys.BYTES)
    entry = {"tenant_id": str(NORTH), "sha256": sha256(token.encode()).hexdigest(), **keys.GRANTS}
    access.write_private(keys.digests_file(joined), json.dumps({"north": entry}))
    return token


def _keys(joined: Settings, database: Database) -> dict[UUID, sealing.Keys]:
    with database.connection() as connection, connection.transaction():
        wrapped = tenancy.wrapped_keys(connection, tenancy.tenants(connection))
    return tenancy.unwrap(wrapped, access.root(joined))
