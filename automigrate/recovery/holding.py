"""Hold the lock of the upgrades for something else than an upgrade."""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.errors import LockTimeoutError, PoolerError
from automigrate.events import LockTaken

if TYPE_CHECKING:
    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.session import Look, Session
    from automigrate.run import Run

__all__ = ["prepare", "take_lock"]


def prepare(run: Run, session: Session, look: Look) -> None:
    """Make a session fit to hold the lock and to change something.

    Raises:
        NotWritableError: the server is a standby or read-only.
        PoolerError: a pooler lends server connections to single transactions.
    """
    run.require_writable(look)
    if look.backend_pid != session.pid:
        from automigrate.database.pooler import DIRECT_URL
        from automigrate.pooled import is_shared

        if is_shared(run, session, look):
            raise PoolerError(
                reason="this needs a session of its own, and the connection goes through a pooler "
                "in transaction mode",
                remedy=DIRECT_URL,
            )
    session.protect()


def take_lock(run: Run, session: Session, look: Look) -> tuple[AdvisoryLock, Look]:
    """Wait for the lock until the deadline, and look again under it.

    Raises:
        LockTimeoutError: another process held it until then.
        StoppedError: a stop was asked for.
    """
    lock = run.lock(session, run.schema(look))
    lock.listen()
    while not (look := session.look(run.tables, lock_key=lock.key)).locked:
        run.control.raise_if_stopping()
        if run.deadline.passed:
            raise LockTimeoutError(
                holder=run.waiting.look_at_holder(lock), waited_seconds=run.waiting.seconds
            )
        run.waiting.once(lock)
    run.emit(LockTaken(waited_seconds=run.waiting.seconds))
    lock.unlisten()
    return lock, look
