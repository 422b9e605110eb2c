"""The way back is kept in the journal in the transaction of the revision, or the reason why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Migrator
from tests.support.projects import Project

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.servers import Database

KEPT = """
select downgrade_sql, downgrade_obstacle, downgrade_signature is not null
from automigrate_journal where revision = %s"""


def kept(database: Database, tmp_path: Path, downgrade: str, **more: str) -> tuple[object, ...]:
    """Upgrade by one revision beyond an earlier release; return what the journal has for it."""
    project = Project.linear(tmp_path, 1)
    automigrate.upgrade(database.url, project.scripts)
    project.add("r2", downgrade=downgrade, **more)
    automigrate.upgrade(database.url, project.scripts)
    [row] = database.rows(KEPT, ("r2",))
    return row


def test_operations_are_rendered(database: Database, tmp_path: Path) -> None:
    """What Alembic's operations would send is kept, statement by statement."""
    downgrade = 'op.drop_index("i", "t_r0001"); op.drop_table("u")'
    upgrade = 'op.create_table("u"); op.create_index("i", "t_r0001", ["id"])'
    row = kept(database, tmp_path, downgrade, upgrade=upgrade)
    assert row == ("DROP INDEX i;\n\nDROP TABLE u;", None, False)


@pytest.mark.parametrize(
    ("downgrade", "obstacle"),
    [
        (
            "op.execute(op.get_bind().execute(sa.text('select 1')).scalar())",
            "it reads from the database",
        ),
        ("sa.inspect(op.get_bind())", "it inspects the database"),
        ('raise NotImplementedError("never")', "raises NotImplementedError('never')"),
        ('open("/tmp/of the downgrade", "w")', "it uses open()"),
        ('sa.create_engine("postgresql://").connect()', "it uses sa.create_engine"),
        ("sa.Table('u', METADATA)", "it uses METADATA, which may do more"),
        ("NAMES.reverse()\n[op.drop_table(name) for name in NAMES]", "which may change NAMES"),
    ],
)
def test_why_nothing_is_kept(
    downgrade: str, obstacle: str, database: Database, tmp_path: Path
) -> None:
    """The reason stands in the journal, and the status names the revision."""
    module = 'NAMES = ["t"]\nMETADATA = sa.MetaData()'
    sql, reason, signed = kept(database, tmp_path, downgrade, extra_module_code=module)
    assert (sql, signed) == (None, False)
    assert obstacle in str(reason)
    status = Migrator(database.url, tmp_path / "migrations").status()
    assert status.without_way_back == ("r2",)


def test_rendering_has_no_effect_outside(database: Database, tmp_path: Path) -> None:
    """A downgrade that acts on files is not called during an upgrade."""
    trace = tmp_path / "trace"
    row = kept(
        database, tmp_path, f"Path({str(trace)!r}).touch()", imports="from pathlib import Path"
    )
    assert not trace.exists()
    assert "Path, which may do more than build SQL" in str(row[1])


def test_rendering_leaves_the_upgrade_its_own_context(database: Database, tmp_path: Path) -> None:
    """The operations of the upgrade go to the database, also after a rendering."""
    kept(
        database,
        tmp_path,
        'op.drop_table("u")',
        upgrade='op.create_table("u"); op.get_bind().execute(sa.text("select 1")).scalar_one()',
    )
    assert database.rows("select to_regclass('u') is not null") == [(True,)]


def test_nothing_is_rendered_on_an_empty_database(database: Database, tmp_path: Path) -> None:
    """There is no older release to go back to, so the first start pays nothing for it."""
    automigrate.upgrade(database.url, Project.linear(tmp_path, 2).scripts)
    assert database.rows(KEPT, ("r0002",)) == [(None, None, False)]


def test_a_key_in_the_environment_signs(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key each row that has SQL is signed."""
    monkeypatch.setenv("AUTOMIGRATE_JOURNAL_KEY", "k")
    assert kept(database, tmp_path, 'op.execute("select 1")') == ("select 1;", None, True)


def test_names_follow_the_project_s_conventions(database: Database, tmp_path: Path) -> None:
    """The naming convention of env.py's metadata holds in what is rendered, too."""
    project = Project.linear(tmp_path, 1)
    env = (project.scripts / "env.py").read_text()
    convention = (
        "from sqlalchemy import MetaData\n"
        'target_metadata = MetaData(naming_convention={"uq": "unique_%(table_name)s"})'
    )
    (project.scripts / "env.py").write_text(env.replace("target_metadata = None", convention))
    automigrate.upgrade(database.url, project.scripts)
    project.add("r2", downgrade='op.create_unique_constraint(None, "t_r0001", ["id"])')
    automigrate.upgrade(database.url, project.scripts)
    [row] = database.rows(KEPT, ("r2",))
    assert row[0] == "ALTER TABLE t_r0001 ADD CONSTRAINT unique_t_r0001 UNIQUE (id);"
