"""People's keys: made once, counted, renewed, rotated, destroyed, under load and under kills."""

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from datetime import timedelta

import pytest

from schemas import sealing
from schemas.failpoints import FailPoint
from schemas.sealing import EnvelopeInvalid, KeyDestroyed, KeyMissing, Keys, Root
from sinks import keyring as ring
from sinks import rotation, subject_keys, tenancy
from sinks.database import for_tenants
from sinks.keyring import HELD_SECONDS, Keyring
from sinks.subject_keys import BLOCK, COUNTED_MAX, Erased
from sinks.tenancy import Secrets
from tests.keyed import ERASED_AT, erase

pytestmark = pytest.mark.stack

TENANT, OTHER = uuid.UUID(int=0xA), uuid.UUID(int=0xB)
ROOT = Root(bytes(range(32)))
RECORD = uuid.UUID(int=0x4EC)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def tenants(store):
    for tenant, name in ((TENANT, "north"), (OTHER, "south")):
        tenancy.create_tenant(
            store.database, tenant_id=tenant, name=name, subdomain=name, root=ROOT,
            secret=Secrets(tenant.bytes * 2, tenant.bytes * 2),
        )  # fmt: skip
    return store


@pytest.fixture
def keyring(tenants):
    return Keyring(tenants.database, ROOT, clock=Clock())


def person(number):
    return uuid.UUID(int=0x9000 + number)


def names(*numbers, tenant=TENANT):
    return [(tenant, person(number)) for number in numbers]


def keyed(keyring, found, tenant=TENANT) -> Keys:
    keys = keyring.tenant(tenant).apart()
    keys.subjects.update({name[1]: each for name, each in found.items() if name[0] == tenant})
    return keys


def sealed(keyring, number, text=b"Canary"):
    keys = keyed(keyring, keyring.sealing(names(number)))
    return keys.seal(text, person=person(number), record=RECORD, field="note")


def opened(keyring, number, envelope, **reading):
    keys = keyed(keyring, keyring.reading(names(number), **reading))
    return keys.open(envelope, person=person(number), record=RECORD, field="note")


def destroy(store, *numbers, tenant=TENANT, **more):
    return erase(store.database, tenant, *map(person, numbers), **more)


def rows(store):
    return store.rows("SELECT * FROM subject_keys ORDER BY tenant_id, subject_id, version")


def quiet(done, total):
    assert done <= total


def test_each_person_has_a_key_of_their_own_which_others_open_nothing_with(keyring, tenants):
    envelope = sealed(keyring, 1)
    assert sealing.header(envelope).scope is sealing.Scope.PERSON
    assert opened(Keyring(tenants.database, ROOT), 1, envelope) == b"Canary"
    found = keyring.sealing(names(1, 2))
    secrets = {each.keys[1].secret for each in found.values()}
    assert len(secrets) == 2
    swapped = keyed(keyring, {names(1)[0]: found[names(2)[0]]})
    with pytest.raises(EnvelopeInvalid, match="another key"):
        swapped.open(envelope, person=person(1), record=RECORD, field="note")


def test_no_row_holds_a_key_in_clear_and_none_shows_one(keyring, tenants):
    found = keyring.sealing(names(1))
    secret = found[names(1)[0]].keys[1].secret
    [row] = rows(tenants)
    assert secret not in row["wrapped"]
    stored = subject_keys.find(tenants.database, names(1))
    shown = repr([found, stored, keyring.tenant(TENANT), keyring.tenant(TENANT).wrapper()])
    for hidden in (secret, bytes(row["wrapped"]), TENANT.bytes * 2):
        assert repr(hidden)[2:-1] not in shown
        assert hidden.hex() not in shown


def test_a_wrapped_key_moved_to_another_person_tenant_or_version_opens_nothing(keyring, tenants):
    keyring.sealing([*names(1, 2), *names(1, tenant=OTHER)])
    moved = (
        "SET wrapped = (SELECT wrapped FROM subject_keys WHERE subject_id = '{}'"
        " AND tenant_id = '{}') WHERE subject_id = '{{one}}' AND tenant_id = '{{tenant}}'"
    )
    for change in (
        moved.format(person(2), TENANT),
        moved.format(person(1), OTHER),
        "SET version = 2 WHERE subject_id = '{other}' AND tenant_id = '{tenant}'",
    ):
        tenants.run(
            "UPDATE subject_keys " + change.format(one=person(1), other=person(2), tenant=TENANT)
        )
        with pytest.raises(EnvelopeInvalid):
            Keyring(tenants.database, ROOT).reading(names(1, 2))
        tenants.run("DELETE FROM subject_keys")
        keyring.clear()
        keyring.sealing([*names(1, 2), *names(1, tenant=OTHER)])


