"""Feeds for the intake: out of the rows, or as they were last known."""

import threading

import pytest

from ops import feeds as local
from ops.access import write_private
from ops.feeds import LocalFeeds
from producers.ports import KeysAway
from schemas.sealing import Root
from sinks import feeds as bound
from sinks import lifecycle, tenancy
from sinks.database import DatabaseAway
from tests.sinks.provisioned import store

__all__ = ["store"]

ROOT = Root(bytes(32))
TENANT = local.UUID(int=0x7E)
PORT = 2575


@pytest.fixture
def database(store):
    return store.open()


def away(_):
    raise DatabaseAway("for the test")


def add(database, name, number):
    tenancy.create_feed(
        database, TENANT, name, feed_id=local.UUID(int=number), settings={"zone": "Europe/London"}
    )


@pytest.fixture
def made(database, tmp_path):
    tenancy.create_tenant(
        database, ROOT, tenant_id=TENANT, name="North", subdomain="north",
        secret=tenancy.Secrets(bytes(range(32)), bytes(32)),
    )  # fmt: skip
    add(database, "adt", 7)
    return LocalFeeds(database, ROOT, tmp_path / "feeds.json", default_port=PORT)


def test_the_default_listeners_feed_is_the_one_without_a_port(made):
    made.refresh()
    assert named(made, PORT) == ["adt"]
    assert made.by_port(PORT + 1) == ()
    assert made.keys(TENANT).tenant_id == TENANT


def named(made, port):
    return [feed.name for feed in made.by_port(port)]


def test_feeds_of_one_port_stand_beside_those_of_the_default_listener(made, database):
    add(database, "other", 8)
    tenancy.set_feed(database, TENANT, "other", {"port": PORT + 1})
    made.refresh()
    assert (named(made, PORT), named(made, PORT + 1)) == (["adt"], ["other"])
    tenancy.set_feed(database, TENANT, "other", {"port": PORT, "senders": ["LAB"]})
    made.refresh()
    assert sorted(named(made, PORT)) == ["adt", "other"]


def test_a_suspended_tenant_and_a_paused_feed_are_seen(made, database):
    tenancy.set_feed(database, TENANT, "adt", {"is_active": False})
    lifecycle.suspend(database, TENANT)
    made.refresh()
    [feed] = made.by_port(PORT)
    assert (feed.active, feed.suspended) == (False, True)
    assert not made.tenant(TENANT).active
    lifecycle.resume(database, TENANT)
    made.refresh()
    assert made.by_port(PORT)[0].suspended is False
    assert made.called("north").tenant_id == TENANT
    assert made.called("south") is None


def test_while_the_database_is_away_the_copy_serves(made, database, tmp_path, monkeypatch):
    instance = bound.instance(database, TENANT, "Main", "CERNER")
    binding = {
        "senders": ["LAB"], "facilities": ["NORTH"], "receiving_applications": ["WT"],
        "receiving_facilities": ["CITY"], "certificates": ["ab" * 32], "refusal_answer": "AE",
        "messages_per_second": 50, "connections_max": 4, "in_flight_bytes_max": 9_000,
        "emr_instance_id": instance,
    }  # fmt: skip
    tenancy.set_feed(database, TENANT, "adt", binding)
    lifecycle.describe(database, TENANT, {"messages_per_second": 100})
    made.refresh()
    known = made.by_port(PORT)
    assert (known[0].emr_instance_id, known[0].tenant_messages_per_second) == (instance, 100)
    stored = (tmp_path / "feeds.json").read_text()
    assert bytes(range(32)).hex() not in stored, (
        "keys stand there only as the root key wrapped them"
    )
    monkeypatch.setattr(LocalFeeds, "refresh", away)
    monkeypatch.setattr(local, "REFRESH_SECONDS", 0.01)
    again = LocalFeeds(database, ROOT, tmp_path / "feeds.json", default_port=PORT)
    again.start()
    try:
        assert again.by_port(PORT) == known
        assert again.tenant(TENANT) == made.tenant(TENANT)
        assert again.keys(TENANT).identity == made.keys(TENANT).identity
    finally:
        again.stop()


def test_without_a_copy_nothing_is_taken(database, tmp_path, monkeypatch):
    monkeypatch.setattr(LocalFeeds, "refresh", away)
    empty = LocalFeeds(database, ROOT, tmp_path / "feeds.json", default_port=PORT)
    empty.start()
    empty.stop()
    assert empty.by_port(PORT) == ()
    assert not empty.informed
    with pytest.raises(KeysAway):
        empty.keys(TENANT)


def test_what_nobody_foresaw_does_not_end_the_refreshing(made, monkeypatch):
    passed = threading.Semaphore(0)

    def fail(self):
        passed.release()
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(local, "REFRESH_SECONDS", 0.01)
    made.start()
    monkeypatch.setattr(LocalFeeds, "refresh", fail)
    try:
        assert all(passed.acquire(timeout=5) for _ in range(3))
        assert named(made, PORT) == ["adt"]
    finally:
        made.stop()


def test_a_private_file_is_whole_whoever_writes_beside(tmp_path):
    file = tmp_path / "shared.json"
    texts = [str(number) * 10_000 for number in range(8)]
    writers = [
        threading.Thread(target=lambda t=text: [write_private(file, t) for _ in range(20)])
        for text in texts
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert file.read_text() in texts
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]
