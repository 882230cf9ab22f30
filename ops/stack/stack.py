"""Bring the embedded servers up, say how they are, and take them down.

    up(settings)      start what is missing, concurrently; what runs already is left alone
    status(settings)  every server and process, with its address and its log
    down(settings)    end exactly the processes that were started here
    wipe(settings)    down, and remove their data

`up` may be repeated: a server that died is started again on its port and its data.
"""

import os
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shutil import rmtree
from threading import Event

from ops.settings import Settings
from ops.stack import artifacts, java, kafka, ports, postgres, processes, registry
from ops.stack.errors import StackFailed
from ops.stack.processes import Process
from ops.stack.state import (
    FILE,
    KafkaServer,
    PostgresServer,
    RegistryServer,
    StackState,
    locked,
    read,
    update,
)

SERVERS = ("kafka", "registry", "postgres")
START_SECONDS = 120.0  # a start takes 3 s; a machine under load, or a recovery, takes longer
OUTSIDE_SECONDS = 20.0  # a server that somebody else runs is up already
STOP_SECONDS = 30.0
POLL_SECONDS = 0.03
# After a kill PostgreSQL doesn't start while one of its orphaned backends still ends.
RESTARTS = 100
RESTART_SECONDS = 0.1
PORT_SECONDS = 5.0  # a killed broker's threads end, and let go of its port, one after the other

Progress = Callable[[str], None]


class _EndedMeanwhile(StackFailed):
    """A server that ran when we looked has ended before it answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatus:
    """One server or process: `state` is "up", "down" or "outside"."""

    name: str
    state: str
    pid: int | None
    address: str | None
    log: Path | None


def _silent(_line: str) -> None:
    """Report to nobody."""


def up(settings: Settings, *, progress: Progress = _silent) -> StackState:
    """Start every server that isn't named from outside and isn't up; return when all answer.

    Raises StackFailed (or ArtifactRefused) with one line that names the server and its log.
    """
    _make_home(settings)
    with locked(settings.home / ".up.lock"):
        try:
            _start_missing(settings, progress)
        except _EndedMeanwhile:
            _start_missing(settings, progress)  # now it is seen as dead
        return read(settings.home)


def _start_missing(settings: Settings, progress: Progress) -> None:
    state = update(settings.home, partial(_plan, settings))
    start = _Start(settings, progress, Event(), Event())
    with ThreadPoolExecutor(len(SERVERS), "wardtrail-up") as pool:
        started: list[Future[None]] = []
        try:
            # The broker first: the registry waits for it.
            for name, run in start.runs().items():
                if name == "kafka" or name not in settings.outside:
                    files = _fetched(settings, state, name, progress)
                    started.append(pool.submit(run, files))
            for done in wait_for(started, return_when=FIRST_EXCEPTION).done:
                done.result()
        finally:
            start.over.set()  # whatever ended this, nobody waits on


def down(settings: Settings, *, progress: Progress = _silent) -> None:
    """End the home's processes: workers first, the broker last. Their data stay."""
    if not (settings.home / FILE).exists():
        return
    with locked(settings.home / ".up.lock"):
        state = read(settings.home)
        others = [each for each in state.processes if each.name not in SERVERS]
        for wave in (others, state.named("registry", "postgres"), state.named("kafka")):
            live = [process for process in wave if processes.alive(process)]
            if live:
                progress(f"stopping {', '.join(process.name for process in live)}")
                with ThreadPoolExecutor(len(live)) as pool:
                    list(pool.map(_stop, live))
        update(settings.home, lambda state: replace(state, processes=()))


def status(settings: Settings) -> list[ServerStatus]:
    """How every server is, and every other process that was started in this home."""
    state = read(settings.home)
    addresses = {
        "kafka": state.kafka.bootstrap_servers if state.kafka else None,
        "registry": state.registry.url if state.registry else None,
        "postgres": state.postgres.url if state.postgres else None,
    }
    outside = {
        "kafka": settings.kafka_bootstrap_servers,
        "registry": settings.schema_registry_url,
        "postgres": "set by DATABASE_URL",  # the address itself can hold a password
    }
    found = []
    others = [each.name for each in state.processes if each.name not in SERVERS]
    for name in (*SERVERS, *others):
        if name in settings.outside:
            found.append(
                ServerStatus(name=name, state="outside", pid=None, address=outside[name], log=None)
            )
            continue
        process = state.process(name)
        is_up = process is not None and processes.alive(process)
        found.append(
            ServerStatus(
                name=name,
                state="up" if is_up else "down",
                pid=process.pid if process and is_up else None,
                address=addresses.get(name) if is_up else None,
                log=_log(settings, name),
            )
        )
    return found


