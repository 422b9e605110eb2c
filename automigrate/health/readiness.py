"""Whether this process may serve, and how far its migration is: one value, kept by events.

    events of the run ──► advanced() ──┐
                                       ├──► ReadinessTracker.readiness ──► endpoints, page, metrics
    live look ──────────► observed() ──┘

`Readiness` is a frozen value and both functions are pure. The tracker holds the newest value and
replaces it whole, so reading it takes no lock and never touches the database.
"""

from __future__ import annotations

import threading
import time
import weakref
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, assert_never

from automigrate.errors import StoppedError
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    LockWaited,
    Phase,
    PhaseEntered,
    ProgressSeen,
    RevisionApplied,
    RevisionRecovered,
    RevisionRetried,
    RevisionStarted,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.health.forking import after_fork
from automigrate.verdict import Blocker, Holder, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.events import Event, Listener
    from automigrate.health.looking import Seen
    from automigrate.verdict import Status, UpgradeReport

__all__ = ["Readiness", "ReadinessTracker", "Source", "advanced", "observed", "readiness_of"]


class Source(Protocol):
    """Where events come from: the part of `Migrator` that the tracker needs."""

    def add_listener(self, listener: Listener) -> None:
        """Have every event of every run handed to `listener`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Where a process stands with its schema, at one moment.

    Times are points on the monotonic clock; `elapsed_seconds` and `revision_seconds` turn them
    into lengths.
    """

    phase: Phase = Phase.STARTING
    begun: bool = False
    """Whether a run of this process was seen at all."""
    serves: bool = False
    """Whether the schema was right at the last look."""
    started: bool = False
    """Whether the schema has been right at least once in this process."""
    run_since: float = 0.0
    """Start of the run, or of the tracker before the first run."""
    run_ended: float | None = None
    verdict: Verdict | None = None
    current: tuple[str, ...] = ()
    """Heads in the database."""
    wanted: tuple[str, ...] = ()
    """Heads that the code needs."""
    done: int = 0
    """Revisions applied in this run, or by the process that this one waits for."""
    total: int = 0
    percent: float | None = None
    """0 to 100 over all revisions; never falls within a run; `None`: nothing to measure yet."""
    revision: str = ""
    """The revision that runs at this moment."""
    message: str = ""
    revision_since: float | None = None
    attempt: int = 0
    """Attempt of that revision, from 1."""
    step: str = ""
    """What the server says an index build is doing."""
    step_percent: float | None = None
    holder: Holder | None = None
    """Who holds the migration lock while this process waits for it."""
    blockers: tuple[Blocker, ...] = ()
    """Sessions that the running revision waits for."""
    connection_attempts: int = 0
    """Connections tried in vain since the last good one."""
    outcome: Outcome | None = None
    """How the last run ended well."""
    error: str = ""
    """Class of the error that ended the run; its text may quote SQL and is never kept."""
    failed_revision: str = ""
    looked_at: float | None = None
    """Time of the last live look at the database."""
    look_error: str = ""
    """Class of the error of the last live look; empty when it succeeded."""

    @property
    def ready(self) -> bool:
        """Whether the application may be sent requests."""
        return self.phase is Phase.READY and self.serves

    @property
    def settled(self) -> bool:
        """Whether no run is under way, so that a live look tells something new."""
        return self.phase in {Phase.READY, Phase.FAILED} or (
            self.phase is Phase.STARTING and not self.begun
        )

    def elapsed_seconds(self, now: float) -> float:
        """Tell how long the run has taken so far, or took."""
        end = now if self.run_ended is None else self.run_ended
        return max(0.0, end - self.run_since)

    def revision_seconds(self, now: float) -> float:
        """Tell how long the current revision has been running, all attempts included."""
        return 0.0 if self.revision_since is None else max(0.0, now - self.revision_since)


