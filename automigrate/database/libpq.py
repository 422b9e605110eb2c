"""libpq without psycopg: the few functions that one look needs, through ctypes.

Importing psycopg takes twenty times as long as the look, and a process that finds nothing to do
needs nothing else of it. So where psycopg is not imported yet, the look goes to libpq itself: to
the one that psycopg brings (or, with `psycopg[c]` and plain `psycopg`, to the system's), which is
found without importing it. The names are those of `psycopg.pq`, so that either serves.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["PGconn", "PGresult", "load"]

_FROM_SYSTEM = {"darwin": "libpq.5.dylib", "linux": "libpq.so.5"}

_NoticeProcessor = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)


def _swallow(_argument: object, _message: object) -> None:
    """Take a notice that libpq would print on stderr."""


_SWALLOW = _NoticeProcessor(_swallow)  # kept for as long as libpq may call it


class PGresult:
    """The answer to one statement."""

    def __init__(self, library: ctypes.CDLL, pointer: int) -> None:
        self._library = library
        self._pointer = pointer

    @property
    def status(self) -> int:
        """As `PQresultStatus`."""
        status: int = self._library.PQresultStatus(self._pointer)
        return status

    @property
    def ntuples(self) -> int:
        """Number of rows."""
        rows: int = self._library.PQntuples(self._pointer)
        return rows

    def get_value(self, row_number: int, column_number: int) -> bytes | None:
        """Return a copy of a value as text; an empty one where it is null."""
        value: bytes | None = self._library.PQgetvalue(self._pointer, row_number, column_number)
        return value

    def clear(self) -> None:
        """Free it."""
        self._library.PQclear(self._pointer)


class PGconn:
    """A connection, from the first packet to the last; see `psycopg.pq.PGconn`."""

    def __init__(self, library: ctypes.CDLL, conninfo: bytes) -> None:
        """Begin to connect, as `PQconnectStart`."""
        self._library = library
        self._pointer = library.PQconnectStart(conninfo)
        if not self._pointer:
            raise MemoryError
        library.PQsetNoticeProcessor(self._pointer, _SWALLOW, None)

    @property
    def socket(self) -> int:
        """File descriptor; it may change while connecting."""
        socket: int = self._library.PQsocket(self._pointer)
        return socket

    def connect_poll(self) -> int:
        """Go on connecting, as `PQconnectPoll`."""
        status: int = self._library.PQconnectPoll(self._pointer)
        return status

    def send_query_params(self, command: bytes, param_values: Sequence[bytes]) -> None:
        """Send a statement with parameters as text.

        Raises:
            OSError: it could not be sent.
        """
        values = (ctypes.c_char_p * len(param_values))(*param_values)
        sent = self._library.PQsendQueryParams(
            self._pointer, command, len(param_values), None, values, None, None, 0
        )
        if not sent:
            raise OSError

    def consume_input(self) -> None:
        """Take what has arrived.

        Raises:
            OSError: the connection is lost.
        """
        if not self._library.PQconsumeInput(self._pointer):
            raise OSError

    def is_busy(self) -> int:
        """Whether `get_result` would have to wait."""
        busy: int = self._library.PQisBusy(self._pointer)
        return busy

    def get_result(self) -> PGresult | None:
        """Return the next answer; `None` after the last."""
        pointer = self._library.PQgetResult(self._pointer)
        return PGresult(self._library, pointer) if pointer else None

    def finish(self) -> None:
        """Close the connection and free everything."""
        pointer, self._pointer = self._pointer, None
        if pointer:
            self._library.PQfinish(pointer)


@cache
def load() -> ctypes.CDLL | None:
    """Load libpq, as psycopg would find it; `None`: there is none that can be used."""
    for path in _candidates():
        try:
            return _declared(ctypes.CDLL(path))
        except (OSError, AttributeError):
            continue
    return None


def _candidates() -> Iterator[str]:
    system = _FROM_SYSTEM.get(sys.platform)
    if system is None:
        return
    if os.environ.get("PSYCOPG_IMPL") in {None, "", "binary"}:
        spec = find_spec("psycopg_binary")
        for package in (spec.submodule_search_locations or ()) if spec is not None else ():
            # Where auditwheel and delocate put the libraries of a wheel.
            for directory in (f"{package}.libs", f"{package}/.dylibs"):
                if os.path.isdir(directory):  # noqa: PTH112  pathlib costs more than the look
                    names = os.listdir(directory)  # noqa: PTH208
                    yield from (f"{directory}/{n}" for n in names if n.startswith("libpq"))
    yield system


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    texts = ctypes.POINTER(text)
    for name, result, arguments in (
        ("PQconnectStart", pointer, [text]),
        ("PQconnectPoll", number, [pointer]),
        ("PQsocket", number, [pointer]),
        ("PQsetNoticeProcessor", pointer, [pointer, _NoticeProcessor, pointer]),
        (
            "PQsendQueryParams",
            number,
            [pointer, text, number, pointer, texts, pointer, pointer, number],
        ),
        ("PQconsumeInput", number, [pointer]),
        ("PQisBusy", number, [pointer]),
        ("PQgetResult", pointer, [pointer]),
        ("PQresultStatus", number, [pointer]),
        ("PQntuples", number, [pointer]),
        ("PQgetvalue", text, [pointer, number, number]),
        ("PQclear", None, [pointer]),
        ("PQfinish", None, [pointer]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library
