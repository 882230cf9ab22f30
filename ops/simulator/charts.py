"""What is charted, before it is written as a message."""

from dataclasses import dataclass
from datetime import datetime

from ops.simulator.people import Clinician


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The places that a message names; empty is not said.

    `assigned` is PV1-3, `prior` PV1-6, `temporary` PV1-11, `pending` PV1-42,
    `prior_temporary` PV1-43 and `abandoned` PV2-1, the place that was planned.
    """

    assigned: str = ""
    prior: str = ""
    temporary: str = ""
    pending: str = ""
    prior_temporary: str = ""
    abandoned: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """One message before it is written.

    `mrn` is PID-3 and `prior_mrn` MRG-1. `says_when` is whether EVN-6 is filled; `expected_at`
    is when what is planned is to happen. From `recorded_at` on the person's demographics are
    others if `updates`. `partner` is what a swap (A17) says of the other one. No two charts
    under one MRN have the same `recorded_at`, so that one of them is the last. A chart without
    `visit_number` is about the patient alone.
    """

    trigger: str
    mrn: str
    visit_number: str
    occurred_at: datetime
    recorded_at: datetime
    sent_at: datetime
    says_when: bool
    patient_class: str = ""
    places: Places = Places()
    attending: Clinician | None = None
    admitted_at: datetime | None = None
    discharged_at: datetime | None = None
    expected_at: datetime | None = None
    prior_mrn: str = ""
    updates: bool = False
    partner: "Chart | None" = None


@dataclass(slots=True, kw_only=True)
class Visit:
    """A visit as it goes on.

    `mrn` is what it is charted under and `owner` the MRN that has it by what was charted so
    far, merges aside; `retired` is an MRN that some still chart under. `place` is the bed that
    is the patient's and `where` the place where the patient is; empty is none. `rests` says
    that nothing goes on that a swap would disturb.
    """

    mrn: str
    owner: str
    number: str
    attending: Clinician
    patient_class: str = "I"
    place: str = ""
    since: datetime
    where: str = ""
    where_since: datetime
    admitted_at: datetime | None = None
    carried_discharge: datetime | None = None
    retired: str = ""
    rests: bool = False
