"""From records of app.commands.v1 to events, results and dead letters, through the processor."""

import uuid
from dataclasses import replace

import pytest

from schemas import identity, sealing
from schemas.clock import instant
from schemas.sealing import EnvelopeInvalid
from sinks import tenancy
from streams import ports
from streams.ledger import processor
from streams.ledger.commands.aggregate import Told
from tests import keyed
from tests.sinks.provisioned import counts
from tests.streams.ledger.commands import counting
from tests.streams.ledger.commands.conftest import (
    CLERK,
    ISSUED,
    OTHER,
    RECORD,
    ROOT,
    TENANT,
    TOPIC,
)
from tests.streams.ledger.test_processor import everything

pytestmark = pytest.mark.stack

CANARY = "Canarynote"


def test_a_command_becomes_its_events_with_every_id_and_a_result(line):
    assert line.send(line.begin(), line.add(5)) == 2
    begun, added = line.events()
    assert [begun["event_type"], added["event_type"]] == ["count.begun", "count.added"]
    first, second = line.results()
    for event, result in ((begun, first), (added, second)):
        assert event["feed_id"] == identity.app_feed(TENANT)
        assert event["message_id"] == result["command_id"]
        assert str(event["created_by"]) == CLERK
        assert event["metadata"]["causation_id"] == str(result["command_id"])
        assert event["occurred_at"] == instant(ISSUED)
        assert event["occurred_field"] == "command"
        assert event["stream_id"] == result["stream_id"]
        assert (result["event_partition"], result["event_seq"]) == (
            event["partition"], event["partition_seq"],
        )  # fmt: skip
    assert [each["version"] for each in (first, second)] == [1, 2]
    assert added["data"] == {"by": 5, "doubled": False}
    assert counts(line.store, "ledger") == {"applied": 2}


def test_the_time_that_an_event_gives_goes_before_the_commands(line):
    line.send(line.begin(), line.record("count.add", {"by": 1, "at": ISSUED - 1}))
    assert line.events()[1]["occurred_at"] == instant(ISSUED - 1)


def test_what_is_to_be_sealed_is_sealed_for_the_person_it_is_about(line):
    patient = str(uuid.UUID(int=0x9A))
    line.store.run("INSERT INTO streams VALUES (%s, 'patient', %s, 2, 1, now())", patient, TENANT)
    line.send(line.begin(CANARY, patient), line.begin(CANARY, stream=2))
    ours, own = line.events()
    assert (str(ours["person_id"]), own["person_id"]) == (patient, None)
    assert ours["partition"] == 2
    for event, person in ((ours, patient), (own, str(own["stream_id"]))):
        envelope = sealing.untext(event["sealed"]["note"])
        asked = {"person": uuid.UUID(person), "record": event["event_id"], "field": "note"}
        assert line.keys().open(envelope, **asked) == b'"Canarynote"'
        with pytest.raises(EnvelopeInvalid):
            line.keys().open(envelope, **{**asked, "person": uuid.UUID(int=1)})


def test_a_state_that_needs_what_is_sealed_has_it_opened_also_from_a_snapshot(line):
    line.send(line.begin("double"), *(line.add(1) for _ in range(120)))
    line.send(line.add(1))
    assert {each["data"]["doubled"] for each in line.events()[1:]} == {True}
    [snapshot] = line.store.rows("SELECT * FROM snapshots")
    assert "double" not in str(snapshot["state"])
    line.store.run("UPDATE snapshots SET state = jsonb_set(state, '{state}', '\"junk\"')")
    line.send(line.add(1))
    assert line.events()[-1]["data"]["doubled"] is True
    assert counts(line.store, "ledger") == {"applied": 123}


def test_no_note_stands_in_clear_in_any_row(line):
    line.send(
        line.begin(CANARY), line.add(-1), line.add(-2),
        line.raw(b"\0\0\0\0\1" + CANARY.encode()), line.add(1, envelope=CANARY.encode()),
    )  # fmt: skip
    assert counts(line.store, "ledger") == {"applied": 1, "ignored": 1, "dead": 3}
    text, raw = everything(line.store)
    for secret in (CANARY, "CANARY"):
        assert secret not in text
        assert secret.encode() not in raw


