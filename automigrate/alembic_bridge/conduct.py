"""The conduct of a revision: what it commits by itself, and what it runs outside of a transaction.

Whatever it makes durable before its end, the journal row goes with it in state `running`, so that
the revision cannot be run again as if nothing had happened (H15).
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus

from automigrate.alembic_bridge import concurrent_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from automigrate.alembic_bridge.work import Work

__all__ = ["Conduct"]

SPACE = r"(?:\s|--[^\n]*(?:\n|\Z)|/\*(?:[^*]|\*(?!/))*\*/|\*/)*"
"""White space and comments, which may stand before a statement; nested comments end twice."""

SYNCHRONOUS_COMMIT = "set local synchronous_commit = on"

# ROLLBACK TO SAVEPOINT does not end it, and a PL/pgSQL block begins with DO.
ENDS_TRANSACTION = re.compile(
    rf"{SPACE}(?:commit|end|abort|prepare\s+transaction|"
    r"rollback(?!\s+(?:work\s+|transaction\s+)?to\b))\b",
    re.IGNORECASE,
)

ROLLS_BACK = re.compile(rf"{SPACE}(?:abort|rollback(?!\s+prepared\b))\b", re.IGNORECASE)
"""Where it ends the transaction; `ROLLBACK PREPARED` ends another one."""

RAW_COMMIT = re.compile(
    rf"{SPACE}(?:commit|end)(?:\s+(?:work|transaction))?\s*;?{SPACE}", re.IGNORECASE
)

# One text of several: what stands behind the end of the transaction is committed with the text.
_GOES_ON = re.compile(
    rf"(?:\A|;){SPACE}(?:abort|commit|end|rollback)\b[^;]*;{SPACE}[^\s;]", re.IGNORECASE
)

# What PostgreSQL refuses in a transaction block, or what is of use only after its commit.
RUNS_ALONE = re.compile(
    rf"{SPACE}(?:create\s+(?:unique\s+)?index\s+concurrently|drop\s+index\s+concurrently|"
    r"reindex\b.*\bconcurrently|alter\s+type\b.*\badd\s+value|vacuum|cluster\s*;?\s*$|"
    r"alter\s+table\b.*\bdetach\s+partition\b.*\bconcurrently|"
    r"(?:create|drop)\s+(?:database|tablespace)|alter\s+system|"
    r"(?:create|alter|drop)\s+subscription)\b",
    re.IGNORECASE | re.DOTALL,
)

# PostgreSQL takes it at the beginning of a transaction only.
_ISOLATES = re.compile(
    rf"{SPACE}set\s+(?:local\s+)?transaction(?:_isolation\b|\s+isolation\s+level\b)",
    re.IGNORECASE,
)

# Under a savepoint of ours they would do something else.
_OF_SAVEPOINTS = re.compile(rf"{SPACE}(?:savepoint|release|rollback)\b", re.IGNORECASE)
_TIME_OUTS = re.compile(r"\b(?:lock|statement)_timeout\b", re.IGNORECASE)
_ENDED = {"55P03", "57014"}
_INTERRUPTING = "ProcessInterrupts"
_SAVEPOINT = "savepoint automigrate_statement"
_RELEASE = "release automigrate_statement"
_UNDO = "rollback to automigrate_statement"

RESETS = re.compile(r"\b(?:reset|discard)\s+all\b", re.IGNORECASE)
"""Undoes what protects the session; the next revision sets it again."""


class Conduct:
    """What one revision does to its transaction, followed statement by statement."""

    def __init__(
        self,
        work: Work,
        context: MigrationContext,
        revision: str,
        *,
        loose: bool,
        begin_again: Callable[[], None],
    ) -> None:
        self._work = work
        self._context = context
        self.revision = revision
        self.row = 0
        """The journal row of the current attempt."""
        self.committed_elsewhere = False
        """Whether something was committed without a journal row, in any attempt.

        On a second session, or behind the end of the transaction in one text with it.
        """
        self._loose_from_start = loose
        self._begin_again = begin_again
        self.begin()

    def begin(self) -> None:
        """Forget what an earlier attempt did and undid."""
        self.committed_early = False
        """Whether a part of the revision is committed."""
        self.own_commit = False
        """Whether the commit that ends the revision was sent."""
        self.in_block = False
        """Whether it is in an autocommit block."""
        self.undone = False
        """Whether all of it is being rolled back, by us."""
        self._rolled_back = False
        self._alone = False
        self._autocommit = self._loose = self._loose_from_start
        self._uncommitted = self._committed = 0
        self._statements: list[str] = []
        self._cut_short: psycopg.Error | None = None
        self._has_time_outs = False

    @contextmanager
    def autocommit_block(self, original: Callable[[], Any]) -> Iterator[None]:
        """Stand around Alembic's `autocommit_block` and note what runs inside."""
        self._work.lock.refuse_outside_transaction(self.revision, "opens an autocommit block")
        # After a commit of its own the revision is in a transaction that Alembic does not know.
        self._context._transaction = self._connection.get_transaction()  # noqa: SLF001
        with original():
            self.in_block = True
            try:
                yield
            finally:
                self.in_block = False

    def on_commit(self) -> None:
        """Note a commit that is about to happen: ours, or one by the revision itself."""
        if self.own_commit or self.in_block or self._raw.autocommit:
            return
        self.restore()
        self._work.lock.refuse_outside_transaction(self.revision, "commits by itself")
        if not self.committed_early or self._uncommitted:
            self.committed_early = True
            self._committed += self._uncommitted
            self._uncommitted = 0
            self._raw.execute(SYNCHRONOUS_COMMIT)
            self._tell_progress()

    def on_rollback(self) -> None:
        """Note that the revision rolls back what it has done so far, and goes on."""
        if self.undone or self.in_block or self._raw.autocommit or self.keeps_all:
            return
        self._work.lock.refuse_outside_transaction(self.revision, "rolls back by itself")
        self._uncommitted = 0
        self._rolled_back = True

    @property
    def keeps_all(self) -> bool:
        """Whether a rollback by the revision has nothing to undo, as on a connection in autocommit.

        There each statement is kept once it has succeeded, and projects rely on it.
        """
        return self._autocommit and not self.undone

    def set_autocommit(self, *, on: bool) -> None:
        """Take the connection for one in autocommit, or no more, as psycopg2's is told by hand.

        psycopg2 rolls back what is open.
        """
        if on and self._uncommitted:
            self.on_rollback()
            self._raw.rollback()
        self._autocommit = self._loose = on

    @contextmanager
    def running(self, statement: str) -> Iterator[None]:
        """Stand around a statement: what a script makes of its error must not hide ours.

        Scripts for connections in autocommit catch the error of a statement and go on: there it
        undoes nothing but itself, by a savepoint. Others do the same with savepoints of their own.
        But that a table lock was not to be had in the time that we allow, or that we ended the
        statement, is no answer to the script's question. It ends the attempt, whoever catches it.
        """
        of_savepoints = _OF_SAVEPOINTS.match(statement)
        if not of_savepoints:
            self.raise_if_cut_short()
        by_itself = self._loose and not (self._raw.autocommit or of_savepoints)
        if by_itself:
            self._raw.execute(_SAVEPOINT)
        try:
            yield
        except psycopg.Error as error:
            if self._is_our_doing(error):
                self._cut_short = error
            elif by_itself and self._raw.info.transaction_status is TransactionStatus.INERROR:
                self._raw.execute(_UNDO)
            raise
        status = self._raw.info.transaction_status
        if by_itself and status is TransactionStatus.INTRANS:
            self._raw.execute(_RELEASE)
        if status is TransactionStatus.IDLE and _GOES_ON.search(statement):
            self.committed_elsewhere = True

    def raise_if_cut_short(self) -> None:
        """End the attempt where we ended a statement of it, although the script went on."""
        if self._cut_short is not None:
            raise self._cut_short

    def _is_our_doing(self, error: psycopg.Error) -> bool:
        """Whether `lock_timeout` or a cancellation ended it, and neither was the script's own.

        `NOWAIT` has the same SQLSTATE as `lock_timeout`, and is the script's affair.
        """
        interrupted = error.diag.source_function == _INTERRUPTING
        return interrupted and error.sqlstate in _ENDED and not self._has_time_outs

    def restore(self) -> None:
        """Write again what a rollback by the revision has taken with it: journal row, settings."""
        if self._rolled_back:
            self._rolled_back = False
            if not self.committed_early:
                self._begin_again()

    def on_commit_elsewhere(self) -> None:
        """Note a commit on a second session of the revision: it cannot be undone any more."""
        self.committed_elsewhere = True

    def on_statement(self, statement: str) -> str:
        """Note a statement that is about to run; returns what to run in its place."""
        if RESETS.search(statement):
            self._work.session.was_reset = True
        if _TIME_OUTS.search(statement):
            self._has_time_outs = True
        if self.in_block or (self._raw.autocommit and not self._alone):
            return self._outside_transaction(statement)
        if self._alone:
            self.end_autocommit()
        self.restore()
        if ENDS_TRANSACTION.match(statement):
            self._work.lock.refuse_outside_transaction(self.revision, "ends its transaction")
            if ROLLS_BACK.match(statement):
                self.on_rollback()
                self._loose = True  # psycopg2 begins no transaction after it, either
                return statement
        if self._uncommitted == 0 and _ISOLATES.match(statement):
            self._begin_isolated(statement)
            return concurrent_index.NOTHING
        if RAW_COMMIT.fullmatch(statement):
            self._commit_as_told()
            return concurrent_index.NOTHING
        if self._loose and RUNS_ALONE.match(statement):
            self._commit_as_told()
            self._raw.autocommit = self._alone = True
            return self._outside_transaction(statement)
        self._uncommitted += 1
        return statement

    def _begin_isolated(self, statement: str) -> None:
        """Begin again with an isolation level, which must come before the journal row."""
        self._raw.rollback()
        self._raw.execute(statement)
        if not self.committed_early:
            self._begin_again()

    def _commit_as_told(self) -> None:
        """Commit for a raw COMMIT, and let what follows run as it would under psycopg2 (H22).

        There the driver sends no BEGIN after it, so that statements which refuse a transaction
        block work. psycopg 3 begins again; so those run alone, and all others in a transaction.
        """
        self.on_commit()
        self._raw.commit()
        self._loose = True

    def end_autocommit(self) -> None:
        """Have a transaction again for what follows."""
        self._alone = False
        if self._raw.autocommit and not self.in_block:
            self._raw.commit()
            self._raw.autocommit = False

    def _outside_transaction(self, statement: str) -> str:
        """Note a statement that commits by itself; returns what to run in its place."""
        self._statements.append(statement)
        self._tell_progress()
        if statement in self._work.resumed.get(self.revision, ()) and concurrent_index.complete(
            self._raw, statement
        ):
            return concurrent_index.NOTHING
        concurrent_index.drop_if_invalid(self._raw, statement, self._work.emit, self.revision)
        return statement

    def _tell_progress(self) -> None:
        self._work.journal.progress(
            self.row,
            "autocommit" if self._raw.autocommit else "committed",
            {"before": self._committed, "statements": self._statements},
        )

    def invalid_indexes(self) -> tuple[str, ...]:
        """Indexes that the revision was to build and that are not usable."""
        wanted = {concurrent_index.index_name(text) for text in self._statements}
        found = concurrent_index.invalid(self._raw)
        return tuple(name for name in found if name.rpartition(".")[2] in wanted)

    @property
    def _connection(self) -> Connection:
        connection = self._context.connection
        assert connection is not None
        return connection

    @property
    def _raw(self) -> Any:
        return self._work.session.connection
