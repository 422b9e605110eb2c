"""A replica that is killed loses its work or keeps it whole, and another one finishes the rest."""

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
from tests.support.replicas import Replica, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.projects import Project
    from tests.support.servers import Database

pytestmark = pytest.mark.fault

GONE = "select count(*) = 0 from pg_stat_activity where pid = %s"


@pytest.mark.parametrize("point", Point, ids=lambda point: point.name.lower())
def test_another_process_finishes_after_kill(
    point: Point, database: Database, databases: Callable[[], Database], project: Project
) -> None:
    """After kill -9 at any point the next replica brings the schema to where it belongs."""
    history(project)
    undisturbed = databases()
    automigrate.upgrade(undisturbed.url, project.scripts)
    victims: list[Replica] = []

    def start(stop_at: str | None) -> Replica:
        victims.append(Replica(database, project, stop_at=stop_at, **PATIENT))
        return victims[-1]

    try:
        with reached(point, database, start) as (victim, pid):
            victim.kill()
            # The server notices the dead client while the statement is still held up.
            until(lambda: database.rows(GONE, (pid,))[0][0], "the dead client's backend ends")
            applied_before = applied(database)
        successor = Replica(database, project)
        victims.append(successor)
        assert successor.finish() == 0, str(successor)
        assert successor.result["applied"] == list(HISTORY[len(applied_before) :])
        expected = Outcome.UNCHANGED if point is Point.BEFORE_UNLOCK else Outcome.MIGRATED
        assert successor.result["outcome"] == expected
    finally:
        for replica in victims:
            replica.close()
    assert_finished_as_undisturbed(database, undisturbed)


def applied(database: Database) -> list[str]:
    """Return what the version table says is applied."""
    if database.rows("select to_regclass('alembic_version') is null")[0][0]:
        return []
    heads = [head for (head,) in database.rows("select version_num from alembic_version")]
    return [name for name in HISTORY if heads and name <= heads[0]]


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (Point.LOCK_TAKEN, 0),
        (Point.WITHIN_REVISION, 1),
        (Point.BEFORE_COMMIT, 1),
        (Point.IN_COMMIT, 1),
        (Point.IN_CONCURRENT_INDEX, 2),
        (Point.BEFORE_UNLOCK, 4),
    ],
    ids=lambda value: value.name.lower() if isinstance(value, Point) else str(value),
)
def test_a_waiting_process_takes_over_from_a_killed_one(
    point: Point, expected: int, database: Database, project: Project
) -> None:
    """A replica that waited for the killed one continues where that one had come to."""
    history(project)
    started: list[Replica] = []

    def start(stop_at: str | None) -> Replica:
        started.append(Replica(database, project, stop_at=stop_at, **PATIENT))
        return started[-1]

    try:
        with reached(point, database, start) as (victim, pid):
            waiter = Replica(database, project)
            started.append(waiter)
            if point is Point.BEFORE_UNLOCK:
                assert waiter.finish() == 0
            else:
                assert waiter.until_told("event", "LockWaited")["holder"] == pid
            victim.kill()
            until(lambda: database.rows(GONE, (pid,))[0][0], "the dead client's backend ends")
        assert waiter.finish() == 0, str(waiter)
        assert waiter.result["applied"] == list(HISTORY[expected:])
    finally:
        for replica in started:
            replica.close()
