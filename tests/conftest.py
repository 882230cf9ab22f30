"""The servers that tests share: containers where a Docker engine answers, else processes."""

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ops.settings import Settings
from ops.stack import ports, postgres, registry
from ops.stack import stack as embedded
from ops.stack.kafka import admin as broker_admin
from ops.stack.kafka import ready as broker_ready
from tests import canaries

pytest_plugins = ("tests.canaries",)

REPOSITORY = Path(__file__).parent.parent
PARTITIONS = "4"
CONTAINER_SECONDS = 120.0
PASSED_ON = ("WARDTRAIL_CACHE", "JAVA_HOME", "KAFKA_HOME", "PG_BIN")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The servers: `settings` has their addresses; the rest is for connecting as superuser."""

    settings: Settings
    bootstrap_servers: str
    registry_url: str
    postgres_host: str
    postgres_port: int
    superuser: str
    superuser_password: str

    def url(self, database: str = "postgres") -> str:
        """That database's address, as the superuser."""
        return (
            f"postgresql://{self.superuser}:{self.superuser_password}"
            f"@{self.postgres_host}:{self.postgres_port}/{database}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """An empty database of one test's own; `url` is the superuser's, with the password."""

    name: str
    host: str
    port: int
    url: str


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """One broker, registry and database server for the whole session.

    Nobody ends that database's machine, so it needn't wait for the disk; those of a test's own do.
    """
    with ExitStack() as servers:
        with pytest.MonkeyPatch.context() as patched:
            patched.setitem(postgres.SETTINGS, "fsync", "off")
            running = servers.enter_context(containers() if docker_answers() else local_stack())
        yield running


@pytest.fixture
def database(stack: Stack) -> Iterator[Database]:
    """A fresh database on the shared server, dropped afterwards whoever is connected."""
    with fresh_database(stack) as made:
        yield made


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """Servers that this test alone uses, and may kill; always local processes."""
    with local_stack() as running:
        yield running


@pytest.fixture
def new_home() -> Iterator[Callable[..., Settings]]:
    """Makes settings with a home of their own; what was started there is wiped afterwards."""
    with ExitStack() as homes:
        yield lambda **environ: homes.enter_context(home(**environ))


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of real messages: WARDTRAIL_CORPUS, or the one beside the checkout."""
    named = os.environ.get("WARDTRAIL_CORPUS")
    folder = Path(named) if named else REPOSITORY.parent / "shared/data"
    if not folder.is_dir():
        pytest.skip(f"no corpus (set WARDTRAIL_CORPUS): {folder}")
    return folder


@contextmanager
def home(**environ: str) -> Iterator[Settings]:
    """Settings with a home in a temporary folder that every account can pass through."""
    folder = Path(tempfile.mkdtemp(prefix="wardtrail-test-"))
    folder.chmod(0o711)
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    settings = Settings.load(
        {
            **passed,
            "WARDTRAIL_HOME": str(folder / "home"),
            "WARDTRAIL_PARTITIONS": PARTITIONS,
            **environ,
        }
    )
    try:
        yield settings
        canaries.search_home(settings)
    finally:
        embedded.wipe(settings)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def local_stack() -> Iterator[Stack]:
    """The embedded stack in a home of its own."""
    with home() as settings:
        state = embedded.up(settings)
        server = state.postgres
        assert server is not None
        yield stack_of(
            settings.joined(state),
            password=server.password_file.read_text(encoding="ascii").strip(),
            port=server.port,
        )


@contextmanager
def containers() -> Iterator[Stack]:
    """The same servers from images, on the host's network so that no address is rewritten."""
    from testcontainers.core.container import DockerContainer

    kafka, controller, registry_port, postgres = chosen_ports(4)
    password = uuid.uuid4().hex
    broker = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{controller}",
        "KAFKA_LISTENERS": f"PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{kafka}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_MESSAGE_MAX_BYTES": "9437184",
        "KAFKA_REPLICA_FETCH_MAX_BYTES": "9437184",
    }
    schemas = {"QUARKUS_HTTP_HOST": "127.0.0.1", "QUARKUS_HTTP_PORT": str(registry_port)}
    images = (
        ("apache/kafka:4.1.2", broker, ""),
        ("apicurio/apicurio-registry:3.0.9", schemas, ""),
        ("postgres:16.10", {"POSTGRES_PASSWORD": password}, f"postgres -p {postgres}"),
    )
    with ExitStack() as running:
        for image, environment, command in images:
            container = DockerContainer(image).with_kwargs(network_mode="host")
            for name, value in environment.items():
                container = container.with_env(name, value)
            running.enter_context(container.with_command(command) if command else container)
        url = f"http://127.0.0.1:{registry_port}/apis/ccompat/v7"
        outside = {
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{kafka}",
            "SCHEMA_REGISTRY_URL": url,
            "DATABASE_URL": f"postgresql://127.0.0.1:{postgres}/wardtrail",
        }
        settings = running.enter_context(home(**outside))
        client = broker_admin(settings.kafka_bootstrap_servers or "")
        until(lambda: broker_ready(client))
        found = stack_of(settings, password=password, port=postgres)
        until(lambda: registry.ready(url))
        registry.require_compatibility(url)
        until(lambda: accepts(found.url()))
        yield found


def stack_of(settings: Settings, *, password: str, port: int) -> Stack:
    """The stack at these addresses."""
    return Stack(
        settings=settings,
        bootstrap_servers=settings.kafka_bootstrap_servers or "",
        registry_url=settings.schema_registry_url or "",
        postgres_host="127.0.0.1",
        postgres_port=port,
        superuser="postgres",
        superuser_password=password,
    )


@contextmanager
def fresh_database(stack: Stack, *, template: str = "template1") -> Iterator[Database]:
    """A database with a name of its own: a copy of that one."""
    name = f"test_{uuid.uuid4().hex[:16]}"
    with psycopg.connect(stack.url(), autocommit=True, connect_timeout=10) as connection:
        make = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        connection.execute(make.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield Database(
            name=name, host=stack.postgres_host, port=stack.postgres_port, url=stack.url(name)
        )
        canaries.search_database(stack.url(name))
    finally:
        with psycopg.connect(stack.url(), autocommit=True, connect_timeout=10) as connection:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(drop)


def docker_answers() -> bool:
    """Whether a Docker engine answers here."""
    if "DOCKER_HOST" not in os.environ and not Path("/var/run/docker.sock").exists():
        return False
    import docker

    try:
        return bool(docker.from_env(timeout=3).ping())
    except docker.errors.DockerException:
        return False


def accepts(url: str) -> bool:
    """Whether the database takes a connection."""
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def until(true: Callable[[], bool]) -> None:
    """Wait for a container to answer, within a bound."""
    deadline = time.monotonic() + CONTAINER_SECONDS
    while not true():
        assert time.monotonic() < deadline, "a container doesn't answer"
        time.sleep(0.1)


def chosen_ports(count: int) -> list[int]:
    """Free ports, all different."""
    chosen: list[int] = []
    while len(chosen) < count:
        chosen.append(ports.choose(chosen))
    return chosen
