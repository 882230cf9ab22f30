"""The aggregates that decide commands, by the type of their streams."""

from collections.abc import Mapping
from typing import Any

from streams.ledger.commands import (
    departments,
    flightplans,
    handovers,
    shifts,
    tasks,
    users,
    verification_rules,
    verifications,
)
from streams.ledger.commands.aggregate import Aggregate

AGGREGATES: tuple[Aggregate[Any], ...] = (
    departments.AGGREGATE,
    users.AGGREGATE,
    shifts.AGGREGATE,
    tasks.AGGREGATE,
    handovers.AGGREGATE,
    flightplans.AGGREGATE,
    verification_rules.AGGREGATE,
    verifications.AGGREGATE,
)

REGISTRY: Mapping[str, Aggregate[Any]] = {each.stream_type: each for each in AGGREGATES}
