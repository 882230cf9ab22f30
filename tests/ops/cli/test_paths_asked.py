"""Where a patient is and why we say so; the path drawn: on a real database, as its roles."""

import stat
from uuid import uuid4
from xml.etree import ElementTree

import pytest

from ops import keys
from ops.deploy import DEMO_TENANT
from tests.ops.cli.conftest import HOUR, PATIENT, START, taken_apart

AT = ("--at", "2026-03-02T08:30:00Z")


@pytest.fixture
def told(visited):
    """The visit's second place is kept while the patient is in X-ray; its message is known."""
    event = uuid4()
    for track, place, start, end in (
        ("physical", "ED^1^A", START, START + HOUR),
        ("physical", "XRAY^<script>", START + HOUR, START + 3 * HOUR),
    ):
        visited.insert(
            "trajectory_points", id=uuid4(), point_id=uuid4(), tenant_id=DEMO_TENANT,
            admission_id=visited.admission, patient_id=PATIENT, track=track, location=place,
            **taken_apart(place), effective_at=start, ended_at=end, known_from=start,
            known_to=None, retracted_at=None, start_inferred=place.startswith("X"),
            end_inferred=False, start_field="PV1-11", start_event_id=event, reported_at=start,
            fold_version=1, partition=0, partition_seq=3, data={},
        )  # fmt: skip
    visited.insert(
        "trajectory_facts", event_id=event, tenant_id=DEMO_TENANT,
        admission_id=visited.admission, patient_id=PATIENT, feed_id=uuid4(), message_id=PATIENT,
        event_type="admission.departed", effective_at=START, effective_field="EVN-6",
        recorded_at=START, movement_historic=False, partition=0, partition_seq=3,
    )  # fmt: skip
    return visited


def test_where_says_both_tracks_and_what_each_comes_from(told, loaded) -> None:
    at = ("--at", "2026-03-02T10:00:00Z")
    plain = told.run("where", str(told.admission), *at)
    assert plain.stdout.splitlines() == [
        "ICU^[b]2^B\u00b7  (census, since 2026-03-02 09:00:00 UTC)",
        "XRAY^<script>  (physical, since ~2026-03-02 09:00:00 until 2026-03-02 11:00:00 UTC)",
    ]
    why = told.run("where", str(told.admission), *at, "--why").stdout
    assert f"message {PATIENT}, event" in why
    assert "start inferred, reported 2026-03-02 09:00:00 UTC" in why
    assert "point of care XRAY, room <script>" in why
    assert "message unknown, event" in why  # of the stay whose fact isn't kept
    _, physical = loaded(told.run("where", str(told.admission), *at, "--json"))["points"]
    assert physical["message_id"] == str(PATIENT)
    assert (physical["start_field"], physical["start_inferred"]) == ("PV1-11", True)
    assert (physical["point_of_care"], physical["room"], physical["bed"]) == (
        "XRAY", "<script>", "",
    )  # fmt: skip


def test_where_takes_a_patient_in_place_of_a_visit(told, loaded) -> None:
    found = told.run("where", "--patient", str(PATIENT), *AT)
    assert found.exit_code == 0
    assert found.stdout.count(f"  admission {told.admission}\n") == 2
    answer = loaded(told.run("where", "--patient", str(PATIENT), *AT, "--json"))
    assert (answer["patient_id"], answer["admission_id"]) == (str(PATIENT), None)
    assert [point["track"] for point in answer["points"]] == ["census", "physical"]
    nobody = told.run("where", "--patient", str(uuid4()), *AT)
    assert (nobody.exit_code, nobody.stdout) == (0, "nowhere at 2026-03-02 08:30:00 UTC\n")
    both = told.run("where", str(told.admission), "--patient", str(PATIENT))
    assert both.exit_code == 2
    assert "either a visit or a patient, not both" in both.stderr


def test_an_mrn_in_the_command_line_is_refused_and_not_repeated(bare) -> None:
    result = bare.run("where", "--patient", "MRN-4711")
    assert result.exit_code == 2
    assert "a patient's id is a UUID" in result.stderr
    assert "4711" not in result.output


def test_a_timeline_is_lanes_on_the_feeds_clock_or_another(told) -> None:
    drawn = told.run("timeline", str(told.admission)).stdout
    assert "2026-03-02 08:00 to " in drawn
    for said in ("(UTC)", "XRAY^<script>", "\u2550", "\u2592", "bound inferred", "~2026-03-02"):
        assert said in drawn
    tokyo = told.run("timeline", str(told.admission), "--zone", "Asia/Tokyo").stdout
    assert "2026-03-02 17:00 to " in tokyo
    assert "from (Asia/Tokyo)" in tokyo
    assert "2026-03-02 17:00:00" in tokyo
    assert told.run("feeds", "set", "demo", "--zone", "Europe/London").exit_code == 0
    assert "from (Europe/London)" in told.run("timeline", str(told.admission)).stdout
    unknown = told.run("timeline", str(told.admission), "--zone", "Mars/Base")
    assert unknown.exit_code == 2
    assert "no such time zone" in unknown.stderr


def test_a_timeline_is_drawn_to_a_file_or_to_standard_output(told, tmp_path) -> None:
    file = tmp_path / "path.svg"
    result = told.run("timeline", str(told.admission), "--svg", str(file))
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"drawn: {file}" in result.stderr
    root = ElementTree.fromstring(file.read_bytes())
    assert root.get("aria-label") == f"admission {told.admission}"
    assert b"<script" not in file.read_bytes()
    out = told.run("timeline", str(told.admission), "--svg", "-").stdout
    assert ElementTree.fromstring(out.encode()).tag == root.tag
    nowhere = told.run("timeline", str(told.admission), "--svg", str(tmp_path / "no/path.svg"))
    assert nowhere.exit_code == 1
    assert "no such file or directory" in nowhere.stderr
    both = told.run("timeline", str(told.admission), "--svg", "-", "--json")
    assert both.exit_code == 2


def test_the_status_says_where_the_access_key_is(desk, loaded) -> None:
    assert loaded(desk.run("status", "--json"))["http"]["key_file"] is None
    file = keys.generate(desk.settings(), name="demo", tenant_id=DEMO_TENANT)
    status = loaded(desk.run("status", "--json"))
    assert status["http"]["key_file"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    plain = desk.run("status")
    assert f"the key for questions over HTTP is in: {file}" in plain.stderr
    assert file.read_text().strip() not in plain.output + str(status)
