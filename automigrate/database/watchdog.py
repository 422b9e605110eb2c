"""End a session whose server does not answer any more when the deadline has passed.

A frozen server, or a network device that takes bytes and forwards none, keeps the connection alive
for TCP, so that no time-out of the operating system helps. Statements of revisions are left alone:
nobody can tell a long one from a dead one.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from automigrate.database.session import Session
    from automigrate.deadline import Deadline

__all__ = ["Watchdog"]

GRACE = 2.0
"""Seconds beyond the deadline that an answer may take."""
INTERVAL = 0.5
LONGEST = 60 * 60.0


class Watchdog:
    """Watches one session from a thread; use as a context manager."""

    def __init__(self, session: Session, deadline: Deadline) -> None:
        self._session = session
        self._deadline = deadline
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="automigrate-watchdog", daemon=True)
        self.barked = False
        """Whether it ended the session."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join(timeout=1.0)  # none is left when the interpreter ends

    def _run(self) -> None:
        silent = 0.0
        while not self._closed.wait(INTERVAL if self._deadline.passed else self._long):
            waits = self._session.waiting_for_server and not self._session.patient
            silent = silent + INTERVAL if waits and self._deadline.passed else 0.0
            if silent > GRACE:
                self.barked = True
                self._disconnect()
                return

    @property
    def _long(self) -> float:
        return min(self._deadline.remaining + INTERVAL, LONGEST)

    def _disconnect(self) -> None:
        """Shut the socket down under the feet of whoever waits on it."""
        import socket  # costs as much as the look of a run that needs none

        with (
            suppress(Exception),
            socket.socket(fileno=os.dup(self._session.connection.fileno())) as shared,
        ):
            shared.shutdown(socket.SHUT_RDWR)
