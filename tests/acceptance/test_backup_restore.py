"""Backups and restores that are killed: no half file that looks whole, no half database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automigrate import BackupError, Migrator
from automigrate.recovery import restore as restoring
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.projects import Project
    from tests.support.servers import Database

_ROOT = Path(__file__).parents[2]
_WAITS = """
select count(*) = 1 from pg_stat_activity
where datname = %s and application_name = %s and wait_event_type = 'Lock'"""

_PROGRAMS = "select pid from pg_stat_activity where datname = %s and application_name = %s"
_VICTIM = """\
import os, signal, sys
from automigrate import Migrator
from automigrate.recovery import restore

url, scripts, path, place, when, passage = sys.argv[1:]
passages = 0
original = getattr(restore, place)

def killed(*arguments, **named):
    global passages
    passages += 1
    last = passages == int(passage)
    if last and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    result = original(*arguments, **named)
    if last:
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(restore, place, killed)
Migrator(url, scripts).restore(path)
"""
# Function of the restore, whether on its way in or out, the how manieth call, what is found.
KILLS = {
    "before the lock": ("take_lock", "before", 1, "old"),
    "lock taken": ("take_lock", "after", 1, "old"),
    "before the programs": ("_carry_out", "before", 1, "old"),
    "programs started": ("_list", "before", 1, "old"),
    "drops sent": ("_send", "after", 2, "old"),
    "half of pg_restore sent": ("_send", "after", 4, "old"),
    "all of pg_restore sent": ("_pump", "after", 1, "old"),
    "all of it carried out": ("_all_there", "after", 1, "old"),
    "lock confirmed": ("_require_lock", "after", 1, "old"),
    "commit sent": ("_send", "after", -1, "either"),
    "committed": ("_carry_out", "after", 1, "new"),
}


@pytest.fixture
def shop(project: Project, database: Database) -> Migrator:
    """A database with two tables and their rows."""
    project.add(
        "r1",
        upgrade="""
            op.execute("create table a as select n as id from generate_series(1, 1000) n")
            op.execute("create table b as select n as id from generate_series(1, 1000) n")
        """,
    )
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    return migrator


def command(database: Database, project: Project, *arguments: str) -> list[str]:
    """Return the command line of a process that works on the database."""
    options = (f"--database-url={database.url}", f"--script-location={project.scripts}")
    return [sys.executable, "-m", "automigrate", *arguments, *options]


@contextmanager
def held_up(
    database: Database, project: Project, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command and have its program wait for a table; let it go in the end."""
    with database.connect() as holder:
        holder.execute("begin; lock table b")
        process = subprocess.Popen(
            command(database, project, *arguments),
            cwd=_ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name[:2] != "PG"},
        )
        waits = (database.name, "automigrate backup")
        try:
            until(lambda: holding(database, waits), "the program waits for the table")
            yield process
        finally:
            process.kill()
            process.wait()
            holder.execute("rollback")


def holding(database: Database, parameters: tuple[str, str]) -> bool:
    """Whether a program of PostgreSQL waits for a lock."""
    return bool(database.rows(_WAITS, parameters)[0][0])


def nobody_left(database: Database) -> None:
    """Wait until the programs of a killed process have ended."""
    until(
        lambda: not database.rows(_PROGRAMS, (database.name, "automigrate backup")),
        "the programs have ended",
    )


@pytest.mark.fault
@pytest.mark.parametrize("options", [(), ("--jobs=2",)], ids=["file", "parallel"])
def test_a_killed_backup_leaves_no_file_that_looks_whole(
    options: tuple[str, ...],
    shop: Migrator,
    database: Database,
    project: Project,
    tmp_path: Path,
) -> None:
    """After kill -9 pg_dump ends at once, there is no backup, and the next one is made."""
    directory = tmp_path / "backups"
    with held_up(database, project, "backup", str(directory), *options) as process:
        process.kill()
        process.wait()
        # The table is still held: pg_dump does not wait for it any more.
        nobody_left(database)
    [path] = directory.iterdir()
    assert path.suffix == ".unfinished"
    with pytest.raises(BackupError, match="interrupted before it was complete"):
        shop.restore(path)
    assert [path.suffix for path in directory.iterdir()] == [".unfinished"]
    report = shop.backup(directory)
    assert shop.restore(report.path) == ("r1",)


@pytest.mark.fault
def test_a_stopped_backup_cleans_up(
    shop: Migrator, database: Database, project: Project, tmp_path: Path
) -> None:
    """SIGTERM ends pg_dump and leaves nothing at all."""
    directory = tmp_path / "backups"
    with held_up(database, project, "backup", str(directory)) as process:
        process.terminate()
        assert process.wait(60) == 9
        assert list(directory.iterdir()) == []
    nobody_left(database)


