"""Many processes that start at once: how soon all are ready, and what they ask of the server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks.tools import environment

if TYPE_CHECKING:
    from pathlib import Path

    from automigrate.database.url import DatabaseURL

__all__ = ["processes", "takeover", "threads"]

# Every replica prints, as JSON: when it was ready, what it did, when its last revision was applied.
# Then it stays, as an application does that is ready: to end takes as much time as to get ready.
REPLICA = """\
import json, sys, time
import psycopg
import automigrate
from automigrate.events import RevisionApplied
last = []
def heard(event):
    if isinstance(event, RevisionApplied):
        last[:] = [time.time()]
        if event.position == 1:
            print("begun", flush=True)
print("waiting", flush=True)
sys.stdin.readline()
try:
    report = automigrate.upgrade(sys.argv[1], sys.argv[2], on_event=heard)
    found = {"ready": time.time(), "outcome": report.outcome, "applied": len(report.applied)}
except automigrate.AutomigrateError as error:
    found = {"error": str(error)[:200]}
print(json.dumps({**found, "last": last[0] if last else None}), flush=True)
sys.stdin.readline()
"""


def _replica(url: DatabaseURL, scripts: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", REPLICA, url.sqlalchemy_url("postgresql"), str(scripts)],
        env=environment(url),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def _go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def processes(url: DatabaseURL, scripts: Path, count: int) -> dict[str, Any]:
    """Start processes, let them all go at once, and collect what they say."""
    started = [_replica(url, scripts) for _ in range(count)]
    for process in started:
        _line(process)
    begin = time.time()
    for process in started:
        _go(process)
    found = []
    for process in started:
        text = _line(process)
        while text and not text.startswith("{"):
            text = _line(process)
        found.append(json.loads(text) if text else {"error": "no answer"})
    for process in started:
        process.communicate()
    return _summary(found, begin)


def threads(url: DatabaseURL, scripts: Path, count: int) -> dict[str, Any]:
    """Do the same with threads of this process, for more replicas than processes fit."""
    import automigrate
    from automigrate.events import RevisionApplied

    found: list[dict[str, Any]] = []
    ready = threading.Barrier(count + 1)

    def replica() -> None:
        last: list[float] = []

        def heard(event: object) -> None:
            if isinstance(event, RevisionApplied):
                last[:] = [time.time()]

        ready.wait()
        try:
            report = automigrate.upgrade(
                url.sqlalchemy_url("postgresql"), str(scripts), on_event=heard
            )
            result: dict[str, Any] = {"ready": time.time(), "applied": len(report.applied)}
        except automigrate.AutomigrateError as error:
            result = {"error": str(error)[:200]}
        found.append({**result, "last": last[0] if last else None})

    running = [threading.Thread(target=replica) for _ in range(count)]
    for thread in running:
        thread.start()
    ready.wait()
    begin = time.time()
    for thread in running:
        thread.join()
    return _summary(found, begin)


def _summary(found: list[dict[str, Any]], begin: float) -> dict[str, Any]:
    good = [item for item in found if "error" not in item]
    last = max((item["last"] for item in found if item.get("last")), default=begin)
    return {
        "ready": len(good),
        "errors": [item["error"] for item in found if "error" in item],
        "applied": sum(item["applied"] for item in good),
        "appliers": sum(1 for item in good if item["applied"]),
        "seconds": max((item["ready"] for item in good), default=begin) - begin,
        "after_last": max((item["ready"] for item in good), default=last) - last,
    }


def takeover(url: DatabaseURL, scripts: Path) -> float:
    """Kill the process that migrates; return the seconds until another has begun."""
    first, second = _replica(url, scripts), _replica(url, scripts)
    try:
        _line(first)
        _line(second)
        _go(first)
        while _line(first) != "begun":
            pass
        _go(second)
        _until_waiting(url)
        os.kill(first.pid, signal.SIGKILL)
        killed = time.monotonic()
        while (text := _line(second)) != "begun":
            if not text:
                raise RuntimeError
        return time.monotonic() - killed
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


def _until_waiting(url: DatabaseURL) -> None:
    query = "select count(*) from pg_stat_activity where query like 'listen automigrate%' or wait_event = 'ClientRead' and application_name like 'automigrate%'"  # noqa: E501
    deadline = time.monotonic() + 10
    with psycopg.connect(url.conninfo(), autocommit=True) as connection:
        while time.monotonic() < deadline:
            row = connection.execute(query).fetchone()
            if row is not None and row[0] >= 1:
                time.sleep(0.5)
                return
            time.sleep(0.02)
