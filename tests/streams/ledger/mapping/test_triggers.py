"""The table of message types beside ADT fits the contracts, and its page is up to date."""

import json
from pathlib import Path

import fastavro
import pytest

from schemas.events import SUPERSEDED, TYPES
from streams.ledger.mapping import triggers
from streams.ledger.mapping.facts import Ignored
from streams.ledger.mapping.tellers import TELLERS
from streams.ledger.mapping.triggers import IGNORED, TRIGGERS
from tests.streams.ledger.mapping.messages import RECEIVED_AT, VISIT, mapped, message

REPOSITORY = Path(__file__).parents[4]
CONTRACTS = REPOSITORY / "schemas/avro/events"
SOME = "00000000-0000-8000-8000-000000000001"
SEGMENTS = {
    "SIU": (
        ("SCH|P1^CPOE|F1^RIS||||CHECK^Check^HL70276|X1^Why^SCT|N^New^HL70277|30|min"
        "|^^^20260501090000^20260501093000|||||D1^Moss^Eva||||D2^Fern^Ida|||||Booked^^HL70278"),
        "AIS|1|A|S1^Scan^SCT", "AIL|1|A|CT^R2", "AIP|1|A|D3^Reed^Lou^^^^^^NPI", "NTE|1||Come early",
    ),
    "MDM": (
        ("TXA|1|DS^Discharge Summary^HL70270|TX|20260302080000||202603020700||20260302073000"
        "|D1^Moss^Eva|||DOC1^HIS|DOC0^HIS|P1^CPOE|F1^RIS|a.txt|AU|R|AV||||||Summary of Rook"),
        "OBX|1|TX|1^Body^L||Went home well||||||F",
    ),
    "RDS": ("ORC|RE|P1^CPOE|F1^RX",
            "RXD|1|0409^Drug^NDC|20260302073000|30|TAB||RX77|||D1^Moss^Eva"),
    "PPR": ("PRB|AD|20260302073000|I10^Hypertension^I10|PRB1^HIS|||20200101|||||||A^^HL70281",
            "NTE|1||Mild"),
    "DFT": ("FT1|1|T1||20260302||CG|99213^Visit^C4", "GT1|1||Rook^Uncle"),
    "BAR": ("DG1|1||I10^Hypertension^I10|||A",),
}  # fmt: skip


def fields(event_type):
    contract = json.loads((CONTRACTS / f"{event_type}.avsc").read_text(encoding="utf-8"))
    return contract, {field["name"] for field in contract["fields"]}


def told(kind, trigger):
    """The draft of the thing that a full message tells of."""
    facts = mapped(message(f"{kind}^{trigger}", VISIT, *SEGMENTS[kind]))
    wanted = TRIGGERS[kind, trigger].event_type.partition(".")[0]
    [draft] = [each for each in facts.parts[0].drafts if each.stream_type == wanted]
    return facts, draft


def test_the_page_is_the_table():
    page = (REPOSITORY / "docs/messages.md").read_text(encoding="utf-8")
    assert page == triggers.markdown(), "python -m streams.ledger.mapping.triggers"


def test_every_event_of_a_thing_comes_from_some_trigger():
    streams = {"appointment", "document", "dispense", "problem", "financial"}
    declared = {name for name, one in TYPES.items() if one.stream_type in streams}
    assert {each.event_type for each in TRIGGERS.values()} == declared - SUPERSEDED


@pytest.mark.parametrize(
    ("kind", "standard"),
    [
        ("SIU", {f"S{number}" for number in range(12, 27)}),
        ("MDM", {f"T{number:02}" for number in range(1, 12)}),
        ("PPR", {"PC1", "PC2", "PC3"}),
    ],
)
def test_no_trigger_of_the_standard_is_unknown(kind, standard):
    assert {trigger for told, trigger in (*TRIGGERS, *IGNORED) if told == kind} == standard
    assert not set(TRIGGERS) & set(IGNORED)
    assert set(TRIGGERS) <= set(TELLERS)


@pytest.mark.parametrize(("kind", "trigger"), TRIGGERS)
def test_each_trigger_becomes_its_event_as_its_contract_has_it(kind, trigger):
    facts, draft = told(kind, trigger)
    assert facts.message_type == f"{kind}^{trigger}"
    declared = TRIGGERS[kind, trigger].event_type
    assert draft.event_type == ("problem.added" if kind == "PPR" else declared)
    contract, names = fields(draft.event_type)
    assert set(draft.data) | {"patient_id"} == names
    assert set(draft.clear) == set(TYPES[draft.event_type].sealed)
    data = {**draft.data, "patient_id": SOME, "staff_ids": [SOME]}
    kept = {name: said for name, said in data.items() if name in names}
    assert fastavro.validate(kept, fastavro.parse_schema(contract), strict=True)
    assert draft.stream is not None
    assert draft.occurred.at <= RECEIVED_AT


@pytest.mark.parametrize(("kind", "trigger"), TRIGGERS)
def test_no_word_of_a_message_is_in_clear(kind, trigger):
    _, draft = told(kind, trigger)
    clear = json.dumps(dict(draft.data))
    sealed = json.dumps(dict(draft.clear))
    words = {"SIU": ["Why", "Moss", "Reed", "Come early"], "MDM": ["Moss", "Rook", "Went home"],
             "RDS": ["Moss", "RX77"], "PPR": ["Hypertension", "Mild"], "DFT": ["Rook", "Visit"],
             "BAR": ["Hypertension"]}[kind]  # fmt: skip
    for word in words:
        assert word not in clear
        assert word in sealed


@pytest.mark.parametrize(("kind", "trigger"), TRIGGERS)
def test_a_message_of_nobody_is_ignored_and_one_of_nothing_says_so(kind, trigger):
    nobody = mapped(message(f"{kind}^{trigger}", "PID|1||", *SEGMENTS[kind]))
    assert isinstance(nobody, Ignored)
    assert nobody.reason.startswith("no patient: ")
    bare = mapped(message(f"{kind}^{trigger}"))
    assert [draft.event_type for draft in bare.parts[0].drafts] == ["patient.updated"]
    assert len(bare.left_out) == 1


def test_an_unknown_event_is_our_bug():
    with pytest.raises(AssertionError):
        triggers.Trigger(kind="SIU", trigger="S12", name="x", event_type="x")
