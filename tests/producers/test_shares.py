"""Who is slowed while the ledger is behind, and that it ends; a ledger is played by a number."""

from collections import Counter
from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producers import shares
from producers.shares import Look, Shares, follow, level

CALM, FLOOD, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
tenants = st.builds(UUID, int=st.integers(1, 12))
counts = st.dictionaries(tenants, st.integers(0, 5_000), max_size=12)


@dataclass
class Played:
    """A line by numbers: in each look tenants send what they may, and the ledger takes its part.

    A tenant's messages are read off its connections by the ``gulp``, as a socket gives them, and
    the ledger moves by transactions of so many looks.
    """

    takes: int = 100  # a look
    gulp: int = 1
    transaction: int = 1
    read: int = 0
    end: int = 0
    looks: int = 0
    sent: Counter = field(default_factory=Counter)
    shares: Shares = field(default_factory=Shares)

    def look(self, wants, takes=None):
        """Tenants want to send so many until the next look."""
        held = set()
        for tenant, want in wants.items():
            may = want
            if tenant in self.shares.given:
                may = min(want, -(-self.shares.given[tenant] // self.gulp) * self.gulp)
                if may < want:
                    held.add(tenant)
            self.sent[tenant] += may
            self.end += may
        self.looks += 1
        if self.looks % self.transaction == 0:
            taken = self.takes * self.transaction if takes is None else takes
            self.read = min(self.end, self.read + taken)
        self.shares = follow(
            self.shares,
            Look(
                at=self.looks * shares.LOOK_SECONDS, read={0: self.read}, ends={0: self.end},
                sent=dict(self.sent), held=held,
            ),
        )  # fmt: skip
        return self.shares

    @property
    def waiting(self):
        return self.end - self.read


@pytest.fixture
def played():
    line = Played()
    for _ in range(4):
        line.look({CALM: 5})
    return line


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), max_size=20), st.floats(0, 1e6))
def test_the_fair_level_gives_out_the_capacity_and_no_more(demands, capacity):
    found = level(demands, capacity)
    given_out = sum(min(each, found) for each in demands)
    assert given_out <= capacity * (1 + 1e-9) + 1e-6
    if any(each > found for each in demands):
        assert given_out == pytest.approx(capacity), "nobody waits for what nobody uses"


@settings(deadline=None)
@given(st.lists(counts, min_size=2, max_size=30), st.lists(st.integers(0, 3_000), min_size=30))
def test_whatever_comes_the_window_keeps_its_bounds_and_nobody_alone_is_held(sends, takes):
    line = Played()
    for wants, taken in zip(sends, takes, strict=False):
        now = line.look(wants, taken)
        assert all(each >= 0 for each in now.given.values())
        assert now.given.keys() in (set(), now.heard.keys())
        assert (now.others is None) == (not now.heard or len(now.looks) == 1)
        assert (now.given == {}) == (len(now.heard) <= 1 or len(now.looks) == 1)
        assert now.slowed.keys() <= now.heard.keys()
        assert shares.WINDOW_LEAST <= now.window <= shares.WINDOW_MOST
        assert 0 <= now.delay <= shares.LOOKS * shares.LOOK_SECONDS
        assert len(now.looks) <= shares.LOOKS


@settings(deadline=None)
@given(st.lists(st.integers(0, 50_000), min_size=2, max_size=40), st.integers(0, 100))
def test_a_tenant_alone_is_never_slowed(sends, takes):
    line = Played(takes=takes)
    for want in sends:
        assert line.look({FLOOD: want}).given == {}


@settings(deadline=None)
@given(st.integers(20, 1_000), st.integers(2, 40), st.sampled_from([1, 16, 128]), st.integers(1, 2))
def test_beside_a_flood_little_waits_and_the_ledger_has_work(takes, times, gulp, transaction):
    """However fast it is, by whatever gulps the flood comes, and by what transactions it moves."""
    line = Played(takes=takes, gulp=gulp, transaction=transaction)
    for _ in range(4):
        line.look({CALM: 1})
    for number in range(400):
        now = line.look({CALM: 1, FLOOD: takes * times})
        assert now.given[CALM] >= shares.FREE, "the calm one sends as it likes"
        if number == 200:
            began = line.read
        if number >= 200:
            most = max(shares.WINDOW_LEAST, 2 * takes) + 2 * gulp + takes * (transaction + 2)
            assert line.waiting <= most
    assert FLOOD in now.slowed
    assert line.read - began >= 0.15 * 200 * takes


def test_a_flood_comes_no_further_than_the_window_from_its_first_moment(played):
    played.look({CALM: 5, FLOOD: 1})
    for _ in range(20):
        played.look({CALM: 5, FLOOD: 30_000}, takes=0)
    assert played.waiting <= 20 * 5 + shares.WINDOW_BEGIN + 20


def test_who_was_never_heard_may_not_begin_with_more_than_is_free(played):
    assert played.shares.given == {}, "whoever is alone sends as it likes"
    assert played.shares.others == shares.FREE


