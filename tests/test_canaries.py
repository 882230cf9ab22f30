"""The search for sample people finds what is planted, at each kind of place."""

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from ops.settings import Settings
from ops.simulator import MARKER, Scenario, simulate
from tests import canaries, places, sampled
from tests.needles import Needles, distinctive

PLANTED = "Plantedwort77"  # of this module alone, so that no other search finds it
SHOWN = f"{MARKER.upper()}0000001"
ROOT = Path(__file__).parent.parent
LEAKING = f'''
import http.client, http.server, logging, os, signal, subprocess, sys, tempfile, threading
from pathlib import Path
import click, pytest
from aiohttp import web
from click.testing import CliRunner
from tests import canaries

canaries.SAMPLE_SECONDS = 0.0
SHOWN = "{SHOWN}"

def test_prints(): print("it is", SHOWN)
def test_prints_to_standard_error(): print(SHOWN, file=sys.stderr)
def test_prints_and_reads_it(capsys): print(SHOWN); capsys.readouterr()
def test_logs(): logging.getLogger("x").warning("it is %s", SHOWN)
def test_expects_an_exception():
    with pytest.raises(ValueError): raise ValueError(f"bad: {{SHOWN}}")
def test_expects_the_cause_of_an_exception():
    with pytest.raises(RuntimeError): raise RuntimeError("bad") from ValueError(SHOWN)
def test_refuses(): web.Response(status=400, body=SHOWN.encode())
def test_starts_a_process(): subprocess.run([sys.executable, "-c", "", SHOWN])
@pytest.fixture
def running():
    pid = os.posix_spawn(sys.executable, ["python", "-c", "import time; time.sleep(60)", SHOWN], os.environ)
    yield
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
def test_has_a_process_running(running): pass
def test_runs_a_command():
    @click.command()
    def main(): click.echo(SHOWN, err=True)
    CliRunner().invoke(main, [])
def test_shows_nothing(): print("nobody")
def test_leaves_a_file(): Path(tempfile.gettempdir(), "left").write_text(SHOWN)
'''  # noqa: E501  the lines of another module
SILENT = {"test_shows_nothing"}


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Needles:
    """Looks for the planted word instead of the sample people."""
    needles = Needles([], [PLANTED])
    monkeypatch.setattr(canaries, "everybody", lambda: needles)
    monkeypatch.setattr(canaries, "markers", lambda: needles)
    return needles


def forms(value: str) -> dict[str, bytes]:
    """The value in every encoding, with something around it that has another meaning."""
    found = {
        "utf-8": value.encode(), "latin-1": f"é{value}é".encode("latin-1"),
        "utf-16-le": value.encode("utf-16-le"), "utf-16-be": value.encode("utf-16-be"),
        "hex": value.encode().hex().encode(), "HEX": value.encode().hex().upper().encode(),
        "half a byte before hex": b"a" + value.encode().hex().encode(),
        "JSON": json.dumps({"name": f"é{value}"}).encode(), "URL": quote(f"é {value}").encode(),
        "lower": value.lower().encode(), "upper": value.upper().encode(),
        "URL-safe": urlsafe_b64encode(b"\xff\xfe" + value.encode()),
    }  # fmt: skip
    for before in range(3):
        found[f"base64 at {before}"] = b64encode(b"ab"[:before] + value.encode() + b"!?")
    return found


@pytest.mark.parametrize("value", [SHOWN, "Brazyqorv", PLANTED, "V-CANARY-1"])
@pytest.mark.parametrize("form", forms(PLANTED))
def test_a_canary_is_found_in_every_encoding(value: str, form: str):
    needles = canaries.everybody() if value != PLANTED else Needles([], [PLANTED])
    data = b"\x00\x01\x02" * 50 + forms(value)[form] + b"\x01\x00\xff" * 50
    assert needles.in_bytes("here", data)
    assert not needles.in_bytes("here", data.replace(forms(value)[form], b""))


def test_a_canary_across_two_pieces_is_found_and_holes_cost_nothing(tmp_path: Path):
    path = tmp_path / "file"
    with path.open("wb") as file:
        file.seek(1 << 33)
        file.write(b"\x01" * ((1 << 20) - 5) + SHOWN.encode())
    assert [hit.value for hit in canaries.markers().in_file(path)] == [MARKER]


def test_whatever_the_simulator_makes_is_found():
    day = simulate(Scenario(seed=3, patients=30))
    assert [each for each in day.canaries if not canaries.markers().in_text("", each)] == []


def test_people_of_the_corpus_are_looked_for(corpus: Path):
    found = [each for each in sampled.people(corpus) if distinctive(each)]
    assert len(found) > 200
    for each in found:
        assert canaries.everybody().in_text("here", f"<{each}>"), each


@pytest.mark.parametrize(
    "value", ["Smith", "20260701120000", "1760000000", "555-1234", "0d70c6c8", "00000000000"]
)
def test_what_may_stand_anywhere_is_no_canary(value: str):
    assert not distinctive(value)


