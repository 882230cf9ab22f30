"""What of a stack is up, where and as which process: the file `stack.json` of a home."""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from ops.stack.errors import StackFailed
from ops.stack.processes import Process, alive

FILE = "stack.json"
VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaServer:
    """The embedded broker's place."""

    port: int
    controller_port: int
    cluster_id: str

    @property
    def bootstrap_servers(self) -> str:
        """What a Kafka client is given."""
        return f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryServer:
    """The embedded registry's place."""

    port: int

    @property
    def url(self) -> str:
        """What a Confluent-compatible client is given."""
        return f"http://127.0.0.1:{self.port}/apis/ccompat/v7"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """The embedded PostgreSQL's place; `folder` holds its data."""

    port: int
    folder: Path
    password_file: Path
    host: str = "127.0.0.1"
    superuser: str = "postgres"
    database: str = "wardtrail"

    @property
    def url(self) -> str:
        """The database's address, without a role or a secret."""
        return f"postgresql://{self.host}:{self.port}/{self.database}"

    def superuser_url(self, database: str = "postgres") -> str:
        """An address with the superuser's password, read now: for the migrator, never to show."""
        secret = quote(self.password_file.read_text(encoding="ascii").strip(), safe="")
        return f"postgresql://{self.superuser}:{secret}@{self.host}:{self.port}/{database}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StackState:
    """The servers this home started (None: not ours, or not yet), ports and processes."""

    kafka: KafkaServer | None = None
    registry: RegistryServer | None = None
    postgres: PostgresServer | None = None
    ports: Mapping[str, int] = field(default_factory=dict)  # "mllp", "http"
    processes: tuple[Process, ...] = ()

    def process(self, name: str) -> Process | None:
        """The process of that name, dead or alive."""
        return next((process for process in self.processes if process.name == name), None)

    def named(self, *names: str) -> list[Process]:
        """The processes of those names, dead or alive."""
        return [process for process in self.processes if process.name in names]

    def running(self, name: str) -> bool:
        """Whether the process of that name is alive."""
        process = self.process(name)
        return process is not None and alive(process)

    def with_process(self, process: Process) -> Self:
        """The same with this process, in the place of one of the same name."""
        return replace(self, processes=(*self.without(process.name).processes, process))

    def without(self, name: str) -> Self:
        """The same without the process of that name."""
        kept = tuple(process for process in self.processes if process.name != name)
        return replace(self, processes=kept)


def read(home: Path) -> StackState:
    """The state of that home's stack; an empty one if none was ever started there."""
    path = home / FILE
    try:
        stored = json.loads(path.read_bytes())
    except FileNotFoundError:
        return StackState()
    except ValueError as error:
        raise StackFailed(
            f"the stack's state can't be read (remove the folder to start anew): {path}"
        ) from error
    try:
        return _from_json(stored)
    except (KeyError, TypeError) as error:
        raise StackFailed(
            f"the stack's state is of another version (remove the folder to start anew): {path}"
        ) from error


def write(home: Path, state: StackState) -> None:
    """Store the state; a reader sees the old one or the new one, never half of it."""
    path = home / FILE
    beside = path.with_suffix(f".{os.getpid()}.new")
    stored = {"version": VERSION, **asdict(state)}
    beside.write_text(json.dumps(stored, indent=1, default=str), encoding="utf-8")
    beside.replace(path)


def update(home: Path, change: Callable[[StackState], StackState]) -> StackState:
    """Change the state under the home's state lock, and return the new one."""
    with locked(home / ".stack.json.lock"):
        state = change(read(home))
        write(home, state)
        return state


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, which ends with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _from_json(stored: dict[str, Any]) -> StackState:
    if stored["version"] != VERSION:
        raise KeyError("version")
    postgres = stored["postgres"]
    if postgres:
        paths = {name: Path(postgres[name]) for name in ("folder", "password_file")}
        postgres = PostgresServer(**{**postgres, **paths})
    return StackState(
        kafka=KafkaServer(**stored["kafka"]) if stored["kafka"] else None,
        registry=RegistryServer(**stored["registry"]) if stored["registry"] else None,
        postgres=postgres or None,
        ports=stored["ports"],
        processes=tuple(Process(**process) for process in stored["processes"]),
    )
