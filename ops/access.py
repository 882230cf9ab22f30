"""Who we are to the database and which keys we hold: URLs by role, the root key, schema ids."""

import json
import os
import secrets
import tempfile
from base64 import b64decode
from pathlib import Path

from ops.settings import Settings
from ops.vault import Vault
from schemas.codec import Ids, IdsInvalid
from schemas.registry import Registry, RegistryAway
from schemas.sealing import KeyService, Root
from sinks.database import as_role
from sinks.roles import LOGINS


class NotConfigured(Exception):  # noqa: N818  named for what is wrong
    """Something that a command needs isn't set or isn't up; the message says what to do."""


def admin_url(settings: Settings) -> str:
    """The login that may create roles and databases: the superuser, or DATABASE_URL's own."""
    if settings.postgres is not None:
        return settings.postgres.superuser_url()
    if settings.database_url is None:
        raise NotConfigured("no database is up or named (hint: wardtrail up, or DATABASE_URL)")
    return settings.database_url


def database_as_admin(settings: Settings) -> str:
    """Our database as the login that may manage the server: see :func:`admin_url`."""
    if settings.postgres is not None:
        return settings.postgres.superuser_url(settings.postgres.database)
    return admin_url(settings)


def role_url(settings: Settings, role: str) -> str:
    """The database as ``wt_migrate``, ``wt_worker`` or ``wt_app``."""
    assert role in LOGINS, f"not a login: {role}"
    if settings.database_url is None:
        raise NotConfigured("no database is up or named (hint: wardtrail up, or DATABASE_URL)")
    return as_role(settings.database_url, role, passwords(settings)[role])


def passwords(settings: Settings) -> dict[str, str]:
    """The logins' passwords: made once, kept in the home, readable by its owner alone."""
    file = settings.home / "roles.json"
    try:
        loaded: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        loaded = {}
    missing = [role for role in LOGINS if role not in loaded]
    if missing:
        loaded |= {role: secrets.token_urlsafe(24) for role in missing}
        write_private(file, json.dumps(loaded, indent=2))
    return loaded


def root(settings: Settings) -> KeyService:
    """Who wraps tenants' keys: Vault, or the root key of the environment, or that of a file."""
    given = (settings.root_key_file, settings.root_key_text, settings.vault_key)
    if sum(each is not None for each in given) > 1:
        raise NotConfigured(
            "more than one root key is set (hint: only one of WARDTRAIL_ROOT_KEY_FILE, "
            "WARDTRAIL_ROOT_KEY, WARDTRAIL_VAULT_KEY)"
        )
    if settings.vault_key is not None:
        return vault(settings, settings.vault_key)
    if settings.root_key_text is not None:
        return root_of_text(settings.root_key_text, "WARDTRAIL_ROOT_KEY")
    return root_of_file(settings.root_key)


def root_of_file(file: Path) -> Root:
    """The root key of a file: 64 hexadecimal digits."""
    try:
        return Root(bytes.fromhex(file.read_text(encoding="ascii").strip()))
    except FileNotFoundError:
        raise NotConfigured(
            f"no root key (hint: wardtrail up makes one, or WARDTRAIL_ROOT_KEY_FILE): {file}"
        ) from None
    except ValueError:
        raise NotConfigured(f"the root key is not 64 hexadecimal digits: {file}") from None


def root_of_text(text: str, variable: str) -> Root:
    """The root key of an environment variable: 32 bytes in base64."""
    try:
        return Root(b64decode(text.strip(), validate=True))
    except ValueError:
        raise NotConfigured(f"the root key is not 32 bytes in base64: {variable}") from None


def vault(settings: Settings, key: str) -> Vault:
    """A key of Vault's transit engine, as the settings reach it."""
    if settings.vault_url is None:
        raise NotConfigured(f"no Vault is named (hint: VAULT_ADDR), for the key: {key}")
    if (settings.vault_token is None) == (settings.vault_token_file is None):
        raise NotConfigured(
            "Vault takes one token (hint: VAULT_TOKEN or WARDTRAIL_VAULT_TOKEN_FILE)"
        )
    return Vault(
        url=settings.vault_url, key=key, mount=settings.vault_mount,
        token=settings.vault_token, token_file=settings.vault_token_file,
        ca_file=settings.vault_ca_file, seconds=settings.vault_seconds,
    )  # fmt: skip


def bootstrap_servers(settings: Settings) -> str:
    """Where the brokers are."""
    if settings.kafka_bootstrap_servers is None:
        raise NotConfigured("no broker is up or named (hint: wardtrail up)")
    return settings.kafka_bootstrap_servers


def schema_ids(settings: Settings) -> Ids:
    """The registry's ids of our schemas; while it is away, as they were when last asked."""
    file = settings.home / "schema-ids.json"
    if settings.schema_registry_url is None:
        raise NotConfigured("no registry is up or named (hint: wardtrail up)")
    try:
        ids = Registry(settings.schema_registry_url).lookup()
    except RegistryAway as away:
        try:
            return Ids.loads(file.read_text(encoding="utf-8"))
        except (FileNotFoundError, IdsInvalid):
            raise away from None
    write_private(file, ids.dumps())
    return ids


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, for its owner's eyes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        Path(fresh).replace(file)
    except OSError:
        Path(fresh).unlink(missing_ok=True)
        raise
