"""The one settings object, read once where a command starts.

A value comes from the environment, else from the TOML file that WARDTRAIL_CONFIG names (its
keys are the field names below), else from the stack under the home, else from the
default here. A field's environment variable is WARDTRAIL_ and its name in capitals, but for
the customary names in `CUSTOMARY`.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self, get_type_hints

from ops.stack.state import PostgresServer, StackState, read

PREFIX = "WARDTRAIL_"
CUSTOMARY = MappingProxyType(
    {
        "kafka_bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
        "schema_registry_url": "SCHEMA_REGISTRY_URL",
        "database_url": "DATABASE_URL",
        "kafka_home": "KAFKA_HOME",
        "java_home": "JAVA_HOME",
        "pg_bin": "PG_BIN",
        "root_key_text": "WARDTRAIL_ROOT_KEY",
        "vault_url": "VAULT_ADDR",
        "vault_token": "VAULT_TOKEN",
    }
)
# Read elsewhere: the file itself, the tests' corpus, the fail points of a chaos run.
NOT_SETTINGS = ("WARDTRAIL_CONFIG", "WARDTRAIL_CORPUS", "WARDTRAIL_FAIL")
DERIVED = frozenset({"outside", "postgres"})
# Each address, and the server of the stack that it stands in for.
ADDRESSES = MappingProxyType(
    {
        "kafka_bootstrap_servers": "kafka",
        "schema_registry_url": "registry",
        "database_url": "postgres",
    }
)


class SettingsInvalid(Exception):  # noqa: N818  named after its cause
    """A setting is unknown or has a value it can't have; the message names it."""


def _number(default: int, lowest: int, highest: int) -> Any:  # noqa: ANN401  as `field` itself
    return field(default=default, metadata={"lowest": lowest, "highest": highest})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set, with what is true when nobody set it."""

    home: Path = Path(".wardtrail")
    cache: Path = Path("~/.cache/wardtrail")

    kafka_bootstrap_servers: str | None = None
    schema_registry_url: str | None = None
    database_url: str | None = None
    kafka_home: Path | None = None
    java_home: Path | None = None
    pg_bin: Path | None = None

    root_key_file: Path | None = None  # None: <home>/root.key, made by `up`
    root_key_text: str | None = field(default=None, repr=False)
    vault_key: str | None = None  # with it the root key is in Vault, and nowhere here
    vault_url: str | None = None
    vault_mount: str = "transit"
    vault_token_file: Path | None = None
    vault_token: str | None = field(default=None, repr=False)
    vault_ca_file: Path | None = None
    vault_seconds: int = _number(5, 1, 60)  # for a whole request; a ledger waits as long
    partitions: int = _number(12, 1, 1_024)
    # A worker that is silent for so long loses its partitions; brokers take no less than 6 s.
    session_seconds: int = _number(10, 6, 1_800)
    # Until then a destroyed key may open what it sealed; an erasure waits for the most there is.
    held_seconds: int = _number(60, 1, 60)
    log_level: str = "info"
    allow: str = ""  # refusals at start to lift, by name, with commas between

    mllp_host: str = "127.0.0.1"
    mllp_port: int = _number(0, 0, 65_535)  # 0: a free one, chosen by `up` and kept
    mllp_connections: int = _number(1_024, 1, 65_535)
    # Kafka takes 8 MiB; a sealed body with its envelope must fit into that.
    mllp_frame_bytes: int = _number(4 * 1024 * 1024, 1_024, 7 * 1024 * 1024)
    mllp_idle_seconds: int = _number(300, 1, 86_400)
    mllp_read_seconds: int = _number(30, 1, 3_600)
    mllp_tls_certificate: Path | None = None  # with its chain; without it MLLP is plaintext
    mllp_tls_key: Path | None = None  # None: it stands in the certificate's file
    mllp_tls_ca: Path | None = None  # with it clients must show a certificate of it
    fair_shares: int = _number(1, 0, 1)  # 0: tenants are slowed by quotas alone
    http_host: str = "127.0.0.1"
    http_port: int = _number(0, 0, 65_535)

    outside: frozenset[str] = frozenset()  # of "kafka", "registry", "postgres": not ours to start
    postgres: PostgresServer | None = None  # the embedded one, when it is up

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, file: Path | None = None) -> Self:
        """Read the environment, the file and the state of the stack under the home.

        Raises SettingsInvalid for what is unknown, badly typed or out of its range.
        """
        environ = os.environ if environ is None else environ
        named = environ.get("WARDTRAIL_CONFIG")
        file = file or (Path(named).expanduser() if named else None)
        values = {**(_from_file(file) if file else {}), **_from_environ(environ)}
        values["outside"] = frozenset(
            server for name, server in ADDRESSES.items() if values.get(name)
        )
        settings = cls(**values)
        settings = replace(
            settings,
            home=settings.home.expanduser().absolute(),
            cache=settings.cache.expanduser().absolute(),
        )
        return settings.joined(read(settings.home))

    def joined(self, stack: StackState) -> Self:
        """The same, with the addresses and ports of this stack where none was set."""
        found: dict[str, Any] = {}
        if stack.kafka and "kafka" not in self.outside:
            found["kafka_bootstrap_servers"] = stack.kafka.bootstrap_servers
        if stack.registry and "registry" not in self.outside:
            found["schema_registry_url"] = stack.registry.url
        if stack.postgres and "postgres" not in self.outside:
            found["database_url"] = stack.postgres.url
            found["postgres"] = stack.postgres
        for name in ("mllp", "http"):
            if not getattr(self, f"{name}_port") and name in stack.ports:
                found[f"{name}_port"] = stack.ports[name]
        return replace(self, **found)

    @property
    def allowed(self) -> frozenset[str]:
        """The names of the refusals to lift."""
        return frozenset(filter(None, (name.strip() for name in self.allow.split(","))))

    @property
    def root_key(self) -> Path:
        """The file that holds the root key."""
        return self.root_key_file or self.home / "root.key"

    @property
    def makes_root_key(self) -> bool:
        """Whether the root key is the home's own."""
        return not (self.root_key_file or self.root_key_text or self.vault_key)

    def environ(self) -> dict[str, str]:
        """The variables that make a child process load these settings.

        The embedded stack's addresses aren't among them: the child finds them as we did.
        """
        ours = {name for name, server in ADDRESSES.items() if server not in self.outside}
        return {
            variable(each.name): str(value)
            for each in fields(self)
            if each.name not in DERIVED | ours
            and (value := getattr(self, each.name)) not in (None, each.default)
        }


