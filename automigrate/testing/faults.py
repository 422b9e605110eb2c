"""Break a run at a named point of its sequence, to see what is left and who goes on.

For tests of an application's own history: is every revision either applied or not, whatever
happens in the middle of it?

    from automigrate.testing import faults

    with faults.injected(faults.once(Point.SCRIPT_RUN, faults.kill, revision="4f1c")):
        automigrate.upgrade(url, "migrations")

The points are reached by wrapping functions of the engine for as long as `injected` lasts. The
engine itself knows nothing of this module and never imports it, so that it costs nothing where it
is not used, and no variable of the environment can switch it on.
"""

from __future__ import annotations

import enum
import functools
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from automigrate import startup
from automigrate.alembic_bridge.conduct import Conduct
from automigrate.alembic_bridge.transaction import RevisionTransaction
from automigrate.application import Application
from automigrate.database.advisory_lock import AdvisoryLock
from automigrate.database.journal import Journal
from automigrate.database.message import Message
from automigrate.database.pipeline import Pipeline
from automigrate.database.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

__all__ = [
    "Action",
    "Point",
    "Reached",
    "drop_connection",
    "injected",
    "kill",
    "once",
    "raising",
    "stalling",
    "terminate",
    "terminate_backend",
]


class Point(enum.StrEnum):
    """A place in the sequence, in the order in which a run comes by."""

    CONNECTED = "connected"
    """The session is open; nothing was asked yet."""
    LOOKED = "looked"
    """Heads and journal were read."""
    LOCK_TAKEN = "lock taken"
    """This process holds the migration lock; nothing is changed yet."""
    JOURNAL_CREATED = "journal created"
    """The journal exists."""
    REVISION_BEGUN = "revision begun"
    """The transaction is open and the journal row written; the script has not run."""
    IN_AUTOCOMMIT = "in autocommit"
    """The script is about to send a statement outside of a transaction."""
    AUTOCOMMIT_LEFT = "autocommit left"
    """The statements outside of a transaction are done; the script goes on in a transaction."""
    MESSAGE_SENT = "message sent"
    """A plain revision was sent as a whole, with its commit; its answer is awaited."""
    SCRIPT_RUN = "script run"
    """The script has returned; its work is not committed, as far as it is transactional."""
    VERSION_UPDATED = "version updated"
    """Version table and journal are written, all in the open transaction."""
    COMMITTED = "committed"
    """The revision is applied, and nobody was told yet."""
    VERIFIED = "verified"
    """All revisions are applied and the heads were read again."""
    RELEASED = "released"
    """The lock was given back and the waiters were told; the session is still open."""
    CLOSED = "closed"
    """The session is closed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Where a run is."""

    point: Point
    connection: psycopg.Connection[Any]
    """The session of the run."""
    revision: str | None = None
    """Between `REVISION_BEGUN` and `COMMITTED`."""


Action = Callable[[Reached], object]
"""What happens at a point; an exception it raises, the run gets."""


def once(point: Point, action: Action, *, revision: str | None = None) -> Action:
    """Do something at the first passage of a point, and nothing at all others.

    Args:
        point: where.
        action: what.
        revision: only at this revision.
    """
    left = [action]

    def act(reached: Reached) -> None:
        if reached.point is point and revision in {None, reached.revision} and left:
            left.pop()(reached)

    return act


@contextmanager
def injected(action: Action, *, in_one_message: bool = False) -> Iterator[None]:
    """Call a function at every point of every run in this process, while inside.

    Not re-entrant, and not to be left while a run is under way.

    Args:
        action: what to call.
        in_one_message: whether plain revisions are sent as a whole, as they are without
            faults; between `MESSAGE_SENT` and `COMMITTED` nothing of them can be reached then.
    """
    with ExitStack() as stack:
        for place in _PLACES if in_one_message else (*_PLACES, _STATEMENT_BY_STATEMENT):
            original = getattr(place.owner, place.name)
            stack.callback(setattr, place.owner, place.name, original)
            setattr(place.owner, place.name, place.wrap(original, action))
        yield


def kill(reached: Reached) -> None:
    """End this process as `kill -9` does."""
    del reached
    os.kill(os.getpid(), signal.SIGKILL)


def terminate(reached: Reached) -> None:
    """Send SIGTERM to this process."""
    del reached
    os.kill(os.getpid(), signal.SIGTERM)


def raising(error: BaseException) -> Action:
    """Raise an exception in the run."""

    def act(reached: Reached) -> None:
        del reached
        raise error

    return act


def stalling(seconds: float) -> Action:
    """Let the run do nothing for a while."""
    return lambda _: time.sleep(seconds)


def drop_connection(reached: Reached) -> None:
    """Cut the network connection of the session, so that both ends see it end."""
    if reached.connection.closed:
        return
    with socket.socket(fileno=os.dup(reached.connection.fileno())) as shared:
        shared.shutdown(socket.SHUT_RDWR)


