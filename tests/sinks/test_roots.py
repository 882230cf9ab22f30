"""The root key is changed for every tenant: none is made by the old one behind its back."""

import threading
import uuid

import pytest

from schemas.failpoints import FailPoint
from schemas.sealing import EnvelopeInvalid, Root
from sinks import roots, rotation, tenancy
from sinks.database import connect
from sinks.roots import RootChanging, RootOther
from sinks.tenancy import Secrets

pytestmark = pytest.mark.stack

OLD, NEW = Root(bytes(range(32))), Root(bytes(range(1, 33)))
NORTH = uuid.UUID(int=0xA)


def make(store, number, root=OLD):
    tenant = uuid.UUID(int=number)
    tenancy.create_tenant(
        store.database, root, tenant_id=tenant, name=f"t{number}", subdomain=f"t{number}",
        secret=Secrets(tenant.bytes * 2, tenant.bytes * 2),
    )  # fmt: skip
    return tenant


@pytest.fixture
def tenants(store):
    for number in (0xA, 0xB):
        make(store, number)
    return store


def change(store, progress=lambda *_: None, old=OLD, new=NEW):
    return rotation.change_root(store.database, store.migrate, old, new, progress)


def opened(store, root):
    """The tenants whose keys open under a root key; raises where one's don't."""
    with store.database.connection() as connection, connection.transaction():
        wrapped = tenancy.wrapped_keys(connection, tenancy.tenants(connection))
    return set(tenancy.unwrap(wrapped, root))


def names(store):
    return {row["name"] for row in store.rows("SELECT name FROM tenants")}


def test_no_tenant_and_no_version_is_made_while_the_root_key_is_changed(tenants):
    refused = []

    def meanwhile(done, total):
        for root in (OLD, NEW):
            with pytest.raises(RootChanging):
                make(tenants, 0xC0 + done, root)
            with pytest.raises(RootChanging):
                rotation.renew(tenants.database, root, NORTH)
            refused.append(done)

    assert change(tenants, meanwhile) == 4
    assert len(refused) == 8
    assert names(tenants) == {"t10", "t11"}, "nothing is left of what was refused"
    assert len(opened(tenants, NEW)) == 2


def test_after_the_change_no_tenant_is_made_by_the_old_root_key(tenants):
    change(tenants)
    with pytest.raises(RootOther, match="another root key"):
        make(tenants, 0xC)
    assert names(tenants) == {"t10", "t11"}
    make(tenants, 0xC, NEW)
    assert len(opened(tenants, NEW)) == 3


def test_a_tenant_that_is_there_is_found_there_whatever_root_key_is_set(tenants):
    make(tenants, 0xA, NEW)
    assert opened(tenants, OLD) == {uuid.UUID(int=0xA), uuid.UUID(int=0xB)}


def test_one_key_that_was_damaged_keeps_no_new_tenant_away(tenants):
    tenants.run(
        "UPDATE tenant_keys SET wrapped = 'x', created_at = now() + interval '1 hour'"
        " WHERE tenant_id = %s", NORTH,
    )  # fmt: skip
    make(tenants, 0xC)
    assert "t12" in names(tenants)


def test_one_key_that_was_damaged_keeps_nobody_elses_under_the_old_root_key(tenants):
    tenants.run("UPDATE tenant_keys SET wrapped = 'x' WHERE tenant_id = %s", NORTH)
    for _ in range(2):
        with pytest.raises(EnvelopeInvalid, match=str(NORTH)):
            change(tenants)
    with tenants.database.connection() as connection, connection.transaction():
        [south] = set(tenancy.tenants(connection)) - {NORTH}
        wrapped = tenancy.wrapped_keys(connection, [south])
    assert set(tenancy.unwrap(wrapped, NEW)) == {south}


def test_the_change_waits_for_who_is_making_a_key_by_refusing(tenants):
    with tenants.database.connection() as connection, connection.transaction():
        roots.share(connection)
        with pytest.raises(RootChanging):
            change(tenants)
    assert change(tenants) == 4


def test_two_changes_at_once_are_one(tenants):
    def again(*_):
        with pytest.raises(RootChanging):
            change(tenants)

    assert change(tenants, again) == 4


def test_a_change_that_was_broken_off_lets_go_and_is_brought_to_its_end(tenants, armed):
    armed("keys: rewrapped=raise@2")
    with pytest.raises(FailPoint):
        change(tenants)
    armed("")
    make(tenants, 0xC)
    assert change(tenants) == 4, "two of before, and two of the tenant that came by the old one"
    assert len(opened(tenants, NEW)) == 3


def test_who_looked_at_the_newest_keys_sees_nobodys_rows_afterwards(tenants):
    with tenants.database.connection() as connection, connection.transaction():
        roots.agree(connection, OLD)
        assert connection.execute("SELECT FROM tenant_keys").rowcount == 0


class Makers:
    """Threads that make tenants and versions by both root keys as fast as they can."""

    def __init__(self, store):
        self.store, self.stop = store, threading.Event()
        self.made, self.failures = [], []
        self.threads = [
            threading.Thread(target=self._run, args=(root, first))
            for root, first in ((OLD, 0x1_0000), (OLD, 0x2_0000), (NEW, 0x3_0000))
        ]

    def _run(self, root, first):
        number = first
        while not self.stop.is_set():
            number += 1
            try:
                tenant = make(self.store, number, root)
                self.made.append(tenant)
                rotation.renew(self.store.database, root, tenant)
            except (RootChanging, RootOther, EnvelopeInvalid):
                continue
            except Exception as error:
                self.failures.append(error)
                return

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join(60)


def changed(store):
    """Whether the change could be made now."""
    try:
        change(store)
    except RootChanging:
        return False
    return True


def test_whoever_makes_tenants_meanwhile_all_keys_open_under_the_new_root_key(tenants):
    with Makers(tenants) as makers:
        assert sum(changed(tenants) for _ in range(200)) > 0
    assert makers.failures == []
    assert makers.made
    assert set(makers.made) <= opened(tenants, NEW)


def test_the_lock_is_one_for_all_logins_and_ends_with_its_connection(tenants):
    with (
        connect(tenants.migrate, name="test") as one,
        connect(tenants.worker, name="test") as other,
        roots.alone(one),
        pytest.raises(RootChanging),
        roots.alone(other),
    ):
        raise AssertionError("it was taken")
    assert change(tenants) == 4
