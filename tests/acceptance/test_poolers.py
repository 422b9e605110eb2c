"""Behind a real PgBouncer: told apart by pool mode, refused, or used safely (H9)."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import InterruptedRevisionError, Outcome, PendingError, PoolerError
from tests.support.pgbouncer import PgBouncer, pgbouncer
from tests.support.replicas import Replica, replicas, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.projects import Project
    from tests.support.servers import Database

ADVISORY = "select count(*) from pg_locks where locktype = 'advisory'"
INVALID = "select indexrelid::regclass::text from pg_index where not indisvalid"
SETTINGS = """
select current_setting('statement_timeout'), current_setting('lock_timeout'),
  current_setting('client_connection_check_interval'), current_setting('tcp_user_timeout')
"""
BUILD_INDEX = """
    with op.get_context().autocommit_block():
        op.execute("create index concurrently i_account on account (balance)")
"""


def ledger(project: Project, doublings: int = 3) -> None:
    """Write a history in which applying a revision twice shows."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table account (id integer primary key, balance bigint not null)")
            op.execute("insert into account select n, 1 from generate_series(1, 50) n")
        """,
    )
    for number in range(2, doublings + 2):
        project.add(
            f"r{number:04d}", upgrade='op.execute("update account set balance = balance*2")'
        )


def balance(database: Database) -> int:
    """Return the balance of all accounts, which must be one."""
    rows = database.rows("select distinct balance from account")
    assert len(rows) == 1
    return int(rows[0][0])


@contextmanager
def busy_clients(pooler: PgBouncer, database: Database, count: int = 5) -> Iterator[None]:
    """Let other clients of the pooler run short transactions all the time."""
    stop = threading.Event()
    failures: list[Exception] = []

    def run() -> None:
        try:
            with psycopg.connect(
                pooler.url(database.name), autocommit=True, prepare_threshold=None
            ) as connection:
                while not stop.is_set():
                    with connection.transaction():
                        connection.execute("select pg_sleep(0.002)")
        except Exception as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failures == []


def assert_nothing_stays(pooler: PgBouncer, database: Database, mode: str) -> None:
    """Assert that server connections in the pool carry no lock and no setting of ours."""
    until(lambda: database.rows(ADVISORY) == [(0,)], "no advisory lock is left")
    defaults = database.rows(SETTINGS)
    clients = [
        psycopg.connect(pooler.url(database.name), autocommit=True, prepare_threshold=None)
        for _ in range(3)
    ]
    try:
        if mode == "transaction":
            for client in clients:  # all three server connections at once
                client.execute("begin")
        for client in clients:
            assert client.execute(SETTINGS.encode()).fetchall() == defaults
            listening = client.execute("select count(*) from pg_listening_channels()").fetchone()
            assert listening == (0,)
    finally:
        for client in clients:
            client.close()


@pytest.mark.parametrize("round_robin", [False, True])
@pytest.mark.parametrize("size", [1, 3])
def test_transaction_mode_is_refused_and_names_the_remedy(
    size: int, round_robin: bool, database: Database, project: Project
) -> None:
    """H9: nothing is done through a transaction pooler, and the text names the direct URL."""
    ledger(project)
    extra = "server_round_robin = 1" if round_robin else ""
    with (
        pgbouncer(database.server, "transaction", size=size, extra=extra) as pooler,
        busy_clients(pooler, database),
    ):
        with pytest.raises(PoolerError, match="transaction mode.*--migration-url.*pooler="):
            automigrate.upgrade(pooler.url(database.name), project.scripts)
        assert database.rows(ADVISORY) == [(0,)]
    assert database.rows("select to_regclass('alembic_version')") == [(None,)]


def test_statement_mode_is_refused_whatever_the_policy(
    database: Database, project: Project
) -> None:
    """A pooler without transactions cannot migrate at all."""
    ledger(project)
    with (
        pgbouncer(database.server, "statement") as pooler,
        pytest.raises(PoolerError, match="statement mode.*--migration-url"),
    ):
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")


@pytest.mark.parametrize("reset", ["DISCARD ALL", ""])
def test_session_mode_works_as_without_a_pooler(
    reset: str, database: Database, project: Project
) -> None:
    """In session mode everything works, CONCURRENTLY too, and nothing stays in the pool."""
    ledger(project)
    project.add("r0099", upgrade=BUILD_INDEX)
    with pgbouncer(
        database.server, "session", size=6, extra=f"server_reset_query = {reset}"
    ) as pooler:
        report = automigrate.upgrade(pooler.url(database.name), project.scripts)
        assert report.outcome is Outcome.MIGRATED
        assert_nothing_stays(pooler, database, "session")
    assert balance(database) == 8
    assert database.rows(INVALID) == []


def test_session_mode_protects_the_session(database: Database, project: Project) -> None:
    """The server notices a dead client of a session pooler as quickly as a direct one."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table seen as select current_setting("
                       "'client_connection_check_interval') as interval")
        """,
    )
    with pgbouncer(database.server, "session", size=4) as pooler:
        automigrate.upgrade(pooler.url(database.name), project.scripts)
    assert database.rows("select * from seen") == [("1s",)]


def test_exhausted_session_pool_does_not_stop_the_upgrade(
    database: Database, project: Project
) -> None:
    """Six replicas share a session pool of four: all become ready, each revision applied once."""
    ledger(project)
    with pgbouncer(database.server, "session", size=4) as pooler:
        url = pooler.url(database.name)
        started = [Replica(url, project, at_once=True) for _ in range(6)]
        try:
            for replica in started:
                replica.until_told("ready")
            for replica in started:
                replica.go()
            codes = [replica.finish() for replica in started]
            assert codes == [0] * 6, "\n".join(map(str, started))
        finally:
            for replica in started:
                replica.close()
    assert balance(database) == 8


def test_nothing_pending_passes_through_any_pooler(database: Database, project: Project) -> None:
    """A schema that is right needs no lock, and so no direct connection."""
    ledger(project)
    automigrate.upgrade(database.url, project.scripts)
    for mode in ("transaction", "session", "statement"):
        with pgbouncer(database.server, mode) as pooler:
            report = automigrate.upgrade(pooler.url(database.name), project.scripts)
            assert report.outcome is Outcome.UNCHANGED


def test_waiting_works_through_a_transaction_pooler(database: Database, project: Project) -> None:
    """An application waits through its pooler while a direct session migrates."""
    ledger(project)
    with pgbouncer(database.server, "transaction") as pooler:
        url = pooler.url(database.name)
        waiter = Replica(url, project, mode="wait")
        try:
            waiter.until_told("event", "PhaseEntered")
            automigrate.upgrade(database.url, project.scripts)
            assert waiter.finish() == 0, str(waiter)
        finally:
            waiter.close()
        assert_nothing_stays(pooler, database, "transaction")


def test_wait_mode_gives_up_in_time_through_a_pooler(database: Database, project: Project) -> None:
    """The deadline of `wait` holds behind a pooler too."""
    ledger(project)
    with (
        pgbouncer(database.server, "transaction") as pooler,
        pytest.raises(PendingError),
    ):
        automigrate.upgrade(pooler.url(database.name), project.scripts, mode="wait", timeout=1.0)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("env", ["generic", None])
def test_twenty_replicas_over_a_pool_of_three_apply_each_revision_once(
    env: str | None, database: Database, project: Project
) -> None:
    """The opt-in applies each revision once, with other clients busy on the same pool."""
    if env is None:
        (project.scripts / "env.py").unlink()
    ledger(project)
    with (
        pgbouncer(database.server, "transaction", size=3) as pooler,
        busy_clients(pooler, database, 3),
    ):
        url = pooler.url(database.name)
        with replicas(20, url, project, pooler="transaction") as started:
            for replica in started:
                replica.go()
            codes = [replica.finish() for replica in started]
            assert codes == [0] * 20, "\n".join(map(str, started))
            applied = [name for replica in started for name in replica.result["applied"]]
    assert sorted(applied) == ["r0001", "r0002", "r0003", "r0004"]
    assert balance(database) == 8
    assert database.rows("select revision, state from automigrate_journal order by id") == [
        (f"r{number:04d}", "applied") for number in range(1, 5)
    ]


def test_the_fallback_leaves_nothing_in_the_pool(database: Database, project: Project) -> None:
    """Locks and settings of the opt-in end with each transaction."""
    ledger(project)
    with pgbouncer(database.server, "transaction", size=3) as pooler:
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")
        assert_nothing_stays(pooler, database, "transaction")
    assert balance(database) == 8


def test_a_killed_holder_of_the_fallback_is_followed_at_once(
    database: Database, project: Project
) -> None:
    """The transaction of a killed process ends, and another one applies the revision."""
    ledger(project, doublings=1)
    project.add("r0009", upgrade='op.execute("update account set balance = balance * 2")')
    with pgbouncer(database.server, "transaction", size=3) as pooler:
        url = pooler.url(database.name)
        victim = Replica(url, project, stop_at="RevisionApplied r0002", pooler="transaction")
        try:
            victim.until_told("stopped")
            victim.kill()
        finally:
            victim.close()
        report = automigrate.upgrade(url, project.scripts, pooler="transaction")
    assert [item.revision for item in report.applied] == ["r0009"]
    assert balance(database) == 4


@pytest.mark.parametrize(
    "upgrade",
    [
        BUILD_INDEX,
        'op.create_index("i", "account", ["balance"], postgresql_concurrently=True)',
        'op.execute("create unique index concurrently i on account (id)")',
        'op.execute("drop index   concurrently i")',
    ],
)
def test_concurrently_is_refused_before_anything_is_done(
    upgrade: str, database: Database, project: Project
) -> None:
    """The opt-in looks at all pending scripts first, and names the one that cannot run."""
    ledger(project)
    project.add("r0099", upgrade=upgrade)
    with (
        pgbouncer(database.server, "transaction") as pooler,
        pytest.raises(PoolerError, match="r0099.*--migration-url"),
    ):
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")
    assert database.rows("select to_regclass('account')") == [(None,)]


@pytest.mark.parametrize(
    "upgrade",
    [
        "build(op)",
        "op.get_bind().commit()",
        'op.execute("COMMIT")',
    ],
)
def test_leaving_the_transaction_is_refused_at_the_moment(
    upgrade: str, database: Database, project: Project
) -> None:
    """What the script's text does not show is refused when it happens, and rolled back."""
    ledger(project)
    project.add(
        "r0099",
        upgrade=f'op.execute("update account set balance = 0")\n{upgrade}',
        extra_module_code="""
            def build(op):
                with op.get_context().autocommit_block():
                    op.execute("create index i_account on account (balance)")
        """,
    )
    with (
        pgbouncer(database.server, "transaction") as pooler,
        pytest.raises(PoolerError, match="r0099.*--migration-url"),
    ):
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")
    assert balance(database) == 8
    assert database.rows("select version_num from alembic_version") == [("r0004",)]
    assert database.rows("select count(*) from automigrate_journal where state <> 'applied'") == [
        (0,)
    ]


