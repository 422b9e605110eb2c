"""One revision: transaction, settings, fence, journal row, commit in doubt, early commits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import Outcome
from automigrate.events import RevisionApplied, RevisionRecovered
from tests.support.proxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.events import Event
    from tests.support.projects import Project
    from tests.support.servers import Database

VERSION = "select version_num from alembic_version"
STATES = "select revision, state from automigrate_journal order by id"


def applied(report: automigrate.UpgradeReport) -> list[str]:
    """Return what a run applied."""
    return [item.revision for item in report.applied]


@pytest.fixture
def proxy(database: Database) -> Iterator[FaultProxy]:
    """A proxy in front of the server."""
    with FaultProxy("127.0.0.1", database.server.port) as running:
        yield running


def through(proxy: FaultProxy, database: Database) -> str:
    """Return the database's URL through the proxy."""
    return psycopg.conninfo.make_conninfo(database.tcp_url, host=proxy.host, port=proxy.port)


def count_applications(project: Project, alone: str = "") -> None:
    """Add two revisions whose effect would show twice if they were applied twice.

    Args:
        project: where.
        alone: code that keeps them from being sent as one message.
    """
    project.add(
        "r0001",
        upgrade=f"""
            {alone}
            op.execute("create table if not exists tally (revision text)")
            op.execute("insert into tally values ('r0001')")
        """,
    )
    project.add(
        "r0002",
        upgrade=f"""
            {alone}
            op.execute("insert into tally values ('r0002')")
        """,
    )


@pytest.mark.fault
@pytest.mark.parametrize("whole", [True, False], ids=["one message", "by statement"])
@pytest.mark.parametrize("before", [True, False], ids=["commit lost", "answer lost"])
@pytest.mark.parametrize("version", ["r0001", "r0002"], ids=["first revision", "last revision"])
def test_a_commit_in_doubt_is_settled_by_the_version_table(  # noqa: PLR0917 - a cell and fixtures
    whole: bool,
    before: bool,
    version: str,
    database: Database,
    project: Project,
    proxy: FaultProxy,
) -> None:
    """When the connection breaks around COMMIT, each revision is still applied and told once."""
    count_applications(project, alone="" if whole else "op.get_bind()")
    update = {
        "r0001": b"INSERT INTO alembic_version",
        "r0002": b"UPDATE alembic_version SET",
    }
    cut = threading.Event()

    def break_connection() -> None:
        cut.set()
        proxy.cut()

    if whole:
        proxy.when(update[version], break_connection, before=before)
    else:
        proxy.when(
            update[version],
            lambda: proxy.when(b"COMMIT", break_connection, before=before),
        )
    report = automigrate.upgrade(through(proxy, database), project.scripts)
    assert cut.is_set()
    assert database.rows("select revision from tally order by 1") == [("r0001",), ("r0002",)]
    assert applied(report) == ["r0001", "r0002"]
    assert report.outcome is Outcome.MIGRATED
    assert report.attempts == 2
    assert database.rows(STATES) == [("r0001", "applied"), ("r0002", "applied")]


@pytest.mark.fault
def test_a_connection_that_breaks_inside_of_a_revision_is_replaced(
    database: Database, project: Project, proxy: FaultProxy
) -> None:
    """The revision is run again on a new session, from its beginning."""
    count_applications(project)
    proxy.when(b"'r0002'", proxy.cut)
    report = automigrate.upgrade(through(proxy, database), project.scripts)
    assert applied(report) == ["r0001", "r0002"]
    assert database.rows("select revision from tally order by 1") == [("r0001",), ("r0002",)]


