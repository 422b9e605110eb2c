"""A psycopg connection below its cursors: what is sent is sent, and answers are read in turn.

psycopg's own functions wait for the answer before they return; here this process goes on while the
server works.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

from psycopg import pq

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

__all__ = ["FAILED", "Wire", "encoding_of"]

FAILED = {pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.BAD_RESPONSE}
"""What says that a statement failed."""

_COPIES = {pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH}
_NO_DATA = b"there are no data: use the driver's own cursor for COPY"

_POLL_SECONDS = 0.1


def encoding_of(connection: psycopg.Connection[Any]) -> str:
    """Return what statements are written in on a connection.

    That is what the server takes now, since a revision may say `set client_encoding`. psycopg2 does
    not hear of that: a connection that speaks as it does keeps its encoding in `writes`.
    """
    return getattr(connection, "writes", None) or connection.info.encoding


class Wire:
    """Sends and receives on one connection; opens and ends no transaction."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.pgconn = connection.pgconn

    @property
    def encoding(self) -> str:
        """What statements are written in, see `encoding_of`."""
        return encoding_of(self.connection)

    def flush(self) -> None:
        """Hand everything to the network; reads meanwhile, since the server may have to write."""
        while self.pgconn.flush():
            self.wait(writing=True)

    def next_result(
        self, in_silence: Callable[[], object] = lambda: None
    ) -> pq.abc.PGresult | None:
        """Wait for the next answer, without a time limit; `None`: the statement has no more.

        Args:
            in_silence: called whenever nothing has come for a tenth of a second.

        Raises:
            psycopg.OperationalError: the connection is lost.
        """
        while self.pgconn.is_busy():
            if not self.wait():
                in_silence()
            self.pgconn.consume_input()
        result = self.pgconn.get_result()
        if result is not None and result.status in _COPIES:
            self._end_copy(result)
        return result

    def _end_copy(self, result: pq.abc.PGresult) -> None:
        """Answer a COPY that nobody has asked for here: libpq says it again for ever otherwise."""
        if result.status == pq.ExecStatus.COPY_OUT:
            while self.pgconn.get_copy_data(0)[0] > 0:
                pass
        else:
            self.pgconn.put_copy_end(_NO_DATA)
            self.flush()

    def wait(self, seconds: float = _POLL_SECONDS, *, writing: bool = False) -> bool:
        """Wait for the socket; a tenth of a second at most, so that Ctrl-C works on Windows too.

        Returns:
            Whether there is something to read, or room to write.
        """
        socket = self.pgconn.socket
        if hasattr(select, "poll"):
            polled = select.poll()
            polled.register(socket, (select.POLLOUT if writing else 0) | select.POLLIN)
            ready = bool(polled.poll(seconds * 1000))
        else:
            ready = any(select.select([socket], [socket] if writing else [], [], seconds))
        if writing:
            self.pgconn.consume_input()
        return ready
