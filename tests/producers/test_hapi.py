"""HAPI, a client of other makers, hears what each pair of MSH-15 and MSH-16 asks for."""

import asyncio
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ops.settings import Settings
from ops.stack import artifacts, java
from ops.stack.errors import ArtifactRefused, StackFailed
from tests.producers.test_acks import PAIRS, expected

FOLDER = Path(__file__).with_name("hapi")
PROGRAM = FOLDER / "Pairs.java"
SECONDS = 120
GROUPS = {
    "commons-lang3-3.12.0.jar": "org.apache.commons:commons-lang3:3.12.0",
    "hapi-base-2.6.0.jar": "ca.uhn.hapi:hapi-base:2.6.0",
    "hapi-structures-v25-2.6.0.jar": "ca.uhn.hapi:hapi-structures-v25:2.6.0",
    "joda-time-2.1.jar": "joda-time:joda-time:2.1",
    "slf4j-api-1.7.36.jar": "org.slf4j:slf4j-api:1.7.36",
}


def sums():
    lines = (FOLDER / "sha256sums").read_text("ascii").splitlines()
    return {name: each for each, name in (line.split() for line in lines)}


@pytest.fixture(scope="module")
def hapi():
    """What runs the program: java with HAPI's jars; skipped with the reason where it can't."""
    settings = Settings.load()
    try:
        runs = java.executable(settings)
    except StackFailed as missing:
        pytest.skip(str(missing))
    if shutil.which("mvn") is None:
        pytest.skip("Maven isn't on the path, so HAPI can't be fetched")
    listed = subprocess.run(
        [runs, "--list-modules"], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    if "jdk.compiler" not in listed:
        pytest.skip("this Java has no compiler, so a source file can't be run")

    def fill(folder):
        for name, artifact in GROUPS.items():
            artifacts._get(settings, artifact, folder / name)
        artifacts.check(folder, sums())

    settings.cache.mkdir(parents=True, exist_ok=True)
    try:
        jars = artifacts._installed(settings, "hapi", sums(), fill)
    except ArtifactRefused:
        raise
    except StackFailed as away:
        pytest.skip(f"HAPI can't be fetched: {away}")
    return [str(runs), "-cp", f"{jars}/*", str(PROGRAM)]


def test_i1_hapi_hears_what_every_pair_asks_for(serving, hapi, tmp_path):
    asked = [(*pair, success) for success in (True, False) for pair in PAIRS]
    lines = [
        f"{accept or '-'} {application or '-'} {'P' if success else 'T'}"
        for accept, application, success in asked
    ]

    async def test():
        async with serving() as intake:
            intake.feeds.feed = replace(intake.feeds.feed, processing_ids=frozenset({"P"}))
            child = await asyncio.create_subprocess_exec(
                *hapi, "127.0.0.1", str(intake.port),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                cwd=tmp_path,  # it keeps a file of numbers where it runs
            )  # fmt: skip
            out, err = await asyncio.wait_for(
                child.communicate("\n".join(lines).encode() + b"\n"), SECONDS
            )
            assert child.returncode == 0, err.decode()
            return out.decode().splitlines()

    heard = asyncio.run(test())
    assert heard == [
        f"{line} {','.join(expected(*pair))}" for line, pair in zip(lines, asked, strict=True)
    ]


def test_a_jar_that_is_not_the_known_one_is_refused(tmp_path):
    for name in sums():
        (tmp_path / name).write_bytes(b"another")
    with pytest.raises(ArtifactRefused, match="isn't the known one"):
        artifacts.check(tmp_path, sums())
    assert sums().keys() == GROUPS.keys()
