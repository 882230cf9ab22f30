"""Tenants, their keys and their feeds, out of and into their rows."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import orjson
from psycopg import Connection
from psycopg.sql import SQL, Identifier

from schemas import identity
from schemas.failpoints import hit
from schemas.feeds import IN_FLIGHT_BYTES_MAX, UTC, Feed
from schemas.sealing import EnvelopeInvalid, Key, Keys, KeyService, Scope
from sinks import roots
from sinks.database import Database, Row, for_tenants

_JSON = frozenset(
    {
        "identifier_types", "processing_ids", "senders", "facilities", "receiving_applications",
        "receiving_facilities", "certificates",
    }
)  # fmt: skip
SETTABLE = _JSON | {
    "zone", "charset", "authority", "is_active", "port", "emr_instance_id", "refusal_answer",
    "transient_answer", "ignored_answer", "acknowledgement", "answer_when",
    "messages_per_second", "connections_max", "in_flight_bytes_max",
}  # fmt: skip
KEY_BYTES = 32  # of a tenant's keys, data and identity
APP = "app"  # name and protocol of the feed by which a tenant's commands come


class FeedUnknown(Exception):  # noqa: N818  named for what is wrong
    """There is no such feed."""


class TenantDeleted(Exception):  # noqa: N818  named for what is wrong
    """The tenant was deleted; it never comes to be again."""


class ZoneUnknown(Exception):  # noqa: N818  named for what is wrong
    """The time zone isn't one of the IANA database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listened:
    """A feed with the listener it comes by; None is the default listener."""

    feed: Feed
    port: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A tenant as who serves it must know: where it is reached, whether it may go on."""

    tenant_id: UUID
    subdomain: str | None
    active: bool


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
    wrapped: bytes = field(repr=False)


def tenants(connection: Connection[Row]) -> list[UUID]:
    """The ids of all tenants, suspended ones too: their rows stand among the others."""
    rows = connection.execute("SELECT tenant_ids() AS id").fetchall()
    return [UUID(row["id"]) for row in rows]


def gone(connection: Connection[Row], of: Collection[UUID] | Collection[str]) -> frozenset[str]:
    """Those of these tenants that were deleted, or are being: their records become nothing."""
    asked = [str(each) for each in of]
    rows = connection.execute(_GONE, (asked,)).fetchall() if asked else []
    return frozenset(row["id"] for row in rows)


def anew(connection: Connection[Row], of: Collection[UUID]) -> frozenset[UUID]:
    """Those of these tenants in which erased people come anew by what is reported later."""
    for_tenants(connection, of)
    rows = connection.execute("SELECT id FROM tenants WHERE erased_people = 'anew'").fetchall()
    return frozenset(UUID(row["id"]) for row in rows)


def standings(
    connection: Connection[Row], of: Collection[UUID] | Collection[str]
) -> list[Standing]:
    """These tenants, suspended ones too."""
    for_tenants(connection, of)
    rows = connection.execute("SELECT id, subdomain, is_active FROM tenants ORDER BY id")
    return [
        Standing(tenant_id=UUID(row["id"]), subdomain=row["subdomain"], active=row["is_active"])
        for row in rows.fetchall()
    ]


def feeds(connection: Connection[Row], of: Collection[UUID] | Collection[str]) -> list[Listened]:
    """The feeds of these tenants that senders come by, in a transaction that may see them.

    One that can't be read has a ``fault`` that says why, and is in nobody's way.
    """
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


def unwrap(wrapped: Collection[Wrapped], root: KeyService) -> dict[UUID, Keys]:
    """The tenants' keys, opened; raises ``EnvelopeInvalid`` under another root key."""
    data: dict[UUID, dict[int, Key]] = {}
    identity: dict[UUID, bytes] = {}
    for each in wrapped:
        hit("keys: unwrap")
        secret = root.unwrap(
            each.wrapped, tenant=each.tenant_id, purpose=each.purpose, version=each.version
        )
        if len(secret) != KEY_BYTES:
            raise EnvelopeInvalid(
                f"what is wrapped as this tenant's {each.purpose} key is none, tenant: "
                f"{each.tenant_id}"
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
    database: Database,
    root: KeyService,
    *,
    tenant_id: UUID,
    name: str,
    subdomain: str,
    secret: Secrets,
) -> None:
    """Create a tenant with its keys; does nothing if it is there.

    Raises :class:`TenantDeleted`, and as :func:`sinks.roots.agree`.
    """
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        if gone(connection, [tenant_id]):
            raise TenantDeleted(f"this tenant was deleted: {tenant_id}")
        connection.execute(
            "INSERT INTO tenants (id, name, subdomain) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (tenant_id, name, subdomain),
        )
        if not wrapped_keys(connection, [tenant_id]):
            _make_keys(connection, root, tenant_id, secret)
        _app_feed(connection, tenant_id)


