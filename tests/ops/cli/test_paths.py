"""Where somebody is, the whole path, the export: on a real database, as its roles."""

import json

import pytest

from ops import access, deploy, openings
from ops.cli.lifecycle import app_dsn
from ops.drawing import GLYPHS
from ops.lanes import AWAY
from sinks.database import connect

NUMBER = "V-CANARY-1"


def test_a_place_at_an_instant_is_said_with_since_and_until(visited) -> None:
    result = visited.run("where", str(visited.admission), "--at", "2026-03-02T08:30:00Z")
    assert result.exit_code == 0
    assert result.stdout == (
        "ED^1^A  (census, since 2026-03-02 08:00:00 until 2026-03-02 09:00:00 UTC)\n"
    )


def test_a_place_is_shown_without_what_a_terminal_would_obey(visited) -> None:
    result = visited.run("where", str(visited.admission))
    assert result.stdout.startswith("ICU^[b]2^B\u00b7  (census, since")
    drawn = visited.run("timeline", str(visited.admission))
    assert "ICU^[b]2^B\u00b7" in drawn.stdout
    assert "\x1b" not in drawn.stdout


def test_before_anything_was_known_the_patient_is_nowhere(visited) -> None:
    known = ("--known-at", "2026-03-02T07:59:59Z", "--at", "2026-03-02T08:30:00Z")
    result = visited.run("where", str(visited.admission), *known)
    assert result.exit_code == 0
    assert result.stdout.startswith("nowhere at 2026-03-02 08:30:00 UTC")


def test_known_at_the_first_message_the_first_place_is_all_there_is(visited, loaded) -> None:
    known = ("--known-at", "2026-03-02T08:30:00+00:00", "--json")
    path = loaded(visited.run("timeline", str(visited.admission), *known))
    assert [point["location"] for point in path["points"]] == ["ED^1^A"]


@pytest.mark.parametrize(
    "arguments", [("where", "-"), ("where", "--visit-number-stdin"), ("timeline", "-")]
)
@pytest.mark.parametrize("said", [NUMBER, f"  {NUMBER} \n", f"{NUMBER}^^^demo^VN\n"])
def test_a_visit_number_comes_by_standard_input(visited, loaded, arguments, said) -> None:
    result = visited.run(*arguments, "--json", stdin=said)
    assert loaded(result)["admission_id"] == str(visited.admission)
    assert NUMBER not in result.output


@pytest.mark.parametrize(
    ("arguments", "said", "wrong"),
    [
        (("-",), "V-OTHER", "no visit has this number, assigned by any of: demo"),
        (("-", "--authority", "elsewhere"), NUMBER, "assigned by any of: elsewhere"),
        (("-",), f"{NUMBER}^^^elsewhere", "assigned by any of: elsewhere"),
        (("-",), "", "no visit number on standard input"),
        (("-",), "9" * 1001, "too long"),
        (("5b0556b7-65ea-808f-beaa-923543988fc6",), "", "no visit of this tenant has this id"),
        (("-", "--tenant", "nobody"), NUMBER, "no such tenant (there are: demo): nobody"),
    ],
)
def test_a_visit_that_is_not_found_is_told_without_its_number(visited, arguments, said, wrong):
    result = visited.run("where", *arguments, stdin=said)
    assert result.exit_code == 1
    assert wrong in result.stderr
    assert "V-" not in result.stderr


def test_an_authority_that_named_people_is_tried_too(visited, loaded) -> None:
    visited.insert(
        "patient_identifiers", tenant_id=deploy.DEMO_TENANT, authority="CITY",
        value_hmac=visited.admission, type="MR", patient_id=visited.admission,
    )  # fmt: skip
    result = visited.run("where", "-", stdin="V-OTHER")
    assert "assigned by any of: CITY, demo" in result.stderr


