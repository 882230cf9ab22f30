from pathlib import Path

import pytest

from ops.settings import Settings, SettingsInvalid
from ops.stack.state import KafkaServer, StackState, write


def load(tmp_path: Path, **environ: str) -> Settings:
    return Settings.load({"WARDTRAIL_HOME": str(tmp_path), **environ})


def test_nothing_has_to_be_set(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings.load({})
    assert settings.home == tmp_path / ".wardtrail"
    assert settings.cache == Path("~/.cache/wardtrail").expanduser()
    assert settings.root_key == settings.home / "root.key"
    assert settings.kafka_bootstrap_servers is None
    assert settings.outside == frozenset()


def test_the_environment_wins_over_the_file(tmp_path):
    file = tmp_path / "wardtrail.toml"
    file.write_text('partitions = 6\nmllp_port = 2575\nhttp_host = "127.0.0.2"\n')
    settings = load(tmp_path, WARDTRAIL_CONFIG=str(file), WARDTRAIL_PARTITIONS="8")
    assert settings.partitions == 8
    assert settings.mllp_port == 2575
    assert settings.http_host == "127.0.0.2"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        (
            {"WARDTRAIL_PARTITION": "4"},
            r"unknown setting \(did you mean WARDTRAIL_PARTITIONS\?\): WARDTRAIL_PARTITION",
        ),
        (
            {"WARDTRAIL_PARTITIONS": "many"},
            "WARDTRAIL_PARTITIONS must be a whole number from 1 to 1024: many",
        ),
        (
            {"WARDTRAIL_PARTITIONS": "0"},
            "WARDTRAIL_PARTITIONS must be a whole number from 1 to 1024: 0",
        ),
        (
            {"WARDTRAIL_MLLP_PORT": "65536"},
            "WARDTRAIL_MLLP_PORT must be a whole number from 0 to 65535: 65536",
        ),
        ({"WARDTRAIL_CONFIG": "/nowhere.toml"}, "the settings file can't be read: /nowhere.toml"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_it(tmp_path, environ, message):
    with pytest.raises(SettingsInvalid, match=f"^{message}$"):
        load(tmp_path, **environ)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mlp_port = 1", r"unknown setting in .* \(did you mean mllp_port\?\): mlp_port"),
        ("mllp_port = true", "mllp_port must be a whole number from 0 to 65535: True"),
        ("mllp_port = 1.5", "mllp_port must be a whole number from 0 to 65535: 1.5"),
        ("home = 7", "home must be a text: 7"),
        ("outside = 'kafka'", "unknown setting in .*: outside"),
        ("mllp_port 1", r"the settings file isn't TOML \(.*\): .*"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_key(tmp_path, text, message):
    file = tmp_path / "wardtrail.toml"
    file.write_text(text)
    with pytest.raises(SettingsInvalid, match=f"^{message}$"):
        Settings.load({"WARDTRAIL_HOME": str(tmp_path)}, file)


def test_an_empty_variable_is_not_set(tmp_path):
    settings = load(tmp_path, WARDTRAIL_PARTITIONS="", KAFKA_BOOTSTRAP_SERVERS="")
    assert settings.partitions == 12
    assert settings.outside == frozenset()


def test_the_corpus_and_fail_points_are_no_unknown_settings(tmp_path):
    load(tmp_path, WARDTRAIL_CORPUS="/data", WARDTRAIL_FAILPOINTS="sink.moved=kill")


def test_the_addresses_of_a_stack_are_found_unless_they_are_set(tmp_path):
    server = KafkaServer(port=20_001, controller_port=20_002, cluster_id="x")
    ports = {"mllp": 20_003, "http": 20_004}
    write(tmp_path, StackState(kafka=server, ports=ports))
    found = load(tmp_path)
    # Also while the server is dead: a worker that starts then waits for it.
    assert found.kafka_bootstrap_servers == "127.0.0.1:20001"
    assert found.mllp_port == 20_003
    explicit = load(tmp_path, KAFKA_BOOTSTRAP_SERVERS="elsewhere:9092", WARDTRAIL_MLLP_PORT="2575")
    assert explicit.kafka_bootstrap_servers == "elsewhere:9092"
    assert explicit.outside == {"kafka"}
    assert explicit.mllp_port == 2575


def test_a_child_process_loads_the_same_settings(tmp_path):
    settings = load(
        tmp_path,
        WARDTRAIL_PARTITIONS="4",
        KAFKA_BOOTSTRAP_SERVERS="elsewhere:9092",
        WARDTRAIL_ROOT_KEY_FILE=str(tmp_path / "key"),
    )
    assert Settings.load(settings.environ()) == settings
