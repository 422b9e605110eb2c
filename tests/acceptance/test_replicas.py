"""Many replicas start at once: exactly once, few statements, soon ready, soon taken over."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import automigrate
from automigrate.events import RevisionApplied
from tests.support.replicas import Replica
from tests.support.servers import Database, new_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.events import Event
    from tests.support.projects import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
REPLICAS = 50  # a hundred, and the times: `python -m benchmarks --only fleet`
REVISIONS = 30
JOURNAL = "select revision, count(*) from automigrate_journal group by 1 order by 1"
FINISHED = "select extract(epoch from max(finished_at))::float8 from automigrate_journal"
STARTED = "select extract(epoch from min(started_at))::float8 from automigrate_journal"
PROGRAM = """
import json, sys, time
import psycopg
import automigrate
print(flush=True)
sys.stdin.readline()
report = automigrate.upgrade(sys.argv[1], sys.argv[2], timeout=300.0)
print(json.dumps({"ready": time.time(), "applied": len(report.applied), "out": report.outcome}))
"""


@pytest.fixture
def crowded() -> Iterator[Database]:
    """A database on a server that takes 20 connections."""
    with new_server(max_connections="23") as server:
        yield Database(server, "crowded")


def start_all(database: Database, project: Project, count: int) -> list[dict[str, Any]]:
    """Start processes that go at the same moment; return what each says in the end."""
    processes = [
        subprocess.Popen(
            [
                sys.executable,
                "-X",
                "faulthandler",
                "-c",
                PROGRAM,
                database.url,
                str(project.scripts),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [process.communicate(timeout=300)[0] for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.send_signal(signal.SIGABRT)  # faulthandler writes where it is
            process.wait(10)
        raise
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * count
    return [json.loads(text) for text in found]


def slow_project(project: Project, seconds: float) -> list[str]:
    """Write a history that takes about so many seconds."""
    for number in range(1, REVISIONS + 1):
        project.add(
            f"r{number:04d}",
            upgrade=f"""
                op.execute("create table t_r{number:04d} (id integer primary key)")
                op.execute("select pg_sleep({seconds / REVISIONS})")
            """,
        )
    return list(project.revisions)


def test_many_replicas_apply_once_and_ask_little(database: Database, project: Project) -> None:
    """In a run of ten seconds a waiting replica sends at most five statements.

    Glance, look with settings, LISTEN, lock with holder, at most one poll; then it is told.
    """
    names = slow_project(project, 10.0)
    automigrate.upgrade(database.url, project.scripts, target=names[0])
    found = start_all(database, project, REPLICAS)
    assert sum(item["applied"] for item in found) == REVISIONS - 1
    assert Counter(item["out"] for item in found)["migrated"] == 1
    assert database.rows(JOURNAL) == [(name, 1) for name in names]
    finished = database.rows(FINISHED)[0][0]
    late = max(item["ready"] for item in found) - finished
    assert late < 5.0  # a fraction of a second on an idle machine; see docs/performance.md
    told = Counter(  # by process: a glance that takes too long is a session of its own
        " ".join(statement.application_name.split()[:2])  # the rest names the revision
        for statement in database.statements()
        if statement.application_name.startswith("automigrate ")
    )
    # The two that migrated, this process among them, say more.
    waiting = sorted(told.values())[:-2]
    assert len(waiting) == REPLICAS - 1
    taken = finished - database.rows(STARTED)[0][0]
    polls = 1 + int(taken / (0.75 * 10.0))  # more where the machine takes longer than ten seconds
    assert statistics.median(waiting) <= 5, told.most_common(20)
    assert waiting[-1] <= 4 + polls, told.most_common(20)


def test_more_replicas_than_connections(crowded: Database, project: Project) -> None:
    """Those for whom the server has no connection wait and try again, and all get ready."""
    names = slow_project(project, 2.0)
    found = start_all(crowded, project, REPLICAS)
    assert sum(item["applied"] for item in found) == REVISIONS
    assert crowded.rows(JOURNAL) == [(name, 1) for name in names]


def test_two_hundred_threads(own_server: Any, project: Project) -> None:
    """Two hundred callers in one process, on a server that takes 200 connections."""
    names = slow_project(project, 1.0)
    database = Database(own_server, "threads")
    outcomes: list[str] = []
    applied: list[str] = []
    together = threading.Barrier(200)

    def heard(event: Event) -> None:
        if isinstance(event, RevisionApplied):
            applied.append(event.revision)

    def replica() -> None:
        together.wait()
        report = automigrate.upgrade(database.url, project.scripts, timeout=300.0, on_event=heard)
        outcomes.append(report.outcome)

    threads = [threading.Thread(target=replica) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(outcomes) == 200
    assert Counter(outcomes)["migrated"] == 1
    assert applied == names


def test_a_killed_holder_is_replaced_within_two_seconds(
    database: Database, project: Project
) -> None:
    """The next replica begins at most two seconds after SIGKILL has ended the holder."""
    slow_project(project, 6.0)
    with closing(Replica(database, project, stop_at="RevisionApplied r0003")) as holder:
        holder.until_told("stopped")
        with closing(Replica(database, project, stop_at="RevisionStarted r0004")) as waiter:
            waiter.until_told("event", "LockWaited")
            os.kill(holder.pid, signal.SIGKILL)
            killed = time.monotonic()
            waiter.until_told("stopped")
            taken = time.monotonic() - killed
            waiter.go()
            assert waiter.finish() == 0
    assert taken < (2.0 if os.getloadavg()[0] < 2.0 else 10.0)
