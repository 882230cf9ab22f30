"""What tells of each message type beside ADT: by type and trigger, with the segments it reads."""

from collections.abc import Mapping
from dataclasses import dataclass

from streams.ledger.mapping import (
    administrations,
    appointments,
    controls,
    dispenses,
    documents,
    evidence,
    financial,
    immunizations,
    orders,
    problems,
    results,
)
from streams.ledger.mapping.triggers import TRIGGERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A teller and the segments of a patient group that it reads; None: every one."""

    tell: evidence.Teller
    telling: frozenset[str] | None = evidence.TELLING


_BY_KIND: Mapping[str, Told] = {
    "SIU": Told(tell=appointments.tell, telling=appointments.TELLING),
    "MDM": Told(tell=documents.tell, telling=documents.TELLING),
    "RDS": Told(tell=dispenses.tell, telling=orders.TELLING),
    "PPR": Told(tell=problems.tell, telling=problems.TELLING),
    "DFT": Told(tell=financial.teller("DFT"), telling=None),
    "BAR": Told(tell=financial.teller("BAR"), telling=None),
}

TELLERS: Mapping[tuple[str, str], Told] = {
    ("ORU", "R01"): Told(tell=results.tell),
    ("ORU", "R30"): Told(tell=results.tell),  # R30 to R32: of a point of care
    ("ORU", "R31"): Told(tell=results.tell),
    ("ORU", "R32"): Told(tell=results.tell),
    ("RAS", "O17"): Told(tell=administrations.tell),
    ("RAS", "O01"): Told(tell=administrations.tell),  # v2.3's name of it
    ("VXU", "V04"): Told(tell=immunizations.tell),
    **{
        message: Told(tell=orders.teller(kind), telling=orders.TELLING)
        for message, kind in controls.MESSAGES.items()
    },
    **{message: _BY_KIND[message[0]] for message in TRIGGERS},
}
"""Every message type beside ADT that becomes events; every ADT has its rule."""
