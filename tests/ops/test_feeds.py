"""Feeds for the intake: out of the rows, or as they were last known."""

import threading

import pytest

from ops import feeds as local
from ops.access import write_private
from ops.feeds import LocalFeeds
from producers.ports import KeysAway
from schemas.sealing import Root
from sinks import tenancy
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
    assert made.by_port(PORT).name == "adt"
    assert made.by_port(PORT + 1) is None
    assert made.keys(TENANT).tenant_id == TENANT


def test_two_feeds_without_a_port_are_not_guessed_between(made, database, caplog):
    add(database, "other", 8)
    made.refresh()
    assert made.by_port(PORT) is None
    assert "the default listener takes nothing: 2 feeds have no port" in caplog.text


def test_while_the_database_is_away_the_copy_serves(made, database, tmp_path, monkeypatch):
    made.refresh()
    known = made.by_port(PORT)
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
        assert again.keys(TENANT).identity == made.keys(TENANT).identity
    finally:
        again.stop()


def test_without_a_copy_nothing_is_taken(database, tmp_path, monkeypatch):
    monkeypatch.setattr(LocalFeeds, "refresh", away)
    empty = LocalFeeds(database, ROOT, tmp_path / "feeds.json", default_port=PORT)
    empty.start()
    empty.stop()
    assert empty.by_port(PORT) is None
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
        assert made.by_port(PORT).name == "adt"
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
