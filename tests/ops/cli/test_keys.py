"""Keys from the command line: how they stand, a new one, another root key; never the key itself."""

import base64
from uuid import UUID

import pytest

from ops import access, deploy
from ops.cli.visits import keyring
from schemas.sealing import Root
from sinks import dead_letters, rotation
from sinks.database import Database, for_tenants
from sinks.dead_letters import DeadLetter
from sinks.subscriptions import Held
from sinks.write import write

pytestmark = pytest.mark.stack
PEOPLE = [(deploy.DEMO_TENANT, UUID(int=0x9000 + number)) for number in range(5)]
ROOT = bytes.fromhex("ab" * 32)


def made(desk):
    with keyring(desk.settings()) as ring:
        keys = ring.tenant(deploy.DEMO_TENANT).apart()
        found = ring.sealing(PEOPLE)
        keys.subjects.update({name[1]: each for name, each in found.items()})
        return [
            keys.seal(b"x", person=name[1], record=UUID(int=1), field="note") for name in PEOPLE
        ]


def opened(desk, envelopes):
    with keyring(desk.settings()) as ring:
        keys = ring.tenant(deploy.DEMO_TENANT).apart()
        keys.subjects.update({n[1]: each for n, each in ring.reading(PEOPLE).items()})
        return {
            keys.open(envelope, person=name[1], record=UUID(int=1), field="note")
            for name, envelope in zip(PEOPLE, envelopes, strict=True)
        }


def test_a_rotation_shows_in_the_status_and_leaves_everything_readable(desk, loaded):
    envelopes = made(desk)
    before = loaded(desk.run("keys", "status", "--json"))
    assert [(each["version"], each["wraps"]) for each in before["versions"]] == [(1, 5)]
    done = loaded(desk.run("keys", "rotate", "--json"))
    assert (done["version"], done["made"], done["rewrapped"]) == (2, True, 5)
    after = loaded(desk.run("keys", "status", "--json"))
    assert [(each["version"], each["wraps"]) for each in after["versions"]] == [(2, 5), (1, 0)]
    assert (after["subjects"], after["destroyed"], after["waiting"]) == (5, 0, 0)
    assert (after["most_sealed"], after["seals_max"]) == (2**16, 2**32)
    shown = desk.run("keys", "status")
    assert "people: 5, erased: 0" in shown.stdout
    assert "rotation: none waits" in shown.stdout
    assert opened(desk, envelopes) == {b"x"}


def test_another_root_key_is_taken_by_one_command_and_again_does_nothing(desk, loaded, tmp_path):
    envelopes, old = made(desk), desk.settings().root_key
    new = tmp_path / "new.key"
    access.write_private(new, "cd" * 32)
    asked = ("keys", "rewrap", "--from", f"file:{old}", "--to", f"file:{new}", "--json")
    assert loaded(desk.run(*asked)) == {"tenant_keys": 2, "dead_letters": 0}
    assert loaded(desk.run(*asked)) == {"tenant_keys": 0, "dead_letters": 0}
    refused = desk.run("keys", "rotate")
    assert refused.exit_code == 1
    assert "the root key doesn't open this tenant's" in refused.stderr
    access.write_private(old, "cd" * 32)
    assert opened(desk, envelopes) == {b"x"}
    back = {**desk.environ, "OLD": base64.b64encode(ROOT).decode()}
    desk.environ.update(back)
    access.write_private(old, "ab" * 32)
    said = desk.run("keys", "rewrap", "--from", f"file:{new}", "--to", "env:OLD")
    assert said.stdout == "tenants' keys wrapped anew: 2, dead letters sealed anew: 0\n"
    assert opened(desk, envelopes) == {b"x"}


def test_a_damaged_dead_letter_keeps_no_other_under_the_old_root_key(desk):
    old, new = Root(ROOT), Root(bytes(32))
    letters = [
        DeadLetter(offset=n, key=b"k", value=b"v", stage="map", cause="c", reason="r",
                   tenant_id=deploy.DEMO_TENANT)
        for n in (1, 2)
    ]  # fmt: skip
    held = Held(
        subscription_id="ledger", topic="t", partition=0, epoch=1, next_offset=0, last_position=0
    )
    database = Database.open(access.role_url(desk.settings(), "wt_worker"), name="test", size=1)
    try:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, [deploy.DEMO_TENANT])
            write(connection, dead_letters.changes(held, letters, old.line()))
            connection.execute("UPDATE dead_letters SET record_sealed = 'x' WHERE \"offset\" = 1")
        assert rotation.reseal_letters(database, old, new) == 1
    finally:
        database.close()


def test_a_dead_letter_opens_under_the_new_root_key(desk, tmp_path):
    old, new = Root(ROOT), Root(bytes(32))
    letter = DeadLetter(
        offset=1, key=b"k", value=b"v", stage="map", cause="c", reason="r",
        tenant_id=deploy.DEMO_TENANT,
    )  # fmt: skip
    held = Held(
        subscription_id="ledger", topic="t", partition=0, epoch=1, next_offset=0, last_position=0
    )
    database = Database.open(access.role_url(desk.settings(), "wt_worker"), name="test", size=1)
    try:
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, [deploy.DEMO_TENANT])
            write(connection, dead_letters.changes(held, [letter], old.line()))
        assert rotation.reseal_letters(database, old, new) == 1
        assert rotation.reseal_letters(database, old, new) == 0
        with database.connection() as connection, connection.transaction():
            for_tenants(connection, [deploy.DEMO_TENANT])
            row = connection.execute("SELECT id, record_sealed FROM dead_letters").fetchone()
    finally:
        database.close()
    opened = dead_letters.open_record(UUID(row["id"]), row["record_sealed"], new.line())
    assert opened == (b"k", b"v")


def test_the_status_says_whether_the_root_key_that_is_set_opens_them(desk, loaded):
    assert loaded(desk.run("keys", "status", "--json"))["opens"] is True
    access.write_private(desk.settings().root_key, "cd" * 32)
    found = loaded(desk.run("keys", "status", "--json"))
    assert found["opens"] is False
    assert "the root key doesn't open this tenant's" in found["why"]
    told = desk.run("keys", "status")
    assert told.exit_code == 0
    assert "don't open, nothing is taken for the tenant" in told.stderr
    desk.settings().root_key.unlink()
    assert loaded(desk.run("keys", "status", "--json"))["opens"] is None
    assert "can't be told: no root key" in desk.run("keys", "status").stderr


def test_a_tenant_is_made_by_the_root_key_that_wraps_the_others(desk):
    access.write_private(desk.settings().root_key, "cd" * 32)
    refused = desk.run("tenants", "create", "South", "--subdomain", "south")
    assert refused.exit_code == 1
    assert "wrapped by another root key" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert "South" not in desk.run("tenants", "list").stdout


@pytest.mark.parametrize("named", ["CANARY", "file:", "ab" * 32, "kms:key"])
def test_a_root_key_is_named_and_never_given(desk, named):
    refused = desk.run("keys", "rewrap", "--from", named)
    assert refused.exit_code == 2
    assert "a root key is named by" in refused.stderr
    assert named not in refused.stderr or named == "file:"
