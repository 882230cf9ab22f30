"""The headers of every record, after the CloudEvents 1.0 Kafka binding."""

import re
from datetime import datetime
from uuid import UUID

import pytest

from schemas import catalogue, examples, headers
from schemas.clock import micros
from schemas.topics import EVENTS, TOPICS

BUILDERS = dict.fromkeys(EVENTS.records, headers.for_event) | {
    "wardtrail.raw.Hl7v2Message": headers.for_raw,
    "wardtrail.commands.Command": headers.for_command,
    "wardtrail.commands.CommandResult": headers.for_result,
    "wardtrail.trajectory.TrajectoryPoint": headers.for_point,
    "wardtrail.verification.VerificationResult": headers.for_verification,
    "wardtrail.erasures.Erasure": headers.for_erasure,
    "wardtrail.letters.DeadLetter": headers.for_letter,
}
INNER = {record for topic in TOPICS.values() for record in topic.inner}  # they travel sealed
EXAMPLES = [
    (record, name, value)
    for record in catalogue.records()
    if record not in INNER
    for name, value in examples.good(record)
]
ATTRIBUTES = [
    "ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_recordedtime",
    "ce_subject", "ce_correlationid", "ce_causationid", "content-type", "tenant",
]  # fmt: skip


def named(parameter):
    return parameter if isinstance(parameter, str) else ""


@pytest.mark.parametrize(("record", "name", "value"), EXAMPLES, ids=named)
def test_every_record_has_every_header_once(record, name, value):
    made = BUILDERS[record](value)
    expected = ATTRIBUTES + (["traceparent"] if value.get("trace") else [])
    expected += ["ce_sequence"] if record in EVENTS.records else []
    assert [key for key, _ in made] == expected
    assert all(isinstance(text, bytes) and text for _, text in made)
    said = dict(made)
    assert said["ce_specversion"] == b"1.0"
    assert said["content-type"] == b"application/avro"
    assert said["ce_source"].startswith(f"urn:tenant:{value['tenant_id']}:".encode())
    assert headers.tenant(made) == UUID(value["tenant_id"])
    for key in ("ce_time", "ce_recordedtime"):
        assert datetime.fromisoformat(said[key].decode()).utcoffset().total_seconds() == 0


@pytest.mark.parametrize(("record", "name", "value"), EXAMPLES, ids=named)
def test_no_header_says_a_place_or_what_is_sealed(record, name, value):
    words = {"WARD1", "ROOM2", "BED3", "Example", "V-0001"}
    said = b"\n".join(text for _, text in BUILDERS[record](value)).decode()
    assert not [word for word in words if word in said]


def test_an_events_headers_name_its_feed_stream_and_times():
    value = dict(examples.good("wardtrail.events.AdmissionLocationChanged"))["full"]
    said = {key: text.decode() for key, text in headers.for_event(value)}
    assert said["ce_id"] == value["event_id"]
    assert said["ce_source"] == f"urn:tenant:{value['tenant_id']}:feed:{value['feed_id']}"
    assert said["ce_type"] == "admission.location_changed"
    assert said["ce_subject"] == f"admission/{value['stream_id']}"
    assert micros(datetime.fromisoformat(said["ce_time"])) == value["occurred_at"]
    assert micros(datetime.fromisoformat(said["ce_recordedtime"])) == value["recorded_at"]
    assert said["traceparent"] == value["trace"]
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", said["traceparent"])


def test_two_revisions_of_a_point_have_two_ids():
    point = dict(examples.good("wardtrail.trajectory.TrajectoryPoint"))["full"]
    later = {**point, "partition_seq": point["partition_seq"] + 1}
    assert dict(headers.for_point(point))["ce_id"] != dict(headers.for_point(later))["ce_id"]


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        [("ce_id", b"x")],
        [("tenant", None)],
        [("tenant", b"")],
        [("tenant", b"everyone")],
        [("tenant", b"\xff")],
        [("tenant", str(UUID(int=1)).encode()), ("tenant", str(UUID(int=2)).encode())],
    ],
)
def test_headers_without_one_clear_tenant_name_none(said):
    assert headers.tenant(said) is None


def test_the_headers_of_an_event_say_its_place_even_if_it_cannot_be_decoded():
    value = dict(examples.good("wardtrail.events.AdmissionLocationChanged"))["full"]
    place = headers.place(headers.for_event(value))
    assert (place.tenant_id, place.stream_id) == (value["tenant_id"], value["stream_id"])
    assert place.position == value["partition_seq"]


@pytest.mark.parametrize(
    "changed",
    [
        {"tenant": b"x"}, {"ce_subject": b"admission/x"}, {"ce_sequence": b"-1"},
        {"ce_sequence": b""}, {"ce_sequence": b"9" * 40}, {"ce_subject": b"admission/a\0b"},
    ],
)  # fmt: skip
def test_headers_that_say_no_place_give_none(changed):
    value = dict(examples.good("wardtrail.events.AdmissionLocationChanged"))["full"]
    made = dict(headers.for_event(value)) | changed
    assert headers.place(list(made.items())) is None
    assert headers.place([]) is None
