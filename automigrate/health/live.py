"""A live look at the database with a cached result, so that readiness follows what others do.

A pod that became ready once knows nothing of a rollback an hour later. The look costs one
connection and one query, at most once in `every` seconds however often probes come, and never
holds an answer up for longer than `timeout`.
"""

from __future__ import annotations

import enum
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

from automigrate.health.forking import after_fork
from automigrate.verdict import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.health.looking import Seen
    from automigrate.health.readiness import ReadinessTracker

__all__ = ["LiveCheck", "OnFailedLook"]


class OnFailedLook(enum.StrEnum):
    """What readiness becomes when the database cannot be looked at."""

    KEEP = "keep"
    """Stay as it is: the schema is unknown, not wrong, and taking every replica out of service
    at once helps nobody whose database is slow for a moment."""
    UNREADY = "unready"
    """Not ready until a look succeeds."""


class LiveCheck:
    """Looks at the database when asked, if the last look is older than `every` seconds.

    Args:
        look: looks at the database.
        tracker: takes the result.
        every: seconds that a result is good for.
        timeout: seconds that `refresh` waits at most. The kubelet gives a probe 1 s by default,
            so this is less. A look that takes longer goes on by itself and counts when it ends.
        on_failed_look: what a failed or late look does to readiness.
        clock: monotonic clock; the tracker's.
    """

    _lock: threading.Lock
    _pending: Future[None] | None

    def __init__(
        self,
        look: Callable[[], Seen],
        tracker: ReadinessTracker,
        *,
        every: float = 10.0,
        timeout: float = 0.8,
        on_failed_look: OnFailedLook = OnFailedLook.KEEP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._tracker = tracker
        self._every = every
        self._timeout = timeout
        self._on_failed_look = on_failed_look
        self._clock = clock
        self._renew()
        after_fork(self._renew)

    @property
    def is_due(self) -> bool:
        """Whether `refresh` would look, and so may block; never while a run is under way."""
        readiness = self._tracker.readiness
        if not readiness.settled or readiness.outcome is Outcome.SKIPPED:
            return False
        seen = [at for at in (readiness.looked_at, self._ended()) if at is not None]
        return not seen or self._clock() - max(seen) >= self._every

    def refresh(self) -> None:
        """Look again if the last look is too old; waits for the result for `timeout` at most.

        Callers at the same time share one look. Never raises.
        """
        if not self.is_due:
            return
        look = self._shared_look()
        if look is None:
            return
        try:
            look.result(timeout=self._timeout)
        except TimeoutError as error:
            self._note(error)

    def _ended(self) -> float | None:
        readiness = self._tracker.readiness
        return readiness.run_ended if readiness.ready else None

    def _shared_look(self) -> Future[None] | None:
        with self._lock:
            if self._pending is None or self._pending.done():
                if not self.is_due:  # another caller's look ended on the way here
                    return None
                self._pending = Future()
                threading.Thread(
                    target=self._run, args=(self._pending,), name="automigrate-look", daemon=True
                ).start()
            return self._pending

    def _run(self, look: Future[None]) -> None:
        try:
            seen = self._look()
        except Exception as error:  # noqa: BLE001 -- whatever went wrong, the schema is unknown
            self._note(error)
        else:
            self._tracker.observe(seen)
        look.set_result(None)

    def _note(self, error: BaseException) -> None:
        keep = self._on_failed_look is OnFailedLook.KEEP
        serves = keep and self._tracker.readiness.serves
        self._tracker.note_failed_look(error, serves=serves)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._pending = None
