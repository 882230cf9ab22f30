"""The read models: patients, admissions, the timeline, each a pure fold over events."""

from streams.read_models.admissions import PROJECTION as ADMISSIONS
from streams.read_models.patients import PROJECTION as PATIENTS
from streams.read_models.timeline import PROJECTION as TIMELINE

PROJECTIONS = (PATIENTS, ADMISSIONS, TIMELINE)

__all__ = ["ADMISSIONS", "PATIENTS", "PROJECTIONS", "TIMELINE"]
