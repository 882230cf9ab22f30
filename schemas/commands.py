"""The commands: their types, the stream that each asks something of, the record that each carries.

The schema of a type's data is ``schemas/avro/commands/NAME.avsc``: ids are strings of logical
type uuid, instants longs of logical type timestamp-micros, what may be left out is nullable
with the default null. It travels sealed, as the field ``data`` of ``app.commands.v1``.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

NAMESPACE = "wardtrail.commands.data"


class Scope(Enum):
    """Who may ask: whoever may in the department it is about, in every one, or anyone of ours."""

    DEPARTMENT = "department"
    EVERY = "every"
    TENANT = "tenant"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandType:
    """One type of command: name, stream type, data record, schema version.

    ``creates``: it makes its stream, and is refused where that stands; all others are refused
    where it doesn't, but for one that ``founds``: that may be the first of its stream, or not.
    ``follows``: its stream's id follows from another's; where not, the issuer of one that creates
    chooses an id, which is none of those that are made here.
    ``sealed`` are the fields of the data that become sealed fields of events; under the person
    that the field ``person`` names, else under the stream's own id.
    ``references`` are fields whose id, or each of whose ids, must name a stream of the tenant, of
    the type given.
    ``unless`` are references that name no stream where another field is said, by that field: a
    task that an order makes has none. Where ``owner`` is one, it is about every department then.
    ``scope`` says who may ask it. The department that it is about is the one that the field
    ``owner`` names, or that of the stream which that field names; else that of its own stream.
    """

    name: str
    stream_type: str
    record: str
    schema_version: int = 1
    creates: bool = False
    founds: bool = False
    follows: bool = False
    sealed: tuple[str, ...] = ()
    references: Mapping[str, str] = field(default_factory=dict)
    person: str | None = None
    scope: Scope = Scope.EVERY
    owner: str | None = None
    unless: Mapping[str, str] = field(default_factory=dict)

    @property
    def full_record(self) -> str:
        """The data's full Avro name."""
        return f"{NAMESPACE}.{self.record}"


_WORK: tuple[CommandType, ...] = (
    CommandType(
        name="department.create", stream_type="department", record="DepartmentCreate",
        creates=True, sealed=("name",),
        scope=Scope.EVERY,
    ),
    CommandType(
        name="department.update", stream_type="department", record="DepartmentUpdate",
        sealed=("name",),
        scope=Scope.EVERY,
    ),
    CommandType(
        name="department.deactivate", stream_type="department", record="DepartmentDeactivate",
        scope=Scope.EVERY,
    ),
    CommandType(
        name="user.create", stream_type="user", record="UserCreate", creates=True,
        sealed=("name", "email"), references={"department_ids": "department"},
        scope=Scope.EVERY,
    ),
    CommandType(
        name="user.update", stream_type="user", record="UserUpdate",
        sealed=("name", "email"), references={"department_ids": "department"},
        scope=Scope.EVERY,
    ),
    CommandType(
        name="user.deactivate", stream_type="user", record="UserDeactivate",
        scope=Scope.EVERY,
    ),
    CommandType(
        name="user.link_emr", stream_type="user", record="UserLinkEmr", sealed=("identity",),
        scope=Scope.EVERY,
    ),
    CommandType(
        name="user.unlink_emr", stream_type="user", record="UserUnlinkEmr",
        scope=Scope.EVERY,
    ),
    CommandType(
        name="shift.schedule", stream_type="shift", record="ShiftSchedule", creates=True,
        references={"department_id": "department", "supervisor_id": "user"},
        scope=Scope.DEPARTMENT, owner="department_id",
    ),
    CommandType(
        name="shift.assign", stream_type="shift", record="ShiftAssign",
        references={"user_id": "user"},
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="shift.unassign", stream_type="shift", record="ShiftUnassign",
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="shift.cancel", stream_type="shift", record="ShiftCancel",
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="task.create", stream_type="task", record="TaskCreate", creates=True,
        sealed=("title", "description"), person="patient_id",
        references={
            "patient_id": "patient", "admission_id": "admission", "department_id": "department",
            "shift_id": "shift", "assigned_to": "user", "rule_id": "verification_rule",
        },
        scope=Scope.DEPARTMENT, owner="department_id",
    ),
    CommandType(
        name="task.edit", stream_type="task", record="TaskEdit",
        sealed=("title", "description"), references={"shift_id": "shift"},
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="task.assign", stream_type="task", record="TaskAssign",
        references={"assigned_to": "user"},
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="task.start", stream_type="task", record="TaskStart",
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="task.complete", stream_type="task", record="TaskComplete",
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="task.cancel", stream_type="task", record="TaskCancel", sealed=("reason",),
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="task.resolve", stream_type="task", record="TaskResolve",
        sealed=("title", "description"),
        references={"shift_id": "shift", "assigned_to": "user"},
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="handover.initiate", stream_type="handover", record="HandoverInitiate", creates=True,
        sealed=("summary",), person="patient_id",
        references={
            "from_shift_id": "shift", "to_shift_id": "shift", "department_id": "department",
            "patient_id": "patient", "task_ids": "task",
        },
        scope=Scope.DEPARTMENT, owner="department_id",
    ),
    CommandType(
        name="handover.edit", stream_type="handover", record="HandoverEdit",
        sealed=("summary",), references={"task_ids": "task"},
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="handover.accept", stream_type="handover", record="HandoverAccept",
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="handover.cancel", stream_type="handover", record="HandoverCancel",
        sealed=("reason",),
        scope=Scope.DEPARTMENT,
    ),
    CommandType(
        name="handover.resolve", stream_type="handover", record="HandoverResolve",
        sealed=("summary",), references={"task_ids": "task"},
        scope=Scope.DEPARTMENT,
    ),
)  # fmt: skip

