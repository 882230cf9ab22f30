"""Orders in the ledger: their stream, their patient, and that a result finds them."""

import json
from uuid import UUID

import pytest

from schemas import identity, sealing
from schemas.identity import Identifier
from tests.streams.ledger.mapping.messages import VISIT, message, obr, obx, oru, segment
from tests.streams.ledger.told import adt

pytestmark = pytest.mark.stack

ADA = "PID|||A^^^NORTH^MR||Rook^Canaryname"
LATER = "20260303100000"


def orm(*segments, **settings):
    return message("ORM^O01", ADA, *segments, **settings)


def orc(control="NW", **fields):
    plain = {1: control, 2: "P1^CPOE", 9: "202603020700"}
    return segment("ORC", plain | {int(name[1:]): value for name, value in fields.items()})


def orders(line):
    return line.events(stream_type="order")


def test_a_result_names_the_order_that_was_told(line):
    line.send(adt(visit="V5"), orm(VISIT, orc(), obr(_3="")), oru(ADA, VISIT, obr(), obx()))
    [order] = orders(line)
    [result] = line.events(event_type="evidence.recorded")
    key = line.keys().identity
    placer = Identifier(value="P1", authority="CPOE")
    assert str(order["stream_id"]) == str(identity.order(key, placer))
    assert result["data"]["order_id"] == str(order["stream_id"])
    assert order["data"]["patient_id"] == str(order["person_id"]) == line.patient("A")
    assert order["data"]["admission_id"] == line.admission("V5")
    assert (order["event_type"], order["occurred_field"]) == ("order.placed", "ORC-9")


def test_what_is_told_of_an_order_is_one_stream_with_its_patient(line):
    line.send(adt(), partition=2)
    line.send(orm(orc(), obr()), partition=0)
    line.send(orm(orc("SC", _5="IP"), sent=LATER), orm(orc("CA"), sent=LATER), partition=1)
    events = orders(line)
    assert [(event["event_version"], event["event_type"]) for event in events] == [
        (1, "order.placed"), (2, "order.stated"), (3, "order.cancelled"),
    ]  # fmt: skip
    assert {event["partition"] for event in events} == {2}


def test_the_fillers_number_names_the_same_order_once_both_are_told(line):
    line.send(orm(orc(_2="", _3="F1^LAB"), obr(_2="", _3="")))
    line.send(orm(orc("OK", _3="F1^LAB"), obr(_2="", _3=""), sent=LATER))
    alone, both = orders(line)
    assert both["data"]["filler_order_id"] == str(alone["stream_id"]) != str(both["stream_id"])
    assert alone["data"]["filler_order_id"] is None


def test_v4_no_order_becomes_evidence(line):
    line.send(
        orm(orc(), obr(_25="F")), message("RDS^O13", ADA, orc("RE"), "RXD|1|99^D^NDC|20260302")
    )
    assert line.events(event_type="evidence.recorded") == []
    assert len(orders(line)) == 2


def test_text_and_names_are_sealed_and_nowhere_in_clear(line):
    line.send(
        orm(orc(_2="CANARYNUMBER", _12="CANARYDOC^Canary^Doc"), "NTE|1||Canary note", obr(_2=""))
    )
    [event] = orders(line)
    keys, person = line.keys(), UUID(str(event["person_id"]))
    opened = {
        name: json.loads(
            keys.open(sealing.untext(text), person=person, record=event["event_id"], field=name)
        )
        for name, text in event["sealed"].items()
    }
    assert opened["number"]["placer"]["value"] == "CANARYNUMBER"
    assert opened["text"]["notes"] == ["Canary note"]
    staff = identity.staff(line.keys().identity, opened["number"]["filler"]["authority"], "x")
    assert UUID(event["data"]["provider_id"]).version == staff.version
    assert "canary" not in json.dumps(line.events(), default=str).lower()


def test_what_is_left_out_is_the_messages_reason(line):
    line.send(orm(orc("ZZ"), obr()))
    [row] = line.store.rows("SELECT outcome, reason FROM messages")
    assert (row["outcome"], row["reason"]) == (
        "applied", "an order control that nobody knows: ORC-1",
    )  # fmt: skip
