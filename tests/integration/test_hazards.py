"""Hazards of PostgreSQL, SQLAlchemy and Alembic that shaped the design, one test each.

Numbers are those of the design notes. Where another test shows the hazard better, it is there:

- H1 one session, H6 fence, H10 commit in doubt, H13 no time-out for CONCURRENTLY, H14 invalid
  indexes, H15 interrupted revisions, H21 commits by revisions: `test_step.py`
- H8 races to create tables: `acceptance/test_exactly_once.py`
- H9 poolers: `acceptance/test_poolers.py`
- H16 unmodified env.py: `acceptance/test_plain_alembic.py`
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Outcome
from automigrate.database.advisory_lock import lock_key
from automigrate.events import ConnectionRetried, LockWaited, RevisionRetried, RevisionStarted
from tests.support.projects import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer
    from automigrate.events import Event
    from tests.support.servers import Database

KEY = lock_key("public", "alembic_version")
LONG = 60.0
ENV = """
    from alembic import context
    from sqlalchemy import create_engine, pool, text

    engine = create_engine(
        context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool
    )
    with engine.connect() as connection:
        {before}
        context.configure(connection=connection{arguments})
        with context.begin_transaction():
            context.run_migrations()
"""


def applied(report: automigrate.UpgradeReport) -> list[str]:
    """Return what a run applied."""
    return [item.revision for item in report.applied]


def test_h2_waiters_hold_nothing_that_a_concurrent_index_waits_for(
    database: Database, project: Project
) -> None:
    """A waiter is idle, without snapshot, transaction or lock request."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            with op.get_context().autocommit_block():
                op.execute("create index concurrently item_id on item (id)")
        """,
    )
    waits = threading.Barrier(4)
    waiting: set[int] = set()

    def note(event: Event) -> None:
        # Later the two that still wait are told of the third, which has become the holder.
        if isinstance(event, LockWaited) and threading.get_ident() not in waiting:
            waiting.add(threading.get_ident())
            waits.wait(LONG)

    with database.connect() as holder, ThreadPoolExecutor() as pool:
        holder.execute("select pg_advisory_lock(%s)", (KEY,))
        runs = [
            pool.submit(
                automigrate.upgrade,
                database.url,
                project.scripts,
                poll_interval=0.2,
                on_event=note,
            )
            for _ in range(3)
        ]
        waits.wait(LONG)
        for _ in range(20):
            assert holder.execute(
                "select count(*) from pg_locks where locktype = 'advisory' and not granted"
            ).fetchone() == (0,)
            assert holder.execute(
                "select count(*) from pg_stat_activity where datname = current_database() "
                "and state like 'idle in transaction%'"
            ).fetchone() == (0,)
        holder.execute("select pg_advisory_unlock(%s)", (KEY,))
        outcomes = sorted(run.result(LONG).outcome for run in runs)
    assert outcomes == [Outcome.MIGRATED, Outcome.WAITED, Outcome.WAITED]
    assert database.rows("select count(*) from pg_index where not indisvalid") == [(0,)]


def test_h3_listening_begins_before_the_look(database: Database, project: Project) -> None:
    """A notification between look and listen would be missed for a whole poll interval."""
    project.extend(1)
    automigrate.upgrade(database.url, project.scripts)
    project.extend(1)
    before = len(database.statements())
    automigrate.upgrade(database.url, project.scripts)
    told = [one.text for one in database.statements()[before:]]
    listen = next(i for i, text in enumerate(told) if text.startswith("listen "))
    tried = next(i for i, text in enumerate(told) if "pg_try_advisory_lock" in text)
    assert listen < tried


def test_h4_nothing_is_rolled_back_silently(database: Database, tmp_path: Path) -> None:
    """An env.py that runs a query before `configure` has begun a transaction; all is committed."""
    before = 'connection.execute(text("select 1"))'
    project = Project.linear(tmp_path, 2, env=ENV.format(before=before, arguments=""))
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]
    assert database.rows("select version_num from alembic_version") == [("r0002",)]


def test_h5_a_lost_session_is_not_replaced_silently(database: Database, project: Project) -> None:
    """A script that goes on after losing its session does not get another one without the lock."""
    project.add(
        "r0001",
        upgrade="""
            try:
                op.execute("select pg_terminate_backend(pg_backend_pid())")
            except Exception:
                pass
            try:
                op.get_bind().rollback()
            except Exception:
                pass
            op.execute("create table elsewhere ()")
            op.get_bind().commit()
        """,
    )
    with pytest.raises(automigrate.DatabaseUnavailableError, match="terminat|lost|closed"):
        automigrate.upgrade(database.url, project.scripts, timeout=1.0)
    assert database.rows("select to_regclass('elsewhere') is null") == [(True,)]
    assert not [one for one in database.statements() if "create table elsewhere" in one.text]


def test_h7_a_standby_is_served_on_and_never_migrated(
    own_server: EmbeddedServer, tmp_path: Path
) -> None:
    """A current standby is fine; with something pending its promotion is waited for."""
    project = Project.linear(tmp_path, 1)
    url = own_server.create_database("shop")
    automigrate.upgrade(url, project.scripts)
    with own_server.start_standby() as standby:
        on_standby = standby.url("shop")
        assert automigrate.upgrade(on_standby, project.scripts).outcome is Outcome.UNCHANGED
        project.extend(1)
        with pytest.raises(automigrate.DatabaseUnavailableError, match="standby in recovery"):
            automigrate.upgrade(on_standby, project.scripts, timeout=0.5)

        def promote(event: Event) -> None:
            if isinstance(event, ConnectionRetried):
                standby.promote()

        report = automigrate.upgrade(on_standby, project.scripts, timeout=LONG, on_event=promote)
        assert applied(report) == ["r0002"]


def test_h11_readers_go_on_between_the_attempts(database: Database, project: Project) -> None:
    """A reader that queued behind the revision is let through when the attempt ends."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    automigrate.upgrade(database.url, project.scripts)
    project.add("r0002", upgrade='op.execute("alter table item add column name text")')
    reads = 0
    with database.connect() as slow, database.connect() as reader:
        slow.execute("begin; select * from item")
        reader.execute("set statement_timeout = '5s'")

        def read(event: Event) -> None:
            nonlocal reads
            if isinstance(event, RevisionRetried):
                reader.execute("select * from item")
                reads += 1
                if reads == 3:
                    slow.execute("commit")

        report = automigrate.upgrade(
            database.url, project.scripts, lock_timeout=0.2, lock_timeout_max=0.4, on_event=read
        )
    assert reads == 3
    assert report.applied[0].attempts == 4


