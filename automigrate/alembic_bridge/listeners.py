"""What env.py listens to on its own engine or connection, heard on ours as well.

Projects hang into SQLAlchemy's events to rewrite statements, to set a role or a setting when a
transaction begins, to log, to count. Under plain Alembic all that happens on the connection that
env.py opens; here the revisions run on ours. Listeners on the class `Engine`, of env.py, the
application or a library, hear both anyway, and what listeners of the pool set on a connection is
taken over as a setting (`mirror`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

__all__ = ["Listeners"]

# Ours rewrite with `retval`: what does not is wrapped into a function of SQLAlchemy's.
_OURS = "automigrate."
_REWRITING = ("before_execute", "before_cursor_execute")
_OF_CONNECTIONS = (
    *_REWRITING,
    "after_execute",
    "after_cursor_execute",
    "begin",
    "commit",
    "rollback",
    "savepoint",
    "rollback_savepoint",
    "release_savepoint",
)
_OF_DIALECTS = ("do_execute", "do_execute_no_params", "do_executemany", "handle_error")


class Listeners:
    """The listeners of one connection of env.py's, for as long as ours stands in its place.

    Args:
        ours: our connection.
    """

    def __init__(self, ours: Connection) -> None:
        self._ours = ours
        self._taken: list[tuple[Any, str, Callable[..., Any]]] = []

    def __bool__(self) -> bool:
        """Whether anybody but us listens, so that each statement must really go through."""
        return any(
            not str(listener.__module__).startswith(_OURS)  # a built-in method has none
            for target, name in _heard(self._ours)
            for listener in getattr(target.dispatch, name)
        )

    def take_over(self, theirs: Connection) -> None:
        """Call what listens to theirs for ours too, before what listens to ours already.

        A statement is rewritten before anybody of ours looks at what it does.
        """
        for (target, name), (source, _) in zip(_heard(self._ours), _heard(theirs), strict=True):
            known = list(getattr(target.dispatch, name))
            for listener in reversed(list(getattr(source.dispatch, name))):
                if listener not in known:
                    event.listen(target, name, listener, insert=True, **_as_it_was_wrapped(name))
                    self._taken.append((target, name, listener))

    def give_back(self) -> None:
        """Call them for theirs only, as before."""
        for target, name, listener in self._taken:
            event.remove(target, name, listener)
        self._taken = []


def _heard(connection: Connection) -> Iterator[tuple[Any, str]]:
    """Yield all that can be listened to, each as whom it is asked of, and its name."""
    for name in _OF_CONNECTIONS:
        yield connection, name
    for name in _OF_DIALECTS:
        yield connection.dialect, name


def _as_it_was_wrapped(name: str) -> dict[str, bool]:
    """SQLAlchemy has given a return value to those that rewrite nothing."""
    return {"retval": True} if name in _REWRITING else {}
