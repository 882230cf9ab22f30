"""A thousand canaries, looked for with every key at hand: before an erasure, and after it."""

import re

import pytest

from schemas import sealing
from tests.ops.erased import Ward
from tests.ops.scanned import scan
from tests.sinks.provisioned import made, store
from tests.streams.ledger.told import adt

__all__ = ["store"]
pytestmark = pytest.mark.stack

PEOPLE = 200
PLACES = ("fam", "giv", "str", "tel", "vis")  # of each of them
CANARY = re.compile(rb"wexford-[a-z]{3}-\d{4}")
EVERY = {f"wexford-{place}-{n:04}".encode() for place in PLACES for n in range(PEOPLE)}


def canaries(n):
    """A message with canaries wherever a person's texts are."""
    family, given, street, phone, visit = (f"wexford-{place}-{n:04}" for place in PLACES)
    body = adt(mrn=f"M{n}", visit=visit)
    told = f"{family}^{given}||19010203|F|||{street}^^Town||{phone}"
    return body.replace(b"Rook^Ada||19010203|F", told.encode())


def filled(ward):
    """The ward with all of them admitted, and a message that can't be mapped of each tenth."""
    for partition in range(4):
        some = range(partition, PEOPLE, 4)
        ward.send(*map(canaries, some), partition=partition)
    ward.send(*(canaries(n).replace(b"PV1|1|I", b"PV1|1|\x00I") for n in range(0, PEOPLE, 10)))
    ward.send(*(canaries(n).replace(b"ADT^A01", b"ADT^A99") for n in range(1, PEOPLE, 10)))
    ward.fold()
    return ward


def test_the_scan_finds_a_thousand_canaries_where_nothing_is_sealed(stack, monkeypatch):
    real = sealing.seal
    monkeypatch.setattr(
        sealing, "seal",
        lambda clear, key, **of: real(clear, key, **of) if of["field"] == "body" else clear,
    )  # fmt: skip
    with made(stack) as store:
        found = scan(filled(Ward(store, stack.bootstrap_servers)), CANARY)
    assert len(EVERY) == 1_000
    assert found.clear == EVERY


def test_an_erasure_leaves_none_of_a_thousand_canaries_to_be_opened(store, stack):
    ward = filled(Ward(store, stack.bootstrap_servers))
    before = scan(ward, CANARY)
    assert before.clear == set()
    assert before.opened == EVERY
    requests = [ward.request(each).id for each in ward.patients.values()]
    assert len(requests) == PEOPLE
    done = ward.eraser().run(ward.tenant, requests)
    assert {each.status for each in done} == {"completed"}
    after = scan(ward, CANARY)
    assert (after.clear, after.opened) == (set(), set())
    letters = sum(one["letters"] for each in done for one in each.receipt["people"])
    assert letters > 0
