"""The gate: the server listens at once, and opens to requests when the schema is right."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import random
import threading
import traceback
from typing import TYPE_CHECKING

from automigrate.database.redaction import scrub
from automigrate.errors import (
    AutomigrateError,
    DatabaseUnavailableError,
    LockTimeoutError,
    PermissionDeniedError,
    PoolerError,
    StepTimeoutError,
    StoppedError,
)
from automigrate.events import Phase, PhaseEntered, RunFinished
from automigrate.health.forking import after_fork
from automigrate.health.readiness import readiness_of
from automigrate.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.health.looking import Seen
    from automigrate.migrator import Migrator

__all__ = ["Gate"]

logger = logging.getLogger("automigrate")

_ABORT_SECONDS = 5.0
"""How long an aborted run may take to roll back before the process ends over it."""


class Gate:
    """Runs the migration in a thread of its own and opens when the schema is right.

    A failure that may pass by itself (no server, lock not free, blocked by other sessions) is
    tried again, with a growing pause. After any other the gate gives up: it stays closed, `/livez`
    says 503 so that an orchestrator restarts the process, and meanwhile the database is looked at
    now and then, in case another process puts the schema right.

    Opening is for good: a schema that changes later makes the process unready, it does not turn
    requests away.

    Args:
        migrator: what to run.
        look: looks at the database after the gate has given up.
        grace_seconds: how long `close` lets the current revision go on before it is rolled back;
            less than the 30 s that Kubernetes gives a pod by default.
        retry_seconds: pause after the first failure; doubles, with jitter.
        retry_seconds_max: the longest pause, and the time between two looks after giving up.
        on_failure: called once, in the gate's thread, when it gives up; a server that should end
            instead can be told so here.
    """

    _changed: threading.Condition
    _closing: threading.Event
    _callbacks: list[Callable[[], object]]
    _thread: threading.Thread | None
    _given_up: bool

    def __init__(
        self,
        migrator: Migrator,
        *,
        look: Callable[[], Seen],
        grace_seconds: float = 20.0,
        retry_seconds: float = 2.0,
        retry_seconds_max: float = 30.0,
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._migrator = migrator
        self._look = look
        self._tracker = readiness_of(migrator)
        self._grace_seconds = grace_seconds
        self._retry_seconds = retry_seconds
        self._retry_seconds_max = retry_seconds_max
        self._on_failure = on_failure
        self._open = False
        self._renew()
        after_fork(self._renew)

    @property
    def is_open(self) -> bool:
        """Whether the schema was right once, so that requests may pass."""
        return self._open

    @property
    def given_up(self) -> bool:
        """Whether the run failed in a way that only a new process or another hand can mend."""
        return self._given_up

    def start(self) -> None:
        """Start the run unless it was started in this process; returns at once."""
        with self._changed:
            if self._thread is not None or self._open:
                return
            run = contextvars.copy_context().run
            self._thread = threading.Thread(
                target=run, args=(self._run,), name="automigrate-gate", daemon=True
            )
            self._thread.start()
        # A WSGI server has no hook for its end; a daemon thread would be cut off in a revision.
        atexit.register(self.close)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the gate is open, for `timeout` seconds at most; tell whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: self._open, timeout)

    def when_open(self, callback: Callable[[], object]) -> None:
        """Call `callback` once when the gate opens, in its thread; at once if it is open."""
        with self._changed:
            if not self._open:
                self._callbacks.append(callback)
                return
        callback()

    def close(self) -> None:
        """Stop the run: at a revision boundary within `grace_seconds`, by force after them."""
        atexit.unregister(self.close)
        self._tracker.listen(PhaseEntered(phase=Phase.STOPPING))
        self._closing.set()
        thread = self._thread
        if thread is None or not thread.is_alive():
            return
        self._migrator.stop()
        thread.join(self._grace_seconds)
        if thread.is_alive():
            self._migrator.abort()
            thread.join(_ABORT_SECONDS)

    def _run(self) -> None:
        pause = self._retry_seconds
        while not self._closing.is_set():
            try:
                report = self._migrator.upgrade()
            except StoppedError:
                return
            except BaseException as error:  # noqa: BLE001 -- the thread has no caller to tell
                if not _may_pass(error):
                    self._give_up(error)
                    return
                wait = pause * random.uniform(0.5, 1.0)  # noqa: S311 -- jitter, not a secret
                logger.warning(
                    "automigrate.gate_retried error=%s wait_seconds=%.1f",
                    type(error).__name__,
                    wait,
                )
                self._closing.wait(wait)
                pause = min(pause * 2.0, self._retry_seconds_max)
            else:
                if report.outcome is Outcome.SKIPPED:  # a run that does nothing tells nothing
                    self._tracker.listen(RunFinished(report=report))
                self._set_open()
                return

    def _give_up(self, error: BaseException) -> None:
        self._given_up = True
        logger.error("automigrate.gate_failed error=%s", type(error).__name__)
        if not isinstance(error, AutomigrateError):
            # A bug, which nobody else sees: there is no caller that it could be raised to.
            story = "".join(traceback.format_exception(error))
            logger.error("%s", scrub(story, self._migrator.source.secrets))
        if self._on_failure is not None:
            self._on_failure(error)
        while not self._closing.wait(self._retry_seconds_max):
            with contextlib.suppress(Exception):
                self._tracker.observe(self._look())
            if self._tracker.readiness.ready:
                self._given_up = False
                self._set_open()
                return

    def _set_open(self) -> None:
        with self._changed:
            self._open = True
            callbacks, self._callbacks = self._callbacks, []
            self._changed.notify_all()
        for callback in callbacks:
            callback()

    def _renew(self) -> None:
        # A forked worker has no gate thread; it keeps only that the gate is open already.
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._callbacks = []
        self._thread = None
        self._given_up = False


def _may_pass(error: BaseException) -> bool:
    match error:
        case PermissionDeniedError() | PoolerError():
            return False
        case DatabaseUnavailableError() | LockTimeoutError() | StepTimeoutError():
            return True
        case _:
            return False
