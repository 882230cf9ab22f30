"""Reads a simulated feed by the rules, as plainly as they can be read, without the product."""

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime

from ops.simulator import Message, Scenario, Stay

CANCELS = {
    "A11": {"A01", "A04"}, "A12": {"A02"}, "A13": {"A03"}, "A32": {"A10"}, "A33": {"A09"},
    "A52": {"A21"}, "A53": {"A22"},
}  # fmt: skip
PLANS = {"A38": {"A05"}, "A27": {"A14"}, "A26": {"A15"}, "A25": {"A16"}}
IN_BED = {"A01", "A02", "A04", "A06", "A07", "A17"}
PATH = IN_BED | {"A03", "A09", "A10", "A21", "A22", "A23"} | set(CANCELS)

Paths = dict[str, tuple[str, list[tuple[str, datetime, datetime | None]]]]


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one PID with its PV1 says; `exact` is whether EVN-6 gives the time."""

    trigger: str
    mrn: str
    prior_mrn: str
    visit: str
    at: datetime
    exact: bool
    recorded: datetime
    assigned: str
    prior: str
    temporary: str
    pending: str


def said(message: Message, scenario: Scenario) -> list[Said]:
    """What a message says of each of its patients; places with HL7's own delimiters."""
    text = message.body.decode()
    separator, component = text[3], text[4]
    groups: list[dict[str, list[str]]] = []
    head: dict[str, list[str]] = {}
    for line in text.rstrip("\r").split("\r"):
        fields = line.split(separator)
        if fields[0] == "PID":
            groups.append({})
        (groups[-1] if groups else head)[fields[0]] = fields

    def first(group: dict[str, list[str]], segment: str, number: int) -> str:
        return field(group, segment, number).split(component)[0]

    def field(group: dict[str, list[str]], segment: str, number: int) -> str:
        fields = group.get(segment, [])
        return fields[number] if len(fields) > number else ""

    def place(group: dict[str, list[str]], number: int) -> str:
        return field(group, "PV1", number).replace(component, "^")

    recorded, occurred = (field(head, "EVN", number) for number in (2, 6))
    return [
        Said(
            trigger=message.trigger, mrn=first(each, "PID", 3), prior_mrn=first(each, "MRG", 1),
            visit=first(each, "PV1", 19) or first(each, "PID", 18),
            at=instant(occurred or recorded, scenario), exact=bool(occurred),
            recorded=instant(recorded, scenario), assigned=place(each, 3), prior=place(each, 6),
            temporary=place(each, 11), pending=place(each, 42),
        )
        for each in groups
    ]  # fmt: skip


def instant(text: str, scenario: Scenario) -> datetime:
    """A time of an HL7 message: by its offset, else in the zone of the scenario."""
    assert re.fullmatch(r"\d{14}([+-]\d{4})?", text)
    if len(text) > 14:
        return datetime.strptime(text, "%Y%m%d%H%M%S%z").astimezone(UTC)
    local = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=scenario.zone)
    return local.astimezone(UTC)


def replayed(messages: tuple[Message, ...], scenario: Scenario) -> tuple[Paths, Paths]:
    """The census and the physical paths by visit: whose it is, and place, from, until."""
    known = {each for message in messages for each in said(message, scenario)}
    merged = {each.prior_mrn: each.mrn for each in known if each.trigger == "A40"}
    visits: dict[str, set[Said]] = defaultdict(set)
    for each in known:
        if each.visit:
            visits[each.visit].add(each)
    census: Paths = {}
    physical: Paths = {}
    for visit, theirs in visits.items():
        walked = steps(theirs)
        patient = owner(theirs, merged)
        for paths, path in zip((census, physical), walked, strict=True):
            if path:
                paths[visit] = (patient, path)
    return census, physical


def owner(theirs: set[Said], merged: dict[str, str]) -> str:
    """Whom a visit belongs to: whom it was last moved to, else who comes, merges resolved."""
    moves = [each for each in theirs if each.trigger == "A45"]
    if moves:
        return survivor(max(moves, key=lambda each: each.recorded).mrn, merged)
    (patient,) = {survivor(each.mrn, merged) for each in theirs}
    return patient


def survivor(mrn: str, merged: dict[str, str]) -> str:
    """Who is left of an MRN after all merges."""
    while mrn in merged:
        mrn = merged[mrn]
    return mrn


def steps(
    theirs: set[Said],
) -> tuple[list[tuple[str, datetime, datetime | None]], ...]:
    """A visit's two tracks by what stands of what is said of it."""
    if any(each.trigger == "A23" for each in theirs):
        return [], []
    tracks: tuple[list[tuple[str, datetime]], ...] = ([("", datetime.min)], [("", datetime.min)])
    here = ("", "")
    for each in sorted(standing(theirs), key=lambda each: each.at):
        here = after(each, *here)
        for track, place in zip(tracks, here, strict=True):
            if track[-1][0] != place:
                track.append((place, each.at))
    return tuple(
        [
            (place, since, following[1] if following else None)
            for (place, since), following in zip(track, [*track[1:], None], strict=True)
            if place
        ]
        for track in tracks
    )


def after(each: Said, census: str, physical: str) -> tuple[str, str]:
    """Which bed is the patient's and where the patient is after something happened."""
    if each.trigger in IN_BED:
        return each.assigned, each.assigned
    if each.trigger == "A03":
        return "", ""
    if each.trigger == "A21":
        return census, ""
    if each.trigger == "A22":
        return census, each.assigned
    if each.trigger == "A09":
        return census, each.temporary
    if each.trigger == "A10":
        return (census, each.temporary) if each.temporary else (each.assigned, each.assigned)
    return census, physical


def standing(theirs: set[Said]) -> set[Said]:
    """What is said and never taken back."""
    gone: set[Said] = set()
    for cancel in theirs:
        if cancel.trigger not in CANCELS:
            continue
        known = {
            each for each in theirs
            if each.trigger in CANCELS[cancel.trigger] and each.recorded <= cancel.recorded
        }  # fmt: skip
        at = cancel.at if cancel.exact else max(each.at for each in known)
        gone |= {each for each in known if each.at == at}
    return theirs - gone


def true_paths(stays: tuple[Stay, ...]) -> Paths:
    """The simulator's own account in the same form."""
    paths: Paths = {}
    for stay in stays:
        _, path = paths.setdefault(stay.visit_number, (stay.mrn, []))
        path.append((stay.location, stay.effective_at, stay.ended_at))
    return paths
