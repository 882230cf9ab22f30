"""Bytes to begin with, and how they are changed where no fuzzer steers: from a seed alone."""

import random
from collections.abc import Iterator

from producers import mllp
from streams.ledger.mapping.table import RULES
from tests.streams.ledger.mapping.conftest import complete
from tests.streams.ledger.mapping.messages import (
    PATIENT,
    REQUEST,
    RESULT,
    VISIT,
    message,
    rxa,
)
from tests.streams.ledger.mapping.test_participations import ROL
from tests.streams.ledger.mapping.test_triggers import SEGMENTS
from tests.streams.ledger.mapping.test_triggers import TRIGGERS as RECORDS

BYTES_MAX = 4_096
# Where less reaches everything: what an input costs rises with its length.
STEERED_BYTES_MAX = {"framing": 256, "answer": 512}
CHANGES_MAX = 8
TOKENS = (
    b"MSH|^~\\&|", b"\rPID|", b"\rPV1|", b"\rORC|", b"\rOBX|", b"\rMRG|", b"\rZBE|", b"\rROL|",
    b"\rSCH|", b"\rTXA|", b"\rPRB|", b"\r", b"\n", b"|", b"^", b"~", b"&", b"\\", b'""', b" ",
    b"\\X41\\", b"\\X00\\", b"\\M2442\\", b"\\C2842\\", b"\x1b$B", b"\x1b(B", b"\x1b)I", b"\x0b",
    b"\x1c", b"\x1c\r", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xe3\x81\x82", b"\xa0", b"<",
    b"20260302", b"2026", b"9999999999", b"-1", b"BID&0600,1800", b"Q6H", b"8859/1~ISO IR87",
    b"UNICODE UTF-8", b"ISO IR 999",
)  # fmt: skip


def seeds() -> Iterator[bytes]:
    """A message of each type and trigger, framed and not; nobody's."""
    made = [complete(trigger) for trigger in RULES]
    made += [message(f"{kind}^{at}", PATIENT, VISIT, *SEGMENTS[kind]) for kind, at in RECORDS]
    made += [
        message("ORU^R01", PATIENT, REQUEST, RESULT, ROL, "ZPI|1|x"),
        message("RAS^O17", PATIENT, "ORC|RE|P1", rxa()),
        message("VXU^V04", PATIENT, "ORC|RE|P1", rxa()),
        message("ORM^O01", PATIENT, "ORC|NW|P1||||||^BID^^20260302", "OBR|1|||X^Y^L", "NTE|1||z"),
        b"MSH|^~\\&|A||||2026||ACK|1|P|2.5\rMSA|AA|1\r", b"MSH|", b"FHS|^~\\&\rBHS|^~\\&\r",
    ]  # fmt: skip
    for each in made:
        yield each
        yield mllp.encode(each)


def changed(chance: random.Random, begun: list[bytes]) -> bytes:
    """One of the seeds, with some of it cut, doubled, replaced or joined with another."""
    data = bytearray(chance.choice(begun))
    for _ in range(chance.randint(0, CHANGES_MAX)):
        at = chance.randrange(len(data) + 1)
        what = chance.randrange(5)
        if what == 0:
            data[at:at] = chance.choice(TOKENS)
        elif what == 1:
            del data[at : at + chance.randrange(1, 40)]
        elif what == 2:
            data[at : at + 1] = chance.randbytes(1)
        elif what == 3:
            data[at:at] = data[at : at + chance.randrange(1, 60)]
        else:
            other = chance.choice(begun)
            start = chance.randrange(len(other) + 1)
            data[at:at] = other[start : start + chance.randrange(1, 200)]
    return bytes(data[:BYTES_MAX])
