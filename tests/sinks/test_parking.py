"""Parking: what waits behind a bad record waits in order, and is released once, in order."""

import random
import threading
from dataclasses import dataclass, field, replace
from uuid import UUID, uuid4

import orjson
import psycopg
import pytest

from schemas import events
from schemas.events import EventType
from schemas.failpoints import FailPoint
from schemas.headers import Place
from sinks import breaker, dead_letters, parking, requests, subscriptions
from sinks.breaker import BreakerOpen
from sinks.database import DatabaseAway
from sinks.dead_letters import DeadLetter
from sinks.parking import Unfit
from sinks.projection import Projection
from sinks.releasing import Releasing
from sinks.requests import Chosen
from sinks.subscriptions import Stale
from sinks.tables import dead_letters as letters_table
from sinks.transaction import Gap, Recorded, TypeUnknown
from sinks.write import write
from tests.sinks.provisioned import (
    LINE,
    OURS,
    TALLY,
    THEIRS,
    applied,
    apply,
    counts,
    event,
    made,
    stream_id,
)

pytestmark = pytest.mark.stack

UNKNOWN = "patient.levitated"
TENANT = "INSERT INTO tenants (id, name, subdomain) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


def kept(offset, **given):
    """A record whose value is its event, so that it can be read again."""
    told = event(given.pop("seq", offset + 1), **given)
    return Recorded(offset, told["stream_id"].encode(), orjson.dumps(told), told)


def read(letter):
    return Recorded(letter.offset, letter.key, letter.value, orjson.loads(letter.value))


@dataclass
class Bench:
    """The tally with positions that it can't fold, as long as they stand in `bad`."""

    store: object
    bad: set = field(default_factory=set)
    unknown: str = "park"
    relay: str | None = None

    def __post_init__(self):
        for tenant in (OURS, THEIRS):
            self.store.run(TENANT, tenant, tenant, tenant)
        self.held = self.store.take()

    @property
    def projection(self) -> Projection:
        def fold(happened, rows):
            if any(each["partition_seq"] in self.bad for each in happened):
                raise ValueError
            return TALLY.fold(happened, rows)

        return replace(TALLY, fold=fold, unknown=self.unknown, relay=self.relay)

    def apply(self, batch):
        return apply(self.store, self.held, batch, self.projection)

    def ask(self, action="retry", **chosen):
        with self.store.database.connection() as connection, connection.transaction():
            connection.execute(
                "SELECT set_config('wt.tenants', %s, true)", (f"{{{OURS},{THEIRS}}}",)
            )
            heads = requests.heads(connection, Chosen(**chosen))
        return requests.ask(
            self.store.database, heads, action, requested_by="tester", purpose="a test"
        )

    def execute(self, held=None):
        """Execute what is asked; how each ended."""
        return [
            self.one(each.request_id, held)
            for each in parking.requests(self.store.database, ["tally"])
        ]

    def one(self, request_id, held=None):
        held = held or self.held
        releasing = Releasing(projection=self.projection, held=held, read=read)
        return parking.execute(self.store.database, held, request_id, releasing, line=LINE)

    def retry(self):
        self.ask()
        return self.execute()


@pytest.fixture
def bench(store):
    return Bench(store)


def states(store):
    rows = store.rows('SELECT "offset", state FROM dead_letters ORDER BY "offset"')
    return {row["offset"]: row["state"] for row in rows}


def dumped(store):
    return {
        table.name: store.rows(f"SELECT each::text FROM {table.name} AS each ORDER BY 1")
        for table in TALLY.owns
    }


def nothing_waits(store):
    assert store.rows("SELECT FROM parked_records") == []
    assert store.subscription()["parked_keys"] == 0
    assert not {"dead", "parked"} & set(counts(store))


def test_those_behind_a_bad_record_wait_while_others_pass(bench, store):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(6)])
    assert applied(store) == [1, 2, 4, 6]
    bench.apply([kept(n, stream=n % 2) for n in range(6, 10)])
    assert applied(store) == [1, 2, 4, 6, 8, 10]
    assert states(store) == {2: "dead", 4: "parked", 6: "parked", 8: "parked"}
    assert counts(store) == {"applied": 6, "dead": 1, "parked": 3}
    row = store.subscription()
    assert (row["next_offset"], row["last_position"], row["parked_keys"]) == (10, 10, 1)
    causes = store.rows("SELECT cause FROM dead_letters WHERE state = 'parked'")
    assert {each["cause"] for each in causes} == {"behind"}


