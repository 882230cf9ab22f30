"""Every real message of orders becomes events or says why not, and fits its contract."""

import json
from collections import Counter
from pathlib import Path

import fastavro
import pytest

from schemas.events import TYPES
from streams.ledger.mapping import controls
from streams.ledger.mapping.facts import Facts, Ignored, Unmappable
from streams.ledger.mapping.message import parse
from tests.streams.ledger.mapping.messages import mapped
from tests.streams.ledger.mapping.test_corpus import messages

CONTRACTS = Path(__file__).parents[4] / "schemas/avro/events"
KINDS = {"^".join(kind) for kind in controls.MESSAGES}
MADE_BY_THE_LEDGER = {"patient_id": "00000000-0000-8000-8000-000000000001"}


def read(body):
    try:
        return mapped(body)
    except Unmappable:
        return None


@pytest.fixture(scope="module")
def told(corpus):
    """Each real message of orders with what it says."""
    found = [(body, read(body)) for body in messages(corpus)]
    return [(body, said) for body, said in found if said and said.message_type in KINDS]


def orders(said):
    drafts = [draft for part in said.parts for draft in part.drafts]
    return [draft for draft in drafts if draft.stream_type == "order"]


def test_every_real_message_of_orders_becomes_events_or_says_why_not(told):
    outcomes = Counter()
    for _, said in told:
        if isinstance(said, Ignored):
            outcomes["ignored", said.reason.partition(":")[0]] += 1
        elif orders(said):
            outcomes["events", ""] += 1
        else:
            outcomes["left out", said.left_out[0].partition(":")[0]] += 1
    assert outcomes["events", ""] > 0
    assert {why for _, why in outcomes} <= {
        "", "no patient", "an order without a number", "an order control that nobody knows",
        "no evidence",
    }  # fmt: skip
    assert {said.message_type for _, said in told} >= {
        "ORM^O01", "OML^O21", "OMG^O19", "RDE^O11", "RDS^O13",
    }  # fmt: skip


def test_every_real_order_that_is_numbered_becomes_an_event(told):
    for body, said in told:
        if isinstance(said, Ignored) or any("no patient" in why for why in said.left_out):
            continue
        numbered = {
            (each.said(2) or each.said(3))
            for each in parse(body).segments("ORC")
            if each.component(1).upper() in controls.CONTROL and (each.said(2) or each.said(3))
        }
        assert len(orders(said)) >= len(numbered)


def test_every_real_draft_fits_the_contract_and_is_one_of_its_message(told):
    contracts = {
        name: fastavro.parse_schema(json.loads((CONTRACTS / f"{name}.avsc").read_text("utf-8")))
        for name, kind in TYPES.items()
        if kind.stream_type == "order"
    }
    for _, said in told:
        if not isinstance(said, Facts):
            continue
        drafts = [draft for part in said.parts for draft in part.drafts]
        assert len({(one.event_type, one.role, one.ordinal) for one in drafts}) == len(drafts)
        for draft in orders(said):
            data = {**draft.data, **MADE_BY_THE_LEDGER}
            assert fastavro.validate(data, contracts[draft.event_type], strict=True)
            assert set(draft.clear) <= set(TYPES[draft.event_type].sealed)


def test_no_real_text_of_an_order_is_in_clear(told):
    for _, said in told:
        for draft in orders(said) if isinstance(said, Facts) else ():
            text = draft.clear.get("text", {})
            clear = json.dumps(dict(draft.data), ensure_ascii=False)
            for word in [*text.get("notes", ()), text.get("provider", "")]:
                assert len(word) < 5 or word not in clear