SET = r"set_config\('lock_timeout', "


def test_h12_the_lock_timeout_grows_until_it_beats_autovacuum(
    database: Database, project: Project
) -> None:
    """It doubles with each attempt up to its maximum, which is beyond `deadlock_timeout`."""
    project.add("r0000", upgrade='op.execute("create sequence attempt")')
    project.add(
        "r0001",
        upgrade='''
            op.execute("""
                do $$ begin
                  if nextval('attempt') < 5 then raise exception using errcode = '55P03'; end if;
                end $$
            """)
        ''',
    )
    report = automigrate.upgrade(database.url, project.scripts)
    found = [
        match[1]
        for one in database.statements()
        if (match := re.search(rf"(?:{SET}|execute automigrate_\w+ \()'(\d+ms)'", one.text))
    ]
    assert report.applied[1].attempts == 5
    assert found == ["500ms", "500ms", "1000ms", "2000ms", "3000ms", "3000ms"]


def test_h17_a_transaction_for_all_revisions_becomes_one_each(
    database: Database, tmp_path: Path
) -> None:
    """What env.py says about it is overruled, so that version table and schema agree."""
    env = ENV.format(before="", arguments=", transaction_per_migration=False")
    project = Project.linear(tmp_path, 1, env=env)
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently i on t_r0001 (id)")
        """,
    )
    project.add("r0003", upgrade='op.execute("insert into nowhere values (1)")')
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert raised.value.applied == ("r0001", "r0002")
    assert database.rows("select version_num from alembic_version") == [("r0002",)]


def test_h18_two_databases_of_one_process_do_not_mix(
    database: Database, databases: Callable[[], Database], tmp_path: Path
) -> None:
    """Alembic's proxies are one per process, so runs take turns."""
    other = databases()
    projects = [Project.linear(tmp_path / name, 8) for name in ("one", "two")]
    projects[1].add("only_two", upgrade='op.execute("create table only_two ()")')
    barrier = threading.Barrier(2)

    def run(target: Database, project: Project) -> automigrate.UpgradeReport:
        barrier.wait(LONG)
        return automigrate.upgrade(target.url, project.scripts)

    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(run, target, project)
            for target, project in zip((database, other), projects, strict=True)
        ]
        assert [len(done.result(LONG).applied) for done in runs] == [8, 9]
    only_two = "select to_regclass('only_two') is null"
    assert (database.rows(only_two), other.rows(only_two)) == ([(True,)], [(False,)])


