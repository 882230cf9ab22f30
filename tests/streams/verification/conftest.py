"""The fixtures of provisioned databases."""

from tests.sinks.provisioned import armed, store

__all__ = ["armed", "store"]
