"""An erasure from request to receipt, over the real log and the real rows; and what holds it up."""

import select
import signal
import subprocess
import sys
import uuid
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

import migrations
from ops.erasing import ErasureUnfinished
from schemas import failpoints, identity, lookups, sealing
from schemas.failpoints import FailPoint
from schemas.sealing import KeyDestroyed
from schemas.topics import ERASURES, HL7V2
from sinks import erasing
from sinks import lookups as patients
from sinks.erasing import OnHold, PatientUnknown, RequestUnfit, Unconfirmed
from sinks.lookups import Sought
from sinks.rebuild import Rebuilding
from sinks.subscriptions import TopicReplaced
from sinks.tables import metadata
from streams.erasures import ErasuresLost
from streams.ledger.mapping import message
from streams.publications import clinical_events
from tests.ops.erased import FOLDED, Ward, backup, decode
from tests.sinks.provisioned import armed, made, store
from tests.streams.ledger.told import CODEC, Got, adt, merge, numbered, unlink
from tests.topics import PARTITIONS

__all__ = ["armed", "store"]
pytestmark = pytest.mark.stack


# Imports once, and has a child for each point that is read: it ends as that one did.
KILLED = """
import os, sys, uuid
from ops.erasing import Eraser
from ops.erasing import ErasureUnfinished
from schemas import failpoints
from schemas.codec import Codec, Ids
from schemas.sealing import Root
from sinks.database import Database
worker, migrate, admin, servers, tenant, request = sys.argv[1:]
for point in sys.stdin:
    child = os.fork()
    if child == 0:
        failpoints._armed = failpoints.parse(point.strip() + "=kill")
        Eraser(
            database=Database.open(worker, name="killed", size=2), migrate_url=migrate,
            admin_url=admin, bootstrap_servers=servers, codec=Codec(Ids.in_order()),
            service=Root(bytes(range(32))), held_seconds=0.1, wait_seconds=30.0,
        ).run(uuid.UUID(tenant), [uuid.UUID(request)])
        os._exit(0)
    print(-os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
ORDER = [
    f"erase: {step}"
    for step in ("requested", "announced", "destroyed", "told", "taken out", "vacuumed")
]
STEPS = [name for name in failpoints.NAMES if name.startswith("erase: ")]


@pytest.fixture(scope="module")
def hospital(stack):
    with made(stack) as one:
        yield one


@pytest.fixture
def ward(hospital, stack):
    """A tenant of the test's own, beside those of others."""
    return Ward(hospital, stack.bootstrap_servers)


@pytest.fixture
def alone(store, stack):
    """One in a database of its own, whose positions may be spoilt."""
    return Ward(store, stack.bootstrap_servers)


def in_an_hour():
    """After any erasure of today's, as HL7 writes it."""
    return f"{datetime.now(UTC) + timedelta(hours=1):%Y%m%d%H%M%S}".encode()


def opened(ward, row, field):
    """What an event's sealed field says, by all keys there are."""
    keys, person = ward.keys(), uuid.UUID(row["person_id"])
    envelope = sealing.untext(row["sealed"][field])
    return keys.open(envelope, person=person, record=uuid.UUID(row["event_id"]), field=field)


def rows(store, *tables):
    return {
        name: store.rows(f"SELECT each::text FROM {name} AS each ORDER BY 1") for name in tables
    }


def found(ward, **query):
    keys = ward.keys()
    tokens = lookups.named(keys.identity, query["name"]) if "name" in query else []
    mrn = query.get("mrn") and uuid.UUID(bytes=identity_of(keys, query["mrn"]))
    with ward.store.database.connection() as connection, connection.transaction():
        connection.execute("SELECT set_config('wt.tenants', %s, true)", (f"{{{ward.tenant}}}",))
        return patients.find(connection, Sought(tokens=tokens, value_hmac=mrn))[0]


def identity_of(keys, mrn):
    return identity.lookup(keys.identity, numbered(mrn))


