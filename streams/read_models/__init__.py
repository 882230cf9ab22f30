"""The read models: patients, admissions, the timeline, work, flight plans: pure folds."""

from streams.read_models.admissions import PROJECTION as ADMISSIONS
from streams.read_models.flightplans import PROJECTION as FLIGHTPLANS
from streams.read_models.patients import PROJECTION as PATIENTS
from streams.read_models.timeline import PROJECTION as TIMELINE
from streams.read_models.work import PROJECTION as WORK

PROJECTIONS = (PATIENTS, ADMISSIONS, TIMELINE, WORK, FLIGHTPLANS)

__all__ = ["ADMISSIONS", "FLIGHTPLANS", "PATIENTS", "PROJECTIONS", "TIMELINE", "WORK"]
