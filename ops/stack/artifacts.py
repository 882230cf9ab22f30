"""The servers' files, fetched once through Maven and refused unless their SHA-256 is known.

After raising a version in this file or in pom.xml, `python -m ops.stack.artifacts` fetches
everything afresh and writes `sha256sums`; the change is then reviewed like any other.
"""

import hashlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from ops.settings import Settings
from ops.stack.errors import ArtifactRefused, StackFailed
from ops.stack.java import maven_environment
from ops.stack.state import locked

POM = Path(__file__).with_name("pom.xml")
SUMS = Path(__file__).with_name("sha256sums")
KAFKA_VERSION = "4.1.2"
REGISTRY_VERSION = "3.0.9"
POSTGRES_VERSION = "16.15.0"
REGISTRY = f"apicurio-registry-app-{REGISTRY_VERSION}-all.tar.gz"
MACHINES = {"x86_64": "linux-amd64", "aarch64": "linux-arm64v8"}
# The registry's parent POM was never published: only this old plugin doesn't ask for it.
GET = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"
FETCH_SECONDS = 900  # 170 MB, on a slow line

Progress = Callable[[str], None]


def kafka(settings: Settings, progress: Progress) -> Path:
    """The folder of the broker's jars: KAFKA_HOME's, else the fetched closure."""
    if settings.kafka_home:
        jars = settings.kafka_home / "libs"
        if not jars.is_dir():
            raise StackFailed(f"KAFKA_HOME holds no folder libs: {settings.kafka_home}")
        return jars
    expected = {name: sum_ for name, sum_ in sums().items() if name.startswith("kafka/")}

    def fill(folder: Path) -> None:
        progress(f"fetching Apache Kafka {KAFKA_VERSION}")
        _fetch_kafka(settings, folder / "kafka")
        check(folder, expected)

    return _installed(settings, "kafka", expected, fill) / "kafka"


def registry(settings: Settings, progress: Progress) -> Path:
    """The folder of the unpacked registry."""
    expected = {REGISTRY: sums()[REGISTRY]}

    def fill(folder: Path) -> None:
        progress(f"fetching Apicurio Registry {REGISTRY_VERSION}")
        _fetch_registry(settings, folder)
        check(folder, expected)
        _unpack(folder / REGISTRY, folder)
        (folder / REGISTRY).unlink()

    return _installed(settings, "registry", expected, fill)


def postgres(settings: Settings, progress: Progress) -> Path:
    """The folder over PostgreSQL's `bin`: PG_BIN's, else the fetched and unpacked one."""
    if settings.pg_bin:
        if not (settings.pg_bin / "initdb").exists():
            raise StackFailed(f"PG_BIN holds no initdb: {settings.pg_bin}")
        return settings.pg_bin.parent
    machine = MACHINES.get(platform.machine()) if sys.platform == "linux" else None
    if machine is None:
        raise StackFailed(
            f"no PostgreSQL for this machine (set PG_BIN or DATABASE_URL): {platform.platform()}"
        )
    jar = _postgres_jar(machine)
    expected = {jar: sums()[jar]}

    def fill(folder: Path) -> None:
        progress(f"fetching PostgreSQL {POSTGRES_VERSION}")
        _fetch_postgres(settings, machine, folder)
        check(folder, expected)
        with zipfile.ZipFile(folder / jar) as outer:
            inner = next(name for name in outer.namelist() if name.endswith(".txz"))
            _unpack(Path(outer.extract(inner, folder)), folder)
        (folder / inner).unlink()
        (folder / jar).unlink()

    return _installed(settings, "postgres", expected, fill)


def check(folder: Path, expected: Mapping[str, str]) -> None:
    """Refuse the folder unless it holds exactly the expected files, byte for byte."""
    found = {
        str(path.relative_to(folder)): digest(path) for path in folder.rglob("*") if path.is_file()
    }
    for name in sorted(found.keys() | expected.keys()):
        if name not in found:
            raise ArtifactRefused(f"a file was not among those downloaded: {name}")
        if name not in expected:
            raise ArtifactRefused(f"an unknown file was downloaded: {name}")
        if found[name] != expected[name]:
            raise ArtifactRefused(
                f"a downloaded file isn't the known one (expected {expected[name]}, "
                f"got {found[name]}): {name}"
            )


