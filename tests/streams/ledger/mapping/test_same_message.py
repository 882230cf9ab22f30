"""One message says the same however it is sent: line ends, marks around it, version, repetition."""

import re

import pytest

from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.table import RULES
from streams.ledger.mapping.tellers import TELLERS
from streams.ledger.mapping.triggers import TRIGGERS
from tests.streams.ledger.mapping.messages import (
    PATIENT,
    REQUEST,
    RESULT,
    VISIT,
    mapped,
    message,
    rxa,
)
from tests.streams.ledger.mapping.test_corpus import messages
from tests.streams.ledger.mapping.test_triggers import SEGMENTS

_END = re.compile(rb"\r\n|\r|\n")
VERSIONS = ("2.1", "2.2", "2.3", "2.3.1", "2.4", "2.5", "2.5.1", "2.6", "2.7", "2.7.1", "2.8",
            "2.8.2", "2.9", "", "2.5^DEU^1", "9.9", '""')  # fmt: skip
TOLD = {
    "ORU": (REQUEST, RESULT), "RAS": ("ORC|RE|P1", rxa()), "VXU": ("ORC|RE|P1", rxa()),
    **dict.fromkeys(("ORM", "OML", "OMG", "OMI", "OMP", "RDE"), ("ORC|NW|P1", "OBR|1|||X^Y^L")),
    **SEGMENTS,
}  # fmt: skip


def said(body):
    """What a message says, or why it can't be read."""
    try:
        return mapped(body)
    except Unmappable as dead:
        return (dead.cause, dead.reason)


def sent(body):
    """The same message as others send it, by what differs."""
    plain = _END.sub(b"\r", body)
    yield "LF", plain.replace(b"\r", b"\n")
    yield "CRLF", plain.replace(b"\r", b"\r\n")
    yield "blank lines", plain.replace(b"\r", b"\r\n\r\n")
    yield "MLLP", b"\x0b" + plain + b"\x1c\r"
    yield "MLLP and CRLF", b"\x0b" + plain.replace(b"\r", b"\r\n") + b"\x1c\r\n"
    yield "no end", plain.rstrip(b"\r")
    yield "space around", b"\r\n \r" + plain + b"\r\n\r\n"
    if plain.isascii() and b"\x1b" not in plain:
        yield "byte order mark", b"\xef\xbb\xbf" + plain
    if plain.isascii() and not re.search(rb"\x1b|\\X", plain):  # hexadecimal bytes are its own
        yield "UTF-16", plain.decode("ascii").encode("utf-16")


def test_every_real_message_says_the_same_however_it_is_sent(corpus):
    compared = 0
    for body in messages(corpus):
        if not body.startswith(b"MSH") or b"\x00" in body:
            continue
        plain = _END.sub(b"\r", body)
        expected = said(plain)
        assert said(body) == expected
        for how, variant in sent(plain):
            assert said(variant) == expected, how
            compared += 1
    assert compared > 4_000


def declared():
    """A message of every type and trigger that becomes events, by its header's MSH-9."""
    for trigger in RULES:
        yield f"ADT^{trigger}", None
    for kind, trigger in TELLERS:
        yield f"{kind}^{trigger}", (PATIENT, VISIT, *TOLD[kind])


@pytest.mark.parametrize(("kind", "segments"), list(declared()), ids=lambda each: str(each)[:8])
def test_every_version_of_the_standard_says_the_same(whole, kind, segments):
    body = message(kind, *segments) if segments else whole(kind.partition("^")[2])
    header, _, rest = body.partition(b"\r")
    fields = (header + b"|" * 20).split(b"|")
    told = []
    for version in VERSIONS:
        fields[11] = version.encode()
        told.append(mapped(b"|".join(fields) + b"\r" + rest))
    assert isinstance(told[0], Facts)
    assert all(each == told[0] for each in told)


def test_every_type_is_told_of_by_some_message_here():
    assert {kind for kind, _ in TELLERS} == set(TOLD)
    assert set(TRIGGERS) <= set(TELLERS)


@pytest.mark.parametrize("structure", ["", "^ADT_A01", "^ADT_A05", "^ORU_R01", "^nonsense"])
def test_the_structure_in_msh_9_adds_nothing_and_its_absence_takes_nothing(adt, structure):
    with_it, without = adt(msh={9: f"ADT^A04{structure}"}), adt(msh={9: "ADT^A04"})
    assert mapped(with_it) == mapped(without)
