"""From raw records to the ledger's rows: who, what, sealed, or dead with a cause."""

import itertools
import uuid
from dataclasses import dataclass

import pytest

from schemas import identity, sealing
from schemas.codec import Codec, Ids
from schemas.sealing import EnvelopeInvalid, KeyServiceAway, Root
from sinks import dead_letters, ledger, tenancy
from sinks.keyring import Keyring
from sinks.tenancy import Secrets
from streams import log, ports
from streams.ledger import mapped, processor
from streams.ledger.processor import Ledger
from streams.ownership import Ownership
from tests.keyed import erase, everyone
from tests.sinks.provisioned import counts

pytestmark = pytest.mark.stack

TOPIC, RECORD = "emr.hl7v2.v1", "wardtrail.raw.Hl7v2Message"
CODEC = Codec(Ids.in_order())
ROOT = Root(bytes(range(32)))
TENANT, OTHER = uuid.UUID(int=0x7E), uuid.UUID(int=0x7F)
FEED, OTHER_FEED = uuid.UUID(int=0xF1), uuid.UUID(int=0xF2)
CANARIES = ("CANARYMRN", "Canaryname", "Canarystreet", "19010203", "1901-02-03", "CANARYVISIT")
RECEIVED = 1_772_443_800_000_000


@dataclass(frozen=True)
class Got:
    """A record as Kafka gives it, as far as a processor looks."""

    offset: int
    value: bytes | None
    key: bytes | None = b"CANARYMRN is no key of ours"


@pytest.fixture
def line(store, monkeypatch):
    """The ledger's processor over two tenants with a feed each, holding partition 0."""
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
    for tenant, feed, name in ((TENANT, FEED, "north"), (OTHER, OTHER_FEED, "south")):
        tenancy.create_tenant(
            store.database, tenant_id=tenant, name=name, subdomain=name, root=ROOT,
            secret=Secrets(tenant.bytes * 2, feed.bytes * 2),
        )  # fmt: skip
        tenancy.create_feed(store.database, tenant, name, feed_id=feed, settings={})
    ledger.ensure_partitions(store.database, "clinical.events.v1", 4)
    processor = Ledger(
        database=store.database, codec=CODEC, root=ROOT,
        ownership=Ownership(
            database=store.database, url=store.worker, subscriptions=("ledger",),
            bootstrap_servers="", owner="test",
        ),
    )  # fmt: skip
    processor.take([(TOPIC, 0)], generation=1)
    return Line(store, processor)


class Line:
    def __init__(self, store, processor):
        self.store, self.processor, self.offset = store, processor, itertools.count()
        self.numbers = itertools.count(1)

    def keys(self, tenant=TENANT):
        return everyone(self.processor.keyring, self.store, tenant)

    def record(self, body, *, tenant=TENANT, feed=FEED, keys=None, offset=None, **given):
        message_id = uuid.UUID(int=0x90000 + next(self.numbers))
        seal = (keys or self.keys()).seal
        value = {
            "message_id": str(message_id), "tenant_id": str(tenant), "feed_id": str(feed),
            "received_at": RECEIVED, "message_type": "ADT^A01", "size_bytes": len(body),
            "body": seal(body, person=None, record=message_id, field="body"), "trace": None,
            **given,
        }  # fmt: skip
        return Got(next(self.offset) if offset is None else offset, CODEC.encode(RECORD, value))

    def send(self, *records):
        batch = self.processor.prepare(TOPIC, 0, records)
        return self.processor.apply(TOPIC, 0, batch)

    def letter(self):
        [row] = self.store.rows("SELECT * FROM dead_letters")
        return row


def adt(trigger="A01", *, mrn="CANARYMRN^^^NORTH^MR", more=""):
    return "\r".join(
        [
            f"MSH|^~\\&|ADT|N|||20260302090000||ADT^{trigger}|77|P|2.5",
            f"EVN|{trigger}|20260302085900",
            f"PID|1||{mrn}||Canaryname^Ada||19010203|F|||Canarystreet 1",
            "PV1|1|I|W1^R2^B3||||D7^Doctor||||||||||||CANARYVISIT^^^NORTH^VN",
            more,
        ]
    ).encode()


def everything(store):
    """Every row of every table, as text."""
    names = store.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        str(row["row"])
        for name in names
        for row in store.rows(f"SELECT to_jsonb(t)::text AS row FROM {name['tablename']} AS t")
    ]
    raw = [
        bytes(value)
        for name in ("messages", "dead_letters")
        for row in store.rows(f"SELECT * FROM {name}")
        for value in row.values()
        if isinstance(value, bytes | memoryview)
    ]
    return "\n".join(rows), b"".join(raw)


