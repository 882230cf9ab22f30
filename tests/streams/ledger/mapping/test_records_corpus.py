"""Every real message of a type that becomes events is mapped or says why, and fits its contract."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import fastavro
import pytest

from schemas.events import TYPES
from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.table import RULES
from streams.ledger.mapping.tellers import TELLERS
from streams.ledger.mapping.triggers import TRIGGERS
from tests.streams.ledger.mapping.messages import mapped
from tests.streams.ledger.mapping.test_corpus import messages

CONTRACTS = Path(__file__).parents[4] / "schemas/avro/events"
SOME = "00000000-0000-8000-8000-000000000001"
MADE = {"patient_id": SOME, "tokens": [], "into_admission_id": SOME}
STREAMS = {each.event_type.partition(".")[0] for each in TRIGGERS.values()} | {"participation"}


def read(body):
    try:
        return mapped(body)
    except Unmappable as dead:
        return dead


@pytest.fixture(scope="module")
def told(corpus):
    """Each real message with what it says."""
    return [(body, read(body)) for body in messages(corpus)]


def drafts(said):
    return [each for part in said.parts for each in part.drafts] if isinstance(said, Facts) else []


@cache
def contract(event_type):
    return json.loads((CONTRACTS / f"{event_type}.avsc").read_text("utf-8"))


def test_every_real_message_of_a_declared_type_becomes_events_or_names_nobody(told):
    outcomes = Counter()
    for _, said in told:
        kind, _, trigger = getattr(said, "message_type", "").partition("^")
        if (kind, trigger) in TRIGGERS:
            reason = "" if isinstance(said, Facts) else said.reason.partition(":")[0]
            outcomes[kind, reason] += 1
    assert {reason for _, reason in outcomes} <= {"", "no patient"}
    assert {kind for kind, reason in outcomes if not reason} >= {"SIU", "MDM", "PPR", "DFT", "BAR"}


def test_every_real_message_is_of_a_known_type_or_says_that_it_is_not(told):
    for _, said in told:
        if isinstance(said, Unmappable):
            assert said.cause in {"structure", "required_field", "charset", "no_header"}
            continue
        kind, _, trigger = said.message_type.partition("^")
        if isinstance(said, Facts):
            assert (kind, trigger) in TELLERS or (kind == "ADT" and trigger in RULES)
        else:
            assert said.reason


def test_every_real_draft_of_every_type_fits_its_contract(told):
    seen = Counter()
    for _, said in told:
        named = [(one.event_type, one.role, one.ordinal) for one in drafts(said)]
        assert len(set(named)) == len(named)
        for draft in drafts(said):
            declared = TYPES[draft.event_type]
            full = contract(draft.event_type)
            names = {field["name"] for field in full["fields"]}
            data = {name: each for name, each in MADE.items() if name in names} | dict(draft.data)
            if data.get("into_admission_id", SOME) is None:
                data["into_admission_id"] = SOME
            assert fastavro.validate(data, fastavro.parse_schema(full), strict=True)
            assert set(draft.clear) <= set(declared.sealed)
            seen[declared.stream_type] += 1
    assert set(seen) >= {"appointment", "document", "dispense", "problem", "financial"}


def test_no_real_text_of_a_thing_is_in_clear(told):
    for _, said in told:
        for draft in drafts(said):
            if draft.stream_type not in STREAMS:
                continue
            clear = json.dumps(dict(draft.data), ensure_ascii=False)
            for text in texts(draft.clear):
                assert len(text) < 8 or text not in clear


def texts(value):
    """Every text inside a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts(each)
    elif hasattr(value, "values"):
        for each in value.values():
            yield from texts(each)


def test_real_z_segments_travel_along(told):
    own = [draft.clear["z_segments"] for _, said in told for draft in drafts(said)
           if "z_segments" in draft.clear]  # fmt: skip
    assert len(own) >= 12
    assert all(line[0] in "zZ" for lines in own for line in lines)
