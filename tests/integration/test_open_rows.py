"""The table of the journal's open rows: made with it, and in agreement with it at every moment.

That it agrees in the end is asserted for every test with a database, by `Database.drop`.
"""

from __future__ import annotations

import textwrap
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import InterruptedRevisionError, Migrator, UpgradeError
from automigrate.database.journal import Journal
from automigrate.database.session import OWN_TABLES
from automigrate.database.source import source_of
from automigrate.recovery import schema_dump
from automigrate.recovery.repair import Resolution
from automigrate.testing import faults
from automigrate.testing.faults import Point
from automigrate.workflow.comparison import include_object
from automigrate.workflow.fingerprint import fingerprint
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from automigrate.testing.faults import Reached
    from tests.support.projects import Project
    from tests.support.servers import Database

STATES = "select revision, state from automigrate_journal order by id"
IN_BLOCK = """
with op.get_context().autocommit_block():
    op.execute("create table if not exists t (id int)")
    op.execute("create index concurrently if not exists i on t (id)")
"""
UPGRADES = {
    "plain": 'op.execute("create table t (id int)")',
    "autocommit block": IN_BLOCK,
    "two autocommit blocks": f"{IN_BLOCK}\nop.execute('select 1')\n{IN_BLOCK}",
    "own commit": 'op.execute("create table t ()"); op.get_bind().commit(); op.execute("select 1")',
    "raw commit": 'op.execute("create table t ()"); op.execute("COMMIT"); op.execute("select 1")',
    "rollback": 'op.execute("create table u ()"); op.execute("ROLLBACK"); op.execute("select 1")',
    "commit, then rollback": """
        op.execute("create table t ()")
        op.get_bind().commit()
        op.execute("create table u ()")
        op.get_bind().rollback()
        op.execute("select 1")
    """,
    "rollback, then commit": """
        op.execute("create table u ()")
        op.get_bind().rollback()
        op.execute("create table t ()")
        op.get_bind().commit()
    """,
    "savepoint": """
        with suppress(sa.exc.DBAPIError), op.get_bind().begin_nested():
            op.execute("create table u ()")
            op.execute("select 1/0")
        with op.get_bind().begin_nested():
            op.execute("create table t ()")
    """,
    "isolation level": """
        op.execute("set transaction isolation level repeatable read")
        op.execute("create table t ()")
        op.get_bind().commit()
    """,
}
COMMITS_EARLY = {*UPGRADES} - {"plain", "rollback", "savepoint"}
FAILS = '\nop.execute("select 1/0")'


class Watching:
    """Compares journal and open rows in another session at every point of a run."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.seen: set[tuple[Point, str]] = set()
        """Where an open row was durable, and whose."""

    def __call__(self, reached: Reached) -> None:
        """See what a start would see if the process ended here."""
        assert self._database.disagreements() == [], reached.point
        with suppress(psycopg.errors.UndefinedTable):
            self.seen |= {(reached.point, name) for name in self._database.open_rows()}


@pytest.fixture
def watching(database: Database) -> Watching:
    """Compares the tables of the database."""
    return Watching(database)


@pytest.mark.parametrize("shape", UPGRADES)
def test_it_agrees_at_every_point_of_an_upgrade(
    shape: str, watching: Watching, database: Database, project: Project
) -> None:
    """An open row is durable where the journal's is, and gone when the revision is applied."""
    project.add("r1", imports="from contextlib import suppress", upgrade=UPGRADES[shape])
    project.add("r2", upgrade='op.execute("create table last ()")')
    with faults.injected(watching):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows(STATES) == [("r1", "applied"), ("r2", "applied")]
    assert database.open_rows() == []
    assert {name for _, name in watching.seen} == ({"r1"} if shape in COMMITS_EARLY else set())
    assert {point for point, _ in watching.seen} <= {
        Point.IN_AUTOCOMMIT,
        Point.AUTOCOMMIT_LEFT,
        Point.SCRIPT_RUN,
        Point.VERSION_UPDATED,
    }


