"""What a message says, as values: a claim of identity and drafts of events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from schemas.identity import Identifier
from streams.ledger.mapping.times import Moment

Cause = Literal[
    "no_header", "charset", "no_patient", "no_visit", "required_field", "structure",
]  # fmt: skip
CAUSES: tuple[Cause, ...] = get_args(Cause)
ChangeKind = Literal["merge", "move", "change"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Whom and which visit a message is about.

    ``identifiers`` are PID-3's that name a person, best first by the feed's
    ``identifier_types``, then in order; there is at least one. ``visit`` is PV1-19, else PID-18
    (rule T25); its type is empty or as sent for PV1-19 and ``AN`` for PID-18.
    """

    identifiers: tuple[Identifier, ...] = field(repr=False)
    visit: Identifier | None = field(repr=False)

    def __post_init__(self) -> None:
        assert self.identifiers, "a claim names a person"


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamName:
    """What names a stream that is neither the patient's nor a visit's, hashed under their key.

    With ``of_patient`` the patient's id belongs to it.
    """

    parts: tuple[str, ...] = field(repr=False)
    of_patient: bool = False

    def __post_init__(self) -> None:
        assert self.parts, "a stream has a name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event to be: all that the message says of it, before ids, seals and numbers.

    ``data`` has the fields of the event's data record but ``patient_id``; ``attending_id`` is
    None in it, to be made of ``attending``, and so is ``movement_id``, of ``movement``.
    ``clear`` is PHI to seal, by field name, as JSON values. ``occurred_field`` is the field that
    gave ``occurred`` (rule T1). ``visit`` is whose stream it belongs to where that isn't the
    claim's; ``stream`` names the stream of what is neither the patient's, a visit's nor an order's;
    ``order`` gives its ``order_id``, or is the order that is told of, which ``filler`` names too
    and ``provider`` gave; ``staff`` give its ``staff_ids`` and ``parent`` its
    ``parent_document_id``;
    ``source`` are the identifiers (MRG-1) of whose visit it was, if they are said.
    ``ordinal`` (of its part) and ``role`` tell the events of one message apart.
    """

    event_type: str
    stream_type: str
    occurred: Moment
    occurred_field: str
    data: Mapping[str, Any]
    clear: Mapping[str, Any] = field(repr=False)
    attending: Identifier | None = field(default=None, repr=False)
    movement: Identifier | None = field(default=None, repr=False)
    visit: Identifier | None = field(default=None, repr=False)
    source: tuple[Identifier, ...] = field(default=(), repr=False)
    order: Identifier | None = field(default=None, repr=False)
    filler: Identifier | None = field(default=None, repr=False)
    provider: Identifier | None = field(default=None, repr=False)
    stream: StreamName | None = field(default=None, repr=False)
    staff: tuple[Identifier, ...] = field(default=(), repr=False)
    parent: StreamName | None = field(default=None, repr=False)
    ordinal: int = 0
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityChange:
    """What becomes of the patient that ``source`` names: from now on whom the claim names.

    ``source`` are the identifiers to give up (MRG-1, else MRG-4, else MRG-2), by the rules of
    PID-3's; there is at least one. ``event_type`` is ``patient.merged``, or ``patient.unmerged``
    where it takes back what was. ``reported_at`` is EVN-2, else MSH-7, as microseconds.
    """

    kind: ChangeKind
    event_type: str
    source: tuple[Identifier, ...] = field(repr=False)
    occurred: Moment
    occurred_field: str
    reported_at: int | None
    trigger: str
    ordinal: int = 0

    def __post_init__(self) -> None:
        assert self.source, "a change of identity names whose it was"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What a message says of one patient and visit: one PID with what belongs to it.

    ``account`` is PID-18 beside PV1-19 where something is told of that visit: the account to
    which it belongs (rule M5). A part without drafts only tells of two patients (rule M7).
    """

    claim: Claim
    drafts: tuple[Draft, ...] = field(repr=False)
    changes: tuple[IdentityChange, ...] = ()
    account: Identifier | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        assert self.drafts or self.changes, "a part says something"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A message that says something: ``message_type`` such as ``ADT^A01``, MSH-10, parts.

    There is one part but where a message is about several patients (rules T18, M1).
    ``left_out`` says why something of it became no fact, each reason once and without PHI: what
    it tells of a visit that it doesn't name (rule T25), or of nobody that it names.
    """

    message_type: str
    trigger: str
    control_id: str
    parts: tuple[Part, ...]
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        assert self.parts, "facts are about somebody"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message that is none of ours, with a reason from a closed list and no PHI in it.

    The cause says whether its type isn't told of, its trigger, or nobody whom we'd know.
    """

    message_type: str
    control_id: str
    reason: str
    cause: Literal["message_type", "trigger", "no_patient"]


class Nobody(Exception):  # noqa: N818  named for what is wrong
    """A message, or a part of one, that names no patient; the text holds nothing of it."""


class Unmappable(Exception):  # noqa: N818  named for what is wrong
    """A message that can't be mapped: a dead letter. Neither text holds anything of it."""

    def __init__(self, cause: Cause, reason: str) -> None:
        assert cause in CAUSES, f"unknown cause: {cause}"
        super().__init__(f"{cause}: {reason}")
        self.cause = cause
        self.reason = reason
