"""A message's whole way as one value: what came, what was answered, what became of it; pure.

What was answered isn't stored anywhere: it follows from the message by the intake's rules.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from producers import acks, answers
from producers.acks import Stage
from producers.peek import Header, NoHeader, peek, text
from schemas.feeds import AUTO, OUTCOME, Feed
from schemas.sealing import EnvelopeInvalid, KeyMissing, Keys
from schemas.topics import COMMAND_RESULTS, EVENTS, HL7V2, POINTS, VERIFICATIONS
from sinks.projection import Projection
from sinks.queries import Standing
from sinks.tracing import Became, Decided, Evidence, Message, Point, Stuck, Verdict
from streams.ledger.mapping import charsets
from streams.ledger.mapping.facts import Unmappable
from streams.read_models import PROJECTIONS
from streams.trajectory import PROJECTION as TRAJECTORY
from streams.verification.projection import PROJECTION as VERIFICATION

READERS: tuple[Projection, ...] = (*PROJECTIONS, TRAJECTORY, VERIFICATION)
LINES_MAX = 200  # of a masked message; the largest real ones have some hundred segments
LINE_MAX = 400  # characters of each
# What a line of a message may begin with, shown as it is; any other beginning may be a name.
SEGMENTS = frozenset(
    b"ACC AIG AIL AIP AIS AL1 ARV AUT BHS BLG BTS CTD CTI DB1 DG1 DRG DSC ERR EVN FAC FHS FT1 FTS"
    b" GT1 IAM IN1 IN2 IN3 MRG MSA MSH NK1 NTE OBR OBX ORC PD1 PDA PID PR1 PRT PV1 PV2 QRD QRF"
    b" RGS ROL RXA RXC RXD RXE RXG RXO RXR SAC SCH SFT SPM STF TCC TQ1 TQ2 TXA UAC UB1 UB2 ZBE"
    .split()
)  # fmt: skip
_LINES = re.compile(rb"[\r\n]+")
_MASK = b"x"
NOT_KEPT = "nothing of it is kept"
NO_MESSAGE = "it is no message of HL7 v2"
ERASED = "somebody of whom it tells was erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The bytes received: how many, the charset that MSH-18 names, the lines, masked or in clear.

    ``closed`` says why they aren't shown. ``charset`` is None where none is named, "?" where it
    isn't the name of one: whatever stands there is then the sender's alone. ``again`` are the
    answers to the same message now, where they are others since it was retried.
    """

    size: int | None = None
    charset: str | None = None
    masked: bool = True
    lines: tuple[str, ...] = field(default=(), repr=False)
    cut: bool = False
    answers: tuple[str, ...] = ()
    again: tuple[str, ...] | None = None
    closed: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stands:
    """Where a reader is with something: a state, and how many positions it has still to go.

    The states: applied (published, of a relay), waiting, parked, dead, discarded.
    """

    reader: str
    state: str
    to_go: int | None = None
    letter_id: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """Something that a message became, and where its readers stand."""

    what: Became | Point | Verdict | Decided
    readers: tuple[Stands, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """A message's whole way."""

    feed: str | None
    message: Message
    body: Body
    letters: tuple[Stuck, ...] = ()
    command: Followed | None = None
    events: tuple[Followed, ...] = ()
    points: tuple[Followed, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    verdicts: tuple[Followed, ...] = ()


class Positions:
    """How far each subscription is in each partition."""

    def __init__(self, standings: Sequence[Standing]) -> None:
        self._last = {
            (each.subscription_id, each.topic, each.partition): each.last_position
            for each in standings
        }

    def of(self, reader: str, topic: str, partition: int, seq: int) -> Stands:
        """Where a reader is with a position; a relay publishes what others apply."""
        last = self._last.get((reader, topic, partition), 0)
        if last < seq:
            return Stands(reader=reader, state="waiting", to_go=seq - last)
        done = "published" if reader.startswith("relay") else "applied"
        return Stands(reader=reader, state=done)


def composed(
    message: Message,
    *,
    feed: str | None,
    body: Body,
    positions: Positions,
    letters: Sequence[Stuck] = (),
    command: Decided | None = None,
    events: Sequence[Became] = (),
    points: Sequence[Point] = (),
    evidence: Sequence[Evidence] = (),
    verdicts: Sequence[Verdict] = (),
) -> Trace:
    """The whole way, each thing with where its readers stand."""
    stuck = {(each.subscription_id, each.event_id): each for each in letters}
    return Trace(
        feed=feed, message=message, body=body,
        letters=tuple(each for each in letters if each.event_id is None),
        command=None if command is None else _followed(command, positions),
        events=tuple(
            Followed(what=each, readers=tuple(_readers(each, positions, stuck))) for each in events
        ),
        points=tuple(_followed(each, positions) for each in points),
        evidence=tuple(evidence),
        verdicts=tuple(_followed(each, positions) for each in verdicts),
    )  # fmt: skip


def body(
    message: Message, keys: Keys | None, *, clear: bool, feed: Feed | None,
    letters: Sequence[Stuck] = (),
) -> Body:  # fmt: skip
    """A message's bytes as they may be shown; its feed has a charset of its own, perhaps.

    By its ``letters`` is told what it was answered before it was released.
    """
    if not message.body_sealed:
        return Body(closed=NOT_KEPT)
    if message.topic != HL7V2.name:
        return Body(closed=NO_MESSAGE)
    if keys is None:
        return Body(closed="no key is at hand")
    try:
        raw = keys.open(
            message.body_sealed, person=None, record=UUID(message.message_id), field="body"
        )
    except (EnvelopeInvalid, KeyMissing) as trouble:
        return Body(closed=str(trouble))
    header = peek(raw)
    charset = None if feed is None else feed.charset
    lines = tuple(_clear(raw, charset) if clear else _masked(raw, header))
    kept = lines if clear else tuple(line[:LINE_MAX] for line in lines[:LINES_MAX])
    first = answered(header, feed, _outcome_then(message, letters))
    now = answered(header, feed, message.outcome)
    return Body(
        size=len(raw), charset=_told(header), masked=not clear, lines=kept, cut=kept != lines,
        answers=first, again=None if now == first else now,
    )  # fmt: skip


def _outcome_then(message: Message, letters: Sequence[Stuck]) -> str:
    """What had become of the message when the ledger read it first."""
    for each in letters:
        if each.event_id is None and each.subscription_id == "ledger":
            return "parked" if each.waited else "dead"
    return message.outcome


def answered(header: Header | NoHeader, feed: Feed | None, outcome: str) -> tuple[str, ...]:
    """The codes by which the intake acknowledges a message that the brokers hold, in order.

    By what it asks for (rule I1) and by its feed as it is set now. An acknowledgement is never
    acknowledged (rule I5).
    """
    if isinstance(header, Header) and header.acknowledges:
        return ()
    asked = acks.asked(header, AUTO if feed is None else feed.acknowledgement)
    code = _by_outcome(feed, outcome)
    said = {
        Stage.ACCEPT: acks.wanted(asked, Stage.ACCEPT, success=True),
        Stage.APPLICATION: acks.wanted(asked, Stage.APPLICATION, success=code == answers.ACCEPTED),
    }
    codes = {Stage.ACCEPT: acks.staged(answers.ACCEPTED, Stage.ACCEPT), Stage.APPLICATION: code}
    return tuple(codes[stage] for stage, wanted in said.items() if wanted)


def _by_outcome(feed: Feed | None, outcome: str) -> str:
    """The application's code: of custody, or by what became of it where its feed asks for that."""
    if feed is None or feed.answer_when != OUTCOME or outcome in ("applied", "parked"):
        return answers.ACCEPTED
    return feed.refusal_answer if outcome == "dead" else feed.ignored_answer


def _readers(
    event: Became, positions: Positions, stuck: Mapping[tuple[str, str | None], Stuck]
) -> Iterator[Stands]:
    """Where each projection that reads an event is with it, and the relay."""
    place = (EVENTS.name, event.partition, event.partition_seq)
    for each in READERS:
        letter = stuck.get((each.name, event.event_id))
        if letter is not None and letter.state != "retried":
            yield Stands(
                reader=each.name, state=letter.state, letter_id=letter.id, since=letter.created_at
            )
        elif event.event_type in each.reads:
            yield positions.of(each.name, *place)
    yield positions.of("relay", *place)


def _followed(what: Point | Verdict | Decided, positions: Positions) -> Followed:
    """What is published, with where its relay stands."""
    if what.partition is None or what.partition_seq is None:
        return Followed(what=what, readers=())
    relay, topic = {
        Point: ("relay:points", POINTS.name),
        Verdict: ("relay:verification", VERIFICATIONS.name),
        Decided: ("relay:commands", COMMAND_RESULTS.name),
    }[type(what)]
    stands = positions.of(relay, topic, what.partition, what.partition_seq)
    return Followed(what=what, readers=(stands,))


def _told(header: object) -> str | None:
    """MSH-18 where it is nothing but names of charsets, so that no patient's data passes by it."""
    said = header.field(18) if isinstance(header, Header) else b""
    if not said or not isinstance(header, Header):
        return None
    for name in text(said).split(text(header.delimiters[1:2])):
        if not name.strip():
            continue
        try:
            charsets.decode(b"", name)
        except Unmappable:
            return "?"
    return text(said)


def _masked(raw: bytes, header: object) -> Iterator[str]:
    """Each line with its segment, its delimiters, and a mark for whatever is said."""
    kept = header.separator + header.delimiters if isinstance(header, Header) else b""
    said = re.compile(b"[^" + re.escape(kept) + b"]+" if kept else b"(?s:.+)")
    for line in _LINES.split(raw.strip()):
        name = line[:3] if line[:3].upper() in SEGMENTS and line[3:4] in (b"", kept[:1]) else b""
        yield text(name + said.sub(_MASK, line[len(name) :]))


def _clear(raw: bytes, charset: str | None) -> Iterator[str]:
    try:
        said = charsets.decode(raw, charset).text
    except Unmappable:
        said = text(raw)
    yield from re.split(r"[\r\n]+", said.strip("\r\n"))
