"""Fail points: inert unless armed, understood exactly or refused."""

import os
import signal
import subprocess
import sys
import time

import pytest

from schemas import failpoints
from schemas.failpoints import Action, FailPoint, FailPointsInvalid

NAME = "sink: written"


def passes(code, armed):
    environment = {**os.environ, "WARDTRAIL_FAILPOINTS": armed}
    program = f"from schemas import failpoints\n{code}"
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60
    )


@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
def test_every_fail_point_is_inert_unless_armed(name):
    failpoints.hit(name)


@pytest.mark.parametrize("name", sorted(failpoints.NAMES))
def test_every_fail_point_can_be_armed(name, monkeypatch):
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{name}=raise"))
    with pytest.raises(FailPoint):
        failpoints.hit(name)


def test_only_the_armed_passage_fails(monkeypatch):
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{NAME}=raise@3"))
    monkeypatch.setattr(failpoints, "_passages", failpoints.Counter())
    for passage in range(1, 6):
        if passage == 3:
            with pytest.raises(FailPoint):
                failpoints.hit(NAME)
        else:
            failpoints.hit(NAME)


def test_an_armed_fail_point_stalls_as_long_as_told(monkeypatch):
    slept = []
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{NAME}=stall:15"))
    monkeypatch.setattr(time, "sleep", slept.append)
    failpoints.hit(NAME)
    assert slept == [15.0]


def test_an_armed_fail_point_kills_the_process():
    code = f"failpoints.hit({NAME!r}); print('first'); failpoints.hit({NAME!r}); print('second')"
    done = passes(code, f"{NAME}=kill@2")
    assert done.returncode == -signal.SIGKILL
    assert b"second" not in done.stdout


def test_an_unknown_fail_point_in_the_code_is_our_own_mistake(monkeypatch):
    monkeypatch.setattr(failpoints, "_armed", failpoints.parse(f"{NAME}=raise"))
    with pytest.raises(AssertionError):
        failpoints.hit("sink: nowhere")


@pytest.mark.parametrize(
    "text",
    [
        "nowhere=kill",
        "sink: written",
        "sink: written=explode",
        "sink: written=stall:soon",
        "sink: written=kill@often",
        "=kill",
    ],
)
def test_what_is_not_understood_is_refused(text):
    with pytest.raises(FailPointsInvalid):
        failpoints.parse(text)
    assert passes("", text).returncode != 0


def test_several_pairs_are_read_and_a_stall_is_bounded():
    assert failpoints.parse(" sink: written=raise ; ledger: moved=stall:1e9@2; ") == {
        "ledger: moved": Action(kind="stall", seconds=failpoints.STALL_SECONDS_MAX, passage=2),
    } | failpoints.parse("sink: written=raise")
