from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

from automigrate.health.wsgi import GateMiddleware, HealthMiddleware
from tests.unit.health_support import FakeMigrator, eventually

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment


def ask(
    app: WSGIApplication,
    path: str = "/",
    *,
    method: str = "GET",
    accept: str = "*/*",
    query: str = "",
) -> tuple[int, dict[str, str], bytes]:
    """Send one request through an application, checked against the WSGI specification."""
    environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, "HTTP_ACCEPT": accept}
    environ |= {"QUERY_STRING": query, "SCRIPT_NAME": ""}
    setup_testing_defaults(environ)
    begun: list[Any] = []

    def start_response(*arguments: Any) -> Any:
        begun.extend(arguments)
        return lambda _: None

    answer: Any = validator(app)(environ, start_response)
    body = b"".join(answer)
    answer.close()
    return int(begun[0].split()[0]), dict(begun[1]), body


class Behind:
    """An application that notes what reaches it."""

    def __init__(self) -> None:
        self.reached: list[str] = []

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 200 to everything."""
        self.reached.append(environ["PATH_INFO"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"app"]


def test_the_gate_lets_nothing_through_until_the_schema_is_right() -> None:
    """The first request starts the run; requests reach the application after it."""
    migrator, behind = FakeMigrator(), Behind()
    migrator.on_upgrade = lambda: migrator.released.wait(10.0)
    app = GateMiddleware(behind, migrator)
    assert migrator.runs == 0
    assert ask(app, "/readyz")[0] == 503
    assert ask(app, "/livez")[0] == 200
    assert ask(app)[0] == 503
    assert behind.reached == []
    migrator.released.set()
    assert eventually(lambda: ask(app, "/readyz")[0] == 200)
    assert ask(app)[2] == b"app"
    assert migrator.runs == 1


def test_start_runs_before_the_first_request() -> None:
    """A server's hook may start the run itself."""
    migrator = FakeMigrator()
    app = GateMiddleware(Behind(), migrator)
    app.start()
    assert app.gate.wait(5.0)
    assert ask(app)[0] == 200


def test_a_browser_gets_the_page_and_a_program_gets_json() -> None:
    """The closed gate answers in the form that the client accepts."""
    migrator = FakeMigrator()
    migrator.on_upgrade = lambda: migrator.released.wait(10.0)
    app = GateMiddleware(Behind(), migrator)
    status, headers, page = ask(app, accept="text/html")
    assert (status, headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert page.startswith(b"<!doctype html>")
    status, headers, problem = ask(app)
    assert (status, headers["Content-Type"]) == (503, "application/problem+json")
    assert json.loads(problem)["status"] == 503
    migrator.released.set()


def test_the_middleware_passes_everything_else_untouched() -> None:
    """Only its own names are taken from the application; HEAD has no body."""
    behind = Behind()
    migrator = FakeMigrator()
    app = HealthMiddleware(behind, migrator, look=migrator.look)
    assert ask(app, "/other")[2] == b"app"
    assert ask(app, "/readyz", method="HEAD")[::2] == (200, b"")
    assert json.loads(ask(app, "/readyz", query="verbose=1")[2])["verdict"] == "current"
    assert behind.reached == ["/other"]
