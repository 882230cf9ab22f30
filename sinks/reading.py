"""A pool of connections for questions: each is one snapshot that shows one tenant's rows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, Self, TypeAlias
from uuid import UUID

from psycopg import errors

from schemas.topics import EVENTS
from sinks.database import Database, DatabaseAway
from sinks.queries import NotMigrated, Snapshot

JUDGED = "verification"  # the projection whose facts are judged after they were folded


class Every(Enum):
    """More than any list."""

    ALL = "all"


ALL: Final = Every.ALL
Departments: TypeAlias = frozenset[UUID] | Literal[Every.ALL]
"""The departments whose work a reader sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads: of which tenant, the work of which departments, and who issued its commands."""

    tenant_id: UUID
    departments: Departments = frozenset()
    issuer: UUID | None = None


@dataclass(frozen=True, slots=True)
class Readers:
    """Connections as ``wt_app``; a statement that takes longer than ``seconds`` is given up.

    Nothing of a tenant is read before it ``may`` be.
    """

    database: Database
    seconds: int
    may: Callable[[UUID], bool] = lambda _: True

    @classmethod
    def open(
        cls, url: str, *, name: str, size: int, seconds: int,
        may: Callable[[UUID], bool] = lambda _: True,
    ) -> Self:  # fmt: skip
        """Open the pool; connections are made when first needed."""
        return cls(Database.open(url, name=name, size=size), seconds, may)

    @contextmanager
    def as_tenant(
        self,
        tenant_id: UUID,
        departments: Departments = frozenset(),
        issuer: UUID | None = None,
    ) -> Iterator[Snapshot]:
        """One snapshot, read only, that shows this tenant's rows and ends with the block.

        Of work, only what belongs to one of the ``departments``; of what became of commands,
        also of those that the ``issuer`` issued. Raises
        :class:`~sinks.database.DatabaseAway`, also for a statement that took too long,
        :class:`~sinks.database.LoginRefused`, :class:`~sinks.queries.NotMigrated`.
        """
        if not self.may(tenant_id):
            raise DatabaseAway("nothing is shown before the log of erasures is read")
        try:
            with self.database.connection() as connection, connection.transaction():
                connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                every = departments is ALL
                listed = "" if departments is ALL else ",".join(sorted(map(str, departments)))
                # All end with the transaction, so the pool's next user has none of them.
                connection.execute(
                    "SELECT set_config('wt.tenant', %s, true),"
                    " set_config('wt.departments', %s, true),"
                    " set_config('wt.all_departments', %s, true),"
                    " set_config('wt.issuer', %s, true),"
                    " set_config('statement_timeout', %s, true)",
                    (
                        str(tenant_id), f"{{{listed}}}", "on" if every else "",
                        "" if issuer is None else str(issuer), f"{self.seconds}s",
                    ),
                )  # fmt: skip
                yield connection
        except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction):
            raise NotMigrated("the database lacks a table that this program needs") from None

    def reached(
        self, tenant_id: UUID, projections: Sequence[str], partition: int, seq: int
    ) -> bool:
        """Whether each projection has folded a partition up to ``seq``.

        Without a projection: whether the ledger has come so far. Verification has when what it
        folded is judged too. Raises as :meth:`as_tenant`.
        """
        with self.as_tenant(tenant_id) as snapshot:
            if not projections:
                found = snapshot.execute(_WRITTEN, (EVENTS.name, partition)).fetchall()
            else:
                values = (list(projections), EVENTS.name, partition)
                found = snapshot.execute(_FOLDED, values).fetchall()
            behind = len(found) < max(1, len(projections)) or any(row["at"] < seq for row in found)
            if behind or JUDGED not in projections:
                return not behind
            row = snapshot.execute(_WAITING, (partition, seq)).fetchone()
        assert row is not None, "a condition has one row"
        return not row["waits"]

    def of(self, reader: Reader) -> AbstractContextManager[Snapshot]:
        """As :meth:`as_tenant`, for a reader."""
        return self.as_tenant(reader.tenant_id, reader.departments, reader.issuer)

    def close(self) -> None:
        """Close the pool."""
        self.database.close()


_WRITTEN = "SELECT next_seq - 1 AS at FROM partitions WHERE topic = %s AND partition = %s"
_FOLDED = """
SELECT last_position AS at FROM subscriptions
WHERE subscription_id = ANY(%s) AND topic = %s AND partition = %s
"""
_WAITING = """
SELECT EXISTS (
    SELECT FROM verification_due
    WHERE partition = %s AND partition_seq <= %s AND failed IS NULL
) AS waits
"""
