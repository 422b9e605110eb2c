from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING

import pytest

from automigrate.errors import (
    AutomigrateError,
    ConfigurationError,
    DatabaseUnavailableError,
    LockTimeoutError,
    PermissionDeniedError,
    PoolerError,
    StoppedError,
)
from automigrate.events import Phase, PhaseEntered, RunFailed
from automigrate.health.endpoints import Endpoints
from automigrate.health.gate import Gate
from automigrate.health.readiness import readiness_of
from automigrate.verdict import Outcome, UpgradeReport, Verdict
from tests.unit.health_support import BEHIND, CURRENT, FakeMigrator, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

LOCKED = LockTimeoutError(holder=None, waited_seconds=1.0)


def failing(migrator: FakeMigrator, *errors: BaseException) -> Callable[[], None]:
    """Return what makes the runs fail with these errors, one each, and succeed afterwards."""
    left = list(errors)

    def fail() -> None:
        if left:
            error = left.pop(0)
            migrator.tell(RunFailed(error=error))
            raise error

    return fail


def test_the_gate_opens_when_the_run_has_ended_well() -> None:
    """Closed while it runs, open afterwards, and its callbacks are called once."""
    migrator = FakeMigrator()
    migrator.on_upgrade = lambda: migrator.released.wait(10.0)
    gate = Gate(migrator, look=migrator.look)
    opened = threading.Event()
    gate.when_open(opened.set)
    gate.start()
    assert not gate.wait(0.05)
    migrator.released.set()
    assert gate.wait(5.0)
    assert opened.wait(5.0)
    assert gate.is_open


def test_starting_twice_runs_once() -> None:
    """Every request may start the gate; one run comes of it."""
    migrator = FakeMigrator()
    gate = Gate(migrator, look=migrator.look)
    for _ in range(5):
        gate.start()
    assert gate.wait(5.0)
    gate.start()
    assert migrator.runs == 1


def test_a_callback_of_an_open_gate_is_called_at_once() -> None:
    """Whoever comes late does not wait for ever."""
    migrator = FakeMigrator()
    gate = Gate(migrator, look=migrator.look)
    gate.start()
    assert gate.wait(5.0)
    calls: list[int] = []
    gate.when_open(lambda: calls.append(1))
    assert calls == [1]


@pytest.mark.parametrize(
    "error", [LOCKED, DatabaseUnavailableError(reason="refused")], ids=["lock", "unavailable"]
)
def test_a_failure_that_may_pass_is_tried_again(error: AutomigrateError) -> None:
    """The gate goes on by itself when waiting can help."""
    migrator = FakeMigrator()
    migrator.on_upgrade = failing(migrator, error, error)
    gate = Gate(migrator, look=migrator.look, retry_seconds=0.01)
    gate.start()
    assert gate.wait(5.0)
    assert migrator.runs == 3


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("no such script directory."),
        PermissionDeniedError(reason="no such role"),
        PoolerError(reason="a pooler", remedy="Go around it."),
        ZeroDivisionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_that_lasts_gives_up_and_tells_so_once(error: BaseException) -> None:
    """After such a failure only a restart or another hand helps; the callback is told."""
    migrator = FakeMigrator(BEHIND)
    migrator.on_upgrade = failing(migrator, error)
    told: list[BaseException] = []
    gate = Gate(migrator, look=migrator.look, on_failure=told.append)
    gate.start()
    assert eventually(lambda: gate.given_up and told)
    assert told == [error]
    assert not gate.is_open
    gate.close()


def test_a_gate_that_gave_up_opens_when_another_process_puts_the_schema_right() -> None:
    """The database is looked at now and then, and a right schema opens the gate."""
    migrator = FakeMigrator(BEHIND)
    migrator.on_upgrade = failing(migrator, ZeroDivisionError())
    gate = Gate(migrator, look=migrator.look, retry_seconds_max=0.01)
    gate.start()
    assert eventually(lambda: migrator.looks >= 2)
    assert not gate.is_open
    migrator.found = CURRENT
    assert gate.wait(5.0)
    assert not gate.given_up


def test_closing_stops_the_run_at_a_revision_boundary() -> None:
    """The run is asked to stop, and not aborted when it does."""
    migrator = FakeMigrator()

    def run() -> None:
        migrator.released.wait(10.0)
        raise StoppedError

    migrator.on_upgrade = run
    gate = Gate(migrator, look=migrator.look)
    gate.start()
    assert eventually(lambda: migrator.runs)
    gate.close()
    assert (migrator.stopped, migrator.aborted) == (True, False)
    assert readiness_of(migrator).readiness.phase is Phase.STOPPING


def test_closing_aborts_a_run_that_does_not_stop_in_its_grace_time() -> None:
    """A revision that takes too long is rolled back rather than cut off by SIGKILL."""
    migrator = FakeMigrator()
    aborted = threading.Event()
    migrator.on_upgrade = lambda: aborted.wait(10.0)
    migrator.stop = lambda: None  # type: ignore[method-assign]  # a run that is deep in a statement
    migrator.abort = aborted.set  # type: ignore[method-assign]
    gate = Gate(migrator, look=migrator.look, grace_seconds=0.05)
    gate.start()
    assert eventually(lambda: migrator.runs)
    gate.close()
    assert aborted.is_set()


def test_mode_off_opens_the_gate_and_looks_at_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """An application that is told to leave the database alone is served, and ready."""
    migrator = FakeMigrator()
    skipped = UpgradeReport(outcome=Outcome.SKIPPED, verdict=Verdict.CURRENT, heads=())
    monkeypatch.setattr(migrator, "upgrade", lambda: skipped)
    gate = Gate(migrator, look=migrator.look)
    endpoints = Endpoints(migrator, gate=gate, look=migrator.look)
    gate.start()
    assert gate.wait(5.0)
    answer = endpoints.answer("readyz", query="verbose")
    assert answer.status.value == 200
    assert json.loads(answer.body)["verdict"] is None
    assert migrator.looks == 0


def in_child(check: Callable[[], bool]) -> bool:
    """Fork, and tell what `check` says in the child."""
    pid = os.fork()
    if pid == 0:
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_runs_its_own_gate() -> None:
    """The parent's thread does not exist in the child, which starts one of its own."""
    migrator = FakeMigrator()
    migrator.on_upgrade = lambda: migrator.released.wait(10.0)
    gate = Gate(migrator, look=migrator.look)
    gate.start()
    assert eventually(lambda: migrator.runs == 1)

    def check() -> bool:
        migrator.released.set()
        gate.start()
        return gate.wait(5.0) and migrator.runs == 2

    assert in_child(check)
    migrator.released.set()
    assert gate.wait(5.0)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_inherits_an_open_gate() -> None:
    """What the master has made right costs the workers no connection."""
    migrator = FakeMigrator()
    gate = Gate(migrator, look=migrator.look)
    gate.start()
    assert gate.wait(5.0)

    def check() -> bool:
        gate.start()
        return gate.is_open and migrator.runs == 1

    assert in_child(check)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_lock_that_is_held_during_a_fork_does_not_hang_the_child() -> None:
    """Events can be taken in a child that was forked in the middle of one."""
    migrator = FakeMigrator()
    tracker = readiness_of(migrator)
    with tracker._lock:
        pid = os.fork()
        if pid == 0:
            tracker.listen(PhaseEntered(phase=Phase.MIGRATING))
            os._exit(0 if tracker.readiness.phase is Phase.MIGRATING else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
