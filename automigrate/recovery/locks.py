"""Show who holds the migration lock, and end a holder that is stuck.

A killed process loses the lock at once, one behind a dead network within about a minute. A process
that is frozen (SIGSTOP, a paused container) keeps it, because its machine still answers for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from automigrate.database.advisory_lock import GRANTED
from automigrate.database.observer import blockers_of
from automigrate.errors import PermissionDeniedError, RecoveryError
from automigrate.verdict import Blocker, Holder

if TYPE_CHECKING:
    from automigrate.database.session import Look, Session
    from automigrate.run import Run

__all__ = ["LockState", "lock_state", "unlock"]

STATE = f"""\
select l.pid, coalesce(a.application_name, ''),
  coalesce(to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
  coalesce(host(a.client_addr), ''), coalesce(a.usename, ''), coalesce(a.state, ''),
  left(regexp_replace(coalesce(a.query, ''), '\\s+', ' ', 'g'), 200),
  extract(epoch from clock_timestamp() - a.state_change)::float8,
  coalesce(a.wait_event_type || ': ' || a.wait_event, '')
{GRANTED}"""  # noqa: S608 - constants only

WAITERS = """\
select pid, application_name,
  coalesce(to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
  coalesce(host(client_addr), '')
from pg_stat_activity
where datname = current_database() and application_name like 'automigrate %%'
  and pid <> pg_backend_pid() and pid <> %(pid)s
order by backend_start"""

# Only while it still holds the lock: the pid may belong to another session by now.
TERMINATE = f"select pg_terminate_backend(l.pid, 10000) {GRANTED} and l.pid = %(pid)s"


@dataclass(frozen=True, slots=True, kw_only=True)
class LockState:
    """The migration lock of one version table, as far as the server shows it to this role."""

    holder: Holder | None
    """`None`: it is free."""
    user: str = ""
    """Role of the holder."""
    state: str = ""
    """`active`, `idle in transaction`, …; empty where the server hides it."""
    query: str = ""
    """Its current or last statement, shortened; empty where the server hides it."""
    seconds: float | None = None
    """For how long it has been in this state."""
    waits_for: str = ""
    """What it waits for, as PostgreSQL names it; empty: it works."""
    blockers: tuple[Blocker, ...] = ()
    """Sessions that it waits for."""
    waiters: tuple[Holder, ...] = ()
    """Sessions of automigrate that are connected to this database besides."""


def lock_state(run: Run) -> LockState:
    """Look at the lock; takes no lock and changes nothing.

    Raises:
        AutomigrateError: no connection, or unusable scripts.
    """
    run.read_scripts()
    return run.until_settled(lambda session, look: _state(run, session, look))


def unlock(run: Run, pid: int) -> bool:
    """End the session that holds the lock, which rolls its revision back.

    Args:
        run: the call.
        pid: backend pid of the holder, as `lock_state` named it.

    Returns:
        Whether it held the lock and was ended; waits at most 10 s for it to be gone.

    Raises:
        PermissionDeniedError: this role may not end sessions of that one.
        RecoveryError: it did not end in time.
        AutomigrateError: no connection, or unusable scripts.
    """
    run.read_scripts()
    return run.until_settled(lambda session, look: _unlock(run, session, look, pid))


def _state(run: Run, session: Session, look: Look) -> LockState:
    lock = run.lock(session, run.schema(look))
    row = session.connection.execute(STATE, lock.parameters).fetchone()
    if row is None:
        return LockState(holder=None, waiters=_waiters(session, 0))
    pid, name, since, client, user, state, query, seconds, waits_for = row
    return LockState(
        holder=Holder(pid=pid, application_name=name, since=since, client=client),
        user=user,
        state=state,
        query=query,
        seconds=seconds,
        waits_for=waits_for,
        blockers=blockers_of(session.connection, pid),
        waiters=_waiters(session, pid),
    )


def _waiters(session: Session, holder: int) -> tuple[Holder, ...]:
    return tuple(
        Holder(pid=pid, application_name=name, since=since, client=client)
        for pid, name, since, client in session.connection.execute(WAITERS, {"pid": holder})
    )


def _unlock(run: Run, session: Session, look: Look, pid: int) -> bool:
    lock = run.lock(session, run.schema(look))
    try:
        row = session.connection.execute(TERMINATE, {**lock.parameters, "pid": pid}).fetchone()
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionDeniedError(
            reason=f"this role may not end backend {pid}: {str(error).splitlines()[0]}",
            remedy="Use the role that migrates, or one with `grant pg_signal_backend to …`; "
            "only a superuser may end a session of a superuser.",
        ) from error
    if row is None:
        return False
    if not row[0]:
        raise RecoveryError(
            f"backend {pid} was told to end and has not ended within 10 s. It may be in a system "
            "call; look at it on the server."
        )
    return True
