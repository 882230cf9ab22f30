import pytest

from schemas.sealing import Keys
from tests.chaos import seals
from tests.chaos.seals import Tried, Unsealed, Ward


def test_no_moved_or_changed_envelope_opens():
    tried = Tried()
    seals.play(7, tried, tries=20_000)
    assert (tried.swaps, tried.flips) == (10_000, 10_000)


def test_every_byte_of_an_envelope_of_a_persons_key_counts():
    ward = Ward(1)
    row, clear, envelope = next(each for each in ward.rows if each[0][1] is not None)
    keys = ward.keys[row[0]]
    assert seals.unseal(keys, row, envelope) == clear
    for place in range(len(envelope)):
        for value in range(1, 256):
            changed = bytearray(envelope)
            changed[place] ^= value
            ward._stays_closed(row, bytes(changed), f"with another byte at {place}")


def test_every_envelope_stays_closed_in_the_place_of_every_other():
    ward = Ward(2)
    some = ward.rows[:: len(ward.rows) // 60]
    for row, _, _ in some:
        for other, _, envelope in some:
            if other != row:
                ward._stays_closed(row, envelope, f"of {other}")


@pytest.mark.parametrize("bug", ["the person isn't looked at", "the tag isn't looked at"])
def test_an_envelope_that_opens_where_it_must_not_is_seen(monkeypatch, bug):
    real = Keys.open

    def loose(keys, envelope, **row):
        if "tag" in bug:
            return b""
        for person in (None, *keys.subjects):
            try:
                return real(keys, envelope, **{**row, "person": person})
            except Exception:
                continue
        return real(keys, envelope, **row)

    monkeypatch.setattr(Keys, "open", loose)
    with pytest.raises(Unsealed):
        seals.play(3, Tried())