def variable(name: str) -> str:
    """The environment variable of a field."""
    return CUSTOMARY.get(name, f"{PREFIX}{name.upper()}")


def _from_environ(environ: Mapping[str, str]) -> dict[str, Any]:
    names = {
        variable(each.name): each.name for each in fields(Settings) if each.name not in DERIVED
    }
    for key in environ:
        if key.startswith(PREFIX) and key not in names and not key.startswith(NOT_SETTINGS):
            raise SettingsInvalid(f"unknown setting{_meant(key, list(names))}: {key}")
    return {
        name: _typed(name, environ[key], key)
        for key, name in names.items()
        if environ.get(key, "") != ""  # an empty variable is one that isn't set
    }


def _from_file(file: Path) -> dict[str, Any]:
    try:
        stored = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsInvalid(f"the settings file can't be read: {file}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsInvalid(f"the settings file isn't TOML ({error}): {file}") from error
    names = [each.name for each in fields(Settings) if each.name not in DERIVED]
    for key in stored:
        if key not in names:
            raise SettingsInvalid(f"unknown setting in {file}{_meant(key, names)}: {key}")
    return {key: _typed(key, value, key) for key, value in stored.items()}


def _typed(name: str, value: object, key: str) -> str | int | Path:
    """The value as its field wants it; `key` is how the user called it."""
    wanted = get_type_hints(Settings)[name]
    if wanted is int:
        return _whole(name, value, key)
    if not isinstance(value, str) or not value:
        raise SettingsInvalid(f"{key} must be a text: {value}")
    if wanted in (Path, Path | None):
        return Path(value).expanduser()
    return value


def _whole(name: str, value: object, key: str) -> int:
    bounds = next(each.metadata for each in fields(Settings) if each.name == name)
    hint = f"{key} must be a whole number from {bounds['lowest']} to {bounds['highest']}"
    try:
        number = int(value) if isinstance(value, str | int) else None
    except ValueError:
        number = None
    if number is None or isinstance(value, bool):
        raise SettingsInvalid(f"{hint}: {value}")
    if not bounds["lowest"] <= number <= bounds["highest"]:
        raise SettingsInvalid(f"{hint}: {number}")
    return number


def _meant(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""