def test_keys_are_made_for_a_whole_chunk_in_a_few_statements(keyring, monkeypatch):
    asked = []
    for name in ("find", "create", "set_aside", "renew"):
        real = getattr(subject_keys, name)
        monkeypatch.setattr(
            subject_keys, name, lambda *given, n=name, real=real: asked.append(n) or real(*given)
        )
    keyring.sealing(names(*range(500)))
    assert asked == ["find", "create", "set_aside"]
    del asked[:]
    keyring.sealing(names(*range(500)))
    assert asked == ["set_aside"]


def test_a_held_key_is_asked_for_again_after_a_minute(keyring, tenants):
    envelope = sealed(keyring, 1)
    destroy(tenants, 1)
    keyring._clock.now = HELD_SECONDS - 0.001
    assert opened(keyring, 1, envelope) == b"Canary"
    keyring._clock.now = HELD_SECONDS
    with pytest.raises(KeyDestroyed):
        opened(keyring, 1, envelope)


def test_no_more_people_are_held_than_the_bound(keyring, monkeypatch):
    monkeypatch.setattr(ring, "SUBJECTS_MAX", 10)
    keyring.sealing(names(*range(10)))
    assert len(keyring._subjects) == 10
    keyring.sealing(names(10))
    assert len(keyring._subjects) == 10
    assert names(0)[0] not in keyring._subjects
    keyring._clock.now = HELD_SECONDS
    keyring.sealing(names(11))
    assert len(keyring._subjects) == 1


def test_what_was_destroyed_opens_no_more_and_seals_nothing(keyring, tenants):
    envelope = sealed(keyring, 1)
    assert destroy(tenants, 1, 2) == 1
    first, second = rows(tenants)
    assert (first["wrapped"], second["wrapped"]) == (None, None)
    keyring.clear()
    with pytest.raises(KeyDestroyed):
        opened(keyring, 1, envelope)
    keys = keyed(keyring, keyring.sealing(names(1, 2)))
    for number in (1, 2):
        assert keys.sealed({"note": "x"}, person=person(number), record=RECORD) is None
        with pytest.raises(KeyDestroyed):
            keys.seal(b"x", person=person(number), record=RECORD, field="note")
    assert keys.sealed({}, person=person(1), record=RECORD) == {}
    assert len(rows(tenants)) == 2


def test_what_the_tenants_key_sealed_for_a_person_is_shown_until_they_are_erased(keyring, tenants):
    data = keyring.tenant(TENANT).data[1]
    row = {"tenant": TENANT, "person": person(1), "record": RECORD, "field": "note"}
    envelope = sealing.seal(b"old", data, **row)
    assert opened(keyring, 1, envelope) == b"old"
    destroy(tenants, 1)
    with pytest.raises(KeyDestroyed):
        opened(keyring, 1, envelope, anew=True)


def test_a_destroyed_key_comes_back_by_no_update(keyring, tenants):
    keyring.sealing(names(1))
    destroy(tenants, 1)
    with pytest.raises(Exception, match="stays destroyed"):
        tenants.run("UPDATE subject_keys SET wrapped = 'x', destroyed_at = NULL")


LATER = ERASED_AT + timedelta(hours=1)


def test_who_comes_anew_is_sealed_by_a_new_version_and_what_was_stays_dark(keyring, tenants):
    before = sealed(keyring, 1)
    destroy(tenants, 1)
    found = keyring.after_erasure({names(1)[0]: LATER})
    keys = keyed(keyring, found)
    after = keys.seal(b"Canary", person=person(1), record=RECORD, field="note")
    assert sealing.header(after).key_version == 2
    fresh = Keyring(tenants.database, ROOT)
    assert opened(fresh, 1, after) == b"Canary"
    with pytest.raises(KeyDestroyed):
        opened(fresh, 1, before)
    [subject] = fresh.reading(names(1)).values()
    assert (subject.destroyed, set(subject.erased)) == (False, {1})
    assert subject.dark(ERASED_AT)
    assert subject.dark(None)
    assert not subject.dark(LATER)
    assert keyring.after_erasure({names(1)[0]: LATER})[names(1)[0]].keys.keys() == {2}


