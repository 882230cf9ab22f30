"""Orders as facts: of each thing that was told of one, what was said last (rules V4, V8).

The order in which it came means nothing: each thing that an order says stands in a register with
the place of the statement that said it, and the greatest place holds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from schemas.clock import instant
from schemas.events import Event
from sinks.changes import Row
from streams.verification.facts import Code, Order
from streams.verification.rules import normal
from streams.verification.timing import Timing, instances

ENDED: Final = frozenset({"cancelled", "discontinued"})
HELD: Final = "held"
# What is told last holds, and of what is told at once the graver: it can be told again.
_RANK: Mapping[str, int] = {"placed": 0, "released": 0, HELD: 1, "cancelled": 2, "discontinued": 2}
_UNKNOWN = -(1 << 62)  # before any instant
_TIMING = (
    "starts_at", "starts_precision", "ends_at", "ends_precision", "occurrences", "interval_s",
)  # fmt: skip
# What events of before don't have, and what it is then.
_SINCE: Mapping[str, Any] = {"repeats": None, "as_needed": False, "due": ()}


def row(events: Sequence[Event], known: Row | None) -> tuple[dict[str, Any], set[str]]:
    """A row of ``verification_orders`` without its origin, and all patients it ever named."""
    said: dict[str, Any] = (
        {name: list(each) for name, each in known["said"].items()} if known else {}
    )
    codes = {tuple(code) for code in known["codes"]} if known else set()
    patients: set[str] = {known["patient_id"]} if known else set()
    for event in events:
        data, name = event["data"], event["event_type"].removeprefix("order.")
        patients.add(data["patient_id"])
        told = [[*normal(Code(each["system"], each["code"]))] for each in data["codes"]]
        if name not in ENDED:
            codes |= {tuple(code) for code in told}
        _say(said, event, name, told)
    last = events[-1]
    found = {
        "order_id": last["stream_id"],
        "tenant_id": last["tenant_id"],
        "version": last["event_version"],
        "patient_id": said["whose"][-1][0],
        "admission_id": said["whose"][-1][1],
        "state": said["state"][-1] if "state" in said else "placed",
        "codes": sorted(list(code) for code in codes),
        "said": said,
        "recorded_at": instant(last["recorded_at"]),
    }
    return found, patients


def of_row(row: Row) -> Order:
    """The order that a row holds."""
    said: Mapping[str, Any] = row["said"]
    state = said.get("state", [_UNKNOWN, 0, 0, "", "placed"])
    codes = said["codes"][-1] if "codes" in said else []
    return Order(
        **{name: row[name] for name in (
            "order_id", "tenant_id", "version", "recorded_at", "partition", "partition_seq",
            "patient_id", "admission_id",
        )},
        codes=frozenset(Code(*code) for code in codes),
        codes_told=frozenset(Code(*code) for code in row["codes"]),
        state=state[-1],
        state_place=tuple(state[:-1]),
        ordered_at=instant(said["ordered"][-1]),
        timing=Timing.of_data(said["timing"][-1]) if "timing" in said else Timing(),
        most=said["most"][-1] if "most" in said else 1,
        filler_id=said["filler"][-1] if "filler" in said else None,
    )  # fmt: skip


def _say(said: dict[str, Any], event: Event, name: str, codes: list[list[str]]) -> None:
    """Put what one event says into the registers of what it says something of."""
    data = event["data"]
    reported = _UNKNOWN if data["reported_at"] is None else data["reported_at"]
    place = [reported, event["occurred_at"], event["event_id"]]
    _put(said, "whose", place, [data["patient_id"], data["admission_id"]])
    _put(said, "ordered", [name == "placed", *place], event["occurred_at"])
    if codes:
        _put(said, "codes", place, codes)
    if data["filler_order_id"] is not None:
        _put(said, "filler", place, data["filler_order_id"])
    if name in _RANK:
        _put(said, "state", [reported, _RANK[name], *place[1:]], name)
    timing = {each: data[each] for each in _TIMING}
    since = {each: data.get(each, unsaid) for each, unsaid in _SINCE.items()}
    if any(each is not None for each in timing.values()) or any(since.values()):
        timing = {**timing, "simple": data["simple"], **since, "due": list(since["due"])}
        _put(said, "timing", place, timing)
        most = len(instances(Timing.of_data(timing), instant(event["occurred_at"])))
        said["most"] = [max(most, *said.get("most", [1]))]


def _put(said: dict[str, Any], name: str, place: list[Any], value: object) -> None:
    if name not in said or said[name][:-1] < place:
        said[name] = [*place, value]
