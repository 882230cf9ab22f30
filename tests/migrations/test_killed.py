"""A migration that is killed, fails or stalls at any step is run again as if nothing had been."""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import pytest
from alembic import op
from alembic.script import ScriptDirectory
from sqlalchemy.exc import ProgrammingError

import migrations
import migrations.frozen
from schemas import failpoints
from schemas.failpoints import FailPoint
from sinks import checks
from sinks.database import connect
from tests.migrations.dying import upgrades
from tests.migrations.test_migrations import difference

pytestmark = pytest.mark.stack

STEP = "migration: step"
STEPS = (1, 2)  # of each version: before its statements, and after them


def versions():
    """None, and then every version in its order."""
    walked = ScriptDirectory.from_config(migrations._config()).walk_revisions()
    return [None, *reversed([each.revision for each in walked])]


@pytest.fixture(scope="module")
def dying():
    """Upgrades that die in processes of their own."""
    with upgrades() as made:
        yield made


def torture(url, armed, dying):
    """Each version hit at each of its steps, and run again; the versions reached."""
    reached = []
    for before, version in pairwise(versions()):
        for step in STEPS:
            code = dying.ended(url, version, f"{STEP}=kill@{step}")
            assert (code, migrations.current(url)) == (-signal.SIGKILL, before), version
            armed(f"{STEP}=raise@{step}")
            with pytest.raises(FailPoint):
                migrations.upgrade(url, version)
            assert migrations.current(url) == before, version
        armed(f"{STEP}=stall:0.1")
        migrations.upgrade(url, version)
        assert failpoints._passages[STEP] == len(STEPS), version
        assert migrations.current(url) == version
        reached.append(version)
    return reached


def test_every_version_that_is_killed_fails_or_stalls_at_any_step_can_run_again(
    empty, armed, dying
):
    assert torture(empty["wt_migrate"], armed, dying)[-1] == migrations.head()
    assert difference(empty["admin"]) == []


def test_a_version_that_commits_before_its_end_is_noticed(empty, armed, dying, monkeypatch):
    def committing(name):
        op.get_bind().exec_driver_sql("COMMIT")
        failpoints.hit(name)

    monkeypatch.setattr(migrations.frozen, "hit", committing)
    with pytest.raises(ProgrammingError, match="already exists"):
        torture(empty["wt_migrate"], armed, dying)


@pytest.mark.parametrize("action", ["kill", "raise", "stall:1"])
def test_a_whole_upgrade_that_is_killed_fails_or_stalls_midway_can_run_again(empty, action):
    def run(armed=""):
        script = "import migrations, os; migrations.upgrade(os.environ['U'])"
        done = subprocess.run(
            [sys.executable, "-c", script], check=False, timeout=60, capture_output=True,
            env={**os.environ, "U": empty["wt_migrate"], "WARDTRAIL_FAILPOINTS": armed},
        )  # fmt: skip
        return done.returncode, f"armed fail point: {STEP}".encode() in done.stderr

    code, passed = run(f"{STEP}={action}@{len(versions()) - 1}")
    assert passed
    assert (code == 0) == action.startswith("stall")
    assert run()[0] == 0
    with connect(empty["admin"], name="test") as connection:
        assert checks.look(connection).revision == migrations.head()
