"""Processes that serve HTTP, and the clients that probe them."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["EXAMPLES", "ROOT", "Answer", "Process", "ask", "environment", "free_port", "running"]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PATIENCE = 40.0
"""Seconds in which a process has to get where a test wants it; the machine may be busy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP answer; status 0 means that nobody listened."""

    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> dict[str, Any]:
        """The body as a JSON object."""
        body: dict[str, Any] = json.loads(self.text)
        return body


def ask(port: int, path: str = "/", *, method: str = "GET", accept: str = "*/*") -> Answer:
    """Send one request to this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10.0)
    try:
        connection.request(method, path, headers={"Accept": accept})
        answer = connection.getresponse()
        headers = {key.lower(): value for key, value in answer.headers.items()}
        return Answer(status=answer.status, headers=headers, text=answer.read().decode())
    except OSError:
        return Answer(status=0, headers={}, text="")
    finally:
        connection.close()


def free_port() -> int:
    """Return a port that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def environment(**more: str) -> dict[str, str]:
    """Return an environment without what would steer automigrate or libpq, and with `more`."""
    foreign = ("AUTOMIGRATE_", "DATABASE_URL", "PG", "KUBERNETES_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **more}


@dataclass(slots=True, kw_only=True)
class Process:
    """A process under test, leader of a process group of its own."""

    popen: subprocess.Popen[bytes]
    output: Path

    @property
    def text(self) -> str:
        """What it has written so far."""
        return self.output.read_text(errors="replace")

    def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until a condition holds; fail with the process' output when it does not."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"not so within {seconds} s; it wrote:\n{self.text}")
            time.sleep(0.05)

    def terminate(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.popen.send_signal(signal.SIGTERM)
        return self.end()

    def end(self) -> int:
        """Wait for the end and return the exit code."""
        try:
            return self.popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it did not end; it wrote:\n{self.text}")


@contextlib.contextmanager
def running(
    arguments: Sequence[str], *, cwd: Path = ROOT, env: Mapping[str, str]
) -> Iterator[Process]:
    """Run a Python module or script as a process; nothing of its group is left afterwards."""
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output"
        with output.open("wb") as log:
            popen = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield Process(popen=popen, output=output)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(popen.pid, signal.SIGKILL)
            popen.wait()
