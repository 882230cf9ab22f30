"""A flood of refusals becomes a few counts, and waits for the database in bounded memory."""

from dataclasses import replace
from uuid import UUID

import pytest

from ops import counting
from ops.counting import Counting
from producers.ports import Refused
from sinks.database import DatabaseAway

REFUSED = Refused(
    port=2575, reason="sender", tenant_id=UUID(int=1), feed_id=UUID(int=2), sender_hmac=UUID(int=3)
)

OURS = (2575, UUID(int=3))


@pytest.fixture
def written(monkeypatch):
    """What was written, batch by batch; while it holds an exception that is raised."""
    batches: list = []

    def write(database, counts):
        if batches and isinstance(batches[-1], Exception):
            raise batches.pop()
        batches.append({(kind.port, kind.sender_hmac): n for kind, n in counts.items()})

    monkeypatch.setattr(counting.feeds, "count_refusals", write)
    monkeypatch.setattr(counting.feeds, "forget_refusals", lambda *_: 0)
    return batches


def test_a_flood_of_one_kind_is_one_row(written):
    held = Counting(None)
    for _ in range(10_000):
        held.note(REFUSED)
    held.flush()
    held.flush()
    assert written == [{OURS: 10_000}]


def test_many_senders_become_one_count_without_a_sender(written):
    held = Counting(None)
    for number in range(1_000):
        held.note(replace(REFUSED, sender_hmac=UUID(int=number + 10)))
    held.flush()
    [counts] = written
    assert len(counts) == counting.SENDERS_MAX + 1
    assert counts[2575, None] == 1_000 - counting.SENDERS_MAX


def test_what_can_not_be_written_now_is_written_later_and_is_bounded(written, monkeypatch):
    monkeypatch.setattr(counting, "KINDS_MAX", 10)
    held = Counting(None)
    held.note(REFUSED)
    written.append(DatabaseAway("for the test"))
    with pytest.raises(DatabaseAway):
        held.flush()
    held.note(REFUSED)
    for port in range(100):
        held.note(replace(REFUSED, port=port))
    assert len(held._counts) <= 10
    assert held.unrecorded > 0
    held.flush()
    assert written[-1][OURS] == 2
    assert sum(held._counts.values()) == 0


def test_what_was_counted_last_is_written_at_the_end(written):
    held = Counting(None)
    held.start()
    held.note(REFUSED)
    held.stop()
    assert written == [{OURS: 1}]


def test_old_counts_are_removed_from_time_to_time(monkeypatch):
    swept = []
    monkeypatch.setattr(counting.feeds, "forget_refusals", lambda *asked: swept.append(asked) or 0)
    held = Counting(None)
    for now in (1_000.0, 1_000.0 + counting.SWEEP_SECONDS - 0.001):
        held.sweep(now)
        assert len(swept) == 1
    held.sweep(1_000.0 + counting.SWEEP_SECONDS)
    assert len(swept) == 2
