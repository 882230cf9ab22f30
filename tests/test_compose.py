"""docker-compose.yml holds to the Compose schema, and every part of it to our own settings."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from click.testing import CliRunner

from ops.cli import main
from ops.cli.lifecycle import PROCESSORS
from ops.settings import Settings, variable

REPOSITORY = Path(__file__).parent.parent
SCHEMA = json.loads((REPOSITORY / "tests/compose/compose-spec.json").read_bytes())
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVERS = {"kafka", "registry", "postgres"}
OURS = sorted(COMPOSE["services"].keys() - SERVERS)
INTERPOLATED = re.compile(r"\$\{([A-Z_]+):\?[^}]*\}")


def check(compose) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(compose)


def environment(service: str) -> dict[str, str]:
    """A service's variables, as an `.env` would complete them."""
    given = COMPOSE["services"][service]["environment"]
    return {name: INTERPOLATED.sub("secret", value) for name, value in given.items()}


def test_the_file_holds_to_the_compose_schema() -> None:
    check(COMPOSE)


@pytest.mark.parametrize(
    "wrong",
    [
        {"services": {"kafka": {"imgae": "apache/kafka"}}},
        {"services": {"kafka": {"image": "x", "healthcheck": {"test": 5}}}},
        {"services": {"kafka": {"image": "x", "depends_on": {"y": {"condition": "whenever"}}}}},
    ],
)
def test_the_schema_refuses_what_compose_would(wrong) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


def test_there_is_a_worker_for_every_processor() -> None:
    workers = [COMPOSE["services"][name]["command"] for name in OURS if name.startswith("worker-")]
    assert sorted(command[1] for command in workers) == sorted(PROCESSORS)
    assert {"migrate", "serve"} < set(OURS)


@pytest.mark.parametrize("service", OURS)
def test_each_command_is_one_of_ours(service: str) -> None:
    command = COMPOSE["services"][service]["command"]
    result = CliRunner().invoke(main, [*command, "--help"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"Usage: main {command[0]}")


@pytest.mark.parametrize("service", OURS)
def test_each_environment_loads_as_settings(service: str) -> None:
    settings = Settings.load(environment(service))
    assert settings.outside == {"kafka", "registry", "postgres"}
    assert str(settings.root_key) == "/run/secrets/root_key"
    known = {variable(name) for name in Settings.__dataclass_fields__}
    assert environment(service).keys() <= known


def test_the_intake_listens_where_its_ports_are_published() -> None:
    settings = Settings.load(environment("serve"))
    ports = COMPOSE["services"]["serve"]["ports"]
    assert {port.rpartition(":")[2] for port in ports} == {
        str(settings.mllp_port), str(settings.http_port)
    }  # fmt: skip
    health = COMPOSE["services"]["serve"]["healthcheck"]["test"][-1]
    assert f":{settings.http_port}/health/ready" in health


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [p for each in COMPOSE["services"].values() for p in each.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_no_secret_stands_in_the_file() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
    values = re.findall(r"(?i)password: *(\S.*)|://\w+:([^@\s]*(?:\{[^}]*\})?)@", text)
    given = [first or second for first, second in values]
    assert given
    assert all(INTERPOLATED.fullmatch(value) for value in given), given
    assert list(COMPOSE["secrets"]["root_key"]) == ["file"]


def test_only_the_migration_knows_the_superuser() -> None:
    knows = [name for name in OURS if "@" in environment(name)["DATABASE_URL"]]
    assert knows == ["migrate"]


def test_every_part_that_stays_has_a_health_check() -> None:
    without = [name for name, each in COMPOSE["services"].items() if "healthcheck" not in each]
    assert without == ["migrate"]
    after = [COMPOSE["services"][name]["depends_on"] for name in OURS if name != "migrate"]
    assert all(each["migrate"]["condition"] == "service_completed_successfully" for each in after)


def test_the_workers_health_check_is_a_command_of_ours() -> None:
    (_, program, *command) = COMPOSE["services"]["worker-ledger"]["healthcheck"]["test"]
    assert program == "wardtrail"
    assert CliRunner().invoke(main, [*command, "--help"]).exit_code == 0


def test_the_servers_are_those_that_the_tests_run() -> None:
    fixture = (REPOSITORY / "tests/conftest.py").read_text(encoding="utf-8")
    for name in SERVERS:
        assert f'"{COMPOSE["services"][name]["image"]}"' in fixture


def test_the_image_is_built_from_locked_requirements_alone() -> None:
    lines = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert installs
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
