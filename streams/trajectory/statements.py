"""Statements: what one version of a FHIR Encounter says of a visit, as values (rule T27)."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.clock import instant, micros

# What the event's data and the JSON of a kept statement have by the same names.
_SAID = ("version", "version_number", "status", "period_started_at", "period_ended_at", "stays")


@dataclass(frozen=True, slots=True)
class StatedStay:
    """One Encounter.location: PV1-3's text of the place, its status, its period.

    The status is planned, active, reserved, completed, or None where it isn't said.
    """

    place: str | None
    status: str | None
    started_at: datetime | None
    ended_at: datetime | None
    precision: str | None = None  # of started_at


@dataclass(frozen=True, slots=True)
class Statement:
    """One version of an Encounter, of one feed: ``version`` is meta.versionId.

    ``number`` is the version where it is a number. ``status`` is Encounter.status.
    """

    feed_id: str
    version: str | None
    number: int | None
    status: str | None
    started_at: datetime | None
    ended_at: datetime | None
    stays: tuple[StatedStay, ...]

    @classmethod
    def of(cls, feed_id: str, said: Mapping[str, Any]) -> "Statement":
        """The statement in an event's data, or in what :func:`kept` made of them."""
        return cls(
            feed_id,
            said["version"],
            said["version_number"],
            said["status"],
            _time(said["period_started_at"]),
            _time(said["period_ended_at"]),
            tuple(
                StatedStay(
                    stay["place"],
                    stay["status"],
                    _time(stay["started_at"]),
                    _time(stay["ended_at"]),
                    stay["precision"],
                )
                for stay in said["stays"]
            ),
        )

    def to_json(self) -> dict[str, Any]:
        """The statement as :meth:`of` reads it, without the feed; times as microseconds."""
        return {
            "version": self.version,
            "version_number": self.number,
            "status": self.status,
            "period_started_at": _micros(self.started_at),
            "period_ended_at": _micros(self.ended_at),
            "stays": [
                {
                    "place": stay.place,
                    "status": stay.status,
                    "started_at": _micros(stay.started_at),
                    "ended_at": _micros(stay.ended_at),
                    "precision": stay.precision,
                }
                for stay in self.stays
            ],
        }


def kept(data: Mapping[str, Any]) -> dict[str, Any]:
    """What is kept of an event's data beside its other columns, as JSON."""
    return {name: data[name] for name in _SAID}


def _time(said: int | None) -> datetime | None:
    return None if said is None else instant(said)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)
