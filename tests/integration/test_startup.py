"""The startup sequence on a real server: verdicts, modes, waiting, retries, stops, sources."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import automigrate
from automigrate import Migrator, Outcome, Verdict, waiting
from automigrate.database import pipeline
from automigrate.database.advisory_lock import lock_key
from automigrate.events import (
    ConnectionRetried,
    LockWaited,
    RevisionApplied,
    RevisionRetried,
    RevisionStarted,
)
from tests.support.projects import Project, sqlalchemy_url
from tests.support.replicas import LONG, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automigrate.events import Event
    from tests.support.servers import Database

KEY = lock_key("public", "alembic_version")
WAITS = """
select 1 from pg_stat_activity where datname = current_database() and state = 'idle'
and application_name like 'automigrate %'
"""


def applied(report: automigrate.UpgradeReport) -> list[str]:
    """Return what a run applied."""
    return [item.revision for item in report.applied]


def of_type(events: list[Event], kind: type[Any]) -> list[Any]:
    """Return the events of one type."""
    return [event for event in events if isinstance(event, kind)]


# Verdicts


def test_an_empty_database_gets_every_revision(database: Database, project: Project) -> None:
    """The verdict is `empty`, and all revisions are applied in order."""
    project.extend(3)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.verdict is Verdict.EMPTY
    assert report.outcome is Outcome.MIGRATED
    assert applied(report) == ["r0001", "r0002", "r0003"]
    assert report.heads == ("r0003",)
    assert report.applied[0].message == "revision r0001"


def test_a_database_behind_gets_what_is_pending(database: Database, project: Project) -> None:
    """The verdict is `behind`, and only the new revisions are applied."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    project.extend(2)
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.verdict is Verdict.BEHIND
    assert applied(report) == ["r0003", "r0004"]


def test_a_target_stops_short_of_the_head(database: Database, project: Project) -> None:
    """With a revision as target, later ones stay pending."""
    project.extend(3)
    assert applied(automigrate.upgrade(database.url, project.scripts, target="r0002")) == [
        "r0001",
        "r0002",
    ]
    assert automigrate.upgrade(database.url, project.scripts, target="r0001").applied == ()
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0003"]


def test_a_database_ahead_is_served(database: Database, project: Project) -> None:
    """Code that lacks the newest revision serves on the schema of a newer release."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    project.remove("r0003")
    report = automigrate.upgrade(database.url, project.scripts)
    assert report.verdict is Verdict.AHEAD
    assert report.outcome is Outcome.UNCHANGED
    assert report.heads == ("r0003",)


def test_a_database_ahead_does_not_queue_on_the_lock(database: Database, project: Project) -> None:
    """An old pod serves at once while a newer release migrates on."""
    project.extend(3)
    automigrate.upgrade(database.url, project.scripts)
    project.remove("r0003")
    with database.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", (KEY,))
        report = automigrate.upgrade(database.url, project.scripts, timeout=1.0)
    assert report.verdict is Verdict.AHEAD


def test_a_branch_of_another_release_is_diverged(database: Database, project: Project) -> None:
    """Unknown revisions that are not built on all of ours are refused."""
    project.extend(2)
    project.add("other", down="r0001", upgrade='op.execute("create table other (id int)")')
    project.remove("r0002")
    automigrate.upgrade(database.url, project.scripts)
    project.remove("other")
    project.add("r0002", down="r0001")
    with pytest.raises(automigrate.DivergedError, match=r"not built on r0002 of this code"):
        automigrate.upgrade(database.url, project.scripts)


def test_tables_of_an_extension_do_not_make_a_database_unmanaged(
    database: Database, project: Project
) -> None:
    """Only tables that belong to nobody else count."""
    project.extend(1)
    database.execute("create table spatial_ref_sys (id int); create extension pg_trgm")
    database.execute("alter extension pg_trgm add table spatial_ref_sys")
    assert automigrate.upgrade(database.url, project.scripts).verdict is Verdict.EMPTY


def test_an_edited_script_is_refused_where_policy_says_so(
    database: Database, project: Project
) -> None:
    """A changed applied script is served on by default, and refused with `refuse`."""
    project.extend(2)
    automigrate.upgrade(database.url, project.scripts)
    path = project.revisions["r0001"]
    path.write_text(path.read_text().replace("primary key", "unique not null"))
    assert automigrate.upgrade(database.url, project.scripts).outcome is Outcome.UNCHANGED
    with pytest.raises(automigrate.ModifiedError, match="r0001"):
        automigrate.upgrade(database.url, project.scripts, on_modified="refuse")
    project.extend(1)
    with pytest.raises(automigrate.ModifiedError, match="r0001"):
        automigrate.upgrade(database.url, project.scripts, on_modified="refuse")
    assert database.rows("select version_num from alembic_version") == [("r0002",)]
    assert automigrate.upgrade(database.url, project.scripts).outcome is Outcome.MIGRATED


# Modes


def test_mode_check_refuses_what_is_pending(database: Database, project: Project) -> None:
    """`check` judges once and changes nothing."""
    project.extend(2)
    with pytest.raises(automigrate.PendingError, match="r0001, r0002"):
        automigrate.upgrade(database.url, project.scripts, mode="check")
    assert database.rows("select to_regclass('alembic_version') is null") == [(True,)]


def test_mode_check_passes_on_a_current_schema(database: Database, project: Project) -> None:
    """`check` returns when the schema is right."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    assert automigrate.upgrade(database.url, project.scripts, mode="check").applied == ()
    assert Migrator(database.url, project.scripts).check().verdict is Verdict.CURRENT


