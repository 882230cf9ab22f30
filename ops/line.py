"""The whole line on one machine: servers, migrations, intake, workers; up and down."""

import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable

from ops import deploy
from ops.settings import Settings
from ops.stack import processes, stack
from ops.stack.errors import StackFailed
from ops.stack.processes import Process
from ops.stack.state import StackState, read, update

Progress = Callable[[str], None]
READY_SECONDS = 30.0
PROCESSES = {"serve": ("serve",), "workers": ("worker",)}


def up(settings: Settings, *, progress: Progress = lambda _: None) -> Settings:
    """Bring the line up, or repair it; return the settings with every address filled in."""
    stack.up(settings, progress=progress)
    joined = settings.joined(read(settings.home))
    deploy.migrate(joined, progress=progress)
    for name, arguments in PROCESSES.items():
        if not read(settings.home).running(name):
            progress(f"starting {name}")
            _spawn(joined, name, arguments)
    _await_ready(joined)
    return joined


def down(settings: Settings, *, progress: Progress = lambda _: None) -> None:
    """End the line's processes, workers before servers; the data stay."""
    stack.down(settings, progress=progress)


def _spawn(settings: Settings, name: str, arguments: tuple[str, ...]) -> Process:
    passed = {
        key: value for key, value in os.environ.items()
        if key in ("PATH", "LANG", "HOME") or key.startswith("WARDTRAIL_FAIL")
    }  # fmt: skip
    process = processes.spawn(
        name,
        [sys.executable, "-m", "ops.cli", *arguments],
        {**passed, **settings.environ(), "WARDTRAIL_HOME": str(settings.home)},
        settings.home / "logs" / f"{name}.log",
    )

    def record(state: StackState) -> StackState:
        return state.with_process(process)

    update(settings.home, record)
    return process


def _await_ready(settings: Settings) -> None:
    """Wait until the intake takes messages; say where its log is if it doesn't."""
    url = f"http://127.0.0.1:{settings.http_port}/health/ready"
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1.0):
                return
        except (urllib.error.URLError, OSError):
            if not read(settings.home).running("serve"):
                break
            time.sleep(0.05)
    raise StackFailed(f"serve doesn't get ready; see: {settings.home / 'logs' / 'serve.log'}")
