"""The journal: rows that come and go with their revision's transaction."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate.database.journal import Journal
from automigrate.database.redaction import scrub
from tests.support.projects import Project

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Database

STATES = "select revision, direction, state from automigrate_journal order by id"


@pytest.fixture
def journal(database: Database) -> Iterator[Journal]:
    """A journal in the schema `public`, created."""
    connection = psycopg.connect(database.url, autocommit=True)
    made = Journal(connection, "public", application_version="1.2", automigrate_version="0")
    made.create()
    yield made
    connection.close()


def begin(journal: Journal, revision: str, direction: str = "upgrade") -> int:
    """Write the row of a revision that begins."""
    statement = journal.begin_statement(
        revision=revision,
        down_revisions=["base's"],
        direction=direction,
        checksum="c0ffee",
        compatible=False,
    )
    row = journal._connection.execute(statement.encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_creating_it_twice_is_no_fault(journal: Journal) -> None:
    """Whoever gets the lock next finds it."""
    assert journal.exists()
    journal.create()
    assert journal.entries() == ()


def test_a_missing_journal_is_empty(database: Database) -> None:
    """A database of plain Alembic has none, which is normal."""
    with database.connect() as connection:
        other = Journal(connection, "public", application_version=None, automigrate_version="0")
        assert not other.exists()
        assert other.entries() == ()


def test_a_row_comes_back_as_it_was_written(journal: Journal) -> None:
    """Values with quotes survive, and the instance is this process."""
    row = begin(journal, "r'1")
    (entry,) = journal.entries()
    assert entry.id == row
    assert (entry.revision, entry.down_revisions) == ("r'1", ("base's",))
    assert (entry.direction, entry.state, entry.open) == ("upgrade", "running", True)
    assert (entry.compatible, entry.checksum) == (False, "c0ffee")
    assert entry.instance == (socket.gethostname(), os.getpid())


def test_progress_is_kept(journal: Journal) -> None:
    """What a revision had committed is there for the next start."""
    row = begin(journal, "r1")
    journal.progress(row, "autocommit", {"before": 2, "statements": ["create index …"]})
    assert journal.entries()[0].progress == {"before": 2, "statements": ["create index …"]}


def test_the_end_supersedes_interrupted_applications(journal: Journal, database: Database) -> None:
    """Of several attempts one is applied, and none stays open."""
    first = begin(journal, "r1")
    assert journal.fail(first, "no luck")
    begin(journal, "r1")
    third = begin(journal, "r1")
    journal.finish(third, "r1", "upgrade")
    assert [entry.state for entry in journal.entries()] == ["reverted", "reverted", "applied"]
    assert database.rows("select count(*) from automigrate_journal where finished_at is null") == [
        (0,)
    ]


def test_a_downgrade_reverts_what_was_applied(journal: Journal, database: Database) -> None:
    """Afterwards the latest word on the revision is that it was undone."""
    journal.finish(begin(journal, "r1"), "r1", "upgrade")
    journal.finish(begin(journal, "r1", "downgrade"), "r1", "downgrade")
    assert database.rows(STATES) == [
        ("r1", "upgrade", "reverted"),
        ("r1", "downgrade", "applied"),
    ]


def test_failing_a_row_that_was_rolled_back_says_so(journal: Journal) -> None:
    """A transactional revision has taken its row with it."""
    row = begin(journal, "r1")
    journal._connection.execute("delete from automigrate_journal; delete from automigrate_open")
    assert not journal.fail(row, "no luck")


def test_a_person_can_settle_an_open_row(journal: Journal) -> None:
    """Only open rows of the revision change."""
    journal.finish(begin(journal, "r1"), "r1", "upgrade")
    begin(journal, "r2")
    journal.resolve("r2", "reverted", "undone by hand")
    journal.resolve("r1", "reverted")
    assert [(entry.state, entry.error) for entry in journal.entries()] == [
        ("applied", None),
        ("reverted", "undone by hand"),
    ]


def test_something_that_is_done_already_can_be_recorded(journal: Journal) -> None:
    """A stamp has no transaction of its own."""
    journal.record(revision="r1", down_revisions=[], direction="stamp")
    (entry,) = journal.entries()
    assert (entry.direction, entry.state) == ("stamp", "applied")


def test_the_version_column_is_widened_only_where_it_is_too_narrow(
    journal: Journal, database: Database
) -> None:
    """Text needs no room, and enough room is left alone."""
    database.execute(
        "create table narrow (version_num varchar(32)); create table wide (version_num text)"
    )
    for table in ("narrow", "wide"):
        journal.widen_version_column(f'"{table}"', 32)
        journal.widen_version_column(f'"{table}"', 80)
    assert database.rows(
        "select attrelid::regclass::text, format_type(atttypid, atttypmod) from pg_attribute "
        "where attname = 'version_num' order by 1"
    ) == [("narrow", "character varying(80)"), ("wide", "text")]


def test_no_password_of_the_url_reaches_the_journal(database: Database, project: Project) -> None:
    """The error of a failed revision is stored without secrets."""
    password = psycopg.conninfo.conninfo_to_dict(database.tcp_url)["password"]
    assert isinstance(password, str)
    project.add(
        "r0001",
        upgrade=f"""
            op.execute("create table t ()")
            with op.get_context().autocommit_block():
                op.execute("vacuum t")
            raise RuntimeError({f"connecting with {password} failed"!r})
        """,
    )
    with pytest.raises(automigrate.UpgradeError):
        automigrate.upgrade(database.tcp_url, project.scripts)
    (stored,) = database.rows("select error, progress::text from automigrate_journal")
    assert "failed" in stored[0]
    assert password not in str(stored)
    assert scrub(stored[0], {password}) == stored[0]


def test_the_running_row_is_seen_while_the_revision_is_outside_of_a_transaction(
    database: Database, project: Project
) -> None:
    """Others see what runs, and how far it came (H15)."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table seen (state text, phase text, progress jsonb)")
            with op.get_context().autocommit_block():
                op.execute(
                    "insert into seen select state, phase, progress from automigrate_journal"
                )
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    ((state, phase, progress),) = database.rows("select * from seen")
    assert (state, phase) == ("running", "autocommit")
    assert progress["before"] == 1
    assert progress["statements"][0].startswith("insert into seen")


