"""Who is whom: a function of all that was told, in whatever order it comes."""

import random
import threading
import uuid
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import permutations

import pytest

from sinks import accounts, aliases, ledger
from sinks.aliases import Told, forest
from sinks.database import for_tenants
from tests.sinks.inbound import append, both, check, happened, message, take
from tests.sinks.inbound import entry as plain
from tests.sinks.provisioned import OURS, THEIRS, stream_id

AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
A, B, C, D = (stream_id(number) for number in range(4))


def said(number, source, target, kind="merge", *, minutes=None):
    """The `number`th thing told, a minute after the one before."""
    return Told(
        event_id=str(uuid.UUID(int=number)), patient_id=source, into_patient_id=target, kind=kind,
        said_at=AT + timedelta(minutes=number if minutes is None else minutes),
    )  # fmt: skip


def survivors(told, patients=(A, B, C, D)):
    grown = forest(told)
    return [grown.survivor(each) for each in patients]


def test_nothing_told_leaves_each_to_themselves():
    assert survivors([]) == [A, B, C, D]


def test_m1_the_source_becomes_the_target():
    assert survivors([said(1, A, B)]) == [B, B, C, D]


def test_m3_a_chain_ends_at_its_survivor_and_a_source_merged_before_goes_along():
    assert survivors([said(1, A, B), said(2, B, C)]) == [C, C, C, D]
    assert survivors([said(1, A, B), said(2, A, D)]) == [D, D, C, D]


def test_m3_what_would_close_a_cycle_changes_nothing():
    told = [said(1, A, B), said(2, B, C), said(3, C, A)]
    assert survivors(told) == [C, C, C, D]
    assert forest(told).into == {A: B, B: C}


@pytest.mark.parametrize("seed", range(200))
def test_m3_the_order_of_arrival_does_not_matter(seed):
    rng = random.Random(seed)
    patients = [A, B, C, D, *(stream_id(number) for number in range(4, 8))]
    told = []
    for number in range(rng.randint(1, 12)):
        source, target = rng.sample(patients, 2)
        kind = rng.choice(("merge", "merge", "move", "undo"))
        told.append(said(number, source, target, kind, minutes=rng.randrange(6)))
    one = forest(told)
    for _ in range(20):
        rng.shuffle(told)
        other = forest(told)
        assert (other.into, other.by) == (one.into, one.by)
    for patient in patients:
        assert one.survivor(patient) not in one.into


@pytest.mark.parametrize("seed", range(20))
def test_a_forest_that_grows_is_the_forest_of_all(seed):
    rng = random.Random(seed)
    told = [
        said(n, *rng.sample((A, B, C, D), 2), rng.choice(("merge", "merge", aliases.UNDO)),
             minutes=rng.randrange(6))
        for n in range(8)
    ]  # fmt: skip
    known, grown = [], forest([])
    for each in told:
        before = dict(grown.into), dict(grown.by)
        grown, changed = aliases.grow(grown, known, each)
        whole = forest(known)
        assert (grown.into, grown.by) == (whole.into, whole.by)
        assert changed == {
            patient for patient in (A, B, C, D)
            if (before[0].get(patient), before[1].get(patient))
            != (whole.into.get(patient), whole.by.get(patient))
        }  # fmt: skip


def test_an_undone_merge_leaves_what_would_be_without_it():
    merges = [said(1, A, B), said(2, A, C), said(3, D, A)]
    assert survivors(merges) == [C, C, C, C]
    assert survivors([*merges, said(4, A, B, "undo")]) == survivors([merges[1], merges[2]])
    assert survivors([*merges, said(4, D, A, "undo")]) == survivors(merges[:2])


def test_an_undoing_takes_back_every_merge_of_the_two_that_was_said_before_it():
    merges = [said(1, A, B), said(2, A, B), said(3, B, A)]
    undone = [*merges, said(4, B, A, "undo")]
    assert survivors(undone) == [A, B, C, D]
    assert survivors([*undone, said(5, A, B)]) == [B, B, C, D]


def test_an_undoing_said_in_the_same_instant_comes_after_its_merge():
    assert survivors([said(2, A, B, minutes=0), said(1, A, B, "undo", minutes=0)]) == [A, B, C, D]


def test_an_undoing_of_two_whom_a_chain_ties_parts_the_one_that_is_named():
    chain = [said(1, A, B), said(2, B, C)]
    assert survivors([*chain, said(3, A, C, "undo")]) == [A, C, C, D]
    assert survivors([*chain, said(3, C, A, "undo")]) == [A, C, C, D]


