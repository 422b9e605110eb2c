"""The public face: `upgrade`, `upgrade_async` and `Migrator`."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, Unpack

from automigrate.database.source import source_of
from automigrate.deadline import Control
from automigrate.options import Mode, Options
from automigrate.run import Run
from automigrate.startup import bring_up, judge_once

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from automigrate.events import Event, Listener
    from automigrate.options import OptionsInput
    from automigrate.verdict import Status, UpgradeReport

__all__ = ["Migrator", "upgrade", "upgrade_async"]

T = TypeVar("T")


def upgrade(
    database: object,
    scripts: str | os.PathLike[str] | None = None,
    *,
    on_event: Listener | None = None,
    **options: Unpack[OptionsInput],
) -> UpgradeReport:
    """Bring the schema of a database to the revision that the scripts want, or say why not.

    Call it in the application's startup, before it serves. However many processes call it at the
    same time, each revision is applied once; the others wait until the schema is right. With
    nothing pending it costs one connection and one query, and takes no lock. Otherwise it holds an
    advisory lock while it applies, a transaction per revision, and waits at most `timeout` seconds
    for the server, for the lock and for table locks.

    Args:
        database: a URL in any common form, a SQLAlchemy `Engine` or `AsyncEngine`, or a function
            that returns a new psycopg connection. Nothing is taken from an engine's pool.
        scripts: the Alembic script directory, as a path or `package:directory`; found through
            `alembic.ini` or `[tool.alembic]` in `pyproject.toml` when left out.
        on_event: called with every event of `automigrate.events`, in the thread that migrates.
        **options: see `automigrate.Options`; durations are in seconds.

    Returns:
        What was found and done.

    Raises:
        ConfigurationError: the arguments cannot be used; nothing was tried.
        ScriptError: the scripts cannot be used.
        DatabaseUnavailableError: no usable connection within the deadline.
        LockTimeoutError: another process held the lock until the deadline.
        SchemaMismatchError: the database is not what this code can run on.
        InterruptedRevisionError: a revision stopped half-way and a person must look.
        UpgradeError: a revision failed.
    """
    return Migrator(database, scripts, on_event=on_event, **options).upgrade()


async def upgrade_async(
    database: object,
    scripts: str | os.PathLike[str] | None = None,
    *,
    on_event: Listener | None = None,
    **options: Unpack[OptionsInput],
) -> UpgradeReport:
    """Do what `upgrade` does without blocking the event loop: in a thread of its own.

    Cancelling it stops the run at the next revision boundary, and then raises `CancelledError`.

    Raises:
        AutomigrateError: as `upgrade`.
    """
    return await Migrator(database, scripts, on_event=on_event, **options).upgrade_async()


class Migrator:
    """A database and the scripts that it needs, for more than the one line.

    Thread-safe: `stop` and `abort` may be called from other threads and signal handlers while
    `upgrade` runs.

    Args:
        database: as for `upgrade`.
        scripts: as for `upgrade`.
        on_event: as for `upgrade`.
        **options: as for `upgrade`.

    Raises:
        ConfigurationError: every fault of the arguments at once, before any input or output.
    """

    def __init__(
        self,
        database: object,
        scripts: str | os.PathLike[str] | None = None,
        *,
        on_event: Listener | None = None,
        **options: Unpack[OptionsInput],
    ) -> None:
        self.options = Options.of(options)
        self.source = source_of(database)
        self.scripts = scripts
        self._control = Control()
        self._listeners: list[Listener] = [_log, *([] if on_event is None else [on_event])]

    def __repr__(self) -> str:
        """Name the database without its password."""
        return f"Migrator({self.source.url!r}, {self.scripts!r})"

    def add_listener(self, listener: Listener) -> None:
        """Have a function called with every event of later runs."""
        self._listeners.append(listener)

    def upgrade(self) -> UpgradeReport:
        """Do what the mode says: see `automigrate.upgrade`."""
        return bring_up(self._run(self.options))

    async def upgrade_async(self) -> UpgradeReport:
        """Do what `upgrade` does without blocking the event loop."""
        return await _in_thread(self.upgrade, self.stop)

    def wait(self) -> UpgradeReport:
        """Wait until the schema is right, and never change anything.

        Raises:
            PendingError: it was not right within `timeout` seconds.
            AutomigrateError: as `upgrade`.
        """
        return bring_up(self._run(replace(self.options, mode=Mode.WAIT)))

    def check(self) -> Status:
        """Judge once, wait for nothing and change nothing.

        Returns:
            The status, when the application may serve on this schema.

        Raises:
            SchemaMismatchError: it may not; the subclass is the verdict.
            InterruptedRevisionError: a revision stopped half-way.
            AutomigrateError: no connection, or unusable scripts.
        """
        from automigrate.errors import AutomigrateError
        from automigrate.plan import decide

        options = replace(self.options, mode=Mode.CHECK)
        status = judge_once(self._run(options))
        decision = decide(status, options)
        if isinstance(decision, AutomigrateError):
            raise decision
        return status

    def status(self) -> Status:
        """Judge once and return the verdict, whatever it is.

        Raises:
            AutomigrateError: no connection, or unusable scripts.
        """
        return judge_once(self._run(replace(self.options, mode=Mode.CHECK)))

    def stop(self) -> None:
        """Ask a running `upgrade` or `wait` to stop at the next revision boundary."""
        self._control.stop()

    def abort(self) -> None:
        """Ask a running `upgrade` to stop now; the revision at work is rolled back."""
        self._control.abort()

    def _run(self, options: Options) -> Run:
        return Run(
            source=self.source,
            scripts=self.scripts,
            options=options,
            control=self._control,
            listeners=list(self._listeners),
        )


def _log(event: Event) -> None:
    """Log an event, once anybody in the process has an interest in logging."""
    if "logging" in sys.modules:
        from automigrate.logs import log_event

        log_event(event)


async def _in_thread(action: Callable[[], T], stop: Callable[[], None]) -> T:
    """Run in a thread; when cancelled, ask for a stop and wait for it before giving way."""
    import asyncio

    task = asyncio.ensure_future(asyncio.to_thread(action))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        stop()
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:
                continue
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not complain about it
        raise