@pytest.mark.parametrize("resolution", Resolution)
@pytest.mark.parametrize("shape", UPGRADES)
def test_it_agrees_after_a_failure_and_its_repair(
    shape: str, resolution: Resolution, watching: Watching, database: Database, project: Project
) -> None:
    """What failed half-way stays open until somebody says, or does, what becomes of it."""
    text = textwrap.dedent(UPGRADES[shape]) + FAILS
    script = project.add("r1", imports="from contextlib import suppress", upgrade=text)
    migrator = Migrator(database.url, project.scripts)
    half = ["r1"] if shape in COMMITS_EARLY else []
    with faults.injected(watching), pytest.raises(UpgradeError):
        migrator.upgrade()
    assert database.open_rows() == half
    assert ((Point.RELEASED, "r1") in watching.seen) is bool(half)
    with faults.injected(watching):
        with suppress(InterruptedRevisionError, UpgradeError):
            migrator.upgrade()
        assert database.open_rows() == half
        if half:
            migrator.repair("r1", resolution=resolution)
            assert database.open_rows() == []
        database.execute("drop table if exists t")
        script.write_text(script.read_text().replace("select 1/0", "select 1"))
        migrator.upgrade()
    assert database.open_rows() == []
    assert database.rows(STATES)[-1] == ("r1", "applied")


def test_it_agrees_at_every_point_of_a_downgrade(
    watching: Watching, database: Database, project: Project
) -> None:
    """Whose row is open while it leaves its transaction, and stays so where it fails there."""
    project.add("r1", upgrade='op.execute("create table t (id int)")')
    script = project.add(
        "r2",
        upgrade='op.execute("create index i on t (id)")',
        downgrade="""
            with op.get_context().autocommit_block():
                op.execute("drop index concurrently if exists i")
                op.execute("select 1/0")
        """,
    )
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    with faults.injected(watching):
        with pytest.raises(UpgradeError):
            migrator.downgrade("base", allow_data_loss=True)
        assert database.open_rows() == ["r2"]
        migrator.repair("r2", resolution=Resolution.APPLIED)
        assert database.open_rows() == []
        script.write_text(script.read_text().replace("select 1/0", "select 1"))
        migrator.downgrade("base", allow_data_loss=True)
    assert (Point.IN_AUTOCOMMIT, "r2") in watching.seen
    assert database.open_rows() == []
    assert migrator.status().current == ()


def interrupted(database: Database, project: Project) -> Migrator:
    """Leave the only revision failed half-way."""
    project.add("r1", upgrade=UPGRADES["own commit"] + FAILS)
    migrator = Migrator(database.url, project.scripts)
    with pytest.raises(UpgradeError):
        migrator.upgrade()
    assert database.open_rows() == ["r1"]
    return migrator


def test_a_stamp_closes_what_is_open(database: Database, project: Project) -> None:
    """Below and above of where the database is said to be."""
    migrator = interrupted(database, project)
    migrator.stamp("head")
    assert database.open_rows() == []
    database.execute("update alembic_version set version_num = 'r1'")
    assert migrator.upgrade().applied == ()
    project.add("r2", upgrade='op.execute("COMMIT")' + FAILS)
    with pytest.raises(UpgradeError):
        migrator.upgrade()
    assert database.open_rows() == ["r2"]
    migrator.stamp("base")
    assert database.open_rows() == []


def test_what_plain_alembic_has_settled_is_closed(database: Database, project: Project) -> None:
    """The next start sees the open row, and that the version table is past it."""
    migrator = interrupted(database, project)
    database.execute("insert into alembic_version values ('r1')")
    assert migrator.upgrade().applied == ()
    assert database.open_rows() == []
    assert database.rows(STATES) == [("r1", "applied")]


def test_a_plain_revision_leaves_the_open_rows_alone(database: Database, project: Project) -> None:
    """Neither reads nor writes them, one message as it is; another one writes and deletes one."""
    changes = "select n_tup_ins, n_tup_del from pg_stat_user_tables where relname like '%_open'"
    names = project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    assert [name for (name, _) in database.rows(STATES)] == names
    spoken = [s.text for s in database.statements() if "automigrate_open" in s.text]
    assert not [text for text in spoken if "t_r000" in text]
    assert database.rows(changes) == [(0, 0)]


