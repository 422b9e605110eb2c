"""Several statements in one message, and something else to do until the server has answered.

What a revision costs on the way is counted in round trips. The simple query protocol takes any
number of statements in one message, which the server works off in order and stops at the first
error (manual, 55.2.2.1); and while it does, this process need not stand still.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from psycopg import errors, pq

from automigrate.database.wire import FAILED, Wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg

__all__ = ["MARK", "Message", "holds_one_statement", "unmet"]

MARK = "automigrate: "
"""Begins the text of an expectation that was not met. Nobody can look at the answers between the
statements of a message, so what must hold there is a statement that fails where it does not: it
makes a number of this text (22P02)."""

# On a line of its own: a statement may end in a comment.
SEPARATOR = "\n;\n"


class Message:
    """One message on a psycopg connection; begins and ends transactions only by its own text."""

    def __init__(self, connection: psycopg.Connection[Any], statements: Sequence[str]) -> None:
        self._connection = connection
        self._wire = Wire(connection)
        self._statements = statements
        self._text = SEPARATOR.join(statements).encode(self._wire.encoding)

    def exchange(self, meanwhile: Iterable[object] = ()) -> list[pq.abc.PGresult]:
        """Send it and wait for all answers, without a time limit of its own.

        Args:
            meanwhile: gone through when it is sent, at least one step and until there is an
                answer; must not touch the connection.

        Returns:
            One result per statement.

        Raises:
            psycopg.Error: the server's first error, or the connection is lost.
        """
        try:
            self._wire.pgconn.send_query(self._text)
            self._wire.flush()
            for _ in meanwhile:
                if self._wire.wait(0.0):
                    break
            return self._answers()
        except BaseException:
            self._end()
            raise

    def _answers(self) -> list[pq.abc.PGresult]:
        answers: list[pq.abc.PGresult] = []
        failed: pq.abc.PGresult | None = None
        while (result := self._wire.next_result()) is not None:
            if failed is None and result.status in FAILED:
                failed = result
            answers.append(result)
        if failed is not None:
            error = errors.error_from_result(failed, encoding=self._wire.encoding)
            self._add_statement(error, len(answers) - 1)
            raise error
        return answers

    def _add_statement(self, error: BaseException, answered: int) -> None:
        """Note which statement failed, where each of those before it has one answer."""
        seen = self._statements[: answered + 1]
        if len(seen) > answered and all(map(holds_one_statement, seen)):
            error.add_note(f"in the statement: {seen[-1].strip()}")

    def _end(self) -> None:
        """After an interruption: have the server stop, and read what it still says."""
        if self._connection.info.transaction_status is not pq.TransactionStatus.ACTIVE:
            return
        with suppress(Exception):
            self._connection.cancel()
            while self._wire.next_result() is not None:
                pass


def holds_one_statement(text: str) -> bool:
    """Whether a text is one statement for sure; a semicolon may stand in a literal, too."""
    return ";" not in text.rstrip("; \n")


def unmet(error: BaseException) -> str | None:
    """Return the text of the expectation that an error is about; `None`: it is about none."""
    if not isinstance(error, errors.InvalidTextRepresentation):
        return None
    _, mark, text = str(error.diag.message_primary).partition(f'"{MARK}')
    return text.removesuffix('"') if mark else None