def test_a_person_is_erased_under_every_id_and_nobody_else(ward):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), adt(mrn="C", visit="VC"))
    ward.send(merge("A", "B"))
    ward.fold()
    a, b, c = map(ward.patient, "ABC")
    assert len(found(ward, name="Rook")) == 2
    request = ward.request(b, confirmed=2)
    assert (request.status, request.patient_id) == ("pending", uuid.UUID(str(a)))
    done = ward.run(request)
    assert done.status == "completed"
    for row in ward.events():
        for field in row["sealed"]:
            if row["person_id"] == str(c):
                assert opened(ward, row, field)
            else:
                with pytest.raises(KeyDestroyed):
                    opened(ward, row, field)
    assert [len(row["body_sealed"]) > 0 for row in ward.messages(topic="emr.hl7v2.v1")] == [
        False, False, True, False,
    ]  # fmt: skip
    assert [str(each.id) for each in found(ward, name="Rook")] == [str(c)]
    assert found(ward, mrn="A") == found(ward, mrn="B") == []
    assert len(found(ward, mrn="C")) == 1
    for patient in (a, b):
        assert ward.model(patient)["demographics"] is None
        assert ward.model(patient)["erased_at"]
    assert ward.model(c)["demographics"]
    told = {row["stream_id"] for row in ward.events(event_type="patient.erased")}
    assert told == {str(a), str(b)}
    [shown] = ward.store.rows("SELECT deleted_at FROM patients WHERE id = %s", a)
    assert shown["deleted_at"] == done.erased_at


def test_a_receipt_says_what_was_destroyed_and_until_when_topics_hold_bodies(ward):
    ward.send(adt(mrn="A", visit="VA"), adt("A02", mrn="A", visit="VA"), adt(mrn="C", visit="VC"))
    ward.fold()
    done = ward.erase(ward.patient("A"))
    receipt = done.receipt
    [one] = receipt["people"]
    assert (one["patient_id"], one["key_version"]) == (str(ward.patient("A")), 1)
    mine = [row for row in ward.events() if row["person_id"] == str(ward.patient("A"))]
    mine = [row for row in mine if row["event_type"] != "patient.erased"]
    assert one["events"] == len(mine)
    assert one["envelopes"] == sum(len(row["sealed"]) for row in mine)
    assert (receipt["bodies"], one["letters"]) == (2, 0)
    assert receipt["tokens"] == 16
    assert set(receipt["raw_topics_until"]) == {"emr.hl7v2.v1", "app.commands.v1"}
    assert done.completed_at > done.destroyed_at > done.erased_at
    assert "Rook" not in str(receipt)


def test_a_rebuild_shows_who_was_erased_as_erased_byte_for_byte(ward):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="C", visit="VC"))
    ward.fold()
    ward.erase(ward.patient("A"))
    ward.send(adt("A08", mrn="A", visit="VA", minute=7))
    ward.fold()
    tables = sorted({table.name for each in FOLDED for table in each.owns})
    before = rows(ward.store, *tables)
    assert before["patient_read_models"]
    rebuilding = Rebuilding(
        database=ward.store.database, owner_url=ward.store.migrate,
        events=clinical_events(CODEC).source, decode=decode,
    )  # fmt: skip
    for projection in FOLDED:
        rebuilding.run(projection)
    assert rows(ward.store, *tables) == before


def test_a_legal_hold_refuses_when_asked_and_when_taken_up_until_it_is_released(ward):
    ward.send(adt(mrn="A"), adt(mrn="B", visit="VB"), merge("A", "B"))
    ward.fold()
    a, b = ward.patient("A"), ward.patient("B")
    waiting = ward.request(a, confirmed=2)
    erasing.hold(ward.store.database, ward.tenant, b, reason="a lawsuit", placed_by="court")
    with pytest.raises(OnHold, match="a legal hold stands"):
        ward.run(waiting)
    with pytest.raises(OnHold):
        ward.request(a, confirmed=2)
    listed = ward.seen("SELECT status FROM data_deletion_requests")
    assert [row["status"] for row in listed] == ["refused", "refused"]
    assert ward.announced(waiting) == []
    assert ward.events()[0]["sealed"]
    assert opened(ward, ward.events()[0], "demographics")
    assert erasing.release(ward.store.database, ward.tenant, a, released_by="court") == 1
    assert ward.erase(a, confirmed=2).status == "completed"


def test_a_hold_comes_too_late_when_the_erasure_was_taken_up(ward):
    ward.send(adt(mrn="A"))
    request = ward.request(ward.patient("A"))
    erasing.begin(ward.store.database, ward.tenant, request.id)
    with pytest.raises(RequestUnfit, match="too late"):
        erasing.hold(
            ward.store.database, ward.tenant, ward.patient("A"), reason="x", placed_by="y"
        )  # fmt: skip


