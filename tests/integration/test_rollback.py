"""Rollback: the plan, its losses, what is refused, and undoing revisions of a newer release."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import Migrator, RollbackPlan, RollbackRefusedError, UpgradeError, Verdict
from tests.support.projects import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Database

HEADS = "select version_num from alembic_version order by 1"
JOURNAL = "select revision, direction, state from automigrate_journal order by id"


def heads(database: Database) -> list[str]:
    """Return what the version table holds."""
    return [head for (head,) in database.rows(HEADS)]


def test_undoes_the_newest_revisions(database: Database, tmp_path: Path) -> None:
    """A relative target undoes so many revisions, newest first, and journals each."""
    project = Project.linear(tmp_path, 3)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    report = migrator.downgrade("-2")
    assert [item.revision for item in report.reverted] == ["r0003", "r0002"]
    assert (report.heads, heads(database)) == (("r0001",), ["r0001"])
    assert database.rows("select to_regclass('t_r0002') is null") == [(True,)]
    assert database.rows(JOURNAL) == [
        ("r0001", "upgrade", "applied"),
        ("r0002", "upgrade", "reverted"),
        ("r0003", "upgrade", "reverted"),
        ("r0003", "downgrade", "applied"),
        ("r0002", "downgrade", "applied"),
    ]


def test_an_undone_revision_can_be_applied_again(database: Database, tmp_path: Path) -> None:
    """Down to the base and up again gives the same schema."""
    project = Project.linear(tmp_path, 2)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    before = database.dump_schema()
    migrator.downgrade("base")
    assert heads(database) == []
    assert migrator.status().verdict is Verdict.BEHIND
    migrator.upgrade()
    assert database.dump_schema() == before


def test_without_env_py(database: Database, tmp_path: Path) -> None:
    """A project without env.py is rolled back as well."""
    project = Project.linear(tmp_path, 2, env=None)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    migrator.downgrade("r0001")
    assert heads(database) == ["r0001"]


def test_branches_and_merges_are_undone_as_alembic_would(
    database: Database, project: Project
) -> None:
    """Undoing a merge leaves both branches as heads; below them is the common ancestor."""
    project.add("a", down=None, upgrade='op.execute("create table a (i int)")', downgrade=DROP("a"))
    project.add("b", down="a", upgrade='op.execute("create table b (i int)")', downgrade=DROP("b"))
    project.add("c", down="a", upgrade='op.execute("create table c (i int)")', downgrade=DROP("c"))
    project.add("m", down=("b", "c"))
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    migrator.downgrade("-1")
    assert heads(database) == ["b", "c"]
    migrator.downgrade("a")
    assert heads(database) == ["a"]


def DROP(table: str) -> str:  # noqa: N802 - reads as a constant
    """Return the body of a downgrade that drops a table."""
    return f'op.execute("drop table {table}")'


def test_names_an_irreversible_revision_before_anything_is_undone(
    database: Database, project: Project
) -> None:
    """A plan with a revision that cannot be undone is refused as a whole."""
    project.add("r1", upgrade='op.execute("create table a (i int)")', downgrade=DROP("a"))
    project.add("r2", downgrade='raise NotImplementedError("the old rows are gone")')
    project.add("r3", upgrade='op.execute("create table c (i int)")', downgrade=DROP("c"))
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    with pytest.raises(RollbackRefusedError, match="r2 cannot be undone: .*old rows are gone"):
        migrator.downgrade("r1")
    assert heads(database) == ["r3"]


def test_a_failing_downgrade_is_rolled_back_and_told(database: Database, project: Project) -> None:
    """What was undone before stays undone; the failed one is rolled back as a whole."""
    project.add("r1", upgrade='op.execute("create table a (i int)")', downgrade=DROP("a"))
    project.add("r2", downgrade='op.execute("create table x (i int)"); op.execute("select 1/0")')
    project.add("r3")
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    with pytest.raises(UpgradeError, match="the downgrade of revision r2 failed") as caught:
        migrator.downgrade("r1", allow_data_loss=True)
    assert (caught.value.applied, caught.value.rolled_back) == (("r3",), True)
    assert heads(database) == ["r2"]
    assert database.rows("select to_regclass('x') is null") == [(True,)]


LOSSES = {
    "a dropped table": ('op.drop_table("t")', "drops table t: 3 rows"),
    "a dropped column": ('op.drop_column("t", "note")', "drops column t.note: 2 values"),
    "deleted rows": ('op.execute("delete from t where id > 1")', "deletes rows of t: 2 rows"),
    "overwritten rows": ('op.execute("update t set note = null")', "overwrites rows of t: 3 rows"),
    "an emptied table": ('op.execute("truncate t")', "empties table t: 3 rows"),
    "a changed type": (
        'op.execute("alter table t alter note type char(1) using left(note, 1)")',
        "changes the type of column t.note: 2 values",
    ),
    "a dropped schema": ('op.execute("drop schema extra cascade")', "drops table extra.u: 1 row"),
    "a renamed table": (
        'op.rename_table("t", "s"); op.drop_table("s")',
        "drops table t: 3 rows",
    ),
    "a coarser number": (
        'op.alter_column("kinds", "amount", type_=sa.Numeric(10, 1))',
        "changes the type of column kinds.amount: 4 values",
    ),
    "a smaller integer": (
        'op.alter_column("kinds", "id", type_=sa.Integer())',
        "changes the type of column kinds.id: 5 values",
    ),
    "a moment that becomes a day": (
        'op.alter_column("kinds", "at", type_=sa.Date())',
        "changes the type of column kinds.at: 3 values",
    ),
    "a cut text": (
        'op.alter_column("kinds", "text", type_=sa.String(2), postgresql_using="left(text, 2)")',
        "changes the type of column kinds.text: 2 values",
    ),
    "an enum without a value": (
        """
            op.execute("alter type mood rename to older; create type mood as enum ('good')")
            op.execute("alter table kinds alter mood type mood using 'good'::mood")
            op.execute("drop type older")
        """,
        "changes the type of column kinds.mood: 1 value",
    ),
    "a dropped materialized view": (
        'op.execute("drop materialized view seen")',
        "drops materialized view seen: 5 rows",
    ),
    "a dropped sequence": (
        'op.execute(sa.schema.DropSequence(sa.Sequence("tens")))',
        "drops sequence tens: 3 numbers",
    ),
    "a partitioned table": ('op.drop_table("parted")', "drops table parted: 7 rows"),
    "a partition": ('op.drop_table("parted_1")', "drops table parted_1: 4 rows"),
    "inheriting tables": (
        'op.execute("drop table parent cascade")',
        "drops table parent: 3 rows",
    ),
    "a column that others inherit": (
        'op.drop_column("parent", "note")',
        "drops column parent.note: 3 values",
    ),
    "a renamed schema": (
        'op.execute("alter schema extra rename to other; drop schema other cascade")',
        "drops table extra.u: 1 row",
    ),
    "a table moved into a dropped schema": (
        'op.execute("create schema bin; alter table t set schema bin; drop schema bin cascade")',
        "drops table t: 3 rows",
    ),
    "columns of a dropped type": (
        'op.execute("drop type mood cascade")',
        "may destroy data: how much is not known",
    ),
    "columns that a dropped function generates": (
        'op.execute("drop function twice cascade")',
        "may destroy data: how much is not known",
    ),
    "another search path": (
        'op.execute("set local search_path = extra, public; drop table if exists v")',
        "may destroy data: how much is not known",
    ),
    "an opaque block": (
        'op.execute("do $$ begin delete from t; end $$")',
        "may destroy data: how much is not known",
    ),
    "what reads the database": (
        "if op.get_bind().execute(sa.text('select 1 from t')).scalar():\n    op.drop_table('t')",
        "may destroy data: how much is not known",
    ),
}


@pytest.mark.parametrize(("downgrade", "expected"), LOSSES.values(), ids=list(LOSSES))
def test_announces_every_kind_of_data_loss(
    downgrade: str, expected: str, database: Database, project: Project
) -> None:
    """The plan names what is destroyed with the true count, and is refused without leave."""
    project.add(
        "r1",
        upgrade="""
            op.execute("create table t (id int, note text)")
            op.execute("insert into t values (1, 'a'), (2, 'b'), (3, null)")
            op.execute("create schema extra; create table extra.u as select 1 as id")
            op.execute("create type mood as enum ('good', 'bad')")
            op.execute("create table kinds (id bigint, amount numeric(10, 3), at timestamptz, "
                       "text text, mood mood)")
            op.execute("insert into kinds select n, nullif(n, 1), "
                       "case when n > 2 then now() end, case when n > 3 then 'text' end, "
                       "case when n > 4 then 'bad'::mood end from generate_series(1, 5) n")
            op.execute("create materialized view seen as select generate_series(1, 5)")
            op.execute("create sequence tens increment 10; "
                       "select nextval('tens') from generate_series(1, 3)")
            op.execute("create table parted (n int) partition by range (n)")
            op.execute("create table parted_1 partition of parted for values from (0) to (4)")
            op.execute("create table parted_2 partition of parted for values from (4) to (9)")
            op.execute("insert into parted select generate_series(0, 6)")
            op.execute("create table parent (note text); create table child () inherits (parent)")
            op.execute("insert into parent values ('a'); insert into child values ('b'), ('c')")
            op.execute("create function twice(int) returns int language sql immutable "
                       "as 'select 2 * $1'")
            op.execute("create table doubled (n int, two int generated always as (twice(n)) "
                       "stored)")
        """,
    )
    project.add("r2", downgrade=downgrade)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    plan = migrator.downgrade_plan("-1")
    assert [str(loss).partition(" ")[2].partition(" (")[0] for loss in plan.losses] == [expected]
    with pytest.raises(RollbackRefusedError, match="data would be lost"):
        migrator.downgrade("-1")
    assert heads(database) == ["r2"]
    migrator.downgrade("-1", allow_data_loss=True)
    assert heads(database) == ["r1"]


def test_losing_nothing_needs_no_leave(database: Database, project: Project) -> None:
    """Empty tables and columns without values are no loss."""
    project.add("r1", upgrade='op.execute("create table t (id int); insert into t values (1)")')
    project.add(
        "r2",
        upgrade='op.add_column("t", sa.Column("note", sa.Text)); op.create_table("u")',
        downgrade='op.drop_column("t", "note"); op.drop_table("u")',
    )
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    assert migrator.downgrade_plan("-1").losses == ()
    migrator.downgrade("-1")
    assert heads(database) == ["r1"]


def test_rows_that_come_after_the_plan_are_not_lost(database: Database, project: Project) -> None:
    """Losses are counted again under the lock: the plan may be older than the data."""
    project.add("r1", upgrade='op.execute("create table t (id int)")', downgrade=DROP("t"))
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()

    def write_meanwhile(plan: RollbackPlan) -> bool:
        assert plan.losses == ()
        database.execute("insert into t values (1)")
        return True

    with pytest.raises(RollbackRefusedError, match="drops table t: 1 row"):
        migrator.downgrade("base", confirm=write_meanwhile)
    assert heads(database) == ["r1"]


def test_what_was_not_planned_is_not_undone(database: Database, tmp_path: Path) -> None:
    """A revision that another process applies after the plan was made stops the rollback."""
    project = Project.linear(tmp_path, 1)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()

    def upgrade_meanwhile(_: RollbackPlan) -> bool:
        project.extend(1)
        automigrate.upgrade(database.url, project.scripts)
        return True

    with pytest.raises(automigrate.SchemaMismatchError, match="another process changed it"):
        migrator.downgrade("-1", confirm=upgrade_meanwhile)
    assert heads(database) == ["r0002"]


def test_a_plan_that_is_not_confirmed_changes_nothing(database: Database, tmp_path: Path) -> None:
    """The answer no ends the rollback before the lock is taken."""
    project = Project.linear(tmp_path, 1)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    with pytest.raises(RollbackRefusedError, match="not confirmed"):
        migrator.downgrade("-1", confirm=lambda _: False)
    assert heads(database) == ["r0001"]


# -- revisions of a newer release ------------------------------------------------------------------


def releases(tmp_path: Path, database: Database) -> tuple[Project, Project]:
    """Write an old and a new release, and bring the database to the old one."""
    old = Project.linear(tmp_path / "old", 1)
    automigrate.upgrade(database.url, old.scripts)
    new = old.copy(tmp_path / "new")
    new.add(
        "r0002",
        upgrade="""
            op.add_column("t_r0001", sa.Column("note", sa.Text))
            op.create_index("by_note", "t_r0001", ["note"])
        """,
        downgrade="""
            op.drop_index("by_note", "t_r0001")
            op.drop_column("t_r0001", "note")
        """,
    )
    new.add(
        "r0003",
        upgrade="""
            with op.get_context().autocommit_block():
                op.create_index("later", "t_r0001", ["id"], postgresql_concurrently=True)
        """,
        downgrade="""
            with op.get_context().autocommit_block():
                op.drop_index("later", "t_r0001", postgresql_concurrently=True)
            op.execute("comment on table t_r0001 is '100% \\\\:back'")
        """,
    )
    return old, new


def test_an_old_release_undoes_what_a_newer_one_applied(database: Database, tmp_path: Path) -> None:
    """The SQL that the newer release kept brings the schema back, percent signs and all."""
    old, new = releases(tmp_path, database)
    before = database.dump_schema()
    automigrate.upgrade(database.url, new.scripts)
    report = Migrator(database.url, old.scripts).downgrade()
    assert [item.revision for item in report.reverted] == ["r0003", "r0002"]
    assert heads(database) == ["r0001"]
    comment = "select obj_description('t_r0001'::regclass)"
    assert database.rows(comment) == [("100% :back",)]
    database.execute("comment on table t_r0001 is null")
    assert database.dump_schema() == before
    assert Migrator(database.url, old.scripts).status().verdict is Verdict.CURRENT


def test_nothing_newer_means_nothing_to_undo(database: Database, tmp_path: Path) -> None:
    """At its own heads a release has nothing to roll back to."""
    old, _ = releases(tmp_path, database)
    assert Migrator(database.url, old.scripts).downgrade().reverted == ()


def test_newer_branches_and_merges_are_undone(database: Database, tmp_path: Path) -> None:
    """Unknown revisions are undone in reverse order of what the journal says they are built on."""
    old = Project.linear(tmp_path / "old", 1)
    automigrate.upgrade(database.url, old.scripts)
    new = old.copy(tmp_path / "new")
    for name, down in (("a", "r0001"), ("b", "r0001"), ("b2", "b"), ("m", ("a", "b2"))):
        new.add(name, down=down, upgrade=CREATE(name), downgrade=DROP(name))
    automigrate.upgrade(database.url, new.scripts)
    report = Migrator(database.url, old.scripts).downgrade()
    order = [item.revision for item in report.reverted]
    assert (order[0], set(order[1:]), heads(database)) == ("m", {"a", "b", "b2"}, ["r0001"])
    assert order.index("b2") < order.index("b")


def CREATE(table: str) -> str:  # noqa: N802 - reads as a constant
    """Return the body of an upgrade that creates a table."""
    return f'op.execute("create table {table} (i int)")'


def test_what_could_not_be_rendered_is_told(database: Database, tmp_path: Path) -> None:
    """A newer revision whose downgrade reads the database cannot be undone by an old release."""
    old = Project.linear(tmp_path / "old", 1)
    automigrate.upgrade(database.url, old.scripts)
    new = old.copy(tmp_path / "new")
    new.add("r0002", downgrade="sa.inspect(op.get_bind()).get_table_names()")
    automigrate.upgrade(database.url, new.scripts)
    with pytest.raises(RollbackRefusedError, match="r0002 cannot be undone: this code has no"):
        Migrator(database.url, old.scripts).downgrade()
    assert heads(database) == ["r0002"]


def test_a_tampered_row_is_refused(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key in the environment, SQL that is not what was signed is not executed."""
    monkeypatch.setenv("AUTOMIGRATE_JOURNAL_KEY", "a secret of the deployment")
    old, new = releases(tmp_path, database)
    automigrate.upgrade(database.url, new.scripts)
    database.execute(
        "update automigrate_journal set downgrade_sql = downgrade_sql || ' create table evil ();'"
        " where revision = 'r0002'"
    )
    with pytest.raises(RollbackRefusedError, match="r0002 .* has a wrong signature"):
        Migrator(database.url, old.scripts).downgrade()
    assert heads(database) == ["r0003"]


