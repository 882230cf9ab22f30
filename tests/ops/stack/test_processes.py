import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ops.stack.processes import LOG_LIMIT_BYTES, Process, alive, kill, spawn, stop, wait

DEAF = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('deaf', flush=True)\n"
    "time.sleep(60)\n"
)


def sleeper(tmp_path: Path) -> Process:
    return spawn("sleeper", ["/bin/sleep", "60"], {}, tmp_path / "log")


def test_a_process_has_a_session_of_its_own_and_only_the_given_environment(tmp_path):
    process = spawn("p", ["/usr/bin/env"], {"ONLY": "this"}, tmp_path / "logs/p.log")
    assert wait(process, 10)
    assert (tmp_path / "logs/p.log").read_text() == "ONLY=this\n"
    other = sleeper(tmp_path)
    assert os.getsid(other.pid) == other.pid
    kill(other)


def test_stop_asks_first(tmp_path):
    process = sleeper(tmp_path)
    assert alive(process)
    assert stop(process, 10) is True
    assert not alive(process)
    assert stop(process, 10) is True  # there is nothing left to end


def test_what_does_not_obey_is_killed_after_the_time_out(tmp_path):
    log = tmp_path / "log"
    process = spawn("deaf", [sys.executable, "-u", "-c", DEAF], {}, log)
    while "deaf" not in log.read_text():
        assert alive(process)
    assert stop(process, 0.05) is False
    assert not alive(process)


def test_a_frozen_process_is_alive_and_can_be_killed(tmp_path):
    process = sleeper(tmp_path)
    os.kill(process.pid, signal.SIGSTOP)
    assert alive(process)
    assert not wait(process, 0)
    kill(process)
    assert not alive(process)
    kill(process)


def test_a_recycled_id_is_never_signalled(tmp_path):
    stranger = sleeper(tmp_path)
    recorded = replace(stranger, started="another boot:1")
    assert not alive(recorded)
    assert stop(recorded, 10) is True
    kill(recorded)
    assert wait(recorded, 10) is True
    assert alive(stranger)
    kill(stranger)


def test_a_log_over_its_limit_is_set_aside_at_the_next_start(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * LOG_LIMIT_BYTES)
    wait(spawn("p", ["/bin/true"], {}, log), 10)
    assert log.stat().st_size == LOG_LIMIT_BYTES
    log.write_bytes(b"x" * (LOG_LIMIT_BYTES + 1))
    wait(spawn("p", ["/bin/true"], {}, log), 10)
    assert log.stat().st_size == 0
    assert (tmp_path / "log.1").stat().st_size == LOG_LIMIT_BYTES + 1


def test_what_cannot_be_executed_is_an_error_at_once(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        spawn("p", ["/nowhere"], {}, tmp_path / "log")
