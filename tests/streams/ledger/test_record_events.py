"""Appointments, documents and the like in the ledger: their streams, their patient, their seals."""

import json
from uuid import UUID

import pytest

from schemas import identity, sealing
from schemas.identity import Identifier
from tests.streams.ledger.mapping.messages import VISIT, message, segment
from tests.streams.ledger.mapping.test_participations import ROL
from tests.streams.ledger.mapping.test_triggers import SEGMENTS
from tests.streams.ledger.told import adt

pytestmark = pytest.mark.stack

ADA = "PID|||A^^^NORTH^MR||Rook^Canaryname"
THINGS = {
    "SIU^S12": "appointment", "MDM^T02": "document", "RDS^O13": "dispense", "PPR^PC1": "problem",
    "DFT^P03": "financial", "BAR^P01": "financial",
}  # fmt: skip


def told(kind, *more):
    return message(kind, ADA, VISIT, *SEGMENTS[kind[:3]], *more)


@pytest.mark.parametrize(("kind", "stream"), THINGS.items())
def test_a_thing_is_one_stream_of_its_patient_whichever_way_it_comes(line, kind, stream):
    line.send(adt(visit="V5"), partition=2)
    line.send(told(kind), partition=0)
    line.send(told(kind, "ZZ1|again"), partition=1)
    first, second = line.events(stream_type=stream)
    assert first["stream_id"] == second["stream_id"]
    assert [first["event_version"], second["event_version"]] == [1, 2]
    assert {first["partition"], second["partition"]} == {2}
    assert first["data"]["patient_id"] == str(first["person_id"]) == line.patient("A")
    assert first["data"]["admission_id"] == line.admission("V5")


def test_ids_of_orders_staff_and_parents_are_those_under_which_they_are_known(line):
    line.send(told("MDM^T02"), message("MDM^T05", ADA, segment("TXA", {12: "N2", 13: "DOC1^HIS"})))
    document, addendum = line.events(stream_type="document")
    key = line.keys().identity
    placer = Identifier(value="P1", authority="CPOE")
    assert document["data"]["order_id"] == str(identity.order(key, placer))
    [author] = document["data"]["staff_ids"]
    assert UUID(author).version == 8
    assert addendum["data"]["parent_document_id"] == str(document["stream_id"])
    assert addendum["data"]["order_id"] is None


def test_every_text_is_sealed_and_opens_under_the_persons_key(line):
    line.send(*(told(kind, ROL, "ZPI|1|Canaryaunt") for kind in THINGS))
    keys, opened = line.keys(), set()
    for event in line.events():
        for name, text in event["sealed"].items():
            person = UUID(str(event["person_id"]))
            clear = keys.open(
                sealing.untext(text), person=person, record=event["event_id"], field=name
            )
            opened.add((event["stream_type"], name))
            if name == "z_segments":
                assert json.loads(clear) == ["ZPI|1|Canaryaunt"]
    assert opened >= {(stream, "number") for stream in THINGS.values() if stream != "financial"}
    assert opened >= {("financial", "statement"), ("participation", "name"),
                      ("patient", "z_segments")}  # fmt: skip
    shown = json.dumps(line.events(), default=str)
    for word in ("Canary", "Moss", "Rook", "Hypertension", "Went home", "RX77"):
        assert word not in shown


def test_a_tenants_message_of_a_type_that_is_told_of_nobody_is_ignored(line):
    line.send(message("SIU^S23", ADA, *SEGMENTS["SIU"]))
    [row] = line.store.rows("SELECT outcome, reason FROM messages")
    assert (row["outcome"], row["reason"]) == (
        "ignored", "time of a schedule, which is nobody's: SIU^S23",
    )  # fmt: skip
