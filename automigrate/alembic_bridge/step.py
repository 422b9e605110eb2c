"""One revision, in as many attempts as it takes.

What is tried again and until when, and what an error means for the run. What an attempt does is
said in `transaction`.
"""

from __future__ import annotations

import time
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

from automigrate.database.session import SessionLostError
from automigrate.deadline import jittered
from automigrate.errors import AutomigrateError, StepTimeoutError, StoppedError, UpgradeError
from automigrate.events import RevisionApplied, RevisionRetried, RevisionStarted
from automigrate.sqlstate import Fault, classify, sqlstate_of
from automigrate.verdict import AppliedRevision

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tenacity import RetryCallState

    from automigrate.alembic_bridge.conduct import Conduct
    from automigrate.alembic_bridge.transaction import RevisionTransaction
    from automigrate.alembic_bridge.work import Work

__all__ = ["Step"]

LONGEST_BACKOFF = 8.0


class Step:
    """The application of one revision, in as many attempts as it takes."""

    def __init__(
        self,
        work: Work,
        transaction: RevisionTransaction,
        *,
        position: int,
        total: int,
        pending: tuple[str, ...],
    ) -> None:
        self._work = work
        self._transaction = transaction
        self._position = position
        self._total = total
        self._pending = pending
        self.revision = transaction.revision
        self._attempt = 0
        self._meanwhile: Iterable[object] = ()
        self._aside: Iterator[object] = iter(())

    @property
    def conduct(self) -> Conduct:
        """What the revision does to its transaction."""
        return self._transaction.conduct

    def prepare(self) -> bool:
        """Do what needs no answer of the database; the connection may be busy meanwhile.

        Never raises: what is wrong is told in the revision's own turn.

        Returns:
            Whether one after it may be prepared, too.
        """
        with suppress(Exception):
            return self._transaction.prepare()
        return False

    def send_ahead(self) -> bool:
        """Hand the revision to the server, behind those that it has not answered yet.

        Never raises: what is wrong is told in the revision's own turn.

        Returns:
            Whether it is on its way.
        """
        if not self._work.control.stopping:
            with suppress(Exception):
                return self._transaction.send_ahead(self._work.options.lock_timeout)
        return False

    def hash(self) -> None:
        """Take the checksum of the script; needs no connection, and never raises."""
        self._transaction.hash()

    def apply(self, meanwhile: Iterable[object], aside: Iterator[object]) -> None:
        """Run the revision until it is committed.

        Args:
            meanwhile: may be gone through while the server works; prepares other steps, and sends
                them ahead.
            aside: the same while a script runs, statement by statement; touches no connection.

        Raises:
            UpgradeError: it failed; says whether everything was undone.
            SessionLostError: the session is gone; whether it is applied is for the version table
                to say (H10).
            StoppedError: the run was aborted and the revision rolled back.
        """
        if not self._transaction.sent:
            self._raise_if_stopping()
        self._meanwhile, self._aside = meanwhile, aside
        try:
            self._run_with_all_imports()
        except AutomigrateError:
            raise
        except SessionLostError:
            raise
        except BaseException as error:
            self._account_for_what_landed()
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
            self._transaction.import_all_scripts()
            self._run_until_applied()

    def _run_until_applied(self) -> None:
        try:
            self._run()
        except BaseException as error:
            if not self._may_run_again(error):
                raise
            first = [error]
        else:
            return
        from tenacity import Retrying, retry_if_exception  # 13 ms, and most revisions need none

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
                message=self._transaction.message,
                position=self._position,
                total=self._total,
                attempt=self._attempt,
                direction=self._work.direction,
            )
        )
        started = time.monotonic()
        try:
            with self._work.observer.watch(self.revision):
                self._transaction.run(self._lock_timeout, self._meanwhile, self._aside)
        except BaseException as error:
            self._transaction.undo(error)
            raise
        seconds = time.monotonic() - started
        self._work.deadline.renew()
        self._work.applied.append(
            AppliedRevision(
                revision=self.revision,
                message=self._transaction.message,
                seconds=seconds,
                attempts=self._attempt,
            )
        )
        self._work.emit(
            RevisionApplied(
                revision=self.revision,
                message=self._transaction.message,
                position=self._position,
                total=self._total,
                seconds=seconds,
                attempt=self._attempt,
                direction=self._work.direction,
            )
        )

    # Failing and trying again

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
            if not self._transaction.sent:
                raise self._stopped()
            self._work.pipeline.cancel()  # rolled back, unless it is done by now

    def _stopped(self) -> StoppedError:
        applied = [item.revision for item in self._work.applied]
        return StoppedError(applied=applied, pending=self._pending)

    def _account_for_what_landed(self) -> None:
        """Count what was applied although its answer came after an exception of our own."""
        landed = self._work.pipeline.landed()
        self._work.applied.extend(AppliedRevision(revision=revision) for revision in landed)
        self._pending = tuple(name for name in self._pending if name not in landed)

    def _translated(self, error: BaseException) -> BaseException:
        work, fault = self._work, self._fault(error)
        if isinstance(error, KeyboardInterrupt):
            return error
        if fault in {Fault.LOST, Fault.READ_ONLY}:
            work.in_doubt = self._pending if self.conduct.own_commit else ()
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
            "failed": self._pending[0] if self._pending else self.revision,
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
