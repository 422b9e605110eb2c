"""Wait for another process: subscribed to its notification, polling seldom, never in a lock.

A killed holder sends no notification, so the poll is the time until somebody takes over; it is
shorter the fewer wait, because with a hundred waiters somebody polls all the time (H3).
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from automigrate.database.session import SessionLostError
from automigrate.deadline import jittered
from automigrate.errors import ScriptError
from automigrate.events import LockWaited, Phase, PhaseEntered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.deadline import Control, Deadline
    from automigrate.events import Listener
    from automigrate.options import Options
    from automigrate.verdict import Holder

__all__ = ["NoRoomError", "Waiting"]

SHORTEST_POLL = 1.0
POLL_PER_WAITER = 0.5

NESTED = (
    "env.py or a revision calls automigrate, which is migrating this database for it already and "
    "would wait for itself. Let env.py import the models from a module that does not migrate."
)


class NoRoomError(SessionLostError):
    """Another process migrates, and the server has few connections left for it."""

    def __init__(self) -> None:
        super().__init__("another process migrates; waiting without a connection, for few are left")


class Waiting:
    """How long a run has waited for whom; lives across sessions."""

    def __init__(
        self, options: Options, *, control: Control, deadline: Deadline, emit: Listener
    ) -> None:
        self._options = options
        self._control = control
        self._deadline = deadline
        self._emit = emit
        self._told = False
        self.holder: Holder | None = None
        """The last holder of the lock that was seen."""
        self.seconds = 0.0
        """Time spent waiting."""

    def once(self, lock: AdvisoryLock) -> None:
        """Wait for one notification or poll interval; tells of each new holder.

        Raises:
            NoRoomError: the holder may need the connection more; wait without one.
            ScriptError: the holder waits for this very call to return.
            StoppedError: a stop was asked for.
        """
        if not self._told:
            self._told = True
            self._emit(PhaseEntered(phase=Phase.WAITING_FOR_LOCK))
        if lock.seen is not None:
            self._tell(lock.seen)
        elif lock.waiters == 0:
            self.look_at_holder(lock)
        if self.holder is not None and lock.is_ours(self.holder):
            raise ScriptError(NESTED)
        if lock.crowded:
            raise NoRoomError
        poll = min(self._options.poll_interval, max(SHORTEST_POLL, lock.waiters * POLL_PER_WAITER))
        before = self._deadline.remaining
        lock.wait(min(jittered(poll), before), until=lambda: self._control.stopping)
        self.seconds += before - self._deadline.remaining
        self._control.raise_if_stopping()

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Count a wait that happens without a connection."""
        before = self._deadline.remaining
        yield
        self.seconds += before - self._deadline.remaining

    def look_at_holder(self, lock: AdvisoryLock) -> Holder | None:
        """Ask the server who holds the lock, and tell when it is somebody new."""
        holder = lock.holder()
        if holder is not None:
            self._tell(holder)
        return holder

    def _tell(self, holder: Holder) -> None:
        new = self.holder is None or holder.pid != self.holder.pid
        self.holder = holder
        if new:
            self._emit(LockWaited(holder=holder, waited_seconds=self.seconds))
