"""Replicas of an application that start together, stop at named places and are killed there."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.support.projects import Project
    from tests.support.servers import Database

__all__ = ["LONG", "Replica", "replicas", "until"]

LONG = 60.0
"""Seconds that any single step of a test may take on a busy machine."""

_ROOT = Path(__file__).parents[2]


class Replica:
    """One process that migrates, seen from the test.

    Attributes:
        events: names of the events told so far.
        result: what it told last: ``outcome`` and more, or ``error`` and ``text``.
    """

    def __init__(
        self,
        database: Database | str,
        project: Project,
        *,
        stop_at: str | None = None,
        at_once: bool = False,
        asynchronous: bool = False,
        **options: Any,
    ) -> None:
        """Start the process.

        Args:
            database: the database, or a URL.
            project: the Alembic project.
            stop_at: event at which it waits for `go`, such as ``LockTaken`` or
                ``RevisionStarted r0002``.
            at_once: whether it waits for `go` before it begins.
            asynchronous: whether it calls `upgrade_async`.
            **options: as for `automigrate.upgrade`.
        """
        settings = {
            "url": database if isinstance(database, str) else database.url,
            "scripts": str(project.scripts),
            "stop_at": stop_at,
            "at_once": at_once,
            "asynchronous": asynchronous,
            "options": {"poll_interval": 1.0, "timeout": LONG, **options},
        }
        self.events: list[str] = []
        self.result: dict[str, Any] = {}
        self._told: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.replica", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
            env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        )
        self._errors: list[str] = []
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def go(self) -> None:
        """Let it go on from where it waits."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def until_told(self, name: str, value: object = None) -> dict[str, Any]:
        """Wait until it tells something by this name, such as ``ready`` or ``stopped``."""
        deadline = time.monotonic() + LONG
        while (told := self._next(deadline)) is not None:
            if name in told and (value is None or told[name] == value):
                return told
        pytest.fail(f"it never told {name}: {self}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self._process.kill()
        self._process.wait(LONG)

    def finish(self) -> int:
        """Wait for its end; return its exit code."""
        code = self._process.wait(LONG)
        for thread in self._threads:
            thread.join(LONG)
        while self._next(time.monotonic() + 1.0) is not None:
            pass
        return code

    def close(self) -> None:
        """Kill it if it still runs, and close the pipes."""
        if self._process.poll() is None:
            self.kill()
        for thread in self._threads:
            thread.join(LONG)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                continue

    def __str__(self) -> str:
        """Show what is known of it, for the message of a failed test."""
        return f"events {self.events}, result {self.result}, stderr {''.join(self._errors)}"

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._told.put(json.loads(line))
        self._told.put(None)

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        self._errors.extend(self._process.stderr)

    def _next(self, deadline: float) -> dict[str, Any] | None:
        try:
            told = self._told.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None
        if told is None:
            self._told.put(None)
        elif "event" in told:
            self.events.append(" ".join(filter(None, (told["event"], told.get("revision")))))
        elif "outcome" in told or "error" in told:
            self.result = told
        return told


@contextmanager
def replicas(
    count: int, database: Database | str, project: Project, **settings: Any
) -> Iterator[Sequence[Replica]]:
    """Start processes that all wait for `Replica.go`, ready to call `upgrade`."""
    started = [Replica(database, project, at_once=True, **settings) for _ in range(count)]
    try:
        for replica in started:
            replica.until_told("ready")
        yield started
    finally:
        for replica in started:
            replica.close()


def until(condition: Callable[[], Any], what: str) -> Any:
    """Ask again until there is an answer, and return it."""
    deadline = time.monotonic() + LONG
    while time.monotonic() < deadline:
        if answer := condition():
            return answer
        time.sleep(0.02)
    pytest.fail(f"never came true: {what}")