def test_mode_check_refuses_an_edited_script(database: Database, project: Project) -> None:
    """`check` compares the scripts with what was applied, however it is called."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    path = project.revisions["r0001"]
    path.write_text(path.read_text().replace("primary key", "unique not null"))
    with pytest.raises(automigrate.ModifiedError):
        Migrator(database.url, project.scripts).check()
    with pytest.raises(automigrate.ModifiedError):
        automigrate.upgrade(database.url, project.scripts, mode="check")


def test_mode_check_does_not_wait_for_a_server(project: Project) -> None:
    """`check` tries one connection."""
    project.extend(1)
    with pytest.raises(automigrate.DatabaseUnavailableError) as raised:
        automigrate.upgrade("postgresql://127.0.0.1:9/x", project.scripts, mode="check")
    assert raised.value.attempts == 1


def test_mode_wait_waits_until_another_process_has_migrated(
    database: Database, project: Project
) -> None:
    """`wait` changes nothing itself and returns once the schema is right."""
    project.extend(2)
    with ThreadPoolExecutor() as pool:
        waiter = pool.submit(
            automigrate.upgrade,
            database.url,
            project.scripts,
            mode="wait",
            timeout=LONG,
            poll_interval=0.2,
        )
        until(lambda: database.rows(WAITS), "a session waits")
        automigrate.upgrade(database.url, project.scripts)
        report = waiter.result(LONG)
    assert report.outcome is Outcome.WAITED
    assert report.applied == ()
    assert report.waited_seconds > 0


def test_mode_wait_gives_up_at_the_deadline(database: Database, project: Project) -> None:
    """`wait` tells what is still pending when its time is over."""
    project.extend(2)
    with pytest.raises(automigrate.PendingError, match=r"r0001, r0002.*after waiting 0\.[5-9] s"):
        automigrate.upgrade(database.url, project.scripts, mode="wait", timeout=0.5)
    assert database.rows("select to_regclass('alembic_version') is null") == [(True,)]


def test_status_never_raises_for_a_verdict(database: Database, project: Project) -> None:
    """`status` names verdict, heads and pending revisions of whatever it finds."""
    project.extend(2)
    migrator = Migrator(database.url, project.scripts)
    assert migrator.status().verdict is Verdict.EMPTY
    database.execute("create table customer (id int)")
    status = migrator.status()
    assert status.verdict is Verdict.UNMANAGED
    assert not status.serves
    assert status.wanted == ("r0002",)


# The lock


def test_lock_timeout_names_the_holder(database: Database, project: Project) -> None:
    """Who holds the lock is in the error, by name and pid."""
    project.extend(1)
    with database.connect(application_name="deploy of the shop") as holder:
        holder.execute("select pg_advisory_lock(%s)", (KEY,))
        events: list[Event] = []
        with pytest.raises(automigrate.LockTimeoutError, match="deploy of the shop") as raised:
            automigrate.upgrade(database.url, project.scripts, timeout=0.7, on_event=events.append)
        assert raised.value.holder is not None
        assert raised.value.holder.pid == holder.info.backend_pid
        assert raised.value.holder.since
        assert 0.5 < raised.value.waited_seconds < 10
        assert [event.holder.pid for event in of_type(events, LockWaited)] == [
            holder.info.backend_pid
        ]
    assert raised.value.exit_code == 5


def test_a_timeout_of_zero_tries_the_lock_once(database: Database, project: Project) -> None:
    """With no time at all a free lock is still taken, and a held one refused at once."""
    project.extend(1)
    with database.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", (KEY,))
        with pytest.raises(automigrate.LockTimeoutError):
            automigrate.upgrade(database.url, project.scripts, timeout=0)
    assert applied(automigrate.upgrade(database.url, project.scripts, timeout=0)) == ["r0001"]


def test_a_notification_wakes_the_waiter(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter goes on when the holder notifies, long before its next poll."""
    monkeypatch.setattr(waiting, "SHORTEST_POLL", LONG)
    project.extend(1)
    waits = threading.Event()
    with database.connect() as holder, ThreadPoolExecutor() as pool:
        holder.execute("select pg_advisory_lock(%s)", (KEY,))
        waiter = pool.submit(
            automigrate.upgrade,
            database.url,
            project.scripts,
            poll_interval=LONG,
            on_event=lambda event: waits.set() if isinstance(event, LockWaited) else None,
        )
        assert waits.wait(LONG)
        released = time.monotonic()
        holder.execute("select pg_advisory_unlock(%s)", (KEY,))
        unsigned = KEY & 0xFFFF_FFFF_FFFF_FFFF
        holder.execute("select pg_notify(%s, '')", (f"automigrate_{unsigned:016x}",))
        report = waiter.result(LONG)
        pid = holder.info.backend_pid
    assert time.monotonic() - released < LONG / 4
    assert applied(report) == ["r0001"]
    assert report.waited_for is not None
    assert report.waited_for.pid == pid