def test_a_retry_applies_the_bad_record_and_those_behind_it_in_order(bench, store):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    [failed] = bench.retry()
    assert (failed.how, failed.released) == ("failed", 0)
    assert "fold raised" in failed.said
    bench.bad.clear()
    [ended] = bench.retry()
    assert (ended.how, ended.released) == ("done", 4)
    assert applied(store) == list(range(1, 11))
    assert counts(store) == {"applied": 10}
    assert set(states(store).values()) == {"retried"}
    nothing_waits(store)
    bench.apply([kept(10, stream=0)])
    assert applied(store) == list(range(1, 12))


def test_what_fails_next_is_what_others_wait_for_from_then_on(bench, store):
    bench.bad = {3, 7}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    bench.bad = {7}
    [ended] = bench.retry()
    assert (ended.how, ended.released) == ("partly", 2)
    assert "offset 6" in ended.said
    assert states(store) == {2: "retried", 4: "retried", 6: "dead", 8: "parked"}
    assert counts(store) == {"applied": 8, "dead": 1, "parked": 1}
    bench.bad.clear()
    bench.retry()
    assert applied(store) == list(range(1, 11))
    nothing_waits(store)


def test_a_discard_gives_up_one_record_and_releases_the_others(bench, store):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    bench.ask("discard")
    [ended] = bench.execute()
    assert (ended.how, ended.released) == ("done", 3)
    assert applied(store) == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    assert counts(store) == {"applied": 9, "dead": 1}
    assert states(store)[2] == "discarded"
    assert store.subscription()["parked_keys"] == 0


def play(bench, seed, *, every):
    """Records in batches of any size, some streams' bad; then mended in steps, with retries."""
    rng = random.Random(f"parking/{seed}")
    batch = [kept(n, stream=rng.randrange(8)) for n in range(every)]
    bench.bad = {n for n in range(1, every + 1) if rng.random() < 0.08}
    mended = sorted(bench.bad)
    rng.shuffle(mended)
    at = 0
    while at < every:
        size = rng.randrange(1, 30)
        bench.apply(batch[at : at + size])
        at += size
        if mended and rng.random() < 0.4:
            bench.bad.discard(mended.pop())
            bench.retry()
    parked = counts(bench.store).get("dead", 0)
    bench.bad.clear()
    for _ in range(every):
        if not bench.ask():
            break
        bench.execute()
    return batch, parked


@pytest.mark.parametrize("seed", range(6))
def test_random_failures_mended_and_retried_give_the_rows_of_a_run_without(stack, store, seed):
    batch, parked = play(Bench(store), seed, every=150)
    assert parked, "something failed"
    nothing_waits(store)
    with made(stack) as clean:
        Bench(clean).apply(batch)
        assert dumped(store) == dumped(clean)


def test_a_follower_that_overtakes_is_seen(store, monkeypatch):
    """Seeded bug: batches don't look at what is parked."""
    monkeypatch.setattr(parking, "blocked", lambda *_: frozenset())
    play(Bench(store), 1, every=150)
    with pytest.raises(AssertionError):
        applied(store)


def test_a_retry_that_forgets_what_it_released_is_seen(bench, store, monkeypatch):
    """Seeded bug: records are applied, their letters stay, and the next retry does it again."""
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    bench.bad.clear()
    monkeypatch.setattr(parking, "settle", lambda *_, **__: None)
    bench.retry()
    monkeypatch.undo()
    [again] = bench.retry()
    assert again.how == "failed", "the rows are there: the constraint refuses the second"


def test_a_request_is_executed_once_whoever_tries(bench, store):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    bench.bad.clear()
    bench.ask()
    [request] = parking.requests(store.database, ["tally"])
    ended = []
    tries = [
        threading.Thread(target=lambda: ended.append(bench.one(request.request_id)))
        for _ in range(4)
    ]
    for each in tries:
        each.start()
    for each in tries:
        each.join(30)
    assert sorted(each.how for each in ended if each) == ["done"]
    assert len(ended) == 4
    assert applied(store) == list(range(1, 11))


@pytest.mark.parametrize("point", ["sink: writing", "sink: released"])
def test_a_retry_that_ends_midway_changes_nothing_and_is_done_once_again(
    bench, store, armed, point
):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    rows = dumped(store)
    bench.bad.clear()
    bench.ask()
    armed(f"{point}=raise")
    with pytest.raises(FailPoint):
        bench.execute()
    armed("")
    assert dumped(store) == rows
    assert states(store)[2] == "dead"
    assert [each.how for each in bench.execute()] == ["done"]
    assert applied(store) == list(range(1, 11))


