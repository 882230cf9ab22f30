"""What sealing costs: events decided with their texts sealed, and with the same texts in clear.

Mapped messages of a simulated day to rows of events, on one thread and without a database; the
ratio is to clear. People's keys are made for whole chunks: how many a second is a figure too.
"""

import random
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from time import perf_counter
from typing import Any
from uuid import UUID

import orjson

from benchmarks.figures import Figure, figure, in_turns
from benchmarks.place import Place, Size
from ops import access
from ops.deploy import DEMO_TENANT
from ops.simulator import day, sized
from schemas import sealing
from schemas.feeds import Feed
from schemas.sealing import Key, Keys, Scope, Subject
from sinks.keyring import Keyring
from streams.ledger import identities
from streams.ledger.decide import decide, named, whose
from streams.ledger.identities import Person
from streams.ledger.mapping.facts import Facts
from streams.ledger.mapping.hl7v2 import MAPPER_VERSION, map_message

MESSAGES, PEOPLE, CHUNK = 8_000, 20_000, 1_000
CLEAR, SEALED = "events decided: in clear", "events decided: sealed"
MADE = "people's keys: made"

Said = tuple[Facts, list[Person], Mapping[str, Any]]


class Open(Keys):
    """Keys that seal nothing: the same text in the same JSON."""

    def sealed(self, clear: Mapping[str, Any], *, person: UUID, record: UUID) -> dict[str, str]:
        """As where texts are sealed."""
        return {name: sealing.text(orjson.dumps(value)) for name, value in clear.items()}


def run(place: Place, size: Size) -> list[Figure]:
    """The rate of each way, and the rate of making keys."""
    feed = Feed(feed_id=UUID(int=3), tenant_id=DEMO_TENANT, name="demo", processing_ids=frozenset())
    data = {1: Key.of(bytes(range(32)), version=1, scope=Scope.TENANT)}
    keys = Keys(tenant_id=DEMO_TENANT, data=data, identity=bytes(32))
    said = _said(feed, keys, size.of(MESSAGES, least=70))
    clear = Open(tenant_id=DEMO_TENANT, data=data, identity=bytes(32))
    ways = {
        CLEAR: partial(_decided, said, feed, clear),
        SEALED: partial(_decided, said, feed, keys),
    }
    found = in_turns(ways, rounds=size.rounds)
    settings = place.beside("sealed")
    with closing(place.database(settings)) as database:
        keyring = partial(Keyring, database, access.root(settings))
        count = size.of(PEOPLE, least=1_000)
        made = [_made(keyring(), count, seed) for seed in range(size.rounds)]
    return [
        figure(CLEAR, found[CLEAR], "events/s"),
        figure(SEALED, found[SEALED], "events/s", to=(CLEAR, found[CLEAR])),
        figure(MADE, made, "keys/s"),
    ]


def _said(feed: Feed, keys: Keys, count: int) -> list[Said]:
    """A day's messages, mapped, with whom they are about; these people have keys then."""
    said: list[Said] = []
    known: dict[identities.Name, str] = {}
    now = datetime.now(UTC)
    for number, message in enumerate(day(sized(count, seed=77))):
        facts = map_message(message.body, feed, received_at=now)
        if not isinstance(facts, Facts):
            continue
        head = {
            "message_id": str(UUID(int=0x900000 + number)), "tenant_id": str(DEMO_TENANT),
            "feed_id": str(feed.feed_id), "trace": None,
        }  # fmt: skip
        people, learned = identities.resolve(named(facts, head, keys.identity), known)
        known |= {each.name: each.patient_id for each in learned}
        for person in whose(facts, people) - keys.subjects.keys():
            key = Key.of(random.randbytes(32), version=1, scope=Scope.PERSON)
            keys.subjects[person] = Subject(keys={1: key})
        said.append((facts, list(people), head))
    return said


def _decided(said: list[Said], feed: Feed, keys: Keys) -> float:
    start, events = perf_counter(), 0
    for facts, people, head in said:
        rows = decide(facts, people, head, feed=feed, keys=keys, mapper_version=MAPPER_VERSION)
        events += len(rows)
    return events / (perf_counter() - start)


def _made(keyring: Keyring, count: int, seed: int) -> float:
    rng = random.Random(seed)
    names = [(DEMO_TENANT, UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)]
    start = perf_counter()
    for first in range(0, count, CHUNK):
        keyring.sealing(names[first : first + CHUNK])
    return count / (perf_counter() - start)
