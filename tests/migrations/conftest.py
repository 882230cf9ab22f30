"""Databases for migrations: migrated ones, and provisioned ones without any."""

import uuid

import psycopg
import pytest

from sinks import roles
from sinks.database import as_role
from tests.sinks.provisioned import PASSWORDS, armed, store

__all__ = ["armed", "empty", "store"]


@pytest.fixture
def empty(stack):
    """A provisioned database without any migration; its URLs by role."""
    name = f"empty_{uuid.uuid4().hex[:12]}"
    roles.provision(stack.url(), name, PASSWORDS)
    url = stack.url(name)
    yield {"admin": url, **{role: as_role(url, role, word) for role, word in PASSWORDS.items()}}
    with psycopg.connect(stack.url(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
