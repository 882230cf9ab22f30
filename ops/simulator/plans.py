"""What is planned: pre-admissions, pending admissions, transfers and discharges (rule T17)."""

from collections.abc import Generator
from datetime import datetime

from ops.simulator.charts import Places, Visit
from ops.simulator.hospital import Hospital, Story

# Shares: how often each thing happens where it can.
GIVEN_UP = 0.3
NAMES_WARD_AS_PLACE = 0.4  # PV1-3 of a pre-admission names the ward, where PV1-42 should


def preadmitted(hospital: Hospital, visit: Visit) -> Generator[datetime, None, bool]:
    """A visit that is announced; False if it is called off."""
    visit.patient_class = "P"
    wards = [ward.code for ward in hospital.scenario.wards if not ward.emergency]
    ward = hospital.rng.choice(wards)
    planned = (
        Places(assigned=ward) if hospital.chance(NAMES_WARD_AS_PLACE) else Places(pending=ward)
    )
    expected_at = hospital.later(30, 300)
    plan = hospital.chart(visit, "A05", planned, expected_at=expected_at, mistaken=True)
    if hospital.chance(GIVEN_UP):
        yield hospital.correct(visit, "A38", plan, planned)
        return False
    yield hospital.later(30, 300)
    return True


def admission(hospital: Hospital, visit: Visit) -> Story:
    """Perhaps an admission from the emergency department that is announced (A14)."""
    if hospital.chance(hospital.shares.plans):
        bed = hospital.take(emergency=False)
        if bed is not None:
            yield from _announced(hospital, visit, "A14", "A27", bed)
            hospital.free(bed)


def transfer(hospital: Hospital, visit: Visit) -> Story:
    """A transfer that is announced, and then made or given up (A15)."""
    bed = hospital.take(emergency=False)
    if bed is None:
        return
    goes = yield from _announced(hospital, visit, "A15", "A26", bed)
    if goes:
        prior = visit.place
        hospital.occupy(visit, bed)
        hospital.chart(visit, "A02", Places(assigned=bed, prior=prior))
    else:
        hospital.free(bed)


def discharge(hospital: Hospital, visit: Visit) -> Story:
    """Perhaps a discharge that is announced (A16)."""
    if hospital.chance(hospital.shares.plans):
        yield from _announced(hospital, visit, "A16", "A25", "")


def _announced(
    hospital: Hospital, visit: Visit, trigger: str, cancel: str, bed: str
) -> Generator[datetime, None, bool]:
    """Announce something, and wait; False if it is given up."""
    planned = Places(assigned=visit.place, pending=bed)
    expected_at = hospital.later(30, 180)
    plan = hospital.chart(visit, trigger, planned, expected_at=expected_at, mistaken=True)
    if hospital.chance(GIVEN_UP):
        named = Places(assigned=visit.place, abandoned=bed)
        yield hospital.correct(visit, cancel, plan, named)
        yield hospital.later(10, 60)
        return False
    yield hospital.later(30, 180)
    return True
