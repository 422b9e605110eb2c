from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, strategies as st

from automigrate.errors import LockTimeoutError, StoppedError, UpgradeError
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    LockWaited,
    Phase,
    PhaseEntered,
    ProgressSeen,
    RevisionRecovered,
    RevisionRetried,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.health.readiness import ReadinessTracker, readiness_of
from automigrate.verdict import Blocker, Holder, Outcome, Status, UpgradeReport, Verdict
from tests.unit.health_support import (
    BEHIND,
    CURRENT,
    REPORT,
    Clock,
    FakeMigrator,
    applied,
    started,
)

if TYPE_CHECKING:
    from automigrate.events import Event

FAILED = UpgradeError(
    applied=("a1",), failed="b2", pending=("b2",), rolled_back=True, reason="select secret"
)


def tracker_after(*events: Event, clock: Clock | None = None) -> ReadinessTracker:
    """Return a tracker that was fed these events."""
    tracker = ReadinessTracker(clock=clock or Clock())
    for event in events:
        tracker.listen(event)
    return tracker


def entered(phase: Phase) -> PhaseEntered:
    """Return the event of a phase's beginning."""
    return PhaseEntered(phase=phase)


def judged(*pending: str, verdict: Verdict = Verdict.BEHIND) -> SchemaJudged:
    """Return the event of a look that found these revisions pending."""
    return SchemaJudged(
        status=Status(verdict=verdict, current=("a1",), wanted=("z9",), pending=pending)
    )


def test_a_process_is_not_ready_before_anything_is_known() -> None:
    """A new tracker is starting, settled, and not ready."""
    readiness = tracker_after().readiness
    assert (readiness.phase, readiness.ready, readiness.settled) == (Phase.STARTING, False, True)


@pytest.mark.parametrize(
    "phase", [Phase.STARTING, Phase.CONNECTING, Phase.WAITING_FOR_LOCK, Phase.MIGRATING]
)
def test_a_run_under_way_is_neither_ready_nor_settled(phase: Phase) -> None:
    """In every phase of a run the process is not ready, and a live look is not wanted."""
    readiness = tracker_after(entered(phase)).readiness
    assert (readiness.phase, readiness.ready, readiness.settled) == (phase, False, False)


def test_a_finished_run_makes_the_process_ready() -> None:
    """The end of a run makes it ready, with the heads it ended at and all progress made."""
    tracker = tracker_after(
        entered(Phase.STARTING), judged("b2"), started("b2", 1, 1), RunFinished(report=REPORT)
    )
    readiness = tracker.readiness
    assert readiness.ready
    assert readiness.started
    assert readiness.verdict is Verdict.CURRENT
    assert readiness.current == readiness.wanted == ("b2",)
    assert (readiness.done, readiness.total, readiness.percent) == (1, 1, 100.0)
    assert readiness.outcome is Outcome.MIGRATED


def test_a_run_that_found_the_database_ahead_keeps_that_verdict() -> None:
    """Serving on a newer schema is ready, and the verdict still says ahead."""
    report = UpgradeReport(outcome=Outcome.UNCHANGED, verdict=Verdict.AHEAD, heads=("n9",))
    readiness = tracker_after(entered(Phase.STARTING), RunFinished(report=report)).readiness
    assert readiness.ready
    assert readiness.verdict is Verdict.AHEAD


def test_progress_counts_revisions_and_the_share_of_the_current_one() -> None:
    """Half of the second of four revisions is 37.5 percent."""
    tracker = tracker_after(
        entered(Phase.MIGRATING),
        judged("a", "b", "c", "d"),
        started("a", 1, 4),
        applied("a", 1, 4),
        started("b", 2, 4),
        ProgressSeen(revision="b", phase="building index", percent=50.0),
    )
    readiness = tracker.readiness
    assert (readiness.done, readiness.total, readiness.percent) == (1, 4, 37.5)
    assert (readiness.revision, readiness.step, readiness.step_percent) == (
        "b",
        "building index",
        50.0,
    )


def test_progress_never_falls_when_the_server_begins_another_phase() -> None:
    """An index build measures each phase from zero; the whole does not go back."""
    tracker = tracker_after(
        entered(Phase.MIGRATING),
        started("a", 1, 1),
        ProgressSeen(revision="a", phase="building index", percent=90.0),
        ProgressSeen(revision="a", phase="waiting for old snapshots", percent=5.0),
    )
    assert tracker.readiness.percent == 90.0
    assert tracker.readiness.step_percent == 5.0


