"""Who is who: pure rules, and races to make the same person known."""

import random
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from schemas.identity import Identifier
from sinks import identities as rows
from sinks.aliases import Told
from sinks.identities import Known
from streams.ledger.identities import Change, asked, name, resolve
from tests.sinks.provisioned import OURS, THEIRS

KEY = bytes(range(32))
AT = datetime(2026, 3, 2, 8, tzinfo=UTC)


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


# --- who is another one by now -------------------------------------------------------------------


def told(number, source, target, kind="merge"):
    return Told(
        event_id=str(uuid.UUID(int=number)), patient_id=newcomer(source),
        into_patient_id=newcomer(target), kind=kind, said_at=AT + timedelta(minutes=number),
    )  # fmt: skip


def merging(target, *sources, number=1, kind="merge"):
    """A message that says that `sources` are one patient's, who is the `target`."""
    change = Change(
        event_id=str(uuid.UUID(int=number)), kind=kind, said_at=AT + timedelta(minutes=number)
    )
    source = name(OURS, KEY, [Identifier(value=each, authority="NORTH") for each in sources],
                  change=change)  # fmt: skip
    return name(
        OURS, KEY, [Identifier(value=each, authority="NORTH") for each in target],
        sources=[source],
    )  # fmt: skip


def everybody(*values):
    return {each: newcomer(value) for value in values for each in named(value).names}


def test_m3_a_retired_identifier_keeps_its_own_patient():
    [person], _ = resolve([named("a")], everybody("a", "b"), [told(1, "a", "b")])
    assert person.patients == (newcomer("a"),)


def test_m3_identifiers_of_one_survivor_name_that_one_who_gains_the_new_ones():
    known = everybody("a", "b", "c")
    [person], learned = resolve(
        [named("a", "b", "x")], known, [told(1, "a", "c"), told(2, "b", "c")]
    )
    assert person.patients == (newcomer("c"),)
    assert [each.patient_id for each in learned] == [newcomer("c")]


def test_identifiers_of_two_survivors_stay_a_conflict_between_these():
    [person], learned = resolve(
        [named("a", "c", "x")], everybody("a", "b", "c"), [told(1, "a", "b")]
    )
    assert person.patients == tuple(sorted((newcomer("b"), newcomer("c"))))
    assert learned == []


def test_m3_a_merge_holds_for_the_messages_after_it_in_the_batch():
    first, second, third = resolve(
        [named("a", "b"), merging("a", "b"), named("a", "b")], everybody("a", "b")
    )[0]
    assert first.conflict
    assert second.patients == (newcomer("a"),)
    assert [each.patients for each in second.sources] == [(newcomer("b"),)]
    assert third.patients == (newcomer("a"),)


def test_undo_holds_for_the_messages_after_it_in_the_batch():
    messages = [merging("a", "b"), merging("a", "b", number=2, kind="undo"), named("a", "b")]
    *_, last = resolve(messages, everybody("a", "b"))[0]
    assert last.conflict


def test_m2_unknown_sources_and_targets_are_made_known_first():
    [person], learned = resolve([merging("a", "b")], {})
    assert (person.patient_id, person.sources[0].patient_id) == (newcomer("a"), newcomer("b"))
    assert {each.patient_id for each in learned} == {newcomer("a"), newcomer("b")}


def test_m1_what_a_source_gives_up_names_the_target_no_more_though_it_is_listed():
    [person], _ = resolve([merging(("a", "b"), "b")], everybody("a", "b"))
    assert person.patients == (newcomer("a"),)
    [person], _ = resolve([merging("a", "a")], {})
    assert person.sources[0].patients == person.patients == (newcomer("a"),)
    assert person.one_already


def test_what_was_so_before_is_said_so():
    again = [merging("a", "b"), merging("a", "b", number=2), merging("b", "a", number=3)]
    people, _ = resolve(again, {})
    assert [each.one_already for each in people] == [False, True, True]


def test_a_source_of_several_patients_tells_nothing():
    person, after = resolve([merging("a", "b", "c"), named("a", "b")], everybody("a", "b", "c"))[0]
    assert person.sources[0].conflict
    assert after.conflict


def test_only_who_is_named_together_or_changes_is_asked_about():
    known = everybody("a", "b", "c")
    assert asked([named("a"), named("b", "x")], known) == set()
    assert asked([named("a", "b"), named("c")], known) == {newcomer("a"), newcomer("b")}
    assert asked([merging("a", "c")], known) == {newcomer("a"), newcomer("c")}
    assert asked([merging("x", "y")], known) == set()


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


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("MR", "MR"),
        ("PHR2", "PHR2"),
        ("", ""),
        ("mr", ""),
        ("Rook", ""),
        ("1001", ""),
        ("MR 1", ""),
    ],
)
def test_of_an_identifiers_type_a_code_is_kept_in_clear_and_nothing_else(said, kept):
    one = name(OURS, KEY, [Identifier(value="1001", authority="NORTH", type=said)])
    _, [learned] = resolve([one], {})
    assert learned.type == kept


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
