"""Dead commands: they hold up nobody, and a retry decides them, once, on what there is by then."""

import pytest

from sinks import aggregates, requests
from sinks.aggregates import Verdict
from sinks.database import for_tenants
from sinks.requests import Chosen
from streams.letters import Letters
from tests.sinks.provisioned import counts
from tests.streams.ledger.commands.conftest import OTHER, TENANT

pytestmark = pytest.mark.stack


def retry(line):
    """Ask for all that are dead; how the last request ended, and what it said."""
    with line.store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [TENANT, OTHER])
        heads = requests.heads(connection, Chosen(subscription_id="ledger"))
    requests.ask(line.store.database, heads, "retry", requested_by="tester", purpose="a test")
    Letters(processor=line.processor).round()
    rows = line.store.rows("SELECT * FROM dead_letter_requests ORDER BY requested_at, id")
    return rows[-1]["ended"], rows[-1]["said"]


def outcomes(line):
    return [row["outcome"] for row in line.results()]


def test_a_command_at_which_deciding_failed_is_decided_when_it_is_retried(line, monkeypatch):
    line.send(line.begin())
    real = aggregates._decide
    monkeypatch.setattr(aggregates, "_decide", lambda *_: Verdict(version=0, failed=ValueError()))
    line.send(line.add(1))
    monkeypatch.setattr(aggregates, "_decide", real)
    line.send(line.add(2))
    assert outcomes(line) == ["accepted", "failed", "accepted"], "the next one doesn't wait"
    line.store.run(
        "INSERT INTO subscriptions (subscription_id, topic, partition, last_position)"
        " VALUES ('relay:commands', 'app.command-results.v1', 0, 3)"
    )
    monkeypatch.setattr(aggregates, "_decide", lambda *_: Verdict(version=0, failed=ValueError()))
    ended, said = retry(line)
    assert ended == "failed"
    assert "decide raised: ValueError" in said
    monkeypatch.setattr(aggregates, "_decide", real)
    assert retry(line)[0] == "done"
    assert outcomes(line) == ["accepted"] * 3
    assert counts(line.store, "ledger") == {"applied": 3}
    assert line.store.subscription("relay:commands")["last_position"] == 1, "to be told again"
    assert [row["event_version"] for row in line.events()] == [1, 2, 3]


def test_a_command_that_is_dead_again_stays_with_its_result(line):
    line.send(line.begin(), line.record("count.add", {"by": 1}, envelope=b"none"))
    assert retry(line)[0] == "failed"
    assert outcomes(line) == ["accepted", "failed"]
    assert counts(line.store, "ledger") == {"applied": 1, "dead": 1}