def test_a_retry_that_ends_after_its_commit_is_not_done_again(bench, store, armed):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    bench.bad.clear()
    bench.ask()
    [request] = parking.requests(store.database, ["tally"])
    armed("sink: committed=raise")
    with pytest.raises(FailPoint):
        bench.execute()
    armed("")
    assert bench.one(request.request_id) is None
    assert applied(store) == list(range(1, 11))


def test_an_owner_from_before_executes_nothing(bench, store):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(10)])
    before, bench.held = bench.held, store.take()
    bench.bad.clear()
    bench.ask()
    with pytest.raises(Stale):
        bench.execute(before)
    assert states(store)[2] == "dead"
    assert [each.how for each in bench.execute()] == ["done"]


def test_a_fold_that_writes_for_another_tenant_is_stopped_in_a_retry_too(bench, store):
    bench.bad = {2}
    bench.apply([kept(0, tenant=THEIRS, stream=1), kept(1), kept(2)])
    bench.bad.clear()
    bench.ask()
    [request] = parking.requests(store.database, ["tally"])

    def fold(happened, rows):
        changes = TALLY.fold(happened, rows)
        return [replace(each, row={**each.row, "tenant_id": THEIRS}) for each in changes]

    foreign = Releasing(projection=replace(TALLY, fold=fold), held=bench.held, read=read)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        parking.execute(store.database, bench.held, request.request_id, foreign, line=LINE)
    assert applied(store) == [1]


def trouble(store, state):
    store.run(
        "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS"
        f" $$ BEGIN RAISE EXCEPTION 'trouble' USING ERRCODE = '{state}'; END $$"
    )
    store.run(
        "CREATE TRIGGER trouble BEFORE INSERT ON timeline_events"
        " FOR EACH STATEMENT EXECUTE FUNCTION trouble()"
    )


@pytest.mark.parametrize("state", ["57P01", "57014", "08006"])
def test_an_outage_parks_nothing_and_ends_no_request(bench, store, state):
    bench.bad = {3}
    bench.apply([kept(n, stream=n % 2) for n in range(6)])
    before = states(store)
    trouble(store, state)
    with pytest.raises(DatabaseAway):
        bench.apply([kept(n, stream=n % 2) for n in range(6, 10)])
    bench.bad.clear()
    bench.ask()
    with pytest.raises(DatabaseAway):
        bench.execute()
    assert states(store) == before
    store.run("DROP TRIGGER trouble ON timeline_events")
    assert [each.how for each in bench.execute()] == ["done"]
    bench.apply([kept(n, stream=n % 2) for n in range(6, 10)])
    assert applied(store) == list(range(1, 11))


def test_with_nothing_parked_a_batch_asks_for_nothing_more(bench, store, monkeypatch):
    def asked(*_):
        raise AssertionError("asked")

    monkeypatch.setattr(parking, "blocked", asked)
    bench.apply([kept(n) for n in range(10)])
    assert applied(store) == list(range(1, 11))


def test_so_many_keys_stop_the_partition_and_park_no_more(bench, store, monkeypatch):
    monkeypatch.setattr(breaker, "KEYS_MAX", 3)
    bench.bad = {1, 2, 3, 4}
    with pytest.raises(BreakerOpen, match="parked: 3"):
        bench.apply([kept(n, stream=n) for n in range(6)])
    assert store.subscription()["next_offset"] == 3
    assert set(states(store)) == {0, 1, 2}
    bench.bad.clear()
    bench.retry()
    bench.apply([kept(n, stream=n) for n in range(3, 6)])
    assert applied(store) == list(range(1, 7))


def test_the_keys_of_all_partitions_count(bench, store, monkeypatch):
    monkeypatch.setattr(breaker, "KEYS_MAX", 3)
    store.take("tally", 1)
    store.run("UPDATE subscriptions SET parked_keys = 3 WHERE partition = 1")
    bench.bad = {1}
    with pytest.raises(BreakerOpen):
        bench.apply([kept(0)])


def levitated(**given):
    return {"event_type": UNKNOWN, **given}


def test_an_event_of_an_unknown_type_parks_its_stream_until_a_release_knows_it(
    bench, store, monkeypatch
):
    batch = [kept(n, stream=n % 2, **(levitated() if n == 2 else {})) for n in range(8)]
    bench.apply(batch)
    assert applied(store) == [1, 2, 4, 6, 8]
    assert counts(store) == {"applied": 5, "dead": 1, "parked": 2}
    [letter] = store.rows("SELECT cause, reason FROM dead_letters WHERE state = 'dead'")
    assert letter["cause"] == "type_unknown"
    assert [each.how for each in bench.retry()] == ["failed"]
    newer = EventType(name=UNKNOWN, stream_type="patient", record="PatientLevitated")
    monkeypatch.setitem(events.TYPES, UNKNOWN, newer)
    assert [each.how for each in bench.retry()] == ["done"]
    assert counts(store) == {"applied": 7, "ignored": 1}, "this projection doesn't read it"
    assert applied(store) == [1, 2, 4, 5, 6, 7, 8]


