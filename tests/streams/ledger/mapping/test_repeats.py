"""Repeat patterns: how often, on which days, at which times of the feed's zone."""

from datetime import UTC, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.mapping import repeats, times
from streams.ledger.mapping.repeats import DUE_MAX, Lasting, Pattern

BERLIN = ZoneInfo("Europe/Berlin")
PATTERNS = [*repeats.DAILY, "6ID", "24ID", "Q8H", "Q2D", "Q1W", "Q7H", "Q30M"]
STARTS = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(
    lambda at: at.strftime("%Y%m%d%H%M")
)


def due(raw, start="20260301", *, until=None, count=None, at="", zone=BERLIN):
    return repeats.due(
        repeats.pattern(raw), times.moment(start, zone), count=count, at=repeats.clocks(at),
        until=times.moment(until, zone).at if until else None, zone=zone,
    )  # fmt: skip


def told(listed, name="due_at", zone=BERLIN):
    """As clocks on the ward show it."""
    shown = [datetime.fromtimestamp(each[name] / 1e6, UTC).astimezone(zone) for each in listed]
    return [f"{at:%d %H:%M}" for at in shown]


@pytest.mark.parametrize("code", [*repeats.DAILY, *repeats.SINGLE, "PRN", "5ID", "Q6H", "Q2D"])
def test_a_pattern_is_read_whatever_its_case(code):
    assert repeats.pattern(f" {code.lower()} ").code == code


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "canary",
        "PRNCANARY",
        "PRNONCE",
        "PRN" * 20_000,
        "0ID",
        "25ID",
        "Q0H",
        "Q99999H",
        "Q6",
        "B.I.D.",
    ],
)
def test_what_is_no_pattern_of_the_table_is_none(raw):
    assert repeats.pattern(raw) is None


@pytest.mark.parametrize("raw", ["PRN", "PRNQ6H", "PRNBID", "prn3ID"])
def test_what_is_given_as_needed_is_never_due(raw):
    assert repeats.pattern(raw).as_needed
    assert due(raw, until="20260304") == []


@pytest.mark.parametrize(
    ("raw", "count"), [("QD", 3), ("QHS", 3), ("BID", 6), ("TID", 9), ("QID", 12), ("QSHIFT", 9),
                       ("6ID", 18), ("QOD", 2), ("Q8H", 9), ("Q2D", 2), ("Q1D", 3)],
)  # fmt: skip
def test_three_days_hold_as_many_times_as_the_pattern_says(raw, count):
    assert len(due(raw, until="20260304")) == count


def test_v9_each_time_may_be_all_of_its_day_and_lies_spread_evenly_over_it():
    listed = due("BID", "202603010800", until="202603021400")
    assert told(listed) == ["01 08:00", "01 20:00", "02 08:00"]
    assert told(listed, "starts_at") == ["01 08:00", "01 08:00", "02 08:00"]
    assert told(listed, "ends_at") == ["02 08:00", "02 08:00", "02 14:00"]


def test_times_of_day_that_are_named_are_due_from_the_start_on_and_have_no_window():
    listed = due("BID", "202603010900", count=3, at="2000,0600")
    assert told(listed) == ["01 20:00", "02 06:00", "02 20:00"]
    assert {each["starts_at"] for each in listed} == {None}
    assert told(due("Q1D", "202603010900", until="20260303", at="0800")) == ["02 08:00"]
    assert told(due("Q12H", "202603010900", count=2, at="0800,2000")) == ["01 20:00", "02 08:00"]


def test_t22_days_are_the_wards_own_though_clocks_change():
    """On 29 March 2026 the clocks go forward, on 25 October back."""
    assert told(due("QD", "202603280800", count=3)) == ["28 08:00", "29 08:00", "30 08:00"]
    assert told(due("BID", "20261024", count=4, at="0600,1800")) == [
        "24 06:00", "24 18:00", "25 06:00", "25 18:00",
    ]  # fmt: skip
    (first, second) = due("BID", "20260329", count=2)
    assert first["ends_at"] - first["starts_at"] == 23 * 3600 * 1_000_000
    assert second["due_at"] - first["due_at"] == 23 * 1800 * 1_000_000


def test_t22_what_begins_at_a_time_that_comes_twice_begins_when_it_says():
    """On 25 October 2026 it is half past two twice: the second time is in winter time."""
    start = "202610250230+0100"
    [first, second] = due("QD", start, count=2)
    assert first["starts_at"] == first["due_at"] == times.moment(start, BERLIN).micros
    assert told([second]) == ["26 02:30"]
    ends = Lasting(seconds=1800).end(times.moment(start, BERLIN), BERLIN)
    assert (ends.at - times.moment(start, BERLIN).at).total_seconds() == 1800


