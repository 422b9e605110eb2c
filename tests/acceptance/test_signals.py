"""Our own end: signals, cancellation, exceptions in callbacks, forks, no memory."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Outcome, StoppedError, UpgradeError
from tests.support.background import Background
from tests.support.replicas import until

if TYPE_CHECKING:
    from automigrate.events import Event
    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]
ADVISORY = """
select count(*) from pg_locks l where l.locktype = 'advisory'
  and l.database = (select oid from pg_database where datname = current_database())
"""


def slow(project: Project, seconds: float = 1.0, count: int = 3) -> None:
    """Write revisions that take their time."""
    for number in range(1, count + 1):
        project.add(
            f"r{number}",
            upgrade=f"""
                op.execute("create table t{number} (id integer); select pg_sleep({seconds})")
            """,
        )


def applied(database: Database) -> list[str]:
    """List what the journal says is applied."""
    if database.rows("select to_regclass('automigrate_journal')") == [(None,)]:
        return []
    rows = database.rows("select revision from automigrate_journal where state = 'applied'")
    return [row[0] for row in rows]


def is_asleep(database: Database, number: int) -> bool:
    """Say whether a session is in the statement of a revision."""
    return bool(
        database.rows(
            "select 1 from pg_stat_activity where datname = current_database() "
            f"and state = 'active' and query like '%t{number} (id integer); select pg_sleep%' "
            "and pid <> pg_backend_pid()"
        )
    )


def command(database: Database, project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start the command line."""
    return subprocess.Popen(
        [
            sys.executable,
            "-m",
            "automigrate",
            "upgrade",
            "--database-url",
            database.url,
            "--script-location",
            str(project.scripts),
            *arguments,
        ],
        cwd=project.directory,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_revision_finish_within_the_grace(
    number: signal.Signals, database: Database, project: Project
) -> None:
    """The revision at work is finished, nothing more is begun, exit code 9."""
    slow(project)
    process = command(database, project, "--grace", "20s")
    until(lambda: is_asleep(database, 1), "the first revision runs")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == StoppedError.exit_code, errors
    assert "stopped as asked" in errors
    assert applied(database) == ["r1"]
    assert database.rows(ADVISORY) == [(0,)]


def test_after_the_grace_the_revision_is_rolled_back(database: Database, project: Project) -> None:
    """A revision that takes longer than the grace is undone as a whole, exit code 9."""
    slow(project, seconds=60)
    process = command(database, project, "--grace", "500ms")
    until(lambda: is_asleep(database, 1), "the first revision runs")
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == StoppedError.exit_code, errors
    assert time.monotonic() - started < 15.0
    assert applied(database) == []
    assert database.rows("select to_regclass('t1')") == [(None,)]
    until(lambda: database.rows(ADVISORY) == [(0,)], "the lock is free")


def test_a_second_signal_rolls_back_at_once(database: Database, project: Project) -> None:
    """Impatience is understood: the second signal ends the running statement."""
    slow(project, seconds=60)
    process = command(database, project, "--grace", "10m")
    until(lambda: is_asleep(database, 1), "the first revision runs")
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == StoppedError.exit_code, errors
    assert applied(database) == []


def test_a_signal_ends_a_waiter_at_once(database: Database, project: Project) -> None:
    """Who waits for the lock has nothing to finish."""
    slow(project, seconds=4, count=1)
    holder = Background(database.url, project)
    until(lambda: is_asleep(database, 1), "the holder works")
    process = command(database, project)
    until(
        lambda: database.rows(
            "select 1 from pg_stat_activity where datname = current_database() and state = 'idle' "
            "and application_name like 'automigrate %' and query like 'select l.locked%'"
        ),
        "the waiter has asked for the holder",
    )
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == StoppedError.exit_code, errors
    assert time.monotonic() - started < 3.5
    assert holder.finish().outcome is Outcome.MIGRATED


def test_broken_standard_output_does_not_change_the_end(
    database: Database, project: Project
) -> None:
    """Nobody may be left to read; the schema is right and the exit code 0."""
    slow(project, seconds=0)
    process = command(database, project)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert applied(database) == ["r1", "r2", "r3"]


def test_the_library_installs_no_signal_handler(database: Database, project: Project) -> None:
    """The application's handlers are its own, during a run too."""
    project.add(
        "r1",
        imports="import signal",
        upgrade="""
            handlers = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
            op.execute(f"create table seen as select $h${handlers}$h$ as handlers")
        """,
    )
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    automigrate.upgrade(database.url, project.scripts)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert database.rows("select * from seen") == [(str(before),)]


def test_cancelling_stops_at_the_revision_boundary(database: Database, project: Project) -> None:
    """`upgrade_async` gives way when cancelled: the revision is finished, the lock released."""
    slow(project, seconds=0.7)

    async def cancelled() -> float:
        task = asyncio.create_task(
            automigrate.upgrade_async(database.url, project.scripts, timeout=60.0)
        )
        await asyncio.to_thread(until, lambda: is_asleep(database, 1), "the first revision runs")
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - started

    assert asyncio.run(cancelled()) < 10.0
    assert applied(database) == ["r1"]
    assert database.rows(ADVISORY) == [(0,)]


def test_a_time_out_around_the_call_is_kept(database: Database, project: Project) -> None:
    """`asyncio.timeout` works as around anything else, at the next revision boundary."""
    slow(project, seconds=0.5, count=20)

    async def limited() -> None:
        async with asyncio.timeout(1.2):
            await automigrate.upgrade_async(database.url, project.scripts)

    with pytest.raises(TimeoutError):
        asyncio.run(limited())
    assert 0 < len(applied(database)) < 20


def test_a_listener_that_raises_does_not_fail_the_run(database: Database, project: Project) -> None:
    """Telling is not doing: the run goes on without the listener."""
    slow(project, seconds=0)
    seen: list[Event] = []

    def listener(event: Event) -> None:
        seen.append(event)
        msg = "the listener is broken"
        raise RuntimeError(msg)

    report = automigrate.upgrade(database.url, project.scripts, on_event=listener)
    assert report.outcome is Outcome.MIGRATED
    assert len(seen) == 1


def test_an_exception_in_a_callback_of_env_py_rolls_the_revision_back(
    database: Database, project: Project
) -> None:
    """`on_version_apply` is a part of the revision: what it raises undoes it."""
    text = (project.scripts / "env.py").read_text()
    marker = "connection=connection, target_metadata=target_metadata"
    assert marker in text
    broken = """
def refuse(ctx, step, heads, run_args, **kw):
    if step.up_revision_id == "r2":
        raise RuntimeError("not this one")
"""
    (project.scripts / "env.py").write_text(
        text.replace(marker, f"{marker}, on_version_apply=refuse").replace(
            "def run_migrations_offline", f"{broken}\n\ndef run_migrations_offline", 1
        )
    )
    slow(project, seconds=0)
    with pytest.raises(UpgradeError, match="not this one") as caught:
        automigrate.upgrade(database.url, project.scripts)
    assert caught.value.failed == "r2"
    assert caught.value.rolled_back
    assert applied(database) == ["r1"]
    assert database.rows("select to_regclass('t2')") == [(None,)]


@pytest.mark.parametrize(
    "upgrade",
    [
        "raise MemoryError",
        "x = []\nwhile True:\n    x.append(bytearray(50_000_000))",
    ],
)
def test_exhausted_memory_in_a_script_rolls_the_revision_back(
    upgrade: str, database: Database, project: Project
) -> None:
    """A script that asks for more than there is fails alone; the process tells why."""
    slow(project, seconds=0, count=1)
    project.add("r2", upgrade=f'op.execute("create table t2 (id integer)")\n{upgrade}')
    code = (
        "import resource, sys, automigrate\n"
        "resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9))\n"
        "try:\n"
        "    automigrate.upgrade(sys.argv[1], sys.argv[2])\n"
        "except automigrate.UpgradeError as error:\n"
        "    print(error.failed, error.rolled_back, 'MemoryError' in str(error))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, database.url, str(project.scripts)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.stdout == "r2 True True\n", done.stderr
    assert applied(database) == ["r1"]
    assert database.rows("select to_regclass('t2')") == [(None,)]


PRELOADED = """
import os, sys
import automigrate
migrator = automigrate.Migrator(sys.argv[1], sys.argv[2], timeout=60.0)
if sys.argv[3] == "used":
    migrator.upgrade()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            migrator.upgrade()
            code = 0
        finally:
            os._exit(code)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(codes)
"""


@pytest.mark.parametrize("used", ["used", "unused"])
def test_workers_forked_after_the_import_migrate_as_any_others(
    used: str, database: Database, project: Project
) -> None:
    """A server that loads the application before it forks (gunicorn --preload) is no different."""
    slow(project, seconds=0)
    done = subprocess.run(
        [sys.executable, "-c", PRELOADED, database.url, str(project.scripts), used],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.stdout == "[0, 0, 0, 0]\n", done.stderr
    assert applied(database) == ["r1", "r2", "r3"]
