"""What a message says, as values: a claim of identity and drafts of events."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from schemas.identity import Identifier
from streams.ledger.mapping.times import Moment

Cause = Literal["no_header", "charset", "no_patient", "no_visit", "structure"]
CAUSES: tuple[Cause, ...] = get_args(Cause)


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
class Draft:
    """An event to be: all that the message says of it, before ids, seals and numbers.

    ``data`` has the fields of the event's data record but ``patient_id``; ``attending_id`` is
    None in it, to be made of ``attending``. ``clear`` is PHI to seal, by field name, as JSON
    values. ``occurred_field`` is the field that gave ``occurred`` (rule T1). ``ordinal`` and
    ``role`` tell the events of one message apart.
    """

    event_type: str
    stream_type: str
    occurred: Moment
    occurred_field: str
    data: Mapping[str, Any]
    clear: Mapping[str, Any] = field(repr=False)
    attending: Identifier | None = field(default=None, repr=False)
    ordinal: int = 0
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """A message that says something: ``message_type`` such as ``ADT^A01``, MSH-10, drafts."""

    message_type: str
    trigger: str
    control_id: str
    claim: Claim
    drafts: tuple[Draft, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A message that is none of ours, with a reason from a closed list and no PHI in it."""

    message_type: str
    control_id: str
    reason: str


class Unmappable(Exception):  # noqa: N818  named for what is wrong
    """A message that can't be mapped: a dead letter. Neither text holds anything of it."""

    def __init__(self, cause: Cause, reason: str) -> None:
        assert cause in CAUSES, f"unknown cause: {cause}"
        super().__init__(f"{cause}: {reason}")
        self.cause = cause
        self.reason = reason