def test_the_end_of_a_run_wakes_the_waiters(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiter of automigrate is woken by automigrate, also when the holder's run fails."""
    monkeypatch.setattr(waiting, "SHORTEST_POLL", LONG)
    project.extend(1)
    project.add("r0002", upgrade='op.execute("insert into nowhere values (1)")')
    waits, go_on = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        if isinstance(event, RevisionApplied):
            assert go_on.wait(LONG)

    with ThreadPoolExecutor() as pool:
        holder = pool.submit(automigrate.upgrade, database.url, project.scripts, on_event=hold)
        until(lambda: database.rows("select 1 from pg_class where relname = 't_r0001'"), "it runs")
        second = pool.submit(
            automigrate.upgrade,
            database.url,
            project.scripts,
            poll_interval=LONG,
            on_event=lambda event: waits.set() if isinstance(event, LockWaited) else None,
        )
        assert waits.wait(LONG)
        started = time.monotonic()
        go_on.set()
        for run in (holder, second):
            with pytest.raises(automigrate.UpgradeError):
                run.result(LONG)
    assert time.monotonic() - started < LONG / 4


@pytest.mark.parametrize("state", ["empty", "behind"])
def test_a_waiter_that_is_told_what_it_wants_sends_four_statements(
    state: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one session: glance, look with settings, LISTEN, try with holder; then it is told (H3)."""
    monkeypatch.setattr(waiting, "SHORTEST_POLL", LONG)
    if state == "behind":
        project.extend(1)
        automigrate.upgrade(database.url, project.scripts)
    project.add("r0002")
    holding, listens, go_on = threading.Event(), threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        if isinstance(event, RevisionStarted):
            holding.set()
            assert go_on.wait(LONG)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(automigrate.upgrade, database.url, project.scripts, on_event=hold)
        assert holding.wait(LONG)
        before = len(database.statements())
        second = pool.submit(
            automigrate.upgrade,
            database.url,
            project.scripts,
            poll_interval=LONG,
            on_event=lambda event: listens.set() if isinstance(event, LockWaited) else None,
        )
        assert listens.wait(LONG)
        waiter = database.statements()[before].pid
        go_on.set()
        assert first.result(LONG).outcome is Outcome.MIGRATED
        report = second.result(LONG)
    assert report.outcome is Outcome.WAITED
    assert report.waited_for is not None
    assert report.attempts == 1
    told = [statement.text for statement in database.statements(pid=waiter)]
    # This process has found the tables, where there are any already.
    glance = "ts_stat" if state == "empty" else "select version_num"
    expected = [glance, "set_config", "listen automigrate_", "json_build_array"]
    assert len(told) == len(expected), told
    assert all(part in text for part, text in zip(expected, told, strict=True)), told


@pytest.mark.parametrize("mode", ["upgrade", "wait"])
def test_a_waiter_that_wants_more_than_it_is_told_looks_itself(
    mode: str, database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder is of an older release: it stops short of what the waiter needs."""
    monkeypatch.setattr(waiting, "SHORTEST_POLL", LONG)
    project.extend(2)
    older, newer = project.revisions
    holding, listens, go_on = threading.Event(), threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        if isinstance(event, RevisionStarted) and event.revision == older:
            holding.set()
            assert go_on.wait(LONG)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(
            automigrate.upgrade, database.url, project.scripts, target=older, on_event=hold
        )
        assert holding.wait(LONG)
        second = pool.submit(
            automigrate.upgrade,
            database.url,
            project.scripts,
            mode=mode,
            timeout=LONG if mode == "upgrade" else 3.0,
            poll_interval=LONG,
            on_event=lambda event: listens.set() if isinstance(event, LockWaited) else None,
        )
        assert listens.wait(LONG)
        go_on.set()
        assert applied(first.result(LONG)) == [older]
        if mode == "upgrade":
            assert applied(second.result(LONG)) == [newer]
        else:
            with pytest.raises(automigrate.PendingError, match=newer):
                second.result(LONG)


def test_a_waiter_reports_for_whom_it_waited(database: Database, project: Project) -> None:
    """Of two runs one has applied everything; the other has waited for exactly that one."""
    project.extend(2)
    taken, go_on = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        if isinstance(event, RevisionStarted):
            taken.set()
            assert go_on.wait(LONG)

    def release(event: Event) -> None:
        if isinstance(event, LockWaited):
            go_on.set()

    with ThreadPoolExecutor() as pool:
        first = pool.submit(automigrate.upgrade, database.url, project.scripts, on_event=hold)
        assert taken.wait(LONG)
        second = pool.submit(automigrate.upgrade, database.url, project.scripts, on_event=release)
        reports = first.result(LONG), second.result(LONG)
    assert [report.outcome for report in reports] == [Outcome.MIGRATED, Outcome.WAITED]
    assert reports[1].waited_for is not None
    assert reports[1].waited_for.application_name.startswith("automigrate")
    assert reports[1].verdict is Verdict.BEHIND


# Retries


def once(project: Project, sqlstate: str) -> None:
    """Add a revision that fails with a SQLSTATE in its first attempt.

    A sequence counts the attempts, because it forgets nothing at a rollback.
    """
    project.add("r0001", upgrade='op.execute("create sequence attempt")')
    project.add(
        "r0002",
        upgrade=f'''
            op.execute("create table made (attempt bigint)")
            op.execute("insert into made values (nextval('attempt'))")
            op.execute("""
                do $$ begin
                  if currval('attempt') = 1 then
                    raise exception 'as asked' using errcode = '{sqlstate}';
                  end if;
                end $$
            """)
        ''',
    )


@pytest.mark.parametrize("sqlstate", ["55P03", "55006", "40P01", "40001"])
def test_a_busy_revision_is_run_again(sqlstate: str, database: Database, project: Project) -> None:
    """Lock timeouts, deadlocks and serialization failures are retried as a whole."""
    once(project, sqlstate)
    events: list[Event] = []
    report = automigrate.upgrade(database.url, project.scripts, on_event=events.append)
    assert database.rows("select attempt from made") == [(2,)]
    assert report.applied[1].attempts == 2
    (retried,) = of_type(events, RevisionRetried)
    assert (retried.revision, retried.sqlstate, retried.attempt) == ("r0002", sqlstate, 1)
    assert "as asked" in retried.reason
    assert database.rows("select revision, state from automigrate_journal order by id") == [
        ("r0001", "applied"),
        ("r0002", "applied"),
    ]


@pytest.mark.parametrize("sqlstate", ["57014", "53100", "23505", "42P01", "22012", "P0001"])
def test_a_wrong_revision_fails_at_once(
    sqlstate: str, database: Database, project: Project
) -> None:
    """Everything else is told after the first attempt, and leaves nothing behind."""
    once(project, sqlstate)
    with pytest.raises(automigrate.UpgradeError, match="as asked") as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert raised.value.failed == "r0002"
    assert raised.value.applied == ("r0001",)
    assert raised.value.pending == ("r0002",)
    assert raised.value.rolled_back
    assert database.rows("select last_value from attempt") == [(1,)]
    assert database.rows("select to_regclass('made') is null") == [(True,)]
    assert database.rows("select revision from automigrate_journal") == [("r0001",)]


def test_a_held_table_lock_is_waited_for_in_slices(database: Database, project: Project) -> None:
    """A revision that cannot have its table lock is rolled back and tried again."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade='op.execute("alter table item add column name text")')
    events: list[Event] = []
    with database.connect(application_name="report") as reader:
        reader.execute("begin; select * from item")

        def note(event: Event) -> None:
            events.append(event)
            if isinstance(event, RevisionRetried):
                reader.execute("commit")

        report = automigrate.upgrade(
            database.url, project.scripts, on_event=note, lock_timeout=0.8, lock_timeout_max=0.8
        )
        pid = reader.info.backend_pid
    (retried,) = of_type(events, RevisionRetried)
    assert retried.sqlstate == "55P03"
    assert [(who.pid, who.application_name) for who in retried.blockers] == [(pid, "report")]
    assert report.applied[0].attempts == 2


def test_a_table_lock_beyond_the_deadline_names_its_holder(
    database: Database, project: Project
) -> None:
    """When the time is over the error names the sessions that are in the way."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade='op.execute("alter table item add column name text")')
    with database.connect(application_name="nightly report") as reader:
        reader.execute("begin; select * from item")
        with pytest.raises(automigrate.StepTimeoutError, match="nightly report") as raised:
            automigrate.upgrade(
                database.url,
                project.scripts,
                timeout=1.5,
                lock_timeout=0.6,
                lock_timeout_max=0.6,
            )
        assert [who.pid for who in raised.value.blockers] == [reader.info.backend_pid]
    assert raised.value.rolled_back
    assert raised.value.exit_code == 8
    assert database.rows("select version_num from alembic_version") == [("r0001",)]


def test_a_deadlock_with_the_application_is_survived(database: Database, project: Project) -> None:
    """A revision that is the victim of a deadlock is run again once the other has finished."""
    project.add("r0001", upgrade='op.execute("create table a (); create table b ()")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade='op.execute("lock table a"); op.execute("lock table b")')
    events: list[Event] = []
    with database.connect() as other, ThreadPoolExecutor() as pool:
        other.execute("begin; lock table b")
        run = pool.submit(
            automigrate.upgrade,
            database.url,
            project.scripts,
            lock_timeout=20.0,
            lock_timeout_max=20.0,
            on_event=events.append,
        )
        waits = "select 1 from pg_locks where not granted and relation = 'b'::regclass"
        until(lambda: database.rows(waits), "the revision waits for the second table")
        other.execute("lock table a; commit")
        assert applied(run.result(LONG)) == ["r0002"]
    assert [event.sqlstate for event in of_type(events, RevisionRetried)] == ["40P01"]


def test_step_timeout_ends_a_revision_that_takes_too_long(
    database: Database, project: Project
) -> None:
    """A revision beyond its `step_timeout` is cancelled and rolled back."""
    project.add("r0001", upgrade='op.execute("select pg_sleep(60)")')
    with pytest.raises(automigrate.StepTimeoutError) as raised:
        automigrate.upgrade(database.url, project.scripts, step_timeout=0.5)
    assert raised.value.rolled_back


# Stopping


def stopped_after_the_first(database: Database, project: Project) -> automigrate.StoppedError:
    """Upgrade, ask for a stop when the first revision is applied, and return the error."""
    migrator = Migrator(
        database.url,
        project.scripts,
        on_event=lambda event: migrator.stop() if isinstance(event, RevisionApplied) else None,
    )
    with pytest.raises(automigrate.StoppedError) as raised:
        migrator.upgrade()
    return raised.value


def test_stop_ends_the_run_between_two_revisions(database: Database, project: Project) -> None:
    """What is applied stays applied, and the next run continues."""
    names = tuple(project.extend(40))
    error = stopped_after_the_first(database, project)
    done = error.applied
    assert 0 < len(done) <= pipeline.LONGEST + 1
    assert done + error.pending == names
    assert error.exit_code == 9
    assert database.rows("select version_num from alembic_version") == [(done[-1],)]
    again = automigrate.upgrade(database.url, project.scripts)
    assert applied(again) == list(error.pending)


def test_stop_does_not_wait_for_a_revision_that_was_sent_ahead(
    database: Database, project: Project
) -> None:
    """It is cancelled when its turn comes, and nothing of it stays."""
    project.extend(1)
    project.add("r0002", upgrade='op.execute("create table t as select 1 as x from pg_sleep(60)")')
    project.extend(1)
    error = stopped_after_the_first(database, project)
    assert error.applied == ("r0001",)
    assert error.pending == ("r0002", "r0003")
    assert database.rows("select to_regclass('t') is null") == [(True,)]


def test_abort_rolls_the_running_revision_back(database: Database, project: Project) -> None:
    """A revision at work is cancelled, and nothing of it stays."""
    project.add(
        "r0001", upgrade='op.execute("create table t ()"); op.execute("select pg_sleep(60)")'
    )
    migrator = Migrator(database.url, project.scripts)
    with ThreadPoolExecutor() as pool:
        run = pool.submit(migrator.upgrade)
        sleeps = "select 1 from pg_stat_activity where wait_event = 'PgSleep'"
        until(lambda: database.rows(sleeps), "the revision sleeps")
        migrator.abort()
        with pytest.raises(automigrate.StoppedError):
            run.result(LONG)
    assert database.rows("select to_regclass('t') is null") == [(True,)]


def test_a_look_that_is_cancelled_is_made_again(database: Database, project: Project) -> None:
    """`pg_cancel_backend` that meets a query of ours, and no revision, costs one new connection."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.extend(1)
    cancelled = """
    select pg_cancel_backend(pid) from pg_stat_activity where datname = current_database()
    and application_name like 'automigrate %' and wait_event_type = 'Lock'
    """
    retries: list[str] = []

    def release(event: Event) -> None:
        if isinstance(event, ConnectionRetried):
            retries.append(event.reason)
            holder.rollback()

    migrator = Migrator(database.url, project.scripts, on_event=release)
    with database.connect() as holder, ThreadPoolExecutor(1) as pool:
        holder.autocommit = False
        holder.execute("lock table alembic_version in access exclusive mode")
        run = pool.submit(migrator.upgrade)
        until(lambda: run.done() or (database.rows(cancelled) and retries), "it tries again")
        assert applied(run.result(LONG)) == ["r0002"]
    assert any("canceling statement due to user request" in reason for reason in retries)


def test_stop_ends_waiting_for_the_lock(database: Database, project: Project) -> None:
    """A waiter that is asked to stop does so without the lock."""
    project.extend(1)
    with database.connect() as holder:
        holder.execute("select pg_advisory_lock(%s)", (KEY,))
        migrator = Migrator(
            database.url,
            project.scripts,
            on_event=lambda event: migrator.stop() if isinstance(event, LockWaited) else None,
        )
        with pytest.raises(automigrate.StoppedError):
            migrator.upgrade()


def test_stop_ends_waiting_for_the_server(project: Project) -> None:
    """A run that cannot connect and is asked to stop does so."""
    project.extend(1)
    migrator = Migrator(
        "postgresql://127.0.0.1:9/x",
        project.scripts,
        on_event=lambda event: migrator.stop() if isinstance(event, ConnectionRetried) else None,
    )
    with pytest.raises(automigrate.StoppedError):
        migrator.upgrade()


def test_cancelling_upgrade_async_stops_at_a_revision_boundary(
    database: Database, project: Project
) -> None:
    """The event loop goes on meanwhile; after `CancelledError` nothing runs any more."""
    project.extend(1)
    project.add("r0002", upgrade='op.execute("select pg_sleep(0.5)")')
    project.add("r0003", upgrade='op.execute("create table last ()")')

    async def main() -> None:
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        def note(event: Event) -> None:
            if isinstance(event, RevisionStarted) and event.revision == "r0002":
                loop.call_soon_threadsafe(started.set)

        task = asyncio.create_task(
            automigrate.upgrade_async(database.url, project.scripts, on_event=note)
        )
        await asyncio.wait_for(started.wait(), LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert database.rows("select version_num from alembic_version") == [("r0002",)]


def test_upgrade_async_leaves_the_event_loop_free(database: Database, project: Project) -> None:
    """Other coroutines run while a revision does."""
    project.add("r0001", upgrade='op.execute("select pg_sleep(0.5)")')
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def main() -> automigrate.UpgradeReport:
        ticking = asyncio.create_task(tick())
        report = await automigrate.upgrade_async(database.url, project.scripts)
        ticking.cancel()
        return report

    assert applied(asyncio.run(main())) == ["r0001"]
    assert ticks > 10


def test_a_listener_that_raises_does_not_fail_the_run(database: Database, project: Project) -> None:
    """It is dropped at its first error, and the others hear on."""
    project.extend(2)
    heard: list[Event] = []
    calls = 0

    def broken(_event: Event) -> None:
        nonlocal calls
        calls += 1
        msg = "broken listener"
        raise RuntimeError(msg)

    migrator = Migrator(database.url, project.scripts, on_event=broken)
    migrator.add_listener(heard.append)
    assert applied(migrator.upgrade()) == ["r0001", "r0002"]
    assert calls == 1
    assert len(of_type(heard, RevisionApplied)) == 2


# Sources


def engine(database: Database) -> sqlalchemy.Engine:
    """An engine of the application, with psycopg."""
    return sqlalchemy.create_engine(sqlalchemy_url(database.url))


def async_engine(database: Database) -> object:
    """An asynchronous engine of the application."""
    return create_async_engine(sqlalchemy_url(database.url))


def function(database: Database) -> Callable[[], psycopg.Connection]:
    """A function that connects, as for IAM tokens."""
    return lambda: psycopg.connect(database.url)


def keywords(database: Database) -> str:
    """A libpq keyword string."""
    return psycopg.conninfo.make_conninfo(database.url)


@pytest.mark.parametrize("source", [engine, async_engine, function, keywords])
@pytest.mark.parametrize("env", ["generic", None], ids=["env.py", "no env.py"])
def test_every_source_of_connections_migrates(
    source: Callable[[Database], object], env: str | None, database: Database, tmp_path: Path
) -> None:
    """Engines, functions and keyword strings serve as a URL does, with env.py and without."""
    project = Project.linear(tmp_path, 2, env=env)
    given = source(database)
    assert applied(automigrate.upgrade(given, project.scripts)) == ["r0001", "r0002"]
    assert automigrate.upgrade(given, project.scripts).outcome is Outcome.UNCHANGED


def test_nothing_is_taken_from_the_pool_of_an_engine(database: Database, project: Project) -> None:
    """The application's pool is as it was, and its engine works on."""
    project.extend(1)
    own = engine(database)
    try:
        automigrate.upgrade(own, project.scripts)
        assert own.pool.status() == engine(database).pool.status()
        with own.connect() as connection:
            assert connection.scalar(sqlalchemy.text("show search_path")) == '"$user", public'
    finally:
        own.dispose()


def test_scripts_are_found_through_alembic_ini(
    database: Database, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a script directory the `alembic.ini` of the current directory names it."""
    project.extend(1)
    monkeypatch.chdir(project.directory)
    assert applied(automigrate.upgrade(database.url)) == ["r0001"]
