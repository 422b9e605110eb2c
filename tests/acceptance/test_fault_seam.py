"""The named points at which tests can break a run, as users reach them."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Outcome, UpgradeError
from automigrate.testing import faults
from automigrate.testing.faults import Point, Reached

if TYPE_CHECKING:
    from tests.support.projects import Project
    from tests.support.servers import Database


@pytest.fixture
def indexed(project: Project) -> Project:
    """A project whose last revision leaves its transaction."""
    project.extend(1)
    project.add(
        "r0002",
        upgrade="""
            with op.get_context().autocommit_block():
                op.execute("create index concurrently i on t_r0001 (id)")
            op.execute("select 1")
        """,
    )
    return project


def test_every_point_is_reached_in_order(database: Database, indexed: Project) -> None:
    """A history with both kinds of revision passes all points, in the order they are listed."""
    seen: list[Reached] = []
    with faults.injected(seen.append):
        automigrate.upgrade(database.url, indexed.scripts)
    first = list(dict.fromkeys(reached.point for reached in seen if reached.revision != "r0001"))
    assert first == [point for point in Point if point is not Point.MESSAGE_SENT]
    inside = {reached.point for reached in seen if reached.revision == "r0002"}
    assert inside == {
        Point.REVISION_BEGUN,
        Point.IN_AUTOCOMMIT,
        Point.AUTOCOMMIT_LEFT,
        Point.SCRIPT_RUN,
        Point.VERSION_UPDATED,
        Point.COMMITTED,
    }


def test_a_revision_in_one_message_is_reached_when_it_is_sent(
    database: Database, indexed: Project
) -> None:
    """Between the message and the commit that it ends with there is nothing to reach."""
    seen: list[Reached] = []
    with faults.injected(seen.append, in_one_message=True):
        automigrate.upgrade(database.url, indexed.scripts)
    points = [reached.point for reached in seen]
    sent = points.index(Point.MESSAGE_SENT)
    assert points[sent + 1] is Point.COMMITTED
    assert points.index(Point.REVISION_BEGUN) > sent
    assert points.count(Point.MESSAGE_SENT) == 1


def test_an_injected_error_fails_the_revision_it_hits(database: Database, indexed: Project) -> None:
    """An exception at a point is the revision's own, and undoes it."""
    error = RuntimeError("injected")
    with (
        faults.injected(faults.once(Point.SCRIPT_RUN, faults.raising(error), revision="r0001")),
        pytest.raises(UpgradeError, match="injected") as caught,
    ):
        automigrate.upgrade(database.url, indexed.scripts)
    assert caught.value.failed == "r0001"
    assert caught.value.rolled_back


@pytest.mark.parametrize("action", [faults.drop_connection, faults.terminate_backend])
def test_a_lost_session_is_replaced(
    action: faults.Action, database: Database, indexed: Project
) -> None:
    """The run goes on with a new session after either end was cut."""
    with faults.injected(faults.once(Point.VERSION_UPDATED, action, revision="r0001")):
        report = automigrate.upgrade(database.url, indexed.scripts)
    assert report.outcome is Outcome.MIGRATED
    assert report.attempts > 1


def test_a_stall_delays_and_nothing_else(database: Database, indexed: Project) -> None:
    """A slow moment changes no result."""
    with faults.injected(faults.once(Point.LOCK_TAKEN, faults.stalling(0.3))):
        report = automigrate.upgrade(database.url, indexed.scripts)
    assert report.outcome is Outcome.MIGRATED
    assert report.seconds > 0.3


def test_nothing_is_wrapped_outside(database: Database, indexed: Project) -> None:
    """Leaving the context takes every wrapper away."""
    seen: list[Reached] = []
    with faults.injected(seen.append):
        pass
    automigrate.upgrade(database.url, indexed.scripts)
    assert seen == []


def test_the_engine_does_not_import_the_seam(database: Database, indexed: Project) -> None:
    """In production the module is not there, whatever the environment says."""
    code = (
        "import sys, automigrate\n"
        "automigrate.upgrade(sys.argv[1], sys.argv[2])\n"
        "print(any(name.startswith('automigrate.testing') for name in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, database.url, str(indexed.scripts)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "False\n"