def test_what_was_said_before_an_erasure_makes_no_new_key(keyring, tenants):
    keyring.sealing(names(1))
    destroy(tenants, 1)
    stale = keyring.reading(names(1), anew=True)
    destroy(tenants, 1, key_version=2, at=LATER)
    for at in (ERASED_AT, LATER):
        assert keyring.after_erasure({names(1)[0]: at})[names(1)[0]].destroyed
    made = [keyring._wrapped(names(1)[0], max(stale[names(1)[0]].erased) + 1)]
    subject_keys.begin_anew(tenants.database, made, {names(1)[0]: LATER + timedelta(hours=1)})
    assert all(row["destroyed_at"] for row in rows(tenants)), "a later erasure came between"


def test_an_erasure_that_is_told_again_destroys_nobody_who_came_anew(keyring, tenants):
    keyring.sealing(names(1))
    for _ in range(2):
        destroy(tenants, 1)
    keyring.after_erasure({names(1)[0]: LATER})
    assert destroy(tenants, 1) == 0
    assert [row["destroyed_at"] is None for row in rows(tenants)] == [False, True]
    assert destroy(tenants, 1, key_version=2) == 1


def test_a_version_made_beside_an_erasure_goes_with_it(keyring, tenants):
    keyring.sealing(names(1))
    subject_keys.renew(tenants.database, [keyring._wrapped(names(1)[0], 2)])
    assert destroy(tenants, 1, key_version=1) == 2
    assert destroy(tenants, 2, key_version=0) == 0
    assert [row["destroyed_at"] is None for row in rows(tenants)] == [False, False, False]


def test_two_erasures_of_one_person_in_one_turn_are_both_carried_out(keyring, tenants):
    keyring.sealing(names(1))
    erased = [Erased(name=names(1)[0], key_version=n, at=ERASED_AT) for n in (1, 2)]
    with tenants.database.connection() as connection, connection.transaction():
        for_tenants(connection, [TENANT])
        assert subject_keys.erase(connection, erased) == 1
    assert [(row["version"], row["wrapped"]) for row in rows(tenants)] == [(1, None), (2, None)]


def test_nobodys_key_is_held_longer_than_an_erasure_waits(tenants):
    with pytest.raises(AssertionError):
        Keyring(tenants.database, ROOT, held_seconds=HELD_SECONDS + 1)


def test_seals_are_set_aside_in_blocks_and_counted_when_they_were_more(keyring, tenants):
    keys = keyed(keyring, keyring.sealing(names(1)))
    assert [row["sealed"] for row in rows(tenants)] == [BLOCK]
    uses = keys.subjects[person(1)].uses
    uses.used = BLOCK // 2
    keyring.sealing(names(1))
    assert [row["sealed"] for row in rows(tenants)] == [BLOCK]
    uses.used = 3 * BLOCK
    keyring.sealing(names(1))
    assert [row["sealed"] for row in rows(tenants)] == [4 * BLOCK]
    assert uses.left == BLOCK
    Keyring(tenants.database, ROOT).sealing(names(1))
    assert [row["sealed"] for row in rows(tenants)] == [5 * BLOCK]
    Keyring(tenants.database, ROOT).reading(names(1))
    assert [row["sealed"] for row in rows(tenants)] == [5 * BLOCK]


def test_a_key_that_sealed_as_often_as_it_may_gets_a_new_version(keyring, tenants):
    envelope = sealed(keyring, 1)
    tenants.run("UPDATE subject_keys SET sealed = %s", COUNTED_MAX - BLOCK)
    other = Keyring(tenants.database, ROOT)
    assert sealing.header(sealed(other, 1)).key_version == 1
    third = Keyring(tenants.database, ROOT)
    newer = sealed(third, 1)
    assert sealing.header(newer).key_version == 2
    assert [row["sealed"] for row in rows(tenants)] == [COUNTED_MAX, 2 * BLOCK]
    for each in (envelope, newer):
        assert opened(Keyring(tenants.database, ROOT), 1, each) == b"Canary"
    assert opened(keyring, 1, newer, anew=True) == b"Canary"


def test_no_new_version_is_made_of_a_destroyed_key(keyring, tenants):
    keyring.sealing(names(1))
    destroy(tenants, 1)
    subject_keys.renew(tenants.database, [keyring._wrapped(names(1)[0], 2)])
    assert [row["version"] for row in rows(tenants)] == [1]