def _make_keys(
    connection: Connection[Row], root: KeyService, tenant_id: UUID, secret: Secrets
) -> None:
    """Store a new tenant's keys, wrapped by the root key that wraps the others' too."""
    roots.agree(connection, root)
    for_tenants(connection, [tenant_id])
    for purpose, clear in (("data", secret.data), ("identity", secret.identity)):
        wrapped = root.wrap(clear, tenant=tenant_id, purpose=purpose, version=1)
        connection.execute(
            "INSERT INTO tenant_keys (tenant_id, purpose, version, wrapped)"
            " VALUES (%s, %s, 1, %s) ON CONFLICT DO NOTHING",
            (tenant_id, purpose, wrapped),
        )


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
            update_feed(connection, tenant_id, name, settings)


def set_feed(database: Database, tenant_id: UUID, name: str, settings: Mapping[str, Any]) -> None:
    """Change a feed's settings; the ledger reads them anew with its next batch."""
    with database.connection() as connection, connection.transaction():
        for_tenants(connection, [tenant_id])
        update_feed(connection, tenant_id, name, settings)


def update_feed(
    connection: Connection[Row], tenant_id: UUID, name: str, settings: Mapping[str, Any]
) -> None:
    """Change a feed's settings within a transaction that may; :class:`FeedUnknown`."""
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


def faulty(feed_id: UUID, tenant_id: UUID, name: str) -> Feed:
    """A feed whose settings can't be read: it fits no message."""
    return Feed(
        feed_id=feed_id, tenant_id=tenant_id, name=name, certificates=frozenset({""}),
        fault=f"its settings can't be read (hint: wardtrail feeds set): {name}",
    )  # fmt: skip


def located(name: str) -> tuple[ZoneInfo, str | None]:
    """The time zone of a feed; UTC where this machine knows none of its name, and the fault."""
    try:
        return zone(name), None
    except ZoneUnknown as unknown:
        return UTC, str(unknown)


def _feed(row: Row) -> Feed:
    try:
        return _read(row)
    except (TypeError, ValueError, AttributeError, KeyError):
        return faulty(UUID(row["id"]), UUID(row["tenant_id"]), row["name"])


def _read(row: Row) -> Feed:
    at, fault = located(row["zone"])
    return Feed(
        feed_id=UUID(row["id"]),
        tenant_id=UUID(row["tenant_id"]),
        name=row["name"],
        protocol=row["protocol"],
        zone=at,
        fault=fault,
        charset=row["charset"],
        authority=row["authority"] or row["name"],
        identifier_types=tuple(row["identifier_types"]),
        processing_ids=frozenset(row["processing_ids"]),
        senders=frozenset(row["senders"]),
        active=row["is_active"],
        emr_instance_id=row["emr_instance_id"] and UUID(row["emr_instance_id"]),
        facilities=frozenset(row["facilities"]),
        receiving_applications=frozenset(row["receiving_applications"]),
        receiving_facilities=frozenset(row["receiving_facilities"]),
        certificates=frozenset(row["certificates"]),
        refusal_answer=row["refusal_answer"],
        transient_answer=row["transient_answer"],
        ignored_answer=row["ignored_answer"],
        acknowledgement=row["acknowledgement"],
        answer_when=row["answer_when"],
        suspended=not row["tenant_is_active"],
        messages_per_second=row["messages_per_second"],
        tenant_messages_per_second=row["tenant_messages_per_second"],
        connections_max=row["connections_max"],
        in_flight_bytes_max=row["in_flight_bytes_max"] or IN_FLIGHT_BYTES_MAX,
    )


_FEEDS = """
SELECT feeds.*, tenants.is_active AS tenant_is_active,
       tenants.messages_per_second AS tenant_messages_per_second
FROM feeds JOIN tenants ON tenants.id = feeds.tenant_id
WHERE protocol <> 'app'
ORDER BY feeds.id
"""
_GONE = "SELECT id FROM deleted_tenants WHERE id = ANY (%s::uuid[])"
