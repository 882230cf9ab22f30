"""Who is whom, from raw messages to rows: merges, moves, changed numbers (rules M1 to M6)."""

import itertools
import uuid
from collections import Counter

import pytest

from schemas import sealing
from sinks import aliases, joins
from streams import publications
from streams.ledger.processor import KEY_TRIES
from tests.sinks.inbound import both, check
from tests.sinks.provisioned import counts
from tests.streams.ledger.told import (
    CODEC,
    OTHER,
    PARTITIONS,
    TENANT,
    adt,
    merge,
    unlink,
    wiped,
)

pytestmark = pytest.mark.stack


def test_m1_a_merge_makes_the_source_the_target_and_visits_follow(line):
    line.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    line.send(merge("A", "B"))
    a, b = line.patient("A"), line.patient("B")
    assert line.survivor("B") == a != b
    [merged] = line.events(event_type="patient.merged")
    assert str(merged["stream_id"]) == str(merged["person_id"]) == b
    assert merged["data"]["into_patient_id"] == a
    assert merged["data"]["kind"] == "merge"
    assert line.visits() == {line.admission("VA"): a, line.admission("VB"): b}, "as told"
    assert line.store.rows("SELECT FROM messages WHERE outcome <> 'applied'") == []
    check(line.store)


def test_m1_the_target_is_not_in_doubt_where_it_shares_a_number_with_the_source(line):
    line.send(adt(mrn="B~S"), adt(mrn="A"), merge("A~S", "B"))
    assert line.events(event_type="identity.conflict") == []
    assert line.survivor("B") == line.survivor("S") == line.patient("A")


def test_m1_a_source_of_several_patients_is_a_conflict_and_merges_nobody(line):
    line.send(adt(mrn="A"), adt(mrn="B"), adt(mrn="C"), merge("A", "B~C"))
    [conflict] = line.events(event_type="identity.conflict")
    assert conflict["data"]["patients"] == sorted([line.patient("B"), line.patient("C")])
    assert line.survivor("B") == line.patient("B")
    [row] = line.store.rows("SELECT reason FROM messages WHERE reason IS NOT NULL")
    assert row["reason"] == "identity.conflict"


def test_m2_an_unknown_target_is_the_new_number_of_the_source(line):
    line.send(adt(mrn="B"))
    line.send(merge("A", "B"))
    assert line.survivor("B") == line.survivor("A")
    line.send(adt("A02", mrn="A", bed="W1^R2^B4", visit="VA"))
    assert line.store.rows("SELECT FROM messages WHERE outcome <> 'applied'") == []


def test_m2_an_unknown_source_is_no_error_and_changes_nothing_of_the_target(line):
    line.send(adt(mrn="A"))
    before = line.events(stream_id=line.patient("A"))
    line.send(merge("A", "B"))
    assert line.survivor("A") == line.patient("A")
    types = [row["event_type"] for row in line.events(stream_id=line.patient("A"))]
    assert types[: len(before)] == [row["event_type"] for row in before]
    assert set(types) <= {"patient.registered", "patient.updated"}
    assert line.store.rows("SELECT FROM messages WHERE outcome <> 'applied'") == []


def test_m3_late_events_for_a_retired_identifier_reach_the_survivor(line):
    line.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), merge("A", "B"))
    home = {str(row["stream_id"]): row["partition"] for row in line.events()}
    line.send(adt("A02", mrn="B", visit="VB", bed="W1^R2^B9"), partition=2)
    [late] = line.events(event_type="admission.location_changed")
    assert str(late["person_id"]) == line.patient("B"), "whom it names"
    assert line.survivor("B") == line.patient("A"), "who that is"
    assert late["partition"] == home[line.admission("VB")], "streams keep their home"


def test_m3_chains_resolve(line):
    for target, source, minute in (("B", "A", 5), ("C", "B", 6)):
        line.send(merge(target, source, minute=minute))
    assert {line.survivor(each) for each in "ABC"} == {line.patient("C")}
    line.send(merge("D", "A", minute=7))
    assert {line.survivor(each) for each in "ABCD"} == {line.patient("D")}


def test_m3_cycles_are_refused(line):
    line.send(merge("B", "A", minute=5), merge("C", "B", minute=6), merge("A", "C", minute=7))
    assert {line.survivor(each) for each in "ABC"} == {line.patient("C")}
    reasons = line.store.rows('SELECT reason FROM messages ORDER BY "offset"')
    assert [row["reason"] for row in reasons] == [None, None, "already one patient"]
    assert counts(line.store, "ledger") == {"applied": 3}