def test_a_failing_revision_leaves_nothing_behind(database: Database, project: Project) -> None:
    """Schema, version table and journal are as before the revision."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    before = database.dump_schema(journal=True), database.rows(STATES)
    project.add(
        "r0002",
        upgrade="""
            op.execute("create table half (id integer)")
            op.execute("insert into nowhere values (1)")
        """,
    )
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert raised.value.rolled_back
    assert (database.dump_schema(journal=True), database.rows(STATES)) == before


def test_the_error_of_a_script_is_kept_as_the_cause(database: Database, project: Project) -> None:
    """A traceback shows the line of the script that failed."""
    project.add("r0001", upgrade="raise LookupError('no such customer')")
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    cause: BaseException | None = raised.value
    while cause is not None and not isinstance(cause, LookupError):
        cause = cause.__cause__ or cause.__context__
    assert isinstance(cause, LookupError)


def test_the_lock_is_taken_again_when_a_script_gives_it_away(
    database: Database, project: Project
) -> None:
    """A session that no longer holds the lock applies nothing more; a new one goes on (H6)."""
    project.add("r0001", upgrade='op.execute("select pg_advisory_unlock_all()")')
    project.add("r0002", upgrade='op.execute("create table t ()")')
    report = automigrate.upgrade(database.url, project.scripts)
    assert applied(report) == ["r0001", "r0002"]
    assert report.attempts == 2


def test_settings_are_made_again_after_a_script_resets_them(
    database: Database, project: Project
) -> None:
    """RESET ALL in a script does not bring a role's time-outs back for the next one."""
    database.execute(f"alter database {database.name} set statement_timeout = '5s'")
    project.add("r0001", upgrade='op.execute("reset all")')
    project.add(
        "r0002",
        upgrade="""
            op.execute(
                "create table seen as select current_setting('statement_timeout') as statement, "
                "current_setting('lock_timeout') as lock"
            )
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select * from seen") == [("0", "500ms")]


def test_a_commit_by_the_revision_itself_is_journaled(database: Database, project: Project) -> None:
    """After `op.get_bind().commit()` a failure is told as one that left a part behind (H21)."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table half (id integer)")
            op.get_bind().commit()
            op.execute("insert into half values (1)")
            raise RuntimeError("after the commit")
        """,
    )
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert not raised.value.rolled_back
    assert "A part of it is committed" in str(raised.value)
    assert database.rows(STATES) == [("r0001", "failed")]
    assert database.rows("select count(*) from half") == [(0,)]
    with pytest.raises(automigrate.InterruptedRevisionError, match="1 statements were committed"):
        automigrate.upgrade(database.url, project.scripts)


def test_a_commit_by_the_revision_itself_does_not_lose_later_work(
    database: Database, project: Project
) -> None:
    """What comes after `op.get_bind().commit()` is committed too, and so are later revisions."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table early (id integer)")
            op.get_bind().commit()
            op.execute("create table late (id integer)")
        """,
    )
    project.extend(1, first=2)
    report = automigrate.upgrade(database.url, project.scripts)
    assert applied(report) == ["r0001", "r0002"]
    assert database.rows("select to_regclass('late') is not null") == [(True,)]
    assert database.rows(VERSION) == [("r0002",)]
    assert database.rows(STATES) == [("r0001", "applied"), ("r0002", "applied")]


def test_a_revision_that_committed_a_part_is_not_run_again(
    database: Database, project: Project
) -> None:
    """A lock time-out after a commit of its own fails the revision, instead of repeating it."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table half (id integer)")
            op.get_bind().commit()
            op.execute("do $$ begin raise exception 'busy' using errcode = '55P03'; end $$")
        """,
    )
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert not raised.value.rolled_back


def test_no_lock_timeout_inside_of_an_autocommit_block(
    database: Database, project: Project
) -> None:
    """CREATE INDEX CONCURRENTLY must never be cut short while it waits (H13)."""
    project.add(
        "r0001",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create table seen as select current_setting('lock_timeout') as it")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select it from seen") == [("0",)]


def test_an_invalid_index_of_the_same_name_is_dropped_first(
    database: Database, project: Project
) -> None:
    """A build that finds the rest of a failed one starts afresh, `if not exists` or not (H14)."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            op.execute("insert into item values (1), (1)")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    with database.connect() as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("create unique index concurrently item_id on item (id)")
    database.execute("delete from item")
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create unique index concurrently if not exists item_id on item (id)")
        """,
    )
    events: list[Event] = []
    automigrate.upgrade(database.url, project.scripts, on_event=events.append)
    assert database.rows("select indisvalid from pg_index where indrelid = 'item'::regclass") == [
        (True,)
    ]
    recovered = [event for event in events if isinstance(event, RevisionRecovered)]
    assert [event.action for event in recovered] == ["invalid index public.item_id dropped"]


def test_a_failed_concurrent_index_is_built_by_the_next_start(
    database: Database, project: Project
) -> None:
    """A revision of nothing but concurrent indexes is run again once the data allows it (H15)."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            op.execute("insert into item values (1), (1)")
        """,
    )
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently item_plain on item (id)")
                op.execute("create unique index concurrently item_unique on item (id)")
        """,
    )
    with pytest.raises(automigrate.UpgradeError, match="UniqueViolation") as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert not raised.value.rolled_back
    assert database.rows(STATES) == [("r0001", "applied"), ("r0002", "failed")]
    database.execute("delete from item")
    report = automigrate.upgrade(database.url, project.scripts)
    assert applied(report) == ["r0002"]
    assert database.rows("select indisvalid from pg_index where indrelid = 'item'::regclass") == [
        (True,),
        (True,),
    ]
    assert database.rows(STATES) == [
        ("r0001", "applied"),
        ("r0002", "reverted"),
        ("r0002", "applied"),
    ]


