"""Units of results: their UCUM spellings, and those of common senders, converted by pint."""

import re
from dataclasses import dataclass
from functools import cache, lru_cache

import pint

UNIT_CHARS_MAX = 40  # longer than any unit of a laboratory
_DIGITS = 9  # significant digits that a conversion keeps: more than any instrument gives
_CACHED = 4_096  # pairs of units, over which a hospital group never comes
_ANNOTATION = re.compile(r"\{[^{}]*\}")
_POWER_OF_TEN = re.compile(r"[xX]?10[*^](-?\d{1,2})")
_POWERED = re.compile(r"(.+?)(-?[1-9])")

# Atoms by their UCUM spelling (case counts), in pint's names. Only these are understood: a
# sender's text is never given to a parser of expressions.
_ATOMS = {
    "": "", "1": "", "%": "percent",
    "g": "gram", "kg": "kilogram", "mg": "milligram", "ug": "microgram", "mcg": "microgram",
    "ng": "nanogram", "pg": "picogram", "[lb_av]": "pound", "[oz_av]": "ounce",
    "L": "liter", "l": "liter", "dL": "deciliter", "dl": "deciliter", "cL": "centiliter",
    "mL": "milliliter", "ml": "milliliter", "uL": "microliter", "ul": "microliter",
    "fL": "femtoliter", "fl": "femtoliter",
    "mol": "mole", "mmol": "millimole", "umol": "micromole", "nmol": "nanomole",
    "pmol": "picomole", "eq": "chem_equivalent", "meq": "millichem_equivalent",
    "m": "meter", "cm": "centimeter", "mm": "millimeter", "um": "micrometer", "km": "kilometer",
    "[in_i]": "inch", "[ft_i]": "foot",
    "s": "second", "ms": "millisecond", "min": "minute", "h": "hour", "d": "day", "wk": "week",
    "Cel": "degree_Celsius", "[degF]": "degree_Fahrenheit", "K": "kelvin",
    "mm[Hg]": "millimeter_Hg", "cm[H2O]": "centimeter_H2O", "Pa": "pascal", "kPa": "kilopascal",
    "bar": "bar", "mbar": "millibar",
    "[IU]": "intl_unit", "k[IU]": "kilointl_unit", "m[IU]": "milliintl_unit",
    "u[IU]": "microintl_unit",
    "U": "catalytic_unit", "mU": "millicatalytic_unit", "kU": "kilocatalytic_unit",
    "osm": "osmotic_mole", "mosm": "milliosmotic_mole",
    "J": "joule", "kJ": "kilojoule", "cal": "calorie", "kcal": "kilocalorie",
    "V": "volt", "mV": "millivolt", "Hz": "hertz", "W": "watt",
}  # fmt: skip
# What senders write instead, white space and case aside.
_SPELLINGS = {
    "c": "Cel", "°c": "Cel", "degc": "Cel", "celsius": "Cel", "degreescelsius": "Cel",
    "f": "[degF]", "°f": "[degF]", "degf": "[degF]", "fahrenheit": "[degF]",
    "mmhg": "mm[Hg]", "cmh2o": "cm[H2O]", "bpm": "/min", "beats/min": "/min",
    "breaths/min": "/min", "lb": "[lb_av]", "lbs": "[lb_av]", "oz": "[oz_av]", "in": "[in_i]",
    "inch": "[in_i]", "ft": "[ft_i]", "iu": "[IU]", "percent": "%", "k/ul": "10*3/uL",
    "m/ul": "10*6/uL", "g/l": "g/L", "mg/dl": "mg/dL", "g/dl": "g/dL", "mmol/l": "mmol/L",
    "umol/l": "umol/L", "meq/l": "meq/L", "iu/l": "[IU]/L", "u/l": "U/L", "miu/l": "m[IU]/L",
    "ng/ml": "ng/mL", "pg/ml": "pg/mL", "ug/l": "ug/L", "ug/dl": "ug/dL", "mcg/dl": "ug/dL",
    "kgs": "kg", "hr": "h", "hrs": "h", "sec": "s", "mins": "min", "μg": "ug", "µg": "ug",
    "μg/l": "ug/L", "µg/l": "ug/L", "μmol/l": "umol/L", "µmol/l": "umol/L",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit as pint has it, and the power of ten before it (``10*9/L`` is 1e9 of 1/L)."""

    factor: float
    unit: pint.Unit


def convert(number: float, unit: str | None, into: str | None) -> float | None:
    """The number in another unit; None where that isn't known to be possible (rule V8).

    The same unit, and none on both sides, takes no conversion. Mass and amount of substance,
    equivalents and moles, international and catalytic units are apart: how much the one is of
    the other depends on what was measured.
    """
    source, target = normal(unit), normal(into)
    if source == target:
        return number
    pair = _pair(source, target)
    if pair is None:
        return None
    try:
        found = _registry().Quantity(number * pair[0].factor, pair[0].unit).to(pair[1].unit).m
    except (pint.PintError, OverflowError):
        return None
    return float(f"{found / pair[1].factor:.{_DIGITS}g}")


@lru_cache(maxsize=_CACHED)
def normal(unit: str | None) -> str:
    """The UCUM spelling of a unit as sent; an unknown one stays as it is, annotations aside."""
    key = re.sub(r"\s+", "", _ANNOTATION.sub("", unit or ""))
    return _SPELLINGS.get(key.casefold(), key)


@lru_cache(maxsize=_CACHED)
def _pair(source: str, target: str) -> tuple[Unit, Unit] | None:
    """Both units; None if one is unknown or they measure different things."""
    one, other = _parsed(source), _parsed(target)
    if one is None or other is None or one.unit.dimensionality != other.unit.dimensionality:
        return None
    return one, other


def _parsed(unit: str) -> Unit | None:
    """A unit of known atoms; ``a/b.c`` is a over b times c, as UCUM reads from the left."""
    if not unit or len(unit) > UNIT_CHARS_MAX:
        return None
    factor, powers = 1.0, []
    sign = 1
    for part in re.split(r"([./])", unit):
        if part in (".", "/"):
            sign = -1 if part == "/" else 1
            continue
        ten = _POWER_OF_TEN.fullmatch(part)
        if ten is not None:
            factor *= 10.0 ** (sign * int(ten[1]))
            continue
        atom = _atom(part)
        if atom is None:
            return None
        if atom[0]:
            powers.append((atom[0], sign * atom[1]))
    return Unit(factor, _registry().Unit("*".join(f"{name}**{n}" for name, n in powers)))


def _atom(text: str) -> tuple[str, int] | None:
    """An atom's name in pint and its exponent (``m2``, ``s-1``)."""
    if text in _ATOMS:
        return _ATOMS[text], 1
    powered = _POWERED.fullmatch(text)
    if powered is None or powered[1] not in _ATOMS:
        return None
    return _ATOMS[powered[1]], int(powered[2])


@cache
def _registry() -> "pint.UnitRegistry[float]":
    """Pint's registry, with what laboratories count and pint doesn't have as they mean it."""
    registry: pint.UnitRegistry[float] = pint.UnitRegistry()
    registry.define("intl_unit = [biological_activity]")
    registry.define("catalytic_unit = [catalysis]")
    registry.define("chem_equivalent = [charge_amount]")
    registry.define("osmotic_mole = [osmotic_amount]")
    return registry
