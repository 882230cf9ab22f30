"""The stories that patients live: visits from arrival to discharge, with mistakes on the way."""

from collections.abc import Generator
from datetime import datetime

from ops.simulator import away, names, people, plans
from ops.simulator.charts import Places, Visit
from ops.simulator.hospital import Hospital, Story

VISITS_MAX = 3
MOVES_MAX = 5
# Shares: how often each thing happens where it can.
BY_EMERGENCY = 0.4
HOME_FROM_EMERGENCY = 0.3
ADMITTED_BY_MISTAKE = 0.08
ADMITTED_AGAIN = 0.4  # on the same visit number, after a mistaken admission
MOVED_BY_MISTAKE = 0.15
HANDED_OVER = 0.15  # an A02 that names another attending and the same bed
DISCHARGED_BY_MISTAKE = 0.1
UPDATED = 0.25
UPDATED_AFTERWARDS = 0.15
RETURNS = 0.2
STILL_CARRIES_DISCHARGE = 0.5  # PV1-45 of a cancelled discharge in what follows
SAME_BED = 0.5  # after a change of class
CORRECTED_DAYS_LATE = 10  # times as often as something is charted days late


def patient(hospital: Hospital, known_as: list[str]) -> Story:
    """A patient's visits; `known_as` begins with the MRN that is right for good."""
    links = names.come_as_stranger(hospital, known_as)
    for _ in range(VISITS_MAX):
        yield from _visit(hospital, links, known_as)
        if len(links) > 1:
            yield from names.recognise(hospital, links)
        if not hospital.chance(RETURNS):
            return
        yield hospital.later(60, 360)


def _visit(hospital: Hospital, links: list[str], known_as: list[str]) -> Story:
    """A visit, perhaps under a stranger's MRN or at first under that of the wrong patient."""
    visit = Visit(
        mrn=links[0], owner=links[0], number=people.visit_number(hospital.visits),
        attending=hospital.rng.choice(hospital.clinicians), since=hospital.now,
        where_since=hospital.now,
    )  # fmt: skip
    hospital.visits += 1
    if len(links) == 1:
        names.come_as_wrong_patient(hospital, visit, known_as)
    if hospital.chance(hospital.shares.plans):
        comes = yield from plans.preadmitted(hospital, visit)
        if not comes:
            return
    emergency = hospital.has_emergency and hospital.chance(BY_EMERGENCY)
    place = yield from hospital.bed(emergency=emergency)
    if hospital.chance(ADMITTED_BY_MISTAKE):
        stays = yield from _admit_by_mistake(hospital, visit, place)
        if not stays or not hospital.chance(ADMITTED_AGAIN):
            return
        place = yield from hospital.bed(emergency=emergency)
    _admit(hospital, visit, place)
    yield from _spend(hospital, visit, 30, 240)
    yield from names.put_right(hospital, visit, links)
    if emergency and hospital.chance(HOME_FROM_EMERGENCY):
        _discharge(hospital, visit)
        return
    if emergency:
        yield from plans.admission(hospital, visit)
        place = yield from hospital.bed(emergency=False)
        if hospital.chance(hospital.shares.class_changes):
            _change_class(hospital, visit, place)
        else:
            _admit(hospital, visit, place)
        yield from _spend(hospital, visit, 60, 300)
    yield from _inpatient(hospital, visit)


def _inpatient(hospital: Hospital, visit: Visit) -> Story:
    for _ in range(hospital.rng.randrange(MOVES_MAX)):
        back = yield from _happening(hospital, visit)
        if not back:
            _discharge(hospital, visit)
            return
        yield from _spend(hospital, visit, 40, 300)
    yield from plans.discharge(hospital, visit)
    if hospital.chance(DISCHARGED_BY_MISTAKE):
        yield from _discharge_by_mistake(hospital, visit)
        yield from _spend(hospital, visit, 20, 120)
        if hospital.chance(0.5):
            _move(hospital, visit)
            yield from _spend(hospital, visit, 20, 120)
    _discharge(hospital, visit)


def _happening(hospital: Hospital, visit: Visit) -> Generator[datetime, None, bool]:
    """Something of an inpatient's day; False if the patient is away and doesn't come back."""
    shares, chance = hospital.shares, hospital.chance
    if chance(shares.leaves):
        return (yield from away.leave(hospital, visit))
    if chance(shares.temporary):
        yield from away.temporary(hospital, visit)
    elif chance(shares.transits):
        yield from away.transit(hospital, visit)
    elif chance(shares.swaps):
        other = hospital.swap(visit)
        if other is not None:
            hospital.chart_swap(visit, other)
    elif chance(shares.class_changes):
        _change_class(hospital, visit, None if chance(SAME_BED) else hospital.take(emergency=False))
    elif chance(MOVED_BY_MISTAKE):
        yield from _move_by_mistake(hospital, visit)
    elif chance(HANDED_OVER):
        visit.attending = hospital.rng.choice(hospital.clinicians)
        hospital.chart(visit, "A02", Places(assigned=visit.place, prior=visit.place))
    elif chance(shares.plans):
        yield from plans.transfer(hospital, visit)
    else:
        _move(hospital, visit)
    return True