def advanced(  # noqa: C901, PLR0912 -- one table, an arm for each event
    readiness: Readiness, event: Event, now: float
) -> Readiness:
    """Fold one event of a run into the readiness before it."""
    match event:
        case PhaseEntered(phase=phase):
            return _entered(readiness, phase, now)
        case SchemaJudged(status=status):
            return _judged(readiness, status)
        case ConnectionRetried(attempt=attempt):
            return replace(readiness, connection_attempts=attempt)
        case LockWaited(holder=holder):
            return replace(readiness, holder=holder, connection_attempts=0)
        case LockTaken():
            return replace(readiness, holder=None, connection_attempts=0)
        case RevisionStarted():
            return _started(readiness, event, now)
        case RevisionRetried(blockers=blockers, attempt=attempt):
            return replace(
                readiness, blockers=blockers, attempt=attempt, step="", step_percent=None
            )
        case BlockersSeen(blockers=blockers):
            return replace(readiness, blockers=blockers)
        case ProgressSeen(phase=step, percent=percent):
            return _measured(replace(readiness, step=step, step_percent=percent, blockers=()))
        case RevisionApplied():
            return _applied(readiness, event)
        case RevisionRecovered():
            return readiness
        case RunFinished(report=report):
            return _finished(readiness, report, now)
        case RunFailed(error=error):
            return _failed(readiness, error, now)
        case _:
            assert_never(event)


def observed(readiness: Readiness, seen: Seen, now: float) -> Readiness:
    """Fold a live look at the database into the readiness.

    Does nothing while a run is under way, whose events are newer than any look. A right schema
    makes a process ready that never ran, or whose run failed and was made good by another one.
    """
    if not readiness.settled:
        return readiness
    after = replace(
        readiness,
        verdict=seen.verdict,
        current=readiness.current if seen.current is None else seen.current,
        wanted=readiness.wanted if seen.wanted is None else seen.wanted,
        serves=seen.serves,
        looked_at=now,
        look_error="",
    )
    if not seen.serves or readiness.phase is Phase.READY:
        return after
    return replace(
        _at_rest(after, Phase.READY, now),
        started=True,
        percent=100.0,
        error="",
        failed_revision="",
    )


def _entered(readiness: Readiness, phase: Phase, now: float) -> Readiness:
    if phase in {Phase.READY, Phase.FAILED}:
        # RunFinished and RunFailed decide; they carry what makes the end good or bad.
        return readiness
    over = readiness.run_ended is not None
    if phase is Phase.STARTING or not readiness.begun or (over and phase is not Phase.STOPPING):
        readiness = _new_run(readiness, now)
    holder = readiness.holder if phase is Phase.WAITING_FOR_LOCK else None
    return replace(readiness, phase=phase, begun=True, holder=holder)


def _new_run(readiness: Readiness, now: float) -> Readiness:
    return Readiness(
        begun=True,
        started=readiness.started,
        run_since=now,
        verdict=readiness.verdict,
        current=readiness.current,
        wanted=readiness.wanted,
    )


def _judged(readiness: Readiness, status: Status) -> Readiness:
    pending = len(status.pending)
    total = max(readiness.total, readiness.done + pending)
    return _measured(
        replace(
            readiness,
            verdict=status.verdict,
            current=status.current,
            wanted=status.wanted,
            total=total,
            # A waiting process sees here what the holder of the lock has done meanwhile.
            done=max(readiness.done, total - pending),
            connection_attempts=0,
        )
    )


def _started(readiness: Readiness, event: RevisionStarted, now: float) -> Readiness:
    # A run that lost its connection plans anew and counts from 1 again; what is done stays done.
    done = max(readiness.done, event.position - 1)
    again = readiness.revision == event.revision
    return _measured(
        replace(
            readiness,
            revision=event.revision,
            message=event.message,
            revision_since=readiness.revision_since if again else now,
            attempt=event.attempt,
            done=done,
            total=done + event.total - event.position + 1,
            blockers=(),
            step="",
            step_percent=None,
        )
    )


def _applied(readiness: Readiness, event: RevisionApplied) -> Readiness:
    done = readiness.done + 1 if readiness.revision == event.revision else event.position
    total = max(readiness.total, done)
    return _measured(replace(_without_revision(readiness), done=done, total=total))


