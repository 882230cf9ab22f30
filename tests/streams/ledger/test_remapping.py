"""A newer mapper over stored messages: what differs is told, and appended beside what was told."""

import threading
from collections import Counter
from dataclasses import replace

import orjson
import pytest

from schemas import sealing
from schemas.events import SUPERSEDED
from streams.ledger import mapped, processor, remapping
from streams.ledger.mapping.facts import Facts, Ignored
from streams.ledger.mapping.hl7v2 import MAPPER_VERSION
from streams.ledger.remapping import Remapping
from tests.keyed import erase
from tests.streams.ledger.mapping.test_corpus import messages
from tests.streams.ledger.told import OTHER, TENANT, TOPIC, adt, merge

REAL = processor.map_message
JOURNEY = (
    adt("A01", "A", minute=0), adt("A02", "A", minute=1, bed="W2^R1^B1"),
    adt("A08", "A", minute=2, bed="W2^R1^B1"), adt("A03", "A", minute=3, bed="W2^R1^B1"),
)  # fmt: skip


@pytest.fixture
def mapper(monkeypatch):
    """Sets what becomes of each message's drafts from now on, by a mapper of a newer version."""

    def newer(change, version=MAPPER_VERSION + 1):
        def map_message(body, feed, **given):
            return change(REAL(body, feed, **given))

        monkeypatch.setattr(processor, "map_message", map_message)
        for module in (mapped, remapping):
            monkeypatch.setattr(module, "MAPPER_VERSION", version)

    return newer


def drafts(change):
    """A mapper that changes each draft, or drops it where the change gives none."""

    def changed(said):
        if not isinstance(said, Facts):
            return said
        parts = [
            replace(part, drafts=tuple(new for each in part.drafts if (new := change(each))))
            for part in said.parts
        ]
        told = tuple(part for part in parts if part.drafts or part.changes)
        return replace(said, parts=told) if told else ignored(said)

    return changed


def placed(place):
    """A mapper that reads another place in every message that tells of one."""
    return drafts(
        lambda draft: (
            replace(draft, data={**draft.data, "place": place})
            if draft.data.get("place")
            else draft
        )
    )


def ignored(_):
    return Ignored(
        message_type="ADT^A01", control_id="77", reason="not mapped", cause="message_type"
    )


def same(said):
    return said


def remap(line, *, apply=True, tenant=TENANT, everything=False, **more):
    which = remapping.which_of(tenant, everything=everything, **more)
    door = line.processor
    return Remapping(door=door, database=door.database).run(which, apply=apply)


def standing(line):
    """What the events that count say, opened, by stream and in their order."""
    keys = line.keys()
    events = line.events()
    gone = {row["data"]["event_id"] for row in events if row["event_type"] in SUPERSEDED}
    return [
        (
            str(row["stream_id"]), row["event_type"], str(row["person_id"]), row["occurred_at"],
            row["occurred_text"], orjson.dumps(row["data"], option=orjson.OPT_SORT_KEYS),
            tuple(opened(keys, row)),
        )
        for row in events
        if str(row["event_id"]) not in gone and row["event_type"] not in SUPERSEDED
    ]  # fmt: skip


def opened(keys, row):
    for name, envelope in sorted(row["sealed"].items()):
        clear = keys.open(
            sealing.untext(envelope), person=row["person_id"], record=row["event_id"], field=name
        )
        yield name, orjson.dumps(orjson.loads(clear), option=orjson.OPT_SORT_KEYS)


def as_set(rows):
    return Counter(rows)


def check(line):
    """Numbers without a hole, versions that rise, and counts that add up."""
    by_partition, by_stream = {}, {}
    for row in line.events():
        by_partition.setdefault(row["partition"], []).append(row["partition_seq"])
        by_stream.setdefault(row["stream_id"], []).append(row["event_version"])
    for found in (*by_partition.values(), *by_stream.values()):
        assert found == list(range(1, len(found) + 1))
    became = Counter(row["outcome"] for row in line.store.rows("SELECT outcome FROM messages"))
    told = line.store.rows(
        "SELECT sum(applied) AS applied, sum(ignored) AS ignored, sum(dead) AS dead"
        " FROM subscriptions WHERE topic = %s", TOPIC,
    )[0]  # fmt: skip
    assert {name: int(told[name] or 0) for name in ("applied", "ignored", "dead")} == {
        name: became[name] for name in ("applied", "ignored", "dead")
    }


def test_the_same_mapper_says_of_every_real_message_what_it_said(line, corpus):
    bodies = list(dict.fromkeys(messages(corpus)))
    for start in range(0, len(bodies), 100):
        line.send(*bodies[start : start + 100])
    before = line.events()
    report = remap(line, everything=True)
    assert report.looked > 500
    assert not report.said
    assert not report.left
    assert line.events() == before


@pytest.fixture
def told(line):
    line.send(*JOURNEY)
    return line


