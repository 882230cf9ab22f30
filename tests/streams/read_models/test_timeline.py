"""The timeline: one line per admission event."""

import pytest

from streams.read_models import PROJECTIONS, TIMELINE
from streams.trajectory.facts import KINDS
from tests.streams.trajectory.visits import Tables, adt, arrive


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
    ],
)
def test_each_event_reads_as_a_line(event, title, description):
    found = line(event)
    assert (found["title"], found["description"]) == (title, description)


def test_every_kind_of_admission_event_has_a_line():
    assert TIMELINE.reads == KINDS


def test_a_line_holds_nothing_sealed():
    found = line(adt("A01", "08:00", "A", visit_number=b"SECRET", hospital_service="CAR"))
    assert "SECRET" not in repr(found)
    assert found["details"]["hospital_service"] == "CAR"


def test_the_read_models_have_names_and_tables_of_their_own():
    assert [projection.name for projection in PROJECTIONS] == ["patients", "admissions", "timeline"]
    owned = [table for projection in PROJECTIONS for table in projection.owns]
    assert len(owned) == len(set(owned))
