"""Dead letters on their topic: each state once, in order, with no word of what they hold."""

from dataclasses import replace

import pytest

from schemas import headers
from schemas.sealing import NOBODY
from sinks import announcing, dead_letters
from sinks.database import for_tenants
from sinks.dead_letters import DeadLetter
from sinks.write import write
from streams import publications
from streams.relay import HistoryLost
from tests.sinks.provisioned import FEED, LINE, OURS
from tests.streams.test_relay import CODEC, Line, Running, until

pytestmark = pytest.mark.stack

RECORD = "wardtrail.letters.DeadLetter"
KEY = "7d7cf0ac-0f27-8d7a-9c0e-3d3b6d7b9a10"
MESSAGE = "c02f5a10-5f1b-8e0b-8a57-0a4f5fc7b0de"


@pytest.fixture
def line(store, stack):
    made = Line(store, stack.bootstrap_servers)
    plain = publications.dead_letters(CODEC)
    made.publication = replace(plain, source=replace(plain.source, topic=made.topic))
    return made


@pytest.fixture
def relay(line):
    made = line.relay()
    made._renew()
    yield made
    made._close()


def written(line, *offsets, partition=0, **given):
    """Letters as a processor writes them in its own transaction."""
    held = line.store.take("ledger", partition, topic="t")
    told = {"tenant_id": OURS, "feed_id": FEED, "message_id": MESSAGE, "family": "adt"}
    letters = [
        DeadLetter(
            offset=offset, key=KEY.encode(), value=b"CANARY", stage="map", cause="structure",
            reason="CANARY", **{**told, **given},
        )
        for offset in offsets
    ]  # fmt: skip
    with line.store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [OURS])
        write(connection, dead_letters.changes(held, letters, LINE))


def become(line, offset, state):
    line.store.run('UPDATE dead_letters SET state = %s WHERE "offset" = %s', state, offset)


def told(line):
    return [
        (row["offset"], row["announced"], row["partition_seq"])
        for row in line.store.rows('SELECT * FROM dead_letters ORDER BY "offset"')
    ]


def test_each_state_is_told_once_with_a_place_that_rises(line, relay):
    written(line, 0, 1, 2)
    assert relay.round() == 3
    assert relay.round() == 0
    become(line, 1, "retried")
    assert relay.round() == 1
    become(line, 0, "discarded")
    assert relay.round() == 1
    assert line.published() == [1, 2, 3, 4, 5]
    assert told(line) == [(0, "discarded", 5), (1, "retried", 4), (2, "dead", 3)]


def test_a_state_that_passes_before_anybody_looks_is_told_no_more(line, relay):
    written(line, 0, state="parked")
    become(line, 0, "dead")
    assert relay.round() == 1
    assert told(line) == [(0, "dead", 1)]


def test_a_letter_is_told_in_its_own_partition(line, relay):
    written(line, 0)
    written(line, 1, 2, partition=1)
    assert relay.round() == 3
    assert (line.published(), line.published(1)) == ([1], [1, 2])


def test_what_is_told_says_where_and_why_and_nothing_of_what_is_held(line, relay):
    written(line, 7, keys=("parked-key",))
    announcing.number(line.store.database, line.topic, [0])
    [row] = line.store.rows("SELECT *, key AS key FROM dead_letters")
    as_told = {k: str(v) if k.endswith("id") and v else v for k, v in row.items()}
    outgoing = line.publication.encode(as_told)
    value = CODEC.decode_as(RECORD, outgoing.value)
    assert b"CANARY" not in outgoing.value + outgoing.key
    assert b"CANARY" not in b"".join(said for _, said in outgoing.headers)
    assert outgoing.key == value["letter_id"].encode() == str(row["id"]).encode()
    named = {name: value[name] for name in ("topic", "partition", "offset", "record_key", "cause")}
    assert named == {
        "topic": "t", "partition": 0, "offset": 7, "record_key": KEY, "cause": "structure"
    }  # fmt: skip
    assert value["tenant_id"] == str(headers.tenant(outgoing.headers)) == OURS
    assert dict(outgoing.headers)["ce_correlationid"] == MESSAGE.encode()


def test_a_letter_of_nobody_is_told_as_nobodys(line, relay):
    written(line, 0, tenant_id=None, feed_id=None, message_id=None, family=None)
    line.store.run("UPDATE dead_letters SET key = NULL")
    assert relay.round() == 1
    [row] = line.store.rows("SELECT * FROM dead_letters")
    assert publications.letter_of(row)["tenant_id"] == str(NOBODY)
    assert publications.letter_of(row)["record_key"] is None


def test_a_letter_that_somebody_changes_is_left_for_the_next_round(line, relay):
    written(line, 0, 1)
    with line.store.database.connection() as connection, connection.transaction():
        for_tenants(connection, [OURS])
        connection.execute("UPDATE dead_letters SET state = 'retried' WHERE \"offset\" = 0")
        assert relay.round() == 1
    assert relay.round() == 1
    assert told(line) == [(0, "retried", 2), (1, "dead", 1)]


def test_what_was_numbered_and_not_published_is_published_by_the_next(line, relay):
    written(line, 0, 1)
    announcing.number(line.store.database, line.topic, [0])
    become(line, 0, "retried")
    assert relay.round() == 2
    assert line.published() == [2, 3], "a place that nobody saw is a hole"


def test_letters_are_told_without_anybody_telling_the_relay(line):
    line.publication = replace(line.publication, poll_seconds=0.05)
    with Running(line.relay()) as relay:
        until(lambda: relay._held)
        written(line, 0)
        until(lambda: line.published() == [1])


def test_a_topic_that_is_ahead_of_the_database_is_history_lost(line, relay):
    written(line, 0)
    assert relay.round() == 1
    relay._close()
    line.store.run("DELETE FROM partitions WHERE topic = %s", line.topic)
    line.store.run("UPDATE subscriptions SET last_position = 0")
    with pytest.raises(HistoryLost):
        line.relay("two")._renew()