def test_m3_two_merges_at_once_from_two_partitions_make_no_cycle(line, monkeypatch):
    line.send(adt(mrn="A"), partition=0)
    line.send(adt(mrn="B", visit="VB"), partition=1)
    both(
        lambda: line.send(merge("B", "A", minute=5), partition=0),
        lambda: line.send(merge("A", "B", minute=6), partition=1),
    )
    assert line.survivor("A") == line.survivor("B") == line.patient("B")
    check(line.store)


def test_m3_order_does_not_matter(line):
    messages = (adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), merge("A", "B"))
    seen = []
    for order in itertools.permutations(messages):
        for cuts in ((3,), (1, 2), (2, 1), (1, 1, 1)):
            wiped(line)
            left, turn = list(order), 0
            for size in cuts:
                line.send(*left[:size], partition=turn % PARTITIONS)
                left, turn = left[size:], turn + 1
            check(line.store)
            seen.append(line.told())
    assert len(seen) == 24
    assert all(each == seen[0] for each in seen)


def test_m3_a_message_that_names_both_is_about_the_survivor(line):
    line.send(adt(mrn="A"), adt(mrn="B", visit="VB"), merge("A", "B"), adt("A08", mrn="B~A"))
    line.send(adt("A08", mrn="B~A~X"))
    assert line.events(event_type="identity.conflict") == []
    assert line.patient("X") == line.patient("A")
    said = [str(row["stream_id"]) for row in line.events(event_type="patient.updated")]
    assert said.count(line.patient("B")) == 0


def test_m3_what_is_told_of_others_is_asked_for_once_and_only_if_need_be(line, monkeypatch):
    asked = []
    real = aliases.told
    monkeypatch.setattr(
        aliases, "told", lambda *given: asked.append(given[2]) or real(*given)
    )  # fmt: skip
    line.send(*(adt(mrn=f"P{n}~Q{n}", visit=f"V{n}") for n in range(20)))
    line.send(*(adt("A02", mrn=f"P{n}~Q{n}", visit=f"V{n}") for n in range(20)))
    assert asked == []
    line.send(*(merge(f"P{n}", f"P{n + 1}") for n in range(0, 20, 2)))
    assert len(asked) == 1


def test_m4_a_merge_of_patients_leaves_their_visits_apart(line):
    line.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), merge("A", "B"))
    assert len(line.events(stream_id=line.admission("VA"))) == 1
    assert len(line.events(stream_id=line.admission("VB"))) == 1
    assert line.events(event_type=joins.JOINED) == []


@pytest.mark.parametrize(
    ("trigger", "kind"),
    [("A18", "merge"), ("A30", "merge"), ("A34", "merge"), ("A36", "merge"), ("A39", "merge"),
     ("A40", "merge"), ("A43", "move"), ("A46", "change"), ("A47", "change")],
)  # fmt: skip
def test_m5_every_way_to_say_it_makes_an_alias_of_its_kind(line, trigger, kind):
    line.send(adt(mrn="A"), adt(mrn="B", visit="VB"), merge("A", "B", trigger=trigger))
    [row] = line.store.rows("SELECT * FROM patient_aliases")
    assert (str(row["patient_id"]), str(row["into_patient_id"])) == (
        line.patient("B"), line.patient("A"),
    )  # fmt: skip
    assert row["kind"] == kind


def test_m5_a_visit_that_moves_says_whose_it_was_and_merges_nobody(line):
    line.send(adt(mrn="B", visit="VB"), adt("A45", "A", mrg="B", mrg_visit="VB", visit="VB"))
    [moved] = line.events(event_type="admission.patient_changed")
    assert str(moved["stream_id"]) == line.admission("VB")
    assert moved["data"]["patient_id"] == line.patient("A")
    assert moved["data"]["from_patient_id"] == line.patient("B")
    assert line.store.rows("SELECT FROM patient_aliases") == []


def test_m6_a_merge_stays_in_its_tenant(line):
    for tenant in (TENANT, OTHER):
        line.send(adt(mrn="A"), adt(mrn="B", visit="VB"), tenant=tenant)
    line.send(merge("A", "B"))
    rows = line.store.rows("SELECT * FROM patient_aliases")
    assert [row["tenant_id"] for row in rows] == [TENANT]
    assert line.survivor("B", OTHER) == line.patient("B", OTHER)


def test_m6_streams_keep_their_home_partition_whatever_is_merged(line):
    for number, mrn in enumerate("ABC"):
        line.send(adt(mrn=mrn, visit=f"V{mrn}"), partition=number)
    home = {row["stream_id"]: row["partition"] for row in line.events()}
    line.send(merge("A", "B"), merge("C", "A", minute=6), partition=3)
    line.send(unlink("C", "A"), adt("A02", mrn="B", visit="VB"), partition=3)
    for row in line.events():
        assert row["partition"] == home[row["stream_id"]]
    check(line.store)


