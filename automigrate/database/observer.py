"""See from a second connection what the running revision waits for and how far it has come.

The connection is opened only when a revision takes longer than a fifth of a second, and everything
here is best effort: without it a run works the same, it only cannot say who is in the way. It also
ends what the main session cannot end itself: a statement that waits for a lock beyond the deadline,
a revision beyond its `step_timeout`, a run that is aborted.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self

from automigrate.events import BlockersSeen, ProgressSeen, RevisionRecovered
from automigrate.verdict import Blocker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from automigrate.deadline import Control, Deadline
    from automigrate.events import Listener
    from automigrate.options import Options

__all__ = ["Observer", "blockers_of"]

FIRST_LOOK = 0.2
INTERVAL = 0.5
TOLD_AGAIN = 10.0
"""Seconds after which the same blockers are news again; then after twice as long, and so on."""

BLOCKERS = """\
select a.pid, coalesce(a.application_name, ''), coalesce(a.usename, ''), coalesce(a.state, ''),
  coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8,
  left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 120),
  coalesce(extract(epoch from clock_timestamp() - a.state_change), 0)::float8,
  a.usename = session_user and a.state like 'idle in transaction%%'
from unnest(pg_blocking_pids(%(pid)s)) as b(pid)
join pg_stat_activity a on a.pid = b.pid"""

PROGRESS = """\
select phase, case when blocks_total > 0 then 100.0 * blocks_done / blocks_total
  when tuples_total > 0 then 100.0 * tuples_done / tuples_total end::float8
from pg_stat_progress_create_index where pid = %(pid)s"""

# Behind a pooler the backend may be lent to somebody else by now.
CANCEL = """\
select pg_cancel_backend(pid) from pg_stat_activity
where pid = %(pid)s and application_name like 'automigrate%%'"""
TERMINATE = "select pg_terminate_backend(%(pid)s)"


def blockers_of(connection: psycopg.Connection[Any], pid: int) -> tuple[Blocker, ...]:
    """Name the sessions that a backend waits for; any role may ask, and sees more of its own."""
    return tuple(map(_blocker, connection.execute(BLOCKERS, {"pid": pid}).fetchall()))


def _blocker(row: tuple[Any, ...]) -> Blocker:
    pid, application_name, user, state, age, query, *_ = row
    return Blocker(
        pid=pid,
        application_name=application_name,
        user=user,
        state=state,
        age_seconds=age,
        query=query,
    )


class Observer:
    """Watches one backend while its revisions run; use as a context manager."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        pid: int,
        *,
        options: Options,
        control: Control,
        deadline: Deadline,
        emit: Listener,
    ) -> None:
        self._connect = connect
        self.pid = pid
        """The backend that is watched."""
        self._options = options
        self._control = control
        self._deadline = deadline
        self._emit = emit
        self._connection: psycopg.Connection[Any] | None = None
        self._thread: threading.Thread | None = None
        self._wake = threading.Condition()
        self._closed = False
        self._revision: str | None = None
        self._since = 0.0
        self._revision_since: dict[str, float] = {}
        self._blocked_since: float | None = None
        self._told: tuple[tuple[object, ...], float] = ((), 0.0)
        self.blockers: tuple[Blocker, ...] = ()
        """Who blocked the current attempt, as last seen."""
        self.out_of_time = False
        """Whether it ended the revision because its time was over."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(timeout=5.0)

    @contextmanager
    def watch(self, revision: str) -> Iterator[None]:
        """Watch one attempt of a revision."""
        self.blockers = ()
        self._blocked_since = None
        with self._wake:
            self._revision, self._since = revision, time.monotonic()
            self._revision_since.setdefault(revision, self._since)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="automigrate-observer", daemon=True
                )
                self._thread.start()
        try:
            yield
        finally:
            with self._wake:
                self._revision = None

    def _run(self) -> None:
        try:
            while self._wait_for_slow_revision():
                self._observe()
        finally:
            if self._connection is not None:
                self._connection.close()

    def _wait_for_slow_revision(self) -> bool:
        """Sleep until a revision has run long enough to be looked at; false: closed."""
        with self._wake:
            self._wake.wait(INTERVAL if self._slow else FIRST_LOOK)
            while not self._closed and not self._slow:
                self._wake.wait(FIRST_LOOK)
            return not self._closed

    @property
    def _slow(self) -> bool:
        return self._revision is not None and time.monotonic() - self._since >= FIRST_LOOK

    def _observe(self) -> None:
        revision = self._revision
        if revision is None:
            return
        try:
            if self._connection is None or self._connection.closed:
                self._connection = self._connect()
            blockers = self._look_at_blockers(revision)
            if revision != self._revision:
                return
            self._look_at_progress(revision)
            self._end_what_is_over(revision, blocked=bool(blockers))
        except Exception:  # noqa: BLE001 - best effort: watching must never fail the run
            with suppress(Exception):
                if self._connection is not None:
                    self._connection.close()
            self._connection = None

    def _look_at_blockers(self, revision: str) -> tuple[Blocker, ...]:
        assert self._connection is not None
        rows = self._connection.execute(BLOCKERS, {"pid": self.pid}).fetchall()
        if revision != self._revision:
            return ()
        blockers = tuple(map(_blocker, rows))
        if not blockers:
            self._blocked_since = None
            return ()
        self.blockers = blockers
        now = time.monotonic()
        if self._blocked_since is None:
            self._blocked_since = now
        self._tell_blockers(revision, blockers, now - self._blocked_since)
        limit = self._options.cancel_blockers
        for row in rows if limit is not None else ():
            if row[7] and row[6] > limit:
                self._connection.execute(TERMINATE, {"pid": row[0]})
                ended = f"ended session {row[0]}, idle in its transaction for {row[6]:.0f} s"
                self._emit(RevisionRecovered(revision=revision, action=ended))
        return blockers

    def _tell_blockers(self, revision: str, blockers: tuple[Blocker, ...], waited: float) -> None:
        pids: tuple[object, ...] = (revision, *sorted(blocker.pid for blocker in blockers))
        told, at = self._told
        repeated = pids == told and at <= waited < max(2 * at, TOLD_AGAIN)
        if not repeated:
            self._told = pids, waited
        self._emit(
            BlockersSeen(
                revision=revision, blockers=blockers, waited_seconds=waited, repeated=repeated
            )
        )

    def _look_at_progress(self, revision: str) -> None:
        assert self._connection is not None
        row = self._connection.execute(PROGRESS, {"pid": self.pid}).fetchone()
        if row is not None:
            self._emit(ProgressSeen(revision=revision, phase=row[0], percent=row[1]))

    def _end_what_is_over(self, revision: str, *, blocked: bool) -> None:
        assert self._connection is not None
        limit = self._options.step_timeout
        running = time.monotonic() - self._revision_since[revision]
        over = (blocked and self._deadline.passed) or (limit is not None and running > limit)
        if over and revision == self._revision:
            self.out_of_time = True
            self._connection.execute(CANCEL, {"pid": self.pid})
