"""See what a statement does to tables: locks taken, table rewritten, table scanned.

Seen on a scratch database, not derived from the text of the SQL. Locks are those in `pg_locks`
after a statement, before its transaction ends; a statement that takes what an earlier one of the
transaction holds already shows nothing new. A rewrite is a new `pg_relation_filenode`, a scan an
increment of the sequential scans in the statistics, which counts on empty tables, too.

Outside of a transaction the locks are gone with the statement. There it is made to wait: another
session holds all tables in a mode that conflicts with all that matter, so that the lock asked for
is seen, and then lets go.
"""

from __future__ import annotations

import enum
import re
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

from automigrate.database.session import OWN_TABLES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from automigrate.database.url import DatabaseURL

__all__ = ["LockMode", "StatementRecorder", "StatementSeen", "TableLock"]


LOCKS = """\
select relation, mode from pg_locks
where pid = %s and locktype = 'relation' and relation >= 16384
  and database = (select oid from pg_database where datname = current_database())"""

RELATIONS = """\
select c.oid, n.nspname, c.relname, c.relkind::text, pg_relation_filenode(c.oid),
  i.indrelid, (select count(*) from pg_attribute a where a.attrelid = c.oid and a.attisdropped),
  case when %(in_transaction)s then pg_stat_get_xact_numscans(c.oid)
    else pg_stat_get_numscans(c.oid) end
from pg_class c join pg_namespace n on n.oid = c.relnamespace
left join pg_index i on i.indexrelid = c.oid
where c.oid >= 16384 and c.relkind in ('r', 'p', 'm', 'i', 'I')
  and n.nspname not like 'pg\\_%%' and c.relname <> all(%(ours)s)"""

WAITING = "select wait_event_type = 'Lock' from pg_stat_activity where pid = %s"
FLUSH = "select pg_stat_force_next_flush()"
"""Otherwise statistics are flushed once a second at most (PostgreSQL 15)."""
FLUSHES_SINCE = 150000

TABLES = """\
select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and c.oid >= 16384 and n.nspname not like 'pg\\_%'
  and c.relpersistence <> 't'"""

POLL_SECONDS = 0.001
LONGEST_HOLD = 5.0


