"""Workers: one process for each processor, restarted when it crashes, within bounds."""

import ctypes
import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ops import access, logs, obeying, refusals
from ops.settings import Settings
from schemas.codec import Codec, Ids
from schemas.registry import Registry, RegistryAway
from schemas.topics import TOPICS
from sinks.database import Database, DatabaseAway, connect
from streams import app as apps
from streams import log, publications
from streams.ledger.processor import Ledger
from streams.letters import Letters
from streams.ownership import Ownership
from streams.ports import Processor
from streams.projector import Projector
from streams.read_models import PROJECTIONS
from streams.relay import Publication, Relay
from streams.trajectory import PROJECTION
from streams.transport import pauses
from streams.verification.judging import Judge
from streams.verification.projection import PROJECTION as VERIFICATION

RESTARTS_MAX = 20  # within the window; a processor that crashes faster needs a person
RESTART_WINDOW_SECONDS = 300.0
RESTART_SECONDS = (0.2, 10.0)
STOP_SECONDS = 30.0  # a transaction under way may take its statement's time-out
NICE = 10  # of processes without the ledger: what came in is told before what follows from it
_PR_SET_PDEATHSIG = 1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every processor of a process shares."""

    settings: Settings
    database: Database
    codec: Codec
    owner: str

    def ownership(self, *subscriptions: str) -> Ownership:
        """The ownership of a processor's subscriptions."""
        return Ownership(
            database=self.database,
            url=access.role_url(self.settings, "wt_worker"),
            subscriptions=subscriptions,
            bootstrap_servers=access.bootstrap_servers(self.settings),
            owner=self.owner,
        )

    def relay(self, publication: Publication) -> Relay:
        """A relay of this process."""
        return Relay(
            publication=publication,
            database=self.database,
            bootstrap_servers=access.bootstrap_servers(self.settings),
            partitions=self.settings.partitions,
            owner=self.owner,
        )


@dataclass(frozen=True, slots=True)
class Built:
    """A processor with what follows it in threads: relays of what it writes, letters, a judge."""

    processor: Processor
    followers: tuple[Relay | Judge | Letters, ...] = ()


def _ledger(parts: Parts) -> Built:
    processor = Ledger(
        database=parts.database, ownership=parts.ownership("ledger"),
        codec=parts.codec, root=access.root(parts.settings),
        held_seconds=parts.settings.held_seconds,
    )  # fmt: skip
    published = (
        publications.clinical_events, publications.command_results, publications.dead_letters,
    )  # fmt: skip
    relays = tuple(parts.relay(each(parts.codec)) for each in published)
    return Built(processor, (*relays, Letters(processor=processor)))


def _read_models(parts: Parts) -> Built:
    processor = Projector(
        name="read-models", projections=PROJECTIONS, database=parts.database,
        ownership=parts.ownership(*(each.name for each in PROJECTIONS)),
        codec=parts.codec, root=access.root(parts.settings),
    )  # fmt: skip
    return Built(processor, (Letters(processor=processor),))


def _trajectory(parts: Parts) -> Built:
    processor = Projector(
        name="trajectory", projections=(PROJECTION,), database=parts.database,
        ownership=parts.ownership(PROJECTION.name),
        codec=parts.codec, root=access.root(parts.settings),
    )  # fmt: skip
    relay = parts.relay(publications.trajectory_points(parts.codec))
    return Built(processor, (relay, Letters(processor=processor)))


def _verification(parts: Parts) -> Built:
    processor = Projector(
        name="verification", projections=(VERIFICATION,), database=parts.database,
        ownership=parts.ownership(VERIFICATION.name),
        codec=parts.codec, root=access.root(parts.settings),
    )  # fmt: skip
    relay = parts.relay(publications.verification_results(parts.codec))
    judge = Judge(database=parts.database)
    return Built(processor, (judge, relay, Letters(processor=processor)))


PROCESSORS: Mapping[str, Callable[[Parts], Built]] = {
    "ledger": _ledger,
    "read-models": _read_models,
    "trajectory": _trajectory,
    "verification": _verification,
}


def run(settings: Settings, names: Sequence[str] = (), *, in_one: bool = False) -> int:
    """Run processors until a signal; return the exit code.

    Each in a process of its own, restarted when it crashes; or all in this process.
    """
    chosen = tuple(names) or tuple(PROCESSORS)
    if in_one:
        return _run_here(settings, chosen)
    return Supervisor(settings=settings, names=chosen).run()


