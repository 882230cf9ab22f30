"""Families: every kind of message that becomes events has one, and those of a kind share it."""

from streams.ledger.families import FAMILIES, OTHER, family
from streams.ledger.mapping.tellers import TELLERS


def test_every_kind_of_message_that_is_mapped_has_a_family_or_shares_the_last_one():
    kinds = {kind for kind, _ in TELLERS}
    assert {kind for kind in kinds if family(f"{kind}^X01") == OTHER} == {"PPR", "DFT", "BAR"}
    assert {family("ADT^A01"), family("ADT_A40"), family("ADT")} == {"adt"}
    assert family("") == family("?") == family("Canaryname") == OTHER


def test_a_family_fits_its_column():
    assert max(map(len, {*FAMILIES.values(), OTHER})) <= 20