def test_an_unsigned_row_is_refused_when_there_is_a_key(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that was written without a key is as good as a tampered one."""
    old, new = releases(tmp_path, database)
    automigrate.upgrade(database.url, new.scripts)
    monkeypatch.setenv("AUTOMIGRATE_JOURNAL_KEY", "a secret of the deployment")
    with pytest.raises(RollbackRefusedError, match="r0003 .* is not signed"):
        Migrator(database.url, old.scripts).downgrade()


def test_rightly_signed_rows_are_executed(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same key in both releases the rollback goes on."""
    monkeypatch.setenv("AUTOMIGRATE_JOURNAL_KEY", "a secret of the deployment")
    old, new = releases(tmp_path, database)
    automigrate.upgrade(database.url, new.scripts)
    Migrator(database.url, old.scripts).downgrade()
    assert heads(database) == ["r0001"]


def test_losses_of_a_newer_release_are_counted(database: Database, tmp_path: Path) -> None:
    """The plan of an old release names what the recorded SQL destroys."""
    old, new = releases(tmp_path, database)
    automigrate.upgrade(database.url, new.scripts)
    database.execute("insert into t_r0001 values (1, 'x'), (2, null)")
    plan = Migrator(database.url, old.scripts).downgrade_plan()
    assert [str(loss) for loss in plan.losses] == ["r0002 drops column t_r0001.note: 1 value"]


def test_a_rollback_waits_for_a_table_in_slices(database: Database, tmp_path: Path) -> None:
    """A recorded downgrade is tried again when a table is locked, as an upgrade is."""
    old, new = releases(tmp_path, database)
    automigrate.upgrade(database.url, new.scripts)
    retried: list[str] = []
    with psycopg.connect(database.url) as holder:
        holder.execute("select * from t_r0001")

        def listen(event: automigrate.Event) -> None:
            if type(event).__name__ == "RevisionRetried":
                retried.append(getattr(event, "revision", ""))
                holder.rollback()

        migrator = Migrator(
            database.url, old.scripts, on_event=listen, lock_timeout=0.1, lock_timeout_max=0.2
        )
        holder.execute("lock table t_r0001 in access share mode")
        # The concurrent drop of r0003 waits for the transaction; it is not what is tested here.
        database_without_r0003(database)
        migrator.downgrade()
    assert retried == ["r0002"]
    assert heads(database) == ["r0001"]


def database_without_r0003(database: Database) -> None:
    """Have the database as if r0003 had never been applied."""
    database.execute(
        "delete from automigrate_journal where revision = 'r0003';"
        "update alembic_version set version_num = 'r0002'"
    )


# -- on_failure ------------------------------------------------------------------------------------


def failing(project: Project) -> Project:
    """Add a revision that adds to an old table, one that makes its own, and one that fails."""
    project.add(
        "a",
        upgrade="""
            op.execute("alter table t_r0001 add column note text default 'x'")
        """,
        downgrade='op.drop_column("t_r0001", "note")',
    )
    project.add(
        "b",
        upgrade='op.execute("create table b as select 1 as id")',
        downgrade='op.drop_table("b")',
    )
    project.add("c", upgrade='op.execute("select 1/0")')
    return project


def test_a_failed_upgrade_is_undone_as_a_whole(database: Database, tmp_path: Path) -> None:
    """What the run had made goes, rows and all; what was there before stays."""
    project = Project.linear(tmp_path, 1)
    migrator = Migrator(database.url, project.scripts, on_failure="rollback")
    migrator.upgrade()
    database.execute("insert into t_r0001 values (1)")
    before = database.dump_schema()
    failing(project)
    with pytest.raises(UpgradeError, match="The 2 revisions that this run had applied") as caught:
        migrator.upgrade()
    assert (caught.value.applied, caught.value.pending) == ((), ("a", "b", "c"))
    assert heads(database) == ["r0001"]
    assert database.dump_schema() == before
    assert database.rows("select id from t_r0001") == [(1,)]


def test_a_failed_first_upgrade_leaves_an_empty_database(
    database: Database, tmp_path: Path
) -> None:
    """From an empty database everything is undone to the base."""
    project = failing(Project.linear(tmp_path, 1))
    with pytest.raises(UpgradeError, match="The 3 revisions"):
        automigrate.upgrade(database.url, project.scripts, on_failure="rollback")
    assert heads(database) == []
    assert database.rows("select to_regclass('t_r0001') is null") == [(True,)]


@pytest.mark.parametrize(
    ("downgrade", "why"),
    [
        ('raise NotImplementedError("no")', "a cannot be undone"),
        ('op.execute("delete from t_r0001")', "data would be lost: a deletes rows of t_r0001"),
        ('op.get_bind().execute(sa.text("select 1")).scalar()', "data would be lost"),
    ],
)
def test_what_cannot_be_undone_safely_stays(
    downgrade: str, why: str, database: Database, tmp_path: Path
) -> None:
    """The error says why nothing was undone; what was applied stays applied."""
    project = Project.linear(tmp_path, 1)
    automigrate.upgrade(database.url, project.scripts)
    database.execute("insert into t_r0001 values (1)")
    project.add("a", downgrade=downgrade)
    project.add("b", upgrade='op.execute("select 1/0")')
    with pytest.raises(UpgradeError) as caught:
        automigrate.upgrade(database.url, project.scripts, on_failure="rollback")
    assert caught.value.applied == ("a",)
    assert why in "".join(caught.value.__notes__)
    assert heads(database) == ["a"]
