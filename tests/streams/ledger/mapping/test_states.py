"""The tables of states fit the contract, the standard, and their page."""

import json
from pathlib import Path

import pytest

from streams.ledger.mapping import states
from streams.ledger.mapping.states import STATES, State

REPOSITORY = Path(__file__).parents[4]


def test_the_page_is_the_tables():
    page = (REPOSITORY / "docs/results.md").read_text(encoding="utf-8")
    assert page == states.markdown(), "python -m streams.ledger.mapping.states > docs/results.md"


def test_v2_every_code_of_table_0085_has_a_state():
    assert set(states.RESULT) == set("ABCDFINOPRSUVWX")


def test_every_code_of_tables_0123_and_0322_has_a_state():
    assert set(states.REPORT) == set("AOISPCRFXYZ")
    assert set(states.COMPLETION) == {"CP", "PA", "RE", "NA"}


def test_every_state_is_in_the_contract():
    path = REPOSITORY / "schemas/avro/events/evidence.recorded.avsc"
    fields = json.loads(path.read_text(encoding="utf-8"))["fields"]
    (said,) = (field["doc"] for field in fields if field["name"] == "state")
    assert said.split(", ") == list(STATES)
    tables = (states.RESULT, states.REPORT, states.COMPLETION)
    assert {state for table in tables for state in table.values()} <= set(STATES)


def test_a_state_that_nobody_knows_is_our_bug():
    with pytest.raises(AssertionError):
        State(name="done")
