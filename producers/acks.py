"""Which acknowledgements a message asks for, by MSH-15 and MSH-16 (rule I1); pure.

An accept acknowledgement (CA, CE, CR) says whether the message was taken into custody, an
application acknowledgement (AA, AE, AR) what became of it. Without either field the sender
speaks the original mode, and gets one application acknowledgement whatever happens.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from producers.peek import Header, NoHeader, text
from schemas.feeds import ORIGINAL


class Stage(StrEnum):
    """The two acknowledgements of enhanced mode, in the order in which they are sent."""

    ACCEPT = "C"
    APPLICATION = "A"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """When each acknowledgement is wanted: a condition of :data:`CONDITIONS`."""

    accept: str
    application: str
    enhanced: bool = True


# HL7 table 0155: on which outcomes (True is success) an acknowledgement is wanted.
CONDITIONS: Mapping[str, frozenset[bool]] = MappingProxyType(
    {
        "AL": frozenset({True, False}),
        "NE": frozenset(),
        "SU": frozenset({True}),
        "ER": frozenset({False}),
    }
)
NEVER = "NE"
IN_ORIGINAL_MODE = Asked(accept=NEVER, application="AL", enhanced=False)
_BLANK = frozenset({"", '""'})


def asked(header: Header | NoHeader, acknowledgement: str = "auto") -> Asked:
    """What the message asks for; ``acknowledgement`` is its feed's.

    Both fields blank, no header, or a feed that is in original mode whatever it says: original.
    One blank beside a valued one asks for nothing, and a value that table 0155 doesn't have for
    everything: better one answer too many than a sender that waits for it
    (docs/decisions/0015-acknowledgement-modes.md).
    """
    if isinstance(header, NoHeader) or acknowledgement == ORIGINAL:
        return IN_ORIGINAL_MODE
    accept, application = (text(header.field(number)).upper() for number in (15, 16))
    if accept in _BLANK and application in _BLANK:
        return IN_ORIGINAL_MODE
    return Asked(accept=_condition(accept), application=_condition(application))


def wanted(what: Asked, stage: Stage, *, success: bool) -> bool:
    """Whether the acknowledgement of this stage is to be sent on such an outcome."""
    condition = what.accept if stage is Stage.ACCEPT else what.application
    return success in CONDITIONS[condition]


def staged(code: str, stage: Stage) -> str:
    """An application's code (AA, AE, AR) as this stage says it: CA, CE, CR where it accepts."""
    return stage + code[1:]


def _condition(said: str) -> str:
    if said in _BLANK:
        return NEVER
    return said if said in CONDITIONS else "AL"