def test_a_message_becomes_its_events_with_every_id_and_a_row_of_its_own(line):
    assert line.send(line.record(adt())) == 1
    rows = line.store.rows("SELECT * FROM events ORDER BY partition_seq")
    assert [row["event_type"] for row in rows] == ["patient.registered", "admission.created"]
    patient, admission = rows
    assert patient["stream_id"] == patient["person_id"] == admission["person_id"]
    assert admission["data"]["patient_id"] == str(patient["person_id"])
    assert {row["tenant_id"] for row in rows} == {TENANT}
    [message] = line.store.rows("SELECT * FROM messages")
    assert (message["outcome"], message["events"]) == ("applied", 2)
    assert counts(line.store, "ledger") == {"applied": 1}


def test_no_patients_data_stands_in_clear_in_any_row(line):
    odd = adt("A99").replace(b"ADT^A99", b"Canaryname^CANARYMRN")
    bad = adt().replace(b"CANARYMRN", b"").replace(b"CANARYVISIT", b"")
    torn = Got(5, b"\0\0\0\0\1CANARYMRN Canaryname")
    line.send(
        line.record(adt()), line.record(adt("A08")), line.record(odd, message_type="Canaryname"),
        line.record(bad), line.record(b"Canaryname CANARYMRN is no HL7"),
    )  # fmt: skip
    line.send(torn)
    text, raw = everything(line.store)
    assert sum(counts(line.store, "ledger").values()) == 6
    for canary in CANARIES:
        assert canary.lower() not in text.lower(), canary
        assert canary.encode() not in raw, canary
        assert canary.encode().hex() not in text, canary


def test_an_envelope_opens_for_its_own_row_and_for_no_other(line):
    line.send(line.record(adt()))
    [row] = line.store.rows("SELECT * FROM events WHERE event_type = 'patient.registered'")
    keys, envelope = line.keys(), sealing.untext(row["sealed"]["demographics"])
    right = {"person": row["person_id"], "record": row["event_id"], "field": "demographics"}
    assert b"Canaryname" in keys.open(envelope, **right)
    for wrong in (
        {"person": uuid.UUID(int=1)}, {"record": uuid.UUID(int=1)}, {"field": "visit_number"},
    ):  # fmt: skip
        with pytest.raises(EnvelopeInvalid):
            keys.open(envelope, **{**right, **wrong})
    with pytest.raises(EnvelopeInvalid):
        line.keys(OTHER).open(envelope, **right)


def test_an_unknown_feed_is_a_dead_letter_that_says_so(line):
    line.send(line.record(adt(), feed=uuid.UUID(int=9)))
    assert (line.letter()["stage"], line.letter()["cause"]) == ("map", "feed_unknown")
    assert counts(line.store, "ledger") == {"dead": 1}


def test_a_feed_of_another_tenant_is_a_dead_letter(line):
    line.send(line.record(adt(), feed=OTHER_FEED))
    assert line.letter()["cause"] == "feed_unknown"


def test_a_tenant_that_there_is_not_is_a_dead_letter(line):
    line.send(line.record(adt(), tenant=uuid.UUID(int=9)))
    assert line.letter()["cause"] == "feed_unknown"
    assert line.store.rows("SELECT FROM events") == []


def test_a_body_sealed_by_another_key_is_a_dead_letter_kept_whole(line):
    got = line.record(adt(), keys=line.keys(OTHER))
    line.send(got)
    letter = line.letter()
    assert (letter["stage"], letter["cause"]) == ("open", "sealed")
    opened = dead_letters.open_record(letter["id"], letter["record_sealed"], ROOT.line())
    assert opened == (got.key, got.value)


def test_a_key_younger_than_what_is_held_is_asked_for(line):
    held = line.keys()
    secret = bytes(range(32))
    wrapped = ROOT.wrap(secret, tenant=TENANT, purpose="data", version=2)
    line.store.run(
        "INSERT INTO tenant_keys (tenant_id, purpose, version, wrapped) VALUES (%s, 'data', 2, %s)",
        TENANT, wrapped,
    )  # fmt: skip
    younger = sealing.Key.of(secret, version=2, scope=sealing.Scope.TENANT)
    keys = sealing.Keys(tenant_id=TENANT, data={2: younger}, identity=held.identity)
    line.send(line.record(adt(), keys=keys))
    assert line.store.rows("SELECT * FROM dead_letters") == []
    assert len(line.store.rows("SELECT * FROM events")) == 2


