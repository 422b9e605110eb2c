"""How long a peer that is gone, or that nobody hears of, keeps the lock."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import LockTimeoutError
from tests.support.replicas import LONG, Replica, until
from tests.support.servers import missing, new_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.fault

ROOT = Path(__file__).parents[2]
EVERYTHING = os.environ.get("AUTOMIGRATE_FULL_MATRIX") == "1"
HELD = "select pid from pg_locks where locktype = 'advisory' and granted"
WANTED = {
    "client_connection_check_interval": "1s",
    "statement_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
}


def asleep(database: Database) -> bool:
    """Say whether a revision is in its long statement."""
    return bool(
        database.rows(
            "select 1 from pg_stat_activity where datname = current_database() "
            "and state = 'active' and query like 'select pg_sleep%'"
        )
    )


def test_the_session_is_set_against_dead_clients(database: Database, project: Project) -> None:
    """What frees a dead client's lock is set, and set again after a script's RESET ALL."""
    names = ", ".join(f"'{name}'" for name in WANTED)
    look = (
        'op.execute("create table seen_{} as select name, current_setting(name) as value '
        f'from pg_settings where name in ({names})")\n'
    )
    project.add("r1", upgrade=look.format(1) + 'op.execute("reset all")')
    project.add("r2", upgrade=look.format(2))
    automigrate.upgrade(database.tcp_url, project.scripts)
    assert dict(database.rows("select * from seen_1")) == WANTED
    assert dict(database.rows("select * from seen_2")) == WANTED


def test_a_killed_process_loses_the_lock_in_the_middle_of_a_statement(
    database: Database, project: Project
) -> None:
    """A kill -9 in a long statement: the server notices within seconds, not when it is done."""
    project.add("r1", upgrade='op.execute("select pg_sleep(120)")')
    victim = Replica(database, project)
    try:
        until(lambda: asleep(database), "the revision runs")
        victim.kill()
        started = time.monotonic()
        until(lambda: not database.rows(HELD), "the lock is free")
        assert time.monotonic() - started < 5.0
    finally:
        victim.close()


def test_a_frozen_holder_keeps_the_lock_and_is_named(database: Database, project: Project) -> None:
    """SIGSTOP: the machine still answers, so that the lock stays; the error says whose it is."""
    project.extend(2)
    frozen = Replica(database, project, stop_at="LockTaken")
    try:
        frozen.until_told("stopped")
        os.kill(frozen.pid, signal.SIGSTOP)
        with pytest.raises(LockTimeoutError, match="automigrate unlock") as caught:
            automigrate.upgrade(database.url, project.scripts, timeout=2.0)
        assert caught.value.holder is not None
        assert str(frozen.pid) in caught.value.holder.application_name
        os.kill(frozen.pid, signal.SIGCONT)
        frozen.go()
        assert frozen.finish() == 0
    finally:
        frozen.close()


@contextmanager
def other_host() -> Iterator[tuple[list[str], str, list[str]]]:
    """Make a network namespace that reaches this machine over a cable.

    Yields:
        The words that run a command there, the address of this machine, and the command that pulls
        the cable: packets are dropped from then on, and nobody is told.
    """
    name, ours, theirs = f"am{os.getpid()}", f"am{os.getpid()}a", f"am{os.getpid()}b"
    network = f"10.99.{os.getpid() % 250}"
    commands = [
        ["ip", "netns", "add", name],
        ["ip", "link", "add", ours, "type", "veth", "peer", "name", theirs],
        ["ip", "link", "set", theirs, "netns", name],
        ["ip", "addr", "add", f"{network}.1/30", "dev", ours],
        ["ip", "link", "set", ours, "up"],
        ["ip", "netns", "exec", name, "ip", "addr", "add", f"{network}.2/30", "dev", theirs],
        ["ip", "netns", "exec", name, "ip", "link", "set", theirs, "up"],
        ["ip", "netns", "exec", name, "ip", "link", "set", "lo", "up"],
    ]
    try:
        for command in commands:
            try:
                subprocess.run(command, check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError):
                missing("the right to make a network namespace (iproute2, root)")
        there = ["ip", "netns", "exec", name]
        yield there, f"{network}.1", [*there, "ip", "link", "set", theirs, "down"]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.skipif(not EVERYTHING, reason="takes more than a minute")
@pytest.mark.parametrize("statement", ["select pg_sleep(300)", None])
def test_a_partitioned_holder_loses_the_lock_in_about_a_minute(
    statement: str | None, project: Project
) -> None:
    """Packets vanish: keepalives end the session, in a long statement as well as between two."""
    body = "import time\ntime.sleep(300)" if statement is None else f'op.execute("{statement}")'
    project.add("r1", upgrade=body)
    code = "import sys, automigrate; automigrate.upgrade(sys.argv[1], sys.argv[2])"
    with (
        new_server(listen_addresses="*") as server,
        other_host() as (there, address, pull_the_cable),
    ):
        server.create_database("app")
        hba = server.data_directory / "pg_hba.conf"
        hba.write_text(hba.read_text() + "host all all 10.99.0.0/16 scram-sha-256\n")
        with psycopg.connect(server.url("app"), autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")
            url = server.tcp_url("app", host=address)
            process = subprocess.Popen(
                [*there, sys.executable, "-c", code, url, str(project.scripts)],
                cwd=ROOT,
                stderr=subprocess.DEVNULL,
            )
            try:
                until(lambda: connection.execute(HELD).fetchone(), "the lock is held")
                time.sleep(2.0)
                subprocess.run(pull_the_cable, check=True)
                started = time.monotonic()
                deadline = started + 2 * LONG
                while connection.execute(HELD).fetchone() and time.monotonic() < deadline:
                    time.sleep(0.5)
                took = time.monotonic() - started
            finally:
                process.kill()
                process.wait(10)
    print(f"the lock was free after {took:.0f} s")
    assert took < 75.0