def test_h19_logging_of_the_application_is_untouched(database: Database, project: Project) -> None:
    """The stock env.py calls `fileConfig`, which would disable loggers and replace handlers."""
    project.extend(1)
    logger, handler = logging.getLogger("shop.checkout"), logging.NullHandler()
    root = logging.getLogger()
    root.addHandler(handler)
    before = root.level, list(root.handlers)
    try:
        automigrate.upgrade(database.url, project.scripts)
        assert not logger.disabled
        assert (root.level, root.handlers) == before
    finally:
        root.removeHandler(handler)


def test_h20_up_to_date_means_the_real_heads(database: Database, project: Project) -> None:
    """A head that another one depends on is not in the version table, and not pending."""
    project.add("a1", down=None)
    project.add("a2", down="a1")
    project.add("b1", down=None)
    project.add("b2", down="b1", depends_on="a2")
    report = automigrate.upgrade(database.url, project.scripts, target="heads")
    assert sorted(applied(report)) == ["a1", "a2", "b1", "b2"]
    assert database.rows("select version_num from alembic_version") == [("b2",)]
    again = automigrate.upgrade(database.url, project.scripts, target="heads")
    assert again.outcome is Outcome.UNCHANGED


def test_a_revision_may_use_what_another_script_imports(
    database: Database, project: Project
) -> None:
    """Alembic imports all scripts; ours are imported when they run, and so that none lacks it."""
    module = "automigrate_test_package.inner"
    package = project.scripts.parent / "automigrate_test_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "inner.py").write_text("TABLE = 't'\n")
    sys.path.insert(0, str(project.scripts.parent))
    try:
        project.add("r0001", imports=f"import {module}")
        automigrate.upgrade(database.url, project.scripts)
        for name in (module, "automigrate_test_package"):
            del sys.modules[name]
        project.add(
            "r0002",
            upgrade="op.execute(f'create table {automigrate_test_package.inner.TABLE} ()')",
            imports="import automigrate_test_package",
        )
        assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0002"]
    finally:
        sys.path.remove(str(project.scripts.parent))
        for name in (module, "automigrate_test_package"):
            sys.modules.pop(name, None)
    assert database.rows("select to_regclass('t')::text") == [("t",)]


@pytest.mark.parametrize(
    "rollback", ['op.execute("ROLLBACK")', "op.get_bind().rollback()"], ids=["raw", "SQLAlchemy"]
)
def test_h15_a_rollback_by_the_revision_keeps_its_journal_row(
    database: Database, project: Project, rollback: str
) -> None:
    """What it did before is undone, it goes on under lock and settings, and is in the journal."""
    project.extend(1)
    project.add(
        "r0002",
        upgrade=f"""
            try:
                op.execute("create table undone (id integer)")
                op.execute("select 1 / 0")
            except Exception:
                {rollback}
            timeout = op.get_bind().exec_driver_sql("show lock_timeout").scalar()
            op.execute(f"create table kept as select '{{timeout}}' as lock_timeout")
        """,
    )
    project.add("r0003", upgrade=f"op.execute('create table last ()')\n{rollback}")
    assert applied(automigrate.upgrade(database.url, project.scripts)) == [
        "r0001",
        "r0002",
        "r0003",
    ]
    assert database.rows("select to_regclass('undone'), to_regclass('last')") == [(None, None)]
    assert database.rows("select lock_timeout from kept") == [("500ms",)]
    told = database.rows("select revision, state from automigrate_journal order by id")
    assert told == [("r0001", "applied"), ("r0002", "applied"), ("r0003", "applied")]


@pytest.mark.parametrize(
    "rollback", ['op.execute("ROLLBACK")', "op.get_bind().rollback()"], ids=["raw", "SQLAlchemy"]
)
def test_h15_a_revision_that_fails_after_its_rollback_leaves_nothing(
    database: Database, project: Project, rollback: str
) -> None:
    """It is rolled back as a whole, and can be run again."""
    project.add("r0001", upgrade=f"{rollback}\nop.execute('create table t ()')\nraise ValueError")
    with pytest.raises(automigrate.UpgradeError, match="rolled back as a whole"):
        automigrate.upgrade(database.url, project.scripts)
    assert database.rows("select to_regclass('t')") == [(None,)]
    assert database.rows("select * from automigrate_journal") == []


