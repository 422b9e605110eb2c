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
    from collections.abc import Callable, Sequence

    from automigrate.events import Event, Listener
    from automigrate.options import OptionsInput
    from automigrate.recovery.locks import LockState
    from automigrate.recovery.repair import Repair, Resolution
    from automigrate.verdict import (
        BackupReport,
        BaselineReport,
        DowngradeReport,
        RollbackPlan,
        Status,
        UpgradeReport,
    )

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
        status = judge_once(self._run(options, told=()))
        decision = decide(status, options)
        if isinstance(decision, AutomigrateError):
            raise decision
        return status

    def status(self) -> Status:
        """Judge once and return the verdict, whatever it is.

        Raises:
            AutomigrateError: no connection, or unusable scripts.
        """
        return judge_once(self._run(replace(self.options, mode=Mode.CHECK), told=()))

    def downgrade(
        self,
        target: str | None = None,
        *,
        allow_data_loss: bool = False,
        confirm: Callable[[RollbackPlan], bool] | None = None,
    ) -> DowngradeReport:
        """Undo revisions, under the same lock and with the same care as an upgrade.

        Each one in a transaction of its own. A plan that holds an irreversible revision is refused
        as a whole, before anything is undone. Revisions of a newer release, for which this code
        has no scripts, are undone by the SQL that the newer release kept in the journal.

        Args:
            target: the revision to stop at, or `-2`, or `base`, as for `alembic downgrade`; `None`:
                the heads of this code, which is the rollback of a newer release.
            allow_data_loss: whether data may be destroyed, see `RollbackPlan.losses`.
            confirm: called with the plan before the lock is taken; a false result refuses it.

        Raises:
            RollbackRefusedError: it cannot be done, would destroy data, or was not confirmed.
            AutomigrateError: as `upgrade`.
        """
        from automigrate.recovery.rollback import Request, roll_back

        request = Request(target=target, allow_data_loss=allow_data_loss, confirm=confirm)
        return roll_back(self._run(self.options), request)

    def downgrade_plan(self, target: str | None = None) -> RollbackPlan:
        """Say what `downgrade` would do and destroy; takes no lock and changes nothing.

        Raises:
            AutomigrateError: no connection, or unusable scripts or target.
        """
        from automigrate.recovery.rollback import plan_for

        return plan_for(self._run(self.options), target)

    def stamp(self, *revisions: str, force: bool = False) -> tuple[str, ...]:
        """Record revisions as the heads of the database, without running anything.

        Under the lock, in one transaction. Together they are all the heads there will be; `base`
        records that nothing is applied.

        Args:
            *revisions: targets as for an upgrade.
            force: also where the database is at revisions that no script defines.

        Returns:
            The heads, sorted.

        Raises:
            AutomigrateError: as `upgrade`.
        """
        from automigrate.recovery.adoption import stamp

        return stamp(self._run(self.options), revisions, force=force)

    def accept_modified(self, *revisions: str) -> tuple[str, ...]:
        """Take changed scripts of applied revisions for the ones that were applied.

        Args:
            *revisions: which ones; none: all that have changed.

        Returns:
            Those accepted, sorted.

        Raises:
            RecoveryError: one of them did not change, or is not applied.
            AutomigrateError: as `upgrade`.
        """
        from automigrate.recovery.adoption import accept_modified

        return accept_modified(self._run(self.options), revisions)

    def rebuild_journal(self) -> int:
        """Have the journal agree with the version table and the scripts.

        For a database that plain Alembic has migrated, or whose journal was lost.

        Returns:
            How many rows were written or changed.

        Raises:
            InterruptedRevisionError: a revision stopped half-way; settle it first.
            AutomigrateError: as `upgrade`.
        """
        from automigrate.recovery.adoption import rebuild_journal

        return rebuild_journal(self._run(self.options))

    def baseline(
        self, revision: str, scratch: object, *, accept_differences: bool = False
    ) -> BaselineReport:
        """Adopt an unmanaged database: compare it with a revision, and stamp it when equal.

        Args:
            revision: the target that the database is believed to be at.
            scratch: an empty database, as a URL, on a server of the same major version, with the
                extensions that the revisions need. The revisions are applied there.
            accept_differences: whether to stamp even so.

        Raises:
            ConfigurationError: the database has a version table already, or pg_dump is missing.
            AutomigrateError: as `upgrade`.
        """
        from automigrate.recovery.adoption import baseline

        return baseline(
            self._run(self.options),
            revision,
            source_of(scratch),
            bring_up,
            accept_differences=accept_differences,
        )

    def backup(
        self,
        directory: str | os.PathLike[str],
        *,
        jobs: int = 1,
        keep: int | None = None,
        tables: Sequence[str] = (),
        hook: str | None = None,
        programs: str | None = None,
    ) -> BackupReport:
        """Back the database up with pg_dump, verified by pg_restore; takes no lock.

        Args:
            directory: where it goes; made when missing.
            jobs: parallel dumps; more than one writes a directory instead of a file.
            keep: how many backups of this database stay there; `None`: all.
            tables: limit it to these; empty: everything.
            hook: a command whose success is required, before anything else.
            programs: directory of PostgreSQL's programs, where they are not found.

        Raises:
            BackupError: it could not be made; nothing is left that looks like one.
            AutomigrateError: no connection, or no pg_dump of the server's version.
        """
        from automigrate.recovery.backup import BackupOptions, back_up

        options = BackupOptions(
            directory=str(directory),
            jobs=jobs,
            keep=keep,
            tables=tuple(tables),
            hook=hook,
            programs=programs,
        )
        return back_up(self._run(self.options), options)

    def restore(
        self, path: str | os.PathLike[str], *, programs: str | None = None
    ) -> tuple[str, ...]:
        """Replace all that is in the database by what a backup holds, in one transaction.

        Of a backup of some tables the rows are replaced, where the schema is at its revision.
        Takes the lock of the upgrades. Returns the heads afterwards.

        Raises:
            BackupError: it failed, and nothing has changed.
            AutomigrateError: no connection, or no lock.
        """
        from automigrate.recovery.restore import restore

        return restore(self._run(self.options), str(path), programs=programs)

    def locks(self) -> LockState:
        """Say who holds the migration lock and what it waits for; changes nothing.

        Raises:
            AutomigrateError: no connection, or unusable scripts.
        """
        from automigrate.recovery.locks import lock_state

        return lock_state(self._run(self.options))

    def unlock(self, pid: int) -> bool:
        """End the session that holds the migration lock.

        Args:
            pid: the holder's backend pid, as `locks` named it; another session is never ended.

        Returns:
            Whether it still held the lock.

        Raises:
            PermissionDeniedError: the role may not end it.
            AutomigrateError: no connection, or unusable scripts.
        """
        from automigrate.recovery.locks import unlock

        return unlock(self._run(self.options), pid)

    def repair(
        self,
        revision: str,
        *,
        resolution: Resolution | None = None,
        drop_invalid_indexes: bool = False,
    ) -> Repair:
        """Settle a revision that was interrupted between its commits, under the lock.

        Args:
            revision: its identifier, in full.
            resolution: whether its work is complete (`applied`) or undone (`not applied`).
            drop_invalid_indexes: whether to drop the invalid indexes that it has left.

        Raises:
            RecoveryError: it was not interrupted; nothing was changed.
            AutomigrateError: as `upgrade`.
        """
        from automigrate.recovery.repair import repair

        return repair(
            self._run(self.options),
            revision,
            resolution=resolution,
            drop_invalid_indexes=drop_invalid_indexes,
        )

    def stop(self) -> None:
        """Ask a running `upgrade` or `wait` to stop at the next revision boundary."""
        self._control.stop()

    def abort(self) -> None:
        """Ask a running `upgrade` to stop now; the revision at work is rolled back."""
        self._control.abort()

    def _run(self, options: Options, *, told: Sequence[Listener] | None = None) -> Run:
        """Make a run; a mere judgement tells nobody, so that it is not taken for a startup."""
        return Run(
            source=self.source,
            scripts=self.scripts,
            options=options,
            control=self._control,
            listeners=list(self._listeners if told is None else told),
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
