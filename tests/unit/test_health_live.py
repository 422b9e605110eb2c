from __future__ import annotations

import threading
import time

import pytest

from automigrate.events import Phase, PhaseEntered, RunFinished
from automigrate.health.live import LiveCheck, OnFailedLook
from automigrate.health.readiness import ReadinessTracker
from tests.unit.health_support import BEHIND, REPORT, Clock, FakeMigrator, eventually


def ready(migrator: FakeMigrator, clock: Clock) -> ReadinessTracker:
    """Return a tracker whose run has just ended well."""
    tracker = ReadinessTracker(migrator, clock=clock)
    migrator.tell(PhaseEntered(phase=Phase.STARTING), RunFinished(report=REPORT))
    return tracker


def test_a_result_is_good_for_its_time_and_then_looked_up_again() -> None:
    """However many probes come, the database is asked once in `every` seconds."""
    migrator, clock = FakeMigrator(), Clock()
    live = LiveCheck(migrator.look, ready(migrator, clock), every=10.0, clock=clock)
    live.refresh()
    assert migrator.looks == 0, "the end of the run is a look itself"
    for _ in range(3):
        clock.now += 10.0
        for _ in range(5):
            live.refresh()
    assert migrator.looks == 3


def test_a_look_that_finds_the_schema_changed_takes_readiness_away() -> None:
    """A rollback under a running application is seen by the next look."""
    migrator, clock = FakeMigrator(BEHIND), Clock()
    tracker = ready(migrator, clock)
    clock.now += 10.0
    LiveCheck(migrator.look, tracker, clock=clock).refresh()
    assert not tracker.readiness.ready


@pytest.mark.parametrize(
    ("policy", "is_ready"), [(OnFailedLook.KEEP, True), (OnFailedLook.UNREADY, False)]
)
def test_a_database_that_cannot_be_looked_at_counts_as_told(
    policy: OnFailedLook, is_ready: bool
) -> None:
    """Keep readiness, or take it away, when the schema is unknown."""
    migrator, clock = FakeMigrator(), Clock()
    migrator.found = OSError("no route")
    tracker = ready(migrator, clock)
    clock.now += 10.0
    LiveCheck(migrator.look, tracker, on_failed_look=policy, clock=clock).refresh()
    assert tracker.readiness.ready is is_ready
    assert tracker.readiness.look_error == "OSError"


def test_a_slow_look_holds_nobody_up_and_counts_when_it_ends() -> None:
    """An answer waits for its own time-out only; the look's result comes later."""
    migrator, clock = FakeMigrator(BEHIND), Clock()
    tracker = ready(migrator, clock)
    clock.now += 10.0
    migrator.on_look = lambda: migrator.released.wait(10.0)
    live = LiveCheck(migrator.look, tracker, timeout=0.05, clock=clock)
    begun = time.monotonic()
    live.refresh()
    assert time.monotonic() - begun < 2.0
    assert tracker.readiness.ready
    assert tracker.readiness.look_error == "TimeoutError"
    assert not live.is_due
    migrator.released.set()
    assert eventually(lambda: not tracker.readiness.ready)


def test_callers_at_the_same_time_share_one_look() -> None:
    """Twenty probes at once cost one connection."""
    migrator, clock = FakeMigrator(), Clock()
    tracker = ready(migrator, clock)
    clock.now += 10.0
    migrator.on_look = lambda: migrator.released.wait(10.0)
    live = LiveCheck(migrator.look, tracker, timeout=5.0, clock=clock)
    callers = [threading.Thread(target=live.refresh) for _ in range(20)]
    for caller in callers:
        caller.start()
    assert eventually(lambda: migrator.looks)
    migrator.released.set()
    for caller in callers:
        caller.join()
    assert migrator.looks == 1
