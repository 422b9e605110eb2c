"""A TCP proxy that breaks connections on demand, for tests of network faults."""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["FaultProxy"]

_CHUNK = 65536
_LONGEST_PATTERN = 1024
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER without waiting: close sends RST."""


@dataclass(eq=False)
class _Side:
    """One end of a proxied connection, and what waits to be sent to it."""

    socket: socket.socket
    from_client: bool
    peer: _Side | None = None
    outgoing: deque[tuple[float, bytes]] = field(default_factory=deque)
    seen: bytes = b""
    """The last bytes that it has sent, for patterns that arrive in pieces."""
    ended: bool = False
    """Whether it has sent its last byte."""


@dataclass(eq=False)
class _Trap:
    pattern: bytes
    action: Callable[[], None]
    before: bool
    from_client: bool


class FaultProxy:
    """Forwards TCP connections to a server until told to misbehave; a context manager.

    One thread serves all connections. The commands may be called from any thread, from the
    actions of `when` too, and have taken effect when they return.

    Attributes:
        host: ``127.0.0.1``.
        port: where the proxy listens, a free port.
        connections: how many connections were accepted so far, refused ones not included.
    """

    host = "127.0.0.1"

    def __init__(self, server_host: str, server_port: int) -> None:
        self._server = (server_host, server_port)
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._sides: set[_Side] = set()
        self._traps: list[_Trap] = []
        self._silent = False
        self._delay = 0.0
        self._closing = False
        self.connections = 0
        self._listener: socket.socket | None = None
        self.port = 0
        self._wake_in, self._wake_out = socket.socketpair()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="fault proxy", daemon=True)
        self._listen()
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def open_connections(self) -> int:
        """How many connections are open through the proxy now."""
        with self._lock:
            return sum(side.from_client for side in self._sides)

    def cut(self) -> None:
        """Reset every open connection on both sides, as a crashed router does."""
        with self._lock:
            for side in list(self._sides):
                with contextlib.suppress(OSError):
                    side.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._drop(side)

    def silence(self) -> None:
        """Accept connections and bytes, but forward nothing: a lost route, a stalled host."""
        with self._lock:
            self._silent = True

    def refuse(self) -> None:
        """Refuse new connections; those that are open go on."""
        with self._lock:
            if self._listener is not None:
                self._selector.unregister(self._listener)
                self._listener.close()
                self._listener = None
            self._wake()

    def resume(self) -> None:
        """Behave again: listen, forward what was held back, without delay."""
        with self._lock:
            self._silent = False
            self._delay = 0.0
            if self._listener is None:
                self._listen()
            self._wake()

    def delay(self, seconds: float) -> None:
        """Forward whatever arrives from now on later by this much, in both directions."""
        with self._lock:
            self._delay = seconds

    def when(
        self,
        pattern: bytes,
        action: Callable[[], None],
        *,
        before: bool = False,
        from_client: bool = True,
    ) -> None:
        """Do something once, when these bytes pass; also if they arrive in pieces.

        Args:
            pattern: such as ``b"COMMIT"``.
            action: runs on the proxy's thread, such as `cut` or `silence`.
            before: whether to act before the bytes are forwarded; by default the server has
                received and answered them, and the answer is withheld from the client.
            from_client: whether to look at what the client sends, or at the server's answers.
        """
        with self._lock:
            self._traps.append(_Trap(pattern, action, before, from_client))

    def close(self) -> None:
        """Reset all connections and end the thread."""
        with self._lock:
            self._closing = True
            self.cut()
            self.refuse()
        self._thread.join(10)
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()

    def _listen(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.host, self.port))
        listener.listen(128)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        self._selector.register(listener, selectors.EVENT_READ)

    def _wake(self) -> None:
        self._wake_in.send(b"x")

    def _serve(self) -> None:
        while not self._closing:
            events = self._selector.select(self._until_next_delivery())
            with self._lock:
                for key, _ in events:
                    if key.fileobj is self._wake_out:
                        self._wake_out.recv(_CHUNK)
                    elif key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.data, _Side) and key.data in self._sides:
                        self._receive(key.data)
                self._deliver()

    def _until_next_delivery(self) -> float | None:
        with self._lock:
            due = [side.outgoing[0][0] for side in self._sides if side.outgoing]
            if self._silent or not due:
                return None
            return max(0.0, min(due) - time.monotonic())

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        self.connections += 1
        client = _Side(accepted, from_client=True)
        try:
            server = _Side(socket.create_connection(self._server, timeout=5), from_client=False)
        except OSError:
            accepted.close()
            return
        client.peer, server.peer = server, client
        for side in (client, server):
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            side.socket.settimeout(5)
            self._sides.add(side)
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _receive(self, side: _Side) -> None:
        assert side.peer is not None
        try:
            received = side.socket.recv(_CHUNK)
        except OSError:
            received = b""
        if not received:
            self._selector.unregister(side.socket)
            side.ended = True
            return
        trap = self._sprung(side, received)
        if trap is None:
            side.peer.outgoing.append((time.monotonic() + self._delay, received))
        elif trap.before:
            side.peer.outgoing.append((time.monotonic() + self._delay, received))
            trap.action()
        else:
            self._pass_and_await_answer(side.peer, received)
            trap.action()

    def _sprung(self, side: _Side, received: bytes) -> _Trap | None:
        """Find the trap that these bytes complete, and take it away: it acts once."""
        for trap in self._traps:
            overlap = side.seen[-(len(trap.pattern) - 1) :] if len(trap.pattern) > 1 else b""
            if trap.from_client == side.from_client and trap.pattern in overlap + received:
                self._traps.remove(trap)
                side.seen = b""
                return trap
        side.seen = (side.seen + received)[-_LONGEST_PATTERN:]
        return None

    def _pass_and_await_answer(self, target: _Side, received: bytes) -> None:
        """Send at once what was held back and these bytes; wait until the target answered."""
        with contextlib.suppress(OSError):
            while target.outgoing:
                target.socket.sendall(target.outgoing.popleft()[1])
            target.socket.sendall(received)
            if not target.from_client:
                target.socket.recv(1, socket.MSG_PEEK)

    def _deliver(self) -> None:
        now = time.monotonic()
        for side in list(self._sides):
            if side not in self._sides or self._silent:
                continue
            with contextlib.suppress(OSError):
                while side.outgoing and side.outgoing[0][0] <= now:
                    side.socket.sendall(side.outgoing.popleft()[1])
            if side.peer is not None and side.peer.ended and not side.outgoing:
                self._drop(side.peer)
                self._drop(side)

    def _drop(self, side: _Side) -> None:
        if side in self._sides:
            self._sides.remove(side)
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(side.socket)
            side.socket.close()
