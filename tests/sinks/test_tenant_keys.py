"""Tenants' keys open each by itself: one that doesn't open stops its own tenant and no other."""

from dataclasses import dataclass, field, replace
from uuid import UUID

import pytest

from schemas.sealing import KeyServiceAway, Root
from sinks import tenant_keys
from sinks.tenancy import Wrapped
from sinks.tenant_keys import Opened

ROOT = Root(bytes(range(32)))
NORTH, SOUTH, WEST = UUID(int=1), UUID(int=2), UUID(int=3)


@dataclass
class Service:
    """A root key that may be away, and says who was asked for."""

    away: bool = False
    asked: list = field(default_factory=list)

    def unwrap(self, wrapped, *, tenant, purpose, version):
        self.asked.append(tenant)
        if self.away:
            raise KeyServiceAway("for the test")
        return ROOT.unwrap(wrapped, tenant=tenant, purpose=purpose, version=version)


def wrapped(*tenants, versions=1):
    named = [("identity", 1), *(("data", number + 1) for number in range(versions))]
    return [
        Wrapped(
            tenant_id=tenant, purpose=purpose, version=version,
            wrapped=ROOT.wrap(bytes([version]) * 32, tenant=tenant, purpose=purpose,
                              version=version),
        )
        for tenant in tenants
        for purpose, version in named
    ]  # fmt: skip


def damaged(keys, tenant):
    """One of a tenant's keys as nobody wrapped it."""
    return [
        replace(each, wrapped=each.wrapped[:-1] + b"?")
        if (each.tenant_id, each.purpose) == (tenant, "data")
        else each
        for each in keys
    ]


def test_one_that_does_not_open_stops_its_own_tenant_and_no_other():
    keys = damaged(wrapped(NORTH, SOUTH, WEST), SOUTH)
    found = tenant_keys.opened(keys, Service(), Opened())
    assert [found.keys(each) is not None for each in (NORTH, SOUTH, WEST)] == [True, False, True]
    assert list(found.shut) == [SOUTH]
    assert str(SOUTH) in found.shut[SOUTH]
    assert found.away is None


def test_what_is_as_it_was_is_not_asked_for_again_and_is_the_same_object():
    service, keys = Service(), damaged(wrapped(NORTH, SOUTH), SOUTH)
    first = tenant_keys.opened(keys, service, Opened())
    first.keys(NORTH).uses.count()
    del service.asked[:]
    again = tenant_keys.opened(list(reversed(keys)), service, first)
    assert service.asked == []
    assert again.keys(NORTH) is first.keys(NORTH), "what it sealed stays counted"
    tenant_keys.opened(keys, service, first, anew=True)
    assert set(service.asked) == {SOUTH}, "only what didn't open is tried again"


def test_a_tenant_that_is_mended_goes_on_and_one_that_is_deleted_is_forgotten():
    keys = wrapped(NORTH, SOUTH)
    first = tenant_keys.opened(damaged(keys, SOUTH), Service(), Opened())
    mended = tenant_keys.opened(keys, Service(), first)
    assert (mended.keys(SOUTH).identity, mended.shut) == (bytes([1]) * 32, {})
    [*only] = (each for each in keys if each.tenant_id == NORTH)
    assert tenant_keys.opened(only, Service(), mended).keys(SOUTH) is None


def test_a_key_service_that_is_away_is_asked_once_and_keys_at_hand_serve_on():
    first = tenant_keys.opened(wrapped(NORTH), Service(), Opened())
    away = Service(away=True)
    second = tenant_keys.opened(
        [*wrapped(NORTH, versions=2), *wrapped(SOUTH, WEST)], away, first
    )  # fmt: skip
    assert len(away.asked) == 1
    assert second.away == "for the test"
    assert second.keys(NORTH) is first.keys(NORTH)
    assert second.keys(SOUTH) is None
    back = tenant_keys.opened(
        [*wrapped(NORTH, versions=2), *wrapped(SOUTH, WEST)], Service(), second
    )  # fmt: skip
    assert back.away is None
    assert sorted(back.keys(NORTH).data) == [1, 2]
    assert back.keys(WEST) is not None


@pytest.mark.parametrize("size", [0, 31, 33])
def test_what_was_wrapped_and_is_no_key_stops_its_tenant_too(size):
    short = [replace(each, wrapped=ROOT.wrap(bytes(size), tenant=SOUTH, purpose=each.purpose,
             version=each.version)) for each in wrapped(SOUTH)]  # fmt: skip
    found = tenant_keys.opened([*wrapped(NORTH), *short], Service(), Opened())
    assert (list(found.shut), found.keys(NORTH) is not None) == ([SOUTH], True)
