"""The ledger's processor over a provisioned database."""

from tests.streams.ledger.told import line

__all__ = ["line"]
