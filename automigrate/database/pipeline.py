"""Transactions sent one behind the other, before the answers to the first are there.

With the next transaction on its way the server never waits for this process between two of them.
In libpq's pipeline mode (manual, 32.5) every statement is a message of its own, so each transaction
has its own time (`now()`) and answers that come when it is done. After an error the server ignores
whatever follows, until it is told that the pipeline ends: a transaction that was sent behind one
that failed is never carried out, and may be sent again.

The server reads a message between any two statements, and a request to cancel that comes just then
is dropped (`DoingCommandRead` in its sources). So it is made again until there is an answer.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import errors, pq

from automigrate.database.message import holds_one_statement
from automigrate.database.wire import FAILED, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Pipeline", "Sent"]

LONGEST = 4
"""Transactions on the way at the same time, at most: enough for the server to find the next one
when it is done with one, and few to take back."""


MOST_ENDS = 100
"""Of statements, one after the other without an answer: then there is no more to come. Between two
answers libpq says once that a statement has no more."""


class Sent:
    """One transaction on its way."""

    def __init__(self, name: str, statements: Sequence[str]) -> None:
        self.name = name
        self.statements = statements


class Pipeline:
    """The pipeline on one connection; open from the first `send` to `close`.

    While it is open nobody else may use the connection.

    Args:
        connection: in autocommit as far as libpq is concerned.
        unwanted: whether what the server works on is to be cancelled.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], unwanted: Callable[[], bool] = lambda: False
    ) -> None:
        self._connection = connection
        self._unwanted = unwanted
        self._cancels = False
        self._wire = Wire(connection)
        self._sent: deque[Sent] = deque()
        self._landed: list[str] = []

    @staticmethod
    def takes(statements: Sequence[str]) -> bool:
        """Whether a transaction of these can be sent: each must be one, and libpq of version 14."""
        return psycopg.capabilities.has_pipeline() and all(map(holds_one_statement, statements))

    @property
    def has_room(self) -> bool:
        """Whether something is on its way, and another one may follow it."""
        return 0 < len(self._sent) < LONGEST

    def send(self, name: str, statements: Sequence[str]) -> Sent:
        """Send a transaction; waits for nothing.

        Args:
            name: of the transaction, for `landed`.
            statements: from its `begin` to its `commit`.

        Raises:
            UnicodeEncodeError: the connection's encoding lacks a character; nothing was sent.
            psycopg.OperationalError: the connection is lost.
        """
        wire, sent = self._wire, Sent(name, statements)
        texts = [statement.encode(wire.encoding) for statement in statements]
        if wire.pgconn.pipeline_status == pq.PipelineStatus.OFF:
            wire.pgconn.enter_pipeline_mode()
        self._sent.append(sent)
        for text in texts:
            wire.pgconn.send_query_params(text, None)
        wire.pgconn.send_flush_request()
        wire.flush()
        return sent

    def holds(self, sent: Sent | None) -> bool:
        """Whether its answers are still to be read."""
        return sent in self._sent

    def receive(self, sent: Sent, meanwhile: Iterable[object] = ()) -> None:
        """Wait until the first of those on their way is carried out, without a time limit.

        Args:
            sent: that one.
            meanwhile: gone through before, at least one step and until there is an answer; may
                send others.

        Raises:
            psycopg.Error: the server's error, or the connection is lost; the pipeline is closed,
                and what was sent behind it is not carried out.
            BaseException: anything else comes from within; see `landed`.
        """
        try:
            for _ in meanwhile:
                if self._wire.wait(0.0):
                    break
            self._answers(sent)
        except psycopg.Error:
            with suppress(Exception):
                self.close()
            raise
        except BaseException:
            with suppress(Exception):
                self.cancel()
                self.close()
            raise
        finally:
            self._cancels = False
        self._sent.popleft()

    def cancel(self) -> None:
        """Have the server end what it works on, or begins to, until `receive` has an answer."""
        self._cancels = True
        self._connection.cancel()

    def landed(self) -> tuple[str, ...]:
        """Name, once, those that were carried out while the pipeline was closed on their way."""
        landed, self._landed = self._landed, []
        return tuple(landed)

    def close(self) -> None:
        """Leave the connection to others; what is on its way is waited for.

        Raises:
            psycopg.OperationalError: the connection is lost.
        """
        left = deque(sent.name for sent in self._sent)
        self._sent.clear()
        pgconn = self._wire.pgconn
        if pgconn.pipeline_status == pq.PipelineStatus.OFF:
            return
        pgconn.pipeline_sync()
        self._wire.flush()
        ends = 0
        while ends < MOST_ENDS:
            result = self._next_result()
            if result is None:
                ends += 1
                continue
            ends = 0
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                break
            if result.command_status == b"COMMIT":
                self._landed.append(left.popleft())
        pgconn.exit_pipeline_mode()

    def _answers(self, sent: Sent) -> None:
        for statement in sent.statements:
            failed = None
            while (result := self._next_result()) is not None:
                if result.status in FAILED:
                    failed = result
            if failed is not None:
                error = errors.error_from_result(failed, encoding=self._wire.encoding)
                error.add_note(f"in the statement: {statement.strip()}")
                raise error

    def _next_result(self) -> pq.abc.PGresult | None:
        return self._wire.next_result(self._cancel_if_unwanted)

    def _cancel_if_unwanted(self) -> None:
        if self._cancels or self._unwanted():
            self._connection.cancel()
