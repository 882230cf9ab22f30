"""Tenants, their keys and their feeds, out of and into their rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from schemas import identity
from schemas.failpoints import hit
from schemas.feeds import Feed
from schemas.sealing import Key, Keys, Root, Scope
from sinks.database import Database, Row, for_tenants

SETTABLE = frozenset(
    {"zone", "charset", "authority", "identifier_types", "processing_ids", "senders", "is_active"}
)
APP = "app"  # name and protocol of the feed by which a tenant's commands come
_JSON = frozenset({"identifier_types", "processing_ids", "senders"})


class FeedUnknown(Exception):  # noqa: N818  named for what is wrong
    """There is no such feed."""


class ZoneUnknown(Exception):  # noqa: N818  named for what is wrong
    """The time zone isn't one of the IANA database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """A feed with the listener it comes by; None is the default listener."""

    feed: Feed
    port: int | None


@dataclass(frozen=True, slots=True)
class Secrets:
    """A new tenant's keys: 32 random bytes each."""

    data: bytes
    identity: bytes

    def __repr__(self) -> str:
        return "Secrets(…)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A tenant's key as it is stored."""

    tenant_id: UUID
    purpose: str
    version: int
    wrapped: bytes


def tenants(connection: Connection[Row]) -> list[UUID]:
    """The ids of all tenants, suspended ones too: their rows stand among the others."""
    rows = connection.execute("SELECT tenant_ids() AS id").fetchall()
    return [UUID(row["id"]) for row in rows]


def feeds(connection: Connection[Row], of: Collection[UUID] | Collection[str]) -> list[Listened]:
    """The feeds of these tenants that senders come by, in a transaction that may see them."""
    for_tenants(connection, of)
    rows = connection.execute(_FEEDS).fetchall()
    return [Listened(feed=_feed(row), port=row["port"]) for row in rows]


def wrapped_keys(
    connection: Connection[Row], of: Collection[UUID] | Collection[str]
) -> list[Wrapped]:
    """The tenants' keys as they are stored: sealed by the root key."""
    for_tenants(connection, of)
    rows = connection.execute("SELECT tenant_id, purpose, version, wrapped FROM tenant_keys")
    return [
        Wrapped(
            tenant_id=UUID(row["tenant_id"]), purpose=row["purpose"],
            version=row["version"], wrapped=row["wrapped"],
        )
        for row in rows.fetchall()
    ]  # fmt: skip


def unwrap(wrapped: Collection[Wrapped], root: Root) -> dict[UUID, Keys]:
    """The tenants' keys, opened; raises ``EnvelopeInvalid`` under another root key."""
    data: dict[UUID, dict[int, Key]] = {}
    identity: dict[UUID, bytes] = {}
    for each in wrapped:
        hit("keys: unwrap")
        secret = root.unwrap(
            each.wrapped, tenant=each.tenant_id, purpose=each.purpose, version=each.version
        )
        if each.purpose == "identity":
            identity[each.tenant_id] = secret
        else:
            key = Key.of(secret, version=each.version, scope=Scope.TENANT)
            data.setdefault(each.tenant_id, {})[each.version] = key
    return {
        tenant: Keys(tenant_id=tenant, data=data[tenant], identity=secret)
        for tenant, secret in identity.items()
        if tenant in data
    }


def create_tenant(
    database: Database, root: Root, *, tenant_id: UUID, name: str, subdomain: str, secret: Secrets
) -> None:
    """Create a tenant with its keys; does nothing if it is there."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        connection.execute(
            "INSERT INTO tenants (id, name, subdomain) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (tenant_id, name, subdomain),
        )
        for purpose, clear in (("data", secret.data), ("identity", secret.identity)):
            wrapped = root.wrap(clear, tenant=tenant_id, purpose=purpose, version=1)
            connection.execute(
                "INSERT INTO tenant_keys (tenant_id, purpose, version, wrapped)"
                " VALUES (%s, %s, 1, %s) ON CONFLICT DO NOTHING",
                (tenant_id, purpose, wrapped),
            )
        _app_feed(connection, tenant_id)


def ensure_app_feeds(database: Database) -> None:
    """Make the feed of app commands of every tenant that lacks it."""
    with database.connection() as connection, connection.transaction():
        every = tenants(connection)
        for_tenants(connection, every)
        for tenant_id in every:
            _app_feed(connection, tenant_id)


def _app_feed(connection: Connection[Row], tenant_id: UUID) -> None:
    connection.execute(
        "INSERT INTO feeds (id, tenant_id, name, protocol) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (identity.app_feed(tenant_id), tenant_id, APP, APP),
    )


def create_feed(
    database: Database,
    tenant_id: UUID,
    name: str,
    *,
    feed_id: UUID,
    settings: Mapping[str, Any],
) -> None:
    """Create a feed with these settings; does nothing if the tenant has one of this name."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        created = connection.execute(
            "INSERT INTO feeds (id, tenant_id, name) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (feed_id, tenant_id, name),
        )
        if created.rowcount:
            _update(connection, tenant_id, name, settings)


def set_feed(database: Database, tenant_id: UUID, name: str, settings: Mapping[str, Any]) -> None:
    """Change a feed's settings; the ledger reads them anew with its next batch."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        _update(connection, tenant_id, name, settings)


def _update(
    connection: Connection[Row], tenant_id: UUID, name: str, settings: Mapping[str, Any]
) -> None:
    assert settings.keys() <= SETTABLE, f"not a feed's setting: {settings.keys() - SETTABLE}"
    if "zone" in settings:
        zone(settings["zone"])
    values = [
        orjson.dumps(value).decode() if column in _JSON else value
        for column, value in settings.items()
    ]
    assigned = [SQL("{} = %s").format(Identifier(column)) for column in settings]
    statement = SQL("UPDATE feeds SET {} WHERE tenant_id = %s AND name = %s").format(
        SQL(", ").join([*assigned, SQL("updated_at = now()")])
    )
    if connection.execute(statement, [*values, tenant_id, name]).rowcount == 0:
        raise FeedUnknown(f"no such feed: {name}")


def zone(name: str) -> ZoneInfo:
    """The IANA time zone of this name; :class:`ZoneUnknown` if there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ZoneUnknown(
            f"no such time zone (an IANA name such as Europe/London): {name}"
        ) from None


def _feed(row: Row) -> Feed:
    return Feed(
        feed_id=UUID(row["id"]),
        tenant_id=UUID(row["tenant_id"]),
        name=row["name"],
        protocol=row["protocol"],
        zone=zone(row["zone"]),
        charset=row["charset"],
        authority=row["authority"] or row["name"],
        identifier_types=tuple(row["identifier_types"]),
        processing_ids=frozenset(row["processing_ids"]),
        senders=frozenset(row["senders"]),
        active=row["is_active"],
    )


_FEEDS = """
SELECT id, tenant_id, name, protocol, port, zone, charset, authority, identifier_types,
       processing_ids, senders, is_active
FROM feeds WHERE protocol <> 'app'
ORDER BY id
"""
