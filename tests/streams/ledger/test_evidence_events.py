"""Evidence in the ledger: its stream, its patient, its order, whatever is sealed."""

import json
from uuid import UUID

import pytest

from schemas import identity, sealing
from schemas.identity import Identifier
from tests.streams.ledger.mapping.messages import VISIT, message, obr, obx, oru, rxa
from tests.streams.ledger.told import adt, merge

pytestmark = pytest.mark.stack

ADA, BEA = (f"PID|||{mrn}^^^NORTH^MR||Rook^Canaryname" for mrn in "AB")
LATER = "20260303100000"
TEXT = {"_2": "TX", "_5": "Canarytext"}


def recorded(line):
    return line.events(event_type="evidence.recorded")


def test_a_result_names_patient_visit_and_order(line):
    line.send(adt(visit="V5"), oru(ADA, VISIT, obr(), obx()))
    [event] = recorded(line)
    key = line.keys().identity
    placer = Identifier(value="P1", authority="CPOE")
    assert event["data"]["patient_id"] == str(event["person_id"]) == line.patient("A")
    assert event["data"]["admission_id"] == line.admission("V5")
    assert event["data"]["order_id"] == str(identity.order(key, placer))
    assert (event["stream_type"], event["occurred_field"]) == ("evidence", "OBR-7")


def test_v2_corrections_and_revocations_are_further_versions_of_one_stream(line):
    line.send(oru(ADA, obr(), obx()))
    line.send(oru(ADA, obr(), obx(_11="C", _5="6"), sent=LATER))
    line.send(oru(BEA, obr(), obx(_11="W"), sent=LATER), partition=1)
    events = recorded(line)
    assert len({event["stream_id"] for event in events}) == 1
    assert [(event["event_version"], event["data"]["state"]) for event in events] == [
        (1, "final"), (2, "corrected"), (3, "revoked"),
    ]  # fmt: skip
    assert len({event["partition"] for event in events}) == 1


def test_v5_a_deletion_is_a_further_version_also_without_a_number(line):
    line.send(message("VXU^V04", ADA, rxa()), message("VXU^V04", ADA, rxa(_21="D"), sent=LATER))
    first, second = recorded(line)
    assert first["stream_id"] == second["stream_id"]
    assert second["data"]["state"] == "revoked"


def test_two_patients_without_numbers_have_streams_of_their_own(line):
    bare = (obr(_2="", _3=""), obx())
    line.send(oru(ADA, *bare, BEA, *bare))
    first, second = recorded(line)
    assert first["stream_id"] != second["stream_id"]
    patients = {first["data"]["patient_id"], second["data"]["patient_id"]}
    assert patients == {line.patient("A"), line.patient("B")}
    assert first["event_id"] != second["event_id"]


def test_i6_an_unknown_patient_is_made_and_no_visit(line):
    line.send(oru(ADA, VISIT, obr(), obx()))
    assert line.patient("A")
    assert {event["stream_type"] for event in line.events()} == {"patient", "evidence"}


def test_a_result_stands_where_its_patient_stands(line):
    line.send(adt(), partition=2)
    line.send(oru(ADA, obr(), obx()), partition=0)
    assert [event["partition"] for event in recorded(line)] == [2]


def test_a_result_of_who_is_in_conflict_is_not_told(line):
    line.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    line.send(oru("PID|||A^^^NORTH^MR~B^^^NORTH^MR", obr(), obx()))
    assert recorded(line) == []
    assert len(line.events(event_type="identity.conflict")) == 1


def test_v7_a_result_after_a_merge_reaches_the_same_stream(line):
    line.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), oru(ADA, obr(), obx()))
    line.send(merge("B", "A"), oru(BEA, obr(), obx(_11="D"), sent=LATER))
    assert len({event["stream_id"] for event in recorded(line)}) == 1


def test_text_and_numbers_are_sealed_and_nowhere_in_clear(line):
    line.send(oru(ADA, obr(_2="CANARYNUMBER"), obx(**TEXT)))
    [event] = recorded(line)
    keys, person = line.keys(), UUID(str(event["person_id"]))
    opened = {
        name: json.loads(
            keys.open(sealing.untext(text), person=person, record=event["event_id"], field=name)
        )
        for name, text in event["sealed"].items()
    }
    assert opened["value"] == {"type": "TX", "text": "Canarytext"}
    assert opened["number"]["placer"]["value"] == "CANARYNUMBER"
    assert "canary" not in json.dumps(line.events(), default=str).lower()


def test_a_repeated_message_gives_the_same_event_ids(line):
    body = oru(ADA, obr(), obx(), obx(_3="718-7^Hb^LN"))
    line.send(body)
    ids = {str(event["event_id"]) for event in recorded(line)}
    [row] = {str(event["message_id"]) for event in recorded(line)}
    made = {
        str(identity.event(UUID(row), "evidence.recorded", number, "observation"))
        for number in (0, 1)
    }
    assert ids == made


def test_what_is_left_out_is_the_messages_reason(line):
    line.send(oru(ADA, obr(), obx(_3="")))
    [row] = line.store.rows("SELECT outcome, reason FROM messages")
    assert row["outcome"] == "applied"
    assert row["reason"] == "an observation that names nothing: OBX-3 is empty"
