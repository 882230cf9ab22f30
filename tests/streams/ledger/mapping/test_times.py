"""HL7's times become moments that keep their precision and mind the zone."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.ledger.mapping import times
from streams.ledger.mapping.times import YEAR_MAX, YEAR_MIN, day, moment

LONDON = ZoneInfo("Europe/London")
NEW_YORK = ZoneInfo("America/New_York")
TORONTO_HOUR = ZoneInfo("America/Toronto")


@pytest.mark.parametrize(
    ("text", "at", "precision"),
    [
        ("2026", (2026, 1, 1), "year"),
        ("202603", (2026, 3, 1), "month"),
        ("20260302", (2026, 3, 2), "day"),
        ("2026030209", (2026, 3, 2, 9), "hour"),
        ("202603020931", (2026, 3, 2, 9, 31), "minute"),
        ("20260302093145", (2026, 3, 2, 9, 31, 45), "second"),
        ("20260302093145.5", (2026, 3, 2, 9, 31, 45, 500000), "fraction"),
        ("20260302093145.1234567", (2026, 3, 2, 9, 31, 45, 123456), "fraction"),
        ("20260302093145.", (2026, 3, 2, 9, 31, 45), "second"),
    ],
)
def test_t22_precision_is_as_sent(text, at, precision):
    read = moment(text, ZoneInfo("UTC"))
    assert (read.at, read.precision, read.text) == (datetime(*at, tzinfo=UTC), precision, text)


def test_t22_a_day_is_its_local_start_and_not_midnight_in_utc():
    read = moment("20260701", NEW_YORK)
    assert read.at == datetime(2026, 7, 1, 4, tzinfo=UTC)
    assert read.precision == "day"


def test_t22_a_time_without_offset_is_in_the_feeds_zone():
    assert moment("20260701120000", NEW_YORK).at == datetime(2026, 7, 1, 16, tzinfo=UTC)
    assert moment("20260101120000", NEW_YORK).at == datetime(2026, 1, 1, 17, tzinfo=UTC)


@pytest.mark.parametrize(
    ("offset", "hour", "minute"),
    [("+0115", 10, 45), ("-0500", 17, 0), ("+00:00", 12, 0), ("Z", 12, 0), ("-0000", 12, 0)],
)
def test_t22_an_offset_wins_over_the_feeds_zone(offset, hour, minute):
    read = moment(f"20260701120000{offset}", NEW_YORK)
    assert read.at == datetime(2026, 7, 1, hour, minute, tzinfo=UTC)


def test_t22_of_an_hour_that_comes_twice_the_first_is_taken():
    assert moment("20261025013000", LONDON).at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert moment("20261101013000", NEW_YORK).at == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


def test_t22_an_hour_that_never_was_is_shifted_by_the_jump():
    read = moment("20260329013000", LONDON)
    assert read.at == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert read.at.astimezone(LONDON).hour == 2
    assert moment("20260308023000", TORONTO_HOUR).at == datetime(2026, 3, 8, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "precision"),
    [
        ("20261", "year"),
        ("2026030", "month"),
        ("202603029", "day"),
        ("20260302093", "hour"),
        ("2026030209314", "minute"),
        ("2026030224", "day"),
        ("20260302096000", "hour"),
        ("20260302093160", "minute"),
    ],
)
def test_a_time_is_read_as_far_as_it_is_valid(text, precision):
    assert moment(text, LONDON).precision == precision


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "202", "00000000", "20261301", "20260230", "20260302093145+2600",
        "20260302093145+0099", "20260302093145-1500", "20260302 093145", "yesterday",
        "20260302093145EST", "9" * 14, "2026030209314500", "1" * 47, "٢٠٢٦",
        str(YEAR_MIN - 1), str(YEAR_MAX + 1), "20260302093145." + "0" * 60,
    ],
)  # fmt: skip
def test_what_is_no_time_is_none(text):
    assert moment(text, LONDON) is None


def test_the_years_at_the_bounds_are_read():
    assert moment(str(YEAR_MIN), LONDON)
    assert moment(f"{YEAR_MAX}1231235959", LONDON)


def test_micros_are_exact_before_and_after_1970():
    assert moment("19691231235959.999999", ZoneInfo("UTC")).micros == -1
    assert moment("20260302093145.000001", ZoneInfo("UTC")).micros == 1772443905000001


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("19600229", "1960-02-29"), ("19600229233000+0115", "1960-02-29"),
        ("196002292330", "1960-02-29"), ("196002", "1960-02"), ("1960", "1960"),
        ("19610229", None), ("", None), ("unknown", None),
    ],
)  # fmt: skip
def test_t22_a_birth_date_is_that_date_in_every_zone(text, date):
    assert day(text) == date


@given(st.text(alphabet="0123456789.+-Z: ", max_size=60), st.sampled_from([LONDON, NEW_YORK]))
def test_any_text_is_a_moment_in_utc_or_none(text, zone):
    read = moment(text, zone)
    assert read is None or (read.at.tzinfo is UTC and read.text == text)


@given(st.datetimes(datetime(YEAR_MIN, 1, 2), datetime(YEAR_MAX, 12, 30)))
def test_every_valid_second_is_read_back(local):
    text = local.strftime("%Y%m%d%H%M%S")
    assert moment(text, ZoneInfo("UTC")).at == local.replace(microsecond=0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("coarse", "fine", "said"),
    [
        ("20261025", "20261025233000", "fine"),  # a day of 25 hours
        ("20260329", "20260329233000", "fine"),
        ("20260329", "20260330003000", "coarse"),  # one of 23
        ("202602", "20260228235959", "fine"),
        ("202602", "20260301120000", "coarse"),
        ("2026", "20270101000000", "coarse"),
        ("20260601+0000", "20260602003000+0100", "fine"),  # the day is that of its own offset
        ("20260601", "20260602003000", "coarse"),
    ],
)
def test_t22_a_time_says_when_only_on_the_day_or_in_the_month_that_is_named(coarse, fine, said):
    read = times.first([("coarse", coarse), ("fine", fine)], LONDON)
    assert read is not None
    assert read[1] == said


@given(
    st.one_of(
        st.from_regex(r"[0-9]{4,14}", fullmatch=True),
        st.from_regex(
            r"(19|20)[0-9]{2}[01][0-9][0-3][0-9]([0-2][0-9]([0-6][0-9]){0,2})?", fullmatch=True
        ),
    )
)
def test_what_is_read_in_one_step_is_what_is_read_as_far_as_it_goes(digits):
    assert times._local(digits, None) == times._as_far(digits, len(digits) & ~1, None)


@given(st.datetimes(datetime(YEAR_MIN, 1, 2), datetime(YEAR_MAX, 12, 30)),
       st.sampled_from([LONDON, NEW_YORK, ZoneInfo("Australia/Lord_Howe")]))  # fmt: skip
def test_a_local_time_is_the_instant_that_its_zone_gives_it(local, zone):
    local = local.replace(microsecond=0)
    expected = local.replace(tzinfo=zone).astimezone(UTC)
    assert moment(local.strftime("%Y%m%d%H%M%S"), zone).at == expected
