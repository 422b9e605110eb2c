"""SIGTERM and Ctrl-C for a command: first stop, then abort, then exit."""

from __future__ import annotations

import contextlib
import enum
import os
import select
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, Protocol

from automigrate.errors import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Stoppable", "stopped_by_signals"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stoppable(Protocol):
    """What signals stop: a `Migrator`."""

    def stop(self) -> None:
        """Ask for an end at the next revision boundary."""

    def abort(self) -> None:
        """Ask for an end now."""


class Arrival(enum.Enum):
    """What a wait for a signal ended with."""

    SIGNAL = enum.auto()
    TIMEOUT = enum.auto()
    ENDED = enum.auto()
    """The command has come to its end."""


@contextlib.contextmanager
def stopped_by_signals(run: Stoppable, grace: float) -> Iterator[None]:
    """Stop at the first signal, abort at the second or when the grace is over, exit at the third.

    The handlers do nothing: a thread reads from the wake-up descriptor which signal came, because
    a handler may interrupt the main thread while that holds the very lock that `stop` needs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    descriptor = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    watcher = threading.Thread(
        target=_watch, args=(reader, run, grace), name="automigrate-signals", daemon=True
    )
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(descriptor)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        writer.close()
        watcher.join()
        reader.close()


def _watch(reader: socket.socket, run: Stoppable, grace: float) -> None:
    if _arrival(reader, None) is Arrival.ENDED:
        return
    run.stop()
    if _arrival(reader, grace) is Arrival.ENDED:
        return
    run.abort()
    if _arrival(reader, None) is Arrival.SIGNAL:
        os._exit(StoppedError.exit_code)


def _arrival(reader: socket.socket, timeout: float | None) -> Arrival:
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([reader], [], [], left)[0]:
            return Arrival.TIMEOUT
        number = reader.recv(1)
        if not number:
            return Arrival.ENDED
        if number[0] in SIGNALS:
            return Arrival.SIGNAL
