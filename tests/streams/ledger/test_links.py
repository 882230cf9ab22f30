"""FHIR from resources to rows: links that merge patients (M7), Encounters that are paths (T27)."""

import random

import pytest

from schemas import identity
from sinks import transaction as sink
from sinks.transaction import Recorded
from streams import publications
from streams.ledger import processor
from streams.ledger.mapping.fhir.document import map_document
from streams.ledger.mapping.fhir.references import Source
from streams.ledger.mapping.hl7v2 import map_message
from streams.trajectory import PROJECTION
from tests.sinks.inbound import check
from tests.streams.ledger import told
from tests.streams.ledger.mapping.fhir import resources as fhir
from tests.streams.ledger.mapping.fhir.resources import body, bundle, encounter, mrn, stay

pytestmark = pytest.mark.stack

NORTH = "urn:north"


@pytest.fixture
def known():
    """The versions of Patients that came before, by ``Type/id``."""
    return {}


@pytest.fixture
def line(line, known, monkeypatch):
    """The ledger's line, which takes FHIR's JSON beside HL7 v2."""

    def either(sent, feed, *, received_at):
        if not sent.startswith(b"{"):
            return map_message(sent, feed, received_at=received_at)
        source = Source(feed=feed, base=fhir.BASE, systems={NORTH: "NORTH"}, earlier=known)
        return map_document(sent, source, received_at=received_at)

    monkeypatch.setattr(processor, "map_message", either)
    return line


def patient(number, *numbers, **more):
    return fhir.patient(number, *numbers, system=NORTH, **more)


RETIRED = patient("b", "B", active=False, links=[("replaced-by", "Patient/a")], version=2)
SURVIVOR = patient("a", "A", links=[("replaces", "Patient/b")], version=2)


def meet(line):
    """Two patients whom v2 and FHIR both know."""
    line.send(told.adt(mrn="A", visit="VA"), told.adt(mrn="B", visit="VB"))
    line.send(body(patient("a", "A")), body(patient("b", "B")))


def test_m7_a_patient_is_the_same_by_v2_and_by_fhir(line):
    meet(line)
    streams = {str(row["stream_id"]) for row in line.events(stream_type="patient")}
    assert streams == {line.patient("A"), line.patient("B")}


@pytest.mark.parametrize("said", [[RETIRED], [SURVIVOR], [RETIRED, SURVIVOR], [SURVIVOR, RETIRED]])
def test_m7_the_source_becomes_the_target_from_either_side_and_from_both(line, said):
    meet(line)
    line.send(*map(body, said))
    assert line.survivor("B") == line.patient("A") != line.patient("B")
    merged = line.events(event_type="patient.merged")
    assert {str(row["stream_id"]) for row in merged} == {line.patient("B")}
    assert {row["data"]["into_patient_id"] for row in merged} == {line.patient("A")}
    assert len(line.store.rows("SELECT FROM patient_aliases WHERE undone_at IS NULL")) == 1
    assert line.store.rows("SELECT FROM messages WHERE outcome <> 'applied'") == []
    check(line.store)


def test_m7_late_events_of_the_source_reach_the_target_by_v2_and_by_fhir(line):
    meet(line)
    line.send(body(bundle(RETIRED, SURVIVOR)))
    line.send(told.adt("A02", mrn="B", visit="VB", bed="W9"))
    line.send(body(encounter(subject={"reference": "Patient/b"}, identifier=visit("VC"))))
    assert line.survivor("B") == line.patient("A")
    assert line.visits()[line.admission("VC")] == line.patient("B")


def test_m7_an_active_version_without_the_link_takes_the_merge_back(line, known):
    meet(line)
    line.send(body(RETIRED))
    known["Patient/b"] = RETIRED
    line.send(body(patient("b", "B", version=3)))
    assert line.survivor("B") == line.patient("B")
    [undone] = line.events(event_type="patient.unmerged")
    assert undone["data"]["from_patient_id"] == line.patient("A")
    check(line.store)


def test_m7_the_undoing_takes_back_what_both_sides_told(line, known):
    meet(line)
    line.send(body(RETIRED), body(SURVIVOR))
    known["Patient/b"] = RETIRED
    line.send(body(patient("b", "B", version=3)))
    assert line.survivor("B") == line.patient("B")


def test_m7_the_other_may_be_heard_of_by_the_link_first(line):
    link = ("replaced-by", {"identifier": mrn("A", system=NORTH)})
    line.send(body(patient("b", "B", active=False, version=2, links=[link])))
    line.send(told.adt(mrn="A", visit="VA"))
    assert line.survivor("B") == line.patient("A")


def test_m7_a_conflict_of_the_other_merges_nobody(line):
    meet(line)
    source = {**patient("x", "A", "B", active=False, version=2)}
    source["link"] = [{"type": "replaced-by", "other": {"identifier": mrn("C", system=NORTH)}}]
    line.send(body(source))
    assert len(line.events(event_type="identity.conflict")) == 2
    assert line.events(event_type="patient.merged") == []


