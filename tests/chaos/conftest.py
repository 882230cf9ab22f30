"""The fixture of provisioned databases, for what plays have found."""

from tests.sinks.provisioned import store

__all__ = ["store"]
