"""The primary fails, its standby takes over, and the run goes on there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psycopg
import pytest

import automigrate
from automigrate import DatabaseUnavailableError, Outcome
from automigrate.events import ConnectionRetried, RevisionStarted
from tests.support.background import Background
from tests.support.replicas import Replica, until
from tests.support.servers import new_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from automigrate.embedded import EmbeddedServer
    from tests.support.projects import Project

pytestmark = [pytest.mark.fault, pytest.mark.timeout(180)]

STREAMING = "select count(*) from pg_stat_replication where state = 'streaming'"


class Pair:
    """A primary and its synchronous standby."""

    def __init__(self, primary: EmbeddedServer) -> None:
        self.primary = primary
        primary.create_database("app")
        self.standby = primary.start_standby()
        with psycopg.connect(primary.url(), autocommit=True) as connection:
            connection.execute("alter system set synchronous_standby_names = '*'")
            connection.execute("select pg_reload_conf()")
            until(lambda: connection.execute(STREAMING).fetchone() == (1,), "it streams")

    def url(self, **parameters: str) -> str:
        """Name both servers in one URL."""
        first, second = self.primary, self.standby
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return (
            f"postgresql://{first.superuser}:{first.password.replace(' ', '%20')}"
            f"@127.0.0.1:{first.port},127.0.0.1:{second.port}/app?{query}"
        )

    def fail_over(self) -> None:
        """Crash the primary and promote the standby."""
        self.primary.stop("immediate")
        with psycopg.connect(self.standby.url(), autocommit=True) as connection:
            connection.execute("alter system reset synchronous_standby_names")
            connection.execute("select pg_reload_conf()")
        self.standby.promote()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A pair of servers for this test alone."""
    with new_server() as primary:
        found = Pair(primary)
        with found.standby:
            yield found


def ledger(project: Project) -> None:
    """Write a history in which applying a revision twice shows, and each takes a while."""
    project.add("r1", upgrade='op.execute("create table ledger (n integer)")')
    for number in range(2, 8):
        project.add(
            f"r{number}",
            upgrade=f'op.execute("insert into ledger values ({number}); select pg_sleep(0.4)")',
        )


def check_ledger(server: EmbeddedServer) -> None:
    """Assert that each revision took effect once."""
    with psycopg.connect(server.url("app")) as connection:
        rows = connection.execute("select n from ledger order by n").fetchall()
        states = connection.execute(
            "select revision, state from automigrate_journal order by id"
        ).fetchall()
    assert rows == [(number,) for number in range(2, 8)]
    assert states == [(f"r{number}", "applied") for number in range(1, 8)]


@pytest.mark.parametrize("commits", ["last", "every"])
@pytest.mark.parametrize("attributes", ["any", "read-write", "primary"])
def test_the_run_goes_on_at_the_promoted_standby(
    attributes: str, commits: str, pair: Pair, project: Project
) -> None:
    """A promotion in the middle of a revision: the same call brings the new primary to the end."""
    ledger(project)
    running = Background(pair.url(target_session_attrs=attributes), project, commits=commits)
    until(
        lambda: any(
            isinstance(event, RevisionStarted) and event.revision == "r4"
            for event in list(running.events)
        ),
        "it is at r4",
    )
    pair.fail_over()
    assert running.finish().outcome is Outcome.MIGRATED
    check_ledger(pair.standby)


def test_several_replicas_go_on_at_the_promoted_standby(pair: Pair, project: Project) -> None:
    """All replicas become ready at the new primary, and each revision is applied once."""
    ledger(project)
    replicas = [Replica(pair.url(), project) for _ in range(4)]
    try:
        with psycopg.connect(pair.primary.url("app"), autocommit=True) as connection:
            until(
                lambda: connection.execute("select to_regclass('ledger')").fetchone() != (None,),
                "a run is under way",
            )
        time.sleep(0.6)
        pair.fail_over()
        codes = [replica.finish() for replica in replicas]
        assert codes == [0] * 4, "\n".join(map(str, replicas))
    finally:
        for replica in replicas:
            replica.close()
    check_ledger(pair.standby)


def test_a_hot_standby_is_never_migrated(pair: Pair, project: Project) -> None:
    """H7: a standby would give the lock; the run waits for a primary until the deadline."""
    ledger(project)
    with pytest.raises(DatabaseUnavailableError, match="standby"):
        automigrate.upgrade(pair.standby.tcp_url("app"), project.scripts, timeout=1.5)


def test_a_hot_standby_that_is_promoted_is_migrated(pair: Pair, project: Project) -> None:
    """Who waits at a standby goes on when it has become the primary."""
    ledger(project)
    waiting = Background(pair.standby.tcp_url("app"), project)
    until(lambda: waiting.told(ConnectionRetried), "it has seen the standby")
    pair.fail_over()
    assert waiting.finish().outcome is Outcome.MIGRATED
    check_ledger(pair.standby)


def test_nothing_pending_is_enough_at_a_hot_standby(pair: Pair, project: Project) -> None:
    """A replica of the application that only reads may start at a standby."""
    ledger(project)
    automigrate.upgrade(pair.primary.url("app"), project.scripts)
    with psycopg.connect(pair.standby.url("app"), autocommit=True) as connection:
        until(
            lambda: connection.execute("select count(*) from ledger").fetchone() == (6,),
            "the standby has caught up",
        )
    report = automigrate.upgrade(pair.standby.tcp_url("app"), project.scripts)
    assert report.outcome is Outcome.UNCHANGED
