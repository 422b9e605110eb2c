"""Backups and restores that are killed: no half file that looks whole, no half database."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from automigrate import Migrator
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.projects import Project
    from tests.support.servers import Database

_ROOT = Path(__file__).parents[2]
_WAITS = """
select count(*) = 1 from pg_stat_activity
where datname = %s and application_name = %s and wait_event_type = 'Lock'"""


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
    until(lambda: not database.sessions(), "the programs have ended")


@pytest.mark.fault
def test_a_killed_backup_leaves_no_file_that_looks_whole(
    shop: Migrator, database: Database, project: Project, tmp_path: Path
) -> None:
    """After kill -9 in the middle of pg_dump there is no backup, and the next one is made."""
    directory = tmp_path / "backups"
    with held_up(database, project, "backup", str(directory)) as process:
        process.kill()
        process.wait()
        assert [path.suffix for path in directory.iterdir()] == [".unfinished"]
    nobody_left(database)
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
    assert database.rows("select count(*) from a") == [(1000,)]