@pytest.mark.parametrize("confirmed", [None, 1, 3])
def test_aliases_that_nobody_confirmed_are_named_and_nothing_is_asked(ward, confirmed):
    ward.send(adt(mrn="A"), adt(mrn="B", visit="VB"), merge("A", "B"))
    with pytest.raises(Unconfirmed, match="--confirm 2") as refused:
        ward.request(ward.patient("A"), confirmed=confirmed)
    assert str(ward.patient("A")) in str(refused.value)
    assert str(ward.patient("B")) in str(refused.value)
    assert ward.seen("SELECT FROM data_deletion_requests") == []


def test_a_merge_after_the_confirmation_holds_the_erasure_up(ward):
    ward.send(adt(mrn="A"), adt(mrn="B", visit="VB"))
    request = ward.request(ward.patient("A"))
    ward.send(merge("A", "B"))
    with pytest.raises(Unconfirmed, match=f"since it was confirmed.*erase cancel {request.id}"):
        ward.run(request)
    assert erasing.cancel(ward.store.database, ward.tenant, request.id, "x").status == "cancelled"
    with pytest.raises(RequestUnfit, match="cancelled"):
        ward.run(request)
    assert ward.announced(request) == []


def test_an_erasure_that_was_taken_up_is_carried_out_before_another_of_the_same_id(ward):
    ward.send(adt(mrn="A"), adt(mrn="B", visit="VB"))
    first = ward.request(ward.patient("A"))
    erasing.begin(ward.store.database, ward.tenant, first.id)
    ward.send(merge("B", "A"))
    second = ward.request(ward.patient("B"), confirmed=2)
    with pytest.raises(RequestUnfit, match=f"erase run {first.id}"):
        ward.run(second)
    assert ward.run(first).status == "completed"
    assert ward.run(second).status == "completed"


def test_a_person_has_one_open_request_and_one_who_is_unknown_none(ward):
    ward.send(adt(mrn="A"))
    ward.request(ward.patient("A"))
    with pytest.raises(RequestUnfit, match="is open"):
        ward.request(ward.patient("A"))
    with pytest.raises(PatientUnknown):
        ward.request(uuid.uuid4())


def test_what_is_told_late_is_kept_without_texts_tokens_and_body(ward):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="C", visit="VC"))
    ward.fold()
    ward.erase(ward.patient("A"))
    ward.send(
        adt("A08", mrn="A", visit="VA", minute=7),
        adt("A99", mrn="A", visit="VA"),  # of no event
        adt("A08", mrn="A", visit="VA").replace(b"|20260302090000||ADT", b"|oops||\x00ADT"),
        adt("A08", mrn="C", visit="VC", minute=8),
    )
    ward.fold()
    bodies = [(row["outcome"], len(row["body_sealed"]) > 0) for row in ward.messages()[-5:]]
    late = [row for row in ward.events() if row["person_id"] == str(ward.patient("A"))][-2:]
    assert [row["sealed"] for row in late] == [{}, {}]
    assert all(row["metadata"]["erased"] for row in late)
    assert not any("tokens" in row["data"] for row in late)
    assert found(ward, mrn="A") == []
    assert [str(each.id) for each in found(ward, name="Rook")] == [str(ward.patient("C"))]
    assert ("applied", True) in bodies, "of somebody else"
    assert ("ignored", False) in bodies
    assert ("ignored", True) not in bodies
    assert ward.events(event_type="admission.updated")[-1]["data"]["place"], "codes and places stay"


def test_a_fault_in_reading_one_message_stops_neither_the_ledger_nor_an_erasure(ward, monkeypatch):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    ward.fold()
    ward.erase(ward.patient("A"))

    def raises(body, **_):
        if b"VC" in body:
            raise RecursionError
        return message.parse(body, **_)

    monkeypatch.setattr("streams.ledger.mapping.hl7v2.parse", raises)
    monkeypatch.setattr("streams.ledger.mapping.mentions.parse", raises)
    ward.send(adt(mrn="C", visit="VC"), adt("A08", mrn="B", visit="VB", minute=7))
    assert [row["outcome"] for row in ward.messages(topic="emr.hl7v2.v1")][-2:] == [
        "dead", "applied",
    ]  # fmt: skip
    ward.fold()
    receipt = ward.erase(ward.patient("B")).receipt
    assert receipt["unreadable_bodies"] >= 1


