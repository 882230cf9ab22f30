"""The trajectory: where each visit was when, as a pure fold over admission events."""

from streams.trajectory.fold import PROJECTION

__all__ = ["PROJECTION"]
