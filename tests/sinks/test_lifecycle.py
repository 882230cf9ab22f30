"""A tenant is suspended, written out and deleted, whoever is killed; it never comes back."""

import hashlib
from dataclasses import replace

import psycopg
import pytest

from schemas.sealing import Root
from sinks import lifecycle, rebuild, relay, tenancy
from sinks.erasing import OnHold
from sinks.feeds import Kind, count_refusals, refusals
from sinks.lifecycle import NotDrained, NotExported, TenantActive
from sinks.stored import event_of
from sinks.tables import TENANT_TABLES
from sinks.tenancy import Secrets, TenantDeleted
from tests.sinks import inbound
from tests.sinks.provisioned import OURS, TALLY, THEIRS, applied, apply, counts, records
from tests.sinks.test_parking import Bench, kept, unreadable
from tests.sinks.test_policies import filled
from tests.sinks.test_rebuild import live, rebuilding, tell

__all__ = ["filled"]
pytestmark = pytest.mark.stack

ROOT = Root(bytes(range(32)))
OUR_ID = tenancy.UUID(OURS)


class Killed(Exception):  # noqa: N818  named for what happened
    """As a kill between two batches."""


def left(store, tenant):
    found = {}
    for table in TENANT_TABLES:
        key = "id" if table.name == "tenants" else "tenant_id"
        rows = store.rows(f"SELECT FROM {table.name} WHERE {key} = %s", tenant)
        if rows:
            found[table.name] = len(rows)
    return found


def publish_all(store):
    """As if the relays had published every row."""
    store.run(
        "INSERT INTO partitions (topic, partition)"
        " SELECT 'clinical.events.v1', n FROM generate_series(0, 7) AS n ON CONFLICT DO NOTHING"
    )
    for subscription, topic in (("relay", "a"), ("relay:verification", "b")):
        for partition in range(8):
            store.run(
                "INSERT INTO subscriptions (subscription_id, topic, partition, last_position)"
                " VALUES (%s, %s, %s, 1000000) ON CONFLICT (subscription_id, topic, partition)"
                " DO UPDATE SET last_position = 1000000",
                subscription, topic, partition,
            )  # fmt: skip


def test_every_row_of_a_tenant_goes_and_no_other(filled):
    before = left(filled, THEIRS)
    deleted = lifecycle.delete(filled.migrate, OUR_ID, "t1", rows=1)
    assert left(filled, OURS) == {}
    assert left(filled, THEIRS) == before
    assert deleted == {table.name: 1 for table in TENANT_TABLES}
    [stone] = filled.rows("SELECT * FROM deleted_tenants")
    assert bytes(stone["name_sha256"]) == hashlib.sha256(b"t1").digest()
    assert (stone["counts"], stone["deleted_at"] is not None) == (deleted, True)


def test_keys_go_before_any_row_and_a_tenants_own_row_goes_last():
    order = lifecycle.deletion_order()
    keys = [each for each in lifecycle.KEY_TABLES if each in order]
    assert order[: len(keys)] == keys
    assert order[-1] == "tenants"
    assert sorted(order) == sorted(table.name for table in TENANT_TABLES)


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_deletion_that_was_killed_goes_on_where_it_was(filled, after):
    filled.run("INSERT INTO snapshots SELECT gen_random_uuid(), gen_random_uuid(), stream_type,"
               " version, tenant_id, state FROM snapshots, generate_series(1, 20)")  # fmt: skip
    told = []

    def tell_(table, rows):
        told.append(table)
        if len(told) == after:
            raise Killed

    with pytest.raises(Killed):
        lifecycle.delete(filled.migrate, OUR_ID, "t1", rows=3, tell=tell_)
    assert left(filled, OURS)
    assert filled.rows("SELECT deleted_at FROM deleted_tenants") == [{"deleted_at": None}]
    lifecycle.delete(filled.migrate, OUR_ID, "t1", rows=3)
    assert left(filled, OURS) == {}
    assert len(left(filled, THEIRS)) == len(TENANT_TABLES)


@pytest.mark.parametrize("role", ["worker", "app"])
def test_no_worker_and_no_app_deletes_a_tenant(filled, role):
    with psycopg.connect(getattr(filled, role), autocommit=True) as connection:
        for statement in (
            f"SELECT delete_tenant_rows('events', '{OURS}', 1)",
            f"INSERT INTO deleted_tenants (id, name_sha256) VALUES ('{OURS}', '')",
            "DELETE FROM deleted_tenants",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)


def test_rows_of_a_tenant_whose_deletion_has_not_begun_stay(filled):
    with psycopg.connect(filled.migrate, autocommit=True) as connection:
        connection.execute("SET ROLE wt_owner")
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="has begun"):
            connection.execute("SELECT delete_tenant_rows('events', %s, 10)", (OURS,))
    assert left(filled, OURS)["events"] == 1