@pytest.mark.parametrize(
    "damage",
    ["set_byte(record_sealed, 110, get_byte(record_sealed, 110) # 1)", "'x'::bytea", "''::bytea"],
    ids=["changed", "cut", "empty"],
)
def test_a_damaged_dead_letter_stops_nobodys_erasure_and_the_receipt_says_so(alone, damage):
    ward = alone
    ward.send(adt(mrn="A", visit="VA"), b"junk")  # the tenant's
    junk = [Got(next(ward.offsets[1]), b"junk")]  # nobody's
    ward.processor.apply(HL7V2.name, 1, ward.processor.prepare(HL7V2.name, 1, junk))
    tenants = {row["tenant_id"] for row in ward.store.rows("SELECT tenant_id FROM dead_letters")}
    assert len(tenants) == 2
    ward.store.run(f"UPDATE dead_letters SET record_sealed = {damage}")
    ward.store.run(f"UPDATE messages SET body_sealed = {damage.replace('record', 'body')}"
                   " WHERE outcome = 'dead'")  # fmt: skip
    before = ward.store.rows("SELECT id, record_sealed FROM dead_letters ORDER BY id")
    ward.fold()
    receipt = ward.erase(ward.patient("A")).receipt
    assert (receipt["shut_letters"], receipt["unreadable_letters"]) == (2, 0)
    [said] = [each for each in receipt["stays"] if "letters" in each["what"]]
    assert (said["what"], said["count"]) == ("dead letters that don't open", 2)
    assert "root key" in said["why"]
    bodies = [each["count"] for each in receipt["stays"] if "bodies" in each["what"]]
    assert sum(bodies) == receipt["unreadable_bodies"]
    assert ward.store.rows("SELECT id, record_sealed FROM dead_letters ORDER BY id") == before


def test_texts_of_before_people_had_keys_end_an_erasure_only_if_they_may_stay(ward):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    ward.fold()
    a = ward.patient("A")
    [old] = [each for each in ward.events(stream_id=str(a)) if each["sealed"]]
    [(name, _)] = old["sealed"].items()
    keys, person, record = ward.keys(), uuid.UUID(str(a)), uuid.UUID(old["event_id"])
    envelope = sealing.seal(
        b'{"family": "Rook"}', keys.data[1], tenant=ward.tenant, person=person, record=record,
        field=name,
    )  # fmt: skip
    ward.store.run(
        "UPDATE events SET sealed = jsonb_build_object(%s::text, %s::text) WHERE event_id = %s",
        name, sealing.text(envelope), record,
    )  # fmt: skip
    assert b"Rook" in opened(ward, ward.events(stream_id=str(a))[0], name)
    request = ward.request(a)
    other = ward.request(ward.patient("B"))
    for _ in range(2):
        with pytest.raises(ErasureUnfinished, match=rf"--old-texts-stay ends it.*: {request.id}$"):
            ward.run_all([request, other])
    stands = {row["id"]: row["status"] for row in ward.seen("SELECT * FROM data_deletion_requests")}
    assert stands == {str(request.id): "processing", str(other.id): "completed"}
    done, beside = ward.eraser(old_texts_stay=True).run(ward.tenant, [request.id, other.id])
    assert (done.status, beside.status) == ("completed", "completed")
    [said] = [each for each in done.receipt["stays"] if "tenant's key, of before" in each["what"]]
    assert said["count"] == 1
    assert not any("of before" in each["what"] for each in beside.receipt["stays"])
    with pytest.raises(KeyDestroyed):
        opened(ward, ward.events(stream_id=str(a))[0], name)


def test_a_key_that_a_process_still_holds_keeps_nothing_of_whom_was_erased(ward):
    other = ward.worker()
    ward.send(adt(mrn="A", visit="VA"), processor=other)  # which holds the key from now on
    ward.processor = ward.worker()
    ward.fold()
    ward.erase(ward.patient("A"))
    other.take(
        [("emr.hl7v2.v1", n) for n in range(4)], generation=2,
    )  # fmt: skip
    [held] = [each for _, each in other.keyring._subjects.values()]
    assert held.keys, "the minute isn't over"
    ward.send(adt("A08", mrn="A", visit="VA", minute=7), processor=other)
    late = [row for row in ward.events() if row["person_id"] == str(ward.patient("A"))][-1]
    assert (late["sealed"], late["metadata"]["erased"]) == ({}, True)
    assert "tokens" not in late["data"]
    assert ward.messages(topic="emr.hl7v2.v1")[-1]["body_sealed"] == b""
    ward.fold()
    assert found(ward, name="Rook") == []