@pytest.mark.parametrize("table", OWN_TABLES)
def test_nobody_takes_it_for_a_part_of_the_schema(
    table: str, database: Database, project: Project
) -> None:
    """Neither revisions that go through all tables, nor comparisons and dumps."""
    project.add("r1")
    project.add(
        "r2",
        upgrade="""
            for name in sa.inspect(op.get_bind()).get_table_names():
                op.execute(f"create table seen_{name} ()")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    lines = schema_dump.lines(source_of(database.url), ours="alembic_version")
    with database.connect() as connection:
        lines += fingerprint(connection, "alembic_version")
    assert [line for line in lines if "seen_alembic_version" in line]
    assert not [line for line in lines if f"seen_{table}" in line]
    assert not [line for line in lines if f".{table} " in line]
    assert not include_object(None, table, "table", True, None)
    assert include_object(None, table, "index", True, None)


# -- how it comes to be ----------------------------------------------------------------------------


def forms(database: Database) -> list[tuple[bool, bool]]:
    """Say which of both tables are there."""
    return database.rows(
        "select to_regclass('automigrate_journal') is not null, "
        "to_regclass('automigrate_open') is not null"
    )


def test_a_database_from_before_gets_it_with_the_next_upgrade(
    database: Database, project: Project
) -> None:
    """With the rows that are open; nothing pending changes nothing."""
    project.add("r0")
    migrator = interrupted(database, project)
    database.execute("drop table automigrate_open")
    assert migrator.status().interrupted == ("r1",)
    with pytest.raises(InterruptedRevisionError):
        migrator.upgrade()
    assert forms(database) == [(True, False)]
    migrator.repair("r1", resolution=Resolution.APPLIED)
    assert database.rows(STATES) == [("r0", "applied"), ("r1", "applied")]
    database.execute("update automigrate_journal set state = 'failed' where revision = 'r0'")
    project.add("r2")
    migrator.upgrade()
    assert forms(database) == [(True, True)]
    assert database.open_rows() == ["r0"]


def test_rows_that_a_lost_journal_left_are_gone_with_it(
    database: Database, project: Project
) -> None:
    """A new journal counts from one again, and knows nothing of what was open in the old one."""
    migrator = interrupted(database, project)
    database.execute("drop table automigrate_journal")
    assert migrator.status().interrupted == ()
    migrator.stamp("head")
    assert database.open_rows() == []
    assert forms(database) == [(True, True)]


@pytest.fixture
def roles(database: Database) -> Iterator[tuple[str, str]]:
    """Two roles, the first of which owns schema and tables."""
    name = f"{database.server.port}_{abs(hash(database.name))}"
    names = (f"owner_{name}", f"other_{name}")
    for role in names:
        database.execute(f"create role {role} login; grant create on schema public to {role}")
    yield names
    for role in names:
        database.execute(f"reassign owned by {role} to current_user; drop owned by {role}")
        database.execute(f"drop role {role}")


def made_by(owner: str, database: Database, project: Project, grants: str) -> None:
    """Apply a first revision as a role, take the open rows away, and grant; a second is pending."""
    project.add("r1")
    Migrator(database.server.url(database.name, user=owner), project.scripts).upgrade()
    database.execute(f"drop table automigrate_open; {grants}")
    project.add("r2", upgrade=IN_BLOCK)


def test_it_belongs_to_whom_the_journal_belongs(
    roles: tuple[str, str], database: Database, project: Project
) -> None:
    """And lets in whom the journal lets in, whoever makes it."""
    owner, other = roles
    made_by(
        owner,
        database,
        project,
        f"grant select, insert, update on automigrate_journal to {other}; grant select on "
        f"alembic_version to {other}; grant select on automigrate_journal to public",
    )
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows(
        "select relowner::regrole::text from pg_class where relname = 'automigrate_open'"
    ) == [(owner,)]
    rights = (
        "select coalesce(nullif(grantee::regrole::text, '-'), 'public'), "
        "string_agg(lower(privilege_type), ' ' order by privilege_type) from pg_class, "
        "aclexplode(relacl) where relname = 'automigrate_open' and grantee <> relowner "
        "group by 1 order by 1"
    )
    assert database.rows(rights) == [(other, "delete insert select"), ("public", "select")]


def test_a_role_that_may_not_make_it_goes_on_without(
    roles: tuple[str, str], database: Database, project: Project
) -> None:
    """Upgrades, failures and repairs are what they were, and no error is in the server's log."""
    owner, other = roles
    made_by(
        owner,
        database,
        project,
        f"grant select, insert, update on automigrate_journal to {other}; "
        f"grant all on alembic_version to {other}",
    )
    script = project.add("r3", upgrade=UPGRADES["own commit"].replace(" t ", " u ") + FAILS)
    migrator = Migrator(database.server.url(database.name, user=other), project.scripts)
    with pytest.raises(UpgradeError, match="division by zero"):
        migrator.upgrade()
    assert database.rows(STATES) == [("r1", "applied"), ("r2", "applied"), ("r3", "failed")]
    assert migrator.status().interrupted == ("r3",)
    script.write_text(script.read_text().replace("select 1/0", "select 1"))
    migrator.repair("r3", resolution=Resolution.APPLIED)
    assert migrator.upgrade().applied == ()
    assert forms(database) == [(True, False)]
    assert "automigrate_open" not in _errors(database)


def test_a_role_that_may_not_write_to_it_cannot_leave_a_transaction(
    roles: tuple[str, str], database: Database, project: Project
) -> None:
    """Starts would not learn of what it leaves half-way; revisions in one message are as ever."""
    owner, other = roles
    project.add("r1")
    Migrator(database.server.url(database.name, user=owner), project.scripts).upgrade()
    database.execute(
        f"grant select, insert, update on automigrate_journal to {other};"
        f"grant all on alembic_version to {other}"
    )
    project.add("r2", upgrade='op.execute("create table t (id int)")')
    project.add("r3", upgrade=IN_BLOCK)
    migrator = Migrator(database.server.url(database.name, user=other), project.scripts)
    with pytest.raises(UpgradeError, match="permission denied for table automigrate_open") as error:
        migrator.upgrade()
    assert error.value.rolled_back
    assert database.rows(STATES) == [("r1", "applied"), ("r2", "applied")]
    database.execute(f"grant select, insert, delete on automigrate_open to {other}")
    database.execute(f"alter table t owner to {other}")
    assert [item.revision for item in migrator.upgrade().applied] == ["r3"]


def _errors(database: Database) -> str:
    lines = database.server.log_path.read_text(errors="replace").split("\x1e")
    return "".join(line for line in lines if database.name in line and "ERROR:  " in line)


def test_two_first_runs_beside_each_other_both_make_it(database: Database, tmp_path: Path) -> None:
    """On two version tables of one schema, each under a lock of its own: one is a moment later."""
    first, second = psycopg.connect(database.url), psycopg.connect(database.url, autocommit=True)
    one, two = (
        Journal(
            connection,
            "public",
            application_version=None,
            automigrate_version="0",
            version_table=name,
        )
        for connection, name in ((first, "one"), (second, "two"))
    )
    one.create()
    waiting = threading.Thread(target=two.create)
    waiting.start()
    until(
        lambda: bool(
            database.rows("select 1 from pg_stat_activity where wait_event = 'transactionid'")
        ),
        "the second waits for the first",
    )
    first.commit()
    waiting.join()
    assert two.exists()
    assert forms(database) == [(True, True)]
    first.close()
    second.close()


def test_a_publication_of_all_tables_is_no_obstacle(database: Database, project: Project) -> None:
    """From a table without an identity for its rows, the server would refuse to delete then."""
    database.execute("create table nameless (id int); insert into nameless values (1)")
    database.execute("create publication everything for all tables")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="replica identity"):
        database.execute("delete from nameless")
    database.execute("drop table nameless")
    project.add("r1", upgrade=IN_BLOCK)
    project.add("r2", upgrade=UPGRADES["own commit"].replace(" t ", " u "))
    applied = Migrator(database.url, project.scripts).upgrade().applied
    assert [item.revision for item in applied] == ["r1", "r2"]
    assert database.open_rows() == []


