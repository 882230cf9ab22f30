"""Users: who works here, in which role and departments, and who they are to an EMR."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from streams.ledger.commands import fields
from streams.ledger.commands.aggregate import (
    FOUND,
    FOUNDED,
    Aggregate,
    Asked,
    Happened,
    Rejection,
    Told,
)

DEPARTMENTS_MAX = 100  # a hospital has some dozen; who works in all is an administrator
AUTHORITY_CHARS_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """What is decided on: whether they work here, and which EMR identities they have."""

    is_active: bool
    identities: frozenset[tuple[str, str]]  # EMR system, authority

    def to_json(self) -> dict[str, Any]:
        """For snapshots."""
        return {"is_active": self.is_active, "identities": sorted(self.identities)}

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "User":
        """The state of a snapshot."""
        identities = frozenset((system, authority) for system, authority in kept["identities"])
        return cls(is_active=kept["is_active"], identities=identities)


def evolve(state: User | None, event: Told) -> User:
    """The user after an event."""
    if state is None:
        return User(is_active=True, identities=frozenset())
    if event.event_type in ("user.emr_linked", "user.emr_unlinked"):
        one = {(event.data["emr_system"], event.data["authority"])}
        linked = event.event_type == "user.emr_linked"
        identities = state.identities | one if linked else state.identities - one
        return replace(state, identities=identities)
    return replace(state, is_active=event.event_type != "user.deactivated")


def decide(state: User | None, asked: Asked) -> list[Happened] | Rejection:
    """What a command on a user becomes, or the rule that refuses it.

    An update of one who was deactivated takes them back.
    """
    if asked.command_type == "user.create":
        assert state is None, FOUNDED
        return _content(asked.data) or [_said(asked.data, "user.created")]
    assert state is not None, FOUND
    return _DECISIONS[asked.command_type](state, asked.data)


def _update(state: User, data: Mapping[str, Any]) -> list[Happened] | Rejection:
    unnamed = all(data[name] is None for name in ("name", "email", "role", "department_ids"))
    if unnamed and state.is_active:
        return Rejection(rule="nothing_to_change", said="the update names no field")
    return _content(data) or [_said(data, "user.updated")]


def _deactivate(state: User, data: Mapping[str, Any]) -> list[Happened] | Rejection:
    if not state.is_active:
        return Rejection(rule="not_active", said="the user is deactivated already")
    return fields.code(data["reason_code"]) or [
        Happened(event_type="user.deactivated", data={"reason_code": data["reason_code"]})
    ]


def _link(state: User, data: Mapping[str, Any]) -> list[Happened] | Rejection:
    """Say who the user is to an EMR of this authority; said again, it is who they are now."""
    if not state.is_active:
        return Rejection(rule="not_active", said="the user is deactivated")
    refused = fields.line("identity", data["identity"]) or _authority(data["authority"])
    one = {"emr_system": data["emr_system"], "authority": data["authority"]}
    return refused or [
        Happened(event_type="user.emr_linked", data=one, clear={"identity": data["identity"]})
    ]


def _unlink(state: User, data: Mapping[str, Any]) -> list[Happened] | Rejection:
    one = {"emr_system": data["emr_system"], "authority": data["authority"]}
    if (data["emr_system"], data["authority"]) not in state.identities:
        return Rejection(rule="not_linked", said="the user has no identity of this authority")
    return [Happened(event_type="user.emr_unlinked", data=one)]


_DECISIONS: Mapping[str, Callable[[User, Mapping[str, Any]], list[Happened] | Rejection]] = {
    "user.update": _update,
    "user.deactivate": _deactivate,
    "user.link_emr": _link,
    "user.unlink_emr": _unlink,
}


def _said(data: Mapping[str, Any], event_type: str) -> Happened:
    departments = data["department_ids"]
    return Happened(
        event_type=event_type,
        data={
            "role": data["role"],
            "department_ids": None if departments is None else sorted(set(departments)),
        },
        clear={name: data[name] for name in ("name", "email") if data[name] is not None},
    )


def _content(data: Mapping[str, Any]) -> Rejection | None:
    return fields.first(
        fields.line("name", data["name"]),
        fields.email(data["email"]),
        _departments(data["department_ids"]),
    )


def _departments(ids: list[str] | None) -> Rejection | None:
    if ids is None or len(ids) <= DEPARTMENTS_MAX:
        return None
    said = f"a user works in departments, at most: {DEPARTMENTS_MAX}"
    return Rejection(rule="too_many_departments", said=said)


def _authority(text: str) -> Rejection | None:
    if text.strip() and len(text) <= AUTHORITY_CHARS_MAX and text.isprintable():
        return None
    said = f"an assigning authority has printable characters, 1 to: {AUTHORITY_CHARS_MAX}"
    return Rejection(rule="authority_invalid", said=said)


AGGREGATE: Final = Aggregate(
    stream_type="user",
    evolve=evolve,
    decide=decide,
    to_json=User.to_json,
    of_json=User.of_json,
)