def test_an_older_event_is_read_as_the_newest_schema_has_it_and_stays_as_it_was(line):
    line.send(line.begin(), line.add(5))
    line.store.run(
        "UPDATE events SET schema_version = 1, data = '{\"by\": 5}'"
        " WHERE event_type = 'count.added'"
    )
    line.send(line.add(2))
    assert counts(line.store, "ledger") == {"applied": 3}
    assert line.events()[1]["data"] == {"by": 5}


@pytest.mark.parametrize("change", ["schema_version = 3", "event_type = 'count.lost'"])
def test_an_event_that_nothing_reads_stops_the_commands_on_its_stream_only(line, change):
    line.send(line.begin(), line.add(5), line.begin(stream=2))
    line.store.run(f"UPDATE events SET {change} WHERE event_type = 'count.added'")
    line.send(line.add(2), line.add(2, stream=2))
    assert line.letter()["reason"] == "decide raised: EventUnknown"
    assert counts(line.store, "ledger") == {"applied": 4, "dead": 1}


def test_a_rejection_is_told_by_its_rule(line):
    line.send(line.begin(), line.add(-2))
    row = line.results()[1]
    assert (row["rule"], row["said"]) == ("negative", "a count goes upwards")
    assert counts(line.store, "ledger") == {"applied": 1, "ignored": 1}


@pytest.mark.parametrize(
    ("by", "raised"),
    [(-1, "ZeroDivisionError"), (-3, "Unpublishable"), (-4, "Unencodable")],
    ids=["raises", "a number too large", "a text for a number"],
)
def test_a_decision_that_raises_or_could_not_be_published_is_dead(line, by, raised):
    line.send(line.begin(), line.add(by), line.add(1))
    letter = line.letter()
    assert (letter["stage"], letter["reason"]) == ("decide", f"decide raised: {raised}")
    assert len(line.events()) == 2
    assert counts(line.store, "ledger") == {"applied": 2, "dead": 1}


def test_two_tenants_may_choose_the_same_command_id(line):
    same = str(uuid.uuid4())
    line.send(
        line.begin(command_id=same),
        line.begin(command_id=same, tenant=OTHER, keys=line.keys(OTHER), stream=2),
    )  # fmt: skip
    assert [row["outcome"] for row in line.results()] == ["accepted", "accepted"]
    assert len({row["event_id"] for row in line.events()}) == 2


def odd(line, **given):
    return line.add(1, **given)


DEAD = {
    "of an unknown type": (
        lambda line: odd(line, command_type="count.CANARY"), "map", "command_unknown"
    ),
    "for a stream of another type": (
        lambda line: odd(line, stream_type="patient"), "map", "command_unknown"
    ),
    "of a tenant without keys": (
        lambda line: odd(line, tenant=uuid.UUID(int=9), keys=line.keys()), "open", "sealed"
    ),
    "sealed by another tenant": (lambda line: odd(line, keys=line.keys(OTHER)), "open", "sealed"),
    "with an envelope that is none": (lambda line: odd(line, envelope=b"CANARY"), "open", "sealed"),
    "with bytes that are no record": (lambda line: line.raw(b"CANARY"), "decode", "undecodable"),
    "without bytes": (lambda line: line.raw(None), "decode", "undecodable"),
    "with an id written otherwise": (
        lambda line: odd(line, stream_id=str(uuid.uuid4()).upper()), "decode", "undecodable"
    ),
    "with no id": (lambda line: odd(line, issued_by="CANARY"), "decode", "undecodable"),
    "at no instant": (lambda line: odd(line, issued_at=2**62), "decode", "undecodable"),
    "with a NUL": (lambda line: odd(line, trace="\0"), "decode", "undecodable"),
    "sealed for another command": (
        lambda line: odd(line, envelope=sealed_for_another(line)), "open", "sealed"
    ),
    "with data that is no number": (
        lambda line: line.record("count.add", {"by": 1, "weight": float("nan")}),
        "decode", "undecodable",
    ),
    "with data at no instant": (
        lambda line: line.record("count.add", {"by": 1, "at": -(2**62)}), "decode", "undecodable"
    ),
    "with a NUL in a map": (
        lambda line: line.record("count.add", {"by": 1, "tags": {"a": "\0"}}),
        "decode", "undecodable",
    ),
    "with data that names no id": (
        lambda line: line.begin(patient="CANARY", stream=3), "decode", "undecodable"
    ),
}  # fmt: skip


