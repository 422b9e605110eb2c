"""One revision: fence, settings, journal row, script, version row, commit; or all of it undone.

A revision runs in a transaction of its own. What it asks of the server beforehand travels in one
round trip: that the lock is still ours (H6), how long a table lock may be waited for (H12), whether
its commit must reach the disk, and the journal row. When it commits a part of its work by itself
(an autocommit block, `op.get_bind().commit()`), the journal row becomes durable with it in state
`running`, waiting for locks is no longer cut short (H13), and the revision cannot be run again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from psycopg import ClientCursor
from tenacity import Retrying, retry_if_exception

from automigrate.alembic_bridge.conduct import Conduct
from automigrate.alembic_bridge.render import WayBack, way_back_of
from automigrate.database.session import SessionLostError
from automigrate.deadline import jittered
from automigrate.errors import AutomigrateError, StepTimeoutError, StoppedError, UpgradeError
from automigrate.events import RevisionApplied, RevisionRetried, RevisionStarted
from automigrate.options import CommitPolicy
from automigrate.sqlstate import Fault, classify, sqlstate_of
from automigrate.verdict import AppliedRevision

if TYPE_CHECKING:
    from alembic.runtime.migration import MigrationContext, RevisionStep
    from alembic.script import Script
    from sqlalchemy.engine import Connection
    from tenacity import RetryCallState

    from automigrate.alembic_bridge.version_update import VersionUpdate
    from automigrate.alembic_bridge.work import Work

__all__ = ["Step"]

# Asked again before every revision, because scripts can say RESET ALL.
SETTINGS = """\
select set_config('statement_timeout', '0', true), set_config('lock_timeout', %s, true),
  set_config('idle_in_transaction_session_timeout', '0', true),
  set_config('application_name', %s, false)"""

ASYNCHRONOUS_COMMIT = "set local synchronous_commit = off"

LONGEST_BACKOFF = 8.0


class Step:
    """The application of one revision, in as many attempts as it takes."""

    def __init__(
        self,
        work: Work,
        context: MigrationContext,
        maintainer: VersionUpdate,
        step: RevisionStep,
        *,
        position: int,
        total: int,
        pending: tuple[str, ...],
        arguments: dict[str, Any],
        loose: bool = False,
    ) -> None:
        self._work = work
        self._context = context
        self._maintainer = maintainer
        self._step = step
        self._position = position
        self._total = total
        self._pending = pending
        self._arguments = arguments
        self.revision: str = step.revision.revision
        self.message: str = (step.revision.doc or "").strip().partition("\n")[0]
        self._attempt = 0
        self.conduct = Conduct(
            work, context, self.revision, loose=loose, begin_again=self._announce
        )
        self._way_back = WayBack()

    def apply(self) -> None:
        """Run the revision until it is committed.

        Raises:
            UpgradeError: it failed; says whether everything was undone.
            SessionLostError: the session is gone; whether it is applied is for the version table
                to say (H10).
            StoppedError: the run was aborted and the revision rolled back.
        """
        self._raise_if_stopping()
        if self._work.renders:
            self._way_back = way_back_of(self._step.revision, self._context.opts)
        try:
            self._run_with_all_imports()
        except AutomigrateError:
            raise
        except SessionLostError:
            raise
        except BaseException as error:
            raise self._translated(error) from error

    def _run_with_all_imports(self) -> None:
        """Run; where it uses a module that another script imports, import them all as Alembic does.

        `sa.orm` is there under Alembic as soon as one script of the directory imports it.
        """
        try:
            self._run_until_applied()
        except AttributeError as error:
            durable = self.conduct.committed_early or self.conduct.committed_elsewhere
            if durable or not isinstance(error.obj, ModuleType):
                raise
            for script in self._scripts():
                with suppress(Exception):
                    script.module  # noqa: B018
            self._run_until_applied()

    def _scripts(self) -> list[Script]:
        directory = self._context.script
        return [] if directory is None else list(directory.walk_revisions())

    def _run_until_applied(self) -> None:
        try:
            self._run()
        except BaseException as error:
            if not self._may_run_again(error):
                raise
            first = [error]
        else:
            return

        def attempt() -> None:
            if first:
                raise first.pop()  # counts as the attempt that it was
            self._run()

        Retrying(
            retry=retry_if_exception(self._may_run_again),
            stop=self._out_of_time,
            wait=self._backoff,
            sleep=self._work.control.sleep,
            before_sleep=self._tell_retry,
            reraise=True,
        )(attempt)

    # One attempt

    def _run(self) -> None:
        self._raise_if_stopping()
        self._attempt += 1
        self._work.emit(
            RevisionStarted(
                revision=self.revision,
                message=self.message,
                position=self._position,
                total=self._total,
                attempt=self._attempt,
                direction=self._work.direction,
            )
        )
        heads = set(self._maintainer.heads)
        started = time.monotonic()
        try:
            with self._work.observer.watch(self.revision):
                self._begin()
                self._step.migration_fn(**self._arguments)
                self._finish()
        except BaseException as error:
            self._maintainer.heads = heads
            self._maintainer.forget()
            self._undo(error)
            raise
        seconds = time.monotonic() - started
        self._work.deadline.renew()
        self._work.applied.append(
            AppliedRevision(
                revision=self.revision,
                message=self.message,
                seconds=seconds,
                attempts=self._attempt,
            )
        )
        self._work.emit(
            RevisionApplied(
                revision=self.revision,
                message=self.message,
                position=self._position,
                total=self._total,
                seconds=seconds,
                attempt=self._attempt,
                direction=self._work.direction,
            )
        )

    def _begin(self) -> None:
        self.conduct.begin()
        self._context._transaction = self._connection.begin()  # noqa: SLF001 - as Alembic does
        self._announce()

    def _announce(self) -> None:
        """Send the fence, the settings and the journal row, first in the transaction."""
        work, script = self._work, self._step.revision
        cursor = ClientCursor(self._raw)
        parts = list(work.lock.claim())
        if work.session.was_reset:
            parts.append(work.session.protection())
        parts.append(
            cursor.mogrify(
                SETTINGS, (f"{int(self._lock_timeout * 1000)}ms", work.name_during(self.revision))
            )
        )
        if work.options.commits is CommitPolicy.LAST and self._position < self._total:
            parts.append(ASYNCHRONOUS_COMMIT)
        parts.append(
            work.journal.begin_statement(
                revision=self.revision,
                down_revisions=work.graph.dependencies_of(self.revision),
                direction=work.direction,
                checksum=work.checksum_of(self.revision),
                compatible=bool(getattr(script.module, "automigrate_compatible", True)),
            )
        )
        cursor.execute(";\n".join(parts))
        rows: list[tuple[Any, ...]] = cursor.fetchmany(1)
        while cursor.nextset():
            if cursor.description:
                rows += cursor.fetchmany(1)
        backend = work.lock.confirm(rows, self._maintainer.heads)
        if backend is not None:
            work.observer.pid = backend
        self.conduct.row = rows[-1][0]

    def _finish(self) -> None:
        """Update version and journal in the revision's transaction, and commit it."""
        context, work = self._context, self._work
        self.conduct.end_autocommit()
        if context._transaction is None or not self._connection.in_transaction():  # noqa: SLF001
            context._transaction = self._connection.begin()  # noqa: SLF001
        self.conduct.restore()
        invalid = self.conduct.invalid_indexes() if self.conduct.committed_early else ()
        if invalid:
            raise _InvalidIndexError(invalid)
        self._maintainer.update_to_step(self._step)
        if context.on_version_apply_callbacks:
            self._maintainer.send()
        for callback in context.on_version_apply_callbacks:
            callback(
                ctx=context,
                step=self._step.info,
                heads=set(self._maintainer.heads),
                run_args=self._arguments,
            )
        counts = work.journal.finish(
            self.conduct.row,
            self.revision,
            work.direction,
            downgrade_sql=self._way_back.sql,
            signature=work.signature_of(self.revision, self._way_back.sql),
            obstacle=self._way_back.obstacle,
            first=self._maintainer.statements,
        )
        self._maintainer.check(counts)
        self.conduct.own_commit = True
        self._connection.commit()
        context._transaction = None  # noqa: SLF001

    def _undo(self, error: BaseException) -> None:
        """Roll back what is open; write `failed` where a part was committed before."""
        self._context._transaction = None  # noqa: SLF001
        self.conduct.undone = True
        if self._work.session.broken:
            return
        with suppress(Exception):
            self._connection.rollback()
        with suppress(Exception):
            # SQLAlchemy has no transaction any more when a commit failed; the driver may have one.
            self._raw.rollback()
            self._raw.autocommit = False
            self.conduct.committed_early = self._work.journal.fail(
                self.conduct.row, self._work.text_of(error)
            )
            self._raw.commit()

    # Failing and trying again

    @property
    def _connection(self) -> Connection:
        connection = self._context.connection
        assert connection is not None
        return connection

    @property
    def _raw(self) -> Any:
        return self._work.session.connection

    @property
    def _lock_timeout(self) -> float:
        options = self._work.options
        grown = options.lock_timeout * 2.0 ** (self._attempt - 1)
        return min(grown, options.lock_timeout_max)

    def _fault(self, error: BaseException) -> Fault:
        return classify(error, broken=self._work.session.broken)

    def _may_run_again(self, error: BaseException) -> bool:
        return (
            not self.conduct.committed_early
            and not self.conduct.committed_elsewhere
            and not isinstance(error, AutomigrateError | SessionLostError)
            and not self._work.control.stopping
            and self._fault(error) is Fault.BUSY
        )

    def _out_of_time(self, _state: RetryCallState) -> bool:
        return self._work.deadline.passed or self._work.observer.out_of_time

    def _backoff(self, state: RetryCallState) -> float:
        longest = min(LONGEST_BACKOFF, 0.25 * 2.0 ** (state.attempt_number - 1))
        return min(jittered(longest), self._work.deadline.remaining)

    def _tell_retry(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert error is not None
        self._work.emit(
            RevisionRetried(
                revision=self.revision,
                reason=self._work.text_of(error),
                sqlstate=sqlstate_of(error) or "",
                attempt=self._attempt,
                wait_seconds=state.next_action.sleep if state.next_action else 0.0,
                blockers=self._work.observer.blockers,
            )
        )

    def _raise_if_stopping(self) -> None:
        if self._work.control.stopping:
            raise self._stopped()

    def _stopped(self) -> StoppedError:
        applied = [item.revision for item in self._work.applied]
        return StoppedError(applied=applied, pending=self._pending)

    def _translated(self, error: BaseException) -> BaseException:
        work, fault = self._work, self._fault(error)
        if isinstance(error, KeyboardInterrupt):
            return error
        if fault in {Fault.LOST, Fault.READ_ONLY}:
            work.in_doubt = self.revision if self.conduct.own_commit else None
            return SessionLostError(work.text_of(error))
        if (
            work.control.stopping
            and not self.conduct.committed_early
            and fault
            in {
                Fault.BUSY,
                Fault.CANCELLED,
            }
        ):
            return self._stopped()
        outcome: dict[str, Any] = {
            "applied": [item.revision for item in work.applied],
            "failed": self.revision,
            "pending": self._pending,
            "rolled_back": not (self.conduct.committed_early or self.conduct.committed_elsewhere),
            "direction": work.direction,
        }
        if fault is Fault.BUSY or work.observer.out_of_time:
            return StepTimeoutError(
                reason=f"{work.text_of(error)} after {self._attempt} attempts",
                blockers=work.observer.blockers,
                **outcome,
            )
        return UpgradeError(reason=work.text_of(error), **outcome)


class _InvalidIndexError(Exception):
    def __init__(self, indexes: tuple[str, ...]) -> None:
        super().__init__(f"the revision left an invalid index: {', '.join(indexes)}")
