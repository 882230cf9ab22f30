"""Verification rules: defined, revised as a whole, retired; each definition is a version."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from streams.ledger.commands.aggregate import (
    FOUND,
    FOUNDED,
    Aggregate,
    Asked,
    Happened,
    Rejection,
    Told,
)
from streams.verification import rules


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinedRule:
    """What is decided on: whether it may be revised."""

    retired: bool

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "DefinedRule":
        """The state of a snapshot."""
        return cls(**kept)


def evolve(state: DefinedRule | None, event: Told) -> DefinedRule:  # noqa: ARG001  the last event tells
    """The rule after an event."""
    return DefinedRule(retired=event.event_type == "verification_rule.retired")


def decide(state: DefinedRule | None, asked: Asked) -> list[Happened] | Rejection:
    """What a command on a rule becomes, or the rule that refuses it."""
    if asked.command_type == "verification_rule.define":
        assert state is None, FOUNDED
    else:
        assert state is not None, FOUND
        if state.retired:
            return Rejection(rule="retired", said="a retired rule is changed no more")
    if asked.command_type == "verification_rule.retire":
        return [Happened(event_type="verification_rule.retired", data=dict(asked.data))]
    fault = rules.invalid(asked.data)
    if fault is not None:
        return Rejection(rule=fault[0], said=fault[1])
    return [Happened(event_type="verification_rule.defined", data=dict(asked.data))]


AGGREGATE: Final = Aggregate(
    stream_type="verification_rule",
    evolve=evolve,
    decide=decide,
    to_json=asdict,
    of_json=DefinedRule.of_json,
)
