"""A rebuild gives what was there, whatever stands beside it and whenever it is broken off."""

from dataclasses import replace

import pytest

from ops.cli.errors import told
from schemas.codec import Codec, Ids
from schemas.failpoints import FailPoint
from sinks import rebuild, subscriptions
from sinks.rebuild import EventsUnknown, EventUnfit, Overtaken, Rebuilding
from sinks.stored import event_of
from sinks.transaction import Recorded
from streams import publications
from tests.sinks import inbound
from tests.sinks.provisioned import OURS, TALLY, THEIRS, apply, counts

pytestmark = pytest.mark.stack

CODEC = Codec(Ids.in_order())
EVENTS = publications.clinical_events(CODEC).source
POINTS = publications.trajectory_points(CODEC).source
TENANT = "INSERT INTO tenants (id, name, subdomain) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"


def tell(store, first, last, **given):
    """Have the ledger append messages `first` to `last`, spread over partitions and streams."""
    for number, tenant in enumerate((OURS, THEIRS)):
        store.run(TENANT, tenant, f"tenant {number}", f"tenant-{number}")
    for partition in (0, 1):  # a message's own; what it makes stands there too
        held = inbound.take(store, partition)
        tenant = (OURS, THEIRS)[partition]
        entries = [
            replace(
                inbound.entry(n // 2, number=n, streams=(n % 4,), tenant=tenant, **given),
                message=inbound.message(n, tenant_id=tenant),
            )
            for n in range(first, last + 1)
            if n % 2 == partition
        ]
        inbound.append(store, held, entries)


def live(store, projection=TALLY, *, upto=None):
    """Fold what the ledger holds as a worker does; each event's offset is its position less 1."""
    for partition in range(inbound.PARTITIONS):
        held = store.take(projection.name, partition)
        found = [row for row in events(store) if row["partition"] == partition][:upto]
        if found:
            batch = [Recorded(row["partition_seq"] - 1, b"key", b"value", event_of(row))
                     for row in found]  # fmt: skip
            apply(store, held, batch, projection)


def events(store):
    with store.database.connection() as connection, connection.transaction():
        connection.execute("SELECT set_config('wt.tenants', %s, true)", (f"{{{OURS},{THEIRS}}}",))
        return connection.execute(
            "SELECT * FROM events ORDER BY partition, partition_seq"
        ).fetchall()


def rebuilding(store, decode=event_of, published=None):
    return Rebuilding(
        database=store.database, owner_url=store.migrate, events=EVENTS, decode=decode,
        published=published,
    )  # fmt: skip


def dumped(store):
    return {
        table.name: store.rows(f"SELECT each::text FROM {table.name} AS each ORDER BY 1")
        for table in TALLY.owns
    }


def places(store):
    return store.rows(
        "SELECT partition, next_offset, last_position, applied, owner"
        " FROM subscriptions WHERE subscription_id = 'tally' ORDER BY partition"
    )


def test_a_rebuild_gives_the_same_rows_positions_and_counts(store):
    tell(store, 0, 59)
    live(store)
    assert [place["last_position"] for place in places(store)] == [30, 30, 0, 0]
    store.run("UPDATE subscriptions SET owner = NULL WHERE subscription_id = 'tally'")
    rows, stood = dumped(store), places(store)
    said = []
    assert rebuilding(store).run(TALLY, lambda *each: said.append(each)) == 60
    assert dumped(store) == rows
    assert rows["timeline_events"]
    assert places(store) == stood
    assert said[-1] == (60, 60)


def test_rows_that_the_fold_would_not_give_are_gone(store):
    tell(store, 0, 19)
    live(store)
    rows = dumped(store)
    store.run("UPDATE timeline_events SET event_type = 'odd'")
    store.run("UPDATE timeline_events SET id = gen_random_uuid() WHERE partition_seq = 1")
    rebuilding(store).run(TALLY)
    assert dumped(store) == rows


def test_a_projection_that_never_ran_is_built(store):
    tell(store, 0, 19)
    rebuilding(store).run(TALLY)
    assert len(dumped(store)["timeline_events"]) == 20
    assert all(place["next_offset"] == 0 for place in places(store))


def test_an_owner_from_before_writes_nothing_and_a_new_one_goes_on_without_hole_or_double(store):
    tell(store, 0, 29)
    live(store)
    partition = events(store)[0]["partition"]
    before = store.take("tally", partition)
    rebuilding(store).run(TALLY)
    tell(store, 30, 59)
    batch = [
        Recorded(row["partition_seq"] - 1, b"key", b"value", event_of(row))
        for row in events(store)
        if row["partition"] == partition
    ]
    with pytest.raises(subscriptions.Stale):
        apply(store, before, batch)
    assert apply(store, store.take("tally", partition), batch) == len(batch)
    assert counts(store, "tally", partition) == {"applied": len(batch)}


def test_what_was_folded_ahead_of_a_worker_is_dropped_by_it(store):
    tell(store, 0, 59)
    live(store, upto=5)
    rebuilding(store).run(TALLY)
    rows = dumped(store)
    live(store)
    assert dumped(store) == rows
    for place in places(store):
        ended = counts(store, "tally", place["partition"])
        assert ended.get("applied", 0) <= 5
        assert sum(ended.values()) == place["next_offset"] == place["last_position"]


@pytest.mark.parametrize("point", ["rebuild: begun", "rebuild: written@2", "rebuild: committed@2"])
def test_one_that_is_broken_off_keeps_workers_out_until_it_is_run_again(
    store, armed, monkeypatch, point
):
    monkeypatch.setattr(rebuild, "BATCH_EVENTS", 7)
    tell(store, 0, 59)
    live(store)
    rows = dumped(store)
    name, _, passage = point.partition("@")
    armed(f"{name}=raise" + (f"@{passage}" if passage else ""))
    with pytest.raises(FailPoint):
        rebuilding(store).run(TALLY)
    armed("")
    with pytest.raises(subscriptions.BeingRebuilt, match="wardtrail rebuild tally"):
        store.take("tally", 1)
    rebuilding(store).run(TALLY)
    assert dumped(store) == rows
    store.take("tally", 1)


def test_a_second_rebuild_overtakes_the_first(store, monkeypatch):
    monkeypatch.setattr(rebuild, "BATCH_EVENTS", 7)
    tell(store, 0, 29)
    live(store)
    rows, begun = dumped(store), []

    def decode(row):
        if not begun:
            begun.append(True)
            rebuilding(store).run(TALLY)
        return event_of(row)

    with pytest.raises(Overtaken):
        rebuilding(store, decode).run(TALLY)
    assert dumped(store) == rows


def test_a_ledger_with_unknown_events_is_refused_and_nothing_is_dropped(store):
    tell(store, 0, 19)
    live(store)
    rows = dumped(store)
    store.run("UPDATE events SET event_type = 'patient.levitated' WHERE partition_seq = 2")
    store.run("UPDATE events SET schema_version = 9 WHERE partition_seq = 3")
    changed = store.rows("SELECT count(*) AS n FROM events WHERE partition_seq = 2")[0]["n"]
    with pytest.raises(EventsUnknown) as refused:
        rebuilding(store).run(TALLY)
    assert f"patient.levitated (version 1) {changed}" in str(refused.value)
    assert "patient.updated (version 9)" in str(refused.value)
    assert "release" in told(refused.value).message
    assert dumped(store) == rows
    assert all(place["owner"] == "test" for place in places(store))


def unfit(event_id):
    """The tally, but that it can't fold one event."""

    def fold(happened, rows):
        if any(event["event_id"] == event_id for event in happened):
            raise ValueError(event_id)
        return TALLY.fold(happened, rows)

    return replace(TALLY, fold=fold)


def letters(store):
    rows = store.rows("SELECT state, count(*) FROM dead_letters GROUP BY state")
    return {row["state"]: row["count"] for row in rows}


def test_an_event_that_was_a_dead_letter_is_passed_again_with_those_behind_it(store):
    tell(store, 0, 29)
    projection = unfit(events(store)[3]["event_id"])
    live(store, projection)
    rows, kept = dumped(store), letters(store)
    assert kept["dead"] == 1
    assert len(rows["timeline_events"]) == 30 - 1 - kept["parked"]
    rebuilding(store).run(projection)
    assert dumped(store) == rows
    assert letters(store) == kept


def test_a_dead_letter_that_can_be_folded_by_now_is_mended_with_those_behind_it(store):
    tell(store, 0, 29)
    live(store, unfit(events(store)[3]["event_id"]))
    rebuilding(store).run(TALLY)
    assert len(dumped(store)["timeline_events"]) == 30
    assert list(letters(store)) == ["retried"]
    assert store.rows("SELECT FROM parked_records") == []
    for partition in (0, 1):
        assert counts(store, partition=partition) == {"applied": 15}
        assert store.subscription(partition=partition)["parked_keys"] == 0


def test_a_rebuild_by_code_that_fails_elsewhere_parks_at_the_new_place(store):
    tell(store, 0, 29)
    told = events(store)
    behind = [each for each in told if each["stream_id"] == told[3]["stream_id"]]
    live(store, unfit(behind[1]["event_id"]))
    rebuilding(store).run(unfit(behind[2]["event_id"]))
    [letter] = store.rows("SELECT event_id, cause FROM dead_letters WHERE state = 'dead'")
    assert (str(letter["event_id"]), letter["cause"]) == (behind[2]["event_id"], "fold_failed")
    assert letters(store) == {"dead": 1, "retried": 1, "parked": len(behind) - 3}
    assert len(dumped(store)["timeline_events"]) == 30 - (len(behind) - 2)


def test_what_was_discarded_stays_out_of_a_rebuild(store):
    tell(store, 0, 29)
    told = events(store)
    last = [each for each in told if each["stream_id"] == told[3]["stream_id"]][-1]
    live(store, unfit(last["event_id"]))
    rows = dumped(store)
    store.run("UPDATE dead_letters SET state = 'discarded'")
    store.run("DELETE FROM parked_records")
    store.run("UPDATE subscriptions SET parked_keys = 0 WHERE subscription_id = 'tally'")
    rebuilding(store).run(TALLY)
    assert dumped(store) == rows
    assert letters(store) == {"discarded": 1}


def test_a_rebuild_leaves_what_would_wait_unkept_to_the_worker(store):
    tell(store, 0, 19)
    projection = unfit(events(store)[3]["event_id"])
    live(store, projection)
    tell(store, 20, 39)  # the ledger is ahead of the log that was read
    rebuilding(store).run(projection)
    stood = {row["partition"]: row["last_position"] for row in places(store)}
    assert min(stood[0], stood[1]) < 20
    assert max(stood[0], stood[1]) == 20
    live(store, projection)
    assert sum(sum(counts(store, partition=each).values()) for each in (0, 1)) == 40
    rebuilding(store).run(TALLY)
    assert len(dumped(store)["timeline_events"]) == 40


def test_letters_that_are_mended_are_published_too(store):
    tell(store, 0, 9)
    live(store, unfit(events(store)[3]["event_id"]))
    store.run(
        "INSERT INTO subscriptions (subscription_id, topic, partition, last_position)"
        " VALUES (%s, %s, 0, 7)", POINTS.subscription_id, POINTS.topic,
    )  # fmt: skip
    store.run("CREATE TABLE published AS SELECT 3 AS fold_version")
    store.run("GRANT SELECT ON published TO wt_worker")
    points = replace(POINTS, table="published")
    rebuilding(store, published=points).run(replace(TALLY, fold_version=3))
    assert store.subscription(POINTS.subscription_id)["last_position"] == 0


def test_an_event_that_can_be_folded_no_longer_stops_the_rebuild_and_is_named(store):
    tell(store, 0, 29)
    live(store)
    rows, event_id = dumped(store), events(store)[3]["event_id"]
    with pytest.raises(EventUnfit, match=event_id):
        rebuilding(store).run(unfit(event_id))
    with pytest.raises(subscriptions.BeingRebuilt):
        store.take("tally", 0)
    rebuilding(store).run(TALLY)
    assert dumped(store) == rows


@pytest.mark.parametrize(("fold_version", "position"), [(3, 7), (4, 0)])
def test_what_is_published_goes_out_again_only_when_the_fold_has_changed(
    store, fold_version, position
):
    tell(store, 0, 9)
    store.run(
        "INSERT INTO subscriptions (subscription_id, topic, partition, last_position)"
        " VALUES (%s, %s, 0, 7)", POINTS.subscription_id, POINTS.topic,
    )  # fmt: skip
    points = replace(POINTS, table="published")
    store.run("CREATE TABLE published AS SELECT 3 AS fold_version")
    store.run("GRANT SELECT ON published TO wt_worker")
    rebuilding(store, published=points).run(replace(TALLY, fold_version=fold_version))
    assert store.subscription(POINTS.subscription_id)["last_position"] == position