# What truly happens


def _admit(hospital: Hospital, visit: Visit, place: str) -> None:
    visit.admitted_at = hospital.now
    hospital.occupy(visit, place)
    hospital.chart(visit, _arrival(hospital, visit, place))


def _move(hospital: Hospital, visit: Visit) -> None:
    place, prior = hospital.take(emergency=False), visit.place
    if place is not None:
        hospital.occupy(visit, place)
        hospital.chart(visit, "A02", Places(assigned=place, prior=prior))


def _change_class(hospital: Hospital, visit: Visit, place: str | None) -> None:
    """To an inpatient or back to an outpatient, perhaps in another bed (rule T15)."""
    prior = visit.place
    if place is not None:
        hospital.occupy(visit, place)
    trigger = "A07" if visit.patient_class == "I" else "A06"
    visit.patient_class = "O" if trigger == "A07" else "I"
    hospital.chart(visit, trigger, Places(assigned=visit.place, prior=prior))


def _discharge(hospital: Hospital, visit: Visit) -> None:
    left_at, place = hospital.now, hospital.release(visit)
    visit.carried_discharge = None
    known = hospital.chart(visit, "A03", Places(assigned=place), discharged_at=left_at)
    if hospital.chance(UPDATED_AFTERWARDS):
        _update(hospital, visit, known.sent_at + hospital.minutes(10, 200), place, left_at)


def _spend(hospital: Hospital, visit: Visit, low: int, high: int) -> Story:
    """Some time in the same bed, perhaps with an update on the way."""
    visit.rests = True
    if hospital.chance(UPDATED):
        yield hospital.later(10, 60)
        # An update may also leave PV1-3 empty: that clears nothing (rule T21).
        place = visit.place if hospital.chance(0.7) else ""
        _update(hospital, visit, hospital.now, place, visit.carried_discharge)
    yield hospital.later(low, high)
    visit.rests = False


# What is charted by mistake; the bed named in it is kept free until that is corrected


def _admit_by_mistake(
    hospital: Hospital, visit: Visit, place: str
) -> Generator[datetime, None, bool]:
    """An admission that is cancelled; False if the record of the visit was deleted instead."""
    visit.admitted_at = hospital.now
    there = Places(assigned=place)
    wrong = hospital.chart(visit, _arrival(hospital, visit, place), there, mistaken=True)
    deleted = hospital.chance(hospital.shares.deletions)
    if deleted:
        at = max(hospital.now, wrong.sent_at) + hospital.minutes(10, 60)
        hospital.chart(visit, "A23", there, occurred_at=at, recorded_at=at)
        yield at
    else:
        yield hospital.correct(visit, "A11", wrong, there)
    hospital.free(place)
    return not deleted


def _move_by_mistake(hospital: Hospital, visit: Visit) -> Story:
    place = hospital.take(emergency=False)
    if place is None:
        return
    there, back = (
        Places(assigned=place, prior=visit.place), Places(assigned=visit.place, prior=place),
    )  # fmt: skip
    wrong = hospital.chart(visit, "A02", there, mistaken=True)
    days = hospital.scenario.quirks.occurred and hospital.chance(
        min(1.0, CORRECTED_DAYS_LATE * hospital.shares.days_late)
    )
    corrected_at = hospital.correct(visit, "A12", wrong, back, days=days)
    if not days:  # else nobody waits for it, and life goes on
        yield corrected_at
    hospital.free(place)


def _discharge_by_mistake(hospital: Hospital, visit: Visit) -> Story:
    left_at = hospital.now
    wrong = hospital.chart(visit, "A03", discharged_at=left_at, mistaken=True)
    yield hospital.correct(visit, "A13", wrong, discharged_at=wrong.occurred_at)
    if hospital.chance(STILL_CARRIES_DISCHARGE):
        visit.carried_discharge = wrong.occurred_at


def _arrival(hospital: Hospital, visit: Visit, place: str) -> str:
    emergency = hospital.is_emergency(place)
    visit.patient_class = "E" if emergency else "I"
    return "A04" if emergency else "A01"


def _update(
    hospital: Hospital, visit: Visit, at: datetime, place: str, discharged_at: datetime | None
) -> None:
    hospital.chart(
        visit, "A08", Places(assigned=place), occurred_at=at, recorded_at=at,
        discharged_at=discharged_at, updates=True,
    )  # fmt: skip
