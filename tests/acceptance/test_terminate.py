"""A replica whose session is terminated connects again and finishes by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Outcome
from tests.support.interruption import (
    HISTORY,
    PATIENT,
    Point,
    assert_finished_as_undisturbed,
    history,
    reached,
)
from tests.support.replicas import Replica

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.fault

STOPPED = {Point.LOCK_TAKEN, Point.BEFORE_UNLOCK}
"""Points at which the replica waits for the test's word."""


@pytest.mark.parametrize("point", Point, ids=lambda point: point.name.lower())
def test_the_same_process_recovers_from_a_terminated_session(
    point: Point, database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """After pg_terminate_backend at any point the replica applies the rest and reports it all."""
    history(project)
    undisturbed = databases()
    automigrate.upgrade(undisturbed.url, project.scripts)
    started: list[Replica] = []

    def start(stop_at: str | None) -> Replica:
        started.append(Replica(database, project, stop_at=stop_at, **PATIENT))
        return started[-1]

    try:
        with reached(point, database, start) as (replica, pid):
            assert database.rows("select pg_terminate_backend(%s, 5000)", (pid,)) == [(True,)]
            if point in STOPPED:
                replica.go()
            replica.until_told("event", "ConnectionRetried")
        assert replica.finish() == 0, str(replica)
        assert replica.result["outcome"] == Outcome.MIGRATED
        assert replica.result["applied"] == list(HISTORY)
        assert replica.result["attempts"] == 2
    finally:
        for replica in started:
            replica.close()
    assert_finished_as_undisturbed(database, undisturbed)


def test_a_waiting_replica_survives_the_end_of_its_session(
    database: Database, project: Project
) -> None:
    """A waiter whose session is terminated connects again and waits on."""
    history(project)
    started: list[Replica] = []
    try:
        holder = Replica(database, project, stop_at="LockTaken")
        started.append(holder)
        holder.until_told("stopped")
        waiter = Replica(database, project)
        started.append(waiter)
        told = waiter.until_told("event", "LockWaited")
        ended = database.rows(
            "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity "
            "where datname = current_database() and pid not in (%s, pg_backend_pid())",
            (told["holder"],),
        )
        assert ended == [(1,)]
        waiter.until_told("event", "ConnectionRetried")
        holder.go()
        assert (holder.finish(), waiter.finish()) == (0, 0), f"{holder}\n{waiter}"
        assert holder.result["applied"] == list(HISTORY)
        assert waiter.result["applied"] == []
        assert waiter.result["outcome"] == Outcome.WAITED
    finally:
        for replica in started:
            replica.close()
