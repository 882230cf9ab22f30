"""Accounts that move between patients take their visits along, in any order (rules M3, M5)."""

import itertools
from collections import Counter

import pytest

from sinks import accounts
from streams import publications
from tests.sinks.inbound import both, check
from tests.streams.ledger.told import CODEC, OTHER, TENANT, adt, merge, unlink, wiped

pytestmark = pytest.mark.stack

MOVED = "admission.patient_changed"


def admitted(visit, mrn="A", account="ACC", **given):
    return adt("A01", mrn, visit=visit, account=account, **given)


def move(to, whose, *, account="ACC", minute=7, visit=""):
    """An A44: the account becomes another patient's."""
    return adt("A44", to, mrg=whose, mrg_account=account, visit=visit, minute=minute)


def moved(line, visit):
    """To whom the stream of a visit says that it moved, in the order in which that was said."""
    rows = line.events(event_type=MOVED, stream_id=line.admission(visit))
    rows.sort(key=lambda row: row["data"]["reported_at"])
    return [row["data"]["patient_id"] for row in rows]


def test_m5_a_moved_account_takes_the_visits_along_that_were_told_with_it(line):
    line.send(
        admitted("V1"), admitted("V2", minute=1), adt(visit="V3"), admitted("V4", account="X")
    )
    line.send(move("B", "A"))
    [one] = line.events(event_type=MOVED, stream_id=line.admission("V1"))
    assert one["data"]["patient_id"] == line.patient("B")
    assert one["data"]["from_patient_id"] == line.patient("A")
    assert one["sealed"] == {}, "the number in the message is the account's"
    assert moved(line, "V2") == [line.patient("B")]
    assert moved(line, "V3") == moved(line, "V4") == []
    assert line.store.rows("SELECT FROM messages WHERE outcome <> 'applied'") == []
    check(line.store)


def test_m5_a_visit_that_is_told_after_its_account_moved_moves_too(line):
    line.send(move("B", "A"))
    line.send(admitted("V1"), partition=2)
    line.send(adt("A02", "A", visit="V1", account="ACC", minute=9), partition=1)
    assert moved(line, "V1") == [line.patient("B")]
    [told] = line.events(event_type=MOVED, stream_id=line.admission("V1"))
    [first] = line.events(event_type=MOVED, stream_id=line.admission("ACC"))
    assert told["message_id"] == first["message_id"], "which message said it"
    created = line.events(event_type="admission.created")[0]
    assert told["metadata"]["causation_id"] == str(created["message_id"]), "why it is told here"
    check(line.store)


def test_m5_the_order_of_a_moved_account_does_not_matter(line):
    messages = (
        admitted("V1"), admitted("V2", minute=1), move("B", "A", minute=5),
        move("C", "B", minute=6), adt("A02", "A", visit="V1", account="ACC", minute=2),
    )  # fmt: skip
    ends = []
    for order in itertools.permutations(messages):
        for size in (1, 5) if order[0] is messages[0] else (2,):
            wiped(line)
            for start in range(0, 5, size):
                line.send(*order[start : start + size], partition=start % 3)
            ends.append((moved(line, "V1"), moved(line, "V2"), streams(line)))
    check(line.store)
    assert ends[0][0] == ends[0][1] == [line.patient("B"), line.patient("C")]
    assert all(each == ends[0] for each in ends)


def streams(line):
    return Counter((str(row["stream_id"]), row["event_type"]) for row in line.events())


def test_m3_m5_the_account_of_who_was_merged_moves_whatever_came_first(line):
    messages = admitted("V1"), merge("B", "A"), move("C", "B", minute=8)
    ends = []
    for order in itertools.permutations(messages):
        for size in (1, 3):
            wiped(line)
            line.send(admitted("V2", "Q"))
            for start in range(0, 3, size):
                line.send(*order[start : start + size], partition=start)
            ends.append((moved(line, "V1"), moved(line, "V2"), streams(line)))
    assert ends[0][0] == [line.patient("C")]
    assert ends[0][1] == [], "who was never merged is somebody else with that number"
    assert all(each == ends[0] for each in ends)
    assert line.store.rows("SELECT FROM dead_letters") == []
    check(line.store)


def test_m3_m5_an_undone_merge_does_not_take_back_what_an_account_moved(line):
    line.send(admitted("V1"), merge("B", "A"), unlink("A", "B"), move("C", "B", minute=10))
    assert moved(line, "V1") == [line.patient("C")], "as if the account had moved before it"


def test_m5_one_message_tells_a_bounded_number_of_visits(line, monkeypatch):
    monkeypatch.setattr(accounts, "TOLD_MAX", 1)
    line.send(admitted("V1"), move("B", "A"), admitted("V2", minute=1))
    line.send(move("C", "B", minute=8))
    letters = line.store.rows("SELECT cause, reason FROM dead_letters")
    assert [row["cause"] for row in letters] == ["refused"]
    assert moved(line, "V1") == moved(line, "V2") == [line.patient("B")]