_DECIDED_ON: Mapping[str, str] = {
    "patient_id": "patient", "task_id": "task", "order_id": "order",
    "rule_id": "verification_rule",
}  # fmt: skip
_OF_AN_ORDER: Mapping[str, str] = {"task_id": "order_id"}

_VERIFICATION: tuple[CommandType, ...] = (
    CommandType(
        name="verification_rule.define", stream_type="verification_rule",
        record="VerificationRuleDefine", creates=True,
        scope=Scope.EVERY,
    ),
    CommandType(
        name="verification_rule.revise", stream_type="verification_rule",
        record="VerificationRuleRevise",
        scope=Scope.EVERY,
    ),
    CommandType(
        name="verification_rule.retire", stream_type="verification_rule",
        record="VerificationRuleRetire",
        scope=Scope.EVERY,
    ),
    CommandType(
        name="verification.decide", stream_type="verification", record="VerificationDecide",
        founds=True, follows=True, sealed=("reason",), person="patient_id", references=_DECIDED_ON,
        unless=_OF_AN_ORDER, scope=Scope.DEPARTMENT, owner="task_id",
    ),
    CommandType(
        name="verification.resolve", stream_type="verification", record="VerificationResolve",
        founds=True, follows=True, sealed=("reason",), person="patient_id", references=_DECIDED_ON,
        unless=_OF_AN_ORDER, scope=Scope.DEPARTMENT, owner="task_id",
    ),
)  # fmt: skip

_FLIGHTPLAN: tuple[CommandType, ...] = (
    CommandType(
        name="flightplan.create", stream_type="flightplan", record="FlightplanCreate",
        creates=True, follows=True, sealed=("title",), person="patient_id",
        references={"patient_id": "patient", "admission_id": "admission"},
        scope=Scope.TENANT,
    ),
    *(
        CommandType(
            name=f"flightplan.{name}", stream_type="flightplan", record=record, sealed=sealed,
            scope=Scope.TENANT,
        )
        for name, record, sealed in (
            ("activate", "FlightplanActivate", ()),
            ("complete", "FlightplanComplete", ()),
            ("add_goal", "FlightplanAddGoal", ("name",)),
            ("achieve_goal", "FlightplanAchieveGoal", ()),
            ("add_task", "FlightplanAddTask", ("name",)),
            ("complete_task", "FlightplanCompleteTask", ()),
            ("add_milestone", "FlightplanAddMilestone", ("name",)),
            ("complete_milestone", "FlightplanCompleteMilestone", ()),
            ("reschedule_milestone", "FlightplanRescheduleMilestone", ()),
            ("set_risk", "FlightplanSetRisk", ()),
            ("raise_alert", "FlightplanRaiseAlert", ("text",)),
            ("clear_alert", "FlightplanClearAlert", ()),
        )
    ),
)  # fmt: skip

_DECLARED: tuple[CommandType, ...] = (*_WORK, *_VERIFICATION, *_FLIGHTPLAN)

TYPES: Mapping[str, CommandType] = {declared.name: declared for declared in _DECLARED}