def test_an_undoing_of_two_who_are_not_one_changes_nothing():
    assert survivors([said(1, A, B), said(2, A, C, "undo")]) == [B, B, C, D]


# --- in the ledger's transaction -----------------------------------------------------------------


def telling(offset, source, target, *, number=None, undo=False, minutes=None, tenant=OURS):
    """The entry of a message that says `source` is `target`, or isn't after all."""
    number = offset if number is None else number
    told = (
        {"from_patient_id": stream_id(target)}
        if undo
        else {"into_patient_id": stream_id(target), "kind": "merge"}
    )
    row = happened(
        number, source, tenant=tenant,
        event_type="patient.unmerged" if undo else "patient.merged",
        data={"trigger": "A40", "reported_at": None, **told},
    )  # fmt: skip
    row["occurred_at"] = AT + timedelta(minutes=number if minutes is None else minutes)
    made = plain(offset, number=number, tenant=tenant)
    return ledger_entry(made, message(number, tenant_id=tenant), [row])


def ledger_entry(made, said, rows):
    return type(made)(offset=made.offset, key=b"key", value=b"value", message=said, events=rows)


def current(store, at=None):
    """Who is whom now, or as known at a time."""
    rows = store.rows(
        "SELECT * FROM patient_aliases WHERE recorded_at <= coalesce(%s::timestamptz, 'infinity')"
        " AND (undone_at IS NULL OR undone_at > %s)", at, at,
    )  # fmt: skip
    return {str(row["patient_id"]): str(row["into_patient_id"]) for row in rows}


@pytest.mark.stack
def test_a_merge_is_an_alias_known_since_its_event(store):
    append(store, take(store), [telling(0, 0, 1)])
    [event] = store.rows("SELECT * FROM events")
    [row] = store.rows("SELECT * FROM patient_aliases")
    assert (str(row["patient_id"]), str(row["into_patient_id"])) == (A, B)
    assert (row["event_id"], row["recorded_at"]) == (event["event_id"], event["recorded_at"])
    assert (row["kind"], row["undone_at"], row["undone_event_id"]) == ("merge", None, None)
    assert str(event["stream_id"]) == A, "the source's stream"
    check(store)


@pytest.mark.stack
def test_an_undone_merge_stays_as_it_was_known(store):
    held = take(store)
    append(store, held, [telling(0, 0, 1)])
    append(store, held, [telling(1, 0, 1, undo=True)])
    first, second = store.rows("SELECT * FROM events ORDER BY partition_seq")
    [row] = store.rows("SELECT * FROM patient_aliases")
    assert row["undone_at"] == second["recorded_at"]
    assert row["undone_event_id"] == second["event_id"]
    assert current(store, first["recorded_at"]) == {A: B}
    assert current(store, second["recorded_at"]) == current(store) == {}


@pytest.mark.stack
def test_what_begins_and_ends_in_one_instant_never_was(store):
    append(store, take(store), [telling(0, 0, 1), telling(1, 1, 0, undo=True), telling(2, 2, 3)])
    assert current(store) == {C: D}
    assert len(store.rows("SELECT FROM patient_aliases")) == 1
    assert len(store.rows("SELECT FROM patient_merges")) == 3


@pytest.mark.stack
def test_m3_every_order_over_every_split_ends_in_the_same_aliases(store):
    def told(place, first, source, target, *, undo=False):
        return lambda offset: telling(
            offset, first + source, first + target, number=1000 + first * 10 + place,
            undo=undo, minutes=place,
        )  # fmt: skip

    scenario = ((0, 1, False), (1, 2, False), (0, 2, False), (0, 1, True))
    held, offset, ends = take(store), 0, defaultdict(list)
    for turn, order in enumerate(permutations(range(4))):
        first, size = 10 * turn, 1 + turn % 4
        batch = [
            told(place, first, *scenario[place][:2], undo=scenario[place][2]) for place in order
        ]
        for start in range(0, 4, size):
            some = batch[start : start + size]
            append(store, held, [each(offset + n) for n, each in enumerate(some)])
            offset += len(some)
        names = {stream_id(first + number): number for number in range(3)}
        ends[str(sorted((names[k], names[v]) for k, v in current(store).items() if k in names))]
    assert list(ends) == ["[(0, 2), (1, 2)]"]
    check(store)