def test_a_diff_tells_types_and_names_of_fields_and_writes_nothing(told, mapper):
    before = told.events()
    mapper(placed("ZYQORV^1^2"))
    report = remap(told, apply=False)
    assert (report.looked, report.differing, report.appended) == (4, 4, 0)
    assert set(report.said) == {
        ("admission.created", "changed: place"),
        ("admission.location_changed", "changed: place"),
        ("admission.updated", "changed: place"),
        ("admission.discharged", "changed: place"),
    }
    assert "ZYQORV" not in str(report)
    assert told.events() == before
    assert {row["mapper_version"] for row in told.store.rows("SELECT * FROM messages")} == {
        MAPPER_VERSION
    }


def test_what_is_applied_stands_as_if_the_newer_mapper_had_read_it(told, mapper, store):
    old = told.events()
    mapper(placed("W9^R9^B9"))
    report = remap(told)
    assert report.appended == 8
    assert told.events()[: len(old)] == old, "nothing is rewritten"
    check(told)
    found = as_set(standing(told))
    again = as_set(standing(fresh(told, JOURNEY)))
    assert found == again


def fresh(line, bodies, **given):
    """The same messages, read anew into nothing."""
    line.store.run("TRUNCATE events, streams, messages, patient_identifiers, visit_accounts")
    line.store.run("UPDATE partitions SET next_seq = 1")
    line.numbers = iter(range(1, 10_000))
    line.send(*bodies, **given)
    return line


def test_applying_once_more_changes_nothing(told, mapper):
    mapper(placed("W9^R9^B9"))
    remap(told)
    before = told.events()
    for everything in (False, True):
        report = remap(told, everything=everything)
        assert (report.differing, report.appended) == (0, 0)
    assert report.looked == 4
    assert told.events() == before


def test_a_later_mapper_may_take_it_all_back_and_another_one_again(told, mapper):
    first = as_set(standing(told))
    mapper(placed("W9^R9^B9"))
    remap(told)
    second = as_set(standing(told))
    mapper(same, MAPPER_VERSION + 2)
    remap(told)
    assert as_set(standing(told)) == first
    mapper(drafts(lambda draft: draft if draft.stream_type == "patient" else None),
           MAPPER_VERSION + 3)  # fmt: skip
    remap(told)
    assert not [each for each in standing(told) if each[1].startswith("admission.")]
    mapper(placed("W9^R9^B9"), MAPPER_VERSION + 4)
    report = remap(told)
    assert ("admission.created", "changed: counts again") in report.said
    assert as_set(standing(told)) == second
    check(told)


def test_a_message_that_was_ignored_may_become_events_and_the_reverse(line, mapper):
    mapper(ignored, MAPPER_VERSION)  # fmt: skip
    line.send(*JOURNEY)
    assert not line.events()
    check(line)
    mapper(same)
    report = remap(line)
    assert report.appended == len(line.events()) > 4
    assert {row["outcome"] for row in line.store.rows("SELECT * FROM messages")} == {"applied"}
    check(line)
    found = as_set(standing(line))
    mapper(ignored, MAPPER_VERSION + 2)  # fmt: skip
    remap(line)
    assert not standing(line)
    rows = line.store.rows("SELECT outcome, reason, events FROM messages")
    assert {tuple(row.values()) for row in rows} == {("ignored", "not mapped", 0)}
    check(line)
    mapper(same, MAPPER_VERSION)
    assert found == as_set(standing(fresh(line, JOURNEY)))


def test_sealed_texts_are_compared_in_clear_and_sealed_anew(told, mapper):
    def renamed(draft):
        people = draft.clear.get("demographics")
        if people is None:
            return draft
        return replace(draft, clear={**draft.clear, "demographics": {**people, "sex": "M"}})

    mapper(drafts(renamed))
    report = remap(told)
    assert {what for _, what in report.said} == {"changed: demographics"}
    [old, new] = list(told.events(event_type="patient.registered"))
    clear = dict(opened(told.keys(), new))
    assert orjson.loads(clear["demographics"])["sex"] == "M"
    assert old["event_id"] != new["event_id"]


def test_merges_since_change_nothing_and_what_is_new_stays_with_whom_it_was_told_of(line, mapper):
    line.send(*JOURNEY)
    line.send(adt("A01", "B", visit="VB"), merge("B", "A"))
    person = line.patient("A")
    assert line.survivor("A") == line.patient("B") != person
    report = remap(line, apply=False, everything=True)
    assert not report.said
    mapper(placed("W9^R9^B9"))
    remap(line)
    moved = line.events(event_type="admission.location_changed")
    assert [str(row["person_id"]) for row in moved] == [person] * 2


def test_who_is_who_is_left_as_it_was_told_and_said_to_be_left(line, mapper):
    line.send(*JOURNEY, adt("A01", "B", visit="VB"), merge("B", "A"))

    def unmerged(said):
        parts = getattr(said, "parts", ())
        return replace(said, parts=tuple(replace(each, changes=()) for each in parts))

    before = line.events()
    mapper(unmerged)
    report = remap(line)
    assert report.left == {remapping.WHO: 1}
    assert report.said == {("patient.merged", "gone"): 1}
    assert line.events() == before


