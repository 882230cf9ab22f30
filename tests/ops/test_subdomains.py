"""The host's first label and the key say the same tenant, or the request is refused."""

import asyncio
from uuid import UUID

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ops.api import misplaced
from ops.keys import AccessKey
from sinks.tenancy import Standing
from tests.ops.test_api import TOKENS, Memory, Port, refused

CITY, NORTH, GONE = UUID(int=1), UUID(int=2), UUID(int=3)


class Known:
    def __init__(self, *standings):
        self.standings = standings

    @property
    def informed(self):
        return bool(self.standings)

    def tenant(self, tenant_id):
        return next((each for each in self.standings if each.tenant_id == tenant_id), None)

    def called(self, subdomain):
        return next((each for each in self.standings if each.subdomain == subdomain), None)


BOTH = Known(
    Standing(tenant_id=CITY, subdomain="city", active=True),
    Standing(tenant_id=NORTH, subdomain="north", active=False),
)


def key(tenant):
    return AccessKey(name="test", tenant_id=tenant, digest=b"")


@pytest.mark.parametrize(
    "host", ["city.example.org", "CITY.example.org:8443", "127.0.0.1:80", "localhost", "city",
             "wardtrail.example.org", "north", ""],
)  # fmt: skip
def test_a_key_is_taken_at_its_tenants_address_and_where_no_tenant_is_named(host):
    assert misplaced(key(CITY), host, BOTH) is None


@pytest.mark.parametrize("host", ["north.example.org", "North.localhost:1"])
def test_a_key_of_another_tenant_is_refused_at_an_address(host):
    assert misplaced(key(CITY), host, BOTH) == "this key is another tenant's than this address"


def test_a_key_of_a_suspended_tenant_is_refused_everywhere():
    for host in ("north.example.org", "localhost"):
        assert misplaced(key(NORTH), host, BOTH) == "the tenant of this key is suspended"


def test_a_key_of_a_deleted_tenant_is_refused():
    assert misplaced(key(GONE), "localhost", BOTH) == "the tenant of this key is no more"


def test_while_no_tenant_is_known_the_rows_alone_decide():
    assert misplaced(key(CITY), "city.example.org", Known()) is None
    assert misplaced(key(CITY), "city.example.org", None) is None


def test_a_request_at_another_tenants_address_is_refused_with_a_line():
    port = Port(Memory())
    api = port.api()
    api._tenants = Known(
        Standing(tenant_id=TOKENS["ours"], subdomain="ours", active=True),
        Standing(tenant_id=UUID(int=99), subdomain="city", active=True),
    )

    async def ask(host):
        app = web.Application()
        app.add_subapp("/v1", api.app())
        async with TestClient(TestServer(app)) as client:
            return await port.ask(client, "/v1/openapi.json", Host=host)

    assert asyncio.run(ask("ours.example.org")).status == 200
    assert refused(asyncio.run(ask("city.example.org")), 403)["detail"] == (
        "this key is another tenant's than this address"
    )
