"""PostgreSQL on loopback, in a folder and under an account that it accepts."""

import os
import pwd
import secrets
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from ops.stack.errors import StackFailed
from ops.stack.processes import Process
from ops.stack.state import PostgresServer

ACCOUNT = "nobody"  # PostgreSQL refuses root, and a numeric id without a name
INITDB_SECONDS = 60
NO_PROCESS = 2**22 + 1  # above the kernel's highest possible process id

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path has 107 bytes at most; folders have more
    "max_connections": "200",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "wal_level": "replica",
    "min_wal_size": "512MB",  # a new segment costs a commit 50 ms, one used again nothing
    "max_wal_size": "1GB",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %u ",
    # Statements, their values and an error's detail can hold a patient's data.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}


def account() -> str | None:
    """The account the server runs as: another one if we are root, else our own (None)."""
    return ACCOUNT if os.geteuid() == 0 else None


def place(home: Path) -> Path:
    """A folder for the server: in the home, or among the temporary ones.

    The latter only if we are root and the server's account can't reach the home.
    """
    folder = home / "postgres"
    if account() is None or reachable(home):
        folder.mkdir(exist_ok=True, mode=0o755)
        return folder
    made = Path(tempfile.mkdtemp(prefix="wardtrail-postgres-"))
    made.chmod(0o711)
    return made


def reachable(path: Path) -> bool:
    """Whether an account other than its owner gets as far as this folder."""
    return all(
        stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH
        for folder in (path, *path.resolve().parents)
    )


def new_password(file: Path) -> None:
    """Make the superuser's password, unless there is one; only its owner can read it."""
    if not file.exists():
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as secret:
            secret.write(secrets.token_urlsafe(32) + "\n")


def prepare(server: PostgresServer, installed: Path) -> list[str]:
    """Make the data folder the first time; return the server's argv."""
    if not server.folder.is_dir():
        raise StackFailed(
            f"postgres's folder is gone (remove the home to start anew): {server.folder}"
        )
    if account() and not reachable(installed / "bin"):
        installed = _copy(installed, server.folder / "installed")
    data = server.folder / "data"
    if not (data / "PG_VERSION").exists():
        _initdb(server, installed, data)
    options = [f"-c{name}={value}" for name, value in {**SETTINGS, "port": server.port}.items()]
    return [str(installed / "bin/postgres"), "-D", str(data), *options]


def _copy(installed: Path, to: Path) -> Path:
    if not to.exists():
        beside = to.with_name(f".{to.name}.new")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(installed, beside, symlinks=True)
        beside.chmod(0o755)
        beside.rename(to)
    return to


def _initdb(server: PostgresServer, installed: Path, data: Path) -> None:
    """Create the cluster beside its place, and move it there when it is whole."""
    owner = pwd.getpwnam(ACCOUNT) if account() else pwd.getpwuid(os.geteuid())
    beside = data.with_name(".data.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(mode=0o700)
    os.chown(beside, owner.pw_uid, owner.pw_gid)
    secret = server.folder / ".password"
    secret.unlink(missing_ok=True)
    descriptor = os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as copy:  # the server's account can't read the home's
        os.fchown(copy.fileno(), owner.pw_uid, owner.pw_gid)
        copy.write(server.password_file.read_text(encoding="ascii"))
    try:
        done = subprocess.run(  # noqa: S603  our own arguments, without a shell
            [
                str(installed / "bin/initdb"),
                *("-D", str(beside), "-U", server.superuser, "--pwfile", str(secret)),
                *("--locale=C.UTF-8", "--encoding=UTF8", "--auth=scram-sha-256"),
            ],
            env={"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC"},
            user=owner.pw_uid if account() else None,
            group=owner.pw_gid if account() else None,
            extra_groups=[] if account() else None,
            cwd="/",
            capture_output=True,
            text=True,
            timeout=INITDB_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StackFailed(f"initdb took longer than this many seconds: {INITDB_SECONDS}") from error
    finally:
        secret.unlink(missing_ok=True)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["nothing said"]
        raise StackFailed(f"initdb failed: {said[0][:400]}")
    beside.rename(data)


def disown(server: PostgresServer, dead: Process) -> None:
    """Let a new postmaster start although the dead one's id is still, or again, in use.

    PostgreSQL takes any process of that id (a zombie, or a stranger of the same account) for
    its predecessor. Only the id is overwritten: that no orphaned backend still uses the
    shared memory is checked by what else the file holds.
    """
    file = server.folder / "data/postmaster.pid"
    try:
        first, rest = file.read_text(encoding="utf-8").split("\n", 1)
    except (OSError, ValueError):
        return
    if first == str(dead.pid):
        file.write_text(f"{NO_PROCESS}\n{rest}", encoding="utf-8")


def ready(server: PostgresServer, process: Process) -> bool:
    """Whether this very postmaster accepts connections, from what it writes (as pg_ctl asks)."""
    try:
        lines = (server.folder / "data/postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready"
