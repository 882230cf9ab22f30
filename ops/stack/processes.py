"""Processes that outlive the command that started them, and are ended without mistaking one.

A process is known by its id and the moment it started, so that a recycled id is never
signalled; signals go through a pidfd, which stays bound to the process it was opened for.
"""

import os
import pwd
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOG_LIMIT_BYTES = 10 * 1024 * 1024  # a log beyond it is set aside once at the next start

# Those started by this very process: they must be reaped, or they stay as zombies.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A process that was started: `started` is the boot's id and the clock tick, opaque."""

    name: str
    pid: int
    started: str


def spawn(
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    log: Path,
    *,
    user: str | None = None,
) -> Process:
    """Start a process in a session of its own, its output appended to `log`.

    `env` is its whole environment. `user` (root only) is the account it runs as.
    Raises OSError when it can't be executed at all.
    """
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if log.exists() and log.stat().st_size > LOG_LIMIT_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    account = pwd.getpwnam(user) if user else None
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603  argv is ours, without a shell
            list(argv),
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd="/",
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
        )
    _children[child.pid] = child
    started = _started(child.pid, zombies=True)
    assert started is not None, "a child that wasn't reaped is in /proc"
    return Process(name=name, pid=child.pid, started=started)


def alive(process: Process) -> bool:
    """Whether that very process still runs (a zombie doesn't)."""
    _reap(process)
    return _started(process.pid) == process.started


def stop(process: Process, timeout_seconds: float, *, how: signal.Signals = signal.SIGTERM) -> bool:
    """Ask the process to end; after the time-out, end its whole group. True if it obeyed."""
    fd = _open(process)
    if fd is None:
        return True
    try:
        signal.pidfd_send_signal(fd, how)
        obeyed = _ended(fd, timeout_seconds)
        if not obeyed:
            # The leader is alive, so its group's id can't have been recycled.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            _ended(fd, 10.0)
        return obeyed
    except ProcessLookupError:
        return True
    finally:
        os.close(fd)
        _reap(process)


def kill(process: Process) -> None:
    """End the process at once (SIGKILL), and return when it is gone."""
    fd = _open(process)
    if fd is None:
        return
    try:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        _ended(fd, 10.0)
    finally:
        os.close(fd)
        _reap(process)


def wait(process: Process, timeout_seconds: float) -> bool:
    """Wait until the process has ended; False if it still runs after the time-out."""
    fd = _open(process)
    if fd is None:
        return True
    try:
        return _ended(fd, timeout_seconds)
    finally:
        os.close(fd)
        _reap(process)


def _open(process: Process) -> int | None:
    """A pidfd of that very process, or None when it has ended."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if not alive(process):  # looked at after opening: the fd can't belong to a later one
        os.close(fd)
        return None
    return fd


def _ended(fd: int, timeout_seconds: float) -> bool:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_seconds * 1000))


def _reap(process: Process) -> None:
    child = _children.get(process.pid)
    if child is not None and child.poll() is not None:
        del _children[process.pid]


def _started(pid: int, *, zombies: bool = False) -> str | None:
    """When the process with this id started, or None if there is none (proc(5), field 22)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX" and not zombies:
        return None
    return f"{boot}:{fields[19]}"
