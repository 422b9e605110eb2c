"""Get the session of a run, again and again if need be, until the deadline."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from automigrate.database.glance import Glance
from automigrate.database.session import Session, SessionLostError
from automigrate.database.source import URLSource
from automigrate.database.watchdog import Watchdog
from automigrate.deadline import jittered
from automigrate.errors import (
    AutomigrateError,
    DatabaseUnavailableError,
    PermissionDeniedError,
    in_one_line,
)
from automigrate.events import ConnectionRetried, Phase, PhaseEntered
from automigrate.options import Mode
from automigrate.sqlstate import Fault, classify, classify_connecting, driver_error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import psycopg
    from psycopg.pq.abc import PGconn

    from automigrate.database.session import Tables
    from automigrate.database.source import Source
    from automigrate.deadline import Control, Deadline
    from automigrate.events import Listener
    from automigrate.options import Options

__all__ = ["Connector"]

SHORTEST_WAIT = 0.05
LONGEST_WAIT = 1.0


class Connector:
    """Opens the sessions of one run and counts them."""

    def __init__(
        self,
        source: Source,
        options: Options,
        *,
        control: Control,
        deadline: Deadline,
        emit: Listener,
    ) -> None:
        self._source = source
        self._options = options
        self._control = control
        self._deadline = deadline
        self._emit = emit
        self._failures = 0
        self._left: PGconn | None = None
        self.connections = 0
        """Attempts to connect so far."""

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open the session, waiting for the server until the deadline; close it in the end.

        Raises:
            PermissionDeniedError: the server refused, and waiting does not help.
            DatabaseUnavailableError: no connection within the deadline.
            StoppedError: a stop was asked for meanwhile.
            SessionLostError: the session broke while it was used.
        """
        session = Session(self._connected())
        watchdog = Watchdog(session, self._deadline)
        try:
            with watchdog:
                yield session
        except AutomigrateError:
            raise
        except Exception as error:
            if watchdog.barked:
                msg = "the server accepted the connection and then did not answer"
                raise SessionLostError(msg) from error
            # Here, because an error does not always tell whether its connection survived.
            if classify(error, broken=session.broken) is Fault.LOST and driver_error(error):
                raise SessionLostError(self.reason(error)) from error
            raise
        finally:
            session.close()

    @contextmanager
    def glance(self) -> Iterator[Callable[[Tables, Collection[str]], bool]]:
        """Begin to connect for `Glance.shows`, which the body is given; never raises of itself."""
        seconds = min(self._options.connect_timeout, self._deadline.remaining)
        with Glance(self._source, application_name=_name("automigrate"), seconds=seconds) as glance:

            def shows(tables: Tables, heads: Collection[str]) -> bool:
                right = glance.shows(tables, heads)
                if right:
                    self._emit(PhaseEntered(phase=Phase.CONNECTING))
                    self.connections += 1
                else:
                    self._left = glance.take()
                return right

            yield shows

    def observer(self) -> psycopg.Connection[Any]:
        """Open the second connection, that watches the first; one attempt.

        Raises:
            psycopg.Error: it failed.
        """
        return self._connect("automigrate-observer")

    def second(self) -> psycopg.Connection[Any]:
        """Open a connection for a revision that asks its engine for one; one attempt.

        Raises:
            psycopg.Error: it failed.
        """
        return self._connect("automigrate-second")

    def wait_to_reconnect(self, reason: str, remedy: str = "") -> None:
        """Wait a little longer than the last time, with jitter.

        Args:
            reason: why, without secrets.
            remedy: what to do about it when it stays so; by default, to check the connection.

        Raises:
            DatabaseUnavailableError: the deadline has passed, or the mode does not wait.
            StoppedError: a stop was asked for.
        """
        self._failures += 1
        self._control.raise_if_stopping()
        if self._deadline.passed or self._options.mode is Mode.CHECK:
            raise DatabaseUnavailableError(
                reason=reason,
                attempts=self.connections,
                waited_seconds=self._deadline.elapsed,
                **({"remedy": remedy} if remedy else {}),
            )
        grown = min(LONGEST_WAIT, SHORTEST_WAIT * 2.0 ** min(self._failures, 8))
        wait = min(jittered(grown), self._deadline.remaining)
        self._emit(ConnectionRetried(reason=reason, attempt=self.connections, wait_seconds=wait))
        self._control.sleep(wait)

    def wait_or_raise(self, error: Exception) -> None:
        """Wait to begin again after an error of the session, or raise what it means.

        A query of ours that somebody cancelled is asked again as well: who meant the revision at
        work cancelled that, whose errors do not come here.

        Raises:
            PermissionDeniedError: a privilege is missing.
            Exception: `error` itself where beginning again does not help.
        """
        match classify(error, broken=False):
            case Fault.LOST | Fault.READ_ONLY | Fault.BUSY | Fault.CANCELLED:
                self.wait_to_reconnect(self.reason(error))
            case Fault.REFUSED:
                raise PermissionDeniedError(
                    reason=self.reason(error),
                    remedy="Grant the role what it needs, or use another role for migrations.",
                ) from error
            case _:
                raise error

    def reason(self, error: BaseException) -> str:
        """Text of an error in one line, without secrets."""
        from automigrate.database.redaction import scrub

        return scrub(in_one_line(str(error)), self._source.secrets)

    def _connected(self) -> psycopg.Connection[Any]:
        import psycopg

        self._emit(PhaseEntered(phase=Phase.CONNECTING))
        left, self._left = self._left, None
        if left is not None and isinstance(self._source, URLSource):
            self.connections += 1
            return self._source.adopt(left)
        while True:
            self.connections += 1
            try:
                return self._connect("automigrate")
            except psycopg.Error as error:
                if classify_connecting(error) is Fault.REFUSED:
                    raise PermissionDeniedError(
                        reason=self.reason(error),
                        attempts=self.connections,
                        waited_seconds=self._deadline.elapsed,
                    ) from error
                self.wait_to_reconnect(self.reason(error))

    def _connect(self, role: str) -> psycopg.Connection[Any]:
        limit = min(self._options.connect_timeout, max(2.0, self._deadline.remaining))
        return self._source.connect(application_name=_name(role), connect_timeout=limit)


def _name(role: str) -> str:
    """Name a session after what it does and for whom."""
    if hasattr(os, "uname"):  # importing socket costs as much as the look
        return f"{role} {os.uname().nodename}:{os.getpid()}"
    import socket

    return f"{role} {socket.gethostname()}:{os.getpid()}"
