"""The table of triggers fits the contracts, and its page is up to date."""

import json
from pathlib import Path

import fastavro
import pytest

from schemas.events import TYPES
from streams.ledger.mapping import table
from streams.ledger.mapping.table import CANCELS, IGNORED, RULES

REPOSITORY = Path(__file__).parents[4]
CONTRACTS = REPOSITORY / "schemas/avro/events"
IDENTITY, TOKENS = "patient_id", "tokens"  # the ledger resolves the one and makes the others


def fields(event_type):
    contract = json.loads((CONTRACTS / f"{event_type}.avsc").read_text(encoding="utf-8"))
    return {field["name"] for field in contract["fields"]} - {IDENTITY, TOKENS}


def test_the_page_is_the_table():
    page = (REPOSITORY / "docs/adt.md").read_text(encoding="utf-8")
    assert page == table.markdown(), "python -m streams.ledger.mapping.table > docs/adt.md"


def test_every_event_comes_from_some_trigger():
    mapped = {rule.visit_event for rule in RULES.values()} - {None}
    mapped |= {"admission.encounter_stated"}  # of FHIR alone
    mapped |= {"admission.superseded"}  # of messages that are mapped anew
    assert mapped == {name for name, one in TYPES.items() if one.stream_type == "admission"}
    changed = {rule.change.event_type for rule in RULES.values() if rule.change}
    told = changed | {rule.patient_event for rule in RULES.values()} | {"identity.conflict"}
    told |= {"patient.erased", "patient.superseded"}  # of erasures, of what is mapped anew
    assert told == {name for name, one in TYPES.items() if one.stream_type == "patient"}


def test_no_trigger_of_the_standard_is_unknown():
    standard = {f"A{number:02}" for number in range(1, 63)}
    assert {*RULES, *IGNORED} == standard | {"Z99"}
    assert not set(RULES) & set(IGNORED)


def test_every_movement_has_what_takes_it_back():
    for told, cancel in CANCELS.items():
        assert "cancelled" in RULES[cancel].visit_event
        assert "cancelled" not in RULES[told].visit_event
        assert RULES[told].plan == RULES[cancel].plan


def test_every_trigger_says_what_it_does_to_the_path_and_why():
    for rule in RULES.values():
        assert rule.tracks
        assert rule.rules
        assert rule.tracks == "nothing" or rule.visit_event or rule.change


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.trigger)
def test_drafts_have_exactly_the_fields_of_their_contracts(whole, mapped, rule):
    for draft in mapped(whole(rule.trigger)).parts[0].drafts:
        assert set(draft.data) == fields(draft.event_type)
        assert {*draft.clear} - {"z_segments"} == {*TYPES[draft.event_type].sealed} - {"z_segments"}
    with_own = whole(rule.trigger, more=("ZSA|1",))
    for draft in mapped(with_own).parts[0].drafts:
        own = [] if draft.role == "patient" else ["z_segments"]
        assert {*draft.clear} == {*TYPES[draft.event_type].sealed} - {*own}


@pytest.mark.parametrize("rule", RULES.values(), ids=lambda rule: rule.trigger)
def test_drafts_hold_what_their_contracts_take(whole, mapped, rule):
    some = "00000000-0000-8000-8000-000000000001"
    body = whole(rule.trigger, pv1={2: "I", 3: "W1", 7: "D3", 19: "V5^^^NORTH"}, evn={3: "2027"})
    for draft in mapped(body).parts[0].drafts:
        contract = json.loads((CONTRACTS / f"{draft.event_type}.avsc").read_text("utf-8"))
        data = {IDENTITY: some, TOKENS: [], "into_admission_id": some, **dict(draft.data)}
        data["into_admission_id"] = data["into_admission_id"] or some
        named = {field["name"] for field in contract["fields"]}
        sent = {name: value for name, value in data.items() if name in named}
        assert fastavro.validate(sent, fastavro.parse_schema(contract), strict=True)


def test_an_unknown_event_or_a_ladder_without_end_is_our_bug():
    good = RULES["A01"]
    settings = {name: getattr(good, name) for name in good.__slots__}
    for broken in ({"visit_event": "x"}, {"patient_event": "x"}, {"ladder": ("EVN-2",)}):
        with pytest.raises(AssertionError):
            table.Rule(**(settings | broken))
    with pytest.raises(AssertionError):
        table.Change(kind="merge", event_type="x")
