"""What is told of a message's bytes shows nobody; where readers stand follows from positions."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest

from ops import lag, tracing
from ops.tracing import READERS, SEGMENTS, Positions
from producers.peek import peek
from schemas import sealing
from schemas.feeds import Feed
from schemas.topics import COMMANDS, EVENTS, HL7V2, POINTS
from sinks.queries import Standing
from sinks.tracing import Became, Message, Point, Stuck

TENANT = UUID(int=1)
AT = datetime(2026, 3, 2, 8, tzinfo=UTC)
KEYS = sealing.Keys(
    tenant_id=TENANT, data={1: sealing.Key.of(b"d" * 32, version=1, scope=sealing.Scope.TENANT)},
    identity=b"i" * 32,
)  # fmt: skip
FEED = Feed(feed_id=UUID(int=3), tenant_id=TENANT, name="city")
NAME = "Rookcanary"
HEAD = b"MSH|^~\\&|APP|FAC|||20260302||ADT^A01|id-1|P|2.5"
BODY = HEAD + b"||||||8859/1\rPID|1||7^^^A^MR||" + NAME.encode() + b"^Ann~Other\rZNO|free\r"


def message(raw: bytes = BODY, topic: str = HL7V2.name) -> Message:
    record = UUID(int=2)
    sealed = KEYS.seal(raw, person=None, record=record, field="body") if raw else b""
    return Message(
        tenant_id=str(TENANT), feed_id=str(UUID(int=3)), message_id=str(record), topic=topic,
        partition=0, offset=1, received_at=AT, recorded_at=AT, message_type="ADT^A01",
        outcome="applied", reason=None, mapper_version=1, events=0, duplicates=0,
        body_sealed=sealed,
    )  # fmt: skip


def shown(raw: bytes = BODY, *, clear: bool = False, charset: str | None = None) -> tracing.Body:
    return tracing.body(message(raw), KEYS, clear=clear, feed=replace(FEED, charset=charset))


def event(kind: str = "admission.created", seq: int = 10) -> Became:
    return Became(
        event_id=str(UUID(int=seq)), event_type=kind, stream_type="admission",
        stream_id=str(UUID(int=9)), event_version=1, person_id=None, occurred_at=AT,
        recorded_at=AT, partition=0, partition_seq=seq, mapper_version=1,
    )  # fmt: skip


def standing(reader: str, last: int, topic: str = EVENTS.name) -> Standing:
    return Standing(
        subscription_id=reader, topic=topic, partition=0, next_offset=0, last_position=last,
        epoch=1, owner=None, outcomes={},
    )  # fmt: skip


def test_a_masked_message_keeps_its_segments_and_delimiters_and_nothing_that_was_said():
    body = shown()
    assert body.lines == (
        "MSH|^~\\&|x|x|||x||x^x|x|x|x||||||x", "PID|x||x^^^x^x||x^x~x", "x|x",
    )  # fmt: skip
    assert (body.size, body.charset, body.masked, body.cut) == (len(BODY), "8859/1", True, False)


@pytest.mark.parametrize("raw", [NAME.encode(), HEAD + b"\r" + NAME[:3].encode() + b"|x", HEAD[3:]])
def test_what_only_looks_like_a_segment_is_masked_too(raw):
    assert NAME[:3] not in "".join(shown(raw).lines)


def test_the_segments_are_such_that_mappings_read_and_none_is_free():
    assert {b"MSH", b"EVN", b"PID", b"PV1", b"MRG", b"ORC", b"OBR", b"OBX", b"RXA"} <= SEGMENTS
    assert all(len(each) == 3 and each.isalnum() and each.isupper() for each in SEGMENTS)


def test_for_a_reason_the_lines_are_in_the_charset_that_the_message_is_in():
    raw = HEAD + b"||||||8859/1\rPID|1||7||M\xfcller\n"
    assert shown(raw, clear=True).lines[1] == "PID|1||7||M\u00fcller"
    assert shown(raw, clear=True, charset="8859/2").lines[1] == "PID|1||7||M\u00fcller"
    assert shown(raw, clear=True, charset="klingon").lines[1] == "PID|1||7||M\u00fcller"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"", None),
        (b"UNICODE UTF-8", "UNICODE UTF-8"),
        (b"8859/1~ISO IR87", "8859/1~ISO IR87"),
        (b"~ISO IR87", "~ISO IR87"),
        (NAME.encode(), "?"),
        (b"8859/1~" + NAME.encode(), "?"),
    ],
)
def test_a_charset_is_told_where_it_is_one(said, told):
    assert shown(HEAD + b"||||||" + said + b"\rPID|1\r").charset == told


@pytest.mark.parametrize(
    ("lines", "cut"), [(tracing.LINES_MAX, False), (tracing.LINES_MAX + 1, True)]
)
def test_a_masked_message_is_bounded_in_lines(lines, cut):
    body = shown(HEAD + b"\rPID|1" * (lines - 1))
    assert (len(body.lines), body.cut) == (tracing.LINES_MAX, cut)


def test_a_masked_line_is_bounded_in_length():
    body = shown(HEAD + b"\rPID" + b"|" * 1_000)
    assert (len(body.lines[1]), body.cut) == (tracing.LINE_MAX, True)


@pytest.mark.parametrize(
    ("wants", "settings", "outcome", "codes"),
    [
        (b"||||", {}, "dead", ("AA",)),
        (b"|||AL|NE", {}, "applied", ("CA",)),
        (b"|||AL|AL", {}, "applied", ("CA", "AA")),
        (b"|||NE|NE", {}, "applied", ()),
        (b"|||ER|ER", {}, "applied", ()),
        (b"|||AL|NE", {"acknowledgement": "original"}, "applied", ("AA",)),
        (b"||||", {"answer_when": "outcome"}, "applied", ("AA",)),
        (b"||||", {"answer_when": "outcome", "refusal_answer": "AE"}, "dead", ("AE",)),
        (b"||||", {"answer_when": "outcome", "ignored_answer": "AR"}, "ignored", ("AR",)),
        (b"||||", {"answer_when": "outcome", "ignored_answer": "AR"}, "parked", ("AA",)),
        (b"|||AL|ER", {"answer_when": "outcome"}, "dead", ("CA", "AR")),
    ],
)
def test_the_answers_follow_from_the_message_and_its_feed(wants, settings, outcome, codes):
    header = peek(HEAD + wants + b"\r")
    assert tracing.answered(header, replace(FEED, **settings), outcome) == codes


@pytest.mark.parametrize(
    ("state", "waited", "outcome", "answers", "again"),
    [
        ("retried", False, "applied", ("AR",), ("AA",)),
        ("retried", True, "applied", ("AA",), None),
        ("dead", False, "dead", ("AR",), None),
        ("dead", True, "dead", ("AA",), ("AR",)),
        ("discarded", False, "dead", ("AR",), None),
    ],
)
def test_a_message_that_was_dead_shows_the_answer_that_was_given_and_the_one_now(
    state, waited, outcome, answers, again
):
    letter = Stuck(
        id="l", subscription_id="ledger", event_id=None, state=state, cause="charset",
        reason="why", created_at=AT, waited=waited,
    )  # fmt: skip
    of_event = replace(letter, event_id="e", subscription_id="patients", waited=not waited)
    for feed, expected in (
        (replace(FEED, answer_when="outcome"), (answers, again)), (FEED, (("AA",), None)),
    ):  # fmt: skip
        body = tracing.body(
            replace(message(BODY), outcome=outcome), KEYS, clear=False, feed=feed,
            letters=[of_event, letter],
        )  # fmt: skip
        assert (body.answers, body.again) == expected


def test_an_acknowledgement_is_answered_by_none():
    assert shown().answers == ("AA",)
    header = peek(HEAD.replace(b"ADT^A01", b"ACK^A01"))
    assert tracing.answered(header, None, "applied") == ()


def test_what_is_not_kept_not_of_hl7_or_not_ours_to_open_says_why_it_is_closed():
    other = replace(
        KEYS, data={1: sealing.Key.of(b"e" * 32, version=1, scope=sealing.Scope.TENANT)}
    )
    for kept, keys, why in (
        (message(b""), KEYS, tracing.NOT_KEPT),
        (message(topic=COMMANDS.name), KEYS, tracing.NO_MESSAGE),
        (message(), None, "no key is at hand"),
        (message(), other, "envelope was sealed under another key: body"),
    ):
        body = tracing.body(kept, keys, clear=True, feed=None)
        assert (body.closed, body.lines, body.size) == (why, (), None)


def way(*, events=(), letters=(), points=(), standings=()):
    return tracing.composed(
        message(), feed=None, body=shown(), positions=Positions(standings), events=events,
        letters=letters, points=points,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("last", "state", "to_go"), [(0, "waiting", 10), (9, "waiting", 1), (10, "applied", None)]
)
def test_a_reader_has_applied_what_its_position_has_passed(last, state, to_go):
    [followed] = way(events=[event()], standings=[standing("trajectory", last)]).events
    [found] = [each for each in followed.readers if each.reader == "trajectory"]
    assert (found.state, found.to_go) == (state, to_go)


def test_only_who_reads_an_event_stands_to_it_and_the_relay_publishes_all():
    told = {each.reader for each in way(events=[event("identity.conflict")]).events[0].readers}
    reading = {each.name for each in READERS if "identity.conflict" in each.reads}
    assert told == {*reading, "relay"}
    [followed] = way(events=[event()], standings=[standing("relay", 10)]).events
    assert followed.readers[-1].state == "published"


@pytest.mark.parametrize(
    ("state", "shown_as"),
    [("dead", "dead"), ("parked", "parked"), ("discarded", "discarded"), ("retried", "applied")],
)
def test_a_letter_says_more_than_a_position(state, shown_as):
    letter = Stuck(
        id="letter", subscription_id="trajectory", event_id=event().event_id, state=state,
        cause="refused", reason="r", created_at=AT,
    )  # fmt: skip
    told = way(events=[event()], letters=[letter], standings=[standing("trajectory", 10)])
    [found] = [each for each in told.events[0].readers if each.reader == "trajectory"]
    assert found.state == shown_as
    assert told.letters == (), "it is the event's, not the message's"


def test_the_readers_are_those_that_lag_measures():
    measured = {name for each in lag.READERS for name in each.subscriptions} - {"ledger"}
    assert {each.name for each in READERS} == measured
    relays = {each.subscription for each in lag.PUBLISHERS}
    assert relays == {
        "relay", "relay:points", "relay:verification", "relay:commands", "relay:letters"
    }  # fmt: skip


def test_a_point_is_published_when_its_relay_has_passed_it():
    point = Point(
        point_id="p", admission_id="a", track="census", location="W", effective_at=AT,
        ended_at=None, known_from=AT, known_to=None, retracted_at=None, partition=0,
        partition_seq=10,
    )  # fmt: skip
    for last, state in ((9, "waiting"), (10, "published")):
        told = way(points=[point], standings=[standing("relay:points", last, POINTS.name)])
        assert [each.state for each in told.points[0].readers] == [state]