def test_restored_rows_of_the_journal_bring_theirs_along(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """A backup of the journal alone, from when a revision was open, and from when none was."""
    migrator = interrupted(database, project)
    then = migrator.backup(tmp_path / "backups", tables=["automigrate_journal"])
    migrator.repair("r1", resolution=Resolution.NOT_APPLIED)
    later = migrator.backup(tmp_path / "backups", tables=["automigrate_journal"])
    assert database.open_rows() == []
    migrator.restore(then.path)
    assert database.open_rows() == ["r1"]
    assert database.disagreements() == []
    assert migrator.status().interrupted == ("r1",)
    migrator.restore(later.path)
    assert database.open_rows() == []


def test_a_whole_backup_brings_both_back(
    database: Database, project: Project, tmp_path: Path
) -> None:
    """As they were, agreeing; also where it is older than the table of open rows."""
    migrator = interrupted(database, project)
    both = migrator.backup(tmp_path / "backups")
    database.execute("drop table automigrate_open")
    one = migrator.backup(tmp_path / "backups")
    migrator.restore(both.path)
    assert database.open_rows() == ["r1"]
    migrator.restore(one.path)
    assert forms(database) == [(True, False)]
    assert migrator.status().interrupted == ("r1",)
    with pytest.raises(InterruptedRevisionError):
        migrator.upgrade()
