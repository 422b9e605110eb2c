"""DDL beside the application's traffic: short waits, blockers named, ended only where allowed."""

from __future__ import annotations

import re
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import Outcome, StepTimeoutError
from automigrate.events import BlockersSeen, RevisionRecovered, RevisionRetried
from tests.support.background import Background
from tests.support.replicas import until

if TYPE_CHECKING:
    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.fault


@pytest.fixture
def altering(database: Database, project: Project) -> Project:
    """A project whose next revision needs a table for itself."""
    project.add("r1", upgrade='op.execute("create table account (id integer, x integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r2", upgrade='op.execute("alter table account add column more integer")')
    return project


def test_h11_readers_stall_no_longer_than_the_lock_timeout(
    database: Database, altering: Project
) -> None:
    """Behind a long reader the revision waits in slices, so that other readers get through."""
    stop = threading.Event()
    worst = [0.0]

    def read() -> None:
        with database.connect() as connection:
            while not stop.is_set():
                started = time.monotonic()
                connection.execute("select count(*) from account")
                worst[0] = max(worst[0], time.monotonic() - started)
                time.sleep(0.005)

    readers = [threading.Thread(target=read) for _ in range(5)]
    for reader in readers:
        reader.start()
    try:
        with database.connect(application_name="long reader") as connection:
            connection.execute("begin; select count(*) from account")
            running = Background(database.url, altering, lock_timeout=0.3, lock_timeout_max=0.6)
            until(lambda: len(running.told(RevisionRetried)) >= 3, "it was tried three times")
            connection.execute("commit")
        assert running.finish().outcome is Outcome.MIGRATED
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert worst[0] < 2.0, "readers queued behind the revision"


def test_h12_the_wait_grows_with_each_attempt(database: Database, altering: Project) -> None:
    """Attempts wait longer and longer for the table, up to the maximum, with pauses between."""
    with database.connect() as connection:
        connection.execute("begin; select count(*) from account")
        running = Background(database.url, altering, lock_timeout=0.1, lock_timeout_max=0.4)
        until(lambda: len(running.told(RevisionRetried)) >= 4, "it was tried four times")
        connection.execute("commit")
    running.finish()
    asked = [
        match[1]
        for found in database.statements()
        if (match := re.search(r"execute automigrate_\w+ \('(\d+ms)'", found.text))
    ]
    assert asked[-5:-1] == ["100ms", "200ms", "400ms", "400ms"]


SWALLOWING = """
    try:
        with op.get_bind().begin_nested():
            op.execute("alter table account add column swallowed integer")
    except sa.exc.DBAPIError:
        pass
    op.execute("create table after_it (id integer)")
"""


def test_a_revision_cannot_swallow_that_a_table_was_not_to_be_had(
    database: Database, project: Project
) -> None:
    """Our time-out is not an answer for a script that catches errors: it runs again as a whole."""
    project.add("r1", upgrade='op.execute("create table account (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r2", upgrade=SWALLOWING)
    with database.connect() as connection:
        connection.execute("begin; select count(*) from account")
        running = Background(database.url, project, lock_timeout=0.1, lock_timeout_max=0.2)
        retried = until(lambda: running.told(RevisionRetried), "it was tried again")
        connection.execute("commit")
    assert running.finish().outcome is Outcome.MIGRATED
    assert retried[0].sqlstate == "55P03"
    assert database.rows("select swallowed from account") == []


@pytest.mark.parametrize(
    "trying",
    ["set local lock_timeout = '50ms'", "lock table account in exclusive mode nowait"],
    ids=["its own time-out", "nowait"],
)
def test_a_revision_may_swallow_what_it_asked_for(
    trying: str, database: Database, project: Project
) -> None:
    """A script with a time-out or a NOWAIT of its own decides what its failure means."""
    project.add("r1", upgrade='op.execute("create table account (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    asking = SWALLOWING.replace(
        'op.execute("alter', f'op.execute("{trying}")\n            op.execute("alter'
    )
    project.add("r2", upgrade=asking)
    with database.connect() as connection:
        connection.execute("begin; lock table account in row exclusive mode")
        running = Background(database.url, project)
        assert running.finish().outcome is Outcome.MIGRATED
        connection.execute("commit")
    assert running.told(RevisionRetried) == []
    assert database.rows("select * from after_it") == []


def test_blockers_are_named_with_pid_application_age_and_query(
    database: Database, altering: Project
) -> None:
    """Each retry says who is in the way, and for how long."""
    with database.connect(application_name="reporting") as connection:
        connection.execute("begin; select count(*) from account")
        pid = connection.info.backend_pid
        running = Background(database.url, altering, lock_timeout=0.8, lock_timeout_max=0.8)
        retried = until(
            lambda: [event for event in running.told(RevisionRetried) if event.blockers],
            "a retry names its blockers",
        )
        connection.execute("commit")
    running.finish()
    (blocker,) = retried[0].blockers
    assert retried[0].sqlstate == "55P03"
    assert blocker.pid == pid
    assert blocker.application_name == "reporting"
    assert blocker.state == "idle in transaction"
    assert blocker.age_seconds > 0
    assert "select count(*) from account" in blocker.query


def test_the_error_at_the_deadline_names_the_blockers(
    database: Database, altering: Project
) -> None:
    """Nothing hangs: at the deadline the revision is undone and the error names the blocker."""
    with database.connect(application_name="reporting") as connection:
        connection.execute("begin; select count(*) from account")
        started = time.monotonic()
        with pytest.raises(StepTimeoutError, match="reporting") as caught:
            automigrate.upgrade(
                database.url, altering.scripts, timeout=3.0, lock_timeout=0.6, lock_timeout_max=0.6
            )
        assert time.monotonic() - started < 12.0
        connection.execute("commit")
    assert caught.value.rolled_back
    assert [blocker.application_name for blocker in caught.value.blockers] == ["reporting"]
    assert automigrate.upgrade(database.url, altering.scripts).outcome is Outcome.MIGRATED


def test_an_index_build_waits_without_a_lock_timeout(database: Database, project: Project) -> None:
    """H13: CONCURRENTLY waits for old transactions in peace, and leaves no invalid index."""
    project.add("r1", upgrade='op.execute("create table account (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add(
        "r2",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently i_account on account (id)")
        """,
    )
    with database.connect(application_name="reporting") as connection:
        connection.execute("begin isolation level repeatable read; select count(*) from account")
        running = Background(database.url, project, lock_timeout=0.2, lock_timeout_max=0.2)
        until(lambda: running.told(BlockersSeen), "the build waits for the old transaction")
        time.sleep(0.8)
        assert running.is_alive()
        connection.execute("commit")
    assert running.finish().outcome is Outcome.MIGRATED
    assert database.rows("select 1 from pg_index where not indisvalid") == []


def test_cancel_blockers_ends_what_is_idle_in_a_transaction(
    database: Database, altering: Project
) -> None:
    """The opt-in ends a forgotten transaction of the same role, after the time it was given."""
    with database.connect(application_name="forgotten") as connection:
        connection.execute("begin; select count(*) from account")
        running = Background(database.url, altering, cancel_blockers=0.5, lock_timeout_max=3.0)
        assert running.finish().outcome is Outcome.MIGRATED
        with pytest.raises(psycopg.OperationalError):
            connection.execute("select 1")
    actions = [event.action for event in running.told(RevisionRecovered)]
    assert any("ended session" in action for action in actions)


def test_cancel_blockers_is_off_unless_asked_for(database: Database, altering: Project) -> None:
    """By default nobody's transaction is ended."""
    with database.connect() as connection:
        connection.execute("begin; select count(*) from account")
        with pytest.raises(StepTimeoutError):
            automigrate.upgrade(database.url, altering.scripts, timeout=2.0)
        assert connection.execute("select 1").fetchone() == (1,)


def test_cancel_blockers_spares_a_transaction_that_works(
    database: Database, altering: Project
) -> None:
    """A session that is busy, however long, is not ended."""
    with database.connect() as connection:
        thread = threading.Thread(
            target=lambda: connection.execute("select count(*), pg_sleep(4) from account")
        )
        thread.start()
        running = Background(database.url, altering, cancel_blockers=0.2)
        thread.join()
        assert running.finish().outcome is Outcome.MIGRATED
        assert connection.execute("select 1").fetchone() == (1,)
    assert running.told(RevisionRecovered) == []


def test_cancel_blockers_spares_other_roles(database: Database, altering: Project) -> None:
    """A forgotten transaction of another role is not ours to end, even for a superuser."""
    role = f"other_{database.name}"[:60]
    database.execute(
        f'create role "{role}" login; grant select on account to "{role}";'
        f'grant usage on schema public to "{role}"'
    )
    try:
        url = database.server.url(database.name, user=role)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("begin; select count(*) from account")
            with pytest.raises(StepTimeoutError):
                automigrate.upgrade(
                    database.url, altering.scripts, timeout=2.0, cancel_blockers=0.1
                )
            assert connection.execute("select 1").fetchone() == (1,)
    finally:
        database.execute(f'drop owned by "{role}"; drop role "{role}"')


def test_step_timeout_ends_a_revision_that_works_too_long(
    database: Database, project: Project
) -> None:
    """The limit for a revision holds for a statement that nobody blocks, too."""
    project.add("r1", upgrade='op.execute("select pg_sleep(30)")')
    started = time.monotonic()
    with pytest.raises(StepTimeoutError):
        automigrate.upgrade(database.url, project.scripts, step_timeout=1.0)
    assert time.monotonic() - started < 10.0
