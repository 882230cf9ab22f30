from pathlib import Path

import pytest

from ops.settings import Settings
from ops.stack import artifacts
from ops.stack.errors import ArtifactRefused, StackFailed


@pytest.fixture
def settings(tmp_path):
    return Settings.load(
        {"WARDTRAIL_HOME": str(tmp_path / "home"), "WARDTRAIL_CACHE": str(tmp_path / "cache")}
    )


def fake_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A Maven of that script, first on the path, which notes each of its runs."""
    folder = tmp_path / "path"
    folder.mkdir()
    runs = tmp_path / "runs"
    (folder / "mvn").write_text(f'#!/bin/sh\necho "$@" >> {runs}\n{script}\n')
    (folder / "mvn").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return runs


DOWNLOAD_SOMETHING_ELSE = """
for argument in "$@"; do
  case $argument in -Ddest=*) echo tampered > "${argument#-Ddest=}";; esac
  case $argument in -DoutputDirectory=*)
    mkdir -p "${argument#*=}" && echo x > "${argument#*=}/evil.jar";; esac
done
"""


@pytest.mark.parametrize("fetch", [artifacts.kafka, artifacts.registry, artifacts.postgres])
def test_what_is_not_the_known_file_is_refused_and_not_kept(settings, tmp_path, monkeypatch, fetch):
    fake_maven(tmp_path, monkeypatch, DOWNLOAD_SOMETHING_ELSE)
    with pytest.raises(ArtifactRefused, match=r"isn't the known one|was not among|unknown file"):
        fetch(settings, lambda _line: None)
    assert [path.name for path in settings.cache.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"a": "0" * 64}, r"expected 0{64}, got [0-9a-f]{64}\): a$"),
        ({}, "an unknown file was downloaded: a"),
        ({"a": "", "b": ""}, "known one"),
    ],
)
def test_the_check_is_for_exactly_the_expected_files(tmp_path, expected, message):
    (tmp_path / "a").write_text("x")
    with pytest.raises(ArtifactRefused, match=message):
        artifacts.check(tmp_path, expected)
    known = {"a": artifacts.digest(tmp_path / "a")}
    artifacts.check(tmp_path, known)
    with pytest.raises(ArtifactRefused, match="was not among those downloaded: b"):
        artifacts.check(tmp_path, {**known, "b": "0" * 64})


def test_what_maven_says_is_told_in_one_line(settings, tmp_path, monkeypatch):
    fake_maven(tmp_path, monkeypatch, "echo '[INFO] x'; echo '[ERROR] no such thing'; exit 1")
    with pytest.raises(StackFailed, match=r"^Maven could not fetch: no such thing$"):
        artifacts.registry(settings, lambda _line: None)


def test_a_machine_without_maven_is_told_to_install_it(settings, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackFailed, match="install it"):
        artifacts.registry(settings, lambda _line: None)


def test_what_is_in_the_cache_is_not_fetched_again(settings, tmp_path, monkeypatch):
    runs = fake_maven(tmp_path, monkeypatch, DOWNLOAD_SOMETHING_ELSE)
    tampered = tmp_path / "tampered"
    tampered.write_text("tampered\n")
    known = artifacts.digest(tampered)
    monkeypatch.setattr(artifacts, "sums", lambda: {artifacts.REGISTRY: known})
    monkeypatch.setattr(artifacts, "_unpack", lambda _archive, to: (to / "unpacked").touch())
    (settings.cache / ".fetching-left-by-a-kill").mkdir(parents=True)
    lines: list[str] = []
    folders = {artifacts.registry(settings, lines.append) for _ in range(2)}
    assert [path.name for path in folders.pop().iterdir()] == ["unpacked"]
    assert not folders
    assert len(runs.read_text().splitlines()) == len(lines) == 1
    assert not list(settings.cache.glob(".fetching-*"))


def test_local_installations_win(tmp_path):
    (tmp_path / "kafka/libs").mkdir(parents=True)
    (tmp_path / "pg/bin").mkdir(parents=True)
    (tmp_path / "pg/bin/initdb").touch()
    environ = {"WARDTRAIL_HOME": str(tmp_path), "WARDTRAIL_CACHE": str(tmp_path / "cache")}
    local = {"KAFKA_HOME": str(tmp_path / "kafka"), "PG_BIN": str(tmp_path / "pg/bin")}
    settings = Settings.load({**environ, **local})
    assert artifacts.kafka(settings, lambda _line: None) == tmp_path / "kafka/libs"
    assert artifacts.postgres(settings, lambda _line: None) == tmp_path / "pg"
    wrong = {"KAFKA_HOME": str(tmp_path), "PG_BIN": str(tmp_path)}
    settings = Settings.load({**environ, **wrong})
    with pytest.raises(StackFailed, match="KAFKA_HOME holds no folder libs"):
        artifacts.kafka(settings, lambda _line: None)
    with pytest.raises(StackFailed, match="PG_BIN holds no initdb"):
        artifacts.postgres(settings, lambda _line: None)


def test_every_known_sum_is_of_a_file_that_is_fetched():
    names = artifacts.sums()
    assert artifacts.REGISTRY in names
    assert f"kafka/kafka_2.13-{artifacts.KAFKA_VERSION}.jar" in names
    assert "kafka/log4j-slf4j-impl-2.24.3.jar" in names  # without it the broker dies silently
    assert {artifacts._postgres_jar(machine) for machine in artifacts.MACHINES.values()} <= set(
        names
    )
    assert all(len(sum_) == 64 for sum_ in names.values())
