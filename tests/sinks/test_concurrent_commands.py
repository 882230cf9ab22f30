"""Concurrent clients believe what the results say, and the ledger holds exactly that."""

import itertools
import random
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from sinks import aggregates
from tests.sinks.asking import ask, asked, command_id, reach, results
from tests.sinks.inbound import both, check

pytestmark = pytest.mark.stack

SEEDS = [1, 2, 3]
CLIENTS, BATCHES = 4, 10
RULES = aggregates.rejected


class Client:
    """Asks by one inbound partition, with the versions that it last heard of."""

    def __init__(self, store, number, rng, streams):
        self.store, self.number, self.rng, self.streams = store, number, rng, streams
        self.held = reach(store, number)
        self.known = dict.fromkeys(range(streams), 0)
        self.serial = itertools.count(1)
        self.asked = {}  # by command id: stream, expected version, amounts

    def batch(self):
        chosen = [self.one() for _ in range(self.rng.randint(1, 6))]
        if self.rng.random() < 0.2 and self.asked:
            number = self.rng.choice(list(self.asked))  # it didn't hear, and asks again
            chosen.append(self.again(number))
        return chosen

    def one(self):
        number = self.number * 100_000 + next(self.serial)
        stream = self.rng.randrange(self.streams)
        expected = self.known[stream] if self.rng.random() < 0.8 else None
        amounts = tuple(self.rng.randint(1, 9) for _ in range(self.rng.randint(0, 3)))
        self.asked[number] = (stream, expected, amounts, self.known[stream] == 0)
        return self.again(number)

    def again(self, number):
        stream, expected, amounts, creates = self.asked[number]
        return asked(number, stream, expected_version=expected, amounts=amounts, creates=creates)

    def run(self):
        for _ in range(BATCHES):
            ask(self.store, self.held, *self.batch())
            self.hear()

    def hear(self):
        for row in self.store.rows(
            "SELECT stream_id, max(version) AS version FROM command_results GROUP BY stream_id"
        ):
            self.known[row["stream_id"].int - 0x5000] = row["version"]


@pytest.mark.parametrize("streams", [1, 5])
@pytest.mark.parametrize("seed", SEEDS)
def test_no_acceptance_is_lost_or_made_up_among_concurrent_clients(store, seed, streams):
    found = held_to_the_model(store, played(store, seed, streams))
    rules = Counter(row["rule"] for row in found)
    assert rules["conflict"], "clients did meet"
    assert rules[None]


def forgetful(command, *_):
    """Rules that don't mind which version was expected."""
    return None if command.creates else RULES(replace(command, expected_version=None), *_)


def deaf(command, *_):
    """A ledger that accepts and writes nothing."""
    return aggregates.Verdict(version=7)


@pytest.mark.parametrize(("what", "bug"), [("rejected", forgetful), ("_decide", deaf)])
def test_a_ledger_that_accepts_otherwise_is_caught_by_the_model(store, monkeypatch, what, bug):
    monkeypatch.setattr(aggregates, what, bug)
    clients = played(store, 1, 1)
    with pytest.raises(AssertionError):
        held_to_the_model(store, clients)


def played(store, seed, streams):
    """The clients, each by a partition of its own, after all that they asked was decided."""
    clients = [
        Client(store, n, random.Random(f"{seed}/{n}/{streams}"), streams) for n in range(CLIENTS)
    ]
    both(*(client.run for client in clients))
    return clients


def held_to_the_model(store, clients):
    """The results; they and the events are what follows from what was asked."""
    check(store)
    wanted = {
        command_id(number): what for client in clients for number, what in client.asked.items()
    }
    found = results(store)
    assert {str(row["command_id"]) for row in found} == wanted.keys(), "each is decided, once"
    by_command = defaultdict(list)
    for row in store.rows("SELECT * FROM events ORDER BY event_version"):
        by_command[str(row["message_id"])].append(row)
    per_stream = Counter()
    for row in found:
        stream, expected, amounts, _ = wanted[str(row["command_id"])]
        became = by_command.pop(str(row["command_id"]), [])
        if row["outcome"] == "rejected":
            assert (became, row["events"]) == ([], 0), "a rejected command becomes nothing"
            if row["rule"] == "conflict":
                assert row["version"] != expected
            continue
        assert [each["data"]["amount"] for each in became] == list(amounts)
        versions = [each["event_version"] for each in became]
        assert versions == list(range(row["version"] - len(amounts) + 1, row["version"] + 1))
        if expected is not None:
            assert row["version"] - len(amounts) == expected, "accepted on what it expected"
        per_stream[stream] += len(amounts)
    assert by_command == {}, "no event is of no accepted command"
    held = {
        row["stream_id"].int - 0x5000: row["version"] for row in store.rows("SELECT * FROM streams")
    }
    assert held == {stream: version for stream, version in per_stream.items() if version}
    return found