def test_an_interruption_that_may_have_done_anything_is_refused(
    database: Database, project: Project
) -> None:
    """With other work before the block the next start stops, and says what is left."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            op.execute("insert into item values (1), (1)")
            with op.get_context().autocommit_block():
                op.execute("create unique index concurrently item_unique on item (id)")
        """,
    )
    with pytest.raises(automigrate.UpgradeError):
        automigrate.upgrade(database.url, project.scripts)
    with pytest.raises(automigrate.InterruptedRevisionError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert raised.value.revision == "r0001"
    assert raised.value.exit_code == 7
    left = " ".join(raised.value.left)
    assert "2 statements were committed before" in left
    assert "create unique index concurrently item_unique" in left
    assert "UniqueViolation" in left


def test_a_revision_identifier_of_eighty_characters_fits(
    database: Database, project: Project
) -> None:
    """The version column is widened where it is too narrow."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    long = "r0002_" + "x" * 74
    project.add(long)
    assert applied(automigrate.upgrade(database.url, project.scripts)) == [long]
    assert database.rows(VERSION) == [(long,)]


@pytest.mark.parametrize(("commits", "expected"), [("last", "off"), ("every", "on")])
def test_only_the_last_commit_waits_for_the_disk(
    commits: str, expected: str, database: Database, project: Project
) -> None:
    """The last commit makes all before it durable; with `every` each one is."""
    note = """
        op.execute("create table if not exists seen (revision text, setting text)")
        op.execute("insert into seen values ('{}', current_setting('synchronous_commit'))")
    """
    project.add("r0001", upgrade=note.format("r0001"))
    project.add("r0002", upgrade=note.format("r0002"))
    automigrate.upgrade(database.url, project.scripts, commits=commits)
    assert database.rows("select setting from seen order by revision") == [(expected,), ("on",)]


def test_every_statement_runs_on_the_session_that_holds_the_lock(
    database: Database, project: Project
) -> None:
    """One backend takes the lock and executes all DDL, concurrent index builds included (H1)."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently item_id on item (id)")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    told = database.statements()
    lock = {one.pid for one in told if "pg_try_advisory_lock" in one.text}
    ddl = {
        one.pid
        for one in told
        if one.text.startswith(("create table item", "create index concurrently", "UPDATE alembic"))
    }
    assert len(lock) == 1
    assert ddl == lock


def test_the_journal_names_who_applied_what(database: Database, project: Project) -> None:
    """A row has its revision, parents, checksum, instance, release and times."""
    import os
    import socket

    project.extend(2)
    automigrate.upgrade(database.url, project.scripts, application_version="2026.7")
    assert database.rows(
        "select revision, down_revisions, direction, phase, checksum ~ '^[0-9a-z:]+$', "
        "instance_host, instance_pid, application_version, automigrate_version, "
        "finished_at >= started_at, error from automigrate_journal order by id"
    ) == [
        (
            revision,
            parents,
            "upgrade",
            "transaction",
            True,
            socket.gethostname(),
            os.getpid(),
            "2026.7",
            automigrate.__version__,
            True,
            None,
        )
        for revision, parents in (("r0001", []), ("r0002", ["r0001"]))
    ]


def test_events_of_a_revision_come_in_order(database: Database, project: Project) -> None:
    """Started, applied, with position and total."""
    project.extend(2)
    events: list[Event] = []
    automigrate.upgrade(database.url, project.scripts, on_event=events.append)
    done = [event for event in events if isinstance(event, RevisionApplied)]
    assert [(event.revision, event.position, event.total) for event in done] == [
        ("r0001", 1, 2),
        ("r0002", 2, 2),
    ]
    names = [type(event).__name__ for event in events]
    assert names.index("LockTaken") < names.index("RevisionStarted")
    assert names[-1] == "RunFinished"


def test_percent_signs_of_a_driver_statement_are_its_own(
    database: Database, project: Project
) -> None:
    """As with asyncpg: without parameters nothing in the text is a placeholder."""
    project.add(
        "r0001",
        upgrade="""
            op.get_bind().exec_driver_sql("create table named as select format('%I', 'a b') as n")
        """,
    )
    automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select n from named") == [('"a b"',)]
