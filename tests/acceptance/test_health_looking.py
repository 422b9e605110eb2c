"""The quiet look: its verdicts and its cost, on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from automigrate import AheadPolicy, DatabaseUnavailableError, Migrator, Verdict
from automigrate.health.looking import look_at

if TYPE_CHECKING:
    from pathlib import Path

    from automigrate.events import Event
    from tests.support.projects import Project
    from tests.support.servers import Database


def upgraded(project: Project, database: Database) -> Migrator:
    """Apply two revisions and return the migrator."""
    project.extend(2)
    migrator = Migrator(database.url, project.scripts)
    migrator.upgrade()
    return migrator


def test_a_look_at_the_right_schema_is_one_connection_and_one_query(
    project: Project, database: Database
) -> None:
    """It serves, with the heads of both sides, and costs what a start costs."""
    migrator = upgraded(project, database)
    before = len(database.statements())
    seen = look_at(migrator)
    assert seen.serves
    assert (seen.verdict, seen.current, seen.wanted) == (Verdict.CURRENT, ("r0002",), ("r0002",))
    assert len(database.statements()) - before == 1


def test_a_look_tells_no_listener(project: Project, database: Database) -> None:
    """It is no run, and must not be taken for one."""
    events: list[Event] = []
    migrator = upgraded(project, database)
    migrator.add_listener(events.append)
    look_at(migrator)
    assert events == []


def test_a_look_sees_pending_revisions(project: Project, database: Database) -> None:
    """After a downgrade the application does not serve."""
    migrator = upgraded(project, database)
    project.alembic("downgrade", "-1", url=database.url)
    seen = look_at(migrator)
    assert (seen.verdict, seen.serves) == (Verdict.BEHIND, False)
    assert (seen.current, seen.wanted) == (("r0001",), ("r0002",))


def test_a_look_follows_the_policy_for_a_newer_schema(
    project: Project, database: Database, tmp_path: Path
) -> None:
    """Ahead serves by default, and does not where the migrator refuses it."""
    project.extend(2)
    older = project.copy(tmp_path / "older", without=["r0002"])
    Migrator(database.url, project.scripts).upgrade()
    seen = look_at(Migrator(database.url, older.scripts))
    assert (seen.verdict, seen.serves) == (Verdict.AHEAD, True)
    refusing = Migrator(database.url, older.scripts, on_ahead=AheadPolicy.REFUSE)
    seen = look_at(refusing)
    assert (seen.verdict, seen.serves) == (Verdict.AHEAD, False)


def test_a_look_sees_a_foreign_history(project: Project, database: Database) -> None:
    """A version table of another application is diverged."""
    migrator = upgraded(project, database)
    database.execute("update alembic_version set version_num = 'feedc0de'")
    seen = look_at(migrator)
    assert (seen.verdict, seen.serves) == (Verdict.DIVERGED, False)


def test_a_look_sees_tables_without_a_version_table(project: Project, database: Database) -> None:
    """A lost version table is unmanaged."""
    migrator = upgraded(project, database)
    database.execute("drop table alembic_version; drop table automigrate_journal")
    seen = look_at(migrator)
    assert (seen.verdict, seen.serves) == (Verdict.UNMANAGED, False)


def test_a_look_at_no_server_is_one_attempt(project: Project) -> None:
    """It does not wait for the server, whatever the migrator's own time-out is."""
    project.extend(1)
    migrator = Migrator("postgresql://127.0.0.1:1/none", project.scripts, timeout=600.0)
    with pytest.raises(DatabaseUnavailableError) as caught:
        look_at(migrator)
    assert caught.value.attempts == 1
