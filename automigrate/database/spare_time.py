"""Work of ours, done while the server works on a statement.

A script's statements are sent one by one, and between sending one and its answer this process has
nothing to do, a millisecond for each. psycopg has no hook there; but all that it does on a
connection goes through `Connection.wait`, with a generator that sends at its first step.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

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
    wait = connection.wait

    def wait_usefully(doing: Any, *args: Any, **kwargs: Any) -> Any:
        return wait(_with_a_job(connection, doing, jobs), *args, **kwargs)

    setattr(connection, "wait", wait_usefully)  # noqa: B010 - mypy sees a method
    try:
        yield
    finally:
        del connection.wait


def _with_a_job(
    connection: psycopg.Connection[Any], doing: Generator[Any, Any, Any], jobs: Iterator[object]
) -> Generator[Any, Any, Any]:
    """Do the same, and one step of a job once the first part is sent.

    An interruption of the job, as by Ctrl-C, cancels the statement as psycopg does, and is raised
    when the connection is ready again.
    """
    interruption = None
    try:
        waiting_for = next(doing)
        try:
            next(jobs, None)
        except BaseException as error:  # noqa: BLE001 - raised below
            interruption = error
            connection.cancel()
        while True:
            waiting_for = doing.send((yield waiting_for))
    except StopIteration as end:
        if interruption is None:
            return end.value
    except Exception:
        if interruption is None:
            raise
    raise interruption
