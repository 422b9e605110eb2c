"""Plain Alembic works on the database before, between and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.projects import Project
    from tests.support.servers import Database


def applied(report: automigrate.UpgradeReport) -> list[str]:
    """Return what a run applied."""
    return [item.revision for item in report.applied]


def current(project: Project, database: Database) -> str:
    """Return what `alembic current` says."""
    return project.alembic("current", url=database.url).stdout.strip()


def test_automigrate_continues_what_alembic_began(database: Database, project: Project) -> None:
    """A database at an older revision of plain Alembic is taken over without a word."""
    project.extend(4)
    project.alembic("upgrade", "r0002", url=database.url)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.verdict is Verdict.BEHIND
    assert applied(report) == ["r0003", "r0004"]


def test_nothing_is_pending_after_alembic(database: Database, project: Project) -> None:
    """A database that plain Alembic has brought to head is current, and stays untouched."""
    project.extend(2)
    project.alembic("upgrade", "head", url=database.url)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.outcome is Outcome.UNCHANGED
    assert database.rows("select to_regclass('automigrate_journal') is null") == [(True,)]


def test_alembic_works_after_automigrate(database: Database, project: Project) -> None:
    """`current`, `upgrade` and `downgrade` see what automigrate has applied."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    assert current(project, database) == "r0002 (head)"
    project.extend(1)
    project.alembic("upgrade", "head", url=database.url)
    assert current(project, database) == "r0003 (head)"
    project.alembic("downgrade", "r0001", url=database.url)
    assert current(project, database) == "r0001"
    assert database.rows("select to_regclass('t_r0002') is null") == [(True,)]


def test_automigrate_continues_after_a_downgrade_by_alembic(
    database: Database, project: Project
) -> None:
    """What plain Alembic has undone is applied again, although the journal has it as applied."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    project.alembic("downgrade", "r0001", url=database.url)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.verdict is Verdict.BEHIND
    assert applied(report) == ["r0002", "r0003"]
    assert automigrate.upgrade(database.url, project.scripts).outcome is Outcome.UNCHANGED


def test_automigrate_continues_after_a_downgrade_to_base(
    database: Database, project: Project
) -> None:
    """An empty version table with nothing else but the journal is the beginning."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    project.alembic("downgrade", "base", url=database.url)
    report = automigrate.upgrade(database.url, project.scripts)
    assert applied(report) == ["r0001", "r0002"]


def test_alembic_check_sees_no_difference_through_the_journal(
    database: Database, project: Project
) -> None:
    """The schema is the one that plain Alembic makes, version table included."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    ours = database.dump_schema()
    project.alembic("downgrade", "base", url=database.url)
    database.execute("drop table alembic_version")
    project.alembic("upgrade", "head")
    assert database.dump_schema() == ours


@pytest.mark.parametrize("template", ["generic", "async", "pyproject"])
def test_stock_templates_work_unmodified(
    template: str, database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """Under each stock env.py the same history gives the same schema as plain Alembic."""
    project.write_env(template)
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    other = databases()
    if template == "pyproject":
        project.set_url(other.url)
    project.alembic("upgrade", "head", url=other.url)
    assert database.dump_schema() == other.dump_schema()


def test_a_settled_interruption_is_believed(database: Database, project: Project) -> None:
    """When a person has finished an interrupted revision with plain Alembic, startup goes on."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            with op.get_context().autocommit_block():
                op.execute("vacuum item")
            raise RuntimeError("half-way")
        """,
    )
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert not raised.value.rolled_back
    with pytest.raises(automigrate.InterruptedRevisionError):
        automigrate.upgrade(database.url, project.scripts)
    project.alembic("stamp", "r0001", url=database.url)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.outcome is Outcome.UNCHANGED
    assert database.rows("select state from automigrate_journal") == [("applied",)]
