"""The lock that makes a run the only one: a session advisory lock, polled and never waited in.

A waiter blocked in `pg_advisory_lock` holds a snapshot, and CREATE INDEX CONCURRENTLY of the
holder waits for that snapshot: a deadlock (H2). So a waiter listens for the holder's notification
and tries again, in autocommit.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any

from automigrate.verdict import Holder

if TYPE_CHECKING:
    import psycopg

    from automigrate.database.session import Session

__all__ = ["AdvisoryLock", "lock_key"]

# A bigint key shows in pg_locks as its halves, with objsubid 1 (manual, 54.12).
_GRANTED = """\
from pg_locks l left join pg_stat_activity a using (pid)
where l.locktype = 'advisory' and l.objsubid = 1 and l.granted
  and l.database = (select oid from pg_database where datname = current_database())
  and l.classid = %(high)s::bigint::oid and l.objid = %(low)s::bigint::oid"""

FENCE = f"select count(*) {_GRANTED} and l.pid = pg_backend_pid()"

HOLDER = f"""\
select l.pid, coalesce(a.application_name, ''),
  coalesce(to_char(a.backend_start at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), ''),
  coalesce(host(a.client_addr), ''),
  (select count(*) from pg_stat_activity w
    where w.datname = current_database() and w.application_name like 'automigrate%%')
{_GRANTED} and l.pid <> pg_backend_pid()"""  # noqa: S608 - constants only


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

    def __init__(self, session: Session, schema: str, version_table: str) -> None:
        self._session = session
        self.key = lock_key(schema, version_table)
        unsigned = self.key & 0xFFFF_FFFF_FFFF_FFFF
        self.parameters = {"high": unsigned >> 32, "low": unsigned & 0xFFFF_FFFF}
        self.channel = f"automigrate_{unsigned:016x}"
        self.waiters = 0
        """Sessions of automigrate in this database at the last look at the holder."""

    def listen(self) -> None:
        """Subscribe to the holder's notification; idle and in autocommit, harmless to CIC (H3)."""
        self._execute(f"listen {self.channel}")

    def unlisten(self) -> None:
        """Take the subscription back, before revisions run on this session."""
        self._execute(f"unlisten {self.channel}")

    def notify(self) -> None:
        """Wake the waiters."""
        self._execute("select pg_notify(%s, '')", (self.channel,))

    def held(self) -> bool:
        """Whether this session holds the lock: asked of the server, 0.2 ms (H6)."""
        row = self._execute(FENCE, self.parameters).fetchone()
        return bool(row and row[0])

    def holder(self) -> Holder | None:
        """Name the other session that holds the lock; any role may ask."""
        row = self._execute(HOLDER, self.parameters).fetchone()
        if row is None:
            return None
        pid, application_name, since, client, self.waiters = row
        return Holder(pid=pid, application_name=application_name, since=since, client=client)

    def wait(self, seconds: float, *, until: Any = None) -> bool:
        """Wait for a notification without sending a statement.

        Args:
            seconds: how long at most.
            until: called several times a second; a true result ends the wait early.

        Returns:
            Whether a notification came.
        """
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for _ in self._session.connection.notifies(timeout=min(left, 0.2), stop_after=1):
                return True
            if until is not None and until():
                return False
        return False

    def _execute(self, query: str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self._session.connection.execute(query, parameters)
