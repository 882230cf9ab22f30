"""The command that asks, against a port that says what it is told to."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import CliRunner, Result

from ops.cli import main
from ops.commands import BODY_BYTES_MAX
from ops.stack import ports

SECRET = "CANARY"
STREAM = str(UUID(int=5))
DATA = json.dumps({"code": "W1", "name": SECRET})
ACCEPTED = {"outcome": "accepted", "version": 2, "position": "3:41"}


@dataclass
class Port:
    """What is answered, and what was asked."""

    status: int = 200
    body: Any = field(default_factory=lambda: dict(ACCEPTED))
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    number: int = 0


@pytest.fixture
def port() -> Iterator[Port]:
    told = Port()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            headers = {name.lower(): value for name, value in self.headers.items()}
            told.asked.append((self.path, headers, json.loads(self.rfile.read(length))))
            said = told.body if isinstance(told.body, bytes) else json.dumps(told.body).encode()
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  as it is named
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    told.number = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(port, tmp_path, monkeypatch):
    monkeypatch.setenv("WARDTRAIL_HOME", str(tmp_path))
    monkeypatch.setenv("WARDTRAIL_HTTP_PORT", str(port.number))
    (tmp_path / "http.key").write_text("token\n")

    def invoke(*arguments: str, stdin: str | None = DATA) -> Result:
        kind = () if arguments and not arguments[0].startswith("-") else ("department.create",)
        return CliRunner().invoke(
            main, ["command", *kind, "--stream", STREAM, *arguments], input=stdin
        )

    return invoke


def test_a_command_is_posted_with_the_homes_key(run, port) -> None:
    again = str(uuid4())
    done = run("--id", again, "--expected-version", "4", "--wait", "3")
    assert (done.exit_code, done.stdout) == (0, "accepted: version 2, at 3:41\n")
    ((path, headers, body),) = port.asked
    assert (path, headers["authorization"], headers["prefer"]) == (
        "/v1/commands", "Bearer token", "wait=3",
    )  # fmt: skip
    assert body == {
        "command_id": again, "command_type": "department.create", "stream_id": STREAM,
        "expected_version": 4, "data": json.loads(DATA),
    }  # fmt: skip


def test_data_may_come_from_a_file(run, port, tmp_path) -> None:
    file = tmp_path / "data.json"
    file.write_text(DATA)
    assert run("--data", str(file), stdin=None).exit_code == 0
    assert port.asked[0][2]["data"] == json.loads(DATA)


def test_each_command_has_an_id_of_its_own(run, port) -> None:
    run()
    run()
    assert len({body["command_id"] for _, _, body in port.asked}) == 2


def test_a_pending_command_is_told_with_how_to_ask_again(run, port) -> None:
    port.status, port.body = 202, {"outcome": "pending"}
    done = run()
    assert done.exit_code == 0
    assert f"--id {port.asked[0][2]['command_id']}" in done.stdout


def test_a_refusal_is_one_line_with_its_rule_and_the_version(run, port) -> None:
    port.status = 409
    port.body = {"detail": "it moved\x1b", "rule": "conflict", "version": 7}
    done = run()
    assert done.exit_code == 1
    assert done.stderr == (
        "wardtrail: refused by conflict: it moved\u00b7; the stream stands at version: 7\n"
    )


def test_a_failure_is_one_line_that_says_what_can_be_done(run, port) -> None:
    port.status = 500
    port.body = {
        "detail": "it became a dead letter", "rule": "decide_failed", "version": 0,
        "hint": "retry it",
    }  # fmt: skip
    done = run()
    assert done.exit_code == 1
    assert done.stderr == "wardtrail: failed: it became a dead letter (hint: retry it)\n"


@pytest.mark.parametrize(("status", "code"), [(400, 2), (401, 1), (413, 2), (503, 1), (500, 1)])
def test_a_problem_is_one_line_and_what_is_bad_form_is_misuse(run, port, status, code) -> None:
    port.status, port.body = status, {"detail": "it doesn't fit: /data/name", "hint": "must be"}
    done = run()
    assert done.exit_code == code
    assert done.stderr.startswith("wardtrail: it doesn't fit: /data/name (hint: ")
    assert ("--id" in done.stderr) == (status == 503)


def test_data_for_programs_is_what_the_port_said(run, port) -> None:
    assert json.loads(run("--json").stdout) == ACCEPTED
    port.status, port.body = 422, {"detail": "no", "rule": "exists", "version": 1}
    done = run("--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout) == port.body


@pytest.mark.parametrize(
    ("arguments", "stdin"),
    [
        (("task.none",), DATA), ((), SECRET), (("--data", "nowhere.json"), None),
        (("--wait", "11"), DATA), (("--expected-version", "-1"), DATA), (("--id", "x"), DATA),
    ],
)  # fmt: skip
def test_misuse_ends_with_2_and_asks_nothing(run, port, arguments, stdin) -> None:
    done = run(*arguments, stdin=stdin)
    assert done.exit_code == 2
    assert SECRET not in done.output
    assert port.asked == []


def test_data_over_the_bound_are_refused_before_they_are_sent(run, port) -> None:
    done = run(stdin=" " * (BODY_BYTES_MAX + 1))
    assert (done.exit_code, port.asked) == (1, [])


def test_a_port_that_is_away_or_strange_is_one_line(run, port, monkeypatch) -> None:
    port.body = b"<html>"
    strange = run()
    monkeypatch.setenv("WARDTRAIL_HTTP_PORT", str(ports.choose([])))
    for done in (strange, run()):
        assert done.exit_code == 1
        assert "--id" in done.stderr
        assert done.stderr.count("\n") == 1


def test_without_a_port_or_a_key_nothing_is_asked(run, port, monkeypatch, tmp_path) -> None:
    (tmp_path / "http.key").unlink()
    assert "no access key" in run().stderr
    monkeypatch.delenv("WARDTRAIL_HTTP_PORT")
    assert "no HTTP port is up" in run().stderr
    assert port.asked == []
