"""Servers that are not there, not ready, full, frozen or read-only: wait, or say what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import DatabaseUnavailableError, Outcome, PermissionDeniedError, UpgradeError
from automigrate.embedded import EmbeddedServer
from automigrate.events import ConnectionRetried
from tests.support.background import Background
from tests.support.replicas import Replica, until
from tests.support.servers import SETTINGS, missing, new_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.fault


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_a_server_that_starts_later_is_waited_for(project: Project) -> None:
    """The application may start before its database: refused, then starting, then ready."""
    project.extend(2)
    port = free_port()
    password = "secret of the test"
    waiting = Background(f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres", project)
    until(lambda: waiting.told(ConnectionRetried), "the first attempt has failed")
    with EmbeddedServer.start(settings=SETTINGS, listen_port=port, password=password):
        assert waiting.finish().outcome is Outcome.MIGRATED


def test_no_server_ends_in_time_with_the_reason(project: Project) -> None:
    """Without a server the error comes at the deadline, with attempts and the last reason."""
    project.extend(1)
    started = time.monotonic()
    with pytest.raises(DatabaseUnavailableError, match="refused") as caught:
        automigrate.upgrade(
            f"postgresql://nobody@127.0.0.1:{free_port()}/x", project.scripts, timeout=2.0
        )
    assert 2.0 <= time.monotonic() - started < 6.0
    assert caught.value.attempts > 2


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.timeout(180)
def test_a_restart_in_the_middle_of_a_run_is_survived(
    mode: str, own_server: EmbeddedServer, project: Project
) -> None:
    """Five replicas live through a restart of the server; each revision is applied once."""
    project.add("r1", upgrade='op.execute("create table ledger (n integer)")')
    for number in range(2, 8):
        project.add(
            f"r{number}",
            upgrade=f'op.execute("insert into ledger values ({number}); select pg_sleep(0.3)")',
        )
    url = own_server.create_database("app")
    with psycopg.connect(url) as connection:
        assert connection.execute("select 1").fetchone() == (1,)
    replicas = [Replica(own_server.tcp_url("app"), project) for _ in range(5)]
    try:
        until(lambda: reached(own_server.url("app"), "r3"), "a run is past r3")
        own_server.restart("fast" if mode == "fast" else "immediate")
        codes = [replica.finish() for replica in replicas]
        assert codes == [0] * 5, "\n".join(map(str, replicas))
    finally:
        for replica in replicas:
            replica.close()
    with psycopg.connect(own_server.url("app")) as connection:
        rows = connection.execute("select n from ledger order by n").fetchall()
    assert rows == [(number,) for number in range(2, 8)]


def reached(url: str, revision: str) -> bool:
    """Say whether the version table is at a revision."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("select to_regclass('alembic_version') is not null").fetchone()
        if found != (True,):
            return False
        rows = connection.execute("select version_num from alembic_version").fetchall()
    return rows == [(revision,)]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("env", ["generic", None])
def test_a_hundred_replicas_share_thirty_connections(env: str | None, project: Project) -> None:
    """Waiters give their connections back where few are left, so that the holder gets its own."""
    if env is None:
        (project.scripts / "env.py").unlink()
    project.extend(5)
    project.add("slow", upgrade='op.execute("select pg_sleep(1)")')
    with new_server(max_connections="30") as server:
        server.create_database("app")
        with psycopg.connect(server.url("app"), autocommit=True) as connection:
            connection.execute("create role app login password 'pw'")
            connection.execute("grant all on schema public to app")
        url = server.tcp_url("app", user="app", password="pw")
        threads = [Background(url, project) for _ in range(100)]
        outcomes = Counter(thread.finish().outcome for thread in threads)
        with psycopg.connect(server.url("app")) as connection:
            states = connection.execute(
                "select state, count(*) from automigrate_journal group by 1"
            )
            assert states.fetchall() == [("applied", 6)]
    assert outcomes[Outcome.MIGRATED] >= 1
    gave_way = [
        thread.finish().outcome
        for thread in threads
        if any("without a connection" in event.reason for event in thread.told(ConnectionRetried))
    ]
    assert gave_way
    assert Outcome.UNCHANGED not in gave_way, "who waited without a connection has waited"
    takeovers = sum(type(e).__name__ == "LockTaken" for thread in threads for e in thread.events)
    assert takeovers < 20, "the lock went around, because its holder got no second connection"


def test_a_read_only_server_is_waited_for_and_then_named(
    database: Database, project: Project
) -> None:
    """25006: nothing can be applied; the error at the deadline says so, nothing was changed."""
    project.extend(1)
    database.execute(f'alter database "{database.name}" set default_transaction_read_only = on')
    with pytest.raises(DatabaseUnavailableError, match="read-only"):
        automigrate.upgrade(database.url, project.scripts, timeout=1.0)


def test_a_server_that_becomes_writable_is_used(database: Database, project: Project) -> None:
    """A read-only server is asked again until it takes writes."""
    project.extend(1)
    name = database.name
    database.execute(f'alter database "{name}" set default_transaction_read_only = on')
    waiting = Background(database.url, project)
    until(lambda: waiting.told(ConnectionRetried), "it has seen the read-only server")
    with psycopg.connect(database.server.url(), autocommit=True) as connection:
        connection.execute(
            psycopg.sql.SQL("alter database {} reset default_transaction_read_only").format(
                psycopg.sql.Identifier(name)
            )
        )
    assert waiting.finish().outcome is Outcome.MIGRATED