def _run_here(settings: Settings, names: Sequence[str]) -> int:
    """The processors of this process, with what follows them in threads."""
    _end_with_parent()
    yield_to_the_ledger(names)
    logs.configure(settings.log_level)
    ids = _await_servers(settings)
    refusals.check(settings)
    owner = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
    database = Database.open(
        access.role_url(settings, "wt_worker"), name=" ".join(names), size=4 + 6 * len(names)
    )
    obeying.obey(settings, database)
    parts = Parts(
        settings=settings, database=database, owner=owner, codec=_codec(settings, ids),
    )  # fmt: skip
    built = [PROCESSORS[name](parts) for name in names]
    scratch = settings.home / "faust"
    scratch.mkdir(parents=True, exist_ok=True)
    running = [
        apps.make_app(
            each.processor,
            bootstrap_servers=access.bootstrap_servers(settings),
            datadir=scratch / f"{each.processor.name}-{os.getpid()}",
            session_timeout_seconds=settings.session_seconds,
        )
        for each in built
    ]
    stop = threading.Event()
    followers = [follower for each in built for follower in each.followers]
    threads = [
        threading.Thread(target=_follow, args=(each, stop), name=type(each).__name__.lower())
        for each in followers
    ]
    for thread in threads:
        thread.start()
    try:
        code = apps.run(running, loglevel=settings.log_level)
    finally:
        stop.set()
        for thread in threads:
            thread.join(STOP_SECONDS)
        database.close()
    return 1 if any(each.failure for each in followers) else code


def yield_to_the_ledger(names: Sequence[str]) -> None:
    """Lower this process's priority if the ledger isn't among its processors.

    Where cores are short everybody waits for the ledger, and projections catch up in larger,
    cheaper chunks. Before any thread begins: each inherits its own.
    """
    if "ledger" not in names:
        os.nice(NICE)


def _codec(settings: Settings, ids: Ids) -> Codec:
    """A codec that asks the registry when a newer release's record comes."""
    url = settings.schema_registry_url
    return Codec(ids, ask=None if url is None else Registry(url).lookup)


def _await_servers(settings: Settings) -> Ids:
    """Wait for database, broker and registry, as long as it takes; return the schema ids.

    Faust ends its process when no broker answers at start, and a restart would find the same.
    What is refused at start can only be asked of servers that answer.
    """
    for pause in pauses():
        try:
            with connect(access.role_url(settings, "wt_worker"), name="start"):
                pass
            log.topic_ids(access.bootstrap_servers(settings), list(TOPICS))
            return access.schema_ids(settings)
        except (DatabaseAway, log.BrokerAway, RegistryAway) as away:
            logger.warning("not started yet, again in %.1f s: %s", pause, away)
            time.sleep(pause)
    raise AssertionError("pauses never end")


def _follow(follower: Relay | Judge | Letters, stop: threading.Event) -> None:
    """Relay or judge until told to stop; a broken invariant ends the process, gracefully."""
    follower.run(stop)
    if follower.failure:
        os.kill(os.getpid(), signal.SIGTERM)


def _end_with_parent() -> None:
    """Have the kernel end this process when its supervisor dies (Linux, prctl(2))."""
    if os.environ.get(_CHILD) == str(os.getppid()):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


_CHILD = "_WARDTRAIL_SUPERVISOR"


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Runs one child for each processor and starts it again when it crashes."""

    settings: Settings
    names: Sequence[str]
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _crashes: dict[str, deque[float]] = field(default_factory=dict)
    _due: dict[str, float] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT, or until every processor was given up."""
        logs.configure(self.settings.log_level)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        self._due = dict.fromkeys(self.names, 0.0)
        code = 0
        while not self._stop.wait(0.1):
            self._look()
            if not self._children and not self._due:
                code = 1  # every processor was given up
                break
        self._end()
        return code

    def _look(self) -> None:
        """Note children that ended, start those that are due."""
        now = time.monotonic()
        for name, child in list(self._children.items()):
            if child.poll() is not None:
                del self._children[name]
                self._crashed(name, child.returncode, now)
        for name, due in list(self._due.items()):
            if now >= due:
                del self._due[name]
                self._children[name] = self._start(name)

    def _crashed(self, name: str, code: int, now: float) -> None:
        """Plan the restart of a processor, or give it up, and no other."""
        crashes = self._crashes.setdefault(name, deque(maxlen=RESTARTS_MAX + 1))
        crashes.append(now)
        while crashes and crashes[0] < now - RESTART_WINDOW_SECONDS:
            crashes.popleft()
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        if len(crashes) > RESTARTS_MAX:
            logger.critical("%s crashed too often (%s): giving it up", name, ended)
            return
        pause = min(RESTART_SECONDS[0] * 2 ** (len(crashes) - 1), RESTART_SECONDS[1])
        logger.error("%s ended by %s: again in %.1f s", name, ended, pause)
        self._due[name] = now + pause

    def _start(self, name: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "ops.cli", "worker", name, "--in-one"]
        environment = {**os.environ, **self.settings.environ(), _CHILD: str(os.getpid())}
        return subprocess.Popen(argv, env=environment, stdin=subprocess.DEVNULL)  # noqa: S603  ours

    def _end(self) -> None:
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children.values():
            try:
                child.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
