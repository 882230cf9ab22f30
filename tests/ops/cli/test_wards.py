"""Who is in a ward, who met whom, how well feeds tell: on a real database, as its roles."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from ops import deploy
from schemas.place import Place
from sinks import questions

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)
NUMBER = "V-CANARY-1"
PARTS = ("facility", "building", "floor", "point_of_care", "room", "bed")


@pytest.fixture
def ward(visited):
    """Beside the visit in ED^1^A from 8 to 9 another one in ED^1^B from half past 8 to 12."""
    place = "ED^1^B"
    visited.insert(
        "trajectory_points", id=uuid4(), point_id=uuid4(), tenant_id=deploy.DEMO_TENANT,
        admission_id=UUID(int=21), patient_id=UUID(int=22), track="census", location=place,
        **{name: getattr(Place.parse(place), name) for name in PARTS},
        effective_at=START + HOUR / 2, ended_at=START + 4 * HOUR, known_from=START + 2 * HOUR,
        start_inferred=True, end_inferred=False, start_field="EVN-2", start_event_id=uuid4(),
        fold_version=1, partition=0, partition_seq=3, data={},
    )  # fmt: skip
    return visited


def test_a_census_lists_the_ward_at_an_instant(ward) -> None:
    result = ward.run("census", "ED", "--at", "2026-03-02T08:45:00Z")
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert [line[0] for line in lines] == ["place", "ED^1^A", "ED^1^B"]
    assert str(ward.admission) in lines[1]
    assert "~2026-03-02" in lines[2]


def test_a_census_as_it_was_known_lacks_what_came_later(ward, loaded) -> None:
    known = ("--known-at", "2026-03-02T08:50:00Z", "--at", "2026-03-02T08:45:00Z", "--json")
    told = loaded(ward.run("census", "ED", *known))
    assert [point["location"] for point in told["points"]] == ["ED^1^A"]
    assert (told["ward"], told["track"]) == ("ED", "census")


def test_an_empty_ward_is_said_to_be_empty(ward) -> None:
    result = ward.run("census", "ICU\x1b", "--at", "2026-03-02T08:45:00Z")
    assert result.exit_code == 0
    assert result.stdout == "nobody in ICU\u00b7 at 2026-03-02 08:45:00 UTC (census)\n"


def test_a_census_says_when_paths_are_behind(ward, loaded) -> None:
    ward.insert("partitions", topic="clinical.events.v1", partition=0, next_seq=11)
    result = ward.run("census", "ED", "--json")
    assert "paths are 10 events behind" in result.stderr
    assert loaded(result)["behind"] == 10


@pytest.mark.parametrize("level", ["room", "ward"])
def test_contacts_are_found_by_a_visit_number_on_standard_input(ward, loaded, level) -> None:
    result = ward.run("contacts", "-", "--level", level, "--json", stdin=NUMBER)
    told = loaded(result)
    assert (told["admission_id"], told["level"]) == (str(ward.admission), level)
    [contact] = told["contacts"]
    assert contact["admission_id"] == str(UUID(int=21))
    assert contact["started_at"] == "2026-03-02T08:30:00+00:00"
    assert (contact["seconds"], contact["room"]) == (1800, "1" if level == "room" else "")
    assert NUMBER not in result.output


def test_contacts_are_listed_with_how_long(ward) -> None:
    result = ward.run("contacts", str(ward.admission))
    assert result.exit_code == 0
    for said in ("ED", str(UUID(int=21)), "2026-03-02 08:30:00", "0 h 30 min"):
        assert said in result.stdout


def test_a_visit_that_met_nobody_is_said_so(ward) -> None:
    known = ("--known-at", "2026-03-02T08:50:00Z")
    result = ward.run("contacts", str(ward.admission), *known)
    assert result.stdout == f"nobody shared a room with admission {ward.admission}\n"


@pytest.mark.parametrize(
    ("arguments", "code", "wrong"),
    [
        (("contacts", "V-CANARY-1"), 2, "a visit number never stands in a command line"),
        (("contacts",), 2, "which visit?"),
        (("contacts", "-", "--level", "floor"), 2, "'floor' is not one of"),
        (("contacts", str(UUID(int=5))), 1, "no visit of this tenant has this id"),
        (("census", "ED", "--at", "2026-03-02"), 2, "an instant needs its zone"),
        (("census", "ED", "--tenant", "nobody"), 1, "no such tenant"),
        (("quality", "--feed", "nobody"), 1, "no such feed: nobody (hint: wardtrail feeds list)"),
    ],
)
def test_a_question_that_cannot_be_meant_is_told_so(ward, arguments, code, wrong) -> None:
    result = ward.run(*arguments, stdin="")
    assert result.exit_code == code
    assert wrong in result.stderr
    assert "V-CANARY" not in result.stderr


def test_an_answer_that_is_too_long_is_told_so(ward, monkeypatch) -> None:
    monkeypatch.setattr(questions, "ANSWER_MAX", 1)
    result = ward.run("census", "ED", "--at", "2026-03-02T08:45:00Z")
    assert result.exit_code == 1
    assert "more rows than an answer may have: 1" in result.stderr
    assert result.stdout == ""


def test_quality_tells_what_became_of_each_type_of_message_and_why(ward, loaded) -> None:
    [card] = loaded(ward.run("quality", "--json", "--feed", deploy.DEMO))["feeds"]
    for outcome, reason in (
        ("applied", None), ("applied", "no visit number: PV1-19 and PID-18 are empty"),
        ("ignored", "no patient: there is no PID"),
    ):  # fmt: skip
        ward.insert(
            "messages", tenant_id=deploy.DEMO_TENANT, feed_id=card["feed_id"], message_id=uuid4(),
            topic="t", partition=0, offset=1, received_at=START, recorded_at=START,
            message_type="ADT^A01", outcome=outcome, reason=reason, mapper_version=1, events=1,
            body_sealed=b"x", duplicates=1,
        )  # fmt: skip
    [one] = loaded(ward.run("quality", "--json"))["types"]
    assert (one["feed"], one["message_type"], one["messages"]) == (deploy.DEMO, "ADT^A01", 3)
    assert (one["applied"], one["left_out"], one["ignored"], one["dead"]) == (2, 1, 1, 0)
    assert one["duplicates"] == 3
    shown = " ".join(ward.run("quality").stdout.split())
    assert "ADT^A01 3 2 1 0 0 3" in shown
    assert "no patient: there is no PID" in shown


def test_quality_gives_each_feed_a_scorecard_and_lists_beds_of_two(ward, loaded) -> None:
    ward.insert(
        "trajectory_points", id=uuid4(), point_id=uuid4(), tenant_id=deploy.DEMO_TENANT,
        admission_id=UUID(int=31), patient_id=UUID(int=32), track="census", location="ED^1^B",
        **{name: getattr(Place.parse("ED^1^B"), name) for name in PARTS},
        effective_at=START + HOUR, known_from=START + 2 * HOUR, start_inferred=False,
        end_inferred=False, start_field="EVN-2", start_event_id=uuid4(),
        fold_version=1, partition=0, partition_seq=4, data={},
    )  # fmt: skip
    result = ward.run("quality")
    assert result.exit_code == 0
    for said in (deploy.DEMO, "without EVN-6", "ED^1^B", str(UUID(int=31))):
        assert said in result.stdout
    told = loaded(ward.run("quality", "--json", "--feed", deploy.DEMO))
    [card] = told["feeds"]
    assert (card["feed"], card["facts"], card["reused_control_ids"]) == (deploy.DEMO, 0, 0)
    assert card["shares"]["without_evn6"] is None
    assert told["types"] == []
    later = loaded(ward.run("quality", "--json", "--since", "2026-03-02T09:00:01Z"))
    assert later["bed_conflicts"] == []
