"""Glance at the database before the scripts are read to the end: is everything as wanted?

Nearly every start of a process finds nothing to do, so that case has a path of its own, on bare
libpq: the connection is begun, the scripts are read while the server makes its side ready, and one
query asks for the heads and the open journal rows, and for nothing else. Whatever is not plainly
right (other heads, no version table, any error, a second gone by) is no result: the regular path
then says what it finds, on the same connection where the server has answered.

The first query of a process on a database asks for tables that may not be there. Once it has found
them, the later ones of the process name them, which saves the server another part of its work.
"""

from __future__ import annotations

import select
import sys
import time
from typing import TYPE_CHECKING, Protocol, Self

from automigrate.database import libpq
from automigrate.database.source import URLSource

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from psycopg.pq.abc import PGconn

    from automigrate.database.session import Tables
    from automigrate.database.source import Source

__all__ = ["Glance"]

LONGEST = 1.0
"""Seconds; a server that is slower than this is left to the regular path."""

# Like `session.LOOK`, and with fewer catalogs to load into the server's fresh process, which is
# where the time of a first query goes: 0.7 ms less. '@' occurs in no revision id. The table of open
# rows counts where it is beside the version table (1259 is pg_class), and the journal elsewhere.
GLANCE = b"""\
select word from ts_stat(case when to_regclass($1) is null then 'select null::tsvector'
  when has_table_privilege(to_regclass($3), 'select')
    and (pg_identify_object(1259, to_regclass($1), 0)).schema
      = (pg_identify_object(1259, to_regclass($3), 0)).schema then $2 || ' union all ' || $4
  when has_table_privilege(to_regclass($5), 'select') then $2 || ' union all ' || $6 else $2 end)"""

HEADS = "select array_to_tsvector(array[version_num]) from {}"
OPEN_ROWS = """\
select array_to_tsvector(array['@open']) from {} union all select array_to_tsvector(array['@'])"""
OPEN = "select array_to_tsvector(array['@open']) from {} where state in ('running', 'failed')"

FOUND = "@"
"""The word that says that the table of open rows was asked."""

# An error where a table is missing, in the server's log as well. An open row is a null.
NAMED = "select version_num from {} union all select null from {}"

_found: set[int] = set()
"""Hashes of the databases, with the tables, where this process has found both."""
MOST = 1000
"""Of those that are remembered."""

_FAILED, _READING, _WRITING, _CONNECTED = range(4)  # PostgresPollingStatusType
_TUPLES_OK = 2  # ExecStatusType


class _Result(Protocol):
    @property
    def status(self) -> int: ...

    @property
    def ntuples(self) -> int: ...

    def get_value(self, row_number: int, column_number: int, /) -> bytes | None: ...

    def clear(self) -> None: ...


class _Connection(Protocol):
    @property
    def socket(self) -> int: ...

    def connect_poll(self) -> int: ...

    def send_query_params(self, command: bytes, param_values: Sequence[bytes], /) -> None: ...

    def consume_input(self) -> None: ...

    def is_busy(self) -> int: ...

    def get_result(self) -> _Result | None: ...

    def finish(self) -> None: ...


class _UnusualError(Exception):
    """Something for the regular path."""