def sums() -> dict[str, str]:
    """The known SHA-256 (hex) of each file, from the repository."""
    lines = SUMS.read_text(encoding="ascii").splitlines()
    return {name: sum_ for sum_, name in (line.split(maxsplit=1) for line in lines)}


def digest(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _installed(
    settings: Settings, name: str, expected: Mapping[str, str], fill: Callable[[Path], None]
) -> Path:
    """The cache's folder for exactly these files; filled beside it, and moved when whole."""
    identity = hashlib.sha256(repr(sorted(expected.items())).encode()).hexdigest()[:12]
    folder = settings.cache / f"{name}-{identity}"
    if folder.is_dir():
        return folder
    with locked(settings.cache / ".lock"):  # shared by all homes: one fetches, others wait
        if folder.is_dir():
            return folder
        for left in settings.cache.glob(".fetching-*"):
            shutil.rmtree(left, ignore_errors=True)
        beside = Path(tempfile.mkdtemp(prefix=".fetching-", dir=settings.cache))
        try:
            fill(beside)
            beside.chmod(0o755)
            beside.rename(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return folder


def _fetch_kafka(settings: Settings, to: Path) -> None:
    _maven(
        settings,
        *("-f", str(POM), "dependency:copy-dependencies"),
        *("-DincludeScope=runtime", f"-DoutputDirectory={to}"),
    )


def _fetch_registry(settings: Settings, to: Path) -> None:
    artifact = f"io.apicurio:apicurio-registry-app:{REGISTRY_VERSION}:tar.gz:all"
    _get(settings, artifact, to / REGISTRY)


def _fetch_postgres(settings: Settings, machine: str, to: Path) -> None:
    artifact = f"io.zonky.test.postgres:embedded-postgres-binaries-{machine}:{POSTGRES_VERSION}"
    _get(settings, artifact, to / _postgres_jar(machine))


def _postgres_jar(machine: str) -> str:
    return f"embedded-postgres-binaries-{machine}-{POSTGRES_VERSION}.jar"


def _get(settings: Settings, artifact: str, to: Path) -> None:
    _maven(settings, GET, "-Dtransitive=false", f"-Dartifact={artifact}", f"-Ddest={to}")


def _maven(settings: Settings, *arguments: str) -> None:
    mvn = shutil.which("mvn")
    if mvn is None:
        raise StackFailed("Maven isn't on the path; install it (package maven): mvn")
    try:
        done = subprocess.run(  # noqa: S603  our own arguments, without a shell
            [mvn, "-B", "-q", *arguments],
            env=maven_environment(settings),
            cwd=settings.cache,  # not into some project of the user's
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackFailed(f"Maven took longer than this many seconds: {FETCH_SECONDS}") from error
    if done.returncode != 0:
        said = [line for line in done.stdout.splitlines() if "ERROR" in line]
        reason = (said or (done.stdout + done.stderr).splitlines() or ["nothing said"])[0]
        raise StackFailed(f"Maven could not fetch: {reason.replace('[ERROR] ', '')[:400]}")


def _unpack(archive: Path, to: Path) -> None:
    with tarfile.open(archive) as members:
        # Python before 3.11.4 has no filter; the archive's bytes are known either way.
        members.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        members.extractall(to)  # noqa: S202  checked against sha256sums before


def _write_sums() -> None:
    """Fetch everything afresh, also for the other machines, and write the sums."""
    settings = Settings.load()
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _fetch_kafka(settings, folder / "kafka")
        _fetch_registry(settings, folder)
        for machine in MACHINES.values():
            _fetch_postgres(settings, machine, folder)
        found = sorted(path for path in folder.rglob("*") if path.is_file())
        lines = [f"{digest(path)}  {path.relative_to(folder)}\n" for path in found]
    SUMS.write_text("".join(lines), encoding="ascii")


if __name__ == "__main__":
    _write_sums()
