"""Work of ours, done while the server works on a statement.

A script's statements are sent one by one, and between sending one and its answer this process has
nothing to do, a millisecond for each. psycopg has no hook there; but all that it does on a
connection goes through `Connection.wait`, with a generator that sends at its first step.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import psycopg

__all__ = ["spare_time"]


@contextmanager
def spare_time(connection: psycopg.Connection[Any], jobs: Iterator[object]) -> Iterator[None]:
    """Go through `jobs`, a step for each thing that the connection does, while the server works.

    Args:
        connection: that a script is about to use.
        jobs: in small steps, a millisecond or two; they must not use the connection, nor raise.
    """
    wait: Any = connection.wait

    def wait_usefully(doing: Any, *args: Any, **kwargs: Any) -> Any:
        return wait(_Doing(doing, jobs), *args, **kwargs)

    setattr(connection, "wait", wait_usefully)  # noqa: B010 - mypy sees a method
    try:
        yield
    finally:
        del connection.wait


class _Doing:
    """What psycopg does, with one step of a job once its first part is sent.

    No generator, because an exception would end it: when a job is interrupted, as by Ctrl-C,
    psycopg cancels the statement and goes on with what it was doing, to its end.
    """

    def __init__(self, doing: Generator[Any, Any, Any], jobs: Iterator[object]) -> None:
        self._doing = doing
        self._jobs = jobs
        self._waiting_for: Any = None
        self._begun = False
        self.send = doing.send

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """Begin, or go on after an interruption."""
        if not self._begun:
            self._waiting_for = next(self._doing)
            self._begun = True
            next(self._jobs, None)
        return self._waiting_for