def test_keys_that_came_after_the_batch_was_read_open_it_all_the_same(line, monkeypatch):
    record, asked, real = line.record(adt()), [], line.processor._tenant_keys
    monkeypatch.setattr(
        Ledger,
        "_tenant_keys",
        lambda _, tenant: asked.append(tenant) or (real(tenant) if asked[1:] else None),
    )
    line.send(record)
    assert counts(line.store, "ledger") == {"applied": 1}


def test_a_key_that_is_nowhere_makes_a_dead_letter(line):
    gone = sealing.Key.of(bytes(32), version=9, scope=sealing.Scope.TENANT)
    keys = sealing.Keys(tenant_id=TENANT, data={9: gone}, identity=line.keys().identity)
    line.send(line.record(adt(), keys=keys))
    assert line.letter()["reason"] == "data key version is not at hand: 9"


def test_a_fault_of_the_mapper_stops_its_message_and_says_nothing_of_it(line, monkeypatch, caplog):
    def fail(*_, **__):
        raise KeyError("Zyqorv")

    monkeypatch.setattr(processor, "map_message", fail)
    line.send(line.record(adt()))
    letter = line.letter()
    assert (letter["stage"], letter["cause"]) == ("map", "mapper_failed")
    assert "Zyqorv" not in letter["reason"] + caplog.text


@pytest.mark.parametrize("step", ["named", "decide"])
def test_a_fault_of_deciding_stops_its_message_alone_and_says_nothing_of_it(
    line, monkeypatch, caplog, step
):
    real = getattr(mapped, step)

    def fail(facts, *given, **more):
        if facts.trigger == "A02":
            raise KeyError("Zyqorv")
        return real(facts, *given, **more)

    monkeypatch.setattr(mapped, step, fail)
    other = adt("A03", mrn="CANARYOTHER^^^NORTH^MR").replace(b"VISIT", b"STAY")
    assert line.send(*(line.record(each) for each in (adt("A01"), adt("A02"), other))) == 3
    letter = line.letter()
    assert (letter["stage"], letter["cause"]) == ("decide", "decide_failed")
    assert "Zyqorv" not in letter["reason"] + caplog.text
    rows = line.store.rows('SELECT outcome, reason, events FROM messages ORDER BY "offset"')
    assert [(row["outcome"], row["events"]) for row in rows] == [
        ("applied", 2), ("dead", 0), ("applied", 2),
    ]  # fmt: skip
    assert rows[1]["reason"] == letter["reason"] == "decide raised: KeyError"
    assert counts(line.store, "ledger") == {"applied": 2, "dead": 1}


def test_t25_a_message_without_a_visit_number_is_applied_and_says_what_it_left_out(line):
    line.send(line.record(adt().replace(b"CANARYVISIT^^^NORTH^VN", b"")))
    [message] = line.store.rows("SELECT outcome, reason, events FROM messages")
    assert message["reason"] == "no visit number: PV1-19 and PID-18 are empty"
    assert (message["outcome"], message["events"]) == ("applied", 1)
    [event] = line.store.rows("SELECT * FROM events")
    assert event["event_type"] == "patient.registered"
    assert counts(line.store, "ledger") == {"applied": 1}


def test_what_is_left_out_is_told_beside_a_conflict(line):
    line.send(line.record(adt(mrn="A^^^N^MR")), line.record(adt(mrn="B^^^N^MR")))
    both = adt(mrn="A^^^N^MR~B^^^N^MR").replace(b"CANARYVISIT^^^NORTH^VN", b"")
    line.send(line.record(both))
    [row] = line.store.rows("SELECT reason FROM messages WHERE reason IS NOT NULL")
    assert row["reason"] == (
        "no visit number: PV1-19 and PID-18 are empty; identity.conflict"
    )  # fmt: skip


def test_a_message_of_nobody_is_ignored_with_the_reason(line):
    line.send(line.record(adt(mrn="")))
    [message] = line.store.rows("SELECT outcome, reason FROM messages")
    assert message["outcome"] == "ignored"
    assert message["reason"] == "no patient: PID-3 holds no identifier of a person"
    assert line.store.rows("SELECT FROM dead_letters") == []


