"""The database lets go of what was: when nobody sees it any more, and in another segment."""

import psycopg
import pytest

from sinks import cleaning, lifecycle
from sinks.cleaning import LogNotSwitched
from sinks.lifecycle import NotDrained

pytestmark = pytest.mark.stack


def test_who_may_not_switch_the_log_waits_until_it_went_on(store):
    at = cleaning.vacuum(store.migrate)
    with pytest.raises(LogNotSwitched, match="hint: GRANT EXECUTE"):
        cleaning.switch_log(store.worker, at)
    cleaning.switch_log(store.admin, at)
    store.run("CREATE TABLE more ()")  # so that the log goes on
    cleaning.switch_log(store.worker, at)


def test_what_somebody_may_still_see_is_not_called_cleaned(store, monkeypatch):
    monkeypatch.setattr(cleaning, "BARRIER_SECONDS", 0.1)
    with psycopg.connect(store.worker) as reading:
        reading.execute("SELECT pg_current_xact_id()")
        with pytest.raises(NotDrained):
            cleaning.vacuum(store.migrate)
    assert cleaning.vacuum(store.migrate)
    assert lifecycle.KEY_TABLES[0] == cleaning.KEYS