def terminate_backend(reached: Reached) -> None:
    """End the session at the server, as an administrator or a server that stops does."""
    import psycopg

    if reached.connection.closed:
        return
    info = reached.connection.info
    with psycopg.connect(info.dsn, password=info.password, autocommit=True) as other:
        other.execute("select pg_terminate_backend(%s, 5000)", (info.backend_pid,))


class _Place(NamedTuple):
    """A function of the engine, and how to wrap it so that it reaches a point."""

    owner: Any
    name: str
    wrap: Callable[[Any, Action], Any]


_Where = Callable[..., "tuple[psycopg.Connection[Any], str | None] | None"]
"""Finds connection and revision in the arguments of a function; `None`: not a passage."""


def _before(point: Point, owner: Any, name: str, where: _Where) -> _Place:
    def wrap(original: Any, action: Action) -> Any:
        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            _pass(point, action, where(*args))
            return original(*args, **kwargs)

        return wrapped

    return _Place(owner, name, wrap)


def _after(point: Point, owner: Any, name: str, where: _Where) -> _Place:
    def wrap(original: Any, action: Action) -> Any:
        @functools.wraps(original)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            _pass(point, action, where(*args))
            return result

        return wrapped

    return _Place(owner, name, wrap)


def _after_block(point: Point, owner: Any, name: str, where: _Where) -> _Place:
    def wrap(original: Any, action: Action) -> Any:
        @functools.wraps(original)
        @contextmanager
        def wrapped(*args: Any, **kwargs: Any) -> Iterator[None]:
            with original(*args, **kwargs):
                yield
            _pass(point, action, where(*args))

        return wrapped

    return _Place(owner, name, wrap)


def _pass(
    point: Point, action: Action, found: tuple[psycopg.Connection[Any], str | None] | None
) -> None:
    if found is not None:
        connection, revision = found
        action(Reached(point=point, connection=connection, revision=revision))


def _session(session: Session, *_: Any) -> tuple[psycopg.Connection[Any], None]:
    return session.connection, None


def _second_session(_run: Any, session: Session, *_: Any) -> tuple[psycopg.Connection[Any], None]:
    return session.connection, None


def _journal(journal: Journal, *_: Any) -> tuple[psycopg.Connection[Any], None]:
    return journal._connection, None  # noqa: SLF001


def _journal_row(
    journal: Journal, _row: int, revision: str, *_: Any
) -> tuple[psycopg.Connection[Any], str]:
    return journal._connection, revision  # noqa: SLF001


def _lock(lock: AdvisoryLock, *_: Any) -> tuple[psycopg.Connection[Any], None]:
    return lock._session.connection, None  # noqa: SLF001


def _application(application: Application) -> tuple[psycopg.Connection[Any], None]:
    return application._session.connection, None  # noqa: SLF001


def _message(message: Message | Pipeline, *_: Any) -> tuple[psycopg.Connection[Any], None]:
    return message._connection, None  # noqa: SLF001


def _step(step: RevisionTransaction | Conduct, *_: Any) -> tuple[psycopg.Connection[Any], str]:
    return step._raw, step.revision  # noqa: SLF001


def _step_in_block(conduct: Conduct, *_: Any) -> tuple[psycopg.Connection[Any], str] | None:
    return _step(conduct) if conduct.in_block else None


_PLACES = (
    _after(Point.CONNECTED, Session, "__init__", _session),
    _after(Point.LOOKED, Session, "look", _session),
    _before(Point.LOCK_TAKEN, startup, "_under_lock", _second_session),
    _after(Point.JOURNAL_CREATED, Journal, "create", _journal),
    _after(Point.REVISION_BEGUN, RevisionTransaction, "_begin", _step),
    _before(Point.IN_AUTOCOMMIT, Conduct, "on_statement", _step_in_block),
    _after_block(Point.AUTOCOMMIT_LEFT, Conduct, "autocommit_block", _step),
    _before(Point.MESSAGE_SENT, Message, "_answers", _message),
    _before(Point.MESSAGE_SENT, Pipeline, "_answers", _message),
    _before(Point.SCRIPT_RUN, RevisionTransaction, "_finish", _step),
    _after(Point.VERSION_UPDATED, Journal, "finish", _journal_row),
    _after(Point.COMMITTED, RevisionTransaction, "run", _step),
    _after(Point.VERIFIED, Application, "_verified", _application),
    _after(Point.RELEASED, AdvisoryLock, "release", _lock),
    _after(Point.CLOSED, Session, "close", _session),
)

_STATEMENT_BY_STATEMENT = _Place(
    RevisionTransaction, "_may_be_sent_whole", lambda _original, _action: lambda _self: False
)
