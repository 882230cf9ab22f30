"""Patients who keep their bed and are elsewhere: on leave, at a temporary place, on their way."""

from collections.abc import Generator
from datetime import datetime

from ops.simulator.charts import Places, Visit
from ops.simulator.hospital import Hospital, Story

# Shares: how often each thing happens where it can.
CHARTED_BY_MISTAKE = 0.2
BACK_BY_MISTAKE = 0.2
NEVER_BACK = 0.15  # discharged while on leave
SENT_FURTHER = 0.3
TO_ANOTHER_BED = 0.5  # of transits


def leave(hospital: Hospital, visit: Visit) -> Generator[datetime, None, bool]:
    """A leave of absence (rule T19); whether the patient comes back."""
    if hospital.chance(CHARTED_BY_MISTAKE):
        wrong = hospital.chart(visit, "A21", mistaken=True)
        yield hospital.correct(visit, "A52", wrong)
        return True
    hospital.be(visit, "")
    hospital.chart(visit, "A21")
    yield hospital.later(120, 480)
    if hospital.chance(NEVER_BACK):
        return False
    if hospital.chance(BACK_BY_MISTAKE):
        wrong = hospital.chart(visit, "A22", mistaken=True)
        yield hospital.correct(visit, "A53", wrong)
        yield hospital.later(20, 120)
    hospital.be(visit, visit.place)
    hospital.chart(visit, "A22")
    return True


def temporary(hospital: Hospital, visit: Visit) -> Story:
    """To a temporary place, perhaps a further one, and back (rule T16)."""
    there, further = hospital.rng.sample(hospital.scenario.elsewhere, 2)
    going = Places(prior=visit.place, temporary=there)
    if hospital.chance(CHARTED_BY_MISTAKE):
        yield from _not_gone(hospital, visit, going)
        return
    hospital.be(visit, there)
    hospital.chart(visit, "A09", going)
    yield hospital.later(20, 120)
    if hospital.chance(SENT_FURTHER):
        hospital.be(visit, further)
        hospital.chart(visit, "A09", Places(temporary=further, prior_temporary=there))
        yield hospital.later(20, 120)
        there = further
    yield from _back(hospital, visit, there)


def transit(hospital: Hospital, visit: Visit) -> Story:
    """On the way to a temporary place or to another bed, and nowhere until there."""
    bed = hospital.take(emergency=False) if hospital.chance(TO_ANOTHER_BED) else None
    there = bed or hospital.rng.choice(hospital.scenario.elsewhere)
    going = Places(prior=visit.place, pending=there)
    if hospital.chance(CHARTED_BY_MISTAKE):
        yield from _not_gone(hospital, visit, going)
        if bed:
            hospital.free(bed)
        return
    hospital.be(visit, "")
    hospital.chart(visit, "A09", going)
    yield hospital.later(5, 40)
    arriving = (
        Places(assigned=bed, prior=visit.place) if bed
        else Places(prior=visit.place, temporary=there)
    )  # fmt: skip
    if hospital.chance(BACK_BY_MISTAKE):
        wrong = hospital.chart(visit, "A10", arriving, mistaken=True)
        yield hospital.correct(visit, "A32", wrong)
        yield hospital.later(5, 40)
    if bed:
        hospital.occupy(visit, bed)
    else:
        hospital.be(visit, there)
    hospital.chart(visit, "A10", arriving)
    yield hospital.later(20, 120)
    if not bed:
        yield from _back(hospital, visit, there)


def _back(hospital: Hospital, visit: Visit, there: str) -> Story:
    """Back from a temporary place to the bed."""
    arriving = Places(assigned=visit.place, prior_temporary=there)
    if hospital.chance(BACK_BY_MISTAKE):
        wrong = hospital.chart(visit, "A10", arriving, mistaken=True)
        yield hospital.correct(visit, "A32", wrong, Places(temporary=there))
        yield hospital.later(5, 60)
    hospital.be(visit, visit.place)
    hospital.chart(visit, "A10", arriving)


def _not_gone(hospital: Hospital, visit: Visit, going: Places) -> Story:
    """A departure that is charted and didn't happen."""
    wrong = hospital.chart(visit, "A09", going, mistaken=True)
    yield hospital.correct(visit, "A33", wrong)
