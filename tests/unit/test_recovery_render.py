"""Rendering a downgrade: what may be called for its SQL, and how the SQL is cut into sections."""

from __future__ import annotations

import textwrap
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from automigrate.alembic_bridge.render import Section, WayBack, render, sections

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
import logging
import os

from alembic import context, op
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

MOOD = sa.Enum("good", "bad", name="mood")
users = sa.table("users", sa.column("id", sa.Integer), sa.column("name", sa.Text))

def drop(name):
    op.drop_table(name)

def drop_and_log(name):
    logging.getLogger().warning("dropping %s", name)
    drop(name)

def upgrade():
    op.execute("select 1")

def downgrade():
"""


def rendered(directory: Path, body: str) -> WayBack:
    """Render a script with this body of downgrade()."""
    path = directory / "script.py"
    path.write_text(HEAD + textwrap.indent(textwrap.dedent(body), "    "))
    module = ModuleType("script_py")
    exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    return render(module, str(path))


SQL = {
    'drop("t")': "DROP TABLE t;",
    'for name in ("a", "b"):\n    op.drop_table(name)': "DROP TABLE a;\n\nDROP TABLE b;",
    "MOOD.drop(op.get_bind(), checkfirst=True)": "DROP TYPE mood;",
    'with op.batch_alter_table("t") as batch_op:\n    batch_op.drop_column("c")': (
        "ALTER TABLE t DROP COLUMN c;"
    ),
    'bind = op.get_bind()\nbind.execute(sa.text("delete from t where x = :x"), {"x": "it\'s"})': (
        "delete from t where x = 'it''s';"
    ),
    "op.execute(users.delete().where(users.c.id == 5))": "DELETE FROM users WHERE users.id = 5;",
    "op.execute(\"update t set a = '10%\\tx'\")": "update t set a = '10%\tx';",
    'op.execute("drop table t -- gone")': "drop table t -- gone\n;",
    "pass": "",
}


@pytest.mark.parametrize(("body", "expected"), SQL.items(), ids=list(SQL))
def test_renders_what_would_be_sent(body: str, expected: str, tmp_path: Path) -> None:
    """Operations, helpers, types and statements come out as SQL, with tabs and percent signs."""
    found = rendered(tmp_path, body)
    assert (found.sql and found.sql.replace(" \n", "\n")) == expected, found


OBSTACLES = {
    'drop_and_log("t")': "it uses logging.getLogger, which may do more",
    'os.remove("/nowhere")': "it uses os.remove, which may do more",
    "import subprocess": "it imports subprocess, which may do more",
    'exec("op.drop_table(1)")': "it uses exec()",
    'print("dropping")': "it uses print()",
    'if not context.is_offline_mode():\n    op.drop_table("t")': "it uses context.is_offline_mode",
    'context.get_context().bind.execute(sa.text("drop table t"))': "it uses context.get_context",
    "list(op.get_bind().execute(sa.text('select 1')))": "it reads from the database",
    "if op.get_bind().execute(sa.text('select 1')):\n    drop('t')": "it reads from the database",
    "op.get_bind().begin()": "it uses the connection's begin",
    'op.execute("delete from t where id = :id")': "parameters that have no value",
    'op.execute("COMMIT")': "ends its transaction",
    'op.execute("drop index concurrently i")': "ends its transaction",
    "sa.Table('t', sa.MetaData(), autoload_with=op.get_bind())": "it inspects the database",
    "1 / 0": "ZeroDivisionError",
}


@pytest.mark.parametrize(("body", "obstacle"), OBSTACLES.items(), ids=list(OBSTACLES))
def test_says_why_it_cannot_be_rendered(body: str, obstacle: str, tmp_path: Path) -> None:
    """What reads the database, or may act outside of it, is not rendered, and named."""
    found = rendered(tmp_path, body)
    assert found.sql is None
    assert obstacle in found.obstacle
    assert not found.irreversible


@pytest.mark.parametrize(
    "body",
    ['raise NotImplementedError("no")', "if users is not None:\n    raise NotImplementedError"],
)
def test_a_downgrade_that_raises_is_irreversible(body: str, tmp_path: Path) -> None:
    """It cannot succeed whatever the data are."""
    assert rendered(tmp_path, body).irreversible


def test_a_script_without_downgrade_is_irreversible(tmp_path: Path) -> None:
    """Nothing can undo it."""
    path = tmp_path / "script.py"
    path.write_text("def upgrade(): ...\n")
    found = render(ModuleType("script_py"), str(path))
    assert (found.irreversible, found.obstacle) == (True, "it has no downgrade()")


def test_a_script_without_source_is_not_rendered() -> None:
    """A compiled script cannot be looked through, so it is not called."""
    assert render(ModuleType("x"), "x.pyc").obstacle == "its source is not there"


def test_what_runs_outside_of_a_transaction_is_a_section_of_its_own(tmp_path: Path) -> None:
    """Each statement of an autocommit block stands alone; the rest runs together."""
    body = """
        op.drop_table("a")
        op.drop_table("b")
        with op.get_context().autocommit_block():
            op.drop_index("i", postgresql_concurrently=True)
            op.drop_index("j", postgresql_concurrently=True)
        op.drop_table("c")
    """
    found = rendered(tmp_path, body)
    assert found.sql is not None
    assert list(sections(found.sql)) == [
        Section(sql="DROP TABLE a;\n\nDROP TABLE b;", outside=False),
        Section(sql="DROP INDEX CONCURRENTLY i;", outside=True),
        Section(sql="DROP INDEX CONCURRENTLY j;", outside=True),
        Section(sql="DROP TABLE c;", outside=False),
    ]