def test_undo_restores_what_was(line):
    line.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    line.send(merge("A", "B", minute=5))
    line.send(adt("A02", mrn="B", visit="VB", bed="W1^R2^B7", minute=6))
    line.send(merge("C", "A", minute=7), adt(mrn="C", visit="VC"))
    assert {line.survivor(each) for each in "ABC"} == {line.patient("C")}
    line.send(unlink("A", "B", minute=8))
    assert line.survivor("B") == line.patient("B")
    assert line.survivor("A") == line.patient("C")
    owners = line.visits()
    assert owners[line.admission("VB")] == line.patient("B"), "also what came between"
    assert owners[line.admission("VA")] == line.patient("A")
    [undone] = line.events(event_type="patient.unmerged")
    assert {str(undone["stream_id"]), undone["data"]["from_patient_id"]} == {
        line.patient("A"), line.patient("B"),
    }  # fmt: skip
    check(line.store)


def test_undo_before_its_merge_keeps_them_apart_too(line):
    line.send(unlink("A", "B", minute=8))
    line.send(merge("A", "B", minute=5))
    assert line.survivor("B") == line.patient("B") != line.patient("A")


# --- a changed visit number ----------------------------------------------------------------------


def renumber(new, old, *, mrn="A", minute=7):
    return adt("A50", mrn, mrg=mrn, mrg_visit=old, visit=new, minute=minute)


def path(line, visit):
    """What the stream of a visit holds, by type and bed."""
    return Counter(
        (row["event_type"], row["data"].get("place"))
        for row in line.events(stream_id=line.admission(visit))
    )


def test_m5_a_changed_visit_number_joins_the_old_stream_to_the_new_one(line):
    line.send(adt(visit="V1"), adt("A02", visit="V1", bed="W1^R2^B4", minute=2))
    line.send(renumber("V2", "V1"))
    line.send(adt("A02", visit="V1", bed="W1^R2^B5", minute=8), partition=1)
    [joined] = line.events(event_type=joins.JOINED)
    assert str(joined["stream_id"]) == line.admission("V1")
    assert joined["data"]["into_admission_id"] == line.admission("V2")
    beds = [row["data"].get("place") for row in line.events(stream_id=line.admission("V2"))]
    assert beds == ["W1^R2^B3", "W1^R2^B4", "W1^R2^B5"]
    assert len(line.events(stream_id=line.admission("V1"))) == 3, "what was told, and the joining"
    check(line.store)


def test_m5_what_is_told_again_is_sealed_for_its_own_event(line):
    line.send(adt(visit="V1"), renumber("V2", "V1"))
    line.send(adt(visit="V3"))
    line.send(renumber("V4", "V3"))
    for number, visit in (("V1", "V2"), ("V3", "V4")):
        [row] = line.events(stream_id=line.admission(visit))
        clear = line.keys().open(
            sealing.untext(row["sealed"]["visit_number"]), person=row["person_id"],
            record=row["event_id"], field="visit_number",
        )  # fmt: skip
        assert clear == f'"{number}"'.encode()


def test_m5_a_chunk_that_changes_many_numbers_asks_for_everybodys_keys_at_once(line):
    """Each round is a transaction, and there are no more than KEY_TRIES."""
    each = [f"{number}" for number in range(KEY_TRIES + 2)]
    line.send(*(adt(mrn=f"{who}{n}", visit=f"{who}{n}") for who in "XY" for n in each))
    line.send(*(merge(f"Y{n}", f"X{n}") for n in each))
    line.processor.keyring.clear()
    line.send(*(renumber(f"N{n}", f"X{n}", mrn=f"Y{n}", minute=8) for n in each))
    assert len(line.events(event_type=joins.JOINED)) == len(each)
    for n in each:
        [again] = line.events(stream_id=line.admission(f"N{n}"), event_type="admission.created")
        assert str(again["person_id"]) == line.patient(f"X{n}")
    check(line.store)


