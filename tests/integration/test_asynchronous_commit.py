"""Commits between revisions need not wait for the disk: what a crash of the server may take away.

The server runs with a WAL writer that wakes every ten seconds, so that what was committed
asynchronously is lost in an immediate stop nearly every time, instead of once in a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.rows import scalar_row, tuple_row

import automigrate
from automigrate import CommitPolicy, UpgradeError
from automigrate.database import pipeline
from automigrate.events import RevisionApplied
from tests.support.servers import new_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from automigrate.embedded import EmbeddedServer
    from automigrate.events import Event
    from tests.support.projects import Project

pytestmark = [pytest.mark.fault, pytest.mark.slow]

State = tuple[str | None, list[str], dict[str, str]]

CRASHES = 50
REVISIONS = 12
VERSION = "select version_num from alembic_version"
TABLES = r"select relname from pg_class where relkind = 'r' and relname like 't\_r%' order by 1"
OURS = "select relname from pg_class where relname in ('alembic_version', 'automigrate_journal')"
JOURNAL = "select revision, state from automigrate_journal order by id"


@pytest.fixture(scope="module")
def crashing() -> Iterator[EmbeddedServer]:
    """A server for immediate stops, on which asynchronous commits stay in memory."""
    with new_server(wal_writer_delay="10s", checkpoint_timeout="1h") as server:
        yield server


@pytest.fixture
def url(crashing: EmbeddedServer, request: pytest.FixtureRequest) -> str:
    """A database of its own."""
    return crashing.create_database(f"db_{abs(hash(request.node.name))}")


def state(url: str) -> State:
    """Return version, revisions whose table is there, and journal."""
    with psycopg.connect(url, row_factory=scalar_row) as connection:
        tables = [str(name).removeprefix("t_") for name in connection.execute(TABLES)]
        there = set(connection.execute(OURS))
        versions = connection.execute(VERSION).fetchall() if "alembic_version" in there else []
        journal: dict[str, str] = {}
        if "automigrate_journal" in there:
            connection.row_factory = tuple_row
            journal = dict(connection.execute(JOURNAL).fetchall())
    return (versions[0] if versions else None), tables, journal


def crash_after(
    server: EmbeddedServer, position: int, then: Callable[[], None]
) -> Callable[[Event], None]:
    """Return a listener that crashes the server once, when so many revisions are applied."""
    crashed = False

    def heard(event: Event) -> None:
        nonlocal crashed
        if not crashed and isinstance(event, RevisionApplied) and event.position == position:
            crashed = True
            server.restart("immediate")
            then()

    return heard


@pytest.mark.timeout(600)
def test_version_schema_and_journal_agree_after_every_crash(
    crashing: EmbeddedServer, project: Project, tmp_path: Path
) -> None:
    """Fifty crashes at changing places: only newest revisions are lost, and each as a whole."""
    names = project.extend(REVISIONS)
    lost = 0
    for number in range(CRASHES):
        url = crashing.create_database(f"crash_{number}")
        position = 1 + number % (REVISIONS - 1)
        seen: list[State] = []

        def look(url: str = url, seen: list[State] = seen) -> None:
            seen.append(state(url))

        report = automigrate.upgrade(
            url, project.scripts, on_event=crash_after(crashing, position, look)
        )
        version, tables, journal = seen[0]
        kept = 0 if version is None else names.index(version) + 1
        assert tables == names[:kept]
        assert journal == dict.fromkeys(names[:kept], "applied")
        assert kept < position + pipeline.LONGEST  # as many as were sent behind it
        lost += position > kept
        # The same call has gone on with the next session, and counts nothing twice.
        assert state(url) == (names[-1], names, dict.fromkeys(names, "applied"))
        assert [item.revision for item in report.applied] == names
        crashing.drop_database(f"crash_{number}")
    assert lost > 0, "no commit was asynchronous: this test has tested nothing"


def test_a_finished_run_is_durable(crashing: EmbeddedServer, url: str, project: Project) -> None:
    """When `upgrade` returns, every revision is on disk: the last commit waits for all."""
    names = project.extend(REVISIONS)
    automigrate.upgrade(url, project.scripts)
    crashing.restart("immediate")
    assert state(url) == (names[-1], names, dict.fromkeys(names, "applied"))


def test_commits_every_loses_nothing(crashing: EmbeddedServer, url: str, project: Project) -> None:
    """With `commits="every"` a revision that was told as applied is on disk."""
    names = project.extend(REVISIONS)
    seen: list[State] = []
    automigrate.upgrade(
        url,
        project.scripts,
        commits=CommitPolicy.EVERY,
        on_event=crash_after(crashing, 5, lambda: seen.append(state(url))),
    )
    kept = names[: names.index(seen[0][0] or "") + 1]
    assert len(kept) >= 5
    assert seen == [(kept[-1], kept, dict.fromkeys(kept, "applied"))]


def test_a_run_that_fails_leaves_what_it_applied_on_disk(
    crashing: EmbeddedServer, url: str, project: Project
) -> None:
    """After `UpgradeError` the revisions that it names as applied survive a crash."""
    names = project.extend(4)
    project.add("r0005", upgrade='op.execute("select 1 / 0")')
    with pytest.raises(UpgradeError) as caught:
        automigrate.upgrade(url, project.scripts)
    crashing.restart("immediate")
    assert list(caught.value.applied) == names
    assert state(url) == (names[-1], names, dict.fromkeys(names, "applied"))


def test_a_run_that_is_stopped_leaves_what_it_applied_on_disk(
    crashing: EmbeddedServer, url: str, project: Project
) -> None:
    """After `stop` the revisions applied so far survive a crash."""
    names = project.extend(40)
    migrator = automigrate.Migrator(url, project.scripts)

    def stop(event: Event) -> None:
        if isinstance(event, RevisionApplied) and event.position == 3:
            migrator.stop()

    migrator.add_listener(stop)
    with pytest.raises(automigrate.StoppedError) as caught:
        migrator.upgrade()
    crashing.restart("immediate")
    done = list(caught.value.applied)
    assert done == names[: len(done)]
    assert len(done) >= 3
    assert state(url) == (done[-1], done, dict.fromkeys(done, "applied"))


def test_a_revision_outside_of_a_transaction_commits_durably(
    crashing: EmbeddedServer, url: str, project: Project
) -> None:
    """An autocommit block waits for the disk, and so does its revision: nothing is run twice."""
    names = project.extend(2)
    project.add(
        "r0003",
        upgrade="""
            op.execute("create table t_r0003 (id integer)")
            with op.get_context().autocommit_block():
                op.execute("create index concurrently i on t_r0003 (id)")
        """,
    )
    names = [*names, "r0003", *project.extend(2, first=4)]
    seen: list[State] = []
    automigrate.upgrade(
        url,
        project.scripts,
        on_event=crash_after(crashing, 3, lambda: seen.append(state(url))),
    )
    assert seen == [("r0003", names[:3], dict.fromkeys(names[:3], "applied"))]
    assert state(url)[0] == names[-1]
