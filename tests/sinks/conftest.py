"""The fixtures of provisioned databases."""

from tests.sinks.provisioned import armed, migrated, store

__all__ = ["armed", "migrated", "store"]
