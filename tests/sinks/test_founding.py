"""A command that founds may be the first of its stream, or one of many; another's is refused."""

import pytest

from tests.sinks.asking import ask, asked, outcomes, reach, results
from tests.sinks.inbound import append, check, entry, events, take
from tests.sinks.provisioned import THEIRS, stream_id

pytestmark = pytest.mark.stack


def test_a_founding_command_makes_its_stream_or_finds_it(store):
    held = reach(store)
    ask(store, held, asked(1, founds=True), asked(2, founds=True, amounts=(2,)))
    ask(store, store.take("ledger", topic=held.topic), asked(3, founds=True), offset=2)
    check(store)
    assert outcomes(store) == ["accepted"] * 3
    assert [row["version"] for row in results(store)] == [1, 2, 3]


def test_another_tenants_stream_is_never_founded_on(store):
    held = reach(store)
    ask(store, held, asked(1, founds=True, tenant=THEIRS))
    ask(store, held, asked(2, founds=True), offset=1)
    check(store)
    assert outcomes(store) == ["accepted", "not_found"]
    assert len(events(store)) == 1


def test_a_founded_stream_stands_at_the_home_of_whom_it_is_about(store):
    append(store, take(store, 3), [entry(0, streams=(7,))])
    held = reach(store)
    ask(store, held, asked(1, stream=1, founds=True, near=(stream_id(7),)))
    [row] = results(store)
    assert row["event_partition"] == 3