@pytest.mark.stack
def test_m3_two_merges_at_once_that_would_make_a_cycle_make_none(store):
    for turn in range(8):
        one, two = 2 * turn, 2 * turn + 1
        first, second = take(store, 0), take(store, 1)
        there = [telling(first.next_offset, one, two, number=100 + turn)]
        back = [telling(second.next_offset, two, one, number=200 + turn)]
        both(partial(append, store, first, there), partial(append, store, second, back))
        found = current(store)
        assert found[stream_id(one)] == stream_id(two), "the one said first"
        assert stream_id(two) not in found
    check(store)


@pytest.mark.stack
def test_merges_of_one_tenant_wait_for_each_other_and_those_of_two_do_not(store):
    held = take(store)
    with store.open().connection() as other, other.transaction():
        for_tenants(other, [OURS])
        aliases.lock(other, [OURS])
        append(store, held, [plain(0)])
        append(store, held, [telling(1, 0, 1, tenant=THEIRS)])
        with store.database.connection() as connection, connection.transaction():
            free = "SELECT pg_try_advisory_xact_lock(%s::int, %s::int) AS free"
            row = connection.execute(free, (aliases.LOCK, aliases._number(OURS))).fetchone()
            assert row == {"free": False}
    append(store, held, [telling(2, 0, 1)])
    assert current(store) == {A: B}


@pytest.mark.stack
def test_an_alias_is_known_later_than_what_it_ends_though_the_clock_goes_back(store):
    held = take(store)
    append(store, held, [telling(0, 0, 1)])
    store.run("UPDATE patient_aliases SET recorded_at = recorded_at + interval '1 hour'")
    append(store, held, [telling(1, 0, 1, undo=True)])
    [row] = store.rows("SELECT * FROM patient_aliases")
    assert row["undone_at"] == row["recorded_at"] + timedelta(microseconds=1)


@pytest.mark.stack
def test_who_is_tied_to_a_patient_is_found_from_either_end(store):
    held = take(store)
    append(store, held, [telling(0, 0, 1), telling(1, 1, 2), telling(2, 3, 4)])
    for patient in (A, B, C):
        told = aliases.told(store.database, [OURS], [patient])
        assert sorted(each.patient_id for each in told) == [A, B]
    assert aliases.told(store.database, [THEIRS], [A]) == []
    assert aliases.told(store.database, [OURS], []) == []


@pytest.mark.stack
def test_a_merge_whose_transaction_ends_leaves_nothing(store, armed):
    held = take(store)
    armed("ledger: written=raise")
    with pytest.raises(Exception, match="ledger: written"):
        append(store, held, [telling(0, 0, 1)])
    armed("")
    assert store.rows("SELECT FROM patient_merges") == []
    append(store, held, [telling(0, 0, 1), telling(1, 0, 1, number=0)])
    assert current(store) == {A: B}
    assert len(store.rows("SELECT FROM patient_merges")) == 1


@pytest.mark.stack
def test_without_the_tenants_lock_two_merges_at_once_would_make_a_cycle(store, monkeypatch):
    barrier, real = threading.Barrier(2), aliases.around

    def around(connection, patients):
        found = real(connection, patients)
        barrier.wait(10)
        return found

    monkeypatch.setattr(aliases, "lock", lambda *_: None)
    monkeypatch.setattr(accounts, "_lock", lambda *_: None)  # whose merges wait for accounts, too
    monkeypatch.setattr(aliases, "around", around)
    first, second = take(store, 0), take(store, 1)
    both(
        lambda: append(store, first, [telling(0, 0, 1)]),
        lambda: append(store, second, [telling(0, 1, 0, number=1)]),
    )
    assert current(store) == {A: B, B: A}, "so the lock is needed"


@pytest.mark.stack
def test_the_tenants_lock_comes_after_the_partitions_and_before_the_time(store, monkeypatch):
    order = []
    for module, name in ((ledger, "_lock_partitions"), (aliases, "lock"), (ledger, "_states")):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *given, name=name, real=real: order.append(name) or real(*given)
        )
    append(store, take(store), [telling(0, 0, 1)])
    assert order == ["_lock_partitions", "lock", "_states"]


def test_the_locks_of_several_tenants_rise():
    class Noted:
        def __init__(self):
            self.numbers = []

        def execute(self, _, values):
            self.numbers.append(values[1])

    noted = Noted()
    aliases.lock(noted, [str(uuid.UUID(int=number)) for number in range(50)])
    assert noted.numbers == sorted(noted.numbers)
    assert len(noted.numbers) == 50
