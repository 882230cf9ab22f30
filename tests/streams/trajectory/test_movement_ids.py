"""Movements by their ids: told twice, and told without one before."""

from tests.streams.trajectory.test_tracks import found
from tests.streams.trajectory.visits import adt, movement, shape

A01 = adt("A01", "08:00", "A")
MOVE = adt("A02", "10:00", "B", prior="A")


def test_t12_t23_a_movement_told_twice_and_then_updated_is_the_same_in_every_order():
    one, two = movement(1), movement(2)
    result = found(
        adt("A01", "08:00", "A", movement_id=one),
        adt("A02", "10:00", "B", movement_id=two),
        adt("A02", "10:10", "C", reported="10:00", by="ZBE-2", movement_id=two),
        adt("Z99", "09:30", reported="10:30", movement_id=two, original_trigger="A02"),
    )
    assert len(result.stays) == 2


def test_t23_a_cancel_with_an_id_takes_what_was_told_before_the_feed_gave_ids():
    cancel = adt("A12", "10:00", "A", prior="B", reported="10:20", movement_id=movement(2))
    assert shape(found(A01, MOVE, cancel).stays) == ["A 08:00-"]

    numbered = adt("A02", "10:00", "B", prior="A", movement_id=movement(1))
    other = found(A01, numbered, cancel)
    assert shape(other.stays) == ["A 08:00-10:00", "B 10:00-"]
    assert other.unresolved == (cancel["event_id"],)
