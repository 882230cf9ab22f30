"""The tables of order controls fit the standard, the contract, and their page."""

from pathlib import Path

import pytest

from schemas.events import SUPERSEDED, TYPES
from streams.ledger.mapping import controls, states
from streams.ledger.mapping.controls import Made

PAGE = Path(__file__).parents[4] / "docs/orders.md"
TABLE_0119 = (
    "AF CA CH CN CR DC DE DF DR FU HD HR LI MC NA NW OC OD OE OF OH OK OP OR PA PR PY RE RF RL RO"
    " RP RQ RR RU SC SN SR SS UA UC UD UF UH UM UN UR UX XO XR XX NR"
)


def test_the_page_is_the_tables():
    said = PAGE.read_text(encoding="utf-8")
    assert said == controls.markdown(), "python -m streams.ledger.mapping.controls > docs/orders.md"


def test_every_code_of_tables_0119_and_0038_is_something_or_nothing_and_never_both():
    assert {*controls.CONTROL, *controls.NOTHING} == set(TABLE_0119.split())
    assert not controls.CONTROL.keys() & controls.NOTHING.keys()
    assert set(controls.STATUS) == {"A", "CA", "CM", "DC", "ER", "HD", "IP", "RP", "SC"}


def test_every_event_of_orders_is_one_that_a_control_makes():
    made = {name for name, _ in controls.CONTROL.values()} - {controls.REPLACED}
    declared = {name for name, kind in TYPES.items() if kind.stream_type == "order"}
    assert {f"order.{name}" for name in made} == {f"order.{name}" for name in controls.MADE}
    assert declared - SUPERSEDED == {f"order.{name}" for name in made}


def test_v4_what_ends_an_order_in_evidence_ends_it_here():
    ended = {code for code, (name, _) in controls.CONTROL.items()
             if name in {"cancelled", "discontinued"}}  # fmt: skip
    assert set(states.CANCELS) <= ended


def test_what_nobody_knows_is_our_bug():
    with pytest.raises(AssertionError):
        Made(name="done")
    with pytest.raises(AssertionError):
        Made(name=None)