def test_t22_times_are_due_in_their_order_where_one_never_was():
    """On 29 March 2026 it is never half past two: that is half past three."""
    assert told(due("BID", "20260329", count=2, at="0230,0300")) == ["29 03:00", "29 03:30"]


def test_without_an_end_or_a_count_the_first_day_is_due():
    assert told(due("TID")) == ["01 00:00", "01 08:00", "01 16:00"]
    assert told(due("BID", "202603012300", at="0600,1800")) == ["02 06:00", "02 18:00"]


def test_whichever_comes_first_of_end_and_count_ends_it():
    assert len(due("BID", until="20260304", count=4)) == 4
    assert len(due("BID", until="20260304", count=40)) == 6


def test_at_the_bound_each_time_is_listed_and_one_more_lists_none():
    assert len(due("BID", count=DUE_MAX)) == DUE_MAX
    assert due("BID", count=DUE_MAX + 1) == []
    assert due("BID", until="20260501") == []
    assert due("QD", "21991231", until="22001231") == []


@pytest.mark.parametrize("raw", ["Q6H", "Q1D", "Q30M", "ONCE", "C", ""])
def test_what_is_no_pattern_of_days_is_not_listed(raw):
    assert due(raw, "202603010800", until="20260304") == []


@pytest.mark.parametrize("start", ["2026", "202603"])
def test_a_start_that_says_no_day_begins_none(start):
    assert due("BID", start, count=2) == []


def test_an_interval_that_fits_no_day_stays_one():
    assert due("Q7H", count=3) == []
    assert due("Q36H", count=3) == []
    assert due("Q6H", count=2, at="0600,1800") == []


@pytest.mark.parametrize(
    ("raw", "unit", "expected"),
    [("D3", "", Lasting(days=3)), ("w2", "", Lasting(days=14)), ("X6", "", Lasting(times=6)),
     ("H12", "", Lasting(seconds=43_200)), ("3", "d", Lasting(days=3)), ("3", "", Lasting()),
     ("90", "min", Lasting(seconds=5400)), ("INDEF", "", Lasting()), ("3", "mo", Lasting()),
     ("", "d", Lasting()), ("D0", "", Lasting()), ("D99999", "", Lasting())],
)  # fmt: skip
def test_a_duration_is_read_where_it_is_plain(raw, unit, expected):
    assert repeats.lasting(raw, unit) == expected


def test_a_duration_ends_by_the_calendar_and_beyond_it_never():
    start = times.moment("202603280800", BERLIN)
    ends = Lasting(days=2).end(start, BERLIN)
    assert ends.at.astimezone(BERLIN).strftime("%d %H:%M") == "30 08:00"
    assert Lasting(days=9_999 * 365).end(start, BERLIN) is None
    assert Lasting().end(start, BERLIN) is None


@pytest.mark.parametrize(
    "raw", ["", "0600,", "2400", "600", "noon", ",".join(["0600"] * 3 + ["x"])]
)
def test_times_of_day_are_all_read_or_none(raw):
    assert repeats.clocks(raw) == ()
    assert repeats.clocks("1800, 0600,060030") == (time(6), time(18))


def test_more_times_of_day_than_a_ward_has_rounds_are_none():
    named = [f"{hour:02}{minute:02}" for hour in range(5) for minute in range(5)]
    assert repeats.clocks(",".join(named[:24])) != ()
    assert repeats.clocks(",".join(named)) == ()


@given(
    st.sampled_from(PATTERNS), STARTS, st.booleans(), st.none() | st.integers(1, 120),
    st.none() | st.integers(1, 80), st.sampled_from(["", "0230", "0600,1800", "0000,0800,1600"]),
)  # fmt: skip
def test_whatever_is_said_times_rise_within_their_days_and_bounds(
    raw, start, coarse, count, days, at
):
    begins = times.moment(start[:8] if coarse else start, BERLIN)
    until = Lasting(days=days).end(begins, BERLIN) if days else None
    listed = repeats.due(
        repeats.pattern(raw), begins, until=until and until.at, count=count,
        at=repeats.clocks(at), zone=BERLIN,
    )  # fmt: skip
    assert len(listed) <= min(count or DUE_MAX, DUE_MAX)
    instants = [each["due_at"] for each in listed]
    assert instants == sorted(set(instants))
    for each in listed:
        assert begins.micros <= each["due_at"]
        assert until is None or each["due_at"] < until.micros
        if each["starts_at"] is not None:
            assert each["starts_at"] <= each["due_at"] < each["ends_at"]


def test_a_pattern_without_a_day_or_an_interval_lists_nothing():
    start = times.moment("20260301", BERLIN)
    nothing = Pattern(code="ONCE")
    for said in (None, nothing):
        assert repeats.due(said, start, until=None, count=3, at=(), zone=BERLIN) == []
