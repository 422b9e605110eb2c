"""The lock that makes a run the only one: a session advisory lock, polled and never waited in.

A waiter blocked in `pg_advisory_lock` holds a snapshot, and CREATE INDEX CONCURRENTLY of the
holder waits for that snapshot: a deadlock (H2). So a waiter listens for the holder's notification
and tries again, in autocommit.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from automigrate.database.message import MARK
from automigrate.database.pooler import DIRECT_URL
from automigrate.database.session import PROTECTION, SETTINGS, SessionLostError
from automigrate.errors import PoolerError
from automigrate.verdict import Holder

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    import psycopg

    from automigrate.database.session import Look, Session, Tables

__all__ = ["AdvisoryLock", "TakenElsewhereError", "TransactionLock", "lock_key"]

# A bigint key shows in pg_locks as its halves, with objsubid 1 (manual, 54.12).
GRANTED = """\
from pg_locks l left join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = %(high)s::bigint::oid and l.objid = %(low)s::bigint::oid"""

# Asked before every revision, so without the join. A session's own locks are of its database.
FENCE = """\
select count(*) from pg_locks
where locktype = 'advisory' and objsubid = 1 and granted and pid = pg_backend_pid()
  and classid = %(high)s::bigint::oid and objid = %(low)s::bigint::oid"""

LOST = "the migration lock is no longer held by this session"

# The same as an expression that fails, for a message of several statements, which ends there.
DEMAND = f"""\
(select (case when count(*) = 1 then '1' else '{MARK}{LOST}' end)::int from pg_locks
  where locktype = 'advisory' and objsubid = 1 and granted and pid = pg_backend_pid()
    and classid = %(high)d::bigint::oid and objid = %(low)d::bigint::oid)"""  # noqa: S608 - constants

FEW_CONNECTIONS = 5
"""The holder's env.py opens one of its own, its observer another."""

TRY_IN_TRANSACTION = "select pg_try_advisory_xact_lock(%(key)s)::int"
# A statement of its own, after the lock: its snapshot then shows what the last holder committed.
HEADS = "select pg_backend_pid(), array(select version_num::text from {})"

RELEASE = "select pg_advisory_unlock(%(key)s), pg_notify(%(channel)s, %(heads)s)"

LONGEST_TOLD = 2000
"""Characters; a payload must be shorter than 8000 bytes (manual, NOTIFY)."""

_HOLDER = f"""\
l.pid, coalesce(a.application_name, ''),
  coalesce(to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
  coalesce(host(a.client_addr), ''),
  (select count(*) from pg_stat_activity w
    where w.datname = current_database() and w.application_name like 'automigrate%%'),
  current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true), '0')::int
    - (select count(*) from pg_stat_activity where usesysid is not null)
{GRANTED} and l.pid <> pg_backend_pid()"""  # noqa: S608 - constants only
HOLDER = f"select {_HOLDER}"
HOLDER_ROW = "select json_build_array(" + _HOLDER.replace("\nfrom pg_locks", ")\nfrom pg_locks", 1)

_HEADS_END = "\n"

_WORKING: ContextVar[frozenset[tuple[int, int]]] = ContextVar(
    "automigrate_working", default=frozenset()
)
"""Keys and backend pids of the locks whose holders wait for the code that runs here."""