def test_a_number_of_two_visits_is_not_guessed(visited) -> None:
    from schemas import identity
    from schemas.identity import Identifier

    other = identity.admission(b"i" * 32, Identifier(value=NUMBER, authority="CITY"))
    visited.insert(
        "streams", stream_id=other, stream_type="admission", tenant_id=deploy.DEMO_TENANT,
        partition=0, version=1, recorded_at="2026-03-02T08:00:00Z",
    )  # fmt: skip
    visited.insert(
        "patient_identifiers", tenant_id=deploy.DEMO_TENANT, authority="CITY",
        value_hmac=other, type="MR", patient_id=other,
    )  # fmt: skip
    result = visited.run("where", "-", stdin=NUMBER)
    assert result.exit_code == 1
    assert "several visits have this number, assigned by: CITY, demo (hint: --authority" in (
        result.stderr
    )
    assert visited.run("where", "-", "--authority", "CITY", stdin=NUMBER).exit_code == 0


def test_the_timeline_draws_every_stay_and_lists_what_happened(visited) -> None:
    result = visited.run("timeline", str(visited.admission))
    assert result.exit_code == 0
    for said in ("ED^1^A", "1 h 00 min", "still there", "admission.created", GLYPHS[AWAY]):
        assert said in result.stdout


def test_the_export_is_a_line_per_stay_with_the_number_in_clear(visited) -> None:
    result = visited.run("export", "trajectory", "--tenant", "demo", "--ndjson")
    assert result.exit_code == 0
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["visit_number"] for row in rows] == [NUMBER, NUMBER]
    assert [row["location"] for row in rows] == ["ED^1^A", "ICU^[b]2^B\x1b"]
    assert rows[0]["effective_at"] == "2026-03-02T08:00:00+00:00"
    assert (rows[0]["ended_at"], rows[1]["ended_at"]) == ("2026-03-02T09:00:00+00:00", None)
    assert rows[0]["revision"] == [1, 1]
    assert rows[0].keys() >= {"admission_id", "patient_id", "track", "point_id", "known_from"}
    physical = visited.run("export", "trajectory", "--track", "physical")
    assert (physical.exit_code, physical.stdout) == (0, "")


def test_who_exports_numbers_in_clear_is_written_down_before(visited) -> None:
    visited.run("export", "trajectory", "--reason", "the yearly count")
    file = visited.settings().home / "logs" / openings.FILE
    [line] = map(json.loads, file.read_text().splitlines())
    assert (line["what"], line["why"]) == ("export trajectory", "the yearly count")
    assert NUMBER not in file.read_text()
    file.unlink()
    file.mkdir()
    refused = visited.run("export", "trajectory")
    assert (refused.exit_code, refused.stdout) == (1, "")


def test_under_another_root_key_nothing_is_opened(visited) -> None:
    access.write_private(visited.settings().root_key, "cd" * 32)
    result = visited.run("export", "trajectory")
    assert result.exit_code == 1
    assert "the root key doesn't open this tenant's" in result.stderr
    assert result.stdout == ""


def test_a_database_that_was_not_migrated_is_told_so(desk) -> None:
    with connect(desk.superuser, name="test") as connection:
        connection.execute("DROP TABLE trajectory_points CASCADE")
    result = desk.run("export", "trajectory")
    assert result.exit_code == 1
    assert result.stderr.endswith("(hint: wardtrail migrate)\n")


def test_the_status_has_a_login_that_sees_the_demo_and_nothing_else(visited, loaded) -> None:
    visited.insert("tenants", id=visited.admission, name="Other", subdomain="other")
    dsn = loaded(visited.run("status", "--json"))["postgres"]["dsn"]
    with connect(dsn, name="test") as connection:
        # The helper sets options of its own, as libpq would take them from the address.
        connection.execute(f"SET wt.tenant = '{deploy.DEMO_TENANT}'")
        names = connection.execute("SELECT name FROM tenants").fetchall()
    assert names == [{"name": "Demo hospital"}]


def test_the_login_in_the_status_carries_its_tenant(visited) -> None:
    import psycopg

    dsn = app_dsn(visited.settings(), str(deploy.DEMO_TENANT))
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT count(*) FROM trajectory_points").fetchone() == (2,)
    with psycopg.connect(app_dsn(visited.settings(), str(visited.admission))) as connection:
        assert connection.execute("SELECT count(*) FROM trajectory_points").fetchone() == (0,)