def test_m7_a_target_in_conflict_is_a_conflict_without_any_draft(line):
    meet(line)
    target = patient("t", "A", "B")
    source = patient("c", "C", active=False, links=[("replaced-by", "Patient/t")], version=2)
    line.send(body(bundle(source, target)))
    assert line.events(event_type="patient.merged") == []
    assert len(line.events(event_type="identity.conflict")) == 2


# --- T27: the path --------------------------------------------------------------------------------


def visit(number):
    return [mrn(number, kind="VN", system=NORTH)]


def v2(trigger, clock, bed):
    at = f"20260302{clock.replace(':', '')}00"
    header = f"MSH|^~\\&|ADT|N|||{at}||ADT^{trigger}|{trigger}{at}|P|2.5"
    return "\r".join(
        [header, f"EVN|{trigger}|{at}||||{at}",
         "PID|1||A^^^NORTH^MR", f"PV1|1|I|{bed}||||||||||||||||V1^^^NORTH^VN", ""]
    ).encode()  # fmt: skip


def ours(*stays, version, **more):
    said = encounter(*stays, version=version, identifier=visit("V1"), **more)
    return body({**said, "subject": {"identifier": mrn("A", system=NORTH)}})


IN_A = stay("W1", "08:00", "10:00", "completed")
V2 = [v2("A01", "08:00", "W1"), v2("A02", "10:00", "W2"), v2("A03", "12:00", "W2")]
FHIR = [
    ours(stay("W1", "08:00"), version=1), ours(IN_A, stay("W2", "10:00"), version=2),
    ours(IN_A, stay("W2", "10:00"), version=3, status="finished", end="12:00"),
]  # fmt: skip
WHOLE = [("W1", "08:00", "10:00"), ("W2", "10:00", "12:00")]


class Points:
    """The trajectory's sink over the same rows."""

    def __init__(self, line):
        self.line, self.read = line, {}
        self.held = {}

    def follow(self):
        """Put through the sink what the ledger wrote since, as the relay publishes it."""
        publication = publications.clinical_events(told.CODEC)
        fresh = {}
        for row in self.line.events():
            seen = self.read.get(row["partition"], 0)
            if row["partition_seq"] > seen:
                fresh.setdefault(row["partition"], []).append(row)
        for partition, rows in fresh.items():
            if partition not in self.held:
                taken = self.line.store.take(PROJECTION.name, partition)
                self.held[partition] = taken
            batch = []
            for row in rows:
                value = publication.encode(texted(row)).value
                _, event = told.CODEC.decode(value)
                batch.append(Recorded(row["partition_seq"] - 1, b"key", value, event))
            sink.apply(
                self.line.store.database, PROJECTION, self.held[partition], batch,
                line=told.ROOT.line(),
            )  # fmt: skip
            self.read[partition] = rows[-1]["partition_seq"]

    def stays(self):
        rows = self.line.store.rows(
            "SELECT location, effective_at, ended_at, track FROM trajectory_points"
            " WHERE known_to IS NULL AND retracted_at IS NULL AND track = 'census'"
            " ORDER BY effective_at"
        )
        return [
            (row["location"], *(f"{row[name]:%H:%M}" for name in ("effective_at", "ended_at")))
            for row in rows
        ]


def texted(row):
    """A row with its ids as text, as the relay reads them."""
    return {
        name: str(value) if type(value).__name__ == "UUID" else value for name, value in row.items()
    }


@pytest.mark.parametrize("seed", range(4))
def test_t27_a_journey_has_the_same_rows_as_v2_as_fhir_and_as_both(line, seed):
    sent = {0: V2, 1: FHIR}.get(seed, [*V2, *FHIR])
    order = random.Random(seed).sample(sent, len(sent))
    points = Points(line)
    for each in order:
        line.send(each)
        points.follow()
    assert points.stays() == WHOLE
    streams = {str(row["stream_id"]) for row in line.events(stream_type="admission")}
    assert streams == {line.admission("V1")}


def test_t27_an_error_retracts_every_row_and_a_later_version_brings_them_back(line):
    points = Points(line)
    line.send(*V2, *FHIR)
    points.follow()
    line.send(ours(version=4, status="entered-in-error"))
    points.follow()
    assert points.stays() == []
    line.send(ours(IN_A, stay("W2", "10:00"), version=5, status="finished", end="12:00"))
    points.follow()
    assert points.stays() == WHOLE


def test_t27_the_visits_number_is_sealed_and_stands_nowhere_in_clear(line):
    line.send(FHIR[0])
    [stated] = line.events(event_type="admission.encounter_stated")
    assert set(stated["sealed"]) == {"visit_number"}
    assert "V1" not in str(stated["data"])
    assert str(stated["stream_id"]) == str(
        identity.admission(line.keys().identity, told.numbered("V1"))
    )
