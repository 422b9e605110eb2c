"""What env.py executes beside the revisions: whether it is kept, as under Alembic.

There env.py's statements before and after `run_migrations` are in the transaction that it has for
the revisions, and are committed with them. Here each revision has been committed by then, on our
connection; so env.py's own transaction is committed where Alembic would have done it, and what it
executes through `context` on ours at once. Neither may hold what the other waits for, because
nobody would ever notice.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from automigrate.alembic_bridge.engine import commit_beneath
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg
    from sqlalchemy.engine import Connection

__all__ = ["Surroundings"]


class _Transaction:
    """What env.py gets from `with context.begin_transaction() as …`, where Alembic has one."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings

    def commit(self) -> None:
        """Keep what was executed."""
        self._surroundings.commit()

    def rollback(self) -> None:
        """Undo it."""
        self._surroundings.roll_back()


class Surroundings:
    """The transaction that env.py has around the revisions, from one `configure` to the next.

    Args:
        ours: our connection.
        raw: the same as psycopg's.
        theirs: the one that env.py gave to `configure`, as it gave it.
        per_migration: whether env.py asked for a transaction per revision, which then ends with it.
    """

    def __init__(
        self,
        ours: Connection,
        raw: psycopg.Connection[Any],
        theirs: Connection | None = None,
        *,
        per_migration: bool = False,
    ) -> None:
        self._ours = ours
        self._raw = raw
        self._theirs = theirs
        of_env = theirs is not None and theirs.in_transaction()
        self._commits = not (of_env or per_migration)
        self._keeps = of_env or not per_migration
        self._after = False

    @contextmanager
    def transaction(self, original: Any) -> Iterator[Any]:
        """Stand for `context.begin_transaction()`, and commit at its end where Alembic does."""
        with original as value:
            yield _Transaction(self) if self._commits and value is None else value
        if self._commits:
            self.commit()

    def commit(self) -> None:
        """Keep what env.py has executed beside the revisions."""
        if self._theirs is not None and self._open(self._theirs):
            self._theirs.commit()
        self.leave()

    def roll_back(self) -> None:
        """Undo what env.py has executed, where it is not too late.

        Raises:
            ConfigurationError: the revisions have been committed.
        """
        if self._after:
            raise ConfigurationError(
                "env.py rolls back after the revisions have run. Here each of them is committed by "
                "itself: they stay applied. For a dry run use plain Alembic."
            )
        if self._theirs is not None and self._open(self._theirs):
            self._theirs.rollback()

    def enter(self) -> None:
        """Have what follows the revisions on our connection committed, each by itself."""
        if self._keeps and not self._after:
            if self._ours.in_transaction():
                self._ours.commit()
            self._after = self._raw.autocommit = True
            event.listen(self._ours, "before_cursor_execute", self._make_way, retval=True)

    def leave(self) -> None:
        """Have transactions again."""
        if self._after:
            self._after = False
            event.remove(self._ours, "before_cursor_execute", self._make_way)
            self._ours.rollback()
            self._raw.autocommit = False

    def _make_way(
        self, _connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        """Commit what env.py has open on its own connection, whatever it holds."""
        if self._theirs is not None and self._open(self._theirs):
            commit_beneath(self._theirs)
        return statement, parameters

    @staticmethod
    def _open(connection: Connection) -> bool:
        return not (connection.closed or connection.invalidated) and connection.in_transaction()
