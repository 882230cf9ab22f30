"""The intake's local copy of feeds: a deleted tenant is gone from it, and it is good for a time."""

import os
import subprocess
import sys
import time

import pytest

from ops import feed_copy
from ops import feeds as local
from ops.feed_copy import CopyUnread
from ops.feeds import LocalFeeds
from producers.ports import KeysAway
from sinks import lifecycle
from tests.ops.test_feeds import (
    PORT,
    ROOT,
    TENANT,
    Service,
    add,
    database,
    made,
    named,
    other,
    store,
)  # fmt: skip

__all__ = ["database", "made", "store"]


def in_file(tmp_path):
    return feed_copy._loads((tmp_path / "feeds.json").read_text())


def test_a_deleted_tenant_is_gone_from_the_copy_though_the_key_service_is_away(
    made, database, store, tmp_path
):
    south = other(database)
    made.refresh()
    assert {each.tenant_id for each in in_file(tmp_path).wrapped} == {TENANT, south}
    lifecycle.suspend(database, south)
    lifecycle.delete(store.migrate, south, "south")
    started = LocalFeeds(database, Service(), tmp_path / "feeds.json", default_port=PORT)
    started._root.away = True
    started.refresh()
    assert {each.tenant_id for each in in_file(tmp_path).wrapped} == {TENANT}
    assert {each.tenant_id for each in in_file(tmp_path).standings} == {TENANT}


def test_the_copy_is_written_anew_before_it_gets_too_old(made, tmp_path, monkeypatch):
    now = [1_000_000.0]
    monkeypatch.setattr(local, "time", lambda: now[0])
    made.refresh()
    for later, written in ((feed_copy.WRITTEN_SECONDS - 1, 0.0), (1.0, 600.0)):
        now[0] += later
        made.refresh()
        assert in_file(tmp_path).read_at == 1_000_000.0 + written


@pytest.mark.parametrize("aside", [1, -1])
def test_a_copy_is_used_as_long_as_it_is_good_and_then_removed(
    made, tmp_path, monkeypatch, caplog, aside
):
    made.refresh()
    read_at = in_file(tmp_path).read_at
    now = [read_at + aside * feed_copy.GOOD_SECONDS]
    monkeypatch.setattr(local, "time", lambda: now[0])
    again = LocalFeeds(None, ROOT, tmp_path / "feeds.json", default_port=PORT)
    again._restore()
    assert named(again, PORT) == ["adt"]
    again._go_on()
    assert named(again, PORT) == ["adt"]
    now[0] += aside
    again._go_on()
    assert (again.by_port(PORT), again.informed) == ((), False)
    assert "too old: nothing is taken" in caplog.text
    assert not (tmp_path / "feeds.json").exists()
    with pytest.raises(KeysAway):
        again.keys(TENANT)


def test_a_copy_that_is_too_old_at_the_start_is_removed_and_nothing_of_it_is_used(
    made, tmp_path, monkeypatch
):
    made.refresh()
    read_at = in_file(tmp_path).read_at
    monkeypatch.setattr(local, "time", lambda: read_at + feed_copy.GOOD_SECONDS + 1)
    again = LocalFeeds(None, ROOT, tmp_path / "feeds.json", default_port=PORT)
    again._restore()
    assert (again.by_port(PORT), again.informed) == ((), False)
    assert not (tmp_path / "feeds.json").exists()


@pytest.mark.parametrize(
    "stored", ["", "{", "[]", "[" * 100_000, '{"feeds": []}', '{"read_at": "x"}', "null"]
)
def test_a_damaged_copy_is_removed(tmp_path, stored):
    file = tmp_path / "feeds.json"
    file.write_text(stored)
    assert feed_copy.load(file, 0.0) is None
    assert not file.exists()


def test_one_tenant_is_taken_out_of_the_copy_and_the_others_stay(made, database, tmp_path):
    south = other(database)
    made.refresh()
    file = tmp_path / "feeds.json"
    assert feed_copy.forget(file, south)
    assert not feed_copy.forget(file, south)
    copy = in_file(tmp_path)
    assert {each.tenant_id for each in (*copy.wrapped, *copy.standings)} == {TENANT}
    assert [each.feed.tenant_id for each in copy.listened] == [TENANT]
    file.unlink()
    assert not feed_copy.forget(file, TENANT)


def test_a_full_disk_ends_no_refreshing(made, database, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(feed_copy.access, "write_private", full)
    made.refresh()
    assert named(made, PORT) == ["adt"]
    assert "is not written: no space left on device" in caplog.text


def test_what_a_killed_writer_left_is_removed_and_what_one_writes_now_is_not(made, tmp_path):
    made.refresh()
    now = time.time()

    def left(age):
        file = tmp_path / f".feeds.json.{age}"
        file.write_text("keys")
        os.utime(file, (now - age, now - age))
        return file

    old, young = left(3_600), left(1)
    ahead = left(-3_600)  # of a clock that was set back
    (tmp_path / ".other.json.x").write_text("not ours")
    os.utime(tmp_path / ".other.json.x", (0, 0))
    again = LocalFeeds(made._database, ROOT, tmp_path / "feeds.json", default_port=PORT)
    again.start()
    again.stop()
    assert [each.exists() for each in (old, young, ahead)] == [False, True, False]
    assert (tmp_path / ".other.json.x").exists()
    other = left(7_200)
    assert not feed_copy.forget(tmp_path / "feeds.json", local.UUID(int=1))
    assert not other.exists()
    another = left(7_200)
    feed_copy.store(tmp_path / "feeds.json", in_file(tmp_path))
    assert not another.exists()


def test_a_writer_that_is_killed_leaves_a_file_that_the_next_start_removes(made, tmp_path):
    made.refresh()
    script = (
        "import os, pathlib, sys; from ops import access;"
        "pathlib.Path.replace = lambda *_: os.kill(os.getpid(), 9);"
        "access.write_private(pathlib.Path(sys.argv[1]), 'keys')"
    )
    file = tmp_path / "feeds.json"
    assert subprocess.run([sys.executable, "-c", script, str(file)], timeout=60).returncode == -9
    [left] = tmp_path.glob(".feeds.json.*")
    feed_copy.sweep(file, left.stat().st_mtime + feed_copy.LEFT_SECONDS)
    assert left.exists()
    feed_copy.sweep(file, left.stat().st_mtime + feed_copy.LEFT_SECONDS + 1)
    assert not left.exists()


def test_a_copy_that_may_not_be_read_is_told_in_a_line(tmp_path, caplog):
    file = tmp_path / "feeds.json"
    file.mkdir()  # as good as one of another account, which the superuser may read
    with pytest.raises(CopyUnread, match=r"is a directory \(hint: .*feeds.json"):
        feed_copy.forget(file, TENANT)
    again = LocalFeeds(None, ROOT, file, default_port=PORT)
    again._restore()
    assert again.by_port(PORT) == ()
    [said] = [each.message for each in caplog.records]
    assert "the database is away, and the local copy of feeds can't be read" in said


def test_a_feed_of_the_copy_in_an_unknown_zone_stops_alone(made, database, tmp_path):
    add(database, "other", 8)
    made.refresh()
    file = tmp_path / "feeds.json"
    file.write_text(file.read_text().replace("Europe/London", "Mars/Base", 1))
    again = LocalFeeds(None, ROOT, file, default_port=PORT)
    again._restore()
    faults = [each.fault for each in again.by_port(PORT)]
    assert faults.count(None) == 1
    assert any(each and "no such time zone" in each for each in faults)
    assert again.gauges()["unread"] == 1
