"""The projections' processor: each projection in its own time, none holding up another."""

from dataclasses import dataclass, replace

import pytest

from schemas.codec import Codec, Ids
from schemas.examples import good
from schemas.sealing import Root
from sinks.transaction import Gap
from streams import log, ports
from streams.ownership import Ownership
from streams.projector import Projector
from tests.sinks.provisioned import FEED, OURS, TALLY, counts, record, records, unreadable

pytestmark = pytest.mark.stack

TOPIC = "clinical.events.v1"
CODEC = Codec(Ids.in_order())
RECORD = "wardtrail.events.PatientUpdated"


@dataclass(frozen=True)
class Got:
    """A record as Kafka gives it, as far as a processor looks."""

    offset: int
    value: bytes | None
    key: bytes | None = b"key"
    headers: tuple[tuple[str, bytes], ...] = ()


def wire(seq, **given):
    _, value = next(iter(good(RECORD)))
    ours = {"partition_seq": seq, "tenant_id": OURS, "feed_id": FEED}
    return CODEC.encode(RECORD, {**value, **ours, **given})


def counting(name, folded):
    def fold(events, rows):
        folded.setdefault(name, []).extend(event["partition_seq"] for event in events)
        return []

    return replace(TALLY, name=name, loads=(), owns=(), fold=fold)


@pytest.fixture
def make(store, monkeypatch):
    """Make a projector of some projections that has taken partition 0."""
    monkeypatch.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))

    def projector(*projections):
        made = Projector(
            name="read-models", projections=projections, database=store.database, codec=CODEC,
            root=Root(bytes(32)),
            ownership=Ownership(
                database=store.database, url=store.worker, owner="test", bootstrap_servers="",
                subscriptions=tuple(each.name for each in projections),
            ),
        )  # fmt: skip
        made.take([(TOPIC, 0)], generation=1)
        return made

    return projector


def test_records_are_decoded_into_events_and_applied_to_every_projection(store, make):
    folded = {}
    projector = make(counting("one", folded), counting("two", folded))
    batch = projector.prepare(TOPIC, 0, [Got(n, wire(n + 1)) for n in range(5)])
    assert projector.apply(TOPIC, 0, batch) == 5
    assert {name: sorted(seqs) for name, seqs in folded.items()} == {
        "one": [1, 2, 3, 4, 5], "two": [1, 2, 3, 4, 5],
    }  # fmt: skip
    assert counts(store, "one") == counts(store, "two") == {"applied": 5}


@pytest.mark.parametrize(
    "value",
    [None, b"", b"\x01junk", b"\0\0\0\0\xff", wire(1)[:-1], wire(1) + b"\0",
     CODEC.encode("wardtrail.raw.Hl7v2Message", next(iter(good("wardtrail.raw.Hl7v2Message")))[1])],
    ids=["none", "empty", "magic", "unknown id", "cut", "trailing", "no event"],
)  # fmt: skip
def test_what_cannot_be_read_is_a_dead_letter_of_every_projection(store, make, value):
    projector = make(counting("one", {}), counting("two", {}))
    batch = projector.prepare(TOPIC, 0, [Got(0, wire(1)), Got(1, value), Got(2, wire(2))])
    assert projector.apply(TOPIC, 0, batch) == 3
    for name in ("one", "two"):
        assert counts(store, name) == {"applied": 2, "dead": 1}
    letters = store.rows("SELECT subscription_id FROM dead_letters ORDER BY 1")
    assert [row["subscription_id"] for row in letters] == ["one", "two"]


def refusing(name):
    """A projection whose table is none: neither transient nor the rows' fault."""
    return replace(TALLY, name=name)


def test_a_projection_that_fails_pauses_alone(store, make):
    folded = {}
    projector = make(refusing("bad"), counting("good", folded))
    store.run("REVOKE SELECT ON patient_read_models FROM wt_worker")
    # The group's committed offset mirrors the lowest, so that lag tools see who is behind.
    assert projector.apply(TOPIC, 0, records(0, 4)) == 0
    assert projector.apply(TOPIC, 0, records(5, 9)) == 0
    assert list(projector.paused) == [("bad", 0)]
    assert sorted(folded["good"]) == list(range(1, 11))
    assert store.subscription("bad")["next_offset"] == 0
    assert store.subscription("good")["next_offset"] == 10


def test_a_paused_projection_goes_on_from_its_own_position_when_taken_again(store, make):
    projector = make(refusing("bad"), counting("good", {}))
    store.run("REVOKE SELECT ON patient_read_models FROM wt_worker")
    projector.apply(TOPIC, 0, records(0, 4))
    store.run("GRANT SELECT ON patient_read_models TO wt_worker")
    assert projector.take([(TOPIC, 0)], generation=2) == {(TOPIC, 0): 0}
    assert projector.apply(TOPIC, 0, records(0, 4)) == 5
    assert counts(store, "bad") == counts(store, "good") == {"applied": 5}


def test_offsets_that_hold_nothing_are_not_passed_by_a_paused_projection(store, make):
    projector = make(refusing("bad"), counting("good", {}))
    store.run("REVOKE SELECT ON patient_read_models FROM wt_worker")
    projector.apply(TOPIC, 0, records(0, 4))
    projector.skip(TOPIC, 0, upto=6)
    assert counts(store, "good") == {"applied": 5, "no_record": 1}
    assert store.subscription("bad")["next_offset"] == 0, "its five records aren't given up"


def test_when_every_projection_is_paused_the_partition_stops(store, make):
    projector = make(refusing("bad"))
    store.run("REVOKE SELECT ON patient_read_models FROM wt_worker")
    with pytest.raises(Exception, match="permission denied"):
        projector.apply(TOPIC, 0, records(0, 4))
    with pytest.raises(Gap, match="paused"):
        projector.apply(TOPIC, 0, records(0, 4))


def test_a_gap_pauses_the_projection_and_nothing_is_applied(store, make):
    projector = make(counting("one", {}))
    with pytest.raises(Gap):
        projector.apply(TOPIC, 0, [record(0), record(1, seq=3)])
    assert list(projector.paused) == [("one", 0)]
    assert store.subscription("one")["next_offset"] == 0


def test_stale_and_transient_go_to_the_transport_and_pause_nobody(store, make):
    projector = make(counting("one", {}))
    store.take("one")
    with pytest.raises(ports.Stale):
        projector.apply(TOPIC, 0, records(0, 4))
    assert projector.paused == {}
    projector.take([(TOPIC, 0)], generation=1)
    assert projector.apply(TOPIC, 0, [*records(0, 4), unreadable(5)]) == 6
    store.database.close()
    with pytest.raises(ports.Transient):
        projector.apply(TOPIC, 0, records(6, 9))
    assert projector.paused == {}


def test_a_chunk_that_begins_after_the_position_is_a_hole(make):
    projector = make(counting("one", {}))
    with pytest.raises(ports.Hole) as hole:
        projector.apply(TOPIC, 0, records(3, 4))
    assert hole.value.expected == 0