RENUMBERED = adt("A50", "A", visit="VNEW", mrg="A", mrg_visit="VA", minute=9)


def test_a_visit_that_goes_on_by_another_number_is_left_where_it_was_told_again(line, mapper):
    line.send(*JOURNEY)
    line.send(RENUMBERED)
    assert not remap(line, everything=True).said
    mapper(placed("W9^R9^B9"))
    before = line.events()
    assert remap(line).left == {remapping.ELSEWHERE: 4}
    assert line.events() == before


def test_what_came_after_a_visits_number_changed_is_mapped_anew_where_it_was_told(line, mapper):
    line.send(adt("A01", "A", minute=0))
    line.send(RENUMBERED)
    line.send(*JOURNEY[1:])  # by the old number
    mapper(placed("W9^R9^B9"))
    assert remap(line).left == {remapping.ELSEWHERE: 1}
    moved = line.events(event_type="admission.location_changed")
    assert {str(row["stream_id"]) for row in moved} == {line.admission("VNEW")}
    assert [row["data"]["place"] for row in moved] == ["W2^R1^B1", "W9^R9^B9"]
    check(line)


def test_nothing_is_told_anew_of_somebody_who_was_erased(told, mapper):
    erase(told.store.database, TENANT, told.patient("A"))
    told.processor.keyring.clear()
    before = told.events()
    assert not remap(told, apply=False, everything=True).said
    mapper(placed("W9^R9^B9"))
    assert remap(told).left == {remapping.ERASED: 4}
    assert told.events() == before


def test_a_message_whose_body_is_gone_is_left(told, mapper):
    told.store.run("UPDATE messages SET body_sealed = ''")
    mapper(placed("W9^R9^B9"))
    assert remap(told).left == {remapping.BODY_GONE: 4}


def test_a_message_that_the_newer_mapper_refuses_is_left(told, mapper):
    def refuse(_):
        raise processor.Unmappable("structure", "told to")

    mapper(refuse)
    before = told.events()
    assert remap(told).left == {"it can't be mapped now: structure": 4}
    assert told.events() == before


def test_messages_are_chosen_by_tenant_feed_type_and_time(line, mapper):
    line.send(*JOURNEY)
    line.send(*JOURNEY, tenant=OTHER)
    mapper(placed("W9^R9^B9"))
    assert remap(line, apply=False).looked == 4
    assert remap(line, apply=False, message_type="ADT^A02").looked == 1
    assert remap(line, apply=False, message_type="ORU").looked == 0
    [first, *_] = line.store.rows("SELECT message_id FROM messages WHERE tenant_id = %s", TENANT)
    assert remap(line, apply=False, message_id=first["message_id"]).looked == 1
    remap(line)
    touched = {row["tenant_id"] for row in line.events() if row["event_type"] in SUPERSEDED}
    assert touched == {TENANT}


def test_two_at_once_tell_each_difference_once(told, mapper):
    mapper(placed("W9^R9^B9"))
    failed = []

    def run():
        try:
            remap(told)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert not failed
    gone = [row["data"]["event_id"] for row in told.events() if row["event_type"] in SUPERSEDED]
    assert len(gone) == len(set(gone)) == 4
    check(told)


def test_large_messages_are_read_a_few_at_a_time(line, mapper, monkeypatch):
    line.send(*JOURNEY)
    sizes = []
    real = Remapping.compare
    monkeypatch.setattr(
        Remapping, "compare", lambda self, page: sizes.append(len(page)) or real(self, page)
    )
    mapper(placed("W9^R9^B9"))
    monkeypatch.setattr(remapping.remapping, "PAGE_BYTES", 1)
    assert remap(line).looked == 4
    assert sizes == [1, 1, 1, 1]


def test_who_is_broken_off_goes_on_where_it_stood(line, mapper, monkeypatch):
    monkeypatch.setattr(remapping, "PAGE_MESSAGES", 2)
    line.send(*JOURNEY)
    mapper(placed("W9^R9^B9"))
    real, calls = remapping.remapping.become, []

    def breaks(*given):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(remapping.remapping, "become", breaks)
    with pytest.raises(KeyboardInterrupt):
        remap(line)
    half = len([row for row in line.events() if row["event_type"] in SUPERSEDED])
    assert half == 2
    check(line)
    remap(line)
    assert as_set(standing(line)) == as_set(standing(fresh(line, JOURNEY)))


def test_messages_that_come_meanwhile_are_numbered_in_between(line, mapper, monkeypatch):
    monkeypatch.setattr(remapping, "PAGE_MESSAGES", 1)
    line.send(*JOURNEY)
    mapper(placed("W9^R9^B9"))
    stop, sent = threading.Event(), []

    def send():
        while not stop.is_set() and len(sent) < 30:
            line.send(adt("A08", "A", minute=10 + len(sent)), partition=len(sent) % 4)
            sent.append(1)

    thread = threading.Thread(target=send)
    thread.start()
    remap(line)
    stop.set()
    thread.join(60)
    assert sent
    check(line)