def test_who_comes_anew_after_an_erasure_is_sealed_by_a_new_key_if_the_tenant_wants_that(ward):
    ward.store.run("UPDATE tenants SET erased_people = 'anew' WHERE id = %s", ward.tenant)
    ward.send(adt(mrn="A", visit="VA"))
    ward.fold()
    ward.erase(ward.patient("A"))
    ward.send(adt("A08", mrn="A", visit="VA", minute=7))  # said before
    ward.send(adt("A08", mrn="A", visit="VA").replace(b"20260302090000", in_an_hour()))
    ward.send(adt("A08", mrn="A", visit="VA", minute=8))
    ward.fold()
    dark, anew, late = ward.events(event_type="patient.updated")
    assert dark["sealed"] == late["sealed"] == {}
    assert b"Rook" in opened(ward, anew, "demographics")
    with pytest.raises(KeyDestroyed):
        opened(ward, ward.events()[0], "demographics")
    assert [row["version"] for row in ward.seen(
        "SELECT version FROM subject_keys WHERE destroyed_at IS NULL")] == [2]  # fmt: skip
    assert len(found(ward, name="Rook")) == 1
    bodies = [len(row["body_sealed"]) > 0 for row in ward.messages(topic="emr.hl7v2.v1")]
    assert bodies == [False, False, True, False]
    assert ward.erase(ward.patient("A")).receipt["people"][0]["key_version"] == 2
    with pytest.raises(KeyDestroyed):
        opened(ward, anew, "demographics")
    assert found(ward, name="Rook") == []


def test_who_was_erased_is_erased_again_with_whom_was_merged_into_them_since(ward):
    ward.store.run("UPDATE tenants SET erased_people = 'anew' WHERE id = %s", ward.tenant)
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    ward.fold()
    ward.erase(ward.patient("A"))
    between = f"{datetime.now(UTC):%Y%m%d%H%M%S.%f}"[:-2].encode()
    ward.send(merge("A", "B"))
    ward.fold()
    again = ward.erase(ward.patient("A"), confirmed=2)
    assert again.status == "completed"
    assert len(ward.announced(again)) == 2
    assert len(ward.events(event_type="patient.erased")) == 3
    assert found(ward, name="Rook") == []
    ward.send(adt("A08", mrn="A", visit="VA").replace(b"20260302090000", between))
    late = ward.events(event_type="patient.updated", stream_id=str(ward.patient("A")))[-1]
    assert late["data"]["trigger"] == "A08"
    assert late["sealed"] == {}, "said before the last erasure"


