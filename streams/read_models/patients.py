"""Patients: the newest snapshot of each one's demographics, sealed, with its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from schemas import sealing
from schemas.clock import instant
from schemas.events import Event, standing
from schemas.sealing import Scope
from sinks.changes import Change, Put, Remove, Row
from sinks.projection import Load, Projection, Rows
from sinks.tables import patient_read_models, patient_tokens
from streams.read_models.newest import Recency, recency
from streams.trajectory.facts import iso

ERASED = "patient.erased"


def fold(events: Sequence[Event], rows: Rows) -> list[Change]:
    """Keep the snapshot that was reported last, then happened last, whenever it came.

    ``data["event_id"]`` is the record that the envelope in ``data["demographics"]`` is bound
    to; the person is the row's id. A token stands since the first of the snapshots that had it
    one after the other. Who was erased has ``data["erased_at"]``, and neither demographics nor
    tokens but of what was told of them anew.
    """
    loaded = rows[patient_read_models.name]
    created: datetime | None = loaded[0]["created_at"] if loaded else None
    data: dict[str, Any] | None = loaded[0]["data"] if loaded else None
    before = {str(row["token"]): row for row in rows[patient_tokens.name]}
    tokens: Mapping[str, Row] = before
    for event in standing(events):
        if created is None:
            created = instant(event["recorded_at"])
        if event["event_type"] == ERASED:
            tokens = tokens if _anew(data, event) else {}
            data = _erased(data, event)
        elif data is None or data["newest"] is None or _recency(data) < recency(event):
            data = _snapshot(event, data)
            tokens = {
                token: tokens.get(token) or _token(event, token)
                for token in event["data"].get("tokens", ())
            }
    if data is None:
        return []  # nothing that was said stands
    last = events[-1]
    return [
        Put(
            patient_read_models,
            {
                "id": last["stream_id"],
                "tenant_id": last["tenant_id"],
                "data": data,
                "created_at": created,
                "updated_at": instant(last["recorded_at"]),
                "partition": last["partition"],
                "partition_seq": last["partition_seq"],
            },
        ),
        *_changed(before, tokens),
    ]


def _token(event: Event, token: str) -> Row:
    return {
        "tenant_id": event["tenant_id"],
        "token": token,
        "patient_id": event["stream_id"],
        "partition": event["partition"],
        "partition_seq": event["partition_seq"],
    }


def _changed(before: Mapping[str, Row], now: Mapping[str, Row]) -> Iterator[Change]:
    """What became of the tokens; a message that says the same again changes none."""
    for token, row in now.items():
        if row is not before.get(token):
            yield Put(patient_tokens, row)
    for token in sorted(before.keys() - now.keys()):
        key = {name: before[token][name] for name in ("tenant_id", "token", "patient_id")}
        yield Remove(patient_tokens, key)


def _erased(data: Mapping[str, Any] | None, event: Event) -> dict[str, Any]:
    """What is left of a patient: that they are known, and were erased."""
    kept = data or {
        "patient_id": event["stream_id"], "trigger": None, "event_id": event["event_id"],
        "feed_id": event["feed_id"], "reported_at": None, "newest": None,
        "occurred_at": iso(instant(event["occurred_at"])),
    }  # fmt: skip
    demographics = kept["demographics"] if data is not None and _anew(data, event) else None
    at = iso(instant(event["data"]["erased_at"]))
    return {**kept, "demographics": demographics, "erased_at": at}


def _anew(data: Mapping[str, Any] | None, event: Event) -> bool:
    """Whether what is known was sealed by a key that came after those of the erasure."""
    if data is None or data["demographics"] is None:
        return False
    told = sealing.header(sealing.untext(data["demographics"]))
    return told.scope is Scope.PERSON and told.key_version > max(event["data"]["key_version"], 1)


def _snapshot(event: Event, before: Mapping[str, Any] | None) -> dict[str, Any]:
    demographics = event["sealed"].get("demographics")
    reported = event["data"]["reported_at"]
    return {
        "patient_id": event["stream_id"],
        "demographics": None if demographics is None else sealing.text(demographics),
        "trigger": event["data"]["trigger"],
        "event_id": event["event_id"],
        "feed_id": event["feed_id"],
        "reported_at": None if reported is None else iso(instant(reported)),
        "occurred_at": iso(instant(event["occurred_at"])),
        "newest": list(recency(event)),
        **({"erased_at": before["erased_at"]} if before and "erased_at" in before else {}),
    }


def _recency(data: dict[str, Any]) -> Recency:
    reported, occurred, event_id = data["newest"]
    return (reported, occurred, event_id)


PROJECTION = Projection(
    name="patients",
    reads=frozenset(("patient.registered", "patient.updated", "patient.superseded", ERASED)),
    owns=(patient_read_models, patient_tokens),
    loads=(Load(table=patient_read_models, by="id"), Load(table=patient_tokens, by="patient_id")),
    fold=fold,
    unknown="park",  # a row is the newest of all that was said
    again=frozenset({"patient"}),
)
