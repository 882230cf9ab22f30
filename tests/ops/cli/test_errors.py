"""Trouble is one line with a hint; commands are refused before they do anything."""

import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ops import line
from ops.cli import main
from ops.cli.errors import KNOWN, MISUSES, Told
from ops.lag import READERS
from ops.stack.errors import StackFailed
from schemas.topics import TOPICS
from sinks.database import DatabaseAway


def commands(group=main, path=()):
    for name, command in group.commands.items():
        yield (*path, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


EVERY = [" ".join(path) for path in commands()]
ADMISSION = "5b0556b7-65ea-808f-beaa-923543988fc6"
# What each command says when nothing is up.
NOTHING_UP = {
    f"where {ADMISSION}": "no database",
    f"timeline {ADMISSION}": "no database",
    "export trajectory": "no database",
    "dead-letters list": "no database",
    "feeds list": "no database",
    "feeds set demo --zone UTC": "no database",
    "lag": "no broker",
    "migrate": "no database",
    "worker ledger --in-one": "no database",
    "serve": "refused: no root key",
    "send MESSAGES": "no intake",
}


@pytest.mark.parametrize("command", EVERY)
def test_every_command_has_a_help_that_says_what_it_does(command: str) -> None:
    result = CliRunner().invoke(main, [*command.split(), "--help"])
    assert result.exit_code == 0
    said = result.stdout.split("\n\n")[1].strip()
    assert said.endswith((".", ":")), said
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


@pytest.mark.parametrize("command", NOTHING_UP)
def test_without_a_stack_every_command_says_in_a_line_what_is_missing(
    bare, command: str, tmp_path: Path
) -> None:
    (tmp_path / "adt.hl7").write_bytes(b"MSH|^~\\&|A|B|C|D|20260302||ADT^A01|1|P|2.5\r")
    result = bare.run(*command.replace("MESSAGES", str(tmp_path / "adt.hl7")).split())
    assert result.exit_code == 1
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith(f"wardtrail: {NOTHING_UP[command]}")
    assert "hint: wardtrail up" in last
    assert "Traceback" not in result.output


@pytest.mark.parametrize("command", ["up", "demo"])
def test_a_stack_that_does_not_come_up_is_told_in_a_line(bare, monkeypatch, command) -> None:
    def fail(*_arguments, **_named):
        raise StackFailed("kafka ended while it started; its log says why: kafka.log")

    monkeypatch.setattr(line, "up", fail)
    result = bare.run(command)
    assert result.exit_code == 1
    assert result.stderr == (
        "wardtrail: kafka ended while it started; its log says why: kafka.log\n"
    )


def test_down_and_status_are_content_where_nothing_is_up(bare, loaded) -> None:
    assert bare.run("down").exit_code == 0
    assert bare.run("status").exit_code == 0
    status = loaded(bare.run("status", "--json"))
    assert status["postgres"] == {"dsn": None, "state": "down"}
    assert status["kafka"]["bootstrap_servers"] is None


@pytest.mark.parametrize(("kind", "hint"), KNOWN)
def test_each_known_exception_is_one_line_with_its_hint(kind, hint) -> None:
    error = kind.__new__(kind)
    error.args = ("what is wrong",)
    result = CliRunner().invoke(failing(error))
    assert result.exit_code == (2 if issubclass(kind, MISUSES) else 1)
    assert result.stderr == f"wardtrail: what is wrong{hint and f' (hint: {hint})'}\n"


def test_a_database_that_never_answered_has_no_sqlstate_to_show() -> None:
    away = DatabaseAway("the database asks for patience, sqlstate: None")
    result = CliRunner().invoke(failing(away))
    assert result.stderr.startswith("wardtrail: the database doesn't answer (hint:")


def test_an_unknown_exception_is_told_by_its_type_alone() -> None:
    result = CliRunner().invoke(failing(ValueError("a patient's name")))
    assert result.exit_code == 1
    assert result.stderr.startswith("wardtrail: unexpected trouble: ValueError (hint:")
    assert "name" not in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_unknown_exception_shows_where_it_came_from_only_when_debugging() -> None:
    runner = CliRunner(env={"WARDTRAIL_LOG_LEVEL": "debug"})
    result = runner.invoke(failing(ValueError("where")))
    assert isinstance(result.exception, ValueError)


def test_a_file_that_can_not_be_read_is_told_by_its_name() -> None:
    result = CliRunner().invoke(failing(PermissionError(13, "Permission denied", "x.hl7")))
    assert result.stderr == "wardtrail: permission denied: x.hl7\n"


def test_a_reader_that_has_gone_is_no_trouble() -> None:
    result = CliRunner().invoke(failing(BrokenPipeError(32, "Broken pipe")))
    assert "wardtrail:" not in result.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("where V123456", "an admission's id is a UUID"),
        ("timeline 4711", "an admission's id is a UUID"),
        ("where", "which visit"),
        (f"where {ADMISSION} --visit-number-stdin", "not both"),
        (f"where {ADMISSION} --at 2026-03-02T10:00", "needs its zone"),
        (f"where {ADMISSION} --known-at yesterday", "not an instant"),
        ("feeds set demo", "nothing to set"),
        ("feeds set demo --zone Mars/Olympus", "no such time zone"),
        ("feeds set demo --charset klingon", "no such charset"),
        ("feeds set demo --processing-ids P,$", "processing ids are such as"),
        ("worker moon", "moon"),
        ("send", "FILE"),
        ("send no-such-file --port 1", "no such file"),
        ("demo --patients 0", "0"),
        ("dead-letters list --limit 0", "0"),
        ("export trajectory --track sideways", "sideways"),
    ],
)
def test_a_misused_command_exits_with_2_and_says_why(bare, command: str, said: str) -> None:
    result = bare.run(*command.split())
    assert result.exit_code == 2
    assert said in re.sub(r"\s+", " ", result.stderr)


def test_what_may_be_a_visit_number_is_not_repeated(bare) -> None:
    result = bare.run("where", "V-CANARY-1")
    assert "CANARY" not in result.output


def test_an_unknown_setting_is_misuse(bare) -> None:
    bare.environ["WARDTRAIL_PROT"] = "1"
    result = bare.run("status")
    assert result.exit_code == 2
    assert "unknown setting" in result.stderr
    assert "WARDTRAIL_PROT" in result.stderr


def test_the_processors_that_are_measured_are_those_that_run() -> None:
    from ops import worker
    from ops.cli.lifecycle import PROCESSORS
    from streams.read_models import PROJECTIONS
    from streams.trajectory import PROJECTION

    measured_ones = tuple(dict.fromkeys(each.processor for each in READERS))
    assert tuple(worker.PROCESSORS) == PROCESSORS == measured_ones
    measured = {each.processor: each.subscriptions for each in READERS}
    assert measured["read-models"] == tuple(each.name for each in PROJECTIONS)
    assert measured["trajectory"] == (PROJECTION.name,)
    consumers = {(each.name, consumer) for each in TOPICS.values() for consumer in each.consumers}
    assert consumers == {(each.topic, each.processor) for each in READERS}


def failing(error: Exception) -> click.Group:
    @click.group(cls=Told, invoke_without_command=True)
    def group() -> None:
        raise error

    return group