def test_a_deletion_waits_for_who_may_not_have_seen_it_begin(filled):
    with psycopg.connect(filled.worker) as writing:
        writing.execute("SELECT pg_current_xact_id()")
        with pytest.raises(NotDrained, match="run it again"):
            lifecycle.delete(filled.migrate, OUR_ID, "t1", barrier_seconds=0.2)
    assert len(left(filled, OURS)) == len(TENANT_TABLES)


def test_a_tenant_is_deletable_when_suspended_written_out_and_published(filled):
    filled.run("UPDATE messages SET recorded_at = now() - interval '1 hour'")
    publish_all(filled)
    with pytest.raises(TenantActive):
        lifecycle.deletable(filled.database, OUR_ID, force=False)
    assert lifecycle.suspend(filled.database, OUR_ID)
    assert not lifecycle.suspend(filled.database, OUR_ID), "it was"
    filled.run("UPDATE legal_holds SET released_at = NULL, released_by = NULL")
    with pytest.raises(OnHold, match="holds: 1"):
        lifecycle.deletable(filled.database, OUR_ID, force=True)
    filled.run("UPDATE legal_holds SET released_at = now(), released_by = 'counsel'")
    filled.run("UPDATE tenants SET exported_at = NULL")
    with pytest.raises(NotExported):
        lifecycle.deletable(filled.database, OUR_ID, force=False)
    lifecycle.deletable(filled.database, OUR_ID, force=True)
    with lifecycle.exporting(filled.worker, OUR_ID) as (_, at):
        pass
    lifecycle.exported(filled.database, OUR_ID, at)
    lifecycle.deletable(filled.database, OUR_ID, force=False)
    filled.run("UPDATE messages SET recorded_at = now() + interval '1 hour'")
    with pytest.raises(NotExported, match="messages came after it"):
        lifecycle.deletable(filled.database, OUR_ID, force=False)
    filled.run("UPDATE subscriptions SET last_position = 0")
    with pytest.raises(NotDrained, match="not published yet"):
        lifecycle.deletable(filled.database, OUR_ID, force=True)
    assert lifecycle.resume(filled.database, OUR_ID)
    with pytest.raises(TenantActive):
        lifecycle.deletable(filled.database, OUR_ID, force=True)


def test_an_export_shows_every_row_of_the_tenant_and_no_other_and_no_key(filled):
    with lifecycle.exporting(filled.worker, OUR_ID) as (connection, _):
        for table in lifecycle.exported_tables():
            [row] = lifecycle.rows_of(connection, table, OUR_ID)
            assert row.get("tenant_id", OURS) == OURS
            assert "wrapped" not in row


def test_late_records_of_a_deleted_tenant_are_passed_and_leave_nothing(store):
    tell(store, 0, 3)  # of OURS by partition 0, of THEIRS by partition 1
    lifecycle.delete(store.migrate, OUR_ID, "tenant 0")
    held = inbound.take(store, 0)
    late = [
        replace(
            inbound.entry(n, number=50 + n, tenant=OURS, streams=(1,)),
            message=inbound.message(50 + n, tenant_id=OURS),
        )
        for n in range(held.next_offset, held.next_offset + 3)
    ]
    assert inbound.append(store, held, late) == held.next_offset + 3
    assert counts(store, "ledger")["ignored"] == 3
    assert left(store, OURS) == {}


def test_late_events_of_a_deleted_tenant_are_passed_by_projections(store):
    store.run("INSERT INTO tenants (id, name) VALUES (%s, 'ours')", OURS)
    lifecycle.delete(store.migrate, OUR_ID, "ours")
    mixed = [*records(0, 3), *records(4, 6, tenant=THEIRS), *records(7, 9)]
    assert apply(store, store.take(), mixed) == 10
    assert counts(store) == {"ignored": 7, "applied": 3}
    assert store.subscription()["last_position"] == 10
    assert left(store, OURS) == {}


def test_what_cannot_be_read_of_a_deleted_tenant_is_passed_too(store):
    store.run("INSERT INTO tenants (id, name) VALUES (%s, 'ours')", OURS)
    lifecycle.delete(store.migrate, OUR_ID, "ours")
    apply(store, store.take(), [*records(0, 1), unreadable(2), *records(3, 3, tenant=THEIRS)])
    assert counts(store) == {"ignored": 3, "applied": 1}
    assert left(store, OURS) == {}


def test_the_keys_that_are_parked_of_a_tenant_are_counted_no_more_when_it_is_deleted(store):
    bench = Bench(store)
    bench.bad = {1, 2, 5}
    bench.apply(
        [
            kept(0, stream=1), kept(1, stream=2), kept(2, stream=1), kept(3, stream=1),
            kept(4, stream=3, tenant=THEIRS), kept(5, stream=3, tenant=THEIRS),
        ]
    )  # fmt: skip
    assert store.subscription()["parked_keys"] == 3
    lifecycle.delete(store.migrate, OUR_ID, OURS, rows=1)
    assert store.subscription()["parked_keys"] == 1
    bench.bad = set()
    assert [each.how for each in bench.retry()] == ["done"]
    assert store.subscription()["parked_keys"] == 0


