"""What is fed with bytes that nobody chose: each takes any, and lets only its own faults out."""

import json
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from producers import answers, mllp, peek
from producers.answers import Trouble
from schemas.events import TYPES
from schemas.feeds import Feed
from streams.ledger.mapping import hl7v2
from streams.ledger.mapping.facts import Facts, Unmappable
from streams.ledger.mapping.mentions import mentioned
from streams.ledger.mapping.message import parse

AT = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
FEEDS = tuple(
    Feed(feed_id=UUID(int=1), tenant_id=UUID(int=2), name="fuzz", authority="A", charset=charset)
    for charset in (None, "UNICODE UTF-8", "8859/1", "~ISO IR87")
)
FRAME_BYTES = 200  # small, so that short inputs reach the limit
TROUBLES = (None, *(Trouble(code=code, reason="fault") for code in sorted(answers.ERRORS)))


def framing(data: bytes) -> None:
    """The same frames however the bytes are split; what is framed comes back as it was."""
    whole = _decoded([data])
    chance = random.Random(data)
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    pieces = [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert _decoded(pieces) == whole, "frames depend on how the bytes came"
    for each in whole:
        if isinstance(each, mllp.Frame):
            assert len(each.payload) <= FRAME_BYTES, "a frame over the limit"
            try:
                again = _decoded([mllp.encode(each.payload)])
            except mllp.Unframeable:
                continue
            assert again == [each], "a frame doesn't come back"


def hl7(data: bytes) -> None:
    """Drafts that fit what is declared, or a declared reason why there are none."""
    for feed in FEEDS:
        mentioned(data, feed)
        try:
            said = hl7v2.map_message(data, feed, received_at=AT)
            text = parse(data, charset=feed.charset).text
        except Unmappable:
            continue  # whose cause is one of those that are declared
        assert "\x1b" not in text, "an escape byte became text"
        if isinstance(said, Facts):
            _declared(said)
        else:
            assert said.reason, "ignored without a reason"


def answer(data: bytes) -> None:
    """What we answer is one frame, and reads as what was meant."""
    header = peek.peek(data)
    for trouble in TROUBLES:
        code = answers.ACCEPTED if trouble is None else "AE"
        sent = answers.answer(header, code, at=AT, own_id="1", trouble=trouble)
        [frame] = _decoded([mllp.encode(sent)], limit=mllp.FRAME_BYTES_MAX)
        assert isinstance(frame, mllp.Frame), "an answer that is no frame"
        own = peek.peek(frame.payload)
        assert isinstance(own, peek.Header), "an answer without a header"
        assert own.acknowledges, "an answer that is no acknowledgement"
        read = answers.read(frame.payload, own)
        control_id = header.control_id if isinstance(header, peek.Header) else b""
        assert read is not None, "an answer that says nothing"
        assert read.code == code
        assert read.error == (trouble.code if trouble else None)
        assert read.control_id == answers.echoed(control_id)


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "framing": framing,
    "hl7": hl7,
    "answer": answer,
}


def _decoded(pieces: list[bytes], limit: int = FRAME_BYTES) -> list[object]:
    decoder = mllp.Decoder(limit)
    found: list[object] = []
    for piece in pieces:
        if decoder.closed:
            break
        found += decoder.feed(piece)
    if not decoder.closed:
        found += decoder.settle()
        found += decoder.finish()
    return found


def _declared(said: Facts) -> None:
    drafts = [draft for part in said.parts for draft in part.drafts]
    names = {(draft.event_type, draft.ordinal, draft.role) for draft in drafts}
    assert len(names) == len(drafts), "two events of one id"
    for draft in drafts:
        declared = TYPES[draft.event_type]
        assert draft.stream_type == declared.stream_type
        assert set(draft.clear) <= set(declared.sealed), "something is sealed that isn't declared"
        json.dumps([dict(draft.data), dict(draft.clear)])