def test_what_the_flood_sent_before_anybody_else_came_is_read_before_it_sends_more():
    line = Played()
    for _ in range(30):
        line.look({FLOOD: 400})
    line.look({FLOOD: 400, CALM: 1})
    before, waiting = line.sent[FLOOD], line.waiting
    for _ in range(waiting // line.takes):
        line.look({FLOOD: 400, CALM: 1})
    assert line.waiting <= waiting / 5
    assert line.sent[FLOOD] - before <= 0.2 * waiting, "a tenth of what is read, and no less"
    assert line.sent[FLOOD] - before >= 0.05 * waiting


@pytest.mark.parametrize("gulp", [1, 16, 128])
def test_nobody_is_stopped_and_what_is_read_at_once_is_owed(gulp):
    """By gulps no more comes than one by one: a tenth of what the ledger takes."""
    line = Played(gulp=gulp)
    for _ in range(30):
        line.look({FLOOD: 3_000})
    line.look({FLOOD: 3_000, CALM: 1})
    before = line.sent[FLOOD]
    for _ in range(200):
        line.look({FLOOD: 3_000, CALM: 1})
    assert line.waiting > 10 * line.takes, "still far behind"
    tenth = pytest.approx(0.1 * 200 * line.takes, rel=0.1, abs=2 * gulp)
    assert line.sent[FLOOD] - before == tenth


def test_two_floods_get_the_same_and_what_a_small_one_leaves(played):
    for _ in range(100):
        played.look({CALM: 5, FLOOD: 3_000, OTHER: 500})
    began = dict(played.sent)
    for _ in range(100):
        now = played.look({CALM: 5, FLOOD: 3_000, OTHER: 500})
    one, other = played.sent[FLOOD] - began[FLOOD], played.sent[OTHER] - began[OTHER]
    assert now.slowed.keys() == {FLOOD, OTHER}
    assert other == pytest.approx(one, rel=0.2)
    assert played.sent[CALM] - began[CALM] == 500


def test_who_comes_back_to_less_than_its_share_is_slowed_no_longer(played):
    for _ in range(40):
        played.look({CALM: 5, FLOOD: 3_000, OTHER: 3_000})
    assert OTHER in played.shares.slowed
    for _ in range(3 * int(shares.CALM_SECONDS / shares.LOOK_SECONDS)):
        played.look({CALM: 5, FLOOD: 3_000, OTHER: 20})
    assert played.shares.slowed.keys() == {FLOOD}


def test_a_tenant_that_was_heard_long_ago_waits_no_more_and_the_flood_is_alone(played):
    for _ in range(20):
        played.look({CALM: 5, FLOOD: 3_000})
    assert FLOOD in played.shares.slowed
    for _ in range(int(shares.PRESENT_SECONDS / shares.LOOK_SECONDS) + 1):
        played.look({FLOOD: 3_000})
    assert (played.shares.given, played.shares.slowed) == ({}, {})
    assert played.shares.heard.keys() == {FLOOD}


def test_a_partition_that_stands_still_slows_nobody_for_long(played):
    stuck = {"read": {0: 20, 1: 7}, "ends": {0: 20, 1: 90_000}}
    for number in range(200):
        last = played.shares.looks[-1]
        sent = {CALM: last.sent[CALM] + 1, FLOOD: number * 100}
        look = Look(at=last.at + shares.LOOK_SECONDS, sent=sent, **stuck)
        played.shares = follow(played.shares, look)
    assert played.shares.given[FLOOD] >= shares.WINDOW_LEAST
    assert played.shares.delay < shares.TARGET_SECONDS


def test_the_delay_is_the_age_of_what_the_ledger_reads_now():
    line = Played()
    for _ in range(30):
        line.look({FLOOD: 100}, takes=0)
    for _ in range(30):  # a hundred a look come and go, thirty looks late
        line.look({FLOOD: 100}, takes=100)
    read, age = shares._reads(line.shares.looks, [0])
    assert age == pytest.approx(30 * shares.LOOK_SECONDS)
    assert read == {FLOOD: pytest.approx(line.read)}


def test_messages_of_other_processes_count_as_waiting_but_not_as_ours(played):
    for number in range(1, 20):
        look = replace(
            played.shares.looks[-1], at=played.shares.looks[-1].at + shares.LOOK_SECONDS,
            ends={0: 20 + 1_000 * number}, read={0: 20 + 500 * number},
            sent={CALM: 20 + number, FLOOD: 10 * number},
        )  # fmt: skip
        played.shares = follow(played.shares, look)
    assert played.shares.delay > shares.TARGET_SECONDS
    assert played.shares.slowed == {}, "who sends ten a look here is not the flood"


def test_a_clock_that_stands_begins_anew(played):
    begun = follow(played.shares, played.shares.looks[-1])
    assert (begun.window, begun.delay, begun.given) == (shares.WINDOW_BEGIN, 0.0, {})


@pytest.mark.parametrize("broken", ["_parts", "_window"])
def test_the_guards_fire_where_nobody_is_slowed_or_the_window_stays(played, broken, monkeypatch):
    if broken == "_parts":
        monkeypatch.setattr(shares, "_parts", lambda *_: ({}, set()))
    else:
        monkeypatch.setattr(shares, "_window", lambda *_: shares.WINDOW_MOST)
    for _ in range(60):
        played.look({CALM: 5, FLOOD: 3_000})
    assert played.waiting > 10 * played.takes
