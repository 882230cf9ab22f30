"""Commands from outside: HTTP and the command line, through broker and ledger, to rows."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from schemathesis import Case, GenerationMode
from schemathesis import checks as generic
from schemathesis.specs.openapi import checks

from ops import deploy, keys
from ops import line as whole
from ops.openapi import document
from ops.questions import ROUTES
from ops.settings import Settings
from ops.stack import stack as servers
from ops.stack.state import read
from tests.conftest import REPOSITORY, home
from tests.line.conftest import Line

pytestmark = pytest.mark.stack
SECONDS = 120.0
CANARY = "CANARY-WARD"
DESCRIBED = schemathesis.openapi.from_dict(document(ROUTES, version="1"))
OPERATIONS = [found.ok() for found in DESCRIBED.get_all_operations()]
HELD = [
    generic.not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
    checks.response_headers_conformance, checks.response_schema_conformance,
]  # fmt: skip
POSITION = re.compile(r"[0-9]{1,5}:[0-9]{1,19}")
LINE_BYTES = 8_000
EXAMPLES = 12  # of each operation and mode: a minute in all


@dataclass(frozen=True, slots=True)
class Said:
    status: int
    headers: Any
    json: Any


@dataclass(frozen=True, slots=True)
class Commanded:
    """A line whose servers, intake and ledger run; projections only once they are started."""

    line: Line

    @property
    def settings(self) -> Settings:
        return self.line.settings

    def ask(self, path: str, body: Any = None, **headers: str) -> Said:
        token = keys.clear_file(self.settings).read_text("ascii").strip()
        sent = {"Authorization": f"Bearer {token}", **headers}
        data = None
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        url = f"http://127.0.0.1:{self.settings.http_port}/v1{path}"
        request = urllib.request.Request(url, data, sent)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Said(answer.status, answer.headers, json.load(answer))
        except urllib.error.HTTPError as error:
            return Said(error.code, error.headers, json.load(error))

    def command(self, kind: str, stream: str, data: Any, **given: Any) -> Said:
        body = {
            "command_id": str(uuid4()), "command_type": kind, "stream_id": stream, "data": data,
            **given,
        }  # fmt: skip
        return self.decided(body)

    def decided(self, body: Any) -> Said:
        """Ask until it is decided: the same command, however busy the machine is."""
        deadline = time.monotonic() + SECONDS
        while (said := self.ask("/commands", body, Prefer="wait=10")).status in (202, 503):
            assert time.monotonic() < deadline, said.json
        return said

    def read(self, path: str) -> Said:
        """Ask until what is wanted is folded."""
        deadline = time.monotonic() + SECONDS
        while (said := self.ask(path)).status == 503:
            assert time.monotonic() < deadline, said.json
        return said

    def fold(self) -> None:
        """Start the read models, if they aren't running."""
        if not read(self.settings.home).running("read-models"):
            whole._spawn(self.settings, "read-models", ("worker", "read-models", "--in-one"))


@pytest.fixture(scope="module")
def commanded() -> Iterator[Commanded]:
    with home() as settings:
        servers.up(settings)
        joined = settings.joined(read(settings.home))
        deploy.migrate(joined)
        whole._spawn(joined, "serve", ("serve",))
        whole._spawn(joined, "workers", ("worker", "ledger", "--in-one"))
        whole._await_ready(joined)
        yield Commanded(Line(joined))


def department(name: str = "Ward") -> dict[str, Any]:
    return {"code": f"W{uuid4().hex[:8]}", "name": name}


def test_a_write_is_read_once_it_is_folded_and_not_before(commanded) -> None:
    stream = str(uuid4())
    said = commanded.command("department.create", stream, department(CANARY))
    assert (said.status, said.json["outcome"], said.json["version"]) == (200, "accepted", 1)
    position = said.headers["Wardtrail-Position"]
    early = commanded.ask(f"/departments?min_position={position}")
    assert (early.status, early.headers["Retry-After"]) == (503, "1")
    assert "not there yet" in early.json["detail"]
    result = commanded.ask(f"/commands/{said.json['command_id']}?min_position={position}")
    assert (result.status, result.json) == (200, said.json)
    commanded.fold()
    found = commanded.read(f"/departments?min_position={position}").json["departments"]
    assert [each["name"] for each in found if each["id"] == stream] == [CANARY]
    assert CANARY not in "".join(
        each.read_text("utf-8", "replace") for each in (commanded.line.home / "logs").iterdir()
    )