def lock_key(schema: str, version_table: str) -> int:
    """Return the key of the advisory lock that guards one version table.

    It is the first 8 bytes, big-endian and signed, of the SHA-256 of `automigrate`, the schema and
    the version table, joined by NUL bytes (which no identifier can hold). It is part of the
    contract: another tool that takes the same lock is safe beside automigrate.
    """
    digest = hashlib.sha256(f"automigrate\0{schema}\0{version_table}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


class AdvisoryLock:
    """The lock on one version table, as seen from one session."""

    keeps_session = True
    """Whether what is set on the session stays with us from one transaction to the next."""

    def __init__(self, session: Session, schema: str, version_table: str) -> None:
        self._session = session
        self.key = lock_key(schema, version_table)
        unsigned = self.key & 0xFFFF_FFFF_FFFF_FFFF
        self.parameters = {"high": unsigned >> 32, "low": unsigned & 0xFFFF_FFFF}
        self.channel = f"automigrate_{unsigned:016x}"
        self.waiters = 0
        """Sessions of automigrate in this database at the last look at the holder."""
        self._free = FEW_CONNECTIONS
        self._woken = False
        self.seen: Holder | None = None
        """Who held the lock when it was last asked for."""
        self.told: tuple[str, ...] = ()
        """What the version table holds, as the holder said when it woke us; empty: nothing said."""

    @contextmanager
    def working(self) -> Iterator[None]:
        """Stand around what runs code of the project's, which might call automigrate itself."""
        token = _WORKING.set(_WORKING.get() | {(self.key, self._session.pid)})
        try:
            yield
        finally:
            _WORKING.reset(token)

    def is_ours(self, holder: Holder) -> bool:
        """Whether the holder is a run that has called this one, and waits for it to return."""
        return (self.key, holder.pid) in _WORKING.get()

    def look_and_try(self, tables: Tables) -> Look:
        """Look, and take the lock if it is free; where it is not, see who has it.

        One query. What it sees of the tables is from before the lock: look again under it. After
        a notification nobody is asked for: all waiters come at once then, and most find the schema
        right.
        """
        asks = None if self._woken else HOLDER_ROW
        look = self._session.look(
            tables, lock_key=self.key, otherwise=asks, parameters=self.parameters
        )
        if look.otherwise is not None:
            self._read(look.otherwise)
        return look

    def listen(self) -> None:
        """Subscribe to the holder's notification; idle and in autocommit, harmless to CIC (H3)."""
        self._execute(f"listen {self.channel}")

    def unlisten(self) -> None:
        """Take the subscription back, before revisions run on this session."""
        self._execute(f"unlisten {self.channel}")

    def release(self, heads: Collection[str] = ()) -> None:
        """Give the lock back and wake the waiters.

        In this order: one that wakes while the lock is still held goes back to sleep.

        Args:
            heads: what the version table holds, told to the waiters; to be given only where that
                is durable and no journal row is open.
        """
        told = _HEADS_END.join(sorted(heads))
        if len(told) > LONGEST_TOLD or any(_HEADS_END in head for head in heads):
            told = ""
        self._execute(RELEASE, {"key": self.key, "channel": self.channel, "heads": told})

    def claim(self) -> Sequence[str]:
        """Return what to send at the start of a revision's transaction, for `confirm` to read.

        One statement that asks the server whether this session holds the lock, 0.2 ms (H6).
        """
        return [self._mogrify(FENCE, self.parameters)]

    def demand(self) -> str:
        """Return the same as an expression that fails, with `LOST`, where the lock is not held."""
        return DEMAND % self.parameters

    def confirm(self, rows: Sequence[tuple[Any, ...]], heads: Collection[str]) -> int | None:
        """Read the answers to `claim`.

        Args:
            rows: the first row that each statement returned.
            heads: what the version table is supposed to hold.

        Returns:
            The backend pid where it is not the one of the whole run, else `None`.

        Raises:
            SessionLostError: this session does not hold the lock.
        """
        del heads
        if rows[0][0] != 1:
            raise SessionLostError(LOST)
        return None

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Stand around changes that are made before the first revision."""
        yield

    def refuse_outside_transaction(self, revision: str, what: str) -> None:
        """Refuse what a revision is about to do where the lock would not outlive a transaction."""

    def holder(self) -> Holder | None:
        """Name the other session that holds the lock; any role may ask."""
        row = self._execute(HOLDER, self.parameters).fetchone()
        return None if row is None else self._read(row)

    def _read(self, row: Sequence[Any]) -> Holder:
        pid, application_name, since, client, self.waiters, self._free = row
        self.seen = Holder(pid=pid, application_name=application_name, since=since, client=client)
        return self.seen

    @property
    def crowded(self) -> bool:
        """Whether waiting on a connection may take the one away that the holder still needs.

        That is so where the server has few left, and always where a pooler lends them.
        """
        return self._session.lent or self._free < FEW_CONNECTIONS

    def wait(self, seconds: float, *, until: Any = None) -> bool:
        """Wait for a notification without sending a statement.

        Args:
            seconds: how long at most.
            until: called several times a second; a true result ends the wait early.

        Returns:
            Whether a notification came.
        """
        end = time.monotonic() + seconds
        self._woken, self.told = False, ()
        while (left := end - time.monotonic()) > 0:
            for notification in self._session.connection.notifies(
                timeout=min(left, 0.2), stop_after=1
            ):
                self._woken, self.told = True, self._said_by_holder(notification)
                return True
            if until is not None and until():
                return False
        return False

    def _said_by_holder(self, notification: psycopg.Notify) -> tuple[str, ...]:
        """Read what `release` told; any role may notify, so only if the holder's backend did."""
        if self.seen is None or notification.pid != self.seen.pid or not notification.payload:
            return ()
        return tuple(notification.payload.split(_HEADS_END))

    def _execute(self, query: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self._session.connection.execute(query, parameters)

    def _mogrify(self, query: str, parameters: Any) -> str:
        from psycopg import ClientCursor

        return ClientCursor(self._session.connection).mogrify(query, parameters)


class TransactionLock(AdvisoryLock):
    """The same lock behind a pooler in transaction mode: taken anew in each transaction.

    Between two revisions nobody holds it, so each begins with the version table: another process
    may have gone on where this one stopped.
    """

    keeps_session = False

    def __init__(self, session: Session, schema: str, tables: Tables) -> None:
        super().__init__(session, schema, tables.version_table)
        self._tables = tables

    def listen(self) -> None:
        """Do nothing: notifications would go to whoever has the server connection then."""

    def unlisten(self) -> None:
        """Do nothing."""

    def release(self, heads: Collection[str] = ()) -> None:
        """Do nothing: it went with its transaction, and nobody can listen."""

    def claim(self) -> Sequence[str]:
        """Take the lock, protect the transaction and read the version, if the lock is free."""
        protection = {"names": list(PROTECTION), "values": list(PROTECTION.values())}
        return [
            self._mogrify(TRY_IN_TRANSACTION, {"key": self.key}),
            HEADS.format(self._tables.version),
            self._mogrify(SETTINGS, {"local": True, **protection}),
        ]

    def confirm(self, rows: Sequence[tuple[Any, ...]], heads: Collection[str]) -> int | None:
        """Read the answers to `claim`.

        Raises:
            TakenElsewhereError: another process is, or was, at work; nothing was changed.
        """
        (locked,), (pid, found) = rows[:2]
        if not locked or set(found) != set(heads):
            raise TakenElsewhereError
        return int(pid)

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Hold the lock in a transaction around changes made before the first revision.

        Raises:
            TakenElsewhereError: another process holds it.
        """
        connection = self._session.connection
        # Outside of autocommit the caller ends the transaction, which begins here.
        with connection.transaction() if connection.autocommit else nullcontext():
            row = self._execute(TRY_IN_TRANSACTION, {"key": self.key}).fetchone()
            if row is None or not row[0]:
                raise TakenElsewhereError
            yield

    def refuse_outside_transaction(self, revision: str, what: str) -> None:
        """Refuse what ends the revision's transaction, and with it the lock.

        Raises:
            PoolerError: always.
        """
        raise PoolerError(
            reason=f"revision {revision} {what}, which needs a session of its own, and the "
            "connection goes through a pooler in transaction mode",
            remedy=DIRECT_URL,
        )


class TakenElsewhereError(SessionLostError):
    """Another process holds the lock or has gone on; look again after a while."""

    def __init__(self) -> None:
        super().__init__("another process migrates")