def ignored(ward):
    """How many messages the ledger counts as ignored."""
    [counted] = ward.store.rows(
        "SELECT sum(ignored) AS ignored FROM subscriptions"
        " WHERE topic = 'emr.hl7v2.v1' AND subscription_id = 'ledger'"
    )
    return counted["ignored"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_merge_of_an_erased_person_is_not_undone_whatever_came_first(ward, order):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    ward.fold()
    ward.erase(ward.patient("B"))
    told, before = (merge("A", "B", minute=5), unlink("A", "B", minute=9)), ignored(ward)
    for each in order:
        ward.send(told[each])
    [alias] = ward.seen("SELECT * FROM patient_aliases WHERE undone_at IS NULL")
    assert alias["patient_id"] == str(ward.patient("B"))
    assert ward.events(event_type="patient.unmerged") == []
    [refused] = ward.messages(outcome="ignored")
    assert refused["reason"] == "the merge of an erased person isn't undone"
    assert refused["body_sealed"] == b""
    assert ignored(ward) - before == 1


@pytest.mark.parametrize("erased", ["A", "B"])
def test_a_wrong_merge_with_an_erased_person_darkens_nothing_of_the_other(ward, erased):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"))
    ward.fold()
    ward.erase(ward.patient(erased))
    alive = "A" if erased == "B" else "B"
    ward.send(merge("A", "B", minute=5))
    ward.send(adt("A08", mrn=alive, visit=f"V{alive}", minute=7))
    ward.send(unlink("A", "B", minute=9))
    ward.send(adt("A08", mrn=alive, visit=f"V{alive}", minute=11))
    ward.send(adt("A08", mrn=erased, visit=f"V{erased}", minute=13))
    ward.fold()
    theirs = [row for row in ward.events() if row["person_id"] == str(ward.patient(alive))]
    told = [row for row in theirs if row["event_type"].startswith("patient.up")][-2:]
    assert all(b"Rook" in opened(ward, row, "demographics") for row in (theirs[0], *told))
    late = ward.events(event_type="patient.updated", stream_id=str(ward.patient(erased)))[-1]
    assert (late["sealed"], late["metadata"]["erased"]) == ({}, True)
    assert ward.model(ward.patient(alive))["demographics"]
    assert ward.messages(outcome="ignored")[0]["reason"] == (
        "the merge of an erased person isn't undone"
    )
    nobody = [] if erased == "A" else [str(ward.patient("A"))]
    assert [str(each.id) for each in found(ward, mrn=alive)] == nobody


def test_in_a_restored_backup_the_merge_of_whom_was_erased_since_is_not_undone(alone):
    ward = alone
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), merge("A", "B", minute=5))
    ward.send(adt(mrn="C", visit="VC"))
    ward.fold()
    with backup(ward.store) as restored:
        ward.erase(ward.patient("A"), confirmed=2)
        old = ward.on(restored)
        assert old.replay() == 2
        old.send(unlink("A", "B", minute=9))  # before the ledger has told of the erasure
        [refused] = old.messages(outcome="ignored")
        assert refused["reason"] == "the merge of an erased person isn't undone"
        old.follow()
        assert len(old.events(event_type="patient.erased")) == 2
        assert old.events(event_type="patient.unmerged") == []
        [alias] = old.seen("SELECT * FROM patient_aliases WHERE undone_at IS NULL")
        assert alias["patient_id"] == str(ward.patient("B"))
        mine = old.events(stream_id=str(ward.patient("C")))
        assert b"Rook" in opened(old, mine[0], "demographics")
        assert found(old, mrn="A") == found(old, mrn="B") == []


@contextmanager
def erasers(ward, request):
    """Erasers of their own, each killed at the point that is given, while workers go on."""
    store = ward.store
    arguments = [store.worker, store.migrate, store.admin, ward.servers, str(ward.tenant)]
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, *arguments, str(request.id)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip

    def killed(point):
        child.stdin.write(f"{point}\n")
        for _ in range(600):
            ward.follow()
            if select.select([child.stdout], [], [], 0.1)[0]:
                return int(child.stdout.readline())
        raise AssertionError("the eraser never ends")

    try:
        yield killed
    finally:
        child.stdin.close()
        child.wait(30)
        child.stdout.close()


def test_an_eraser_killed_at_each_step_goes_on_and_announces_once(ward):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), merge("A", "B"))
    ward.fold()
    request = ward.request(ward.patient("A"), confirmed=2)
    assert len(STEPS) == 6
    with erasers(ward, request) as killed:
        for point in sorted(STEPS, key=ORDER.index):
            assert killed(point) == signal.SIGKILL, point
    assert ward.run(request).status == "completed"
    told = [each["erasure_id"] for each in ward.announced(request)]
    assert len(told) == len(set(told)) == 2
    assert len(ward.events(event_type="patient.erased")) == 2
    assert ward.run(request).status == "completed"
    assert len(ward.announced(request)) == 2


def test_an_eraser_that_fails_at_each_step_goes_on_and_announces_once(ward, armed):
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="B", visit="VB"), merge("A", "B"))
    ward.fold()
    request = ward.request(ward.patient("A"), confirmed=2)
    for point in sorted(STEPS, key=ORDER.index):
        armed(f"{point}=raise")
        with pytest.raises(FailPoint, match=point):
            ward.run(request)
    armed("")
    assert ward.run(request).status == "completed"
    assert len(ward.announced(request)) == 2
    assert len(ward.events(event_type="patient.erased")) == 2