def test_a_frozen_server_does_not_hang_the_start(
    own_server: EmbeddedServer, project: Project
) -> None:
    """A server that is stopped in its tracks costs the deadline and a few seconds, not for ever."""
    project.extend(1)
    own_server.create_database("app")
    waiting: list[float] = []
    frozen = own_server.pid
    os.kill(frozen, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(DatabaseUnavailableError):
            automigrate.upgrade(
                own_server.tcp_url("app"), project.scripts, timeout=2.0, connect_timeout=2.0
            )
        waiting.append(time.monotonic() - started)
    finally:
        os.kill(frozen, signal.SIGCONT)
    assert waiting[0] < 12.0


def test_a_frozen_backend_does_not_hang_a_waiter(database: Database, project: Project) -> None:
    """A session that gets no answer any more is given up after the deadline."""
    project.extend(1)
    with database.connect() as holder:
        key = automigrate_key(holder)
        holder.execute("select pg_advisory_lock(%s)", (key,))
        waiting = Background(database.url, project, timeout=4.0)
        pid = until(lambda: waiter(database, holder.info.backend_pid), "a waiter is connected")
        os.kill(pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            waiting.join(30)
            assert not waiting.is_alive()
            assert time.monotonic() - started < 20.0
        finally:
            os.kill(pid, signal.SIGCONT)
    assert isinstance(waiting.error, DatabaseUnavailableError | automigrate.LockTimeoutError), (
        waiting.error
    )


def automigrate_key(connection: psycopg.Connection) -> int:
    """Return the key of the migration lock of a database with default settings."""
    from automigrate.database.advisory_lock import lock_key

    row = connection.execute("select current_schema()::text").fetchone()
    assert row is not None
    return lock_key(row[0], "alembic_version")


def waiter(database: Database, holder: int) -> int | None:
    """Return the backend pid of the session that listens for the lock."""
    rows = database.rows(
        "select pid from pg_stat_activity where datname = current_database() and pid <> "
        f"{holder} and application_name like 'automigrate%' and state = 'idle' "
        "and state_change < now() - interval '200 ms'"
    )
    return int(rows[0][0]) if rows else None


@contextmanager
def small_disk(directory: Path, owner: int) -> Iterator[Path]:
    """Mount a file system of 16 MB that belongs to the server's user."""
    if os.geteuid() != 0:
        missing("the right to mount a file system")
    directory.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size=16m,uid={owner},mode=700", "none", str(directory)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        missing("the right to mount a file system")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "-l", directory], check=True)


def test_a_full_disk_rolls_the_revision_back(own_server: EmbeddedServer, project: Project) -> None:
    """53100: the revision is undone as a whole, the error says why, and a later start goes on."""
    owner = own_server.data_directory.stat().st_uid
    with small_disk(own_server.directory / "small", owner) as disk:
        own_server.create_database("app")
        with psycopg.connect(own_server.url("app"), autocommit=True) as connection:
            connection.execute(
                psycopg.sql.SQL("create tablespace small location {}").format(str(disk))
            )
        project.add("r1", upgrade='op.execute("create table t (x text) tablespace small")')
        project.add(
            "r2",
            upgrade="""
                op.execute("insert into t select repeat('x', 1000) from generate_series(1, 8000)")
            """,
        )
        filler = disk / "filler"
        filler.write_bytes(bytes(12 * 2**20))
        with pytest.raises(UpgradeError, match="No space left") as caught:
            automigrate.upgrade(own_server.url("app"), project.scripts)
        assert caught.value.applied == ("r1",)
        assert caught.value.rolled_back
        filler.unlink()
        report = automigrate.upgrade(own_server.url("app"), project.scripts)
        assert [item.revision for item in report.applied] == ["r2"]
        with psycopg.connect(own_server.url("app"), autocommit=True) as connection:
            assert connection.execute("select count(*) from t").fetchone() == (8000,)
            connection.execute("drop table t")
            connection.execute("drop tablespace small")


def test_time_outs_of_the_role_do_not_end_a_migration(database: Database, project: Project) -> None:
    """What protects the application's statements does not hit those of revisions, or a waiter."""
    role = f"hasty_{database.name}"[:60]
    database.execute(
        f"""
        create role "{role}" login;
        alter role "{role}" set statement_timeout = '200ms';
        alter role "{role}" set idle_session_timeout = '300ms';
        alter role "{role}" set idle_in_transaction_session_timeout = '200ms';
        alter role "{role}" set transaction_timeout = '400ms';
        alter role "{role}" set lock_timeout = '100ms';
        grant all on schema public to "{role}";
        """
    )
    project.add(
        "r1",
        imports="import time",
        upgrade="""
            op.execute("select pg_sleep(0.6)")
            time.sleep(0.6)
            op.execute("create table t (id integer)")
        """,
    )
    project.add(
        "r2",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("select pg_sleep(0.6)")
        """,
    )
    url = database.server.url(database.name, user=role)
    try:
        first, second = Background(url, project), Background(url, project)
        outcomes = {first.finish().outcome, second.finish().outcome}
        assert outcomes == {Outcome.MIGRATED, Outcome.WAITED}
    finally:
        database.execute(f'drop owned by "{role}"; drop role "{role}"')


def test_a_wrong_password_is_not_tried_again(database: Database, project: Project) -> None:
    """What waiting cannot mend fails at the first attempt."""
    project.extend(1)
    started = time.monotonic()
    with pytest.raises(PermissionDeniedError) as caught:
        automigrate.upgrade(
            database.server.tcp_url(database.name, password="wrong"), project.scripts
        )
    assert time.monotonic() - started < 5.0
    assert "wrong" not in str(caught.value).replace("wrong password", "")