@pytest.mark.fault
def test_a_killed_restore_changes_nothing(
    shop: Migrator, database: Database, project: Project, tmp_path: Path
) -> None:
    """After kill -9 in the middle of a restore the database is what it was before."""
    report = shop.backup(tmp_path / "backups")
    database.execute("delete from a where id > 500; create table later (id int)")
    before = database.dump_schema(journal=True)
    with held_up(database, project, "restore", report.path, "--yes") as process:
        process.kill()
        process.wait()
    nobody_left(database)
    assert database.dump_schema(journal=True) == before
    assert database.rows("select count(*) from a") == [(500,)]
    assert shop.restore(report.path) == ("r1",)
    assert database.rows("select count(*) from a") == [(1000,)]
    assert database.rows("select to_regclass('later') is null") == [(True,)]


@pytest.mark.fault
@pytest.mark.parametrize(
    ("kill", "whole"),
    [(kill, whole) for kill in KILLS for whole in (True, False)],
    ids=[f"{kill}, {what}" for kill in KILLS for what in ("whole", "tables")],
)
def test_a_restore_killed_anywhere_is_whole_or_not_at_all(
    kill: str, whole: bool, shop: Migrator, database: Database, tmp_path: Path
) -> None:
    """After kill -9 at any point all is as before or all restored; the next restore ends it."""
    place, when, passage, expected = KILLS[kill]
    tables = () if whole else ("a", "b")
    database.execute("insert into b select n from generate_series(1, 30000) n")
    report = shop.backup(tmp_path / "backups", tables=tables)
    database.execute("delete from a where id > 500; delete from b")
    if not tables:
        database.execute("create table later (id int)")

    def found() -> tuple[object, ...]:
        counts = "select (select count(*) from a), (select count(*) from b)"
        return (*database.rows(counts)[0], database.dump_schema(journal=True))

    old = found()
    if passage < 0:  # the last one, which is the commit
        passage = sends(shop, report.path)
        database.execute("delete from a where id > 500; delete from b")
    arguments = (database.url, str(shop.scripts), report.path, place, when, str(passage))
    victim = subprocess.run(
        [sys.executable, "-c", _VICTIM, *arguments],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert victim.returncode == -signal.SIGKILL, victim.stderr
    nobody_left(database)
    left = found()
    if expected == "old":
        assert left == old
    assert left[:2] in {(500, 0), (1000, 31000)}
    if expected == "new":
        assert left[:2] == (1000, 31000)
    assert shop.restore(report.path) == ("r1",)
    assert found()[:2] == (1000, 31000)
    assert database.rows("select to_regclass('later') is null") == [(True,)]
    assert shop.status().verdict.value == "current"


def sends(shop: Migrator, path: str) -> int:
    """Count what a restore hands to its programs."""
    sent = []
    original = restoring._send

    def counted(process: subprocess.Popen[bytes], data: bytes) -> bool:
        sent.append(data)
        return original(process, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restoring, "_send", counted)
        shop.restore(path)
    assert sent[-1] == restoring.COMMIT
    return len(sent)


@pytest.mark.fault
def test_a_restore_whose_session_is_ended_changes_nothing(
    shop: Migrator, database: Database, project: Project, tmp_path: Path
) -> None:
    """Where the server ends psql's session, the restore says so, and all is as before."""
    report = shop.backup(tmp_path / "backups")
    database.execute("delete from a where id > 500")
    with held_up(database, project, "restore", report.path, "--yes") as process:
        database.rows(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s "
            "and application_name = %s",
            (database.name, "automigrate backup"),
        )
        assert process.wait(60) == 10
    assert database.rows("select count(*) from a") == [(500,)]
    assert shop.restore(report.path) == ("r1",)


def test_the_command_line_goes_there_and_back(
    shop: Migrator, database: Database, project: Project, tmp_path: Path
) -> None:
    """Backup prints its path, upgrade makes one, and restore needs to be told yes."""
    directory = str(tmp_path / "backups")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(database, project, *arguments),
            cwd=_ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    project.add("r2", upgrade='op.execute("drop table a")')
    done = run("upgrade", f"--backup={directory}", "--json")
    assert done.returncode == 0, done.stderr
    [path] = Path(directory).glob("*.dump")
    refused = run("restore", str(path))
    assert (refused.returncode, "no terminal" in refused.stderr) == (10, True)
    done = run("restore", str(path), "--yes")
    assert done.returncode == 0, done.stderr
    assert "the schema is at r1" in done.stdout
    again = run("restore", str(path), "--yes", "--json")
    assert json.loads(again.stdout) == {"restored": str(path), "heads": ["r1"]}
    assert database.rows("select count(*) from a") == [(1000,)]