@pytest.mark.parametrize(
    "commit",
    [
        'op.execute("COMMIT")',
        'op.execute("-- now\\n/* at once */ commit")',
        'op.execute("drop table if exists other; commit")',
        "op.get_bind().connection.commit()",
    ],
)
def test_h22_a_raw_commit_is_not_mistaken_for_a_rollback(
    commit: str, database: Database, project: Project
) -> None:
    """What fails after `op.execute("COMMIT")` is told as having left a part behind."""
    project.add(
        "r0001",
        upgrade=f"""
            op.execute("create table item (id integer)")
            {commit}
            op.execute("insert into nowhere values (1)")
        """,
    )
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert not raised.value.rolled_back
    assert database.rows("select revision, state from automigrate_journal") == [("r0001", "failed")]
    assert database.rows("select to_regclass('item') is not null") == [(True,)]


def test_h22_what_follows_a_rollback_in_one_text_is_told_as_left(
    database: Database, project: Project
) -> None:
    """PostgreSQL commits it with the text, without the journal's row."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table gone (); /* all */ rollback; create table kept ()")
            op.execute("insert into nowhere values (1)")
        """,
    )
    with pytest.raises(automigrate.UpgradeError) as raised:
        automigrate.upgrade(database.url, project.scripts)
    assert not raised.value.rolled_back
    assert database.rows("select to_regclass('gone'), to_regclass('kept')::text") == [
        (None, "kept")
    ]


@pytest.mark.parametrize(
    "rollback",
    [
        'op.execute("/* all */ rollback")',
        'op.execute("drop table if exists other; rollback")',
        "op.get_bind().connection.rollback()",
    ],
)
def test_h15_a_rollback_that_nobody_sees_leaves_the_journal_its_row(
    rollback: str, database: Database, project: Project
) -> None:
    """Behind a comment or other statements, or by the driver: what is applied has a row."""
    project.add(
        "r0001",
        upgrade=f"""
            op.execute("create table item (id integer)")
            {rollback}
            op.execute("create table kept (id integer)")
        """,
    )
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]
    assert database.rows("select revision, state from automigrate_journal") == [
        ("r0001", "applied")
    ]
    assert database.rows("select to_regclass('item'), to_regclass('kept')::text") == [
        (None, "kept")
    ]


@pytest.mark.parametrize("comment", ["", "-- at last\\n", "/* at last */ "])
def test_h22_a_concurrent_index_may_follow_a_raw_commit(
    comment: str, database: Database, project: Project
) -> None:
    """It runs outside of a transaction, as it does under psycopg2."""
    project.add(
        "r0001",
        upgrade=f"""
            op.execute("create table item (id integer)")
            op.execute("COMMIT")
            op.execute("{comment}create index concurrently item_id on item (id)")
        """,
    )
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]
    assert database.rows("select indisvalid from pg_index where indrelid = 'item'::regclass") == [
        (True,)
    ]


def test_h22_work_after_a_raw_commit_is_committed_too(database: Database, project: Project) -> None:
    """The next statement begins a new transaction, which ends with the version update."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            op.execute("COMMIT")
            op.execute("insert into item values (1)")
        """,
    )
    project.extend(1, first=2)
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]
    assert database.rows("select id from item") == [(1,)]


def test_h23_an_autocommit_block_works_after_a_query_in_env_py(
    database: Database, tmp_path: Path
) -> None:
    """Alembic would stop with a bare AssertionError."""
    before = 'connection.execute(text("select 1"))'
    project = Project(tmp_path, env=ENV.format(before=before, arguments=""))
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table item (id integer)")
            with op.get_context().autocommit_block():
                op.execute("create index concurrently item_id on item (id)")
        """,
    )
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001"]


def test_h23_a_revision_may_open_a_connection_of_its_own(
    database: Database, project: Project
) -> None:
    """As real revisions do for what cannot run in a transaction."""
    project.add("r0001", upgrade='op.execute("create table item (id integer)")')
    project.add(
        "r0002",
        upgrade="""
            with op.get_bind().engine.connect() as connection:
                connection.execute(sa.text("insert into item values (1)"))
                connection.commit()
        """,
    )
    assert applied(automigrate.upgrade(database.url, project.scripts)) == ["r0001", "r0002"]
    assert database.rows("select id from item") == [(1,)]


def test_an_application_name_tells_what_runs(database: Database, project: Project) -> None:
    """Whoever looks at the server sees the revision that is at work."""
    project.extend(1)
    names: list[str] = []

    def note(event: Event) -> None:
        if isinstance(event, RevisionStarted):
            return
        names.extend(
            name
            for (name,) in database.rows(
                "select application_name from pg_stat_activity "
                "where datname = current_database() and application_name like 'automigrate%'"
            )
        )

    automigrate.upgrade(database.url, project.scripts, on_event=note)
    assert any("r0001" in name for name in names)
