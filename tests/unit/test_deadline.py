"""A point in time that is moved by progress only, and ways to stop a wait."""

from __future__ import annotations

import threading
import time

import pytest

from automigrate.deadline import Control, Deadline, jittered
from automigrate.errors import StoppedError


class Clock:
    """A clock that the test sets."""

    now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def test_a_deadline_passes() -> None:
    """What remains shrinks to zero and never below."""
    clock = Clock()
    deadline = Deadline(10.0, clock)
    assert (deadline.remaining, deadline.elapsed, deadline.passed) == (10.0, 0.0, False)
    clock.now += 4.0
    assert (deadline.remaining, deadline.elapsed, deadline.passed) == (6.0, 4.0, False)
    clock.now += 7.0
    assert (deadline.remaining, deadline.elapsed, deadline.passed) == (0.0, 11.0, True)


def test_progress_gives_the_full_time_again() -> None:
    """Renewing moves the end, not the beginning."""
    clock = Clock()
    deadline = Deadline(10.0, clock)
    clock.now += 9.0
    deadline.renew()
    assert (deadline.remaining, deadline.elapsed) == (10.0, 9.0)


def test_a_deadline_of_zero_has_passed() -> None:
    """No time at all is over at once."""
    assert Deadline(0.0, Clock()).passed


def test_jitter_stays_within_a_quarter() -> None:
    """Waits vary, and not much."""
    waits = [jittered(4.0) for _ in range(200)]
    assert min(waits) >= 3.0
    assert max(waits) <= 5.0
    assert len(set(waits)) > 100


def test_nothing_stops_without_being_asked() -> None:
    """A fresh control lets everything go on."""
    control = Control()
    control.raise_if_stopping(("a",))
    assert not control.stopping
    assert not control.aborting


def test_stop_ends_waits_and_names_what_is_pending() -> None:
    """A sleeper wakes, and the error says what is left."""
    control = Control()
    threading.Timer(0.05, control.stop).start()
    started = time.monotonic()
    control.sleep(30.0)
    control.sleep(30.0)  # also the next one
    assert time.monotonic() - started < 10.0
    assert control.stopping
    assert not control.aborting
    with pytest.raises(StoppedError) as raised:
        control.raise_if_stopping(("a", "b"))
    assert raised.value.pending == ("a", "b")


def test_a_sleep_ends_by_itself() -> None:
    """Without a stop the time is waited out."""
    started = time.monotonic()
    Control().sleep(0.02)
    assert time.monotonic() - started >= 0.015


def test_abort_ends_the_running_statement() -> None:
    """The registered action is called, until it is taken back."""
    control = Control()
    calls: list[str] = []
    control.when_aborted(lambda: calls.append("cancel"))
    control.abort()
    control.when_aborted(None)
    control.abort()
    assert calls == ["cancel"]
    assert control.stopping
    assert control.aborting
