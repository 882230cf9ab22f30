"""Every oracle is green over a sound line, and red over each seeded corruption of it."""

import copy
import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from ops.simulator import disordered, simulate, sized
from schemas.feeds import Feed
from schemas.sealing import Key, Keys, Scope
from schemas.topics import EVENTS, HL7V2
from tests.chaos import model, oracles
from tests.chaos.oracles import Given, OracleRed
from tests.chaos.parts import SECRETS
from tests.chaos.seen import Seen

TENANT, OTHER = UUID(int=1), UUID(int=2)
FEED = Feed(feed_id=UUID(int=3), tenant_id=TENANT, name="demo", processing_ids=frozenset())
KEYS = Keys(
    tenant_id=TENANT,
    data={1: Key.of(SECRETS.data, version=1, scope=Scope.TENANT)},
    identity=SECRETS.identity,
)
DAY = simulate(sized(60, seed=7))
BODIES = [message.body for message in disordered(DAY.messages, 7, duplicates=0.1, resends=0.05)]
GIVEN = Given(day=DAY, bodies=BODIES, feed=FEED, keys=KEYS)
SOUND = model.line(BODIES, FEED, KEYS)
RNG = random.Random(7)


def some(seen: Seen, table: str, **having: object) -> dict:
    rows = [
        row for row in seen.tables[table] if all(row[name] == had for name, had in having.items())
    ]
    return RNG.choice(rows)


def deleted(table: str) -> Callable[[Seen], None]:
    return lambda seen: seen.tables[table].remove(some(seen, table))


def doubled(table: str) -> Callable[[Seen], None]:
    return lambda seen: seen.tables[table].append(dict(some(seen, table)))


def changed(table: str, name: str, change: Callable, **having: object) -> Callable[[Seen], None]:
    def corrupt(seen: Seen) -> None:
        row = some(seen, table, **having)
        row[name] = change(row[name])

    return corrupt


def moved_back(name: str) -> Callable[[Seen], None]:
    def corrupt(seen: Seen) -> None:
        last = next(row for row in seen.history if row["subscription_id"] == "trajectory")
        seen.history.append({**last, name: last[name] - 1})

    return corrupt


def stolen(seen: Seen) -> None:
    last = next(row for row in seen.history if row["subscription_id"] == "relay")
    seen.history.append({**last, "owner": "another"})


def record(topic: str, **changes: object) -> Callable[[Seen], None]:
    def corrupt(seen: Seen) -> None:
        at = RNG.randrange(len(seen.topics[topic]))
        seen.topics[topic][at] = replace(seen.topics[topic][at], **changes)

    return corrupt


def lost_record(seen: Seen) -> None:
    del seen.topics[EVENTS.name][RNG.randrange(len(seen.topics[EVENTS.name]))]


def overtaken(seen: Seen) -> None:
    log = seen.topics[EVENTS.name]
    first, second = (n for n, each in enumerate(log) if each.value["partition_seq"] in (1, 2)
                     and each.partition == log[0].partition)  # fmt: skip
    log[first], log[second] = log[second], log[first]


def later(at):
    return at + timedelta(minutes=1)


def more(number):
    return number + 1


CORRUPTIONS = {
    "a message is lost": (oracles.positive, deleted("messages")),
    "a message stands twice": (oracles.positive, doubled("messages")),
    "a message came from its double": (oracles.positive, changed("messages", "offset", more)),
    "a double is miscounted": (oracles.positive, changed("messages", "duplicates", more)),
    "an offset is counted twice": (
        oracles.counts, changed("subscriptions", "applied", more, subscription_id="timeline"),
    ),
    "a double is counted as new": (
        oracles.counts, changed("subscriptions", "applied", more, subscription_id="ledger"),
    ),
    "a position is behind": (
        oracles.counts,
        changed("subscriptions", "next_offset", lambda n: n - 1, subscription_id="patients"),
    ),
    "a record is given up": (
        oracles.counts, changed("subscriptions", "dead", more, subscription_id="admissions"),
    ),
    "an offset goes back": (oracles.positions, moved_back("next_offset")),
    "a position goes back": (oracles.positions, moved_back("last_position")),
    "an epoch goes back": (oracles.positions, moved_back("epoch")),
    "an epoch has two owners": (oracles.positions, stolen),
    "a move is unseen": (oracles.positions, changed("subscriptions", "epoch", more)),
    "a header names another tenant": (oracles.tenants, record(HL7V2.name, tenant=OTHER)),
    "a header names no tenant": (oracles.tenants, record(EVENTS.name, tenant=None)),
    "a key is another's": (oracles.tenants, record(EVENTS.name, key=str(OTHER))),
    "a row is another tenant's": (
        oracles.tenants, changed("timeline_events", "tenant_id", lambda _: str(OTHER)),
    ),
    "a version is missing": (oracles.order, deleted("events")),
    "a place is taken twice": (oracles.order, doubled("events")),
    "numbers go on from elsewhere": (oracles.order, changed("partitions", "next_seq", more)),
    "a stream is away from home": (
        oracles.order, changed("streams", "partition", lambda n: (n + 1) % 4),
    ),
    "known time stands still": (
        oracles.order,
        changed("events", "recorded_at", lambda at: at - timedelta(days=1), event_version=2),
    ),
    "a record is lost": (oracles.published, lost_record),
    "a record overtakes another": (oracles.published, overtaken),
    "a relay moved too far": (
        oracles.published, changed("subscriptions", "last_position", more, subscription_id="relay"),
    ),
    "a row is deleted": (oracles.rebuild, deleted("timeline_events")),
    "a row is doubled": (oracles.rebuild, doubled("trajectory_facts")),
    "a bound is changed": (oracles.rebuild, changed("trajectory_points", "effective_at", later)),
    "a revision is misplaced": (
        oracles.rebuild, changed("trajectory_points", "partition_seq", more),
    ),
    "an event says otherwise": (
        oracles.fold, changed("events", "occurred_at", later, event_type="admission.created"),
    ),
    "a version is another": (oracles.fold, changed("events", "event_version", more)),
    "an event is missing": (oracles.fold, deleted("events")),
    "a patient waits for the judge": (
        oracles.verified,
        lambda seen: seen.tables["verification_due"].append({"failed": None}),
    ),
    "a watermark goes back": (
        oracles.rebuild,
        changed("feed_watermarks", "clinical_at", lambda at: at - timedelta(days=1)),
    ),
    "a stay ends elsewhere": (
        oracles.truth, changed("trajectory_points", "location", lambda _: "X", known_to=None,
                               retracted_at=None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("oracle", oracles.ORACLES, ids=lambda oracle: oracle.__name__)
def test_every_oracle_is_green_over_a_sound_line(oracle):
    oracle(SOUND, GIVEN)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_corruption_turns_its_oracle_red_in_a_line_that_quotes_no_patient(name):
    oracle, corrupt = CORRUPTIONS[name]
    seen = copy.deepcopy(SOUND)
    corrupt(seen)
    with pytest.raises(OracleRed) as red:
        oracle(seen, GIVEN)
    assert not any(canary.lower() in str(red.value).lower() for canary in DAY.canaries)


def test_each_oracle_has_a_corruption_that_turns_it_red():
    assert {oracle for oracle, _ in CORRUPTIONS.values()} == set(oracles.ORACLES)


def test_the_order_of_patients_among_each_other_changes_no_content():
    by_patient = sorted(range(len(BODIES)), key=lambda n: BODIES[n].split(b"\rPID|1||")[1][:17])
    other = model.line([BODIES[n] for n in by_patient], FEED, KEYS)
    oracles.same(SOUND, other, GIVEN)
