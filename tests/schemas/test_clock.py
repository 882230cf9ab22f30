"""Instants: the wire's count, the rows' datetimes, JSON's text."""

import pytest

from schemas import clock


@pytest.mark.parametrize(
    "count", [0, 1, -1, 1_767_258_000_000_000, 1_767_258_061_500_250, -(10**15)]
)
def test_an_instant_is_written_as_its_datetime_is(count):
    assert clock.iso(count) == clock.instant(count).isoformat()
    assert clock.micros(clock.instant(count)) == count