def test_a_journal_of_an_older_layout_does_not_break_the_fast_path(
    database: Database, project: Project
) -> None:
    """The look needs revision and state, nothing else."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    database.execute("alter table automigrate_journal add column later text")
    assert automigrate.upgrade(database.url, project.scripts).applied == ()


OLDER = """
alter table automigrate_journal drop column version_table, drop column backup,
  drop column restore_point, drop column restore_lsn"""


def test_a_journal_of_the_older_form_is_read_and_brought_up(
    database: Database, project: Project
) -> None:
    """Nothing pending leaves it alone; the next upgrade adds the columns under the lock."""
    project.add("r1")
    automigrate.upgrade(database.url, project.scripts)
    database.execute(OLDER)
    migrator = automigrate.Migrator(database.url, project.scripts)
    assert migrator.status().verdict.value == "current"
    assert not migrator.upgrade().applied
    columns = (
        "select count(*) from pg_attribute where attrelid = 'automigrate_journal'::regclass "
        "and attname in ('version_table', 'restore_lsn') and not attisdropped"
    )
    assert database.rows(columns) == [(0,)]
    project.add("r2")
    assert [item.revision for item in migrator.upgrade().applied] == ["r2"]
    assert database.rows(columns) == [(2,)]
    tables = "select revision, version_table from automigrate_journal order by id"
    assert database.rows(tables) == [("r1", None), ("r2", "alembic_version")]
    migrator.downgrade("base")
    assert migrator.status().current == ()


def test_two_applications_share_the_table_and_no_row(database: Database, tmp_path: Path) -> None:
    """Revisions of the same name: none reads, settles or undoes what the other's are."""
    first, second = Project(tmp_path / "one"), Project(tmp_path / "two")
    first.add("0001", upgrade='op.execute("create table one ()")')
    second.add(
        "0001",
        upgrade='op.execute("create table two ()")',
        downgrade='op.execute("drop table two")',
    )
    env = second.scripts / "env.py"
    configured = "target_metadata=target_metadata"
    text = env.read_text()
    assert configured in text
    env.write_text(text.replace(configured, f"{configured}, version_table='other_version'"))
    one = automigrate.Migrator(database.url, first.scripts)
    two = automigrate.Migrator(database.url, second.scripts, version_table="other_version")
    one.upgrade()
    two.stamp("base")
    two.upgrade()
    database.execute(
        "update automigrate_journal set state = 'running' where version_table = 'alembic_version';"
        "insert into automigrate_open select id, revision, version_table from automigrate_journal "
        "where state = 'running'"
    )
    assert two.status().interrupted == ()
    assert two.wait().verdict.value == "current"
    two.upgrade()
    two.downgrade("base")
    assert database.rows(
        "select version_table, direction, state from automigrate_journal where "
        "direction <> 'stamp' order by id"
    ) == [
        ("alembic_version", "upgrade", "running"),
        ("other_version", "upgrade", "reverted"),
        ("other_version", "downgrade", "applied"),
    ]
    assert database.rows("select to_regclass('one') is null, to_regclass('two') is null") == [
        (False, True)
    ]
    one.upgrade()
    assert database.rows(STATES)[0] == ("0001", "upgrade", "applied")