def test_an_event_of_an_unknown_type_is_skipped_where_that_is_declared(bench, store):
    bench.unknown = "skip"
    bench.apply([kept(n, **(levitated() if n == 1 else {})) for n in range(4)])
    assert applied(store) == [1, 3, 4]
    assert counts(store) == {"applied": 3, "ignored": 1}


def test_an_event_of_an_unknown_type_stops_the_partition_where_that_is_declared(bench, store):
    bench.unknown = "stop"
    with pytest.raises(TypeUnknown):
        bench.apply([kept(0), kept(1, **levitated())])
    assert store.subscription()["next_offset"] == 0


def test_an_unknown_type_in_another_kind_of_stream_concerns_nobody_here(bench, store):
    bench.apply([kept(0), kept(1, **levitated(stream_type="balloon")), kept(2)])
    assert counts(store) == {"applied": 2, "ignored": 1}


def unreadable(offset, *, stream=0, position=None):
    place = Place(tenant_id=OURS, stream_id=stream_id(stream), position=position or offset + 1)
    told = orjson.dumps(event(place.position, stream=stream))
    return Recorded(offset, b"key", told, None, "no schema of ours", place)


def test_what_is_unreadable_parks_the_stream_that_its_headers_name(bench, store):
    bench.apply([kept(0), unreadable(1), kept(2), kept(3, stream=1)])
    assert applied(store) == [1, 4]
    assert counts(store) == {"applied": 2, "dead": 1, "parked": 1}
    assert store.subscription()["last_position"] == 4
    assert [each.how for each in bench.retry()] == ["done"]
    assert applied(store) == [1, 2, 3, 4]


def test_what_is_unreadable_in_a_parked_stream_waits_and_a_double_is_counted(bench, store):
    bench.bad = {1}
    bench.apply([kept(0), unreadable(1), unreadable(2, position=2)])
    assert counts(store) == {"dead": 1, "parked": 1, "duplicate": 1}
    with pytest.raises(Gap):
        bench.apply([unreadable(3, position=9)])


def test_what_nothing_waited_for_is_not_folded_out_of_order(bench, store):
    bench.apply([kept(0), Recorded(1, b"key", b"junk", None, "not our format"), kept(2, seq=2)])
    [ended] = bench.retry()
    assert ended.how == "failed"
    assert "rebuild" in ended.said
    bench.ask("discard")
    assert [each.how for each in bench.execute()] == ["done"]
    assert states(store) == {1: "discarded"}


def test_a_record_of_another_stream_than_its_headers_said_stays(bench, store):
    odd = unreadable(0, stream=3)
    odd = odd._replace(place=replace(odd.place, stream_id=stream_id(4)))
    bench.apply([odd])
    [ended] = bench.retry()
    assert (ended.how, states(store)) == ("failed", {0: "dead"})


def test_what_was_folded_late_is_published(store):
    bench = Bench(store, relay="relay:points")
    store.run(
        "INSERT INTO subscriptions (subscription_id, topic, partition, last_position, owner)"
        " VALUES ('relay:points', 'points', 0, 10, 'me'), ('relay:points', 'points', 1, 10, 'me')"
    )
    bench.bad = {3}
    bench.apply([kept(n) for n in range(10)])
    bench.bad.clear()
    bench.retry()
    [here, elsewhere] = store.rows(
        "SELECT last_position, epoch FROM subscriptions WHERE subscription_id = 'relay:points'"
        " ORDER BY partition"
    )
    assert here == {"last_position": 2, "epoch": 1}
    assert elsewhere == {"last_position": 10, "epoch": 0}


def test_a_letter_is_asked_for_once_at_a_time_and_moot_when_it_is_gone(bench, store):
    bench.bad = {3}
    bench.apply([kept(n) for n in range(5)])
    assert bench.ask("discard") == 1
    assert bench.ask("retry") == 0
    store.run("UPDATE dead_letters SET state = 'retried' WHERE state = 'dead'")
    assert [each.how for each in bench.execute()] == ["moot"]
    [row] = store.rows("SELECT * FROM dead_letter_requests")
    assert (row["requested_by"], row["purpose"], row["action"]) == ("tester", "a test", "discard")
    assert row["executed_at"] is not None
    assert row["said"] == "the letter is retried"


