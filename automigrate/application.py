"""Apply under the lock: recover what was interrupted, run the revisions, verify, wake the waiters.

The same for both directions; only the holder of the lock comes here.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from psycopg import ClientCursor

from automigrate.alembic_bridge.concurrent_index import repeatable
from automigrate.alembic_bridge.environment import run_revisions
from automigrate.alembic_bridge.work import Descent, Work
from automigrate.database.advisory_lock import TransactionLock
from automigrate.database.observer import Observer
from automigrate.database.pipeline import Pipeline
from automigrate.database.prepared import Prepared
from automigrate.database.session import TablesDifferError
from automigrate.errors import InterruptedRevisionError, UpgradeError, names
from automigrate.events import Phase, PhaseEntered, RevisionRecovered
from automigrate.verdict import AppliedRevision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.journal import Journal
    from automigrate.database.session import Look, Session, Tables
    from automigrate.plan import JournalEntry
    from automigrate.run import Run
    from automigrate.verdict import Status

__all__ = ["Application", "claim", "close_settled_rows"]


class Application:
    """One application of revisions by the holder of the lock."""

    def __init__(self, run: Run, session: Session, lock: AdvisoryLock, look: Look) -> None:
        self._run = run
        self._session = session
        self._lock = lock
        self._look = look
        self._schema = run.schema(look)
        self._journal = run.journal(session, self._schema)
        self._entered: list[AdvisoryLock] = []

    def upgrade(
        self, status: Status, on_failure: Callable[[UpgradeError], UpgradeError] | None = None
    ) -> Look:
        """Apply what is pending and verify the heads.

        Args:
            status: the judgement under the lock.
            on_failure: called under the lock with the error of a failed revision; returns the one
                to raise.

        Raises:
            InterruptedRevisionError: an interrupted revision cannot safely be run again.
            UpgradeError: a revision failed, or the run ended short of the target.
            SessionLostError: the session is gone.
        """
        entries = self._entries(status)
        self._forget_what_was_lost()
        claim(self._run, self._journal, entries, "upgrade")
        resumed = self._recover(status, entries)
        with self._waking_the_waiters() as left:
            try:
                self._apply(self._run.options.target, "upgrade", resumed)
                look = self._verified()
            except UpgradeError as error:
                if on_failure is None or self._session.broken:
                    raise
                _to_autocommit(self._session)
                outcome = on_failure(error)
                if outcome is error:
                    raise
                raise outcome from error
            if self._run.is_right(look):
                left.extend(look.heads)
            return look

    def downgrade(self, status: Status, descent: Descent) -> Look:
        """Undo revisions, newest first, and verify the heads.

        Args:
            status: the judgement under the lock.
            descent: what to undo; nothing else is.

        Raises:
            InterruptedRevisionError: a revision stopped half-way before.
            UpgradeError: a downgrade failed, or the run ended elsewhere.
            SessionLostError: the session is gone.
        """
        entries = self._entries(status)
        claim(self._run, self._journal, entries, "downgrade")
        resumed = self._recover(status, entries, "downgrade")
        with self._waking_the_waiters():
            self._apply(" ".join(descent.heads) or "base", "downgrade", resumed, descent)
            return self._verified_descent(descent)

    def _entries(self, status: Status) -> tuple[JournalEntry, ...]:
        """Read the journal, where something is to be found out from it."""
        wanted = self._run.in_doubt or status.interrupted
        return self._journal.entries() if wanted else ()

    def _apply(
        self,
        target: str,
        direction: str,
        resumed: dict[str, frozenset[str]],
        descent: Descent | None = None,
    ) -> None:
        run, session = self._run, self._session
        run.emit(PhaseEntered(phase=Phase.MIGRATING))
        with Observer(
            run.connector.observer,
            self._look.backend_pid,
            options=run.options,
            control=run.control,
            deadline=run.deadline,
            emit=run.emit,
        ) as observer:
            run.control.when_aborted(session.cancel)
            work = Work(
                session=session,
                client=ClientCursor(session.connection),
                prepared=Prepared(session.connection),
                pipeline=Pipeline(session.connection, lambda: run.control.aborting),
                lock=self._lock,
                journal=self._journal,
                observer=observer,
                location=run.location,
                graph=run.graph if descent is None else descent.graph,
                tables=run.tables,
                options=run.options,
                control=run.control,
                deadline=run.deadline,
                emit=run.emit,
                sqlalchemy_url=run.sqlalchemy_url,
                connect=run.connector.second,
                enter=lambda tables: self._enter(work, tables),
                secrets=run.source.secrets,
                application_name=session.application_name,
                target=target,
                direction=direction,
                descent=descent,
                # Where the run began on an empty database there is no release to go back to.
                renders=descent is None and bool(self._look.heads),
                applied=run.applied,
                resumed=resumed,
                heads=self._look.heads,
                open_revisions=frozenset(self._look.open_revisions),
            )
            session.patient = True
            try:
                run_revisions(work)
            finally:
                session.patient = False
                run.control.when_aborted(None)
                run.in_doubt = work.in_doubt
        _to_autocommit(session)

    def _enter(self, work: Work, tables: Tables) -> Work | None:
        """Prepare the same on another version table, which env.py configures in the same run.

        Returns:
            `None`: nothing is to be done there, or another process is at it; the run comes back
            to each table anyway.

        Raises:
            TablesDifferError: it is a table that env.py had not configured when it was asked.
            AutomigrateError: its verdict is one to refuse.
        """
        run, session = self._run, self._session
        known = {each.place: each for each in run.version_tables.every}
        if tables.place not in known:
            raise TablesDifferError(tables)
        tables = known[tables.place]
        if work.descent is not None:
            return None
        look = session.look(tables)
        if run.is_right(look) or isinstance(self._lock, TransactionLock):
            return None
        other = run.on(tables)
        lock = other.lock(session, other.schema(look))
        look = session.look(tables, lock_key=lock.key)
        if not look.locked or run.is_right(look):
            return None
        status = other.judge(session, look)
        if not other.must_act(status):
            return None
        self._entered.append(lock)
        journal = other.journal(session, other.schema(look))
        resumed = self._recover(status, journal.entries() if status.interrupted else ())
        return replace(
            work,
            lock=lock,
            journal=journal,
            tables=tables,
            resumed=resumed,
            heads=look.heads,
            open_revisions=frozenset(look.open_revisions),
        )

    def _verified(self) -> Look:
        """Look at the heads once more: exit 0 must mean the right schema (H4, H21)."""
        run = self._run
        look = self._session.look(run.tables)
        if not run.is_right(look):
            status = run.judge(self._session, look)
            if run.must_act(status):
                raise UpgradeError(
                    applied=[item.revision for item in run.applied],
                    failed=status.pending[0] if status.pending else names(status.interrupted),
                    pending=status.pending,
                    rolled_back=True,
                    reason="the run ended without an error, but the version table is at "
                    f"{names(look.heads)}",
                    remedy="Does env.py call context.run_migrations() for this database?",
                )
        return look

    def _verified_descent(self, descent: Descent) -> Look:
        look = self._session.look(self._run.tables)
        if set(look.heads) != descent.heads:
            raise UpgradeError(
                applied=[item.revision for item in self._run.applied],
                failed=descent.order[-1],
                pending=(),
                rolled_back=True,
                reason="the run ended without an error, but the version table is at "
                f"{names(sorted(look.heads))} instead of {names(sorted(descent.heads))}",
                remedy="Does env.py call context.run_migrations() for this database?",
                direction="downgrade",
            )
        return look

    def _forget_what_was_lost(self) -> None:
        """Count no revision as applied that a crash of the server has undone (`CommitPolicy`)."""
        run = self._run
        if run.applied and len(run.version_tables.every) == 1:
            there = run.graph.ancestors([head for head in self._look.heads if head in run.graph])
            run.applied[:] = [item for item in run.applied if item.revision in there]

    def _recover(
        self, status: Status, entries: Sequence[JournalEntry], direction: str = "upgrade"
    ) -> dict[str, frozenset[str]]:
        """Say of each interrupted revision what needs not be done again, or refuse.

        Raises:
            InterruptedRevisionError: it cannot be proved that running it again is safe (H15).
        """
        resumed = {}
        latest = {entry.revision: entry for entry in entries}
        for revision in status.interrupted:
            entry = latest[revision]
            statements = repeatable(entry.progress) if entry.direction == direction else None
            if statements is None:
                raise InterruptedRevisionError(revision=revision, left=_left(entry))
            resumed[revision] = frozenset(statements)
            self._run.emit(
                RevisionRecovered(
                    revision=revision,
                    action="interrupted while building indexes concurrently; run again",
                )
            )
        return resumed

    @contextmanager
    def _waking_the_waiters(self) -> Iterator[list[str]]:
        """Release the lock at the end, however it ends: they look again, or take over.

        Yields:
            For the heads that the waiters are told of, so that they need not look.
        """
        complete = False
        heads: list[str] = []
        try:
            yield heads
            complete = True
        finally:
            if not self._session.broken:
                _best_effort(lambda: _to_autocommit(self._session))
                if not complete:  # else the last commit was durable, and so is all before it
                    _best_effort(self._session.flush)
                _best_effort(lambda: self._lock.release(heads))
                for lock in self._entered:
                    _best_effort(lock.release)


def claim(
    run: Run, journal: Journal, entries: Sequence[JournalEntry], direction: str = "upgrade"
) -> None:
    """Count revisions as ours whose commit was in doubt and had happened (H10)."""
    doubted = set(run.in_doubt) - {item.revision for item in run.applied}
    for entry in entries:
        if (
            entry.revision in doubted
            and entry.direction == direction
            and entry.state == "applied"
            and entry.instance == journal.instance
        ):
            doubted.remove(entry.revision)
            run.applied.append(AppliedRevision(revision=entry.revision))
    run.in_doubt = ()


def close_settled_rows(run: Run, session: Session, look: Look) -> None:
    """Bring open journal rows to an end whose revisions the version table has settled.

    Does nothing when another session holds the lock: that one does it.
    """
    schema = run.schema(look)
    lock = run.lock(session, schema)
    locked = session.look(run.tables, lock_key=lock.key)
    if not locked.locked or set(locked.heads) != set(look.heads):
        return
    journal = run.journal(session, schema)
    applied = run.graph.ancestors([head for head in look.heads if head in run.graph])
    for revision in look.open_revisions:
        if revision in run.graph:
            journal.resolve(revision, "applied" if revision in applied else "reverted")


def _left(entry: JournalEntry) -> list[str]:
    """What is known of an interrupted revision, a sentence each."""
    progress = entry.progress or {}
    left = []
    if progress.get("before"):
        left.append(f"{progress['before']} statements were committed before")
    left.extend(
        f"begun outside of a transaction: {' '.join(statement.split())[:120]}"
        for statement in progress.get("statements") or ()
    )
    if entry.error:
        left.append(f"it failed: {entry.error}")
    return left


def _to_autocommit(session: Session) -> None:
    connection = session.connection
    connection.rollback()
    connection.autocommit = True


def _best_effort(action: Callable[[], object]) -> None:
    """For what makes others faster and nothing wrong when it fails: the session may be gone."""
    with suppress(Exception):
        action()
