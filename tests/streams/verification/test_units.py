"""Units are converted where that is known to be possible, and nowhere else (rule V8)."""

import pytest

from streams.verification.units import UNIT_CHARS_MAX, convert


@pytest.mark.parametrize(
    ("number", "unit", "into", "expected"),
    [
        (100.4, "[degF]", "Cel", 38.0),
        (98.6, "F", "C", 37.0),
        (5.4, "10*3/uL", "10*9/L", 5.4),
        (5.4, "x10^3/uL", "10*9/L", 5.4),
        (5.4, "K/uL", "10*9/L", 5.4),
        (120, "mm Hg", "mm[Hg]", 120),
        (16, "kPa", "mmHg", 120.009852),
        (1, "g/dL", "g/L", 10.0),
        (90, "MG/DL", "g/L", 0.9),
        (70, "{beats}/min", "bpm", 70),
        (1.2, "/s", "/min", 72.0),
        (150, "[lb_av]", "kg", 68.0388555),
        (95, "%", "1", 0.95),
        (25, "kg/m2", "g/cm2", 2.5),
        (1, "mU/L", "U/L", 0.001),
        (1, "mg.h", "ug.h", 1000.0),
        (7, "weird", "weird", 7),
        (7, None, "", 7),
    ],
)
def test_a_number_in_another_unit(number, unit, into, expected):
    assert convert(number, unit, into) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("unit", "into"),
    [
        ("mg/dL", "mmol/L"),  # what a mole weighs depends on what was measured
        ("U/L", "[IU]/L"),
        ("meq/L", "mmol/L"),
        ("Cel", "kg"),
        ("weird", "odd"),
        (None, "Cel"),
        ("Cel", None),
        ("2**9**9**9", "mg"),
        ("__import__", "mg"),
        ("mg/" * UNIT_CHARS_MAX, "mg"),
    ],
)
def test_what_cannot_be_converted_is_not(unit, into):
    assert convert(1.0, unit, into) is None


def test_a_number_beyond_any_measure_is_not_converted_into_infinity():
    assert convert(1e308, "kg", "pg") in (None, float("inf"))
