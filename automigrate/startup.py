"""The startup sequence: look, judge, lock, look again, apply, verify, report.

Read `bring_up` first; it is the whole story. Two rules hold everywhere: the database is the only
state, so a lost connection simply begins again at the look; and every wait has a deadline, a jitter
and a name for what is waited for.

Nothing pending means: one connection, one query, no lock. The modules that import Alembic and
SQLAlchemy are imported when there is something to apply.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from automigrate.database.session import NoVersionTableError
from automigrate.errors import LockTimeoutError, PendingError, ScriptError
from automigrate.events import LockTaken, Phase, PhaseEntered, RunFailed, RunFinished
from automigrate.options import FailurePolicy, Mode
from automigrate.verdict import Outcome, Status, UpgradeReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection

    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.session import Look, Session, Tables
    from automigrate.run import Run

__all__ = ["bring_up", "judge_once"]


def bring_up(run: Run) -> UpgradeReport:
    """Bring the schema to what the code wants, or say why not.

    Takes the lock and opens transactions only when something is pending. Waits at most
    `options.timeout` seconds for any of server, lock and table locks.

    Raises:
        AutomigrateError: see the tree in `automigrate.errors`.
    """
    if run.options.mode is Mode.OFF:
        return _finished(run, _report(run, Outcome.SKIPPED, ()))
    run.trusts_lock_file = not run.compares_scripts
    try:
        heads = _glance(run) or run.until_settled(partial(_settle, run)).heads
    except NoVersionTableError:
        return _finished(run, _report(run, Outcome.UNCHANGED, ()))
    except BaseException as error:
        run.emit(PhaseEntered(phase=Phase.FAILED))
        run.emit(RunFailed(error=error))
        raise
    return _finished(run, _report(run, _outcome(run), heads))


def _finished(run: Run, report: UpgradeReport) -> UpgradeReport:
    run.emit(PhaseEntered(phase=Phase.READY))
    run.emit(RunFinished(report=report))
    return report


def judge_once(run: Run) -> Status:
    """Judge without waiting for anything but a connection; takes no lock and changes nothing.

    Raises:
        AutomigrateError: no connection, or unusable scripts; never for a verdict.
    """
    run.read_scripts()
    found: dict[Tables, Status] = {}

    def judge(session: Session, look: Look) -> Status:
        found[run.tables] = run.judge(session, look, thorough=True)
        return _worst(found.values())

    try:
        return run.until_settled(judge)
    except NoVersionTableError as error:
        wanted = tuple(sorted(run.wanted))
        return Status(verdict=Verdict.CURRENT, current=(), wanted=wanted, detail=str(error))
    except ScriptError:  # env.py stops where it lacks what is pending
        if not found or (worst := _worst(found.values())).verdict is Verdict.CURRENT:
            raise
        return worst


def _worst(found: Collection[Status]) -> Status:
    """The first that is not current, of several version tables."""
    *_, last = found
    return next((status for status in found if status.verdict is not Verdict.CURRENT), last)


def _glance(run: Run) -> tuple[str, ...] | None:
    """Return the heads if one quick query shows that they are the wanted ones, as nearly always.

    The scripts are read while the server makes the connection ready.
    """
    with run.connector.glance() as shows:
        run.read_scripts()
        known = (
            run.version_tables.known and not run.compares_scripts and shows(run.tables, run.wanted)
        )
        return run.wanted if known else None


def _settle(run: Run, session: Session, look: Look) -> Look:
    """Do what the mode allows to make the schema right; returns the last look."""
    if run.is_right(look) and not run.compares_scripts:
        _claim_in_doubt(run, session, look)
        return look
    behind_pooler = look.backend_pid != session.pid
    if _worth_judging(run, look):
        told = run.options.mode is not Mode.UPGRADE
        status = run.judge(session, look, thorough=run.compares_scripts, holder=told)
        if not run.must_act(status):
            return _tidied(run, session, look)
    if run.options.mode is Mode.WAIT:
        return _wait(run, session, look)
    run.require_writable(look)
    if behind_pooler:
        from automigrate import pooled

        if pooled.is_shared(run, session, look):
            return pooled.upgrade(run, session, look)
    return _upgrade(run, session, look)


def _worth_judging(run: Run, look: Look) -> bool:
    """Whether a judgement before the lock can end the run: not for plainly pending work.

    A database that is ahead must never make an old pod queue on the lock of a newer release.
    """
    if run.options.mode is not Mode.UPGRADE or run.compares_scripts:
        return True
    if look.open_revisions or not look.version_table:
        return True
    return not run.knows_all(look)


def _upgrade(run: Run, session: Session, look: Look) -> Look:
    """Take the lock and apply; or wait for the holder, who makes the schema right as well."""
    lock = run.lock(session, run.schema(look))
    lock.listen()
    while True:
        run.control.raise_if_stopping()
        look = lock.look_and_try(run.tables)
        if run.is_right(look):  # also with the lock just taken: waiters wake when it is free
            return look
        if look.locked:
            return _under_lock(run, session, lock)
        if run.deadline.passed:
            raise LockTimeoutError(
                holder=run.waiting.look_at_holder(lock), waited_seconds=run.waiting.seconds
            )
        run.note_behind(look)
        run.waiting.once(lock)
        if run.is_right(left := look.at(lock.told)):
            return left


def _under_lock(run: Run, session: Session, lock: AdvisoryLock) -> Look:
    """Look again, judge again, and apply what is still pending."""
    run.emit(LockTaken(waited_seconds=run.waiting.seconds))
    lock.unlisten()
    look = session.look(run.tables)
    if run.is_right(look):
        return look
    status = run.judge(session, look, holder=False)
    if not run.must_act(status):
        return look
    from automigrate.application import Application

    if run.options.backs_up and status.verdict is not Verdict.EMPTY:
        from automigrate.recovery.backup import backup_before_upgrade

        run.backup = backup_before_upgrade(run, session, look, status.pending)
    application = Application(run, session, lock, look)
    if run.options.on_failure is FailurePolicy.ROLLBACK:
        from automigrate.recovery.whole_release import WholeRelease

        return application.upgrade(status, WholeRelease(run, session, lock, look).undo)
    return application.upgrade(status)


def _wait(run: Run, session: Session, look: Look) -> Look:
    """Wait until the schema is right; never change anything."""
    lock = run.lock(session, run.schema(look))
    if not look.in_recovery and look.backend_pid == session.pid:
        lock.listen()
    while True:
        look = session.look(run.tables)
        if run.is_right(look):
            return look
        if run.deadline.passed or not run.knows_all(look):
            status = run.judge(session, look)
            if not run.must_act(status):
                return look
            if run.deadline.passed:
                raise PendingError(
                    current=status.current,
                    wanted=status.wanted,
                    revisions=status.pending,
                    detail=f"after waiting {run.deadline.elapsed:.1f} s",
                )
        run.waiting.once(lock)
        if run.is_right(left := look.at(lock.told)):
            return left


def _tidied(run: Run, session: Session, look: Look) -> Look:
    """Close journal rows that plain Alembic, or a person, has settled since."""
    writable = not (look.in_recovery or look.read_only) and look.backend_pid == session.pid
    if look.open_revisions and run.options.mode is Mode.UPGRADE and writable:
        from automigrate.application import close_settled_rows

        close_settled_rows(run, session, look)
    return look


def _claim_in_doubt(run: Run, session: Session, look: Look) -> None:
    """Find out whether it was this run that brought the schema to where it is (H10)."""
    if run.in_doubt:
        from automigrate.application import claim

        journal = run.journal(session, run.schema(look))
        claim(run, journal, journal.entries())


def _outcome(run: Run) -> Outcome:
    if run.applied:
        return Outcome.MIGRATED
    return Outcome.WAITED if run.waiting.seconds else Outcome.UNCHANGED


def _report(run: Run, outcome: Outcome, heads: tuple[str, ...]) -> UpgradeReport:
    return UpgradeReport(
        outcome=outcome,
        verdict=run.first or Verdict.CURRENT,
        heads=tuple(sorted(heads)),
        applied=tuple(run.applied),
        waited_for=run.waiting.holder,
        waited_seconds=run.waiting.seconds,
        seconds=run.deadline.elapsed,
        attempts=run.connector.connections,
        backup=run.backup,
    )