@pytest.mark.parametrize("value", [None, b"", b"junk", b"\0\0\0\xff\xff"])
def test_what_cannot_be_read_is_a_dead_letter(line, value):
    line.send(Got(0, value))
    assert line.letter()["cause"] == "undecodable"


@pytest.mark.parametrize(
    "given",
    [{"tenant_id": "none"}, {"feed_id": ""}, {"message_id": str(uuid.UUID(int=0xAB)).upper()},
     {"received_at": 2**62}],
)  # fmt: skip
def test_an_id_or_a_time_that_is_none_is_a_dead_letter(line, given):
    assert line.send(line.record(adt(), **given)) == 1
    assert line.letter()["cause"] == "undecodable"
    assert line.store.rows("SELECT FROM messages") == []


@pytest.mark.parametrize("kind", ["\0", "x" * 100, "ADT\0^A01", "Müller^Ada|"])
def test_a_type_that_no_column_takes_stops_nothing(line, kind):
    assert line.send(line.record(b"no HL7", message_type=kind), line.record(adt())) == 2
    [row] = line.store.rows("SELECT message_type FROM messages WHERE outcome = 'dead'")
    assert row["message_type"] == "?"


@pytest.mark.parametrize("where", ["mrn", "authority", "type", "name", "visit", "place"])
def test_control_characters_in_any_field_stop_nothing(line, where):
    body = adt()
    target = {
        "mrn": b"CANARYMRN", "authority": b"NORTH^MR", "type": b"MR|", "name": b"Canaryname",
        "visit": b"CANARYVISIT", "place": b"R2",
    }[where]  # fmt: skip
    body = body.replace(target, b"\0\x01" + target, 1)
    assert line.send(line.record(body), line.record(adt("A02"))) == 2
    assert sum(counts(line.store, "ledger").values()) == 2


def test_the_same_message_again_is_a_duplicate(line):
    first = line.record(adt())
    line.send(first, Got(1, first.value))
    next(line.offset)
    line.send(Got(2, first.value))
    assert counts(line.store, "ledger") == {"applied": 1, "duplicate": 2}


def test_identifiers_of_two_patients_are_a_conflict_and_no_guess(line):
    line.send(line.record(adt(mrn="A^^^N^MR")), line.record(adt(mrn="B^^^N^MR")))
    line.send(line.record(adt(mrn="A^^^N^MR~B^^^N^MR")))
    [event] = line.store.rows("SELECT * FROM events WHERE event_type = 'identity.conflict'")
    assert len(event["data"]["patients"]) == 2
    [row] = line.store.rows("SELECT * FROM messages WHERE reason IS NOT NULL")
    assert (row["reason"], row["outcome"]) == ("identity.conflict", "applied")


def swap():
    """Two patients who change beds: two PID and PV1 in one message."""
    second = adt("A17").split(b"\r")[2:4]
    second = b"\r".join(second).replace(b"CANARYMRN", b"B").replace(b"CANARYVISIT", b"V2")
    return adt("A17").rstrip(b"\r") + b"\r" + second


def test_t18_a_swap_is_told_of_both_patients_in_one_transaction(line):
    line.send(line.record(swap()))
    rows = line.store.rows("SELECT * FROM events WHERE stream_type = 'admission'")
    assert [row["event_type"] for row in rows] == ["admission.location_changed"] * 2
    assert len({row["person_id"] for row in rows}) == 2
    assert len({row["stream_id"] for row in rows}) == 2
    [message] = line.store.rows("SELECT * FROM messages")
    assert (message["outcome"], message["events"]) == ("applied", 4)


def test_t18_a_conflict_of_one_patient_leaves_the_others_move(line):
    line.send(line.record(adt(mrn="B^^^NORTH^MR")), line.record(adt(mrn="C^^^NORTH^MR")))
    line.send(line.record(swap().replace(b"||B^^^NORTH^MR", b"||B^^^NORTH^MR~C^^^NORTH^MR")))
    told = [row["event_type"] for row in line.store.rows(
        "SELECT event_type FROM events WHERE data ->> 'trigger' = 'A17' ORDER BY partition_seq"
    )]  # fmt: skip
    assert sorted(told) == ["admission.location_changed", "identity.conflict", "patient.updated"]