def _finished(readiness: Readiness, report: UpgradeReport, now: float) -> Readiness:
    # The report's verdict is that of the first look; what was pending then is applied now.
    changed = report.outcome in {Outcome.MIGRATED, Outcome.WAITED}
    looked = report.outcome is not Outcome.SKIPPED
    verdict = Verdict.CURRENT if changed else report.verdict if looked else None
    heads = report.heads or readiness.current
    return replace(
        _at_rest(readiness, Phase.READY, now),
        serves=True,
        started=True,
        outcome=report.outcome,
        verdict=verdict,
        current=heads,
        wanted=heads if verdict is Verdict.CURRENT else readiness.wanted,
        done=readiness.total,
        percent=100.0,
    )


def _failed(readiness: Readiness, error: BaseException, now: float) -> Readiness:
    phase = Phase.STOPPING if isinstance(error, StoppedError) else Phase.FAILED
    return replace(
        _at_rest(readiness, phase, now),
        serves=False,
        error=type(error).__name__,
        failed_revision=str(getattr(error, "failed", "") or readiness.revision),
    )


def _measured(readiness: Readiness) -> Readiness:
    if not readiness.total:
        return readiness
    share = (readiness.step_percent or 0.0) / 100.0
    percent = min(100.0, 100.0 * (readiness.done + share) / readiness.total)
    return replace(readiness, percent=max(percent, readiness.percent or 0.0))


def _without_revision(readiness: Readiness) -> Readiness:
    return replace(
        readiness,
        revision="",
        message="",
        revision_since=None,
        attempt=0,
        blockers=(),
        step="",
        step_percent=None,
    )


def _at_rest(readiness: Readiness, phase: Phase, now: float) -> Readiness:
    return replace(
        _without_revision(readiness),
        phase=phase,
        holder=None,
        connection_attempts=0,
        run_ended=now,
    )


class ReadinessTracker:
    """Keeps the newest `Readiness` of one process.

    Any thread may read `readiness`; events and looks may come from different threads. Use
    `readiness_of` to share one tracker between endpoints, metrics and gate.

    Args:
        source: where events come from; `None` for a tracker that is fed by hand.
        clock: monotonic clock.
    """

    def __init__(
        self, source: Source | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._renew_lock()
        after_fork(self._renew_lock)
        self._readiness = Readiness(run_since=clock())
        if source is not None:
            source.add_listener(self.listen)

    @property
    def readiness(self) -> Readiness:
        """The newest value; takes no lock and does not touch the database."""
        return self._readiness

    def now(self) -> float:
        """Read the clock that the times of the readiness are on."""
        return self._clock()

    def listen(self, event: Event) -> None:
        """Take an event of a run."""
        with self._lock:
            self._readiness = advanced(self._readiness, event, self._clock())

    def observe(self, seen: Seen) -> None:
        """Take the result of a live look at the database."""
        with self._lock:
            self._readiness = observed(self._readiness, seen, self._clock())

    def note_failed_look(self, error: BaseException, *, serves: bool) -> None:
        """Take note that a live look failed: the schema is as before, as far as is known."""
        with self._lock:
            if not self._readiness.settled:
                return
            self._readiness = replace(
                self._readiness,
                look_error=type(error).__name__,
                looked_at=self._clock(),
                serves=serves,
            )

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


_TRACKERS: weakref.WeakKeyDictionary[Source, ReadinessTracker] = weakref.WeakKeyDictionary()
_TRACKERS_LOCK = threading.Lock()


def readiness_of(source: Source) -> ReadinessTracker:
    """Return the tracker of a migrator, attaching one at the first call.

    Attach it before the run: events that were told earlier are not told again.
    """
    with _TRACKERS_LOCK:
        tracker = _TRACKERS.get(source)
        if tracker is None:
            tracker = _TRACKERS[source] = ReadinessTracker(source)
        return tracker