def test_a_run_that_lost_its_connection_keeps_what_is_done() -> None:
    """A second plan of the same run counts from one; done and total count the whole run."""
    tracker = tracker_after(
        entered(Phase.MIGRATING),
        judged("a", "b", "c"),
        started("a", 1, 3),
        applied("a", 1, 3),
        entered(Phase.CONNECTING),
        judged("b", "c"),
        entered(Phase.MIGRATING),
        started("b", 1, 2),
        applied("b", 1, 2),
    )
    assert (tracker.readiness.done, tracker.readiness.total) == (2, 3)


def test_a_waiting_process_counts_what_the_holder_has_done() -> None:
    """Each look while waiting sees fewer pending revisions; that is the holder's progress."""
    tracker = tracker_after(
        entered(Phase.WAITING_FOR_LOCK), judged("a", "b", "c", "d"), judged("c", "d")
    )
    assert (tracker.readiness.done, tracker.readiness.total) == (2, 4)


def test_the_holder_is_told_only_while_waiting() -> None:
    """Whoever holds the lock is named until the lock is taken."""
    holder = Holder(pid=7, application_name="automigrate web-1")
    tracker = tracker_after(
        entered(Phase.WAITING_FOR_LOCK), LockWaited(holder=holder, waited_seconds=0.0)
    )
    assert tracker.readiness.holder == holder
    tracker.listen(LockTaken(waited_seconds=3.0))
    assert tracker.readiness.holder is None


def test_blockers_are_told_while_they_block() -> None:
    """Blocking sessions are named until the revision moves on."""
    blocker = Blocker(pid=9, application_name="report")
    tracker = tracker_after(
        entered(Phase.MIGRATING),
        started("a", 1, 1),
        BlockersSeen(revision="a", blockers=(blocker,), waited_seconds=1.0),
    )
    assert tracker.readiness.blockers == (blocker,)
    tracker.listen(applied("a", 1, 1))
    assert not tracker.readiness.blockers


def test_a_retried_revision_keeps_its_start_and_counts_attempts() -> None:
    """The elapsed time of a revision includes all its attempts."""
    clock = Clock()
    tracker = tracker_after(entered(Phase.MIGRATING), started("a", 1, 1), clock=clock)
    clock.now += 3.0
    tracker.listen(
        RevisionRetried(revision="a", reason="lock", sqlstate="55P03", attempt=1, wait_seconds=0.5)
    )
    tracker.listen(started("a", 1, 1, attempt=2))
    readiness = tracker.readiness
    assert (readiness.attempt, readiness.revision_seconds(clock.now)) == (2, 3.0)


def test_connection_attempts_are_counted_until_one_is_good() -> None:
    """Attempts in vain are told, and forgotten at the first look that succeeds."""
    tracker = tracker_after(
        entered(Phase.CONNECTING),
        ConnectionRetried(reason="password=hunter2", attempt=3, wait_seconds=1.0),
    )
    assert tracker.readiness.connection_attempts == 3
    tracker.listen(judged())
    assert tracker.readiness.connection_attempts == 0


def test_a_recovered_revision_changes_nothing_in_readiness() -> None:
    """Recovery is a part of the run and has no state of its own."""
    tracker = tracker_after(entered(Phase.MIGRATING))
    before = tracker.readiness
    tracker.listen(RevisionRecovered(revision="a", action="dropped an invalid index"))
    assert tracker.readiness == before


def test_a_failed_run_keeps_only_the_class_of_its_error() -> None:
    """Class and revision are kept, never the text."""
    readiness = tracker_after(entered(Phase.MIGRATING), RunFailed(error=FAILED)).readiness
    assert (readiness.phase, readiness.error, readiness.failed_revision) == (
        Phase.FAILED,
        "UpgradeError",
        "b2",
    )
    assert "secret" not in repr(readiness)


def test_a_stopped_run_is_stopping_and_not_failed() -> None:
    """A run that stopped as asked did not fail."""
    readiness = tracker_after(entered(Phase.MIGRATING), RunFailed(error=StoppedError())).readiness
    assert readiness.phase is Phase.STOPPING
    assert not readiness.ready


def test_elapsed_time_stands_still_after_the_run() -> None:
    """The run's time grows while it runs and not afterwards."""
    clock = Clock()
    tracker = tracker_after(entered(Phase.STARTING), clock=clock)
    clock.now += 4.0
    assert tracker.readiness.elapsed_seconds(clock.now) == 4.0
    tracker.listen(RunFinished(report=REPORT))
    clock.now += 60.0
    assert tracker.readiness.elapsed_seconds(clock.now) == 4.0


def test_a_new_run_begins_from_nothing_but_remembers_that_it_was_ready_once() -> None:
    """A second run resets progress and error, not the fact of having started."""
    tracker = tracker_after(
        entered(Phase.STARTING),
        judged("a"),
        RunFinished(report=REPORT),
        entered(Phase.STARTING),
    )
    readiness = tracker.readiness
    assert (readiness.done, readiness.total, readiness.percent) == (0, 0, None)
    assert readiness.started
    assert not readiness.ready


