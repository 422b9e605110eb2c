"""SQLAlchemy on our psycopg session, and never on another one in its place.

SQLAlchemy reconnects silently: after the backend is gone the next statement would run on a new
session without the lock (H5). So the engine gives its first connection once. A revision may ask
the engine for another one (`op.get_bind().engine.connect()`, H23), as real revisions do: that is a
second session of its own, as it is under plain Alembic, and only while the first is well.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine, event, pool
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.util import await_only

from automigrate.database.session import OWN_TABLES, SessionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection, Engine

    from automigrate.deadline import Deadline

__all__ = ["autocommitting", "commit_beneath", "connection_on", "lend_to_async", "let_go"]

SHORTEST_LOCK_TIMEOUT = 1.0


def connection_on(
    raw: psycopg.Connection[Any],
    *,
    url: str,
    connect: Callable[[], psycopg.Connection[Any]],
    deadline: Deadline,
    on_commit_elsewhere: Callable[[], None],
) -> Connection:
    """Return a SQLAlchemy connection on a psycopg connection, which outlives it.

    Args:
        raw: an idle psycopg connection; it leaves autocommit here.
        url: what `engine.url` says, with the password, for revisions that make their own engine.
        connect: opens a second session to the same database.
        deadline: until which a statement of a second session may wait for a lock: the holder may
            be the first session, which waits for the revision, and nobody would notice.
        on_commit_elsewhere: called when a second session commits.
    """
    first: list[Connection | None] = []

    def creator() -> psycopg.Connection[Any]:
        if not first:
            first.append(None)
            return raw
        if raw.closed or first[0] is None or first[0].invalidated:
            msg = "the session was lost and must not be replaced silently"
            raise SessionLostError(msg)
        return _second(connect, deadline)

    raw.autocommit = False
    engine = create_engine(url, creator=creator, poolclass=pool.NullPool)
    _keep_open(engine, raw)
    _hide_own_tables(engine)
    connection = engine.connect()
    first[0] = connection

    @event.listens_for(engine, "commit")
    def _on_commit(committing: Connection) -> None:
        if committing is not connection:
            on_commit_elsewhere()

    return connection


@contextmanager
def autocommitting(raw: psycopg.Connection[Any]) -> Iterator[psycopg.Connection[Any]]:
    """Have each statement be a transaction of its own: one round trip instead of three.

    Only between transactions; a statement of SQLAlchemy's inside would not be undone with its own.
    Where a statement got no answer the session is of no use any more, and its error what counts.
    """
    before = raw.autocommit
    raw.autocommit = True
    try:
        yield raw
    finally:
        unanswered = raw.info.transaction_status is TransactionStatus.ACTIVE
        if not (raw.closed or unanswered):
            raw.autocommit = before


def commit_beneath(connection: Connection) -> None:
    """Commit what a connection of env.py's has done, whatever SQLAlchemy has open on it.

    Its transactions stay open for SQLAlchemy, and its savepoints are set again, so that env.py can
    end what it has begun.
    """
    connection.connection.commit()
    for name in _savepoints(connection):
        connection.dialect.do_savepoint(connection, name)


def _savepoints(connection: Connection) -> list[str]:
    names: list[str] = []
    nested: Any = connection.get_nested_transaction()
    while nested is not None:
        names.insert(0, nested._savepoint)  # noqa: SLF001 - no other way to learn its name
        nested = nested._previous_nested  # noqa: SLF001
    return names


def let_go(connection: Connection) -> None:
    """End SQLAlchemy's use of the psycopg connection, whose state and openness stay as they are.

    Otherwise the pool would roll back when the garbage collector comes by, and log an error when
    the session has been closed by then.
    """
    connection.invalidate()
    connection.close()


class _Cursor(psycopg.Cursor[Any]):
    async def _async_soft_close(self) -> None:
        """Do nothing: the rows are all here."""


def lend_to_async(connection: Connection, raw: psycopg.Connection[Any]) -> object:
    """Let `op.run_async` work on the connection; returns what must be kept alive meanwhile.

    SQLAlchemy's asyncio layer drives synchronous connections from greenlets. Its constructors ask
    whether the dialect is asynchronous, and its methods insist on something having been awaited.
    """
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    @event.listens_for(connection, "before_cursor_execute", retval=True)
    def _await_something(
        _connection: object, _cursor: object, statement: str, parameters: object, *_: object
    ) -> tuple[str, object]:
        with suppress(MissingGreenlet):
            await_only(_nothing())
        return statement, parameters

    raw.cursor_factory = _Cursor
    connection.dialect.is_async = True
    return AsyncConnection(AsyncEngine(connection.engine), connection)


async def _nothing() -> None:
    pass


def _second(
    connect: Callable[[], psycopg.Connection[Any]], deadline: Deadline
) -> psycopg.Connection[Any]:
    connection = connect()
    seconds = max(SHORTEST_LOCK_TIMEOUT, deadline.remaining)
    connection.execute(
        "select set_config('lock_timeout', %s, false)", (f"{int(min(seconds, 86400) * 1000)}ms",)
    )
    connection.autocommit = False
    return connection


def _hide_own_tables(engine: Engine) -> None:
    """Let inspection list the tables that plain Alembic would find.

    Revisions go through all of them, to add a column, to move them to another schema.
    """
    original = engine.dialect.get_table_names

    def get_table_names(*args: Any, **kwargs: Any) -> list[str]:
        return [name for name in original(*args, **kwargs) if name not in OWN_TABLES]

    setattr(engine.dialect, "get_table_names", get_table_names)  # noqa: B010 - mypy sees a method


def _keep_open(engine: Engine, raw: psycopg.Connection[Any]) -> None:
    """Leave closing to the session: it is releasing the lock."""
    for name in ("do_close", "do_terminate"):
        original = getattr(engine.dialect, name)

        def close(dbapi_connection: Any, original: Callable[[Any], None] = original) -> None:
            if dbapi_connection is not raw:
                original(dbapi_connection)

        setattr(engine.dialect, name, close)
