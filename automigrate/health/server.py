"""A health server in a thread, for processes that serve no HTTP themselves.

Example:
    with HealthServer(migrator, port=8081):
        migrator.upgrade()          # /livez 200, /readyz 503 with progress meanwhile
        work()
"""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar, Self, Unpack
from urllib.parse import urlsplit

from automigrate.errors import ConfigurationError
from automigrate.health.endpoints import EndpointOptions, Endpoints
from automigrate.health.metrics import metrics_if_installed

if TYPE_CHECKING:
    from types import TracebackType

    from automigrate.migrator import Migrator

__all__ = ["HealthServer"]


class HealthServer:
    """Serves the endpoints from a daemon thread, which ends with the process at the latest.

    Works while the main thread blocks in `Migrator.upgrade`, in a worker, and in a server's
    master process before it forks (the thread stays in the master).

    Args:
        migrator: whose schema and runs it is about.
        port: port to listen on; 0 takes a free one, see `port`.
        host: address to listen on. Kubelet probes come to the pod's address, so a server on
            `127.0.0.1` would not get them.
        options: see `Endpoints`; `metrics` is there by itself where prometheus-client is.
    """

    def __init__(
        self,
        migrator: Migrator,
        *,
        port: int,
        host: str = "0.0.0.0",  # noqa: S104 -- says nothing secret, and probes must reach it
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._host = host
        self._port = port
        if "metrics" not in options:
            options["metrics"] = metrics_if_installed(migrator)
        self._endpoints = Endpoints(migrator, **options)
        self._server: ThreadingHTTPServer | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._port if self._server is None else self._server.server_address[1]

    def start(self) -> Self:
        """Bind and serve; returns at once.

        Raises:
            ConfigurationError: when the address cannot be bound.
        """
        kind = type("_Bound", (_Handler,), {"endpoints": self._endpoints})
        try:
            server = _server_class(self._host)((self._host, self._port), kind)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"the health server cannot listen on {self._host}:{self._port}: {error}. "
                "Choose another port or host."
            ) from error
        self._server = server
        threading.Thread(
            target=server.serve_forever,
            kwargs={"poll_interval": 0.1},
            name="automigrate-health",
            daemon=True,
        ).start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def _server_class(host: str) -> type[ThreadingHTTPServer]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return type("_Server", (_Server,), {"address_family": family})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away in the middle of its request."""


class _Handler(BaseHTTPRequestHandler):
    endpoints: ClassVar[Endpoints]
    protocol_version = "HTTP/1.1"
    timeout = 5.0
    """Seconds that a client may keep a connection without sending anything."""

    def do_GET(self) -> None:
        self._respond()

    do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = do_PATCH = do_GET  # noqa: N815

    def _respond(self) -> None:
        url = urlsplit(self.path)
        name = self.endpoints.find(url.path)
        if name is None:
            self.send_error(404)
            return
        answer = self.endpoints.answer(name, method=self.command, query=url.query)
        self.send_response(answer.status)
        for header, value in answer.headers:
            self.send_header(header, value)
        self.end_headers()
        self.wfile.write(answer.shown(self.command))

    def version_string(self) -> str:
        """Tell no version of Python to whoever asks."""
        return "automigrate"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Probes come every few seconds; none is worth a line."""