def test_m5_the_order_of_a_changed_visit_number_does_not_matter(line):
    messages = (
        adt(visit="V1"), adt("A02", visit="V1", bed="W1^R2^B4", minute=2),
        renumber("V2", "V1"), adt("A02", visit="V2", bed="W1^R2^B5", minute=8),
    )  # fmt: skip
    ends = []
    for order in itertools.permutations(messages):
        for size in (1, 2, 4):
            wiped(line)
            for start in range(0, 4, size):
                line.send(*order[start : start + size], partition=start % PARTITIONS)
            check(line.store)
            ends.append(path(line, "V2"))
            assert line.visits() == {line.admission("V2"): line.patient("A")}
    assert all(each == ends[0] for each in ends)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_m5_a_number_that_changes_twice_ends_in_the_last_one(line, order):
    messages = (adt(visit="V1"), renumber("V2", "V1"), renumber("V3", "V2", minute=8))
    for number in order:
        line.send(messages[number], partition=number)
    assert path(line, "V3") == {("admission.created", "W1^R2^B3"): 1}
    assert set(line.visits()) == {line.admission("V3")}
    check(line.store)


def test_m5_a_number_that_comes_back_ends_nothing(line):
    line.send(adt(visit="V1"), renumber("V2", "V1"), renumber("V1", "V2", minute=8))
    line.send(adt("A02", visit="V1", bed="W1^R2^B4", minute=9))
    assert set(line.visits()) == {line.admission("V2")}
    assert len(line.events(event_type=joins.JOINED)) == 1
    check(line.store)


def test_m5_a_visit_of_too_many_events_is_a_dead_letter(line, monkeypatch):
    monkeypatch.setattr(joins, "TOLD_AGAIN_MAX", 1)
    line.send(adt(visit="V1"), adt("A02", visit="V1", bed="W1^R2^B4"))
    line.send(renumber("V2", "V1"))
    [letter] = line.store.rows("SELECT * FROM dead_letters")
    assert letter["cause"] == "refused"


def test_m5_two_numbers_that_become_each_other_at_once_end_in_one_visit(line):
    for turn in range(6):
        one, two = f"V{turn}", f"W{turn}"
        both(
            lambda one=one, two=two: line.send(renumber(two, one), partition=1),
            lambda one=one, two=two: line.send(renumber(one, two, mrn="B"), partition=2),
        )
        line.send(adt(visit=one, minute=9), adt(visit=two, minute=9))
        assert len(line.store.rows("SELECT * FROM admission_aliases")) == turn + 1
    check(line.store)


def test_m5_a_ring_of_visits_is_seen_and_not_walked_for_ever():
    with pytest.raises(AssertionError, match="never in a ring"):
        joins.Visits({"1": "2", "2": "1"}).last("1")


def test_m5_what_cannot_be_opened_is_not_told_again(line):
    line.send(adt(visit="V1"), adt(visit="V3"))
    line.store.run(
        "UPDATE events SET sealed = jsonb_build_object('visit_number', 'AQ==')"
        " WHERE stream_id = %s", line.admission("V1"),
    )  # fmt: skip
    line.send(renumber("V2", "V1"), renumber("V4", "V3"))
    dead, waiting = line.store.rows('SELECT * FROM dead_letters ORDER BY "offset"')
    assert (dead["cause"], waiting["state"]) == ("refused", "parked")
    assert set(line.visits()) == {line.admission("V1"), line.admission("V3")}


def test_m5_a_message_by_the_old_number_meets_a_joining_at_once(line):
    line.send(adt(visit="V1"))
    for turn in range(6):
        old, new = f"V{turn + 1}", f"V{turn + 2}"
        both(
            lambda new=new, old=old: line.send(renumber(new, old), partition=1),
            lambda old=old, turn=turn: line.send(
                adt("A02", visit=old, bed=f"W1^R2^C{turn}", minute=turn), partition=2
            ),
        )
    assert set(line.visits()) == {line.admission("V7")}
    assert {bed for _, bed in path(line, "V7")} == {"W1^R2^B3", *(f"W1^R2^C{n}" for n in range(6))}
    check(line.store)


def test_whatever_becomes_of_it_can_be_published(line):
    encode = publications.clinical_events(CODEC).encode
    line.send(
        adt(mrn="A", visit="V1"), adt(mrn="B", visit="VB"), merge("A", "B"), unlink("A", "B"),
        adt("A45", "A", mrg="B", mrg_visit="VB", visit="VB"), adt("A08", mrn="A~B", visit="V1"),
    )  # fmt: skip
    line.send(renumber("V2", "V1"))
    types = set()
    for row in line.events():
        _, event = CODEC.decode(encode(ids_as_text(row)).value)
        types.add(row["event_type"])
        assert event["event_id"] == str(row["event_id"])
    assert types >= {
        "patient.merged", "patient.unmerged", "admission.patient_changed", "admission.joined",
        "identity.conflict",
    }  # fmt: skip


def ids_as_text(row):
    """As our own connections read it."""
    return {name: str(each) if isinstance(each, uuid.UUID) else each for name, each in row.items()}
