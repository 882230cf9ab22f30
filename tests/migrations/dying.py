"""Upgrades in processes of their own, which a fail point may kill: each a fork of this one."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import migrations
import migrations.frozen
from schemas import failpoints


class Upgrades:
    """Starts one process after another, from one that has imported what they need."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def ended(self, url: str, revision: str, armed: str) -> int:
        """How the process ended that upgraded with this fail point armed; < 0 for a signal."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([url, revision, armed]) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


@contextmanager
def upgrades() -> Iterator[Upgrades]:
    """The process that forks; it ends when its standard input does."""
    command = [sys.executable, "-m", "tests.migrations.dying"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server:
        yield Upgrades(server)
        server.communicate(timeout=60)
        assert server.returncode == 0


def main() -> None:
    """For each line, upgrade in a fork and write how it ended."""
    for line in sys.stdin:
        url, revision, armed = json.loads(line)
        child = os.fork()
        if child == 0:
            _upgrade(url, revision, armed)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _upgrade(url: str, revision: str, armed: str) -> NoReturn:
    """Never returns into the loop, whatever happens."""
    failed = 1
    try:
        failpoints._armed = failpoints.parse(armed)
        migrations.upgrade(url, revision)
        failed = 0
    finally:
        os._exit(failed)


if __name__ == "__main__":
    main()