def test_a_restored_backup_is_told_of_erasures_before_anything_is_opened(alone):
    ward = alone
    ward.send(adt(mrn="A", visit="VA"), adt(mrn="C", visit="VC"))
    ward.fold()
    a, c = ward.patient("A"), ward.patient("C")
    with backup(ward.store) as restored:
        ward.erase(a)
        old = ward.on(restored)
        assert opened(old, old.events()[0], "demographics"), "where the replay is left out"
        assert len(found(old, name="Rook")) == 2
        assert old.replay() == 1
        for row in old.events(person_id=str(a)):
            for name in row["sealed"]:
                with pytest.raises(KeyDestroyed):
                    opened(old, row, name)
        assert [str(each.id) for each in found(old, name="Rook")] == [str(c)]
        assert old.replay() == 0
        old.follow()
        assert [row["stream_id"] for row in old.events(event_type="patient.erased")] == [str(a)]
        assert old.model(a)["erased_at"] == ward.model(a)["erased_at"]
        assert opened(old, old.events(stream_id=str(c))[0], "demographics")


def test_a_tenants_key_that_does_not_open_holds_up_no_others_erasures(alone):
    ward, other = alone, Ward(alone.store, alone.servers)
    ward.processor, ward.offsets, ward.at = other.processor, other.offsets, other.at
    for each in (ward, other):
        each.send(*(adt(mrn=f"M{n}", visit=f"V{n}") for n in range(6)))
        each.fold()
    with backup(ward.store) as restored:
        for each in (ward, other):
            each.run_all([each.request(patient) for patient in each.patients.values()])
        beside, old = other.on(restored), ward.on(restored)
        key = "UPDATE tenant_keys SET wrapped = set_byte(wrapped, 20, get_byte(wrapped, 20) # 1)"
        restored.run(f"{key} WHERE tenant_id = %s AND purpose = 'identity'", ward.tenant)
        for again in (6, 0):
            done = old.replayed()
            assert (done.destroyed, list(done.waiting)) == (again, [ward.tenant])
            assert "root key doesn't open" in done.waiting[ward.tenant]
        dead = "SELECT tenant_id FROM subject_keys WHERE wrapped IS NULL"
        assert {row["tenant_id"] for row in restored.rows(dead)} == {other.tenant}
        restored.run(f"{key} WHERE tenant_id = %s AND purpose = 'identity'", ward.tenant)
        assert (old.replay(), old.replay()) == (6, 0)
        assert restored.rows("SELECT FROM subject_keys WHERE wrapped IS NOT NULL") == []
        for each in (old, beside):
            with pytest.raises(KeyDestroyed):
                opened(each, each.events()[0], "demographics")


def test_a_log_of_erasures_that_lacks_some_or_is_another_one_stops_everything(alone):
    ward = alone
    ward.send(adt(mrn="A", visit="VA"))
    ward.replay()
    change = "UPDATE subscriptions SET {} WHERE subscription_id = 'erasures'"
    ward.store.run(change.format("next_offset = 1000000, no_record = 1000000 - applied - ignored"
                                 " - dead"))  # fmt: skip
    with pytest.raises(ErasuresLost, match="has lost some"):
        ward.replay()
    ward.store.run(change.format("next_offset = 0, no_record = 0, applied = 0, ignored = 0,"
                                 " dead = 0, topic_id = 'another'"))  # fmt: skip
    with pytest.raises(TopicReplaced):
        ward.replay()


def test_a_transaction_left_open_in_the_log_hides_no_erasure(ward):
    ward.send(adt(mrn="A", visit="VA"))
    ward.fold()
    producer = Producer({"bootstrap.servers": ward.servers, "transactional.id": str(ward.tenant)})
    producer.init_transactions(20)
    producer.begin_transaction()
    for partition in range(PARTITIONS):
        producer.produce(ERASURES.name, b"junk", partition=partition)
    assert producer.flush(20) == 0
    try:
        assert ward.erase(ward.patient("A")).status == "completed"
        with pytest.raises(KeyDestroyed):
            opened(ward, ward.events()[0], "demographics")
    finally:
        producer.abort_transaction(20)
    assert ward.replay() == 0
    ward.tell()


def pages(store, table):
    """A table's file as it is on the disk, with what is free in it."""
    store.run("CHECKPOINT")
    [row] = store.rows(
        "SELECT pg_read_binary_file(pg_relation_filepath(%s)) AS bytes", table
    )  # fmt: skip
    return bytes(row["bytes"])


