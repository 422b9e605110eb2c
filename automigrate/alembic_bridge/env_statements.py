"""What env.py executes on its own connections: locks it takes, settings that nobody lists."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event

from automigrate.errors import LockTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy.engine import Connection

    from automigrate.deadline import Control, Deadline

__all__ = ["intercepting", "pass_locks", "poll_locks"]

_BLOCKING_LOCK = re.compile(
    r"(\s*select\s+)(?:pg_catalog\.)?pg_advisory_(xact_)?lock(_shared)?(?=\s*\()", re.IGNORECASE
)

# A name with a dot in it, as in `set app.tenant = 'a'` and `set_config('app.tenant', 'a', false)`.
_CUSTOM = r"\w+(?:\.\w+)+"
_SETS_CUSTOM = re.compile(
    rf"\bset\s+(?:session\s+|local\s+)?({_CUSTOM})\s*(?:=|\bto\b)"
    rf"|\bset_config\s*\(\s*'({_CUSTOM})'",
    re.IGNORECASE,
)
_POLL_SECONDS = 0.1


def poll_locks(deadline: Deadline, control: Control) -> Callable[[Callable[[], bool]], None]:
    """Get env.py's locks by trying: who blocks in one holds a snapshot, and hangs a peer (H2)."""

    def wait(try_once: Callable[[], bool]) -> None:
        started = time.monotonic()
        while not try_once():
            control.raise_if_stopping()
            if deadline.passed:
                raise LockTimeoutError(holder=None, waited_seconds=time.monotonic() - started)
            control.sleep(_POLL_SECONDS)

    return wait


def pass_locks(try_once: Callable[[], bool]) -> None:
    """Take a lock of env.py's for granted: nothing is going to be applied."""
    try_once()


@contextmanager
def intercepting(
    locks: Callable[[Callable[[], bool]], None], custom: set[str], ours: Connection | None
) -> Iterator[None]:
    """Look at what env.py executes on its own connections, before it does.

    Args:
        locks: stands before the blocking advisory locks that it takes.
        custom: gets the names of the settings that PostgreSQL does not list.
        ours: is left alone.
    """
    thread = threading.get_ident()

    def before(
        connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any
    ) -> tuple[str, Any]:
        if threading.get_ident() != thread or connection is ours:
            return statement, parameters
        custom.update(name for names in _SETS_CUSTOM.findall(statement) for name in names if name)
        attempt = _BLOCKING_LOCK.sub(r"\1pg_try_advisory_\2lock\3", statement, count=1)
        if attempt == statement or not _BLOCKING_LOCK.match(statement):
            return statement, parameters

        def try_once() -> bool:
            cursor.execute(attempt, parameters)
            row = cursor.fetchone()
            return row is None or row[0] is not False

        locks(try_once)
        return "select true", type(parameters)()

    event.listen(Engine, "before_cursor_execute", before, retval=True)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", before)
