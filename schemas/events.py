"""The events: their envelope, their types, the record that each carries."""

from collections.abc import Mapping, Sequence
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
_PERSON = ("demographics", "z_segments")

_WORK = (
    EventType(
        name="department.created", stream_type="department", record="DepartmentCreated",
        sealed=("name",),
    ),
    EventType(
        name="department.updated", stream_type="department", record="DepartmentUpdated",
        sealed=("name",),
    ),
    EventType(
        name="department.deactivated", stream_type="department", record="DepartmentDeactivated"
    ),
    EventType(
        name="user.created", stream_type="user", record="UserCreated", sealed=("name", "email")
    ),
    EventType(
        name="user.updated", stream_type="user", record="UserUpdated", sealed=("name", "email")
    ),
    EventType(name="user.deactivated", stream_type="user", record="UserDeactivated"),
    EventType(
        name="user.emr_linked", stream_type="user", record="UserEmrLinked", sealed=("identity",)
    ),
    EventType(name="user.emr_unlinked", stream_type="user", record="UserEmrUnlinked"),
    EventType(name="shift.scheduled", stream_type="shift", record="ShiftScheduled"),
    EventType(name="shift.assigned", stream_type="shift", record="ShiftAssigned"),
    EventType(name="shift.unassigned", stream_type="shift", record="ShiftUnassigned"),
    EventType(name="shift.cancelled", stream_type="shift", record="ShiftCancelled"),
    *(
        EventType(name=f"task.{name}", stream_type="task", record=record, sealed=sealed)
        for name, record, sealed in (
            ("created", "TaskCreated", ("title", "description")),
            ("edited", "TaskEdited", ("title", "description")),
            ("assigned", "TaskAssigned", ()),
            ("started", "TaskStarted", ()),
            ("completed", "TaskCompleted", ()),
            ("cancelled", "TaskCancelled", ("reason",)),
            ("resolved", "TaskResolved", ("title", "description")),
        )
    ),
    *(
        EventType(name=f"handover.{name}", stream_type="handover", record=record, sealed=sealed)
        for name, record, sealed in (
            ("initiated", "HandoverInitiated", ("summary",)),
            ("edited", "HandoverEdited", ("summary",)),
            ("accepted", "HandoverAccepted", ()),
            ("cancelled", "HandoverCancelled", ("reason",)),
            ("resolved", "HandoverResolved", ("summary",)),
        )
    ),
)  # fmt: skip

_VERIFICATION = (
    EventType(
        name="verification_rule.defined", stream_type="verification_rule",
        record="VerificationRuleDefined",
    ),
    EventType(
        name="verification_rule.retired", stream_type="verification_rule",
        record="VerificationRuleRetired",
    ),
    EventType(
        name="verification.decided", stream_type="verification",
        record="VerificationDecided", sealed=("reason",),
    ),
    EventType(
        name="verification.resolved", stream_type="verification",
        record="VerificationResolved", sealed=("reason",),
    ),
)  # fmt: skip

_FLIGHTPLAN = tuple(
    EventType(name=f"flightplan.{name}", stream_type="flightplan", record=record, sealed=sealed)
    for name, record, sealed in (
        ("created", "FlightplanCreated", ("title",)),
        ("activated", "FlightplanActivated", ()),
        ("completed", "FlightplanCompleted", ()),
        ("goal_added", "FlightplanGoalAdded", ("name",)),
        ("goal_achieved", "FlightplanGoalAchieved", ()),
        ("task_added", "FlightplanTaskAdded", ("name",)),
        ("task_completed", "FlightplanTaskCompleted", ()),
        ("milestone_added", "FlightplanMilestoneAdded", ("name",)),
        ("milestone_completed", "FlightplanMilestoneCompleted", ()),
        ("milestone_rescheduled", "FlightplanMilestoneRescheduled", ()),
        ("risk_set", "FlightplanRiskSet", ()),
        ("alert_raised", "FlightplanAlertRaised", ("text",)),
        ("alert_cleared", "FlightplanAlertCleared", ()),
    )
)

_ORDER = tuple(
    EventType(
        name=f"order.{name}", stream_type="order", record=f"Order{name.capitalize()}",
        sealed=("text", "number"),
    )
    for name in (
        "placed", "changed", "cancelled", "discontinued", "held", "released", "stated",
    )
)  # fmt: skip

_RECORDS = tuple(
    EventType(
        name=f"{stream}.{name}", stream_type=stream, sealed=sealed,
        record="".join(word.capitalize() for word in (stream, *name.split("_"))),
    )
    for stream, sealed, names in (
        (
            "appointment", ("text", "number"),
            ("booked", "rescheduled", "changed", "cancelled", "discontinued", "deleted", "missed"),
        ),
        (
            "document", ("text", "number"),
            ("created", "status_changed", "addended", "edited", "replaced", "cancelled"),
        ),
        ("dispense", ("text", "number"), ("recorded",)),
        ("problem", ("text", "number"), ("added", "updated", "deleted")),
        ("participation", ("name",), ("stated",)),
        ("financial", ("statement",), ("recorded",)),
    )
    for name in names
)  # fmt: skip

MAPPED = (
    "patient", "admission", "evidence", "order", "appointment", "document", "dispense", "problem",
    "participation", "financial",
)  # fmt: skip
"""The kinds of streams that messages tell of: what was mapped may be mapped better later."""
SUPERSEDED = frozenset(f"{stream}.superseded" for stream in MAPPED)
"""By which an event of the same stream counts no more: ``data["event_id"]`` names it."""

TYPES: Mapping[str, EventType] = {
    declared.name: declared
    for declared in (
        EventType(
            name="patient.registered", stream_type="patient",
            record="PatientRegistered", sealed=_PERSON,
        ),
        EventType(
            name="patient.updated", stream_type="patient",
            record="PatientUpdated", sealed=_PERSON,
        ),
        EventType(name="patient.merged", stream_type="patient", record="PatientMerged"),
        EventType(name="patient.unmerged", stream_type="patient", record="PatientUnmerged"),
        EventType(name="patient.erased", stream_type="patient", record="PatientErased"),
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
                "encounter_stated": "AdmissionEncounterStated",
            }.items()
        ),
        EventType(name="admission.joined", stream_type="admission", record="AdmissionJoined"),
        EventType(
            name="evidence.recorded", stream_type="evidence",
            record="EvidenceRecorded", sealed=("value", "number"),
        ),
        *_WORK,
        *_VERIFICATION,
        *_FLIGHTPLAN,
        *_ORDER,
        *_RECORDS,
        *(
            EventType(
                name=f"{stream}.superseded", stream_type=stream,
                record=f"{stream.capitalize()}Superseded",
            )
            for stream in MAPPED
        ),
    )
}  # fmt: skip


def superseded(events: Sequence[Event]) -> set[str]:
    """The ids of the events that count no more, as far as these say so."""
    return {each["data"]["event_id"] for each in events if each["event_type"] in SUPERSEDED}


def standing(events: Sequence[Event]) -> list[Event]:
    """Those of a stream's events that count, without those that say of others that they don't."""
    gone = superseded(events)
    return [
        each
        for each in events
        if each["event_type"] not in SUPERSEDED and each["event_id"] not in gone
    ]