def wipe(settings: Settings) -> None:
    """Take the stack down, and remove everything that it kept: data, keys, logs."""
    down(settings)
    server = read(settings.home).postgres
    if server and not server.folder.is_relative_to(settings.home):
        rmtree(server.folder, ignore_errors=True)
    for name in ("kafka", "postgres", "logs"):
        rmtree(settings.home / name, ignore_errors=True)
    for name in (FILE, "root.key", "postgres.password", ".up.lock", f".{FILE}.lock"):
        (settings.home / name).unlink(missing_ok=True)
    if settings.home.is_dir() and not any(settings.home.iterdir()):
        settings.home.rmdir()


@dataclass(frozen=True, slots=True)
class _Start:
    """The starts of one `up`, each run in a thread of its own."""

    settings: Settings
    progress: Progress
    topics: Event  # the registry's topics are there
    over: Event  # give up waiting

    def runs(self) -> dict[str, Callable[[Path | None], None]]:
        """Each server's start; its argument are the server's files, or None if it runs."""
        return {"kafka": self.kafka, "registry": self.registry, "postgres": self.postgres}

    def kafka(self, jars: Path | None) -> None:
        """Start the broker; make the topics that the registry needs, wherever it is."""
        state = read(self.settings.home)
        process = None
        bootstrap_servers = self.settings.kafka_bootstrap_servers or ""
        if "kafka" not in self.settings.outside:
            assert state.kafka is not None, "planned"
            bootstrap_servers = state.kafka.bootstrap_servers
            process = state.process("kafka")
            if jars is not None:
                folder = self.settings.home / "kafka"
                run = kafka.prepare(state.kafka, java.executable(self.settings), jars, folder)
                process = self._spawn("kafka", run)
        client = kafka.admin(bootstrap_servers)
        self._await("kafka", process, lambda: kafka.ready(client), fresh=jars is not None)
        if "registry" not in self.settings.outside:
            registry.create_topics(client)
            self.topics.set()
            if process is not None and not kafka.join_a_group(bootstrap_servers, registry.JOURNAL):
                raise StackFailed(f"kafka lets no consumer join a group; {self._see('kafka')}")

    def registry(self, files: Path | None) -> None:
        """Start the registry: beside the broker, or once its topics are there."""
        state = read(self.settings.home)
        assert state.registry is not None, "planned"
        process = state.process("registry")
        if files is not None:
            ours = state.kafka if "kafka" not in self.settings.outside else None
            journal = self.settings.home / f"kafka/data/{registry.JOURNAL}-0"
            if not (ours and journal.exists()):
                while not self.topics.wait(POLL_SECONDS):
                    if self.over.is_set():
                        return  # the broker's failure is the one to tell
            servers = ours.bootstrap_servers if ours else self.settings.kafka_bootstrap_servers
            assert servers, "ours or from outside"
            run = registry.argv(state.registry, java.executable(self.settings), files, servers)
            process = self._spawn("registry", run)
        url = state.registry.url
        self._await("registry", process, lambda: registry.ready(url), fresh=files is not None)
        registry.require_compatibility(url)

    def postgres(self, files: Path | None) -> None:
        """Start PostgreSQL; after a kill, as often as its orphans make it refuse."""
        state = read(self.settings.home)
        server = state.postgres
        assert server is not None, "planned"
        process = state.process("postgres")
        if files is None:
            assert process is not None, "it runs"
            ready = partial(postgres.ready, server, process)
            self._await("postgres", process, ready, fresh=False)
            return
        run = postgres.prepare(server, files)
        if process is not None:
            postgres.disown(server, process)
        killed = (server.folder / "data/postmaster.pid").exists()
        for left in reversed(range(RESTARTS if killed else 1)):
            fresh = self._spawn("postgres", run, user=postgres.account())
            try:
                self._await("postgres", fresh, partial(postgres.ready, server, fresh), fresh=True)
                return
            except StackFailed:
                if not left or processes.alive(fresh):
                    raise
                self.over.wait(RESTART_SECONDS)

    def _spawn(self, name: str, argv: list[str], *, user: str | None = None) -> Process:
        self.progress(f"starting {name}")
        environment = {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"}
        try:
            process = processes.spawn(name, argv, environment, _log(self.settings, name), user=user)
        except OSError as error:
            raise StackFailed(f"{name} can't be executed ({error.strerror}): {argv[0]}") from error
        update(self.settings.home, lambda state: state.with_process(process))
        return process

    def _await(
        self, name: str, process: Process | None, ready: Callable[[], bool], *, fresh: bool
    ) -> None:
        """Wait until the server answers; fail as soon as it has ended, or another failed."""
        patience = START_SECONDS if process else OUTSIDE_SECONDS
        deadline = time.monotonic() + patience
        while not ready():
            if process is not None and not processes.alive(process):
                cause = StackFailed if fresh else _EndedMeanwhile
                raise cause(f"{name} ended while it started; {self._see(name)}")
            if time.monotonic() > deadline:
                raise StackFailed(
                    f"{name} did not answer within {patience:.0f} s"
                    + (f"; {self._see(name)}" if process else " (it is not one of ours)")
                )
            if self.over.wait(POLL_SECONDS):
                raise StackFailed(f"{name} was not waited for, since another server failed")
        self.progress(f"{name} is up")

    def _see(self, name: str) -> str:
        return f"its log says why: {_log(self.settings, name)}"


def _fetched(settings: Settings, state: StackState, name: str, progress: Progress) -> Path | None:
    """The server's files, or None if it needs none: it runs, or is from outside."""
    if name in settings.outside or state.running(name):
        return None
    fetch = {
        "kafka": artifacts.kafka,
        "registry": artifacts.registry,
        "postgres": artifacts.postgres,
    }
    return fetch[name](settings, progress)


def _make_home(settings: Settings) -> None:
    """The home with its secrets; others than its owner can at most pass through it."""
    if not settings.home.is_dir():
        settings.home.mkdir(parents=True)
        # PostgreSQL's account has to get through to its folder.
        settings.home.chmod(0o711 if postgres.account() else 0o700)
    if settings.makes_root_key and not settings.root_key.exists():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(settings.root_key, flags, 0o600), "w") as key:
            key.write(secrets.token_hex(32) + "\n")


