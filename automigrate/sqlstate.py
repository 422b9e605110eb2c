"""What a database error means for a run: by SQLSTATE first, by text only where there is none.

While a connection is being made libpq reports no SQLSTATE, only text; later the SQLSTATE decides,
and without one whether the connection survived. Class names of drivers are no help: 25P03, 25P04
and 25006 are `InternalError` in psycopg. Codes: PostgreSQL manual, appendix A.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Fault", "classify", "classify_connecting", "driver_error", "sqlstate_of"]


class Fault(enum.Enum):
    """What to do about an error."""

    UNREACHABLE = "unreachable"
    """No connection: try again until the deadline."""
    REFUSED = "refused"
    """The server said no and waiting does not help: fail at once."""
    LOST = "lost"
    """The session is gone: connect, look and lock again."""
    READ_ONLY = "read-only"
    """Connected to a standby: wait for a writable primary."""
    BUSY = "busy"
    """A lock was not to be had in time: run the revision again."""
    CANCELLED = "cancelled"
    """Somebody ended the statement and meant it: fail."""
    FAILED = "failed"
    """The statement is wrong for this database: fail."""


_DRIVERS = ("psycopg", "asyncpg")
_BUSY = {"55P03", "55006", "40P01", "40001"}
_LOST = {"57P01", "57P02", "57P03", "57P05", "25P03", "25P04"}
_PERMISSION = {"28P01", "28000", "3D000", "42501"}

_REFUSED_TEXTS = (
    "authentication failed",
    "no password supplied",
    "password authentication",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "no pg_hba.conf entry",
    "pg_hba.conf rejects",
    "unrecognized configuration parameter",
    "unsupported startup parameter",
    "server does not support ssl",
    "certificate verify failed",
    "root certificate file",
    "invalid sslmode",
    "invalid connection option",
    "invalid port number",
    "invalid integer value",
    "no such user",
    "no such database",
    "auth failed",
    "sasl authentication failed",
    "wrong password type",
    "channel binding required",
    "not currently accepting connections",
)
_WAITING_TEXTS = ("too many", "remaining connection slots", "starting up", "shutting down")


def driver_error(error: BaseException) -> BaseException | None:
    """Find the driver's error inside of whatever SQLAlchemy or Alembic wrapped around it.

    psycopg's, or psycopg2's or asyncpg's where a connection of the project's own is at fault.

    A kill inside of `autocommit_block` surfaces as `PendingRollbackError` without `.orig`, so the
    chain of causes is walked too.
    """
    for inner in _chain(error):
        if any(base.__module__.startswith(_DRIVERS) for base in type(inner).__mro__):
            return inner
    return None


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE of the driver's error inside `error`, if there is one."""
    found = driver_error(error)
    return getattr(found, "sqlstate", None) or getattr(found, "pgcode", None)


def classify(error: BaseException, *, broken: bool) -> Fault:
    """Decide about an error of a session that had been connected.

    Args:
        error: as raised by psycopg, SQLAlchemy or Alembic.
        broken: whether the connection is unusable now.
    """
    sqlstate = sqlstate_of(error)
    if sqlstate is None:
        return Fault.LOST if broken else Fault.FAILED
    if sqlstate in _LOST or sqlstate.startswith("08"):
        return Fault.LOST
    if sqlstate == "25006":
        return Fault.READ_ONLY
    if broken:
        return Fault.LOST
    if sqlstate in _BUSY:
        return Fault.BUSY
    if sqlstate == "57014":
        return Fault.CANCELLED
    return Fault.REFUSED if sqlstate in _PERMISSION else Fault.FAILED


def classify_connecting(error: BaseException) -> Fault:
    """Decide about a failure to connect: `UNREACHABLE` or `REFUSED`.

    What is not known to be final is tried again: a wait that ends with the reason is better than
    a restart loop.
    """
    sqlstate = sqlstate_of(error)
    if sqlstate is not None:
        refused = sqlstate in _PERMISSION or sqlstate.startswith(("28", "42"))
        return Fault.REFUSED if refused else Fault.UNREACHABLE
    if getattr(getattr(error, "pgconn", None), "needs_password", False):
        return Fault.REFUSED
    text = str(error).lower()
    if any(part in text for part in _WAITING_TEXTS):
        return Fault.UNREACHABLE
    if "no such file or directory" in text:  # a socket that is not there yet
        return Fault.UNREACHABLE
    return Fault.REFUSED if any(part in text for part in _REFUSED_TEXTS) else Fault.UNREACHABLE


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        orig = getattr(current, "orig", None)
        queue.append(orig if isinstance(orig, BaseException) else None)
        queue.extend((current.__cause__, current.__context__))
