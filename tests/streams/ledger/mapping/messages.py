"""Results and administrations of our own making, by their segments."""

from datetime import UTC, datetime
from uuid import UUID

from schemas.feeds import Feed
from streams.ledger.mapping import hl7v2
from streams.ledger.mapping.facts import Facts

RECEIVED_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FEED = Feed(feed_id=UUID(int=1), tenant_id=UUID(int=2), name="north", authority="NORTH")
SENT = "20260302090000"
PATIENT = "PID|||1001^^^NORTH^MR||Rook^Ada||19600229|F"
VISIT = "PV1||I|W1^R2^B3" + "|" * 16 + "V5^^^NORTH^VN"
REQUEST = "OBR|1|P1^CPOE|F1^LAB|24323-8^Panel^LN|||202603020800"
RESULT = "OBX|1|NM|2345-7^Glucose^LN||5.4|mmol/L|||||F"


def segment(name, fields):
    """A segment by its fields: ``segment("RXA", {3: "2026"})``."""
    last = max(fields, default=0)
    return "|".join([name, *(fields.get(number, "") for number in range(1, last + 1))])


def header(kind, sent=SENT):
    return f"MSH|^~\\&|LAB|NORTH|||{sent}||{kind}|77|P|2.5.1"


def message(kind, *segments, sent=SENT, end="\r"):
    """The bytes of a message; without a PID among its segments it is of one patient."""
    named = any(each.startswith("PID") for each in segments)
    return end.join([header(kind, sent), *([] if named else [PATIENT]), *segments, ""]).encode()


def oru(*segments, **settings):
    return message("ORU^R01^ORU_R01", *segments, **settings)


def obx(**fields):
    """A glucose that is final, by what differs: ``obx(_11="C")``."""
    plain = {1: "1", 2: "NM", 3: "2345-7^Glucose^LN", 5: "5.4", 6: "mmol/L", 11: "F"}
    return segment("OBX", plain | {int(name[1:]): value for name, value in fields.items()})


def obr(**fields):
    plain = {1: "1", 2: "P1^CPOE", 3: "F1^LAB", 4: "24323-8^Panel^LN", 7: "202603020800"}
    return segment("OBR", plain | {int(name[1:]): value for name, value in fields.items()})


def rxa(**fields):
    """A tetanus shot that is complete, by what differs: ``rxa(_20="RE")``."""
    plain = {1: "0", 2: "1", 3: "20260302080000", 5: "115^Tdap^CVX", 6: "0.5", 7: "mL", 20: "CP"}
    return segment("RXA", plain | {int(name[1:]): value for name, value in fields.items()})


def mapped(body, feed=FEED):
    return hl7v2.map_message(body, feed, received_at=RECEIVED_AT)


def told(body, feed=FEED):
    """The drafts of evidence, in order."""
    facts = mapped(body, feed)
    assert isinstance(facts, Facts)
    drafts = [draft for part in facts.parts for draft in part.drafts]
    return [draft for draft in drafts if draft.stream_type == "evidence"]


def one(body, feed=FEED):
    """The one draft of evidence in a message."""
    (draft,) = told(body, feed)
    return draft


def utc(*parts):
    return datetime(*parts, tzinfo=UTC)
