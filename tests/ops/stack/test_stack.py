import json
import os
import signal
import socket
import stat
import urllib.request
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from ops.settings import Settings
from ops.stack import postgres, processes
from ops.stack import stack as embedded
from ops.stack.errors import StackFailed
from ops.stack.state import FILE, read, update

pytestmark = pytest.mark.stack

ELSEWHERE = {
    "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
    "DATABASE_URL": "postgresql://127.0.0.1:1/x",
}
AVRO = {"schema": json.dumps({"type": "record", "name": "A", "fields": []})}


@pytest.fixture
def only_postgres(stack, new_home) -> Settings:
    """Settings that start nothing but PostgreSQL: the rest is the shared stack's."""
    return new_home(
        KAFKA_BOOTSTRAP_SERVERS=stack.bootstrap_servers, SCHEMA_REGISTRY_URL=stack.registry_url
    )


def server_of(settings: Settings):
    server = read(settings.home).postgres
    assert server is not None
    return server


def connect(settings: Settings):
    return psycopg.connect(server_of(settings).superuser_url(), autocommit=True, connect_timeout=5)


def ask(url: str, body: object = None) -> object:
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode() if body else None,
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def test_a_stack_lives_through_up_kill_repair_down_and_up(new_home):
    settings = new_home()
    first = embedded.up(settings)
    assert [each.state for each in embedded.status(settings)] == ["up", "up", "up"]
    registry_url = Settings.load(settings.environ()).schema_registry_url
    assert ask(f"{registry_url}/config") == {"compatibilityLevel": "FULL_TRANSITIVE"}
    ask(f"{registry_url}/subjects/a/versions", AVRO)
    with connect(settings) as connection:
        connection.execute("CREATE TABLE kept ()")

    assert embedded.up(settings) == first  # nothing to do

    for process in first.processes:
        os.kill(process.pid, signal.SIGKILL)
    repaired = embedded.up(settings)
    assert not {each.pid for each in repaired.processes} & {each.pid for each in first.processes}
    assert replace(repaired, processes=()) == replace(first, processes=())  # same ports and data
    assert ask(f"{registry_url}/subjects") == ["a"]
    with connect(settings) as connection:
        connection.execute("TABLE kept")

    bystander = processes.spawn("worker", ["/bin/sleep", "60"], {}, settings.home / "logs/w.log")
    update(settings.home, lambda state: state.with_process(bystander))
    embedded.down(settings)
    assert not any(processes.alive(each) for each in (*repaired.processes, bystander))
    assert [each.state for each in embedded.status(settings)] == ["down", "down", "down"]
    assert first.kafka is not None
    found = Settings.load(settings.environ()).kafka_bootstrap_servers
    assert found == first.kafka.bootstrap_servers  # kept: whoever starts first waits for it there
    embedded.down(settings)

    again = embedded.up(settings)
    assert replace(again, processes=()) == replace(first, processes=())
    assert ask(f"{registry_url}/subjects") == ["a"]


def test_two_homes_have_two_servers_side_by_side(only_postgres, new_home):
    other = new_home(
        KAFKA_BOOTSTRAP_SERVERS=only_postgres.kafka_bootstrap_servers,
        SCHEMA_REGISTRY_URL=only_postgres.schema_registry_url,
    )
    first, second = embedded.up(only_postgres), embedded.up(other)
    assert first.postgres.port != second.postgres.port
    assert not set(first.ports.values()) & set(second.ports.values())
    with connect(only_postgres) as connection:
        connection.execute("CREATE TABLE mine ()")
    embedded.down(only_postgres)
    with connect(other) as connection:
        found = connection.execute("SELECT to_regclass('mine')").fetchone()
    assert found == (None,)


def test_a_server_from_outside_is_not_started(only_postgres):
    state = embedded.up(only_postgres)
    assert (state.kafka, state.registry) == (None, None)
    assert [process.name for process in state.processes] == ["postgres"]
    by_name = {each.name: each for each in embedded.status(only_postgres)}
    assert by_name["kafka"].state == "outside"
    assert by_name["kafka"].address == only_postgres.kafka_bootstrap_servers
    joined = only_postgres.joined(state)
    assert joined.kafka_bootstrap_servers == only_postgres.kafka_bootstrap_servers
    assert joined.postgres == state.postgres


def test_a_server_from_outside_that_is_away_is_named(new_home, monkeypatch):
    monkeypatch.setattr(embedded, "OUTSIDE_SECONDS", 0.1)
    settings = new_home(**ELSEWHERE)
    with pytest.raises(StackFailed, match=r"^kafka did not answer .* \(it is not one of ours\)$"):
        embedded.up(settings)
    assert read(settings.home).processes == ()