def _plan(settings: Settings, state: StackState) -> StackState:
    """Give each server of ours its place; keep the one it had, also over a restart."""
    some_up = any(processes.alive(process) for process in state.processes)
    taken: set[int] = set()

    def port(kept: int | None, name: str) -> int:
        # After a clean `down`, nothing of ours can still hold a port.
        patience = PORT_SECONDS if state.process(name) else 0.0
        if kept is None:
            kept = ports.choose(taken)
        elif not state.running(name) and not ports.free_within(kept, patience):
            if some_up and name in SERVERS:
                raise StackFailed(f"{name}'s port was taken by another program: {kept}")
            kept = kept if some_up else ports.choose(taken)
        taken.add(kept)
        return kept

    home = settings.home
    if "kafka" not in settings.outside:
        was = state.kafka
        server = KafkaServer(
            port=port(was.port if was else None, "kafka"),
            controller_port=port(was.controller_port if was else None, "kafka"),
            cluster_id=was.cluster_id if was else kafka.cluster_id(),
        )
        state = replace(state, kafka=server)
    if "registry" not in settings.outside:
        held = state.registry
        state = replace(
            state, registry=RegistryServer(port=port(held.port if held else None, "registry"))
        )
    if "postgres" not in settings.outside:
        old = state.postgres
        password_file = home / "postgres.password"
        postgres.new_password(password_file)
        database = PostgresServer(
            port=port(old.port if old else None, "postgres"),
            folder=old.folder if old else postgres.place(home),
            password_file=password_file,
        )
        state = replace(state, postgres=database)
    wanted = {"mllp": settings.mllp_port, "http": settings.http_port}
    return replace(state, ports=_ports(wanted, state, port))


def _ports(
    wanted: Mapping[str, int], state: StackState, port: Callable[[int | None, str], int]
) -> dict[str, int]:
    return {name: set_ or port(state.ports.get(name), name) for name, set_ in wanted.items()}


def _stop(process: Process) -> bool:
    # On SIGTERM PostgreSQL would wait for its clients to leave; SIGINT is its fast shutdown.
    how = signal.SIGINT if process.name == "postgres" else signal.SIGTERM
    return processes.stop(process, STOP_SECONDS, how=how)


def _log(settings: Settings, name: str) -> Path:
    return settings.home / f"logs/{name}.log"
