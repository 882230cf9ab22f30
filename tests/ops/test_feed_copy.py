"""The intake's local copy of feeds: a deleted tenant is gone from it, and it is good for a time."""

import pytest

from ops import feed_copy
from ops import feeds as local
from ops.feeds import LocalFeeds
from producers.ports import KeysAway
from sinks import lifecycle
from tests.ops.test_feeds import PORT, ROOT, TENANT, Service, database, made, named, other, store

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


@pytest.mark.parametrize("stored", ["", "{", "[]", '{"feeds": []}', '{"read_at": "x"}', "null"])
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
