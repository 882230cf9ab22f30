"""Patients under names that aren't theirs: strangers who are recognised, wrong charts put right."""

from ops.simulator.charts import Visit
from ops.simulator.hospital import Hospital, Story

STRANGER_TWICE = 0.25  # a chain of two merges
RECOGNISED_INSIDE = 0.5


def come_as_stranger(hospital: Hospital, known_as: list[str]) -> list[str]:
    """The MRNs that a patient will come under: the last is right, those before are merged."""
    links = list(known_as)
    if hospital.chance(hospital.shares.merges):
        links.insert(0, hospital.stranger())
        if hospital.chance(STRANGER_TWICE):
            links.insert(0, hospital.stranger())
        known_as.extend(links[:-1])
    return links


def recognise(hospital: Hospital, links: list[str]) -> Story:
    """Merge what the patient came under into what is right, one after the other (rule M3)."""
    while len(links) > 1:
        yield hospital.later(10, 300)
        hospital.merge(links.pop(0), links[0])


def come_as_wrong_patient(hospital: Hospital, visit: Visit, known_as: list[str]) -> None:
    """Perhaps a visit that is charted under somebody else's MRN."""
    if not hospital.chance(hospital.shares.wrong_patients):
        return
    wrong = hospital.rng.choice(hospital.patients)
    if wrong not in known_as:
        visit.mrn = visit.owner = wrong
        known_as.append(wrong)


def put_right(hospital: Hospital, visit: Visit, links: list[str]) -> Story:
    """Move the visit to whose it is (A45), or perhaps merge the stranger while still here (A40)."""
    if visit.owner != links[0]:
        wrong, visit.owner, visit.mrn = visit.owner, links[0], links[0]
        hospital.chart(visit, "A45", prior_mrn=wrong)
        yield hospital.later(1, 10)
    elif len(links) > 1 and hospital.chance(RECOGNISED_INSIDE):
        visit.retired = links.pop(0)
        visit.mrn = links[0]
        hospital.merge(visit.retired, visit.mrn)
        yield hospital.later(1, 10)
