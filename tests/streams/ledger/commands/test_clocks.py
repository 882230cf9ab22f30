"""Vector clocks, hybrid clocks and registers: the algebra on which nothing is lost by merging."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.commands import clocks, registers
from streams.ledger.commands.clocks import Hlc
from streams.ledger.commands.registers import Sibling, Stamp

AUTHOR = "00000000-0000-0000-0000-00000000000a"
CLOCKS = st.dictionaries(st.sampled_from("abcd"), st.integers(1, 4), min_size=1)
HLCS = st.builds(Hlc, st.integers(0, 5), st.integers(0, 3), st.sampled_from("abcd"))
SIBLINGS = st.builds(
    lambda clock, hlc, value: Sibling(
        stamp=Stamp(clock=clock, hlc=hlc, author_id=AUTHOR), value=value
    ),
    CLOCKS,
    HLCS,
    st.sampled_from([None, "x", "y", 3]),
)
WRITES = st.lists(SIBLINGS, max_size=6)
OPPOSITE = {"before": "after", "after": "before", "equal": "equal", "concurrent": "concurrent"}


@given(CLOCKS, CLOCKS)
def test_two_clocks_stand_to_each_other_the_one_way_or_the_other(a, b):
    assert clocks.compare(b, a) == OPPOSITE[clocks.compare(a, b)]
    assert (clocks.compare(a, b) == "equal") == (a == b)


@given(CLOCKS, CLOCKS, CLOCKS)
def test_what_came_before_what_came_before_came_before(a, b, c):
    if clocks.compare(a, b) == clocks.compare(b, c) == "before":
        assert clocks.compare(a, c) == "before"


@given(CLOCKS, CLOCKS, CLOCKS)
def test_clocks_merge_in_any_order_and_any_number_of_times(a, b, c):
    merged = clocks.merged(a, clocks.merged(b, c))
    assert merged == clocks.merged(clocks.merged(c, a), clocks.merged(b, merged))
    assert all(clocks.compare(one, merged) in ("before", "equal") for one in (a, b, c))


@given(CLOCKS, st.sampled_from("abcd"))
def test_the_next_edit_is_after_all_that_its_replica_knew(clock, replica):
    assert clocks.compare(clock, clocks.advanced(clock, replica)) == "before"


def test_a_replica_that_is_not_named_stands_at_zero():
    assert clocks.compare({}, {"a": 1}) == "before"
    assert clocks.compare({"a": 1, "b": 1}, {"a": 1}) == "after"
    assert clocks.compare({"a": 1}, {"b": 1}) == "concurrent"


@pytest.mark.parametrize(
    "clock",
    [
        {},
        {f"r{number}": 1 for number in range(clocks.REPLICAS_MAX + 1)},
        {"a" * (clocks.REPLICA_CHARS_MAX + 1): 1},
        {"": 1},
        {"nul\0": 1},
        {"a": 0},
        {"a": -1},
        {"a": clocks.COUNTER_MAX + 1},
    ],
)
def test_a_clock_that_is_none_is_told(clock):
    assert clocks.fault(clock)


def test_clocks_at_the_limits_are_sound():
    assert clocks.fault({f"r{number}": 1 for number in range(clocks.REPLICAS_MAX)}) is None
    assert clocks.fault({"a" * clocks.REPLICA_CHARS_MAX: clocks.COUNTER_MAX}) is None


@given(HLCS, st.integers(0, 8))
def test_a_ticked_time_is_later_and_not_before_the_wall_clock(time, now):
    ticked = time.tick(now)
    assert (ticked.micros, ticked.counter) > (time.micros, time.counter)
    assert ticked.micros >= now


def test_a_counter_at_its_end_goes_on_in_the_next_microsecond():
    assert Hlc(5, clocks.TIE_MAX, "a").tick(0) == Hlc(6, 0, "a")


@given(WRITES, WRITES, WRITES)
def test_registers_join_in_any_order_and_any_number_of_times(a, b, c):
    a, b, c = (registers.joined((), writes) for writes in (a, b, c))
    joined = registers.joined(a, registers.joined(b, c))
    assert joined == registers.joined(registers.joined(c, b), a)
    assert joined == registers.joined(joined, joined)
    assert joined == registers.joined(registers.joined(a, b), registers.joined(joined, c))


@given(WRITES)
def test_a_register_holds_what_nothing_else_knew_of_and_loses_nothing_else(writes):
    kept = registers.joined((), writes)
    for one in kept:
        for other in kept:
            assert clocks.compare(one.stamp.clock, other.stamp.clock) in ("concurrent", "equal")
    for write in writes:
        assert write in kept or any(
            clocks.compare(write.stamp.clock, one.stamp.clock) == "before" for one in kept
        )


@given(WRITES.filter(bool))
def test_registers_go_through_json_and_back(writes):
    known = {"field": registers.joined((), writes)}
    assert registers.of_json(registers.to_json(known)) == known


def test_the_newest_by_the_hybrid_clock_is_shown_and_decides_nothing():
    first = Sibling(stamp=Stamp(clock={"a": 1}, hlc=Hlc(9, 0, "a"), author_id=AUTHOR), value="a")
    second = Sibling(stamp=Stamp(clock={"b": 1}, hlc=Hlc(5, 0, "b"), author_id=AUTHOR), value="b")
    known = {"field": registers.joined((first,), (second,))}
    assert registers.shown(known, "field") == "a"
    assert len(known["field"]) == 2
    assert registers.differ(known["field"])
    assert registers.shown(known, "nothing") is None