def sealed_for_another(line):
    return line.keys().seal(b"CANARY", person=None, record=uuid.UUID(int=1), field="data")


@pytest.mark.parametrize("which", DEAD)
def test_a_command_is_dead_and_says_nothing_of_what_it_held(line, which):
    made, stage, cause = DEAD[which]
    line.send(line.begin(), made(line), line.add(1))
    letter = line.letter()
    assert (letter["stage"], letter["cause"]) == (stage, cause)
    assert "CANARY" not in letter["reason"]
    assert letter["key"] is None
    failed = [("failed", cause)] if letter["message_id"] else []  # else nobody knows which it was
    assert [(row["outcome"], row["rule"]) for row in line.results()] == [
        ("accepted", None), *failed, ("accepted", None),
    ]  # fmt: skip
    assert "CANARY" not in str(line.results())
    assert counts(line.store, "ledger") == {"applied": 2, "dead": 1}


def test_what_is_no_trace_goes_no_further(line):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    line.send(line.begin(trace=trace), line.add(1, trace="CANARY"), line.add(1, trace="x" * 10**5))
    told = [event["metadata"]["trace"] for event in line.events()]
    assert told == [trace, None, None]
    assert [row["outcome"] for row in line.results()] == ["accepted"] * 3


def test_data_of_another_type_is_dead(line):
    begun = line.codec.decode(line.begin().value)[1]
    other = line.codec.encode(RECORD, {**begun, "command_type": "count.add"})
    line.send(replace(line.raw(other), offset=0))
    assert line.letter()["cause"] == "undecodable"
    assert [row["outcome"] for row in line.results()] == ["failed"]


def test_a_key_younger_than_those_at_hand_is_asked_for(line):
    line.send(line.begin())
    line.store.run(
        "INSERT INTO tenant_keys (tenant_id, purpose, version, wrapped) VALUES (%s, 'data', 2, %s)",
        TENANT, ROOT.wrap(bytes(range(1, 33)), tenant=TENANT, purpose="data", version=2),
    )  # fmt: skip
    with line.store.database.connection() as connection, connection.transaction():
        wrapped = tenancy.wrapped_keys(connection, [TENANT])
    newer = tenancy.unwrap(wrapped, ROOT)[TENANT]
    line.send(line.add(1, keys=newer))
    assert [row["outcome"] for row in line.results()] == ["accepted", "accepted"]


def test_a_database_that_is_away_makes_no_dead_letter(line):
    record = line.begin()
    line.processor.keyring.clear()
    line.store.database.close()
    with pytest.raises(ports.Transient):
        line.processor.prepare(TOPIC, 0, [record])


def test_a_type_without_an_aggregate_is_our_own_mistake_and_stops_nothing(line):
    line.processor.commands.registry = {}
    line.send(line.begin())
    assert line.letter()["reason"] == "KeyError"


def test_every_tenant_has_a_feed_of_its_commands_that_no_sender_comes_by(line):
    rows = line.store.rows("SELECT id, tenant_id FROM feeds WHERE protocol = 'app'")
    assert {(row["id"], row["tenant_id"]) for row in rows} == {
        (identity.app_feed(each), each) for each in (TENANT, OTHER)
    }
    with line.store.database.connection() as connection, connection.transaction():
        assert tenancy.feeds(connection, [TENANT, OTHER]) == []
    line.store.run("DELETE FROM feeds")
    tenancy.ensure_app_feeds(line.store.database)
    tenancy.ensure_app_feeds(line.store.database)
    assert line.store.rows("SELECT id, tenant_id FROM feeds WHERE protocol = 'app'") == rows