class LockMode(enum.IntEnum):
    """Table-level lock modes, weakest first (manual, 13.3.1)."""

    ACCESS_SHARE = 1
    ROW_SHARE = 2
    ROW_EXCLUSIVE = 3
    SHARE_UPDATE_EXCLUSIVE = 4
    SHARE = 5
    SHARE_ROW_EXCLUSIVE = 6
    EXCLUSIVE = 7
    ACCESS_EXCLUSIVE = 8

    @classmethod
    def of(cls, mode: str) -> LockMode:
        """Read the name in `pg_locks`: ``AccessExclusiveLock``."""
        return cls[re.sub(r"(?<!^)(?=[A-Z])", "_", mode.removesuffix("Lock")).upper()]

    @property
    def blocks_reads(self) -> bool:
        """Whether a SELECT waits for it."""
        return self is LockMode.ACCESS_EXCLUSIVE

    @property
    def blocks_writes(self) -> bool:
        """Whether an INSERT waits for it."""
        return self >= LockMode.SHARE

    def __str__(self) -> str:
        return self.name.replace("_", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLock:
    """A lock that a statement was the first of its transaction to take."""

    table: str
    mode: LockMode


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSeen:
    """One statement, and what it did to tables that were there before its revision."""

    sql: str
    in_transaction: bool
    locks: tuple[TableLock, ...] = ()
    """Strongest per table, weaker ones left out."""
    rewritten: tuple[str, ...] = ()
    reindexed: tuple[str, ...] = ()
    """Tables of which an index was rebuilt."""
    scanned: tuple[str, ...] = ()
    """Those that were rewritten left out."""
    dropped: tuple[str, ...] = ()
    """Tables and columns that are gone."""


@dataclass(frozen=True, slots=True)
class _Relation:
    name: str
    kind: str
    filenode: int | None
    table: int | None
    dropped_columns: int
    scans: int


class StatementRecorder:
    """Watches the statements of one revision after the other; a `rehearsal.Recorder`.

    Args:
        url: the scratch database.
        connection: gives the connection that the revisions run on.
        version_table: which is left out.
    """

    def __init__(
        self,
        url: DatabaseURL,
        connection: Callable[[], psycopg.Connection[Any]],
        version_table: str,
    ) -> None:
        self._url = url
        self._revisions_on = connection
        self._ours = [version_table, *OWN_TABLES]
        self._first_names: dict[int, str] = {}
        self._there: Mapping[int, _Relation] = {}
        self._before: Mapping[int, _Relation] = {}
        self._held: dict[int, LockMode] = {}
        self._watch: _Watch | None = None
        self._in_transaction = True
        self.seen: list[StatementSeen] = []

    def begin(self) -> None:
        """Start with the next revision: what is there now is what others may be using."""
        with psycopg.connect(self._url.conninfo(), autocommit=True) as observer:
            self._there = self._relations(observer, in_transaction=True)
        for oid, relation in self._there.items():
            self._first_names.setdefault(oid, relation.name)
        self._held = {}
        self.seen = []

    def before(self, statement: str, *, in_transaction: bool) -> None:
        """Note the state before a statement."""
        del statement
        self.end_statement()
        self._in_transaction = in_transaction
        raw = self._revisions_on()
        if not in_transaction:
            self._flush_statistics(raw)
        self._before = self._relations(raw, in_transaction=in_transaction)
        if not in_transaction:
            self._held = {}
            self._watch = _Watch(self._url, raw.info.backend_pid)

    def after(self, statement: str) -> None:
        """Compare with the state after it."""
        raw = self._revisions_on()
        if self._watch is None:
            found = raw.execute(LOCKS, (raw.info.backend_pid,)).fetchall()
        else:
            found = self._watch.end()
            self._watch = None
            self._flush_statistics(raw)
        after = self._relations(raw, in_transaction=self._in_transaction)
        locks = self._new_locks(found)
        if not self._in_transaction:
            self._held = {}
        rewritten = self._tables(
            oid for oid in self._changed(after) if self._before[oid].kind not in "iI"
        )
        scanned = self._tables(
            oid
            for oid, relation in after.items()
            if relation.kind not in "iI"
            and oid in self._before
            and relation.scans > self._before[oid].scans
        )
        self.seen.append(
            StatementSeen(
                sql=statement.strip(),
                in_transaction=self._in_transaction,
                locks=locks,
                rewritten=rewritten,
                reindexed=self._tables(
                    self._before[oid].table or 0
                    for oid in self._changed(after)
                    if self._before[oid].kind in "iI"
                ),
                scanned=tuple(table for table in scanned if table not in rewritten),
                dropped=tuple(self._dropped(after)),
            )
        )

    def end_statement(self) -> None:
        """Let go of what a failed statement left."""
        if self._watch is not None:
            self._watch.end()
            self._watch = None

    def _flush_statistics(self, raw: psycopg.Connection[Any]) -> None:
        if raw.info.server_version >= FLUSHES_SINCE:
            raw.execute(FLUSH)

    def _relations(
        self, connection: psycopg.Connection[Any], *, in_transaction: bool
    ) -> dict[int, _Relation]:
        rows = connection.execute(
            RELATIONS, {"ours": self._ours, "in_transaction": in_transaction}
        ).fetchall()
        return {
            row[0]: _Relation(f"{row[1]}.{row[2]}", row[3], row[4], row[5], row[6], row[7])
            for row in rows
        }

    def _new_locks(self, found: list[tuple[int, str]]) -> tuple[TableLock, ...]:
        new: dict[int, LockMode] = {}
        for oid, name in found:
            relation = self._there.get(oid)
            mode = LockMode.of(name)
            if relation is None or relation.kind in "iI" or mode <= self._held.get(oid, 0):
                continue
            new[oid] = max(mode, new.get(oid, mode))
        self._held |= new
        locks = [TableLock(table=self._first_names[oid], mode=mode) for oid, mode in new.items()]
        return tuple(sorted(locks, key=lambda lock: (-lock.mode, lock.table)))

    def _changed(self, after: Mapping[int, _Relation]) -> list[int]:
        return [
            oid
            for oid, relation in after.items()
            if oid in self._before and relation.filenode != self._before[oid].filenode
        ]

    def _dropped(self, after: Mapping[int, _Relation]) -> list[str]:
        gone = self._before.keys() - after.keys()
        tables = [oid for oid in gone if self._before[oid].kind in "rp"]
        columns = [
            oid
            for oid, relation in after.items()
            if oid in self._before and relation.dropped_columns > self._before[oid].dropped_columns
        ]
        return [
            *(f"table {name}" for name in self._tables(tables)),
            *(f"a column of {name}" for name in self._tables(columns)),
        ]

    def _tables(self, oids: Any) -> tuple[str, ...]:
        """Name tables as they were called at first, those left out that the revision made."""
        return tuple(sorted({self._first_names[oid] for oid in oids if oid in self._there}))


class _Watch:
    """Makes a statement outside of a transaction wait, and looks at its locks meanwhile."""

    def __init__(self, url: DatabaseURL, pid: int) -> None:
        self._pid = pid
        self._found: set[tuple[int, str]] = set()
        self._stop = threading.Event()
        self._holder = psycopg.connect(url.conninfo())
        self._observer = psycopg.connect(url.conninfo(), autocommit=True)
        for schema, table in self._holder.execute(TABLES).fetchall():
            self._holder.execute(
                sql.SQL("lock table only {} in share update exclusive mode").format(
                    sql.Identifier(schema, table)
                )
            )
        self._thread = threading.Thread(target=self._look, name="automigrate-locks", daemon=True)
        self._thread.start()

    def end(self) -> list[tuple[int, str]]:
        """Return the locks seen, granted or asked for."""
        self._stop.set()
        self._thread.join()
        self._holder.close()
        self._observer.close()
        return list(self._found)

    def _look(self) -> None:
        held, polls = True, 0
        while not self._stop.is_set():
            waiting = self._observer.execute(WAITING, (self._pid,)).fetchone()
            self._found.update(self._observer.execute(LOCKS, (self._pid,)).fetchall())
            polls += 1
            if held and ((waiting and waiting[0]) or polls * POLL_SECONDS > LONGEST_HOLD):
                self._holder.rollback()
                held = False
            self._stop.wait(POLL_SECONDS)
        if held:
            self._holder.rollback()
