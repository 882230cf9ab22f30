"""Every real result and administration is accounted for, and fits its contract."""

import json
from collections import Counter
from pathlib import Path

import fastavro
import pytest

from schemas.events import TYPES
from streams.ledger.mapping.facts import Facts, Ignored, Unmappable
from streams.ledger.mapping.message import parse
from tests.streams.ledger.mapping.messages import mapped
from tests.streams.ledger.mapping.test_corpus import messages

CONTRACT = Path(__file__).parents[4] / "schemas/avro/events/evidence.recorded.avsc"
KINDS = ("ORU^R01", "RAS^O17", "VXU^V04")
MADE_BY_THE_LEDGER = {"patient_id": "00000000-0000-8000-8000-000000000001"}


def read(body):
    try:
        return mapped(body)
    except Unmappable:
        return None


@pytest.fixture(scope="module")
def told(corpus):
    """Each real message of evidence with what it says."""
    found = [(body, read(body)) for body in messages(corpus)]
    return [(body, said) for body, said in found if said and said.message_type in KINDS]


def test_every_real_message_of_evidence_is_mapped_or_names_nobody(told):
    outcomes = Counter(
        said.reason.partition(":")[0] if isinstance(said, Ignored) else "facts" for _, said in told
    )
    assert outcomes["facts"] > 0
    assert set(outcomes) <= {"facts", "no patient"}
    assert {said.message_type for _, said in told} == set(KINDS)


def test_every_real_observation_with_a_name_becomes_one_event(told):
    checked = Counter()
    for body, said in told:
        if not isinstance(said, Facts) or said.message_type == "VXU^V04":
            continue
        if any(reason.startswith("no patient") for reason in said.left_out):
            continue
        segments = parse(body).segments("OBX")
        named = {
            number
            for number, each in enumerate(segments)
            if any(each.said(3, component) for component in (1, 2, 4, 5))
        }
        drafts = [draft for part in said.parts for draft in part.drafts]
        ordinals = [draft.ordinal for draft in drafts if draft.role == "observation"]
        assert sorted(ordinals) == sorted(named)
        checked[said.message_type] += len(ordinals)
    assert checked["ORU^R01"] > 0


def test_every_real_rxa_becomes_one_event(told):
    for body, said in told:
        if isinstance(said, Facts) and said.message_type != "ORU^R01":
            drafts = [draft for part in said.parts for draft in part.drafts]
            given = [draft for draft in drafts if draft.role in {"administration", "immunization"}]
            assert len(given) == len(parse(body).segments("RXA"))


def test_every_real_draft_fits_the_contract_and_is_one_of_its_message(told):
    contract = fastavro.parse_schema(json.loads(CONTRACT.read_text(encoding="utf-8")))
    for _, said in told:
        if not isinstance(said, Facts):
            continue
        drafts = [draft for part in said.parts for draft in part.drafts]
        assert len({(one.event_type, one.role, one.ordinal) for one in drafts}) == len(drafts)
        for draft in drafts:
            if draft.event_type == "evidence.recorded":
                data = {**draft.data, **MADE_BY_THE_LEDGER}
                assert fastavro.validate(data, contract, strict=True)
                assert set(draft.clear) <= set(TYPES[draft.event_type].sealed)


def test_no_real_text_result_is_in_clear(told):
    for _, said in told:
        for part in said.parts if isinstance(said, Facts) else ():
            for draft in part.drafts:
                text = draft.clear.get("value", {}).get("text")
                if text and len(text) > 20:
                    assert text not in json.dumps(dict(draft.data), ensure_ascii=False)
