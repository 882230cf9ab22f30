"""The ledger's processor with messages that can't be mapped as long as somebody says so."""

import random
import uuid
from collections import defaultdict
from itertools import count

import pytest

from schemas import identity
from sinks import requests
from sinks.database import for_tenants
from sinks.requests import Chosen
from streams import log
from streams.ledger import processor
from streams.ledger.mapping.facts import Unmappable
from streams.letters import Letters
from tests.sinks.inbound import check
from tests.sinks.provisioned import counts
from tests.streams.ledger.told import (
    CODEC,
    FEEDS,
    OTHER,
    RECEIVED,
    RECORD,
    TENANT,
    TOPIC,
    Got,
    Line,
    adt,
    made,
    merge,
    numbered,
)

REAL = processor.map_message


class Bench(Line):
    """The ledger's processor with messages that can't be mapped, as long as they are in `bad`."""

    bad: set = set()  # noqa: RUF012  each bench has its own

    @classmethod
    def of(cls, store, monkeypatch):
        monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
        bench = cls(store, made(store).processor)
        bench.bad, bench.records = set(), count()

        def mapped(body, feed, **given):
            if body in bench.bad:
                raise Unmappable("structure", "told to")
            return REAL(body, feed, **given)

        monkeypatch.setattr(processor, "map_message", mapped)
        return bench

    def record(self, body, *, kind="ADT^A01", mrn=None, tenant=TENANT, again=None):
        """The next record: as a message of a type, routed by a number as the intake does."""
        offset = next(self.records)
        message_id = uuid.UUID(int=0x90000 + (offset if again is None else again))
        keys = self.keys(tenant)
        key = message_id if mrn is None else identity.patient(keys.identity, numbered(mrn))
        value = {
            "message_id": str(message_id), "tenant_id": str(tenant),
            "feed_id": str(FEEDS[tenant]), "received_at": RECEIVED, "message_type": kind,
            "size_bytes": len(body), "trace": None,
            "body": keys.seal(body, person=None, record=message_id, field="body"),
        }  # fmt: skip
        return Got(offset, CODEC.encode(RECORD, value), str(key).encode())

    def feed(self, *records):
        return self.processor.apply(TOPIC, 0, self.processor.prepare(TOPIC, 0, records))

    def of_one(self, *bodies, **given):
        """A batch of messages about patients, each routed by its first number."""
        return self.feed(*(self.record(body, mrn=number, **given) for number, body in bodies))

    def ask(self, action="retry", **chosen):
        with self.store.database.connection() as connection, connection.transaction():
            for_tenants(connection, [TENANT, OTHER])
            heads = requests.heads(connection, Chosen(**chosen))
        return requests.ask(
            self.store.database, heads, action, requested_by="tester", purpose="a test"
        )

    def round(self):
        return Letters(processor=self.processor).round()

    def retry(self):
        """Ask for all that are dead; how each request ended, and what it said."""
        if not self.ask():
            return None
        self.round()
        return self.ended()[-1]

    def ended(self):
        rows = self.store.rows("SELECT * FROM dead_letter_requests ORDER BY requested_at, id")
        return [(row["ended"], row["released"]) for row in rows]

    def states(self):
        rows = self.store.rows('SELECT "offset", state FROM dead_letters ORDER BY "offset"')
        return {row["offset"]: row["state"] for row in rows}

    def outcomes(self):
        rows = self.store.rows('SELECT "offset", outcome FROM messages ORDER BY "offset"')
        return {row["offset"]: row["outcome"] for row in rows}

    def counted(self):
        return counts(self.store, "ledger")

    def streams(self):
        """Every stream's events in order, as far as they say the same in every run."""
        told = defaultdict(list)
        for row in self.store.rows("SELECT * FROM events ORDER BY stream_id, event_version"):
            names = ("event_type", "event_id", "person_id", "message_id", "data", "metadata")
            told[str(row["stream_id"])].append([row[name] for name in names])
        return dict(told)

    def everything(self):
        """All that doesn't tell when or where it came: streams, who is who, what became of all."""
        queries = (
            "SELECT authority, value_hmac, type, patient_id FROM patient_identifiers",
            "SELECT patient_id, into_patient_id, kind FROM patient_aliases WHERE undone_at IS NULL",
            "SELECT event_id, patient_id, into_patient_id, kind FROM patient_merges",
            "SELECT account_id, admission_id, patient_id FROM visit_accounts",
            """SELECT message_id, outcome, reason, cause, events, message_type, control_hmac
               FROM messages""",
        )
        found = [self.store.rows(query) for query in queries]
        return self.streams(), [sorted(map(str, (row.values() for row in each))) for each in found]

    def nothing_waits(self):
        assert self.store.rows("SELECT FROM parked_records") == []
        assert self.store.subscription("ledger")["parked_keys"] == 0
        assert not {"dead", "parked"} & set(self.counted())
        assert not {"dead", "parked"} & set(self.outcomes().values())
        check(self.store)


@pytest.fixture
def bench(store, monkeypatch):
    return Bench.of(store, monkeypatch)


def story(number, minutes=4):
    """A patient admitted, moved and discharged; the first message is the one that may be bad."""
    beds = [f"W1^R{minute}^B1" for minute in range(minutes)]
    triggers = ["A01", *["A02"] * (minutes - 2), "A03"]
    return [
        (number, adt(trigger, number, visit=f"V{number}", minute=minute, bed=bed))
        for minute, (trigger, bed) in enumerate(zip(triggers, beds, strict=True))
    ]


def journey(seed, messages):
    """Messages of some people by several numbers each, with merges between them."""
    rng = random.Random(f"ledger parking/{seed}")
    told = []
    for minute in range(messages):
        one, other = rng.sample("ABCDEF", 2)
        numbers = rng.sample([f"{one}{n}" for n in range(3)], rng.choice((1, 1, 2)))
        if rng.random() < 0.08:
            body = merge("~".join(numbers), f"{other}0", minute=minute % 60)
        else:
            trigger = rng.choice(("A01", "A02", "A08", "A03"))
            visit = rng.choice((f"V{one}1", f"V{one}2", ""))
            bed = f"W{minute}^R^B"
            body = adt(trigger, "~".join(numbers), visit=visit, minute=minute % 60, bed=bed)
        told.append((numbers[0], body))
    return rng, told


def play(bench, seed, *, messages=70, chance=0.08):
    """The journey in batches of any size, some bad, mended one by one, with retries; how many."""
    rng, told = journey(seed, messages)
    bench.bad = {body for _, body in told if rng.random() < chance}
    mended = sorted(bench.bad)
    rng.shuffle(mended)
    at = 0
    while at < messages:
        size = rng.randrange(1, 12)
        bench.of_one(*told[at : at + size])
        at += size
        if mended and rng.random() < 0.4:
            bench.bad.discard(mended.pop())
            bench.retry()
    kept = len(bench.store.rows("SELECT FROM dead_letters"))
    bench.bad.clear()
    for _ in range(messages):
        if not bench.ask():
            break
        bench.round()
    return told, kept


def trouble(store, state):
    store.run(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END $$"
    )
    store.run(
        "CREATE TRIGGER trouble BEFORE INSERT ON events"
        " FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
    )