def test_a_command_that_comes_again_gets_the_original_result(commanded) -> None:
    body = {
        "command_id": str(uuid4()), "command_type": "department.create",
        "stream_id": str(uuid4()), "data": department(),
    }  # fmt: skip
    first = commanded.decided(body)
    again = commanded.ask("/commands", {**body, "data": department("other content")})
    assert (again.status, again.json) == (200, first.json)
    assert again.headers["Wardtrail-Position"] == first.headers["Wardtrail-Position"]


def test_a_stream_that_stands_elsewhere_is_409_with_its_version(commanded) -> None:
    stream = str(uuid4())
    commanded.command("department.create", stream, department())
    update = {"name": "Ward again"}
    moved = commanded.command("department.update", stream, update, expected_version=1)
    assert (moved.status, moved.json["version"]) == (200, 2)
    late = commanded.command("department.update", stream, update, expected_version=1)
    assert (late.status, late.json["rule"], late.json["version"]) == (409, "conflict", 2)


def test_a_rule_that_refuses_is_422_with_its_name(commanded) -> None:
    absent = commanded.command("department.update", str(uuid4()), {"name": "Ward"})
    assert (absent.status, absent.json["rule"]) == (422, "not_found")
    stream = str(uuid4())
    commanded.command("department.create", stream, department())
    twice = commanded.command("department.create", stream, department())
    assert (twice.status, twice.json["rule"]) == (422, "exists")


def test_what_was_done_offline_is_pushed_and_pulled(commanded) -> None:
    commanded.fold()
    commands = [
        {
            "command_id": str(uuid4()), "command_type": "department.create",
            "stream_id": str(uuid4()), "data": department(),
        }
        for _ in range(3)
    ]  # fmt: skip
    pushed = commanded.ask("/sync", {"commands": commands}, Prefer="wait=10")
    assert pushed.status == 200
    assert [each["status"] for each in pushed.json["results"]] in ([200] * 3, [202] * 3)
    pulled = commanded.read("/sync")
    assert pulled.status == 200
    assert commanded.read(f"/sync?since={pulled.json['cursor']}").json["tasks"] == []


def test_the_command_line_asks_with_data_from_standard_input(commanded) -> None:
    stream, again = str(uuid4()), str(uuid4())

    def asked(*more: str, data: Any, check: bool = True) -> subprocess.CompletedProcess[str]:
        return commanded.line.run(
            "command", *more, "--stream", stream, "--wait", "10",
            stdin=data if isinstance(data, str) else json.dumps(data), check=check,
        )  # fmt: skip

    done = asked("department.create", "--id", again, data=department())
    assert done.stdout.startswith(("accepted: version 1, at ", "pending: "))
    told = json.loads(asked("department.create", "--id", again, "--json", data=department()).stdout)
    assert (told["command_id"], told["outcome"]) == (again, "accepted")
    refused = asked("department.create", data=department(), check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith("wardtrail: refused by exists: ")
    for bad in ({"code": 5}, CANARY):
        misused = asked("department.create", data=bad, check=False)
        assert misused.returncode == 2
        assert CANARY not in misused.stderr
    unknown = asked("department.none", data={}, check=False)
    assert unknown.returncode == 2
    assert "department.create" in unknown.stderr


def test_the_examples_of_the_guide_run(commanded, tmp_path) -> None:
    commanded.fold()
    guide = (REPOSITORY / "docs/commands.md").read_text("utf-8")
    script = "\n".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL))
    (tmp_path / ".wardtrail").symlink_to(commanded.line.home)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={
            **os.environ, **commanded.settings.environ(),
            "WARDTRAIL_HOME": str(commanded.line.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"outcome":"accepted"') >= 2
    assert "accepted: version 2, at " in done.stdout
    assert '"departments":[' in done.stdout


@pytest.mark.parametrize("mode", GenerationMode, ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_asked_the_answer_is_as_the_document_says(commanded, operation, mode) -> None:
    token = keys.clear_file(commanded.settings).read_text("ascii").strip()
    url = f"http://127.0.0.1:{commanded.settings.http_port}"
    commanded.fold()

    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
        phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Case) -> None:
        if POSITION.fullmatch(str((case.query or {}).get("min_position", ""))):
            case.query.pop("min_position")  # one that nobody has reached is 503, rightly
        # A longer line is no HTTP to the server, and answered before any of this is asked.
        assume(len(urlencode(case.query or {}, doseq=True)) < LINE_BYTES)
        headers = {"Authorization": f"Bearer {token}", "Prefer": "wait=1"}
        case.call_and_validate(base_url=url, headers=headers, checks=HELD, timeout=30)

    ask()