def test_refreshing_a_view_concurrently_is_no_reason_to_refuse(
    database: Database, project: Project
) -> None:
    """REFRESH MATERIALIZED VIEW CONCURRENTLY runs in a transaction, so it is allowed."""
    ledger(project)
    project.add(
        "r0099",
        upgrade="""
            op.execute("create materialized view v as select id from account")
            op.execute("create unique index v_id on v (id)")
            op.execute("refresh materialized view concurrently v")
        """,
    )
    with pgbouncer(database.server, "transaction") as pooler:
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")
    assert database.rows("select count(*) from v") == [(50,)]


def test_settings_of_env_py_are_refused_in_the_fallback(
    database: Database, project: Project
) -> None:
    """A search_path that env.py sets would be lost between transactions, so it is refused."""
    text = (project.scripts / "env.py").read_text()
    marker = "with connectable.connect() as connection:\n"
    assert marker in text
    chosen = text.replace(
        marker, f'{marker}        connection.exec_driver_sql("set search_path to tenant")\n'
    )
    (project.scripts / "env.py").write_text(chosen)
    ledger(project)
    database.execute("create schema tenant")
    with (
        pgbouncer(database.server, "transaction", size=1) as pooler,
        pytest.raises(PoolerError, match="search_path"),
    ):
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")


def test_an_interrupted_direct_run_is_not_continued_in_the_fallback(
    database: Database, project: Project
) -> None:
    """What an autocommit block left half done stays a case for a direct connection."""
    ledger(project)
    project.add(
        "r0099",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create table half (id integer)")
                op.execute("select 1/0")
        """,
    )
    with pytest.raises(automigrate.UpgradeError):
        automigrate.upgrade(database.url, project.scripts)
    with (
        pgbouncer(database.server, "transaction") as pooler,
        pytest.raises((PoolerError, InterruptedRevisionError), match="r0099"),
    ):
        automigrate.upgrade(pooler.url(database.name), project.scripts, pooler="transaction")
