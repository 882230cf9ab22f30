"""The supervisor: a crashed processor comes back, one that crashes too often is given up alone."""

import os
import subprocess
import sys
import threading

import pytest

from ops import worker
from ops.settings import Settings
from ops.worker import Supervisor

WORKS = "import time; time.sleep(60)"


@pytest.fixture
def supervise(monkeypatch, tmp_path):
    """Runs a supervisor whose processors are these programs, until a condition holds."""
    monkeypatch.setattr(worker, "RESTART_SECONDS", (0.01, 0.01))
    monkeypatch.setattr(worker.signal, "signal", lambda *_: None)
    started = []

    def run(programs, until):
        def start(self, name):
            started.append(name)
            return subprocess.Popen([sys.executable, "-c", programs[name]])

        monkeypatch.setattr(Supervisor, "_start", start)
        supervisor = Supervisor(settings=Settings(home=tmp_path), names=tuple(programs))
        code = []
        thread = threading.Thread(target=lambda: code.append(supervisor.run()))
        thread.start()
        try:
            while thread.is_alive() and not until(started, supervisor):
                thread.join(0.05)
            alive = {name for name, child in supervisor._children.items() if child.poll() is None}
        finally:
            supervisor._stop.set()
            thread.join(30)
        return code[0], started, alive

    return run


def test_a_processor_that_ends_is_started_again(supervise):
    code, started, _ = supervise({"a": "pass"}, lambda started, _: len(started) >= 3)
    assert code == 0
    assert started[:3] == ["a"] * 3


def test_one_that_crashes_too_often_is_given_up_and_no_other(supervise, monkeypatch, caplog):
    monkeypatch.setattr(worker, "RESTARTS_MAX", 2)
    _, started, alive = supervise(
        {"bad": "raise SystemExit(1)", "good": WORKS},
        lambda *_: "giving it up" in caplog.text,
    )
    assert started.count("bad") == 3
    assert alive == {"good"}
    assert "bad crashed too often (exit code 1): giving it up" in caplog.text


def test_when_every_processor_is_given_up_the_supervisor_ends_with_1(supervise, monkeypatch):
    monkeypatch.setattr(worker, "RESTARTS_MAX", 1)
    code, started, _ = supervise({"bad": "raise SystemExit(3)"}, lambda *_: False)
    assert code == 1
    assert started == ["bad", "bad"]


@pytest.mark.parametrize(
    ("names", "nice"),
    [(["ledger"], 0), (["trajectory"], worker.NICE), (["ledger", "read-models"], 0),
     (["read-models", "verification"], worker.NICE)],
)  # fmt: skip
def test_a_process_without_the_ledger_yields_to_it(names, nice):
    code = (
        "import os, threading, sys; from ops import worker; before = os.nice(0);"
        "worker.yield_to_the_ledger(sys.argv[1:]);"
        "thread = threading.Thread(target=lambda: print(os.nice(0) - before)); thread.start()"
    )
    said = subprocess.run(
        [sys.executable, "-c", code, *names], capture_output=True, text=True, check=True, timeout=60
    )
    assert int(said.stdout) == min(nice, 19 - os.nice(0))
