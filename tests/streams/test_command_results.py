"""What became of commands, on its topic: every result once in order, duplicates leave holes."""

from dataclasses import replace

import pytest

from schemas import headers
from schemas.clock import micros
from sinks import relay as outgoing_rows
from streams import publications
from streams.relay import HistoryLost
from tests.sinks.asking import COMMANDS, ask, asked, command_id, reach, results
from tests.sinks.provisioned import OURS
from tests.streams.test_relay import CODEC, Line, Running, until

pytestmark = pytest.mark.stack

RECORD = "wardtrail.commands.CommandResult"


@pytest.fixture
def line(store, stack):
    made = Line(store, stack.bootstrap_servers)
    plain = publications.command_results(CODEC)
    made.publication = replace(plain, source=replace(plain.source, topic=made.topic))
    return made


def decided(line):
    """Five commands on two streams, one of them told twice and one refused."""
    held = reach(line.store)
    ask(line.store, held, asked(1, creates=True), asked(2), asked(2), asked(3, expected_version=9))
    ask(line.store, held, asked(4, stream=1, creates=True))


def test_every_result_is_published_by_the_offset_that_its_command_came_at(line):
    decided(line)
    relay = line.relay()
    relay._renew()
    assert relay.round() == 4
    assert line.published() == [1, 2, 4, 5]
    assert relay.round() == 0
    relay._close()


def test_a_published_result_says_what_its_row_says(line):
    decided(line)
    for row, source in zip(results(line.store), rows(line), strict=True):
        outgoing = line.publication.encode(source)
        value = CODEC.decode_as(RECORD, outgoing.value)
        assert outgoing.key == value["stream_id"].encode()
        assert value.pop("recorded_at") == micros(row["recorded_at"])
        named = {name: row[name] for name in value}
        for name in ("command_id", "tenant_id", "stream_id"):
            named[name] = str(named[name])
        assert value == named
        said = dict(outgoing.headers)
        assert said["ce_id"] == f"{row['command_id']}/result".encode()
        assert str(headers.tenant(outgoing.headers)) == OURS
    [refused] = [row for row in results(line.store) if row["rule"]]
    assert (str(refused["command_id"]), refused["rule"]) == (command_id(3), "conflict")


def rows(line):
    """The rows as a relay reads them."""
    held = line.relay()
    held._renew()
    found = outgoing_rows.read(
        line.store.database, line.publication.source, held._held[0], after=0, limit=10
    )
    held._close()
    return found


def test_a_result_is_published_as_soon_as_it_stands(line):
    with Running(line.relay()) as relay:
        until(lambda: relay._held)
        decided(line)
        until(lambda: line.published() == [1, 2, 4, 5])


def test_a_topic_ahead_of_what_the_ledger_read_stops_the_relay(line):
    decided(line)
    relay = line.relay()
    relay._renew()
    relay.round()
    relay._close()
    line.store.run(
        "UPDATE subscriptions SET next_offset = 3, applied = 2, ignored = 0 WHERE topic = %s",
        COMMANDS,
    )
    with pytest.raises(HistoryLost, match="holds 5, the database only 3"):
        line.relay("two")._renew()


def test_a_ledger_that_published_all_that_it_read_is_not_ahead(line):
    decided(line)
    relay = line.relay()
    relay._renew()
    relay.round()
    relay._close()
    again = line.relay("two")
    again._renew()
    assert again.round() == 0
    again._close()
