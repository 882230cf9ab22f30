"""The table of triggers fits the contracts, and its page is up to date."""

import json
from pathlib import Path

import pytest

from schemas.events import TYPES
from streams.ledger.mapping import table
from streams.ledger.mapping.table import RULES

REPOSITORY = Path(__file__).parents[4]
CONTRACTS = REPOSITORY / "schemas/avro/events"
IDENTITY = "patient_id"  # the ledger resolves it


def fields(event_type):
    contract = json.loads((CONTRACTS / f"{event_type}.avsc").read_text(encoding="utf-8"))
    return {field["name"] for field in contract["fields"]} - {IDENTITY}


def test_the_page_is_the_table():
    page = (REPOSITORY / "docs/adt.md").read_text(encoding="utf-8")
    assert page == table.markdown(), "python -m streams.ledger.mapping.table > docs/adt.md"


def test_every_event_of_an_admission_comes_from_some_trigger():
    mapped = {rule.visit_event for rule in RULES.values()}
    assert mapped == {name for name, one in TYPES.items() if one.stream_type == "admission"}


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.trigger)
def test_drafts_have_exactly_the_fields_of_their_contracts(adt, mapped, rule):
    for draft in mapped(adt(rule.trigger)).drafts:
        assert set(draft.data) == fields(draft.event_type)
        assert set(draft.clear) == set(TYPES[draft.event_type].sealed)


def test_an_unknown_event_or_a_ladder_without_end_is_our_bug():
    good = RULES["A01"]
    settings = {name: getattr(good, name) for name in good.__slots__}
    for broken in ({"visit_event": "x"}, {"patient_event": "x"}, {"ladder": ("EVN-2",)}):
        with pytest.raises(AssertionError):
            table.Rule(**(settings | broken))