def test_m5_a_long_chain_of_moves_is_followed_to_its_end():
    moves = [
        {"data": {"from_patient_id": f"P{number}", "patient_id": f"P{number + 1}"}}
        for number in reversed(range(accounts.MOVES_MAX))
    ]
    known = accounts.Accounts(visits={"X": {"V": {"P0"}}}, moves={"X": moves})
    assert known.reaching("X", "V") == moves[::-1]


def test_m5_an_account_number_used_again_for_somebody_else_moves_nothing_of_theirs(line):
    line.send(admitted("V1"), move("B", "A"))
    line.send(admitted("V9", "Q", minute=9))
    line.send(move("R", "Z", minute=10))
    assert moved(line, "V9") == []
    assert moved(line, "V1") == [line.patient("B")]


def test_m5_a_move_that_does_not_say_whose_the_account_was_moves_every_visit(line):
    line.send(admitted("V1"), admitted("V2", "Q", minute=1))
    nobody = move("B", "A").replace(b"MRG|A^^^NORTH^MR", b"MRG|")
    line.send(nobody)
    assert moved(line, "V1") == moved(line, "V2") == [line.patient("B")]
    line.send(admitted("V1", "B", minute=9))
    assert moved(line, "V1") == [line.patient("B")], "told once"
    assert line.store.rows("SELECT FROM dead_letters") == []


def test_m5_a_moved_account_that_names_a_visit_moves_both(line):
    line.send(admitted("V1"), admitted("V2", minute=1))
    line.send(move("B", "A", visit="V1"))
    assert set(moved(line, "V1")) == {line.patient("B")}
    assert moved(line, "V2") == [line.patient("B")]


def test_m5_a_visit_whose_number_changed_moves_under_the_new_one(line):
    line.send(admitted("V1"), adt("A50", mrg="A", mrg_visit="V1", visit="V2", minute=3))
    line.send(move("B", "A"))
    assert moved(line, "V2") == [line.patient("B")]
    assert moved(line, "V1") == []
    check(line.store)


def test_m5_a_moved_account_stays_in_its_tenant(line):
    for tenant in (TENANT, OTHER):
        line.send(admitted("V1"), tenant=tenant)
    line.send(move("B", "A"))
    rows = line.events(event_type=MOVED)
    assert {row["tenant_id"] for row in rows} == {TENANT}


@pytest.mark.parametrize("limit", [2, 1])
def test_m5_an_account_of_too_many_visits_is_not_moved(line, monkeypatch, limit):
    monkeypatch.setattr(accounts, "VISITS_MAX", limit)
    line.send(admitted("V1"), admitted("V2", minute=1))
    line.send(move("B", "A"), adt("A02", "C", visit="VC", minute=9))
    letters = line.store.rows("SELECT cause, reason FROM dead_letters")
    assert [row["cause"] for row in letters] == (["refused"] if limit == 1 else [])
    assert len(moved(line, "V1")) == (0 if limit == 1 else 1)
    assert len(line.events(event_type="admission.location_changed")) == 1, "the others pass"


def test_m5_an_account_that_moves_while_a_visit_is_learned_moves_it(line):
    line.send(adt(mrn="A", visit="V0"), adt(mrn="B", visit="VB"))
    for turn in range(8):
        name = f"ACC{turn}"
        both(
            lambda turn=turn, name=name: line.send(
                admitted(f"V{turn + 1}", account=name), partition=1
            ),
            lambda name=name: line.send(move("B", "A", account=name), partition=2),
        )
        assert moved(line, f"V{turn + 1}") == [line.patient("B")]
    check(line.store)


def test_what_is_learned_of_accounts_is_asked_for_and_written_once(line):
    for minute in range(3):
        line.send(admitted("V1", minute=minute), admitted("V1", minute=minute + 10))
    [row] = line.store.rows("SELECT * FROM visit_accounts")
    assert str(row["account_id"]) == line.admission("ACC")
    assert str(row["admission_id"]) == line.admission("V1")
    assert str(row["patient_id"]) == line.patient("A")


def test_a_visit_by_the_accounts_own_number_is_no_pair(line):
    line.send(admitted("ACC"), adt(visit="V1"), adt(visit="", account="X"))
    assert line.store.rows("SELECT FROM visit_accounts") == []


def test_what_visits_are_told_of_accounts_can_be_published(line):
    line.send(admitted("V1"), move("B", "A"))
    encode = publications.clinical_events(CODEC).encode
    [row] = line.events(event_type=MOVED, stream_id=line.admission("V1"))
    text = {name: str(one) if name.endswith("_id") or name == "created_by" else one
            for name, one in row.items()}  # fmt: skip
    _, event = CODEC.decode(encode(text).value)
    assert event["event_id"] == str(row["event_id"])
