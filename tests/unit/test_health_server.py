from __future__ import annotations

import http.client
import json
import socket
import threading

import pytest

from automigrate.errors import ConfigurationError
from automigrate.events import Phase, PhaseEntered
from automigrate.health.server import HealthServer
from tests.unit.health_support import FakeMigrator


def ask(port: int, path: str, method: str = "GET") -> http.client.HTTPResponse:
    """Send one request to a server on this machine; its body is in `text`."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5.0)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        answer.text = answer.read().decode()  # type: ignore[attr-defined]  # carried along
        return answer
    finally:
        connection.close()


def body_of(answer: http.client.HTTPResponse) -> str:
    """Return the body of an answer of `ask`."""
    text: str = answer.text  # type: ignore[attr-defined]  # put there by `ask`
    return text


def test_the_server_answers_while_the_main_thread_is_busy() -> None:
    """Probes are answered from a thread of its own, on a free port."""
    migrator = FakeMigrator()
    with HealthServer(migrator, port=0, host="127.0.0.1", look=migrator.look) as server:
        migrator.tell(PhaseEntered(phase=Phase.MIGRATING))
        assert ask(server.port, "/livez").status == 200
        answer = ask(server.port, "/readyz?verbose")
        assert answer.status == 503
        assert json.loads(body_of(answer))["phase"] == "migrating"
        assert answer.headers["Server"] == "automigrate"
        migrator.upgrade()
        assert ask(server.port, "/readyz").status == 200
        assert ask(server.port, "/startupz", "HEAD").status == 200
        assert "automigrate_runs_total" in body_of(ask(server.port, "/metrics"))
        assert ask(server.port, "/other").status == 404
        assert ask(server.port, "/livez", "POST").status == 405


def test_head_has_no_body_on_a_connection_that_stays_open() -> None:
    """The next request on the same connection is answered, so nothing was left on it."""
    migrator = FakeMigrator()
    with HealthServer(migrator, port=0, host="127.0.0.1", look=migrator.look) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5.0)
        for method in ("HEAD", "GET", "HEAD", "GET"):
            connection.request(method, "/readyz")
            answer = connection.getresponse()
            assert answer.status == 200
            answer.read()
        connection.close()


def test_a_port_that_is_taken_is_an_error_of_configuration() -> None:
    """The text names address and remedy."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port}"):
            HealthServer(FakeMigrator(), port=port, host="127.0.0.1").start()


def test_stopping_frees_the_port_and_ends_the_thread() -> None:
    """Nothing of the server is left after its block."""
    with HealthServer(FakeMigrator(), port=0, host="127.0.0.1") as server:
        port = server.port
    with socket.create_server(("127.0.0.1", port)):
        pass
    assert "automigrate-health" not in {thread.name for thread in threading.enumerate()}


def test_an_ipv6_address_can_be_bound() -> None:
    """A host with colons is an IPv6 address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    with HealthServer(FakeMigrator(), port=0, host="::1") as server:
        socket.create_connection(("::1", server.port), timeout=5.0).close()


def test_a_client_that_hangs_up_makes_no_noise(capsys: pytest.CaptureFixture[str]) -> None:
    """A broken client leaves no traceback on the application's stderr."""
    with HealthServer(FakeMigrator(), port=0, host="127.0.0.1") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as client:
            client.sendall(b"GET /livez HTTP/1.1\r\n")
        assert ask(server.port, "/livez").status == 200
    assert capsys.readouterr().err == ""
