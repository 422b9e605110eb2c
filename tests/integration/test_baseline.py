"""Baseline: an unmanaged database is compared with a revision before it is adopted."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from automigrate import ConfigurationError, Migrator, Verdict
from automigrate.cli.group import root

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.projects import Project
    from tests.support.servers import Database


def written(project: Project) -> Project:
    """Write two revisions."""
    project.add(
        "r1",
        upgrade="""
            op.create_table(
                "account",
                sa.Column("id", sa.Integer, primary_key=True),
                sa.Column("name", sa.Text, nullable=False),
            )
        """,
    )
    project.add("r2", upgrade='op.create_index("by_name", "account", ["name"])')
    return project


def test_adopts_what_is_equal(
    database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """The same schema with its columns in another order is recorded at the revision."""
    written(project)
    database.execute(
        "create table account (name text not null, id serial primary key);"
        "create index by_name on account (name)"
    )
    migrator = Migrator(database.url, project.scripts)
    report = migrator.baseline("head", databases().url)
    assert (report.differences, report.stamped, report.heads) == ((), True, ("r2",))
    assert migrator.status().verdict is Verdict.CURRENT


def test_shows_what_differs_and_leaves_the_database_alone(
    database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """A missing index is a difference; nothing is recorded."""
    written(project)
    database.execute("create table account (id serial primary key, name text not null)")
    migrator = Migrator(database.url, project.scripts)
    report = migrator.baseline("head", databases().url)
    assert not report.stamped
    assert [line for line in report.differences if line.startswith("-CREATE INDEX")]
    assert database.rows("select to_regclass('alembic_version') is null") == [(True,)]


def test_an_earlier_revision_may_be_the_equal_one(
    database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """What stands on the adopted revision is pending afterwards."""
    written(project)
    database.execute("create table account (id serial primary key, name text not null)")
    migrator = Migrator(database.url, project.scripts)
    assert migrator.baseline("r1", databases().url).stamped
    assert migrator.status().pending == ("r2",)


def test_adopts_in_spite_of_differences_when_told_to(
    database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """The differences are reported all the same."""
    written(project)
    database.execute("create table other (id int)")
    report = Migrator(database.url, project.scripts).baseline(
        "head", databases().url, accept_differences=True
    )
    assert report.stamped
    assert report.differences


def test_a_managed_database_is_refused(
    database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """There is nothing to adopt where a version table says where the database is."""
    written(project)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    with pytest.raises(ConfigurationError, match="managed already, at r2"):
        migrator.baseline("head", databases().url)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every account can reach, unlike `tmp_path`."""
    directory = Path(tempfile.mkdtemp(prefix="automigrate-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_adopts_a_database_of_the_embedded_server(project: Project, place: Path) -> None:
    """The scratch database is made on the same server, also where that is the embedded one."""
    written(project)
    where = [f"--database-url=embedded:{place / 'pg'}", f"--script-location={project.scripts}"]

    def run(*arguments: str) -> object:
        return CliRunner().invoke(root, [*arguments, *where], standalone_mode=False).return_value

    assert run("upgrade") == 0
    assert run("stamp", "base") == 0
    assert run("baseline", "r1") == 6
    assert run("baseline", "r2") == 0
    assert run("check") == 0
