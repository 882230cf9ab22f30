"""Instants on the wire (microseconds since 1970, UTC) and in the rows (aware datetimes)."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_PLAIN = datetime(1970, 1, 1)  # its zone is written out below
_MICROSECOND = timedelta(microseconds=1)


def instant(micros: int) -> datetime:
    """The aware datetime of a count of microseconds; exact, unlike ``fromtimestamp``."""
    return EPOCH + timedelta(microseconds=micros)


def micros(at: datetime) -> int:
    """Microseconds since 1970 of an aware datetime; exact."""
    assert at.tzinfo is not None, "an instant has a zone"
    return (at - EPOCH) // _MICROSECOND


def iso(micros: int) -> str:
    """The instant in ISO 8601, in UTC; a zone that was asked for its offset costs as much again."""
    return f"{(_EPOCH_PLAIN + timedelta(microseconds=micros)).isoformat()}+00:00"
