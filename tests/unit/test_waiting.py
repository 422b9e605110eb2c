"""Waiting for another process: how long, told once, never beyond the deadline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from automigrate import waiting
from automigrate.database.session import SessionLostError
from automigrate.deadline import Control, Deadline
from automigrate.errors import ScriptError, StoppedError
from automigrate.events import Event, LockWaited, Phase, PhaseEntered
from automigrate.options import Options
from automigrate.verdict import Holder
from automigrate.waiting import Waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.database.advisory_lock import AdvisoryLock


class Clock:
    """A clock that moves only when somebody waits."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class FakeLock:
    """The port that waiting uses, without a database."""

    def __init__(self, clock: Clock, *holders: Holder | None, sessions: int = 1) -> None:
        self.clock = clock
        self.holders = list(holders)
        self.sessions = sessions
        self.waiters = 0
        self.crowded = False
        self.seen: Holder | None = None
        self.waits: list[float] = []
        self.ours: Holder | None = None

    def is_ours(self, holder: Holder) -> bool:
        """Whether the holder waits for us."""
        return holder is self.ours

    def holder(self) -> Holder | None:
        """Return the next holder."""
        found = self.holders.pop(0) if len(self.holders) > 1 else self.holders[0]
        self.waiters = self.sessions if found is not None else self.waiters
        return found

    def wait(self, seconds: float, *, until: Callable[[], bool]) -> bool:
        """Let the time pass."""
        assert until() in {True, False}
        self.waits.append(seconds)
        self.clock.now += seconds
        return False


FIRST, SECOND = Holder(pid=1, application_name="first"), Holder(pid=2)


def make(
    clock: Clock, timeout: float = 1000.0, **options: Any
) -> tuple[Waiting, list[Event], Control]:
    """Make the object under test with what it tells."""
    events: list[Event] = []
    control = Control()
    made = Waiting(
        Options(**options), control=control, deadline=Deadline(timeout, clock), emit=events.append
    )
    return made, events, control


def once(under_test: Waiting, lock: FakeLock) -> None:
    """Wait once."""
    under_test.once(cast("AdvisoryLock", lock))


def test_the_holder_is_told_once() -> None:
    """The phase and the holder are told at the first wait only."""
    clock = Clock()
    lock = FakeLock(clock, FIRST)
    under_test, events, _ = make(clock)
    for _ in range(3):
        once(under_test, lock)
    assert events == [
        PhaseEntered(phase=Phase.WAITING_FOR_LOCK),
        LockWaited(holder=FIRST, waited_seconds=0.0),
    ]
    assert under_test.holder == FIRST
    assert under_test.seconds == pytest.approx(clock.now)


def test_another_holder_is_told_again() -> None:
    """Somebody who took over is somebody new; nobody is nobody."""
    clock = Clock()
    lock = FakeLock(clock, FIRST, FIRST, None, SECOND)
    under_test, events, _ = make(clock)
    for _ in range(4):
        under_test.look_at_holder(cast("AdvisoryLock", lock))
    assert [event.holder for event in events if isinstance(event, LockWaited)] == [FIRST, SECOND]


def test_the_holder_is_asked_for_until_it_is_known() -> None:
    """A lock that is free for a moment has no holder; the next look may find one."""
    clock = Clock()
    lock = FakeLock(clock, None, SECOND)
    under_test, events, _ = make(clock)
    once(under_test, lock)
    once(under_test, lock)
    assert [event.holder for event in events if isinstance(event, LockWaited)] == [SECOND]


@pytest.mark.parametrize(
    ("sessions", "expected"), [(2, waiting.SHORTEST_POLL), (6, 3.0), (200, 5.0)]
)
def test_the_poll_is_longer_the_more_wait(sessions: int, expected: float) -> None:
    """With a hundred waiters somebody polls all the time anyway (H3)."""
    clock = Clock()
    lock = FakeLock(clock, FIRST, sessions=sessions)
    under_test, _, _ = make(clock, poll_interval=5.0)
    for _ in range(50):
        once(under_test, lock)
    assert 0.75 * expected <= min(lock.waits)
    assert max(lock.waits) <= 1.25 * expected


def test_no_wait_goes_beyond_the_deadline() -> None:
    """The last wait ends with the time."""
    clock = Clock()
    lock = FakeLock(clock, FIRST)
    under_test, _, _ = make(clock, timeout=0.5)
    once(under_test, lock)
    assert lock.waits == [0.5]
    assert under_test.seconds == 0.5


def test_a_stop_ends_the_wait() -> None:
    """Whoever is asked to stop says so after the wait."""
    clock = Clock()
    under_test, _, control = make(clock)
    control.stop()
    with pytest.raises(StoppedError):
        once(under_test, FakeLock(clock, FIRST))


def test_a_crowded_server_is_left_alone() -> None:
    """Where connections are scarce the waiter gives its own back."""
    clock = Clock()
    lock = FakeLock(clock, FIRST)
    lock.crowded = True
    under_test, _, _ = make(clock)
    with pytest.raises(SessionLostError, match="few are left"):
        once(under_test, lock)
    assert lock.waits == []


def test_nobody_waits_for_the_run_that_called_it() -> None:
    """A revision that calls automigrate would wait for ever: it is told so at once."""
    clock = Clock()
    lock = FakeLock(clock, FIRST)
    lock.ours = FIRST
    under_test, _, _ = make(clock)
    with pytest.raises(ScriptError, match="would wait for itself"):
        once(under_test, lock)
    assert lock.waits == []
