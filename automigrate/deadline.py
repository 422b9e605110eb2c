"""A point in time that a run must not wait beyond, and a way to wait that can be interrupted."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from automigrate.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Control", "Deadline", "jittered"]


@dataclass(slots=True)
class Deadline:
    """The end of everything that waits; moved on by progress, never by waiting.

    A run that applies revisions gets the full time again after each: a long history on a large
    database is not a fault, a lock that cannot be had is.
    """

    seconds: float
    clock: Callable[[], float] = time.monotonic
    _end: float = field(init=False)
    _start: float = field(init=False)

    def __post_init__(self) -> None:
        self._start = self.clock()
        self._end = self._start + self.seconds

    def renew(self) -> None:
        """Start the time anew, after progress."""
        self._end = self.clock() + self.seconds

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return self.clock() - self._start

    @property
    def remaining(self) -> float:
        """Seconds left, 0 at least."""
        return max(0.0, self._end - self.clock())

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining <= 0.0


class Control:
    """How another thread, or a signal handler, stops a run.

    `stop` asks for an end at the next revision boundary, `abort` also ends the running statement.
    A signal handler may call both: what interrupts the main thread must not wait for a lock that
    the main thread holds, as `threading.Event.set` would; `SimpleQueue.put` is made for it
    (library reference, `queue`).
    """

    def __init__(self) -> None:
        self._stopping = self._aborting = False
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._on_abort: Callable[[], None] | None = None

    def stop(self) -> None:
        """Ask the run to stop at the next revision boundary."""
        self._stopping = True
        self._wake.put(None)

    def abort(self) -> None:
        """Ask the run to stop now; the running statement is cancelled."""
        self._aborting = True
        self.stop()
        action = self._on_abort
        if action is not None:
            action()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping

    @property
    def aborting(self) -> bool:
        """Whether an immediate stop was asked for."""
        return self._aborting

    def when_aborted(self, action: Callable[[], None] | None) -> None:
        """Register what ends the running statement; `None` takes it back."""
        self._on_abort = action

    def sleep(self, seconds: float) -> None:
        """Wait, at most until a stop is asked for."""
        with suppress(Empty):
            self._wake.get(timeout=seconds)
            self._wake.put(None)  # for whoever else waits

    def raise_if_stopping(self, pending: tuple[str, ...] = ()) -> None:
        """Raise `StoppedError` when a stop was asked for."""
        if self.stopping:
            raise StoppedError(pending=pending)


def jittered(seconds: float) -> float:
    """Vary a wait by a quarter up and down, so that replicas do not move in step."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not cryptography
