"""The ledger's processor over a provisioned database."""

from tests.streams.ledger.parked import bench
from tests.streams.ledger.told import line

__all__ = ["bench", "line"]
