"""A history that can be interrupted at named points, and what must hold afterwards.

No point is a matter of timing. The test holds an advisory lock or an open transaction that the
revision must wait for, and sees in the catalog that it waits; or the process stops itself in a
listener.
"""

from __future__ import annotations

import enum
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, assert_never

from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psycopg

    from tests.support.projects import Project
    from tests.support.replicas import Replica
    from tests.support.servers import Database

__all__ = [
    "CONCURRENT",
    "HISTORY",
    "LAST",
    "PATIENT",
    "Point",
    "assert_finished_as_undisturbed",
    "history",
    "reached",
]

HISTORY = ("r0001", "r0002", "r0003", "r0004")
CONCURRENT = "r0003"
LAST = "r0004"

PATIENT: dict[str, Any] = {"lock_timeout": 300.0, "lock_timeout_max": 300.0}
"""Options with which a revision stays where it waits, instead of being tried again."""

WITHIN, BEFORE_COMMIT, IN_COMMIT = 701, 702, 703
"""Advisory locks that r0002 waits for: in its middle, at its end, while it commits."""

_WAITS = """
select a.pid from pg_locks l join pg_stat_activity a using (pid)
where a.datname = %s and l.locktype = 'advisory' and not l.granted and l.objid = %s
"""
_BUILDS = """
select p.pid from pg_stat_progress_create_index p
where p.datname = %s and p.phase like 'waiting for %%'
"""
_HOLDS_LOCK = """
select l.pid from pg_locks l join pg_stat_activity a using (pid)
where a.datname = %s and l.locktype = 'advisory' and l.granted and l.objsubid = 1
  and a.application_name like 'automigrate %%'
"""


class Point(enum.Enum):
    """Where a run is interrupted."""

    LOCK_TAKEN = "lock taken"
    WITHIN_REVISION = "inside a transactional revision"
    BEFORE_COMMIT = "between DDL and commit"
    IN_COMMIT = "while it commits"
    IN_CONCURRENT_INDEX = "inside CREATE INDEX CONCURRENTLY"
    BEFORE_UNLOCK = "after the last commit, before the lock is released"


def history(project: Project) -> None:
    """Write four revisions: a table, a change of its rows, a concurrent index, a table."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table account (id integer primary key, balance numeric not null)")
            op.execute("insert into account select n, 1 from generate_series(1, 50) n")
            op.execute(
                "create function hold() returns trigger language plpgsql as "
                "'begin perform pg_advisory_xact_lock(703); return null; end'"
            )
        """,
    )
    project.add(
        "r0002",
        upgrade="""
            op.execute("update account set balance = balance * 2")
            op.execute("select pg_advisory_xact_lock(701)")
            op.execute("create table entry (id integer primary key)")
            op.execute(
                "create constraint trigger hold after insert on entry "
                "deferrable initially deferred for each row execute function hold()"
            )
            op.execute("insert into entry values (1)")
            op.execute("select pg_advisory_xact_lock(702)")
        """,
    )
    project.add(
        CONCURRENT,
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently account_balance on account (balance)")
        """,
    )
    project.add(LAST, upgrade='op.execute("create table t_r0004 (id integer primary key)")')
    assert tuple(project.revisions) == HISTORY


@contextmanager
def reached(
    point: Point, database: Database, start: Callable[[str | None], Replica]
) -> Iterator[tuple[Replica, int]]:
    """Start a replica and have it wait at a point; yields it and its backend's pid.

    What holds it up is let go at the end.

    Args:
        point: where.
        database: a database in which nothing is applied yet.
        start: starts the replica, given the event to stop at.
    """
    match point:
        case Point.LOCK_TAKEN:
            with _at_event("LockTaken", database, start) as found:
                yield found
        case Point.BEFORE_UNLOCK:
            with _at_event(f"RevisionApplied {LAST}", database, start) as found:
                yield found
        case Point.WITHIN_REVISION:
            with _at_lock(WITHIN, database, start) as found:
                yield found
        case Point.BEFORE_COMMIT:
            with _at_lock(BEFORE_COMMIT, database, start) as found:
                yield found
        case Point.IN_COMMIT:
            with _at_lock(IN_COMMIT, database, start) as found:
                yield found
        case Point.IN_CONCURRENT_INDEX:
            with _at_concurrent_index(database, start) as found:
                yield found
        case _:
            assert_never(point)


def assert_finished_as_undisturbed(database: Database, undisturbed: Database) -> None:
    """Assert that schema and rows equal those of an undisturbed run, and that the journal is true.

    True means: in order, each revision applied once, nothing left open, and only what committed a
    part of its work before the interruption has a second row, which says so.
    """
    assert database.dump_schema() == undisturbed.dump_schema()
    assert database.rows("select distinct balance::int from account") == [(2,)]
    assert database.rows("select id from entry") == [(1,)]
    assert database.rows("select version_num from alembic_version") == [(LAST,)]
    assert (
        database.rows("select indexrelid::regclass::text from pg_index where not indisvalid") == []
    )
    applied = "select revision from automigrate_journal where state = 'applied' order by id"
    assert database.rows(applied) == [(name,) for name in HISTORY]
    others = "select distinct revision, state from automigrate_journal where state <> 'applied'"
    assert database.rows(others) in ([], [(CONCURRENT, "reverted")])


@contextmanager
def _at_event(
    event: str, database: Database, start: Callable[[str | None], Replica]
) -> Iterator[tuple[Replica, int]]:
    replica = start(event)
    replica.until_told("stopped")
    with database.connect() as connection:
        yield replica, _pid(connection, _HOLDS_LOCK, database.name)


@contextmanager
def _at_lock(
    number: int, database: Database, start: Callable[[str | None], Replica]
) -> Iterator[tuple[Replica, int]]:
    with database.connect() as connection:
        connection.execute("select pg_advisory_lock(%s)", (number,))
        replica = start(None)
        yield replica, _pid(connection, _WAITS, database.name, number)


@contextmanager
def _at_concurrent_index(
    database: Database, start: Callable[[str | None], Replica]
) -> Iterator[tuple[Replica, int]]:
    """Have the index wait for a transaction that wrote to the table before it."""
    replica = start(f"RevisionStarted {CONCURRENT}")
    replica.until_told("stopped")
    with database.connect() as writer, database.connect() as connection:
        writer.execute("begin; update account set balance = balance where id = 1")
        replica.go()
        yield replica, _pid(connection, _BUILDS, database.name)


def _pid(connection: psycopg.Connection, query: str, *parameters: object) -> int:
    def found() -> int | None:
        row = connection.execute(query.encode(), parameters).fetchone()
        return None if row is None else int(row[0])

    pid: int = until(found, f"the replica is where it should be: {query}")
    return pid