def test_a_changed_zone_holds_from_the_next_batch_on(line):
    line.send(line.record(adt()))
    tenancy.set_feed(line.store.database, TENANT, "north", {"zone": "America/New_York"})
    line.send(line.record(adt("A02")))
    rows = line.store.rows(
        "SELECT occurred_at FROM events WHERE stream_type = 'admission' ORDER BY 1"
    )
    assert [row["occurred_at"].hour for row in rows] == [8, 13]


def test_messages_of_a_feed_in_an_unknown_zone_wait_and_none_is_condemned(line):
    record = line.record(adt())
    line.store.run("UPDATE feeds SET zone = 'Mars/Base' WHERE name = 'north'")
    with pytest.raises(ports.Transient, match="no such time zone"):
        line.send(record)
    assert line.store.rows("SELECT FROM dead_letters") == []
    tenancy.set_feed(line.store.database, TENANT, "north", {"zone": "UTC"})
    line.send(record)
    assert line.store.rows("SELECT FROM events") != []


def test_under_another_root_key_messages_wait_and_none_is_condemned(line):
    record = line.record(adt(), keys=line.keys())
    line.processor.keyring = Keyring(line.store.database, Root(bytes(32)))
    with pytest.raises(ports.Transient, match="root key"):
        line.send(record)
    assert line.store.rows("SELECT FROM dead_letters") == []


def test_a_database_that_is_away_is_transient_while_reading_too(line):
    record = line.record(adt())
    line.store.database.close()
    with pytest.raises(ports.Transient):
        line.processor.prepare(TOPIC, 0, [record])


def test_two_people_of_two_tenants_with_one_number_stay_two(line):
    line.send(
        line.record(adt()),
        line.record(adt(), tenant=OTHER, feed=OTHER_FEED, keys=line.keys(OTHER)),
    )
    rows = line.store.rows("SELECT DISTINCT tenant_id, person_id FROM events")
    assert len(rows) == len({row["person_id"] for row in rows}) == 2


def test_a_persons_fields_are_sealed_by_their_own_key_which_is_made_beforehand(line):
    line.send(line.record(adt()), line.record(adt()))
    people = {str(row["person_id"]) for row in line.store.rows("SELECT person_id FROM events")}
    rows = line.store.rows("SELECT subject_id::text, wrapped FROM subject_keys")
    assert {row["subject_id"] for row in rows} == people
    for row in line.store.rows("SELECT sealed FROM events"):
        for text in row["sealed"].values():
            assert sealing.header(sealing.untext(text)).scope is sealing.Scope.PERSON


def test_a_late_message_of_an_erased_person_is_stored_without_any_of_it(line):
    line.send(line.record(adt()))
    [person] = {row["person_id"] for row in line.store.rows("SELECT person_id FROM events")}
    assert erase(line.store.database, TENANT, person) == 1
    line.processor.keyring.clear()
    line.send(line.record(adt()))
    assert counts(line.store, "ledger") == {"applied": 2}
    before, *_, after = line.store.rows("SELECT * FROM events ORDER BY global_position")
    assert before["sealed"]
    assert "erased" not in before["metadata"]
    assert (after["sealed"], after["metadata"]["erased"]) == ({}, True)
    assert line.store.rows("SELECT FROM dead_letters") == []


def test_no_key_service_no_event_and_no_dead_letter(line):
    class Away(Root):
        def unwrap(self, wrapped, **_):
            raise KeyServiceAway("Vault doesn't answer: TimeoutError")

    record = line.record(adt())
    line.processor.keyring = Keyring(line.store.database, Away(bytes(32)))
    with pytest.raises(ports.Transient, match="Vault"):
        line.send(record)
    assert line.store.rows("SELECT FROM events") == []
    assert line.store.rows("SELECT FROM dead_letters") == []
    line.processor.keyring = Keyring(line.store.database, ROOT)
    line.send(record)
    assert counts(line.store, "ledger") == {"applied": 1}


def test_a_message_that_cannot_be_mapped_has_the_hash_of_its_msh_10_where_that_can_be_read(line):
    nul = adt().replace(b"PID|1|", b"PID|\0|")
    bad = [nul, adt() + b"\r" + adt(), adt() + b"\xe9", b"noise\r" + nul, b"no header"]
    line.send(*map(line.record, bad))
    rows = line.store.rows('SELECT control_hmac, outcome FROM messages ORDER BY "offset"')
    assert {row["outcome"] for row in rows} == {"dead", "parked"}, "they are of one patient"
    wanted = identity.control(line.keys().identity, FEED, "77")
    assert [row["control_hmac"] for row in rows] == [wanted] * 4 + [None]
