"""The patient read model: the newest snapshot wins, whenever it comes."""

import itertools
from uuid import UUID

from schemas import sealing
from schemas.clock import instant, micros
from schemas.events import Event
from streams.read_models import PATIENTS
from tests.streams.trajectory.visits import PATIENT, Tables, adt, arrive, clock


def snapshot(at: str, reported: str | None = "", *, kind: str = "patient.updated") -> Event:
    said = adt("A08", at, reported=reported)
    return Event(
        **{
            **said,
            "event_type": kind,
            "stream_type": "patient",
            "stream_id": PATIENT,
            "sealed": {"demographics": f"sealed {at} {reported}".encode()},
            "data": {"trigger": "A08", "reported_at": said["data"]["reported_at"]},
        }
    )


def folded(*events: Event):
    tables = Tables(PATIENTS)
    for event in arrive(events):
        tables.apply([event])
    return tables.table("patient_read_models")[PATIENT]


def test_a_registered_patient_is_a_row_with_the_sealed_snapshot_only():
    event = snapshot("08:00", kind="patient.registered")
    row = folded(event)
    assert row["data"] == {
        "patient_id": PATIENT,
        "demographics": sealing.text(b"sealed 08:00 "),
        "trigger": "A08",
        "event_id": event["event_id"],
        "feed_id": event["feed_id"],
        "reported_at": "2026-03-01T08:00:00+00:00",
        "occurred_at": "2026-03-01T08:00:00+00:00",
        "newest": [micros(clock("08:00")), micros(clock("08:00")), event["event_id"]],
    }
    assert row["created_at"] == row["updated_at"] == instant(arrive([event])[0]["recorded_at"])


def test_the_newest_snapshot_wins_in_every_order():
    events = [
        snapshot("08:00", kind="patient.registered"),
        snapshot("09:00"),
        snapshot("07:00", "10:00"),
        snapshot("11:00", None),
    ]
    for order in itertools.permutations(events):
        row = folded(*order)
        assert row["data"]["demographics"] == sealing.text(b"sealed 07:00 10:00")


def test_one_batch_gives_the_same_row_as_one_event_at_a_time():
    events = [snapshot("09:00"), snapshot("08:00"), snapshot("10:00")]
    whole = Tables(PATIENTS)
    whole.apply(arrive(events))
    assert whole.table("patient_read_models")[PATIENT] == folded(*events)


def test_a_snapshot_without_demographics_shows_none():
    bare = Event(**{**snapshot("08:00"), "sealed": {}})
    assert folded(bare)["data"]["demographics"] is None


def told(at: str, *tokens: str) -> Event:
    event = snapshot(at)
    return Event(**{**event, "data": {**event["data"], "tokens": list(tokens)}})


def test_a_patient_has_the_tokens_of_the_snapshot_that_is_shown_in_every_order():
    events = [told("08:00", "a", "b"), told("09:00", "b", "c"), told("07:00", "d")]
    for order in itertools.permutations(events):
        for batch in ([[each] for each in arrive(order)], [arrive(order)]):
            tables = Tables(PATIENTS)
            for part in batch:
                tables.apply(part)
            found = tables.table("patient_tokens").values()
            assert sorted(row["token"] for row in found) == ["b", "c"]


def test_the_same_tokens_again_change_no_row_of_theirs():
    tables = Tables(PATIENTS)
    first, second = arrive([told("08:00", "a"), told("09:00", "a")])
    tables.apply([first])
    assert [change.table.name for change in tables.apply([second])] == ["patient_read_models"]
    assert [row["partition_seq"] for row in tables.table("patient_tokens").values()] == [
        first["partition_seq"]
    ]


def sealed_by(version: int, at: str, *tokens: str) -> Event:
    """What was told under a version of the patient's key."""
    key = sealing.Key.of(bytes(32), version=version, scope=sealing.Scope.PERSON)
    envelope = sealing.seal(
        b"{}", key, tenant=UUID(int=1), person=UUID(PATIENT), record=UUID(int=2),
        field="demographics",
    )  # fmt: skip
    return Event(**{**told(at, *tokens), "sealed": {"demographics": envelope}})


def erased(at: str, *, key_version: int = 1) -> Event:
    said = {"request_id": str(UUID(int=3)), "key_version": key_version, "erased_at": clock_at(at)}
    return Event(**{**snapshot(at, kind="patient.erased"), "sealed": {}, "data": said})


def clock_at(at: str) -> int:
    return micros(clock(at))


def rows_of(*events: Event):
    tables = Tables(PATIENTS)
    for event in arrive(events):
        tables.apply([event])
    return tables.table("patient_read_models")[PATIENT]["data"], tables.table("patient_tokens")


def test_an_erased_patient_has_neither_demographics_nor_tokens_and_shows_it():
    data, tokens = rows_of(sealed_by(1, "08:00", "a", "b"), erased("09:00"))
    assert (data["demographics"], data["erased_at"]) == (None, "2026-03-01T09:00:00+00:00")
    assert tokens == {}
    late = Event(**{**snapshot("08:30"), "sealed": {}})
    data, tokens = rows_of(sealed_by(1, "08:00", "a", "b"), erased("09:00"), late)
    assert (data["demographics"], data["erased_at"]) == (None, "2026-03-01T09:00:00+00:00")


def test_a_patient_who_is_only_known_by_their_erasure_is_a_row():
    data, tokens = rows_of(erased("09:00", key_version=0))
    assert (data["demographics"], data["erased_at"]) == (None, "2026-03-01T09:00:00+00:00")
    data, tokens = rows_of(erased("09:00", key_version=0), sealed_by(2, "10:00", "a"))
    assert data["demographics"]
    assert len(tokens) == 1


def test_who_came_anew_is_shown_whether_the_erasure_is_told_before_or_after():
    for order in itertools.permutations([erased("09:00"), sealed_by(2, "10:00", "a")]):
        data, tokens = rows_of(sealed_by(1, "08:00", "b"), *order)
        assert data["erased_at"]
        assert data["demographics"]
        assert len(tokens) == 1
