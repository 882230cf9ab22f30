"""The timeline: one line per admission event."""

import pytest

from streams.read_models import PROJECTIONS, TIMELINE
from streams.trajectory.facts import KINDS, READS
from tests.streams.trajectory.visits import TYPES, VISIT, Tables, adt, arrive, movement

IN_A, IN_B, AHEAD = (
    {"place": place, "status": status, "started_at": None, "ended_at": None, "precision": None}
    for place, status in (("A", "completed"), ("B", "active"), ("C", "planned"))
)


def line(event):
    tables = Tables(TIMELINE)
    tables.apply(arrive([event]))
    return tables.table("timeline_events")[event["event_id"]]["data"]


@pytest.mark.parametrize(
    ("event", "title", "description"),
    [
        (adt("A01", "08:00", "A"), "Admitted", "at A"),
        (adt("A04", "08:00"), "Registered", ""),
        (adt("A02", "08:00", "B", prior="A"), "Moved", "from A to B"),
        (adt("A02", "08:00", "B"), "Moved", "to B"),
        (adt("A02", "08:00", ""), "Moved", "to a place not known"),
        (adt("A03", "08:00", "B"), "Discharged", "from B"),
        (adt("A08", "08:00", "B"), "Details updated", "at B"),
        (adt("A11", "08:00", "A"), "Admission cancelled", "at A"),
        (adt("A12", "08:00", "A", prior="B"), "Move cancelled", "not to B again at A"),
        (adt("A13", "08:00", "B"), "Discharge cancelled", "at B"),
        (adt("A06", "08:00", "B", prior="A"), "Class changed", "from A to B"),
        (
            adt("A09", "08:00", prior="A", temporary_place="X"),
            "Left the bed for a while",
            "from A to X",
        ),
        (
            adt("A09", "08:00", "A", pending_place="B"),
            "Left the bed for a while",
            "from A on the way to B",
        ),
        (adt("A10", "08:00", "A", prior_temporary_place="X"), "Arrived", "from X at A"),
        (adt("A33", "08:00", prior="A"), "Departure cancelled", "from A"),
        (adt("A32", "08:00", "A"), "Arrival cancelled", "at A"),
        (adt("A21", "08:00", "A"), "On leave", "at A"),
        (adt("A22", "08:00", "A"), "Back from leave", "at A"),
        (adt("A52", "08:00"), "Leave cancelled", ""),
        (adt("A53", "08:00"), "Return from leave cancelled", ""),
        (adt("A05", "08:00", planned_place="A"), "Preadmission planned", "to A"),
        (adt("A15", "08:00", "A", planned_place="B"), "Transfer planned", "to B"),
        (adt("A25", "08:00", "A"), "Discharge plan cancelled", ""),
        (adt("A27", "08:00", planned_place="A"), "Admission plan cancelled", "to A"),
        (adt("Z99", "08:00", "B"), "Movement corrected", "to B"),
        (adt("A45", "08:00"), "Patient changed", ""),
        (adt("A50", "08:00", into_admission_id=VISIT), "Visit number changed", ""),
        (adt("A23", "08:00", "A"), "Visit deleted", "at A"),
        (adt("Encounter", "08:00", status="planned"), "Encounter stated", "planned"),
        (
            adt("Encounter", "08:00", status="in-progress", stays=[IN_A, IN_B, AHEAD]),
            "Encounter stated",
            "in-progress at B",
        ),
    ],
)
def test_each_event_reads_as_a_line(event, title, description):
    found = line(event)
    assert (found["title"], found["description"]) == (title, description)


def test_every_kind_of_admission_event_has_a_line():
    assert set(TYPES.values()) == KINDS
    assert {kind for kind in TIMELINE.reads if kind.startswith("admission.")} == READS


def test_a_line_holds_what_only_some_events_say():
    plan = adt("A15", "08:00", planned_place="B", expected_at=0)
    assert line(plan)["details"]["expected_at"] == "1970-01-01T00:00:00+00:00"
    assert line(plan)["details"]["plan"] == "transfer"
    past = adt("A02", "08:00", "B", movement_id=movement(1), movement_historic=True)
    assert line(past)["details"]["movement_historic"] is True
    assert "movement_historic" not in line(plan)["details"]


def test_a_line_holds_nothing_sealed():
    found = line(adt("A01", "08:00", "A", visit_number=b"SECRET", hospital_service="CAR"))
    assert "SECRET" not in repr(found)
    assert found["details"]["hospital_service"] == "CAR"


def test_the_read_models_have_names_and_tables_of_their_own():
    names = [projection.name for projection in PROJECTIONS]
    assert names == ["patients", "admissions", "timeline", "work", "flightplans"]
    owned = [table for projection in PROJECTIONS for table in projection.owns]
    assert len(owned) == len(set(owned))