def test_a_destroyed_key_is_in_no_page_of_its_table(alone):
    ward = alone  # what a plain one leaves depends on the rows of others in the page
    ward.send(*(adt(mrn=f"M{n}", visit=f"V{n}") for n in range(12)))
    ward.fold()
    wrapped = {
        row["subject_id"]: bytes(row["wrapped"])
        for row in ward.store.rows(
            "SELECT subject_id, wrapped FROM subject_keys WHERE tenant_id = %s", ward.tenant
        )
    }
    whom = {name: each for name, each in ward.patients.items() if name != "M0"}
    requests = [ward.request(each).id for each in whom.values()]
    with pytest.raises(ErasureUnfinished, match="the ledger hasn't told of it"):
        ward.eraser(tell=lambda _: None).run(ward.tenant, requests)
    ward.store.run("VACUUM subject_keys")
    there = pages(ward.store, "subject_keys")
    assert any(wrapped[each] in there for each in whom.values()), "destroyed and vacuumed"
    ward.eraser().run(ward.tenant, requests)
    there = pages(ward.store, "subject_keys")
    assert not any(wrapped[each] in there for each in whom.values())
    assert wrapped[ward.patient("M0")] in there


def test_no_key_or_body_is_in_a_sample_that_the_planner_keeps(ward):
    ward.send(*(adt(mrn=f"M{n}", visit=f"V{n}") for n in range(12)))
    secret = [
        (str(table.name), column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name in ("wrapped", "body_sealed", "record_sealed")
    ]
    assert len(secret) == 4
    assert ("subject_keys", "subject_id") in sampled(ward), "the planner has its samples"
    assert sampled(ward).isdisjoint(secret)
    ward.store.run("ALTER TABLE subject_keys ALTER COLUMN wrapped SET STATISTICS 100")
    assert not sampled(ward).isdisjoint(secret), "as it was"
    migration = Path(migrations.__file__).parent / "versions" / "020_no_samples_of_keys.sql"
    ward.store.run(migration.read_text())
    assert sampled(ward).isdisjoint(secret)


def sampled(ward):
    """The columns of which the planner keeps values."""
    ward.store.run("ANALYZE subject_keys, tenant_keys, messages, dead_letters")
    rows = ward.store.rows("SELECT tablename, attname FROM pg_stats")
    return {(row["tablename"], row["attname"]) for row in rows}


def test_bodies_are_taken_out_by_nobody_but_an_erasure(ward):
    ward.send(adt(mrn="A", visit="VA"))
    request = ward.request(ward.patient("A"))
    call = "SELECT erase_bodies(%s, ARRAY[%s]::uuid[], ARRAY[%s]::uuid[])"
    [message] = ward.messages(topic="emr.hl7v2.v1")
    named = (request.id, message["feed_id"], message["message_id"])
    refused = psycopg.errors.InsufficientPrivilege
    early = psycopg.errors.ObjectNotInPrerequisiteState
    for role, error in (("worker", refused), ("app", refused), ("migrate", early)):
        with (
            psycopg.connect(getattr(ward.store, role), autocommit=True) as connection,
            pytest.raises(error),
        ):
            connection.execute(call, named)
    assert ward.messages(topic="emr.hl7v2.v1") == [message]


def test_what_is_announced_by_who_has_no_key_of_the_tenant_erases_nobody(ward, stack):
    from schemas.erasures import RECORD, Erasure

    ward.send(adt(mrn="A", visit="VA"))
    forged = Erasure(
        request_id=uuid.uuid4(), tenant_id=ward.tenant,
        patient_id=uuid.UUID(str(ward.patient("A"))), key_version=1,
        erased_at=ward.store.rows("SELECT now() AS now")[0]["now"],
    )  # fmt: skip
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers})
    producer.produce("subject.erasures.v1", CODEC.encode(RECORD, forged.record(bytes(32))))
    producer.produce("subject.erasures.v1", b"junk")
    assert producer.flush(10) == 0
    assert ward.replay() == 0
    ward.tell()
    assert opened(ward, ward.events()[0], "demographics")
    assert ward.events(event_type="patient.erased") == []
    causes = {row["cause"] for row in ward.store.rows("SELECT cause FROM dead_letters")}
    assert causes >= {"unproven", "undecodable"}
