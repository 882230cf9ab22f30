"""Who is who: pure rules, and races to make the same person known."""

import random
import threading
import uuid

import pytest

from schemas.identity import Identifier
from sinks import identities as rows
from sinks.identities import Known
from streams.ledger.identities import name, resolve
from tests.sinks.provisioned import OURS, THEIRS

KEY = bytes(range(32))


def named(*values, tenant=OURS):
    return name(
        tenant, KEY, [Identifier(value=value, authority="NORTH", type="MR") for value in values]
    )


def newcomer(value):
    return named(value).newcomer


def merged(known, learned):
    return known | {each.name: each.patient_id for each in learned}


def test_nobody_known_makes_a_patient_by_the_best_identifier():
    [person], learned = resolve([named("a", "b")], {})
    assert person.patients == (newcomer("a"),)
    assert not person.conflict
    assert {each.patient_id for each in learned} == {newcomer("a")}
    assert [each.name for each in learned] == list(named("a", "b").names)


def test_one_patient_known_gains_the_other_identifiers():
    _, learned = resolve([named("b")], {})
    known = merged({}, learned)
    [person], learned = resolve([named("a", "b", "c")], known)
    assert person.patient_id == newcomer("b")
    assert {each.name for each in learned} == {*named("a").names, *named("c").names}


def test_several_patients_known_are_a_conflict_and_teach_nothing():
    _, learned = resolve([named("a"), named("b")], {})
    [person], more = resolve([named("a", "b", "c")], merged({}, learned))
    assert person.conflict
    assert person.patients == tuple(sorted((newcomer("a"), newcomer("b"))))
    assert more == []


def test_a_message_knows_what_the_ones_before_it_in_the_batch_said():
    people, _ = resolve([named("a", "b"), named("b", "c"), named("c")], {})
    assert {person.patient_id for person in people} == {newcomer("a")}


def test_another_authority_or_tenant_is_another_person():
    there = name(OURS, KEY, [Identifier(value="a", authority="SOUTH")])
    people, _ = resolve([named("a"), there, named("a", tenant=THEIRS)], {})
    assert len({each.names for each in (named("a"), there, named("a", tenant=THEIRS))}) == 3
    assert people[0] != people[1]


@pytest.mark.parametrize("seed", range(200))
def test_without_a_conflict_every_split_into_batches_tells_the_same(seed):
    rng = random.Random(seed)
    # Each person has identifiers of their own, so that nobody can be in conflict.
    messages = []
    for _ in range(30):
        person = rng.randrange(4)
        # The first one links all the others, as a feed's preferred identifier does.
        messages.append(
            named(f"p{person}-0", *(f"p{person}-{rng.randrange(1, 5)}" for _ in range(2)))
        )
    whole, learned = resolve(messages, {})
    everything = merged({}, learned)
    known, people, start = {}, [], 0
    while start < len(messages):
        end = start + rng.randint(1, 9)
        some, learned = resolve(messages[start:end], known)
        people += some
        known, start = merged(known, learned), end
    assert not any(person.conflict for person in whole)
    assert (people, known) == (whole, everything)
    assert resolve(messages, known) == (whole, []), "and again, all known"


def test_the_hash_keeps_the_value_and_needs_the_key():
    [(tenant, authority, hashed)] = named("1001").names
    assert (tenant, authority) == (OURS, "NORTH")
    assert (
        hashed != name(OURS, bytes(32), [Identifier(value="1001", authority="NORTH")]).names[0][2]
    )


@pytest.mark.stack
def test_what_is_made_known_is_found_and_the_first_one_wins(store):
    [key] = named("a").names
    first, second = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))
    assert rows.find(store.database, [key]) == {}
    assert rows.create(store.database, [Known(name=key, type="MR", patient_id=first)]) == {
        key: first
    }
    assert rows.create(store.database, [Known(name=key, type="PI", patient_id=second)]) == {
        key: first
    }
    assert rows.find(store.database, [key, key]) == {key: first}
    assert rows.create(store.database, []) == {}


@pytest.mark.stack
def test_threads_that_make_the_same_identifiers_known_agree_and_never_deadlock(store):
    keys = [named(f"v{number}").names[0] for number in range(60)]
    told, failed = [], []

    def create(owner):
        rng = random.Random(owner)
        try:
            for _ in range(8):
                some = rng.sample(keys, 30)
                wanted = [
                    Known(name=key, type="MR", patient_id=str(uuid.UUID(int=owner + 1)))
                    for key in some
                ]
                told.append(rows.create(store.database, wanted))
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=create, args=(owner,)) for owner in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    truth = rows.find(store.database, keys)
    for answer in told:
        assert all(truth[key] == patient for key, patient in answer.items())
