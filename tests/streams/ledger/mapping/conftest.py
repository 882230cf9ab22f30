"""Messages of our own making, by what differs from a plain admission."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from schemas.feeds import Feed
from streams.ledger.mapping import hl7v2
from streams.ledger.mapping.table import MOVEMENT, RULES

RECEIVED_AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FEED = Feed(feed_id=UUID(int=1), tenant_id=UUID(int=2), name="north")


def _segment(name, fields, *, first=1):
    last = max(fields, default=0)
    return "|".join([name, *(fields.get(number, "") for number in range(first, last + 1))])


MERGED = {1: "2002^^^NORTH^MR", 3: "ACC1^^^NORTH^AN", 5: "V4^^^NORTH^VN"}
MOVED = {1: "M1^NORTH", 2: "20260302084500", 4: "UPDATE", 5: "N", 6: "A02"}


def complete(trigger, **given):
    """An ADT of any trigger with every segment that its rule wants."""
    rule, more = RULES[trigger], list(given.pop("more", ()))
    if rule.change and rule.change.source == ("PID-3",):
        more.insert(0, _segment("PID", {3: "2002^^^NORTH^MR"}))
    elif rule.change or rule.prior_visit:
        more.insert(0, _segment("MRG", MERGED))
    if rule.prior_visit == ("MRG-3",):  # an account, where it stands in for the visit number
        given = {"pv1": False, "pid": {18: "ACC2^^^NORTH^AN"}} | given
    if trigger == MOVEMENT:
        more.insert(0, _segment("ZBE", MOVED))
    return build(trigger, more=more, **given)


def build(trigger="A01", *, msh=None, evn=None, pid=None, pv1=None, more=()):
    """The bytes of an ADT; each argument gives fields by number over the plain ones.

    ``pv1=False`` leaves the segment out, and so with the others.
    """
    segments = []
    header = {2: "^~\\&", 3: "ADT", 7: "20260302090000", 9: f"ADT^{trigger}", 10: "77", 11: "P"}
    segments.append(_segment("MSH", header | (msh or {}), first=2))
    if evn is not False:
        segments.append(_segment("EVN", {1: trigger, 2: "20260302085900"} | (evn or {})))
    if pid is not False:
        plain = {3: "1001^^^NORTH^MR", 5: "Rook^Ada", 7: "19600229", 8: "F"}
        segments.append(_segment("PID", plain | (pid or {})))
    if pv1 is not False:
        plain = {2: "I", 3: "W1^R2^B3", 19: "V5^^^NORTH^VN"}
        segments.append(_segment("PV1", plain | (pv1 or {})))
    return "\r".join([*segments, *more, ""]).encode()


@pytest.fixture(scope="session")
def adt():
    return build


@pytest.fixture(scope="session")
def whole():
    return complete


@pytest.fixture(scope="session")
def segment():
    """One more segment's text, by its fields: ``segment("ZBE", {1: "M1"})``."""
    return _segment


@pytest.fixture(scope="session")
def drafts(mapped):
    """All drafts of a message, by event type; each type comes once."""

    def run(body, feed=FEED):
        found = [draft for part in mapped(body, feed).parts for draft in part.drafts]
        assert len({draft.event_type for draft in found}) == len(found)
        return {draft.event_type: draft for draft in found}

    return run


@pytest.fixture(scope="session")
def feed():
    return FEED


@pytest.fixture(scope="session")
def received_at():
    return RECEIVED_AT


@pytest.fixture(scope="session")
def mapped():
    """Map bytes for the plain feed, or another one."""

    def run(body, feed=FEED):
        return hl7v2.map_message(body, feed, received_at=RECEIVED_AT)

    return run


@pytest.fixture(scope="session")
def visit(mapped):
    """The draft of the visit's event in a message, if there is one."""

    def run(body, feed=FEED):
        drafts = [draft for draft in mapped(body, feed).parts[0].drafts if draft.role == "visit"]
        return drafts[0] if drafts else None

    return run


@pytest.fixture(scope="session")
def patient(mapped):
    """The demographics that a message seals."""

    def run(body, feed=FEED):
        first = mapped(body, feed).parts[0].drafts[0]
        assert first.role == "patient"
        return first.clear["demographics"]

    return run
