"""The fixtures of provisioned databases, for what writes to them."""

from tests.sinks.provisioned import armed, store

__all__ = ["armed", "store"]