def test_what_is_parked_of_a_tenant_whose_deletion_has_begun_is_released_as_nothing(store):
    bench = Bench(store)
    bench.bad = {1}
    bench.apply([kept(0), kept(1)])
    bench.bad = set()
    store.run("INSERT INTO deleted_tenants (id, name_sha256) VALUES (%s, '')", OURS)
    assert [each.how for each in bench.retry()] == ["done"]
    assert applied(store) == []
    assert counts(store) == {"ignored": 2}


def test_a_tenant_that_is_deleted_amid_a_rebuild_is_left_out_of_the_rest(store, monkeypatch):
    monkeypatch.setattr(rebuild, "BATCH_EVENTS", 3)
    tell(store, 0, 11)
    live(store)
    publish_all(store)
    heads, begun = {n: relay.head(store.database, n) for n in range(inbound.PARTITIONS)}, []

    def decode(row):
        if not begun:
            begun.append(True)
            lifecycle.delete(store.migrate, OUR_ID, "tenant 0")
        return event_of(row)

    rebuilding(store, decode).run(TALLY)
    assert left(store, OURS) == {}
    for partition, head in heads.items():
        assert store.subscription("tally", partition)["last_position"] == head


def test_what_a_deletion_leaves_out_of_the_ledger_is_no_hole_to_who_reads_it_again(store):
    tell(store, 0, 11)
    live(store)
    publish_all(store)
    before = {n: relay.head(store.database, n) for n in range(inbound.PARTITIONS)}
    lifecycle.delete(store.migrate, OUR_ID, "tenant 0", rows=2)
    assert {n: relay.head(store.database, n) for n in range(inbound.PARTITIONS)} == before
    theirs = store.rows("SELECT count(*) FROM timeline_events")
    places = (
        "SELECT partition, last_position FROM subscriptions"
        " WHERE subscription_id = 'tally' AND last_position > 0"
    )
    stood = sorted(map(str, store.rows(places)))
    rebuilding(store).run(TALLY)
    assert store.rows("SELECT count(*) FROM timeline_events") == theirs
    assert sorted(map(str, store.rows(places))) == stood


def test_a_hole_that_no_deletion_left_is_still_one(store):
    tell(store, 0, 11)
    lifecycle.delete(store.migrate, OUR_ID, "tenant 0")
    store.run("DELETE FROM events WHERE partition_seq = 2 AND tenant_id = %s", THEIRS)
    with pytest.raises(relay.RowsMissing):
        rebuilding(store).run(TALLY)


def test_a_deleted_tenant_is_not_made_again(store):
    def create():
        tenancy.create_tenant(
            store.database, ROOT, tenant_id=OUR_ID, name="ours", subdomain="ours",
            secret=Secrets(bytes(32), bytes(32)),
        )  # fmt: skip

    create()
    lifecycle.delete(store.migrate, OUR_ID, "ours")
    with pytest.raises(TenantDeleted):
        create()
    assert left(store, OURS) == {}


def test_refusals_add_up_by_hour_and_kind_and_those_of_the_deleted_are_left_out(store):
    store.run("INSERT INTO tenants (id, name) VALUES (%s, 'ours'), (%s, 'theirs')", OURS, THEIRS)
    lifecycle.delete(store.migrate, tenancy.UUID(THEIRS), "theirs")
    hour = tenancy_hour(store)
    ours = Kind(
        hour=hour, port=1, reason="sender", tenant_id=OUR_ID, feed_id=None, sender_hmac=None
    )
    nobodys = replace(ours, tenant_id=None)
    theirs = replace(ours, tenant_id=tenancy.UUID(THEIRS))
    for _ in range(2):
        count_refusals(store.database, {ours: 3, nobodys: 5, theirs: 7})
    rows = store.rows("SELECT tenant_id::text, refused FROM intake_refusals ORDER BY refused")
    assert [tuple(row.values()) for row in rows] == [(OURS, 6), (None, 10)]
    with store.database.connection() as connection, connection.transaction():
        [counted] = refusals(connection, OUR_ID, 24)
    assert (counted.refused, counted.reason, counted.port) == (6, "sender", 1)


def tenancy_hour(store):
    return store.rows("SELECT date_trunc('hour', now()) AS hour")[0]["hour"]


def test_an_instance_of_another_tenant_cannot_be_bound_nor_probed(filled):
    theirs = filled.rows("SELECT id FROM emr_instances WHERE tenant_id = %s", THEIRS)[0]["id"]
    said = []
    for instance in (theirs, tenancy.UUID(int=1)):
        with pytest.raises(Exception, match="fk_feeds_emr_instance") as refused:
            tenancy.set_feed(filled.database, OUR_ID, "t1", {"emr_instance_id": instance})
        said.append(str(refused.value))
    assert said[0] == said[1], "whether it is there can't be told"
