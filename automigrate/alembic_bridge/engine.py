"""SQLAlchemy on our psycopg session, and never on another one.

SQLAlchemy reconnects silently: after the backend is gone the next statement would run on a new
session without the lock (H5). So the engine gets its connection once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, pool

from automigrate.database.session import SessionLostError

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.engine import Connection

__all__ = ["connection_on", "let_go"]


def connection_on(raw: psycopg.Connection[Any]) -> Connection:
    """Return a SQLAlchemy connection on a psycopg connection, which outlives it.

    The psycopg connection must be idle; it leaves autocommit here.
    """
    given = False

    def once() -> psycopg.Connection[Any]:
        nonlocal given
        if given:
            msg = "the session was lost and must not be replaced silently"
            raise SessionLostError(msg)
        given = True
        return raw

    raw.autocommit = False
    engine = create_engine("postgresql+psycopg://", creator=once, poolclass=pool.NullPool)
    # Closing is releasing the lock: for the session to do, not for the pool.
    for name in ("do_close", "do_terminate"):
        setattr(engine.dialect, name, _leave_open)
    return engine.connect()


def let_go(connection: Connection) -> None:
    """End SQLAlchemy's use of the psycopg connection, whose state and openness stay as they are.

    Otherwise the pool would roll back when the garbage collector comes by, and log an error when
    the session has been closed by then.
    """
    connection.invalidate()
    connection.close()


def _leave_open(_connection: object) -> None:
    pass