def test_requests_of_one_partition_hold_up_those_of_no_other(bench, store, monkeypatch):
    monkeypatch.setattr(parking, "REQUESTS_MAX", 2)
    for number, partition in enumerate((1, 1, 1, 1, 0)):
        store.run(
            "INSERT INTO dead_letter_requests (tenant_id, letter_id, subscription_id, topic,"
            " partition, action, requested_by, purpose, requested_at)"
            " VALUES (NULL, gen_random_uuid(), 'tally', 't', %s, 'retry', 't', 't',"
            " now() + make_interval(secs => %s))", partition, number,
        )  # fmt: skip
    found = parking.requests(store.database, ["tally"])
    assert sorted(each.partition for each in found) == [0, 1, 1]


def test_letters_are_chosen_by_cause_feed_projection_and_tenant(bench, store):
    bench.bad = {3}
    bench.apply([kept(n, tenant=OURS) for n in range(5)])
    assert bench.ask(cause="refused") == 0
    assert bench.ask(subscription_id="patients") == 0
    assert bench.ask(feed="none of this name") == 0
    assert bench.ask(tenant_id=UUID(THEIRS)) == 0
    assert bench.ask(cause="fold_failed", subscription_id="tally", tenant_id=UUID(OURS)) == 1


# --- records of several keys: what the ledger will park -------------------------------------------


class Order:
    """Notes in which order records are released; some can't be."""

    def __init__(self, *bad):
        self.bad, self.seen = set(bad), []

    def apply(self, connection, released):
        if self.bad & {each.offset for each in released}:
            raise Unfit(stage="map", cause="unmappable", reason="told to")
        self.seen += [each.offset for each in released]
        return ["applied"] * len(released)

    def end(self, connection):
        self.seen.append("end")


def park(store, held, placed):
    """Letters by offset: a head's keys, or those that a follower waits behind."""
    letters = [
        DeadLetter(
            offset=offset, key=None, value=None, stage="map", cause="test", reason="test",
            keys=tuple(keys), state=state,
        )
        for offset, (state, keys) in enumerate(placed)
    ]  # fmt: skip
    dead = sum(each.state == "dead" for each in letters)
    with store.database.connection() as connection, connection.transaction():
        write(connection, dead_letters.changes(held, letters, LINE))
        subscriptions.move(
            connection, held, next_offset=len(letters), last_position=0,
            counts={"dead": dead, "parked": len(letters) - dead},
            parked_keys=len({key for each in letters for key in each.keys}),
        )  # fmt: skip


def release(store, held, offset, order):
    asked = uuid4()
    store.run(
        "INSERT INTO dead_letter_requests (id, letter_id, subscription_id, topic, partition,"
        " action, requested_by, purpose) SELECT %s, id, subscription_id, topic, partition,"
        ' \'retry\', \'t\', \'t\' FROM dead_letters WHERE "offset" = %s', asked, offset,
    )  # fmt: skip
    return parking.execute(store.database, held, asked, order, line=LINE)


def test_a_record_of_two_keys_waits_behind_both_and_holds_up_neither_later(store):
    held = store.take()
    placed = [("dead", "a"), ("dead", "b"), ("parked", "ab"), ("parked", "a"), ("parked", "b")]
    park(store, held, placed)
    order = Order()
    assert release(store, held, 0, order).released == 1
    assert order.seen == [0, "end"], "those after the one that waits for b wait too"
    assert release(store, held, 1, order).released == 4
    assert order.seen == [0, "end", 1, 2, 3, 4, "end"]
    nothing_waits(store)


def test_of_a_head_with_two_keys_one_that_fails_behind_it_holds_up_its_own_key(store):
    held = store.take()
    park(store, held, [("dead", "ab"), ("parked", "a"), ("parked", "b"), ("parked", "a")])
    order = Order(1)
    ended = release(store, held, 0, order)
    assert (ended.how, ended.released) == ("partly", 2)
    assert order.seen == [0, 2, "end"]
    assert states(store) == {0: "retried", 1: "dead", 2: "retried", 3: "parked"}
    assert store.subscription()["parked_keys"] == 1
    assert release(store, held, 1, Order()).released == 2
    nothing_waits(store)


def test_the_letters_table_knows_every_cause_in_its_width():
    width = letters_table.c.cause.type.length
    assert max(map(len, ("type_unknown", "fold_failed", "out_of_order", "undecodable"))) <= width
