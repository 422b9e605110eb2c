"""Interrupted revisions, settled by hand (H15)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import automigrate
from automigrate import InterruptedRevisionError, UpgradeError
from automigrate.cli.group import root
from automigrate.recovery.repair import Resolution

if TYPE_CHECKING:
    from click.testing import Result

    from tests.support.projects import Project
    from tests.support.servers import Database

INVALID = "select indexrelid::regclass::text from pg_index where not indisvalid"
JOURNAL = "select revision, direction, state from automigrate_journal order by id"
VERSION = "select version_num from alembic_version order by 1"
HALF = """
with op.get_context().autocommit_block():
    op.execute("create table half (id integer)")
    op.execute("select 1/0")
"""


def run(database: Database, project: Project, *arguments: str) -> Result:
    """Run `automigrate repair`."""
    return CliRunner().invoke(
        root,
        [
            "repair",
            "--database-url",
            database.url,
            "--script-location",
            str(project.scripts),
            *arguments,
        ],
        standalone_mode=False,
    )


def interrupt(database: Database, project: Project, upgrade: str = HALF) -> None:
    """Leave the second of three revisions half done."""
    project.extend(1, first=1)
    project.add("r0002", upgrade=upgrade)
    project.extend(1, first=3)
    with pytest.raises(UpgradeError):
        automigrate.upgrade(database.url, project.scripts)
    with pytest.raises(InterruptedRevisionError):
        automigrate.upgrade(database.url, project.scripts)


def test_applied_records_the_revision_and_the_next_start_goes_on(
    database: Database, project: Project
) -> None:
    """What a person has completed is not run again, what follows is."""
    interrupt(database, project)
    result = run(database, project, "r0002", "--applied")
    assert result.return_value == 0, result.output
    assert database.rows(VERSION) == [("r0002",)]
    report = automigrate.upgrade(database.url, project.scripts)
    assert [item.revision for item in report.applied] == ["r0003"]
    assert database.rows(JOURNAL) == [
        ("r0001", "upgrade", "applied"),
        ("r0002", "upgrade", "applied"),
        ("r0003", "upgrade", "applied"),
    ]


def test_not_applied_has_it_run_again(database: Database, project: Project) -> None:
    """What a person has undone is run again from its start."""
    interrupt(database, project)
    database.execute("drop table half")
    result = run(database, project, "r0002", "--not-applied", "--json")
    assert result.return_value == 0, result.output
    assert json.loads(result.stdout)["heads"] == ["r0001"]
    script = project.revisions["r0002"]
    script.write_text(script.read_text().replace("select 1/0", "select 1"))
    report = automigrate.upgrade(database.url, project.scripts)
    assert [item.revision for item in report.applied] == ["r0002", "r0003"]
    assert database.rows("select state, count(*) from automigrate_journal group by 1") == [
        ("applied", 3),
        ("reverted", 1),
    ]


def test_drop_invalid_indexes_drops_those_of_the_revision_only(
    database: Database, project: Project
) -> None:
    """An invalid index that somebody else has left stays."""
    project.add(
        "r0000",
        upgrade="""
            for table in ("account", "other"):
                op.execute(f"create table {table} (id integer)")
                op.execute(f"insert into {table} values (1), (1)")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    with database.connect() as connection, pytest.raises(Exception, match="could not create"):
        connection.execute("create unique index concurrently i_other on other (id)")
    interrupt(
        database,
        project,
        """
        op.execute("create table before (id integer)")
        with op.get_context().autocommit_block():
            op.execute("create unique index concurrently i_account on account (id)")
        """,
    )
    assert sorted(database.rows(INVALID)) == [("i_account",), ("i_other",)]
    result = run(database, project, "r0002", "--drop-invalid-indexes", "--not-applied", "--json")
    assert json.loads(result.stdout)["dropped"] == ["public.i_account"]
    assert database.rows(INVALID) == [("i_other",)]


def test_a_revision_that_was_not_interrupted_is_refused(
    database: Database, project: Project
) -> None:
    """Repair is no way to skip a revision."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts, target="r0001")
    for revision in ("r0001", "r0002", "unheard_of"):
        result = run(database, project, revision, "--applied")
        assert result.return_value == 10, result.output
    assert database.rows(VERSION) == [("r0001",)]


@pytest.mark.parametrize("arguments", [["r0002"], ["r0002", "--applied", "--not-applied"]])
def test_the_word_must_be_one(arguments: list[str], database: Database, project: Project) -> None:
    """Nothing said, or both: exit code 2, and nothing is done."""
    interrupt(database, project)
    assert run(database, project, *arguments).return_value == 2
    assert database.rows(VERSION) == [("r0001",)]


def test_applied_merges_branches_as_alembic_does(database: Database, project: Project) -> None:
    """The version table holds what Alembic would have written."""
    project.add("a", down=None)
    project.add("b1", down="a", upgrade='op.execute("create table b1 (id integer)")')
    project.add("b2", down="a", upgrade='op.execute("create table b2 (id integer)")')
    project.add("m", down=("b1", "b2"), upgrade=HALF)
    with pytest.raises(UpgradeError):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows(VERSION) == [("b1",), ("b2",)]
    automigrate.Migrator(database.url, project.scripts).repair("m", resolution=Resolution.APPLIED)
    assert database.rows(VERSION) == [("m",)]
    assert project.alembic("current", url=database.url).stdout.startswith("m (head)")
    assert automigrate.upgrade(database.url, project.scripts).applied == ()


def test_an_interrupted_downgrade_is_settled_in_its_own_direction(
    database: Database, project: Project
) -> None:
    """After a downgrade that stopped half-way, `--not-applied` means that it is complete."""
    project.extend(1)
    project.add(
        "r0002",
        downgrade="""
            with op.get_context().autocommit_block():
                op.execute("select 1")
                op.execute("select 1/0")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    migrator = automigrate.Migrator(database.url, project.scripts)
    with pytest.raises(UpgradeError):
        migrator.downgrade("r0001", allow_data_loss=True)
    migrator.repair("r0002", resolution=Resolution.NOT_APPLIED)
    assert database.rows(VERSION) == [("r0001",)]
    assert ("r0002", "upgrade", "reverted") in database.rows(JOURNAL)
    assert ("r0002", "downgrade", "applied") in database.rows(JOURNAL)
    report = automigrate.upgrade(database.url, project.scripts)
    assert [item.revision for item in report.applied] == ["r0002"]