def test_a_version_that_is_not_held_is_asked_for_and_one_that_is_nowhere_is_missing(keyring):
    envelope = sealed(keyring, 1)
    keys = keyed(keyring, keyring.reading(names(1)))
    younger = bytearray(envelope)
    younger[6] = 9
    with pytest.raises(sealing.KeysWanted):
        keys.open(bytes(younger), person=person(1), record=RECORD, field="note")
    now = keyed(keyring, keyring.reading(names(1), anew=True))
    with pytest.raises(KeyMissing, match="nowhere: 9") as missing:
        now.open(bytes(younger), person=person(1), record=RECORD, field="note")
    assert not isinstance(missing.value, sealing.KeysWanted)


def test_a_rotation_wraps_everybody_anew_and_leaves_everything_readable(
    keyring, tenants, monkeypatch
):
    monkeypatch.setattr(rotation, "BATCH", 3)
    envelopes = [sealed(keyring, number) for number in range(8)]
    destroy(tenants, 7)
    told = []
    progress = lambda done, total: told.append((done, total))  # noqa: E731  as short as it is
    done = rotation.rotate(tenants.database, ROOT, TENANT, progress)
    assert (done.version, done.made, done.rewrapped) == (2, True, 7)
    assert told == [(3, 7), (6, 7), (7, 7)]
    by = {row["tenant_key_version"] for row in rows(tenants) if row["wrapped"]}
    assert by == {2}
    fresh = Keyring(tenants.database, ROOT)
    for each in (keyring, fresh):
        assert [opened(each, n, envelopes[n], anew=True) for n in range(7)] == [b"Canary"] * 7
    assert sealing.header(fresh.tenant(TENANT).seal(
        b"x", person=None, record=RECORD, field="body")).key_version == 2  # fmt: skip
    with tenants.database.connection() as connection, connection.transaction():
        found = rotation.status(connection, TENANT)
    assert [(each.version, each.wraps) for each in found.versions] == [(2, 7), (1, 0)]
    assert (found.subjects, found.destroyed, found.waiting) == (8, 1, 0)


def test_a_broken_off_rotation_is_brought_to_its_end_without_a_further_key(
    keyring, tenants, armed, monkeypatch
):
    monkeypatch.setattr(rotation, "BATCH", 3)
    envelopes = [sealed(keyring, number) for number in range(8)]
    armed("keys: rewrapped=raise@2")
    with pytest.raises(FailPoint):
        rotation.rotate(tenants.database, ROOT, TENANT, quiet)
    assert sorted(row["tenant_key_version"] for row in rows(tenants)) == [1] * 5 + [2] * 3
    armed("")
    fresh = Keyring(tenants.database, ROOT)
    assert [opened(fresh, n, envelopes[n]) for n in range(8)] == [b"Canary"] * 8
    done = rotation.rotate(tenants.database, ROOT, TENANT, quiet)
    assert (done.version, done.made, done.rewrapped) == (2, False, 5)


def test_another_root_key_wraps_the_tenants_keys_and_what_was_sealed_opens_under_it(
    keyring, tenants
):
    envelope, new = sealed(keyring, 1), Root(bytes(range(1, 33)))
    changing = (tenants.database, tenants.migrate, ROOT, new, quiet)
    assert rotation.change_root(*changing) == 4
    assert rotation.change_root(*changing) == 0
    assert opened(Keyring(tenants.database, new), 1, envelope) == b"Canary"
    with pytest.raises(EnvelopeInvalid, match="root key"):
        Keyring(tenants.database, ROOT).tenant(TENANT)
    with pytest.raises(EnvelopeInvalid, match="root key"):
        rotation.change_root(tenants.database, tenants.migrate, ROOT, Root(bytes(32)), quiet)


def test_another_root_key_makes_no_version_that_nobody_could_open(tenants):
    for make in (
        lambda: rotation.rotate(tenants.database, Root(bytes(32)), TENANT, quiet),
        lambda: rotation.renew(tenants.database, Root(bytes(32)), TENANT),
    ):
        with pytest.raises(EnvelopeInvalid, match="root key"):
            make()
    assert len(tenants.rows("SELECT FROM tenant_keys WHERE tenant_id = %s", TENANT)) == 2
    assert rotation.renew(tenants.database, ROOT, TENANT) == 2


