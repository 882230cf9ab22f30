"""Before anything is opened the log of erasures is read: who waits for it, and who refuses."""

from uuid import uuid4

import pytest

from ops import obeying, worker
from ops.obeying import Obeying
from ops.settings import Settings
from schemas.codec import Ids
from schemas.registry import RegistryAway
from sinks.database import Database, DatabaseAway
from sinks.reading import Readers
from streams.erasures import ErasuresLost, Replayed
from streams.log import BrokerAway, TopicMissing


@pytest.fixture
def log(monkeypatch):
    """What reading the log raises, one time after the other; then it is read."""
    troubles = []

    def replay(*_):
        trouble = troubles.pop(0) if troubles else Replayed()
        if callable(trouble):
            trouble = trouble()
        if isinstance(trouble, Replayed):
            return trouble
        raise trouble

    monkeypatch.setattr(obeying, "replay", replay)
    monkeypatch.setattr(obeying, "pauses", lambda: iter([0.01] * 1_000))
    return troubles


def test_a_worker_waits_until_the_log_of_erasures_is_read(log):
    log += [BrokerAway("x"), DatabaseAway("x"), RegistryAway("x")]
    obeying.obey(Settings(), None)
    assert log == []


def test_a_worker_stops_at_a_log_that_has_lost_some(log):
    log.append(ErasuresLost("x"))
    with pytest.raises(ErasuresLost):
        obeying.obey(Settings(), None)


def test_a_worker_builds_no_processor_before_the_log_is_read(log, monkeypatch, tmp_path):
    built = []
    monkeypatch.setattr(worker, "_await_servers", lambda _: Ids.in_order())
    monkeypatch.setattr(worker.refusals, "check", lambda _: None)
    monkeypatch.setattr(worker.logs, "configure", lambda _: None)
    monkeypatch.setattr(worker, "PROCESSORS", {"ledger": built.append})
    settings = Settings(home=tmp_path, database_url="postgresql://127.0.0.1:1/none")
    log.append(ErasuresLost("x"))
    with pytest.raises(ErasuresLost):
        worker._run_here(settings, ("ledger",))
    assert built == []


def test_a_server_shows_nobodys_rows_before_the_log_is_read(log):
    log += [BrokerAway("x"), TopicMissing("x"), ErasuresLost("x")]
    erasures = Obeying(settings=Settings(), database=None)
    database = Database.open("postgresql://127.0.0.1:1/none", name="test", size=1)
    readers = Readers(database, 1, may=erasures.may)
    try:
        with (
            pytest.raises(DatabaseAway, match="before the log of erasures"),
            readers.as_tenant(uuid4()),
        ):
            pass
    finally:
        readers.close()
    erasures.start()
    erasures._thread.join(10)
    assert erasures.done()
    assert log == []


def test_of_a_tenant_whose_keys_do_not_open_nothing_is_read_until_they_do(log, caplog):
    shut, other = uuid4(), uuid4()
    erasures = Obeying(settings=Settings(), database=None)
    log += [BrokerAway("x"), Replayed(waiting={shut: "the root key doesn't open it"})]
    seen = []

    def mended():
        seen.append((erasures.may(shut), erasures.may(other), erasures.gauges()))
        return Replayed()

    log.append(mended)
    erasures.start()
    erasures._thread.join(10)
    [(may_shut, may_other, gauges)] = seen
    assert (may_shut, may_other) == (False, True)
    assert gauges == {"read": 1, "tenants_waiting": 1}
    assert (erasures.may(shut), erasures.gauges()) == (True, {"read": 1, "tenants_waiting": 0})
    said = [each.message for each in caplog.records if "aren't obeyed" in each.message]
    assert len(said) == 1
    assert "the root key doesn't open it" in said[0]