def test_the_tests_own_state_goes_to_json_and_back():
    told = Told(event_type="count.begun", data={}, version=1, recorded_at=0, clear={"note": "n"})
    state = counting.evolve(None, told)
    assert counting.COUNT.of_json(counting.COUNT.to_json(state)) == state


def erase(line, person):
    keyed.erase(line.store.database, TENANT, uuid.UUID(person))
    line.processor.keyring.clear()


def test_what_a_patient_is_called_is_sealed_by_their_key_in_a_snapshot_too(line):
    patient = str(uuid.UUID(int=0x9A))
    line.store.run("INSERT INTO streams VALUES (%s, 'patient', %s, 2, 1, now())", patient, TENANT)
    line.send(line.begin("double", patient), *(line.add(1) for _ in range(120)))
    [snapshot] = line.store.rows("SELECT * FROM snapshots")
    header = sealing.header(sealing.untext(snapshot["state"]["state"]))
    assert (header.scope, str(header.person)) == (sealing.Scope.PERSON, patient)
    people = line.store.rows("SELECT subject_id::text FROM subject_keys")
    assert [row["subject_id"] for row in people] == [patient]


def test_a_command_for_an_erased_patient_is_stored_without_what_was_sealed(line):
    patient = str(uuid.UUID(int=0x9A))
    line.store.run("INSERT INTO streams VALUES (%s, 'patient', %s, 2, 1, now())", patient, TENANT)
    line.send(line.begin("double", patient), *(line.add(1) for _ in range(60)))
    erase(line, patient)
    line.send(*(line.add(1) for _ in range(60)), line.begin(CANARY, patient, stream=2))
    assert counts(line.store, "ledger") == {"applied": 122}
    events = line.events()
    assert [each["data"]["doubled"] for each in events[59:63]] == [True, True, False, False]
    assert line.store.rows("SELECT * FROM snapshots") == []
    [late] = [each for each in events if each["stream_id"] != events[0]["stream_id"]]
    assert (late["sealed"], late["metadata"]["erased"]) == ({}, True)
    assert "erased" not in events[0]["metadata"]


@pytest.mark.parametrize("later", [False, True])
def test_an_erased_patient_comes_anew_by_what_was_asked_of_them_later_and_by_no_other(line, later):
    line.store.run("UPDATE tenants SET erased_people = 'anew'")
    erased, other = (str(uuid.UUID(int=one)) for one in (0x9A, 0x9B))
    for each in (erased, other):
        line.store.run("INSERT INTO streams VALUES (%s, 'patient', %s, 2, 1, now())", each, TENANT)
    line.send(line.begin(CANARY, erased, stream=1))
    erase(line, erased)
    after = ISSUED + 10**15
    line.send(
        line.begin(CANARY, erased, stream=2, issued_at=after if later else ISSUED),
        line.begin(CANARY, other, stream=3, issued_at=after),
    )
    alive = {
        row["subject_id"]
        for row in line.store.rows("SELECT subject_id::text FROM subject_keys"
                                   " WHERE wrapped IS NOT NULL")
    }  # fmt: skip
    assert alive == ({erased, other} if later else {other})
    kept = {each["stream_id"]: bool(each["sealed"]) for each in line.events()}
    assert [kept[one] for one in sorted(kept)] == [True, later, True]


def test_people_whom_only_a_streams_own_events_name_are_asked_for(line, monkeypatch):
    patient = str(uuid.UUID(int=0x9A))
    line.store.run("INSERT INTO streams VALUES (%s, 'patient', %s, 2, 1, now())", patient, TENANT)
    line.send(line.begin("double", patient))
    monkeypatch.setattr(processor.aggregates, "people", lambda *_: set())
    line.processor.keyring.clear()
    line.send(line.add(1), line.add(1))
    assert [each["data"]["doubled"] for each in line.events()[1:]] == [True, True]