def test_only_who_migrates_wraps_a_tenants_key_anew(tenants):
    call = "SELECT rewrap_tenant_key(%s, 'data', 1, 'x', 'y')"
    for role in ("worker", "app"):
        with tenants.open(role).connection() as connection, pytest.raises(Exception, match="deni"):
            connection.execute(call, (TENANT,))
    with tenants.open("migrate").connection() as connection:
        said = connection.execute(call, (TENANT,)).fetchone()
        assert list(said.values()) == [False], "it was something else before"


def test_an_app_reads_no_wrapped_key_of_a_person(tenants):
    with tenants.open("app").connection() as connection, pytest.raises(Exception, match="denied"):
        connection.execute("SELECT FROM subject_keys")


KILLED = """
import sys, uuid
from schemas.sealing import Root
from sinks import rotation
from sinks.database import Database
from sinks.keyring import Keyring
database = Database.open(sys.argv[1], name="killed", size=2)
tenant, root = uuid.UUID(sys.argv[2]), Root(bytes(range(32)))
rotation.BATCH = 20
print("up", flush=True)
if sys.argv[3] == "rotate":
    while True:
        rotation.rotate(database, root, tenant, lambda *_: None)
number = int(sys.argv[4])
while True:
    Keyring(database, root).sealing([(tenant, uuid.UUID(int=0x9000 + number % 400))])
    number += 1
"""


class Load:
    """Threads that seal for many people, each with a keyring of its own, until told to stop."""

    def __init__(self, store):
        self.store, self.stop = store, threading.Event()
        self.failures, self.written = [], []
        self.threads = [threading.Thread(target=self._run, args=(seed,)) for seed in (1, 50, 99)]

    def _run(self, seed):
        own = Keyring(self.store.database, ROOT)
        while not self.stop.is_set():
            seed += 1
            try:
                self._seal(own, seed)
            except Exception as error:
                self.failures.append(error)
                return

    def _seal(self, own, number):
        chunk = sorted({(number * 7 + each * 13) % 400 for each in range(40)})
        keys = keyed(own, own.sealing(names(*chunk), anew=number % 3 == 0))
        for each in chunk:
            said = keys.sealed({"note": "x"}, person=person(each), record=RECORD)
            if said:
                self.written.append((each, sealing.untext(said["note"])))


def killed_while_working(store, turn, then):
    """A process that rotates and one that makes keys, killed in the middle of it."""
    children = [
        subprocess.Popen(
            [sys.executable, "-c", KILLED, store.worker, str(TENANT), what, str(turn * 61)],
            stdout=subprocess.PIPE, env=os.environ,
        )
        for what in ("rotate", "make")
    ]  # fmt: skip
    for child in children:
        assert child.stdout.readline() == b"up\n"
    then()
    time.sleep(0.4)  # of load before the kill
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        child.stdout.close()


def test_keys_made_rotated_and_destroyed_under_load_and_kills_leave_nothing_in_between(tenants):
    load, erased, anew = Load(tenants), list(range(300, 330)), {}

    def gone(some):
        """Erased, some of them told of later and so sealed for anew, and the erasure told again."""
        destroy(tenants, *some)
        own = Keyring(tenants.database, ROOT)
        for each in some[:2]:
            keys = keyed(own, own.after_erasure({names(each)[0]: LATER}))
            anew[each] = keys.seal(b"y", person=person(each), record=RECORD, field="note")
        destroy(tenants, *some)

    for thread in load.threads:
        thread.start()
    for turn in range(6):
        some = erased[turn * 5 : turn * 5 + 5]
        killed_while_working(tenants, turn, lambda some=some: gone(some))
    load.stop.set()
    for thread in load.threads:
        thread.join(60)
    assert load.failures == []
    assert len(load.written) > 100
    rotation.rotate(tenants.database, ROOT, TENANT, quiet)
    fresh = Keyring(tenants.database, ROOT)
    found = keyed(fresh, fresh.reading(names(*range(400))))
    for number, envelope in load.written[-20_000:]:
        asked = {"person": person(number), "record": RECORD, "field": "note"}
        if number in erased and sealing.header(envelope).key_version == 1:
            with pytest.raises(KeyDestroyed):
                found.open(envelope, **asked)
        else:
            assert found.open(envelope, **asked) == b'"x"'
    for number, envelope in anew.items():
        asked = {"person": person(number), "record": RECORD, "field": "note"}
        assert found.open(envelope, **asked) == b"y"
    assert len(anew) == 12
    dark = {row["subject_id"] for row in rows(tenants) if row["destroyed_at"]}
    assert dark == {person(each) for each in erased}