def test_a_start_that_fails_names_the_server_and_its_log(only_postgres):
    embedded.up(only_postgres)
    embedded.down(only_postgres)
    (server_of(only_postgres).folder / "data/global/pg_control").write_bytes(b"damaged")
    with pytest.raises(StackFailed, match=r"^postgres ended while it started; .*: (.+)$") as told:
        embedded.up(only_postgres)
    log = Path(str(told.value).rpartition(": ")[2])
    assert "pg_control" in log.read_text()


def test_a_port_taken_while_the_stack_is_up_is_refused_and_replaced_after_it_was_down(
    only_postgres, monkeypatch
):
    monkeypatch.setattr(embedded, "PORT_SECONDS", 0.1)
    state = embedded.up(only_postgres)
    port = state.postgres.port
    worker = processes.spawn("worker", ["/bin/sleep", "60"], {}, only_postgres.home / "logs/w")
    update(only_postgres.home, lambda state: state.with_process(worker))
    processes.stop(state.process("postgres"), 10, how=signal.SIGINT)
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        with pytest.raises(StackFailed, match=f"postgres's port was taken .*: {port}"):
            embedded.up(only_postgres)  # the worker knows that port
        embedded.down(only_postgres)
        assert embedded.up(only_postgres).postgres.port != port


def test_an_id_in_use_again_does_not_keep_postgres_from_starting(only_postgres):
    state = embedded.up(only_postgres)
    process = state.process("postgres")
    processes.kill(process)
    # As after a recycled id: the file names a live process of the server's account.
    file = server_of(only_postgres).folder / "data/postmaster.pid"
    stranger = processes.spawn(
        "stranger", ["/bin/sleep", "60"], {}, only_postgres.home / "logs/s", user=postgres.account()
    )
    file.write_text(file.read_text().replace(str(process.pid), str(stranger.pid), 1))
    recorded = replace(process, pid=stranger.pid)
    update(only_postgres.home, lambda state: state.with_process(recorded))
    try:
        assert embedded.up(only_postgres).running("postgres")
        assert processes.alive(stranger)
    finally:
        processes.kill(stranger)


def test_secrets_are_their_owners_alone_and_on_no_command_line(only_postgres):
    state = embedded.up(only_postgres)
    home = only_postgres.home
    for name in ("root.key", "postgres.password"):
        assert stat.S_IMODE((home / name).stat().st_mode) == 0o600
    assert len(bytes.fromhex((home / "root.key").read_text())) == 32
    secret = (home / "postgres.password").read_text().strip()
    for process in state.processes:
        assert secret not in Path(f"/proc/{process.pid}/cmdline").read_text()
        assert secret not in Path(f"/proc/{process.pid}/environ").read_text()
    assert secret not in (home / FILE).read_text()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server_of(only_postgres).superuser_url().replace(secret, "wrong"))


def test_the_database_server_is_durable_and_logs_no_values(only_postgres):
    embedded.up(only_postgres)
    with connect(only_postgres) as connection:
        wanted = {"fsync": "on", "synchronous_commit": "on", "wal_level": "replica"}
        for name, value in {**wanted, "max_connections": "200"}.items():
            assert connection.execute(f"SHOW {name}").fetchone() == (value,)
        how = "SELECT datctype, pg_encoding_to_char(encoding) FROM pg_database LIMIT 1"
        assert connection.execute(how).fetchone() == ("C.UTF-8", "UTF8")
        connection.execute("CREATE TABLE t (name text PRIMARY KEY, CHECK (name <> 'Jane Roe'))")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO t VALUES ('Jane Roe')")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO t VALUES (%s)", ["Jane Roe"])
    log = (only_postgres.home / "logs/postgres.log").read_text()
    assert "violates check constraint" in log
    assert "Jane" not in log


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as somebody else")
def test_a_home_that_the_servers_account_cannot_reach_gets_a_folder_elsewhere(only_postgres):
    only_postgres.home.parent.chmod(0o700)
    state = embedded.up(only_postgres)
    folder = state.postgres.folder
    assert not folder.is_relative_to(only_postgres.home)
    with connect(only_postgres) as connection:
        connection.execute("SELECT 1")
    embedded.down(only_postgres)
    assert embedded.up(only_postgres).postgres.folder == folder
    embedded.wipe(only_postgres)
    assert not folder.exists()
    assert not only_postgres.home.exists()


def test_a_servers_folder_that_is_gone_is_named(only_postgres):
    embedded.up(only_postgres)
    embedded.down(only_postgres)
    folder = server_of(only_postgres).folder
    moved = folder.with_name("moved")
    folder.rename(moved)
    with pytest.raises(StackFailed, match=f"postgres's folder is gone .*: {folder}"):
        embedded.up(only_postgres)
    moved.rename(folder)


def test_a_database_of_ones_own_is_empty(database):
    with psycopg.connect(database.url) as connection:
        found = connection.execute("SELECT current_database()").fetchone()
    assert found == (database.name,)


def test_the_shared_registry_checks_schemas(stack):
    assert ask(f"{stack.registry_url}/config") == {"compatibilityLevel": "FULL_TRANSITIVE"}
