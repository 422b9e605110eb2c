"""The update of the version table: checked as Alembic checks it, and there for callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import UpgradeError

if TYPE_CHECKING:
    from tests.support.projects import Project
    from tests.support.servers import Database

VERSION = "select version_num from alembic_version order by 1"
DOUBLED = """\
alter table alembic_version drop constraint alembic_version_pkc; \
insert into alembic_version table alembic_version"""
MARKER = "target_metadata=target_metadata"


def configure(project: Project, argument: str, *, before: str) -> None:
    """Give the stock env.py one more argument of `configure`, and what it names."""
    env = project.scripts / "env.py"
    text = env.read_text()
    assert MARKER in text
    text = text.replace(MARKER, f"{MARKER}, {argument}")
    env.write_text(
        text.replace("def run_migrations_offline", f"{before}\n\ndef run_migrations_offline")
    )


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("update alembic_version set version_num = 'elsewhere'", 0),
        (
            DOUBLED,
            2,
        ),
    ],
    ids=["none", "two"],
)
def test_a_version_row_that_is_not_met_exactly_once_undoes_the_revision(
    change: str, found: int, database: Database, project: Project
) -> None:
    """The revision fails as under Alembic, and version table and schema are as before."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade=f'op.execute("create table gone ()"); op.execute("{change}")')
    with pytest.raises(
        UpgradeError, match=rf"expected to match one row.*; {found} found"
    ) as caught:
        automigrate.upgrade(database.url, project.scripts)
    assert caught.value.rolled_back
    assert database.rows(VERSION) == [("r0001",)]
    assert database.rows("select to_regclass('gone')") == [(None,)]


def test_branches_and_their_merge_leave_the_rows_that_alembic_leaves(
    database: Database, project: Project
) -> None:
    """A branch adds a row, a merge deletes one and changes the other."""
    project.extend(1)
    for revision in ("left", "right"):
        project.add(revision, down="r0001", upgrade=f'op.execute("create table {revision}_ ()")')
    automigrate.upgrade(database.url, project.scripts, target="heads")
    assert database.rows(VERSION) == [("left",), ("right",)]
    project.add("merged", down=("left", "right"), upgrade="pass")
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows(VERSION) == [("merged",)]


def test_a_callback_sees_the_version_row_of_its_revision(
    database: Database, project: Project
) -> None:
    """What `on_version_apply` reads is what the revision leaves."""
    configure(
        project,
        "on_version_apply=note",
        before=(
            "def note(ctx, heads, **_):\n"
            "    ctx.connection.exec_driver_sql(\n"
            '        "create table if not exists seen (heads text, found text)"\n'
            "    )\n"
            "    ctx.connection.exec_driver_sql(\n"
            "        f\"insert into seen select '{min(heads)}', * from alembic_version\"\n"
            "    )\n"
        ),
    )
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select * from seen order by 1") == [
        ("r0001", "r0001"),
        ("r0002", "r0002"),
    ]
