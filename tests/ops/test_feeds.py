"""Feeds for the intake: out of the rows, or as they were last known."""

import threading

import pytest

from ops import feeds as local
from ops.access import write_private
from ops.feeds import LocalFeeds
from producers.ports import KeysAway
from schemas import sealing
from schemas.sealing import KeyServiceAway, Root
from sinks import feeds as bound
from sinks import lifecycle, rotation, tenancy
from sinks.database import DatabaseAway
from sinks.subject_keys import BLOCK
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
        "emr_instance_id": instance, "transient_answer": "AR", "ignored_answer": "AE",
        "acknowledgement": "original", "answer_when": "outcome",
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


class Service:
    """A root key behind a service that may be away."""

    def __init__(self):
        self.away = False

    def unwrap(self, wrapped, **named):
        if self.away:
            raise KeyServiceAway("Vault doesn't answer: TimeoutError")
        return ROOT.unwrap(wrapped, **named)


def service_of(made):
    made._root = Service()
    return made._root


def other(database, number=0x7F, name="south"):
    """A second tenant with a feed; its id."""
    tenant = local.UUID(int=number)
    tenancy.create_tenant(
        database, ROOT, tenant_id=tenant, name=name, subdomain=name,
        secret=tenancy.Secrets(bytes(range(1, 33)), bytes(32)),
    )  # fmt: skip
    tenancy.create_feed(database, tenant, name, feed_id=local.UUID(int=number), settings={})
    return tenant


def test_it_starts_while_the_key_service_is_away_and_takes_when_that_answers(
    made, database, caplog, monkeypatch
):
    monkeypatch.setattr(local, "REFRESH_SECONDS", 60.0)
    service = service_of(made)
    service.away = True
    made.start()
    try:
        assert (named(made, PORT), made.takes(PORT)) == (["adt"], [])
        with pytest.raises(KeysAway):
            made.keys(TENANT)
        assert made.gauges() == {
            "tenants_shut": 0, "unread": 0, "key_service_away": 1, "age_seconds": 0,
        }  # fmt: skip
        made.refresh()
        said = "others are waited for: Vault doesn't answer: TimeoutError"
        assert caplog.text.count(said) == 1, "in one line, once"
        service.away = False
        made.refresh()
        assert [each.name for each in made.takes(PORT)] == ["adt"]
        assert made.keys(TENANT).tenant_id == TENANT
        assert "the key service answers again" in caplog.text
    finally:
        made.stop()


def test_while_the_key_service_is_away_open_keys_serve_and_everything_else_is_seen(made, database):
    service = service_of(made)
    made.refresh()
    service.away = True
    south = other(database)
    tenancy.set_feed(database, TENANT, "adt", {"senders": ["LAB"]})
    made.refresh()
    assert made.by_port(PORT)[0].senders == {"LAB"}
    assert made.keys(TENANT).tenant_id == TENANT
    with pytest.raises(KeysAway):
        made.keys(south)


def test_keys_open_from_the_copy_when_only_the_database_is_away_still(made, tmp_path, monkeypatch):
    made.refresh()
    service = service_of(made)
    service.away = True
    monkeypatch.setattr(LocalFeeds, "refresh", away)
    monkeypatch.setattr(local, "REFRESH_SECONDS", 60.0)
    again = LocalFeeds(None, service, tmp_path / "feeds.json", default_port=PORT)
    again.start()
    try:
        assert (named(again, PORT), again.takes(PORT)) == (["adt"], [])
        service.away = False
        again._go_on()
        assert [each.name for each in again.takes(PORT)] == ["adt"]
    finally:
        again.stop()


def test_a_tenants_key_that_does_not_open_stops_that_tenant_and_no_other(
    made, database, store, caplog
):
    south = other(database)
    made.refresh()
    store.run("UPDATE tenant_keys SET wrapped = 'x' WHERE tenant_id = %s", south)
    tenancy.set_feed(database, TENANT, "adt", {"senders": ["LAB"]})
    made.refresh()
    made.refresh()
    assert [(each.name, each.senders) for each in made.takes(PORT)] == [("adt", {"LAB"})]
    with pytest.raises(KeysAway):
        made.keys(south)
    assert made.gauges()["tenants_shut"] == 1
    assert caplog.text.count("nothing is taken for a tenant") == 1
    assert str(south) in caplog.text
    store.run("DELETE FROM tenant_keys WHERE tenant_id = %s", south)
    made.refresh()
    assert made.gauges()["tenants_shut"] == 0


