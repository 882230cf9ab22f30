"""The events: their envelope, their types, the record that each carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict


class Event(TypedDict):
    """A decoded event. Ids are UUID strings, times are microseconds since 1970 in UTC.

    A dictionary and not a class: a projection reads hundreds of thousands a second, and
    building an object for each costs as much as decoding it.
    """

    event_id: str
    stream_type: str
    stream_id: str
    event_version: int
    event_type: str
    schema_version: int
    tenant_id: str
    feed_id: str
    message_id: str
    person_id: str | None
    occurred_at: int
    occurred_precision: str
    occurred_field: str
    occurred_text: str
    recorded_at: int
    partition: int
    partition_seq: int
    global_position: int
    correlation_id: str
    causation_id: str
    mapper_version: int
    trace: str | None
    created_by: str
    sealed: Mapping[str, bytes]
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """One type of event: name, stream type, data record, schema version, sealed fields."""

    name: str
    stream_type: str
    record: str
    schema_version: int = 1
    sealed: tuple[str, ...] = ()


_VISIT = ("visit_number",)

TYPES: Mapping[str, EventType] = {
    declared.name: declared
    for declared in (
        EventType(
            name="patient.registered", stream_type="patient",
            record="PatientRegistered", sealed=("demographics",),
        ),
        EventType(
            name="patient.updated", stream_type="patient",
            record="PatientUpdated", sealed=("demographics",),
        ),
        EventType(name="patient.merged", stream_type="patient", record="PatientMerged"),
        EventType(name="patient.unmerged", stream_type="patient", record="PatientUnmerged"),
        EventType(name="identity.conflict", stream_type="patient", record="IdentityConflict"),
        *(
            EventType(
                name=f"admission.{name}", stream_type="admission", record=record, sealed=_VISIT
            )
            for name, record in {
                "created": "AdmissionCreated",
                "updated": "AdmissionUpdated",
                "class_changed": "AdmissionClassChanged",
                "location_changed": "AdmissionLocationChanged",
                "discharged": "AdmissionDischarged",
                "departed": "AdmissionDeparted",
                "arrived": "AdmissionArrived",
                "leave_started": "AdmissionLeaveStarted",
                "leave_ended": "AdmissionLeaveEnded",
                "planned": "AdmissionPlanned",
                "cancelled": "AdmissionCancelled",
                "location_change_cancelled": "AdmissionLocationChangeCancelled",
                "discharge_cancelled": "AdmissionDischargeCancelled",
                "departure_cancelled": "AdmissionDepartureCancelled",
                "arrival_cancelled": "AdmissionArrivalCancelled",
                "leave_cancelled": "AdmissionLeaveCancelled",
                "return_cancelled": "AdmissionReturnCancelled",
                "plan_cancelled": "AdmissionPlanCancelled",
                "movement_updated": "AdmissionMovementUpdated",
                "deleted": "AdmissionDeleted",
                "patient_changed": "AdmissionPatientChanged",
            }.items()
        ),
        EventType(name="admission.joined", stream_type="admission", record="AdmissionJoined"),
    )
}  # fmt: skip