def test_every_test_that_may_show_somebody_is_there():
    there = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in canaries.ALLOWED if f"def {name}(" not in there] == []


def test_a_test_that_shows_somebody_fails_wherever_it_does(tmp_path: Path):
    """Standard output and error, logs, exceptions, answers, processes, files left behind."""
    (tmp_path / "test_leaking.py").write_text(LEAKING, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "tests.canaries", "-p", "no:cacheprovider",
         "-rA", "--basetemp", str(tmp_path / "inner"), "test_leaking.py"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    red = set(re.findall(r"^ERROR test_leaking.py::(\w+)", done.stdout, re.MULTILINE))
    assert red == set(re.findall(r"def (test_\w+)", LEAKING)) - SILENT, done.stdout
    assert "Leaked" in done.stdout
    assert "/left: 'zyqorv' as text" in done.stdout


@pytest.mark.parametrize("name", ["logs/serve.log", "feeds.json", "stack.json.1"])
def test_a_file_of_a_home_that_shows_somebody_is_found(planted: Needles, tmp_path: Path, name: str):
    settings = Settings.load({"WARDTRAIL_HOME": str(tmp_path / "a-home")})
    path = settings.home / name
    path.parent.mkdir(parents=True)
    path.write_text("nothing", "utf-8")
    canaries.search_home(settings)
    path.write_text(f"it is {PLANTED}", "utf-8")
    with pytest.raises(canaries.Leaked, match=name):
        canaries.search_home(settings)


def test_metrics_that_show_somebody_are_found(planted: Needles):
    class Showing(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(f'seen{{name="{PLANTED}"}} 1'.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.HTTPServer(("127.0.0.1", 0), Showing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert canaries._metrics(planted, server.server_port)
        server.shutdown()


def test_commands_may_answer_about_a_person_and_say_nothing_else_of_one(planted: Needles):
    canaries.hear_command(["export"], PLANTED, "")
    assert canaries.taken() == []
    for command, printed, said in (("lag", PLANTED, ""), ("export", "", PLANTED)):
        canaries.hear_command([command], printed, said)
        assert canaries.taken()


@pytest.fixture
def topic(stack) -> Iterator[str]:
    if stack.settings.outside:
        pytest.skip("the broker's files are not ours to read")
    client = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    name = "planted"
    client.create_topics([NewTopic(name, 1, 1)])[name].result(20)
    yield name
    client.delete_topics([name])[name].result(20)


def test_a_record_that_shows_somebody_is_found_compressed_or_not_and_its_part_is_named(
    stack, topic: str, planted: Needles
):
    shows = {
        "key": {"key": PLANTED}, "value": {"value": PLANTED + "a" * 500},
        "header": {"headers": {"trace": PLANTED}}, "header's name": {"headers": {PLANTED: "1"}},
    }  # fmt: skip
    expected = set()
    for number, codec in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        producer = Producer(
            {"bootstrap.servers": stack.bootstrap_servers, "compression.type": codec}
        )
        for part, record in shows.items():
            producer.produce(topic, **{"value": "nobody" * 50, **record})
            assert producer.flush(20) == 0
            expected.add((number, part))
    folder = stack.settings.home / f"kafka/data/{topic}-0"
    said = [str(hit) for path in folder.glob("*.log") for hit in places.segment(planted, path)]
    found = re.findall(r"from offset (\d+), (key|value|header's name|header):", "\n".join(said))
    assert {(int(offset) // len(shows), part) for offset, part in found} == expected


def test_a_database_that_shows_somebody_is_found_in_rows_files_and_log(
    stack, database, planted: Needles
):
    if stack.settings.outside:
        pytest.skip("the server's files are not ours to read")
    with psycopg.connect(database.url, autocommit=True) as connection:
        (oid,) = connection.execute(
            "SELECT oid FROM pg_database WHERE datname = current_database()"
        ).fetchone()
        data = Path(connection.execute("SHOW data_directory").fetchone()[0])
        (segment,) = connection.execute("SELECT pg_walfile_name(pg_current_wal_lsn())").fetchone()
        connection.execute("CREATE TABLE letters (reason text, body jsonb)")
        assert places.rows(planted, database.url) == []
        connection.execute("INSERT INTO letters VALUES (%s)", [f"bad name: {PLANTED}"])
        connection.execute("DELETE FROM letters")
        connection.execute("CHECKPOINT")
    assert places.rows(planted, database.url) == []
    assert places.cluster(planted, planted, data / f"base/{oid}"), "a deleted row stays in its file"
    assert planted.in_file(data / "pg_wal" / segment)
    long = json.dumps({"text": [f"{n % 7} {PLANTED[:6]}" for n in range(5000)] + [PLANTED]})
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("INSERT INTO letters (body) VALUES (%s::jsonb)", [long])
    with pytest.raises(canaries.Leaked, match="table letters"):
        canaries.search_database(database.url)
    with psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("DROP TABLE letters")
