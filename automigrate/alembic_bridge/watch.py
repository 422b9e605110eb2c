"""What SQLAlchemy executes on our session, seen statement by statement.

A plain revision's statements are noted and not sent (`recording`). Those of any other are told to
its conduct before they run, which may put another statement in the place of one, and around what
becomes of them.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import event

from automigrate.alembic_bridge.percents import (
    literal_percents,
    looked_through_for_placeholders,
    numbered_placeholders,
)
from automigrate.alembic_bridge.recording import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg
    from sqlalchemy.engine import Connection

    from automigrate.alembic_bridge.conduct import Conduct

__all__ = ["Watch"]


class Watch:
    """What listens to our connection, and executes in its dialect's place, for one run.

    Args:
        connection: ours.
        raw: the same as psycopg's.
    """

    def __init__(self, connection: Connection, raw: psycopg.Connection[Any]) -> None:
        self._raw = raw
        self._recorder: Recorder | None = None
        self._running = False
        self.conduct: Conduct | None = None
        """Of the revision that runs."""
        # No listeners: those of env.py may execute a statement themselves, and are asked before.
        for name, method in (
            ("do_execute", self._execute),
            ("do_execute_no_params", self._execute_without_parameters),
            ("do_executemany", self._execute_many),
            ("do_rollback", self._rolling_back(connection.dialect.do_rollback)),
        ):
            setattr(connection.dialect, name, method)
        event.listen(connection, "commit", self._on_commit)
        event.listen(connection, "rollback", self._on_rollback)
        event.listen(connection, "before_cursor_execute", self._on_statement, retval=True)

    @contextmanager
    def following(self, conduct: Conduct) -> Iterator[None]:
        """Tell a revision's conduct what runs."""
        self.conduct = conduct
        try:
            yield
        finally:
            self.conduct = None

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        """Have statements noted instead of sent."""
        self._recorder = recorder = Recorder(self._raw)
        try:
            yield recorder
        finally:
            self._recorder = None

    def by_hand(self, statement: str, run: Callable[[str], object]) -> None:
        """Run what a script gives to a cursor of the driver, which SQLAlchemy knows nothing of."""
        if self._running or self.conduct is None:
            run(statement)
            return
        statement = self.conduct.on_statement(statement)
        with self.conduct.running(statement):
            run(statement)

    def on_commit_elsewhere(self) -> None:
        """Note a commit on a second session."""
        if self.conduct is not None:
            self.conduct.on_commit_elsewhere()

    def _execute(self, cursor: Any, statement: str, parameters: Any, _context: Any = None) -> None:
        """Take the place of the dialect's `do_execute`."""
        if self._recorder is not None:
            self._recorder.take(cursor, statement, parameters)
            return
        with self._running_on(cursor, statement):
            cursor.execute(statement, parameters)

    def _execute_without_parameters(
        self, cursor: Any, statement: str, _context: Any = None
    ) -> None:
        self._execute(cursor, statement, None)

    def _execute_many(
        self, cursor: Any, statement: str, parameters: Any, _context: Any = None
    ) -> None:
        if self._recorder is not None:
            self._recorder.refuse()
        with self._running_on(cursor, statement):
            cursor.executemany(statement, parameters)

    @contextmanager
    def _running_on(self, cursor: Any, statement: str) -> Iterator[None]:
        """Tell the conduct of a statement, unless it is no revision's, or on a second session."""
        if self.conduct is None or cursor.connection is not self._raw:
            yield
            return
        self._running = True
        try:
            with self.conduct.running(statement):
                yield
        finally:
            self._running = False

    def _on_commit(self, _connection: Connection) -> None:
        if self._recorder is not None:
            self._recorder.refuse()
        if self.conduct is not None:
            self.conduct.on_commit()

    def _on_rollback(self, _connection: Connection) -> None:
        if self.conduct is not None:
            self.conduct.on_rollback()

    def _rolling_back(self, original: Callable[[Any], None]) -> Callable[[Any], None]:
        """Roll back, except for a revision that takes its connection for one in autocommit."""

        def roll_back(pooled: Any) -> None:
            ours = getattr(pooled, "dbapi_connection", pooled) is self._raw
            if not (ours and self.conduct is not None and self.conduct.keeps_all):
                original(pooled)

        return roll_back

    def _on_statement(
        self,
        _connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        execution: Any,
        *_: Any,
    ) -> tuple[str, Any]:
        if looked_through_for_placeholders(execution):
            if parameters:
                statement, parameters = numbered_placeholders(statement, parameters)
            else:
                statement = literal_percents(statement)
        if self.conduct is not None and self._recorder is None:
            statement = self.conduct.on_statement(statement)
        return statement, parameters
