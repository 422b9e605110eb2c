"""The second connection: who blocks, how far, and what is ended from there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate.events import BlockersSeen, ProgressSeen, RevisionRecovered, RevisionStarted
from tests.support.replicas import until

if TYPE_CHECKING:
    from automigrate.events import Event
    from tests.support.projects import Project
    from tests.support.servers import Database

LONG = 60.0


def with_alteration(project: Project, database: Database) -> None:
    """Create a table, and have its alteration pending."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade='op.execute("alter table item add column name text")')


def test_blockers_are_told_while_they_block(database: Database, project: Project) -> None:
    """Application, user, state, age and statement of whoever is in the way."""
    with_alteration(project, database)
    events: list[Event] = []
    with database.connect(application_name="report") as reader:
        reader.execute("begin; select count(*) from item")

        def note(event: Event) -> None:
            events.append(event)
            if isinstance(event, BlockersSeen) and event.repeated:
                reader.execute("commit")

        automigrate.upgrade(
            database.url,
            project.scripts,
            lock_timeout=20.0,
            lock_timeout_max=20.0,
            on_event=note,
        )
        pid = reader.info.backend_pid
    seen, *others = (event for event in events if isinstance(event, BlockersSeen))
    assert [seen.repeated, *(other.repeated for other in others)] == [False, True]
    (blocker,) = seen.blockers
    assert seen.revision == "r0002"
    assert (blocker.pid, blocker.application_name) == (pid, "report")
    assert blocker.state == "idle in transaction"
    assert blocker.query == "begin; select count(*) from item"
    assert 0 < blocker.age_seconds < LONG
    assert blocker.user


def test_an_idle_blocker_is_ended_where_that_is_allowed(
    database: Database, project: Project
) -> None:
    """With `cancel_blockers` a session that idles in its transaction goes, and is told."""
    with_alteration(project, database)
    events: list[Event] = []
    reader = database.connect()
    try:
        reader.execute("begin; select count(*) from item")
        automigrate.upgrade(
            database.url,
            project.scripts,
            lock_timeout=30.0,
            lock_timeout_max=30.0,
            cancel_blockers=0.1,
            on_event=events.append,
        )
        with pytest.raises(psycopg.OperationalError):
            reader.execute("select 1")
    finally:
        reader.close()
    told = [event.action for event in events if isinstance(event, RevisionRecovered)]
    assert any("idle in its transaction" in action for action in told)


def test_a_working_blocker_is_never_ended(database: Database, project: Project) -> None:
    """A session that does something is left alone, however long it takes."""
    with_alteration(project, database)
    held = "select 1 from pg_locks where relation = 'item'::regclass and granted"
    with database.connect() as reader, ThreadPoolExecutor() as pool:
        busy = pool.submit(
            reader.execute, "begin; select count(*) from item; select pg_sleep(1.5); commit"
        )
        until(lambda: database.rows(held), "the reader has its table lock")
        report = automigrate.upgrade(
            database.url,
            project.scripts,
            lock_timeout=30.0,
            lock_timeout_max=30.0,
            cancel_blockers=0.1,
        )
        busy.result(LONG)
        assert not reader.closed
    assert report.applied[0].attempts == 1


def test_progress_of_an_index_build_is_told(database: Database, project: Project) -> None:
    """The phases of CREATE INDEX CONCURRENTLY are seen from outside."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently item_id on item (id)")
        """,
    )
    events: list[Event] = []
    with database.connect() as writer:
        writer.execute("begin; insert into item values (1)")

        def note(event: Event) -> None:
            events.append(event)
            if isinstance(event, ProgressSeen):
                writer.execute("commit")

        automigrate.upgrade(database.url, project.scripts, on_event=note)
    progress = [event for event in events if isinstance(event, ProgressSeen)]
    assert progress[0].revision == "r0002"
    assert progress[0].phase.startswith("waiting for")


def test_quick_revisions_need_no_second_connection(database: Database, project: Project) -> None:
    """The observer connects only when a revision takes its time."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    names = {one.application_name for one in database.statements()}
    assert not any(name.startswith("automigrate-observer") for name in names)


def test_a_run_works_without_its_observer(database: Database, project: Project) -> None:
    """Where there is no second connection to be had, only the telling is missing."""
    project.add("r0001", upgrade='op.execute("select pg_sleep(1)")')
    started = False

    def connect() -> psycopg.Connection:
        if started:
            msg = "no more connections"
            raise psycopg.OperationalError(msg)
        return psycopg.connect(database.url)

    def note(event: Event) -> None:
        nonlocal started
        started = started or isinstance(event, RevisionStarted)

    report = automigrate.upgrade(connect, project.scripts, on_event=note)
    assert [item.revision for item in report.applied] == ["r0001"]
