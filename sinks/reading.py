"""A pool of connections for questions: each is one snapshot that shows one tenant's rows."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self
from uuid import UUID

from psycopg import errors

from sinks.database import Database
from sinks.queries import NotMigrated, Snapshot


@dataclass(frozen=True, slots=True)
class Readers:
    """Connections as ``wt_app``; a statement that takes longer than ``seconds`` is given up."""

    database: Database
    seconds: int

    @classmethod
    def open(cls, url: str, *, name: str, size: int, seconds: int) -> Self:
        """Open the pool; connections are made when first needed."""
        return cls(Database.open(url, name=name, size=size), seconds)

    @contextmanager
    def as_tenant(self, tenant_id: UUID) -> Iterator[Snapshot]:
        """One snapshot, read only, that shows this tenant's rows and ends with the block.

        Raises :class:`~sinks.database.DatabaseAway`, also for a statement that took too long,
        :class:`~sinks.database.LoginRefused`, :class:`~sinks.queries.NotMigrated`.
        """
        try:
            with self.database.connection() as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                # Both end with the transaction, so the pool's next user has neither.
                connection.execute(
                    "SELECT set_config('wt.tenant', %s, true),"
                    " set_config('statement_timeout', %s, true)",
                    (str(tenant_id), f"{self.seconds}s"),
                )
                yield connection
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction):
            raise NotMigrated("the database lacks a table that this program needs") from None

    def close(self) -> None:
        """Close the pool."""
        self.database.close()
