"""A point in time that a run must not wait beyond, and a way to wait that can be interrupted."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
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
    Both only set events and call registered functions: no lock is taken, so that a signal handler
    may call them.
    """

    def __init__(self) -> None:
        self._stop = threading.Event()
        self._abort = threading.Event()
        self._on_abort: Callable[[], None] | None = None

    def stop(self) -> None:
        """Ask the run to stop at the next revision boundary."""
        self._stop.set()

    def abort(self) -> None:
        """Ask the run to stop now; the running statement is cancelled."""
        self._stop.set()
        self._abort.set()
        action = self._on_abort
        if action is not None:
            action()

    @property
    def stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stop.is_set()

    @property
    def aborting(self) -> bool:
        """Whether an immediate stop was asked for."""
        return self._abort.is_set()

    def when_aborted(self, action: Callable[[], None] | None) -> None:
        """Register what ends the running statement; `None` takes it back."""
        self._on_abort = action

    def sleep(self, seconds: float) -> None:
        """Wait, at most until a stop is asked for."""
        self._stop.wait(seconds)

    def raise_if_stopping(self, pending: tuple[str, ...] = ()) -> None:
        """Raise `StoppedError` when a stop was asked for."""
        if self.stopping:
            raise StoppedError(pending=pending)


def jittered(seconds: float) -> float:
    """Vary a wait by a quarter up and down, so that replicas do not move in step."""
    return seconds * random.uniform(0.75, 1.25)  # noqa: S311 - jitter, not cryptography
