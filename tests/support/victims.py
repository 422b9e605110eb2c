"""Processes that migrate, stop at a named point of the engine, and have something done to them.

They are forked from a server process that has imported everything, so that hundreds of them cost
little; that is also how an application server preloads an application.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import automigrate
from automigrate.cli.signals import stopped_by_signals
from automigrate.testing import faults

if TYPE_CHECKING:
    import signal
    from multiprocessing.connection import Connection
    from pathlib import Path

__all__ = ["LONG", "Ended", "Victim"]

LONG = 60.0
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.support.victims", "automigrate.application", "psycopg"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process came to its end."""

    code: int
    """The command line's exit code; negative: the signal that killed it."""
    outcome: str | None = None
    """`None` when it raised or was killed."""
    applied: tuple[str, ...] = ()
    error: str | None = None
    """Class of what it raised."""
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Orders:
    url: str
    scripts: str
    point: str | None
    revision: str | None
    audited: bool
    options: dict[str, Any] = field(default_factory=dict)


class Victim:
    """One process, with the signal handling of the command line.

    Attributes:
        backend: backend pid of its session, once it has reached its point.
    """

    def __init__(
        self,
        url: str,
        scripts: Path,
        *,
        point: faults.Point | None = None,
        revision: str | None = None,
        audited: bool = False,
        **options: Any,
    ) -> None:
        """Start it.

        Args:
            url: the database.
            scripts: the script directory.
            point: where it holds up, at the first passage.
            revision: only at this revision.
            audited: whether it writes into the table ``audit.events`` when it believes to hold
                the lock, by the server's clock.
            **options: as for `automigrate.upgrade`.
        """
        ours, theirs = _context.Pipe()
        orders = _Orders(
            url=url,
            scripts=str(scripts),
            point=None if point is None else point.value,
            revision=revision,
            audited=audited,
            options={"timeout": LONG / 2, "poll_interval": 1.0, **options},
        )
        self.backend = 0
        self._pipe = ours
        self._process = _context.Process(target=_run, args=(theirs, orders), daemon=True)
        self._process.start()
        theirs.close()
        self._ended: tuple[Any, ...] | None = None

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def reached(self) -> bool:
        """Wait until it holds up at its point; false: it came to its end without passing."""
        told = self._receive()
        if told is not None and told[0] == "reached":
            self.backend = told[1]
            return True
        self._ended = told
        return False

    def go(self) -> None:
        """Let it go on from its point, if it lives."""
        try:
            self._pipe.send("go")
        except OSError:
            return

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended by itself meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def finish(self) -> Ended:
        """Wait for its end."""
        told = self._ended or self._receive()
        self._process.join(LONG)
        code = self._process.exitcode
        assert code is not None, "it never ended"
        if told is None:
            return Ended(code=code)
        if told[0] == "error":
            return Ended(code=code, error=told[1], text=told[2])
        return Ended(code=code, outcome=told[1], applied=told[2])

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.is_alive():
            self._process.kill()
            self._process.join(LONG)
        self._pipe.close()

    def _receive(self) -> tuple[Any, ...] | None:
        try:
            if not self._pipe.poll(LONG):
                raise AssertionError("it hangs")
            told: tuple[Any, ...] = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            return None
        return told


def _audit(reached: faults.Reached) -> None:
    """Tell the server what this process believes about the lock."""
    if reached.point in {faults.Point.LOCK_TAKEN, faults.Point.VERIFIED}:
        reached.connection.execute(
            "insert into audit.events values (pg_backend_pid(), %s, clock_timestamp())",
            (reached.point.value,),
        )


def _run(pipe: Connection, orders: _Orders) -> None:
    """Migrate in the child process."""

    def hold(reached: faults.Reached) -> None:
        closed = reached.connection.closed
        pipe.send(("reached", 0 if closed else reached.connection.info.backend_pid))
        pipe.recv()

    migrator = automigrate.Migrator(orders.url, orders.scripts, **orders.options)
    with ExitStack() as stack:
        if orders.point is not None:
            point = faults.Point(orders.point)
            held = faults.once(point, hold, revision=orders.revision)
            whole = point is faults.Point.MESSAGE_SENT
            stack.enter_context(faults.injected(held, in_one_message=whole))
        if orders.audited:
            stack.enter_context(faults.injected(_audit, in_one_message=orders.point is None))
        stack.enter_context(stopped_by_signals(migrator, grace=LONG))
        try:
            report = migrator.upgrade()
        except automigrate.AutomigrateError as error:
            told: tuple[Any, ...] = ("error", type(error).__name__, str(error))
            code = error.exit_code
        else:
            told = ("done", report.outcome.value, tuple(item.revision for item in report.applied))
            code = 0
    pipe.send(told)
    pipe.close()
    os._exit(code)
