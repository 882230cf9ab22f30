"""Staff that ROL and PRT name, in whatever message."""

import json

import pytest

from streams.ledger.mapping.facts import Unmappable
from streams.ledger.mapping.participations import PARTICIPATIONS_MAX
from tests.streams.ledger.mapping.messages import (
    PATIENT,
    VISIT,
    mapped,
    message,
    obx,
    segment,
)

ROL = "ROL|R1^HIS|AD|AT^Attending^HL70443|D1^Moss^Eva^^^Dr^^^NPI|202603010800|202603020800"
PRT = "PRT|R1^HIS|AD||AT^Attending^HL70443|D1^Moss^Eva^^^Dr^^^NPI||||||202603010800|202603020800"
KINDS = {
    "ADT^A01": (PATIENT, VISIT), "ADT^A08": (PATIENT, VISIT), "ORU^R01": (PATIENT, obx()),
    "PPR^PC1": (PATIENT, "PRB|AD||I10^H^I10|1"), "SIU^S12": (PATIENT, "SCH|P1"),
    "ORM^O01": (PATIENT, "ORC|NW|P1", "OBR|1|||X"),
    "MDM^T01": (PATIENT, "TXA|1|DS" + "|" * 10 + "1"),
}  # fmt: skip


def told(*segments, kind="ADT^A01"):
    facts = mapped(message(kind, *segments))
    drafts = [each for part in facts.parts for each in part.drafts]
    return [each for each in drafts if each.stream_type == "participation"], facts.left_out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [ROL, PRT])
def test_who_takes_part_is_told_by_any_message(kind, said):
    [draft], _ = told(*KINDS[kind], said, kind=kind)
    assert draft.event_type == "participation.stated"
    assert [(each.value, each.authority) for each in draft.staff] == [("D1", "NPI")]
    assert draft.data["action"] == "added"
    assert draft.data["role_codes"] == [{"system": "HL70443", "code": "AT"}]
    assert draft.data["starts_at"] < draft.data["ends_at"]
    assert draft.clear["name"]["person"] == "Dr Eva Moss"
    assert not {"Moss", "D1", "Attending"} & set(json.dumps(dict(draft.data)).split('"'))


@pytest.mark.parametrize(
    ("action", "said"), [("AD", "added"), ("UP", "changed"), ("CO", "changed"), ("DE", "ended"),
                         ("", "stated"), ("??", "stated")],
)  # fmt: skip
def test_the_action_says_what_becomes_of_it(action, said):
    [draft], _ = told(PATIENT, VISIT, ROL.replace("|AD|", f"|{action}|"))
    assert draft.data["action"] == said


def test_a_participation_is_known_by_its_number_else_by_role_and_person():
    [numbered], _ = told(PATIENT, VISIT, ROL)
    [ended], _ = told(PATIENT, VISIT, ROL.replace("|AD|", "|DE|").replace("D1", "D2"))
    assert numbered.stream == ended.stream
    bare = ROL.replace("R1^HIS", "")
    [first], _ = told(PATIENT, VISIT, bare)
    [second], _ = told(PATIENT, VISIT, bare.replace("202603010800", ""))
    [other], _ = told(PATIENT, VISIT, bare.replace("D1", "D2"))
    assert first.stream == second.stream != other.stream
    assert all(each.stream.of_patient for each in (numbered, first))


def test_a_name_without_a_number_is_sealed_and_nobodys_id():
    [draft], _ = told(PATIENT, VISIT, segment("ROL", {2: "AD", 3: "AT", 4: "^Moss^Eva"}))
    assert draft.staff == ()
    assert draft.clear["name"]["person"] == "Eva Moss"


def test_who_names_nobody_is_left_out():
    drafts, left_out = told(PATIENT, VISIT, "ROL|R1|AD|AT|")
    assert drafts == []
    assert "a participation that names nobody: ROL-4 and PRT-5 are empty" in left_out


def test_participations_are_told_apart_and_bounded():
    many = [ROL.replace("R1", f"R{number}") for number in range(PARTICIPATIONS_MAX)]
    drafts, _ = told(PATIENT, VISIT, *many)
    assert len({(each.ordinal, each.role) for each in drafts}) == PARTICIPATIONS_MAX
    with pytest.raises(Unmappable, match="participations"):
        told(PATIENT, VISIT, *many, PRT)
