"""Health endpoints and gate for WSGI: Flask, Django and any other.

Example:
    app.wsgi_app = GateMiddleware(app.wsgi_app, Migrator(url, "migrations"))     # Flask
    application = GateMiddleware(get_wsgi_application(), Migrator(url, "…"))     # Django
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

from automigrate.health.endpoints import Answer, EndpointOptions, Endpoints
from automigrate.health.gate import Gate
from automigrate.health.looking import look_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from automigrate.migrator import Migrator

__all__ = ["GateMiddleware", "HealthMiddleware"]


class HealthMiddleware:
    """Adds the endpoints to an application; everything else passes untouched.

    Args:
        app: the application.
        migrator: whose schema and runs it is about.
        options: see `Endpoints`.
    """

    def __init__(
        self, app: WSGIApplication, migrator: Migrator, **options: Unpack[EndpointOptions]
    ) -> None:
        self._app = app
        self._endpoints = Endpoints(migrator, **options)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request for an endpoint, or hand it to the application."""
        name = self._endpoints.find(environ.get("PATH_INFO", ""))
        if name is None:
            return self._app(environ, start_response)
        return _respond_to(self._endpoints, name, environ, start_response)


class GateMiddleware:
    """Answers health at once, migrates in a thread, and lets requests pass when that is done.

    WSGI has no hook for the start of a server, and importing the application must not migrate
    (tests and scripts import it too): the run starts with `start`, which a server's hook may
    call, or with the first request, which under an orchestrator is a probe.

    A server that loads the application before it forks (preload) may call `start` before or after
    the fork: a worker inherits an open gate, and starts its own look otherwise.

    Args:
        app: the application.
        migrator: what to run and watch.
        grace_seconds: how long the end of the server lets the current revision go on.
        on_failure: called once in the gate's thread when the run failed for good.
        options: see `Endpoints`.
    """

    def __init__(
        self,
        app: WSGIApplication,
        migrator: Migrator,
        *,
        grace_seconds: float = 20.0,
        on_failure: Callable[[BaseException], None] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._app = app
        self.gate = Gate(
            migrator,
            look=options.get("look") or partial(look_at, migrator),
            grace_seconds=grace_seconds,
            on_failure=on_failure,
        )
        self._endpoints = Endpoints(migrator, gate=self.gate, **options)

    def start(self) -> None:
        """Start the migration unless it was started in this process; returns at once."""
        self.gate.start()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer for health and the closed gate; hand the rest to the application."""
        name = self._endpoints.find(environ.get("PATH_INFO", ""))
        if name is not None:
            self.gate.start()
            return _respond_to(self._endpoints, name, environ, start_response)
        if self.gate.is_open:
            return self._app(environ, start_response)
        self.gate.start()
        method = environ["REQUEST_METHOD"]
        answer = self._endpoints.turned_away(method=method, accept=environ.get("HTTP_ACCEPT", ""))
        return _send(answer, method, start_response)


def _respond_to(
    endpoints: Endpoints, name: str, environ: WSGIEnvironment, start_response: StartResponse
) -> Iterable[bytes]:
    method = environ["REQUEST_METHOD"]
    answer = endpoints.answer(name, method=method, query=environ.get("QUERY_STRING", ""))
    return _send(answer, method, start_response)


def _send(answer: Answer, method: str, start_response: StartResponse) -> Iterable[bytes]:
    start_response(f"{answer.status.value} {answer.status.phrase}", list(answer.headers))
    return [answer.shown(method)]