def test_stopping_after_ready_takes_readiness_away() -> None:
    """A process that is asked to end gets no more requests."""
    tracker = tracker_after(
        entered(Phase.STARTING), RunFinished(report=REPORT), entered(Phase.STOPPING)
    )
    assert tracker.readiness.phase is Phase.STOPPING
    assert not tracker.readiness.ready


def test_a_look_that_finds_another_schema_takes_readiness_away_and_gives_it_back() -> None:
    """Readiness follows a downgrade by another process, and the way back."""
    tracker = tracker_after(entered(Phase.STARTING), RunFinished(report=REPORT))
    tracker.observe(BEHIND)
    assert not tracker.readiness.ready
    assert tracker.readiness.verdict is Verdict.BEHIND
    tracker.observe(CURRENT)
    assert tracker.readiness.ready


def test_a_look_makes_a_process_ready_that_never_ran() -> None:
    """An application whose schema was migrated by a Job is ready by the look alone."""
    tracker = tracker_after()
    tracker.observe(CURRENT)
    assert tracker.readiness.ready
    assert tracker.readiness.started


def test_a_look_makes_a_failed_process_ready_when_another_one_put_it_right() -> None:
    """A right schema ends the failure, and its error is forgotten."""
    tracker = tracker_after(
        entered(Phase.STARTING),
        RunFailed(error=LockTimeoutError(holder=None, waited_seconds=1.0)),
    )
    tracker.observe(BEHIND)
    assert tracker.readiness.phase is Phase.FAILED
    tracker.observe(CURRENT)
    assert tracker.readiness.ready
    assert tracker.readiness.error == ""


def test_a_look_says_nothing_while_a_run_is_under_way() -> None:
    """Events of the run are newer than any look, and win."""
    tracker = tracker_after(entered(Phase.MIGRATING))
    before = tracker.readiness
    tracker.observe(CURRENT)
    tracker.note_failed_look(OSError(), serves=False)
    assert tracker.readiness == before


def test_a_failed_look_is_told_by_the_class_of_its_error() -> None:
    """What is known of a failed look is the class of its error."""
    tracker = tracker_after(entered(Phase.STARTING), RunFinished(report=REPORT))
    tracker.note_failed_look(OSError("password=hunter2"), serves=True)
    assert tracker.readiness.ready
    assert tracker.readiness.look_error == "OSError"


def test_one_migrator_has_one_tracker() -> None:
    """Endpoints, gate and metrics of a migrator share a tracker, which listens to it."""
    migrator = FakeMigrator()
    tracker = readiness_of(migrator)
    assert readiness_of(migrator) is tracker
    assert len(migrator.listeners) == 1
    migrator.tell(entered(Phase.MIGRATING))
    assert tracker.readiness.phase is Phase.MIGRATING


def test_readers_see_whole_values_while_events_arrive() -> None:
    """Done never exceeds total in any value that another thread reads."""
    tracker = tracker_after(entered(Phase.MIGRATING))
    faults: list[str] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            readiness = tracker.readiness
            if readiness.done > readiness.total:
                faults.append(repr(readiness))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for position in range(1, 301):
        tracker.listen(started(str(position), position, 300))
        tracker.listen(applied(str(position), position, 300))
    over.set()
    for reader in readers:
        reader.join()
    assert faults == []
    assert tracker.readiness.done == 300


EVENTS = st.one_of(
    st.sampled_from(Phase).map(entered),
    st.lists(st.sampled_from("abcdef"), max_size=6, unique=True).map(lambda p: judged(*p)),
    st.integers(1, 6).map(lambda n: started("abcdef"[n - 1], n, 6)),
    st.integers(1, 6).map(lambda n: applied("abcdef"[n - 1], n, 6)),
    st.floats(0, 100).map(lambda p: ProgressSeen(revision="a", phase="x", percent=p)),
    st.just(RunFinished(report=REPORT)),
    st.just(RunFailed(error=FAILED)),
    st.just(LockTaken(waited_seconds=0.0)),
)


@given(st.lists(EVENTS, max_size=30))
def test_no_order_of_events_breaks_the_value(events: list[Event]) -> None:
    """Whatever arrives: done within total, percent within 0 and 100, ready only when READY."""
    tracker = tracker_after()
    for event in events:
        before = tracker.readiness
        tracker.listen(event)
        readiness = tracker.readiness
        assert 0 <= readiness.done <= readiness.total
        assert readiness.percent is None or 0.0 <= readiness.percent <= 100.0
        assert not readiness.ready or readiness.phase is Phase.READY
        if readiness.run_since == before.run_since and not isinstance(event, PhaseEntered):
            assert (readiness.percent or 0.0) >= (before.percent or 0.0)