class Glance:
    """One connection attempt and one query; use as a context manager, which never raises.

    Args:
        source: only URLs of one server are glanced at; engines and functions connect their way.
        application_name: as for `Source.connect`.
        seconds: how long at most, `LONGEST` in any case.
    """

    def __init__(self, source: Source, *, application_name: str, seconds: float) -> None:
        self._source = source
        self._application_name = application_name
        self._end = time.monotonic() + min(seconds, LONGEST)
        self._connection: _Connection | None = None
        self._status = _WRITING
        self._left: PGconn | None = None
        self._conninfo = b""

    def __enter__(self) -> Self:
        """Send the first packet; what it takes the server to answer is the caller's time."""
        try:
            self._connection = self._begin()
            while self._status == _WRITING and self._ready(0.0):
                self._go_on()
        except Exception:  # noqa: BLE001 - the regular path tells what is wrong
            self.close()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        left = self.take()
        if left is not None:
            left.finish()

    def shows(self, tables: Tables, heads: Collection[str]) -> bool:
        """Whether the version table holds exactly these heads and no journal row is open.

        Args:
            tables: where to look.
            heads: what is wanted.

        Returns:
            `True`: nothing to do. `False`: nothing is known; `take` may have the connection.
        """
        try:
            while self._status in {_READING, _WRITING}:
                self._wait()
                self._go_on()
            return self._compared(tables, heads)
        except Exception:  # noqa: BLE001 - the regular path tells what is wrong
            return False
        finally:
            self.close()

    def _compared(self, tables: Tables, heads: Collection[str]) -> bool:
        right = self._words(tables) == set(heads) and bool(heads)
        if not right and "psycopg" in sys.modules:
            self._leave()
        return right

    def take(self) -> PGconn | None:
        """Return the connection after `shows` had an answer that was not the right one.

        It is idle, and the caller's to close; `None`: there is none that psycopg could go on with.
        """
        left, self._left = self._left, None
        return left

    def _leave(self) -> None:
        from psycopg import pq

        connection = self._connection
        if isinstance(connection, pq.PGconn) and connection.status == pq.ConnStatus.OK:
            self._connection, self._left = None, connection

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.finish()

    def _begin(self) -> _Connection:
        if not isinstance(self._source, URLSource) or self._end <= time.monotonic():
            raise _UnusualError
        conninfo = self._conninfo = self._source.conninfo(
            application_name=self._application_name, connect_timeout=LONGEST
        ).encode("ascii")
        if "psycopg" in sys.modules:
            from psycopg import pq

            return pq.PGconn.connect_start(conninfo)
        library = libpq.load()
        if library is None:
            raise _UnusualError
        return libpq.PGconn(library, conninfo)

    def _go_on(self) -> None:
        if self._connection is None:
            raise _UnusualError
        self._status = self._connection.connect_poll()
        if self._status == _FAILED:
            raise _UnusualError

    def _words(self, tables: Tables) -> set[str]:
        """Return the heads, and a word that is none where a journal row is open."""
        place = hash((self._conninfo, tables))
        if place in _found:
            named = NAMED.format(tables.version, tables.open_rows)
            _found.discard(place)  # where it fails now, one of the tables is gone
            words = self._answer(named.encode("ascii"))
            _found.add(place)
            return words
        parameters = (
            *(tables.version, HEADS.format(tables.version)),
            *(tables.open_rows, OPEN_ROWS.format(tables.open_rows)),
            *(tables.journal, OPEN.format(tables.journal)),
        )
        words = self._answer(GLANCE, [text.encode("ascii") for text in parameters])
        if FOUND in words:
            if len(_found) >= MOST:
                _found.clear()
            _found.add(place)
        return words - {FOUND}

    def _answer(self, query: bytes, parameters: Sequence[bytes] = ()) -> set[str]:
        connection = self._connection
        if connection is None:
            raise _UnusualError
        connection.send_query_params(query, parameters)
        self._status = _READING
        while connection.is_busy():
            self._wait()
            connection.consume_input()
        result = connection.get_result()
        if result is None:
            raise _UnusualError
        try:
            if result.status != _TUPLES_OK:
                raise _UnusualError
            values = [result.get_value(row, 0) for row in range(result.ntuples)]
        finally:
            result.clear()
        while (more := connection.get_result()) is not None:  # none: the end of the statement
            more.clear()
        return {(value or b"").decode("ascii") for value in values}

    def _wait(self) -> None:
        if not self._ready(self._end - time.monotonic()):
            raise _UnusualError

    def _ready(self, seconds: float) -> bool:
        """Wait for the socket, in Python: signals are handled meanwhile, other threads run."""
        assert self._connection is not None
        socket, writing = self._connection.socket, self._status == _WRITING
        if hasattr(select, "poll"):
            polled = select.poll()
            polled.register(socket, select.POLLOUT if writing else select.POLLIN)
            return bool(polled.poll(max(0.0, seconds) * 1000.0))
        reading = [] if writing else [socket]
        return any(select.select(reading, [socket] if writing else [], [], max(0.0, seconds)))
