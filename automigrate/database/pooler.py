"""Tell how a pooler between us and the server lends its connections (H9).

A pooler answers the connection attempt itself, with a process id of its own; so a backend pid that
differs from the one told at connect betrays it. In session mode it lends one server connection for
as long as the client stays, and everything works as without it. In transaction mode it lends one
for each transaction: a session lock would stay behind on a connection that others use next.
"""

from __future__ import annotations

import enum
import random
import select
import time
from typing import TYPE_CHECKING, Any

from automigrate.database.session import SessionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from automigrate.database.session import Look, Session

__all__ = ["DIRECT_URL", "Pooling", "pooling"]

DIRECT_URL = (
    "Give the server's own URL for migrations: as the first argument of `upgrade`, or with "
    "--migration-url or AUTOMIGRATE_MIGRATION_URL beside the URL that the application uses."
)
"""What always helps."""

ROUNDS = 20
LONGEST_PAUSE = 0.005
"""Seconds; breaks the cycle in which a busy pool can lend each client the same connection."""
PATIENCE = 3.0
"""Seconds that the pooler may take to lend a second connection."""

BACKEND = b"select pg_backend_pid()"


class Pooling(enum.Enum):
    """For how long a server connection belongs to us."""

    NONE = "none"
    """Connected to the server itself."""
    SESSION = "session"
    """Until we disconnect."""
    TRANSACTION = "transaction"
    """Until the transaction ends."""
    STATEMENT = "statement"
    """Until the statement ends; transactions are not possible."""


def pooling(
    session: Session, look: Look, connect: Callable[[], psycopg.Connection[Any]]
) -> Pooling:
    """Say what is in between; opens a second connection only when something is.

    In transaction mode an idle client has no backend, so that a second one gets the same, or makes
    the first one's change. A busy pool can hide that in one round, not in twenty.

    Args:
        session: outside of a transaction.
        look: the last look on it.
        connect: opens the second connection.

    Raises:
        SessionLostError: the pooler lent no second connection in time, because its pool is
            exhausted; worth another attempt, because giving up ours frees one.
        psycopg.Error: a connection failed.
    """
    if look.backend_pid == session.pid:
        return Pooling.NONE
    deadline = time.monotonic() + PATIENCE
    other = connect()
    try:
        for _ in range(ROUNDS):
            if not _begin(other, deadline):
                return Pooling.STATEMENT
            borrowed = _backend(other, deadline)
            _ask(other, b"commit", deadline)
            time.sleep(random.uniform(0.0, LONGEST_PAUSE))  # noqa: S311 - not cryptography
            ours = _backend(session.connection, deadline)
            if borrowed == ours or ours != look.backend_pid:
                return Pooling.TRANSACTION
    finally:
        other.close()
    return Pooling.SESSION


def _begin(connection: psycopg.Connection[Any], deadline: float) -> bool:
    """Begin a transaction; false: the pooler allows none."""
    import psycopg

    try:
        _ask(connection, b"begin", deadline)
    except psycopg.errors.ProtocolViolation as error:
        if "statement pooling" in str(error):
            return False
        raise
    return True


def _backend(connection: psycopg.Connection[Any], deadline: float) -> int:
    return int(_ask(connection, BACKEND, deadline) or 0)


def _ask(connection: psycopg.Connection[Any], query: bytes, deadline: float) -> bytes | None:
    """Run a query within the deadline, which psycopg's own `execute` does not know."""
    from psycopg import errors, pq

    raw = connection.pgconn
    raw.send_query(query)
    answer = None
    while True:
        while raw.is_busy():
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([raw.socket], [], [], left)[0]:
                msg = f"the pooler lent no second connection within {PATIENCE:.0f} s"
                raise SessionLostError(msg)
            raw.consume_input()
        result = raw.get_result()
        if result is None:
            return answer
        if result.status == pq.ExecStatus.FATAL_ERROR:
            raise errors.error_from_result(result)
        if result.ntuples:
            answer = result.get_value(0, 0)
