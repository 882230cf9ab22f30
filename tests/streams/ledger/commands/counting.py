"""An aggregate of the tests' own, with contracts that the catalogue has while a test runs."""

from dataclasses import dataclass, replace
from types import MappingProxyType

from schemas import catalogue, commands, events
from schemas.codec import Codec, Ids
from schemas.commands import CommandType
from schemas.events import EventType
from streams.ledger.commands.aggregate import Aggregate, Happened, Rejection

UUID = {"type": "string", "logicalType": "uuid"}
INSTANT = {"type": "long", "logicalType": "timestamp-micros"}


def contract(namespace, name, **fields):
    def field(label, kind):
        optional = {"default": None} if isinstance(kind, list) else {}
        return {"name": label, "type": kind, **optional}

    return {
        "type": "record", "name": name, "namespace": namespace, "doc": "a count",
        "fields": [field(label, kind) for label, kind in fields.items()],
    }  # fmt: skip


COMMANDS = {
    each.name: each
    for each in (
        CommandType(
            name="count.begin", stream_type="count", record="CountBegin", creates=True,
            references={"patient_id": "patient"}, sealed=("note",), person="patient_id",
        ),
        CommandType(name="count.add", stream_type="count", record="CountAdd"),
    )
}  # fmt: skip
EVENTS = {
    each.name: each
    for each in (
        EventType(name="count.begun", stream_type="count", record="CountBegun", sealed=("note",)),
        EventType(name="count.added", stream_type="count", record="CountAdded", schema_version=2),
    )
}
CONTRACTS = {
    "count.begin": contract(
        "wardtrail.commands.data", "CountBegin", patient_id=["null", UUID], note=["null", "string"]
    ),
    "count.add": contract(
        "wardtrail.commands.data", "CountAdd", by="int", weight=["null", "double"],
        at=["null", INSTANT], tags=["null", {"type": "map", "values": "string"}],
    ),
    "count.begun": contract("wardtrail.events.data", "CountBegun", patient_id=["null", UUID]),
    "count.added": contract("wardtrail.events.data", "CountAdded", by="int", doubled="boolean"),
}  # fmt: skip
RECORDS = (
    *(declared.full_record for declared in COMMANDS.values()),
    *(f"wardtrail.events.{declared.record}" for declared in EVENTS.values()),
)
UPCASTERS = {("count.added", 1): lambda data: {**data, "doubled": False}}


@dataclass(frozen=True, slots=True)
class Count:
    """So much, and what was noted at the beginning."""

    total: int = 0
    note: str = ""
    patient: str | None = None


def evolve(state, event):
    if event.event_type == "count.begun":
        return Count(note=event.clear.get("note") or "", patient=event.data.get("patient_id"))
    by = event.data["by"] * (2 if event.data["doubled"] else 1)
    return replace(state, total=state.total + by)


def decide(state, asked):
    if asked.command_type == "count.begin":
        note = asked.data["note"]
        return [
            Happened(
                event_type="count.begun", data={"patient_id": asked.data["patient_id"]},
                clear={"note": note} if note else {}, person_id=asked.data["patient_id"],
            )
        ]  # fmt: skip
    by, answers = asked.data["by"], {0: [], -1: None, -2: "much", -3: 2**40, -4: "much"}
    if by == -1:
        raise ZeroDivisionError("CANARY")
    if by == -2:
        return Rejection(rule="negative", said="a count goes upwards")
    by = answers.get(by, by)
    if by == []:
        return []
    data = {"by": by, "doubled": state.note == "double"}
    return [Happened(event_type="count.added", data=data, occurred_at=asked.data["at"])]


COUNT = Aggregate(
    stream_type="count", evolve=evolve, decide=decide, opens=frozenset({"note"}),
    to_json=lambda state: {"total": state.total, "note": state.note, "patient": state.patient},
    person=lambda state: state.patient,
    of_json=lambda plain: Count(**plain),
)  # fmt: skip


def declared(monkeypatch):
    """Have the catalogue hold the contracts; a codec that knows them."""
    load, subjects = catalogue._load, dict(catalogue.subjects())
    monkeypatch.setattr(
        catalogue, "_load",
        lambda path: CONTRACTS[path.stem] if path.stem in CONTRACTS else load(path),
    )  # fmt: skip
    monkeypatch.setattr(events, "TYPES", {**events.TYPES, **EVENTS})
    monkeypatch.setattr(commands, "TYPES", {**commands.TYPES, **COMMANDS})
    known = MappingProxyType({**subjects, **{record: record for record in RECORDS}})
    monkeypatch.setattr(catalogue, "subjects", lambda: known)
    return Codec(Ids.in_order())