BAD = {
    "zone": ("'Mars/Base'", "no such time zone"),
    "senders": ("'5'", "settings can't be read"),
    "certificates": ("'[[1]]'", "settings can't be read"),
    "identifier_types": ("'7'", "settings can't be read"),
}


@pytest.mark.parametrize("column", BAD)
def test_a_feed_that_can_not_be_read_stops_alone(made, database, store, caplog, column):
    value, said = BAD[column]
    add(database, "other", 8)
    store.run(f"UPDATE feeds SET {column} = {value} WHERE name = 'adt'")
    made.refresh()
    made.refresh()
    assert [each.name for each in made.takes(PORT)] == ["other"]
    assert made.gauges()["unread"] == 1
    assert caplog.text.count("nothing is taken for a feed") == 1
    assert said in caplog.text
    good = {"zone": "'UTC'", "senders": "'[]'", "certificates": "'[]'", "identifier_types": "'[]'"}
    store.run(f"UPDATE feeds SET {column} = {good[column]} WHERE name = 'adt'")
    made.refresh()
    assert sorted(each.name for each in made.takes(PORT)) == ["adt", "other"]
    assert made.gauges()["unread"] == 0
    assert "a feed is read again" in caplog.text


def test_what_does_not_open_is_tried_again_after_a_minute_though_it_is_as_it_was(made, monkeypatch):
    class Wrong(Service):
        wrong = True

        def unwrap(self, wrapped, **named):
            return Root(bytes([1]) * 32 if self.wrong else ROOT.secret).unwrap(wrapped, **named)

    made._root = Wrong()
    now = [1_000.0]
    monkeypatch.setattr(local, "monotonic", lambda: now[0])
    made.refresh()
    Wrong.wrong = False
    now[0] += local.ANEW_SECONDS - 0.001
    made.refresh()
    assert made.gauges()["tenants_shut"] == 1
    now[0] += 0.001
    made.refresh()
    assert made.keys(TENANT).tenant_id == TENANT


def counted(store):
    query = "SELECT version, sealed FROM tenant_keys WHERE purpose = 'data' ORDER BY version"
    return {row["version"]: row["sealed"] for row in store.rows(query)}


def test_what_the_intake_seals_is_counted_ahead_and_a_spent_key_is_made_anew(made, store):
    made.refresh()
    row = {"person": None, "record": local.UUID(int=1), "field": "body"}
    envelope = made.keys(TENANT).seal(b"Canary", **row)
    made.refresh()
    uses, first = made.keys(TENANT).uses, BLOCK + 1
    assert counted(store) == {1: first}
    uses.used += BLOCK // 2 - 1
    made.refresh()
    assert counted(store) == {1: first}, "enough are set aside"
    uses.used += 1
    made.refresh()
    assert counted(store) == {1: first + BLOCK}
    store.run("UPDATE tenant_keys SET sealed = %s", rotation.COUNTED_MAX - BLOCK - 1)
    for sealed, versions in ((BLOCK, [1]), (BLOCK, [1, 2])):
        uses.used += sealed
        made.refresh()
        assert sorted(made.keys(TENANT).data) == versions
    assert counted(store) == {1: rotation.COUNTED_MAX + BLOCK - 1, 2: 0}
    assert made.keys(TENANT).open(envelope, **row) == b"Canary"
    newer = made.keys(TENANT).seal(b"Canary", **row)
    assert sealing.header(newer).key_version == 2


def test_a_tenants_key_that_can_not_be_made_anew_stops_no_refresh(made, database, store, caplog):
    made.refresh()
    store.run("UPDATE tenant_keys SET sealed = %s", rotation.COUNTED_MAX)
    made.keys(TENANT).uses.count()
    made._root = Root(bytes([1]) * 32)
    tenancy.set_feed(database, TENANT, "adt", {"senders": ["LAB"]})
    made.refresh()
    assert made.by_port(PORT)[0].senders == {"LAB"}
    assert "isn't made anew yet" in caplog.text


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
