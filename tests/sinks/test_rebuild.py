"""A rebuild gives what was there, whatever stands beside it and whenever it is broken off."""

from dataclasses import replace

import pytest

from ops.cli.errors import told
from schemas.codec import Codec, Ids
from schemas.failpoints import FailPoint
from sinks import rebuild, subscriptions
from sinks.rebuild import EventsUnknown, EventUnfit, Overtaken, Rebuilding
from sinks.transaction import Recorded
from streams import publications
from streams.publications import event_of
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


def test_an_event_that_was_a_dead_letter_is_passed_again(store):
    tell(store, 0, 29)
    projection = unfit(events(store)[3]["event_id"])
    live(store, projection)
    rows = dumped(store)
    assert len(rows["timeline_events"]) == 29
    rebuilding(store).run(projection)
    assert dumped(store) == rows
    assert store.rows("SELECT state FROM dead_letters") == [{"state": "dead"}]


def test_a_dead_letter_that_can_be_folded_by_now_is_mended(store):
    tell(store, 0, 29)
    live(store, unfit(events(store)[3]["event_id"]))
    rebuilding(store).run(TALLY)
    assert len(dumped(store)["timeline_events"]) == 30
    assert store.rows("SELECT state FROM dead_letters") == [{"state": "retried"}]


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
