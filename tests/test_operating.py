"""docs/operating.md says what is: its settings, its commands, its refusals."""

import re
import shlex
from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner

from ops.cli import main
from ops.settings import DERIVED, Settings, variable

REPOSITORY = Path(__file__).parent.parent
TEXT = (REPOSITORY / "docs/operating.md").read_text(encoding="utf-8")
SETTABLE = [each for each in fields(Settings) if each.name not in DERIVED]
BLOCKS = "\n".join(re.findall(r"```sh\n(.*?)```", TEXT, flags=re.DOTALL))
COMMANDS = sorted(
    {line.removeprefix(".venv/bin/") for line in BLOCKS.splitlines() if "wardtrail " in line}
    | set(re.findall(r"`(wardtrail [^`]+)`", TEXT))
)
ROWS = re.findall(r"^\| `(\w+)` \| `(\w+)` \|([^|]*)\|", TEXT, flags=re.MULTILINE)
# Where the source of each refusal stands; what the program doesn't say must not be promised.
SOURCES = [
    file.read_text(encoding="utf-8")
    for room in ("schemas", "producers", "streams", "sinks", "migrations", "ops")
    for file in (REPOSITORY / room).rglob("*.py")
]
REFUSALS = sorted(
    {
        said
        for line in TEXT.partition("## What a refusal means")[2].splitlines()[4:]
        for said in re.findall(r"`([^`]+)`", line.split("|")[1] if "|" in line else "")
    }
)


def test_every_setting_is_listed_with_its_variable_and_nothing_else() -> None:
    listed = [(name, called) for name, called, _ in ROWS]
    assert listed == [(each.name, variable(each.name)) for each in SETTABLE]


@pytest.mark.parametrize("each", SETTABLE, ids=lambda each: each.name)
def test_the_default_of_each_setting_is_as_listed(each) -> None:
    (default,) = [default.strip() for name, _, default in ROWS if name == each.name]
    if each.name == "root_key_file":
        assert default.strip("`").startswith(Settings().root_key.name)
    else:
        assert default.strip("`") == ("" if each.default is None else str(each.default))


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_understood(command: str) -> None:
    words = shlex.split(command.partition("<")[0])[1:]
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0, result.output
    named = [word for word in words if word.startswith("--")]
    assert all(option in result.stdout for option in named)


@pytest.mark.parametrize("said", REFUSALS)
def test_each_refusal_is_one_that_the_program_makes(said: str) -> None:
    # A line of source may break a message in two, so the pieces are looked for as they stand.
    if said == "the database doesn't answer":
        said = "doesn't answer"
    joined = [re.sub(r'"\s*\n\s*f?"', "", source) for source in SOURCES]
    assert any(said in source for source in joined), said


def test_each_refusal_at_start_is_named_with_what_lifts_it() -> None:
    source = (REPOSITORY / "ops/refusals.py").read_text(encoding="utf-8")
    names = re.findall(r'Objection\(\s*"([a-z-]+)"', source)
    assert names
    assert all(f"`{name}`" in TEXT for name in names)
