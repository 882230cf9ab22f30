"""The demo and the commands after it, on a line that it brings up itself."""

import json

import pytest
from click.testing import CliRunner, Result

from ops.cli import main
from ops.simulator import Scenario, simulate

pytestmark = pytest.mark.alone

PATIENTS = 20


@pytest.mark.stack
def test_the_demo_ends_with_true_paths_and_run_again_it_adds_nothing(new_home) -> None:
    settings = new_home()
    environ = {"WARDTRAIL_HOME": str(settings.home), "WARDTRAIL_PARTITIONS": "4"}

    def run(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner(env=environ).invoke(main, list(arguments), input=stdin)
        assert result.exit_code == 0, result.output
        return result

    def exported() -> list[str]:
        return run("export", "trajectory", "--tenant", "demo", "--ndjson").stdout.splitlines()

    played = simulate(Scenario.busy(patients=PATIENTS))
    first = run("demo", "--patients", str(PATIENTS)).stdout
    rows = exported()
    again = run("demo", "--patients", str(PATIENTS)).stdout

    visits = len({stay.visit_number for stay in played.stays})
    count = len(played.messages)
    assert f"{visits} of {visits} visits have exactly the path" in first
    assert f"{count} messages taken into custody: {count} became events, 0 were known" in first
    assert f"{count} messages taken into custody: 0 became events, {count} were known" in again
    assert exported() == rows

    points = [json.loads(row) for row in rows]
    going_on = {each["admission_id"] for each in points if each["ended_at"] is None}
    point = next(each for each in points if each["admission_id"] not in going_on)
    at = ("--at", point["effective_at"])
    assert point["location"] in run("where", "-", *at, stdin=point["visit_number"]).stdout
    assert point["location"] in run("timeline", point["admission_id"]).stdout
    lag = json.loads(run("lag", "--json").stdout)
    assert lag["records"] == 0
    assert {total["mirrored"] for total in lag["totals"]} == {True, None}
    states = {each["state"] for each in json.loads(run("status", "--json").stdout)["processes"]}
    assert states == {"up"}
    assert "last in" in run("where", point["admission_id"]).stdout
    run("down")
    assert "something is down" in run("status").stderr
