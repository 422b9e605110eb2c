"""Stamp: recording a revision without running anything, and the journal beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import AheadError, Migrator, RecoveryError, Verdict
from tests.support.projects import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Database

HEADS = "select version_num from alembic_version order by 1"
JOURNAL = "select revision, direction, state from automigrate_journal order by id"


def test_stamps_an_unmanaged_database(database: Database, tmp_path: Path) -> None:
    """The version table is made, every revision below has a row, and the rest is pending."""
    project = Project.linear(tmp_path, 3)
    database.execute("create table t_r0001 (id int primary key); create table t_r0002 (id int)")
    migrator = Migrator(database.url, project.scripts)
    assert migrator.stamp("r0002") == ("r0002",)
    assert database.rows(HEADS) == [("r0002",)]
    assert database.rows(JOURNAL) == [("r0001", "stamp", "applied"), ("r0002", "stamp", "applied")]
    status = migrator.status()
    assert (status.verdict, status.pending) == (Verdict.BEHIND, ("r0003",))
    migrator.upgrade()
    assert database.rows(HEADS) == [("r0003",)]


def test_plain_alembic_goes_on_from_a_stamp(database: Database, tmp_path: Path) -> None:
    """The version table is one that Alembic itself could have made."""
    project = Project.linear(tmp_path, 2)
    Migrator(database.url, project.scripts).stamp("r0001")
    project.alembic("upgrade", "head", url=database.url)
    assert database.rows(HEADS) == [("r0002",)]


def test_stamping_back_reverts_the_rows(database: Database, tmp_path: Path) -> None:
    """What is no longer recorded as applied is so in the journal too."""
    project = Project.linear(tmp_path, 2)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    migrator.stamp("base")
    assert database.rows(HEADS) == []
    assert database.rows(JOURNAL) == [
        ("r0001", "upgrade", "reverted"),
        ("r0002", "upgrade", "reverted"),
    ]


def test_several_heads_and_long_names(database: Database, project: Project) -> None:
    """Branches are stamped together, and the column is made wide enough."""
    long = "b" * 60
    project.add("a", down=None)
    project.add(long, down=None)
    Migrator(database.url, project.scripts, target="heads").stamp("a", long)
    assert database.rows(HEADS) == [("a",), (long,)]


def test_unknown_revisions_are_not_forgotten_by_accident(
    database: Database, tmp_path: Path
) -> None:
    """Stamping over the revisions of a newer release needs force."""
    new = Project.linear(tmp_path / "new", 2)
    automigrate.upgrade(database.url, new.scripts)
    old = new.copy(tmp_path / "old", without=["r0002"])
    migrator = Migrator(database.url, old.scripts)
    with pytest.raises(AheadError, match="stamping would forget them"):
        migrator.stamp("r0001")
    assert migrator.stamp("r0001", force=True) == ("r0001",)


def test_the_journal_is_rebuilt_from_version_table_and_scripts(
    database: Database, tmp_path: Path
) -> None:
    """A database that plain Alembic migrated gets a row for each applied revision, once."""
    project = Project.linear(tmp_path, 3)
    project.alembic("upgrade", "r0002", url=database.url)
    migrator = Migrator(database.url, project.scripts)
    assert migrator.rebuild_journal() == 2
    assert database.rows(JOURNAL) == [("r0001", "stamp", "applied"), ("r0002", "stamp", "applied")]
    assert migrator.rebuild_journal() == 0


def test_a_changed_script_is_accepted(database: Database, tmp_path: Path) -> None:
    """The modified verdict ends; what undid the old script is forgotten."""
    project = Project.linear(tmp_path, 1)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    [added] = project.extend(1)
    migrator.upgrade()
    path = project.revisions[added]
    path.write_text(path.read_text().replace("integer primary key", "bigint primary key"))
    assert migrator.status().modified == (added,)
    assert migrator.accept_modified() == (added,)
    status = migrator.status()
    assert (status.verdict, status.without_way_back) == (Verdict.CURRENT, (added,))


def test_what_did_not_change_is_not_accepted(database: Database, tmp_path: Path) -> None:
    """Naming a revision that is as it was is a mistake to be told."""
    project = Project.linear(tmp_path, 1)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    with pytest.raises(RecoveryError, match="r0001 did not change"):
        migrator.accept_modified("r0001")
