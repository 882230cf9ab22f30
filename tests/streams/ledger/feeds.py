"""Messages made for what real feeds send; what the ledger and the path make of a file of them."""

from datetime import UTC

import orjson
import pytest

from producers.files import split
from schemas import sealing
from schemas.codec import Codec, Ids
from sinks.stored import as_read
from streams import log
from streams.trajectory.facts import PATH_KINDS, Fact
from streams.trajectory.path import path
from tests.sinks import provisioned
from tests.streams.ledger import told

READ = as_read(Codec(Ids.in_order()))


@pytest.fixture(scope="module")
def whole(stack):
    """One ledger for all messages of a module, as making one takes longer than what they do."""
    with pytest.MonkeyPatch.context() as patched, provisioned.made(stack) as store:
        patched.setattr(log, "topic_ids", lambda _, topics: dict.fromkeys(topics, "id-1"))
        yield told.made(store)


@pytest.fixture
def line(whole):
    """The ledger's processor, to which nothing was told yet."""
    told.wiped(whole)
    whole.store.run("TRUNCATE parked_records")
    whole.store.run("UPDATE subscriptions SET parked_keys = 0")
    return whole


HEAD = "MSH|^~\\&|ADT|N|||20260302090000||{}|77|P|2.5"
PID = "PID|1||1001^^^NORTH^MR||Rook^Ada||19600229|F"


def made(*segments, kind="ADT^A01", head=HEAD):
    return "\r".join([head.format(kind), *segments, ""]).encode()


def visit(bed="W1^R2^B3", *, cls="I", number="V1^^^NORTH^VN", **fields):
    """A PV1; further fields by number: ``visit(f6="W2^R1^B1")``."""
    row = {"2": cls, "3": bed, "19": number, **{key[1:]: value for key, value in fields.items()}}
    last = max(map(int, row))
    return "|".join(["PV1", "1", *(row.get(str(number), "") for number in range(2, last + 1))])


def event(trigger, clock, *, recorded=None, occurred=True):
    """An EVN: when it was recorded (EVN-2) and when it happened (EVN-6)."""
    return f"EVN|{trigger}|{at(recorded or clock)}||||{at(clock) if occurred else ''}"


def at(clock):
    return f"20260302{clock.replace(':', '')}00"


def sent(line, data):
    """Sends a file as `wardtrail send` does; what in it was no message."""
    found = split(data)
    if found.messages:
        line.send(*(piece.body for piece in found.messages))
    return [stray.cause for stray in found.strays]


def outcomes(line):
    rows = line.store.rows("SELECT outcome, cause FROM messages ORDER BY message_id")
    return [(row["outcome"], row["cause"]) for row in rows]


def name(line):
    """The patient's name as it was told last."""
    row = [row for row in line.events(stream_type="patient") if "demographics" in row["sealed"]][-1]
    clear = line.keys().open(
        sealing.untext(row["sealed"]["demographics"]),
        person=row["person_id"], record=row["event_id"], field="demographics",
    )  # fmt: skip
    [first, *_] = orjson.loads(clear)["names"]
    return first


def of(line, number="V1"):
    facts = [READ(as_text(row)) for row in line.events(stream_id=line.admission(number))]
    return path([Fact.of_event(each) for each in facts if each["event_type"] in PATH_KINDS])


def as_text(row):
    names = (
        "event_id",
        "stream_id",
        "tenant_id",
        "feed_id",
        "message_id",
        "person_id",
        "created_by",
    )
    return {**row, **{each: row[each] and str(row[each]) for each in names}}


def stays(line, number="V1", track="census"):
    """The places of a visit with their times of the day."""
    found = dict(of(line, number).tracks)[track]
    return [(stay.place, clock(stay.start), clock(stay.end)) for stay in found]


def clock(moment):
    return None if moment is None else f"{moment.astimezone(UTC):%H:%M}"


ADMITTED = made(event("A01", "09:00"), PID, visit())
MOVED = made(event("A02", "10:00"), PID, visit("W2^R1^B1"), kind="ADT^A02")
JOURNEY = [("W1^R2^B3", "09:00", "10:00"), ("W2^R1^B1", "10:00", None)]
