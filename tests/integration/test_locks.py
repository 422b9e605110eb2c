"""Who holds the migration lock, seen and ended from the command line."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

import automigrate
from automigrate import Outcome, PermissionDeniedError
from automigrate.cli.group import root
from tests.support.background import Background
from tests.support.replicas import Replica, until

if TYPE_CHECKING:
    from click.testing import Result

    from automigrate.recovery.locks import LockState
    from tests.support.projects import Project
    from tests.support.servers import Database


def waiting_for_a_table(database: Database, project: Project) -> LockState | None:
    """Return the state of the lock once its holder waits for a table lock."""
    state = automigrate.Migrator(database.url, project.scripts).locks()
    return state if state.blockers and state.waits_for.startswith("Lock") else None


def run(command: str, url: str, project: Project, *arguments: str) -> Result:
    """Run a command; its exit code is the result's `return_value`."""
    return CliRunner().invoke(
        root,
        [command, "--database-url", url, "--script-location", str(project.scripts), *arguments],
        standalone_mode=False,
    )


def asleep(database: Database) -> bool:
    """Say whether a revision is in its long statement."""
    return bool(
        database.rows(
            "select 1 from pg_stat_activity where datname = current_database() "
            "and state = 'active' and query like 'select pg_sleep%'"
        )
    )


@pytest.fixture
def sleeper(project: Project) -> Project:
    """A project whose second revision takes long."""
    project.extend(1)
    project.add("r0002", upgrade='op.execute("select pg_sleep(60)")')
    return project


def test_locks_says_that_nobody_holds_it(database: Database, project: Project) -> None:
    """Without a run there is no holder, and nothing is created by looking."""
    project.extend(1)
    result = run("locks", database.url, project)
    assert result.return_value == 0
    assert result.output.startswith("holder: nobody")
    assert database.rows("select to_regclass('automigrate_journal')") == [(None,)]


def test_locks_names_the_holder_and_what_it_does(database: Database, sleeper: Project) -> None:
    """Host, process, revision, since when, and the statement are shown."""
    replica = Replica(database, sleeper)
    try:
        until(lambda: asleep(database), "the revision runs")
        told = json.loads(run("locks", database.url, sleeper, "--json").stdout)
        lines = run("locks", database.url, sleeper).output
    finally:
        replica.close()
    assert os.uname().nodename in told["holder"]["application_name"]
    assert told["holder"]["application_name"].endswith("r0002")
    assert told["holder"]["since"].endswith("Z")
    assert told["state"] == "active"
    assert told["query"] == "select pg_sleep(60)"
    assert told["seconds"] > 0
    assert "statement: select pg_sleep(60)" in lines


def test_locks_names_who_blocks_the_holder(database: Database, project: Project) -> None:
    """A holder that waits for a table lock is shown with the session in its way."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade='op.execute("alter table t_r0001 add column more integer")')
    with database.connect(application_name="reporting") as reader:
        reader.execute("begin; select * from t_r0001")
        running = Background(database.url, project, lock_timeout=5.0, lock_timeout_max=5.0)
        waits = until(
            lambda: waiting_for_a_table(database, project),
            "the holder waits",
        )
        reader.execute("commit")
    assert [blocker.application_name for blocker in waits.blockers] == ["reporting"]
    assert waits.waits_for == "Lock: relation"
    assert running.finish().outcome is Outcome.MIGRATED


def test_unlock_ends_a_frozen_holder_and_another_goes_on(
    database: Database, project: Project
) -> None:
    """A stopped process keeps the lock for ever; `unlock` frees it, and the next run migrates."""
    project.extend(3)
    frozen = Replica(database, project, stop_at="RevisionStarted r0001")
    try:
        frozen.until_told("stopped")
        os.kill(frozen.pid, signal.SIGSTOP)
        result = run("unlock", database.url, project, "--yes")
        assert result.return_value == 0, result.output
        assert "was ended" in result.output
        report = automigrate.upgrade(database.url, project.scripts)
        assert [item.revision for item in report.applied] == ["r0001", "r0002", "r0003"]
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.go()
        assert frozen.finish() == 0, str(frozen)
    finally:
        frozen.close()
    assert database.rows("select revision, state from automigrate_journal order by id") == [
        ("r0001", "applied"),
        ("r0002", "applied"),
        ("r0003", "applied"),
    ]


def test_unlock_without_a_terminal_asks_for_a_word(database: Database, sleeper: Project) -> None:
    """Nothing is ended unless a person, or --yes, says so."""
    replica = Replica(database, sleeper)
    try:
        until(lambda: asleep(database), "the revision runs")
        result = run("unlock", database.url, sleeper)
        assert result.return_value == 10
        assert asleep(database)
    finally:
        replica.close()


def test_unlock_without_a_holder_has_nothing_to_do(database: Database, project: Project) -> None:
    """A free lock is not an error."""
    project.extend(1)
    assert run("unlock", database.url, project).return_value == 0


def test_unlock_ends_no_session_but_the_holder(database: Database, project: Project) -> None:
    """A pid that does not hold the lock is left alone, whoever it belongs to by now."""
    project.extend(1)
    with database.connect() as bystander:
        migrator = automigrate.Migrator(database.url, project.scripts)
        assert migrator.unlock(bystander.info.backend_pid) is False
        assert bystander.execute("select 1").fetchone() == (1,)


def test_unlock_without_the_privilege_says_which(database: Database, sleeper: Project) -> None:
    """A role that may not end the holder's session is told what it needs."""
    role = f"weak_{database.name}"[:60]
    database.execute(f'create role "{role}" login; grant usage on schema public to "{role}"')
    replica = Replica(database, sleeper)
    try:
        until(lambda: asleep(database), "the revision runs")
        database.execute(f'grant select on all tables in schema public to "{role}"')
        weak = automigrate.Migrator(database.server.url(database.name, user=role), sleeper.scripts)
        holder = weak.locks().holder
        assert holder is not None
        with pytest.raises(PermissionDeniedError, match="pg_signal_backend"):
            weak.unlock(holder.pid)
        assert asleep(database)
    finally:
        replica.close()
        database.execute(f'drop owned by "{role}"; drop role "{role}"')
