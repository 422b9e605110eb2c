"""However many replicas start at once, each revision is applied once."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections import Counter
from typing import TYPE_CHECKING

import pytest

import automigrate
from automigrate import Outcome
from tests.support.replicas import LONG, replicas

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automigrate import UpgradeReport
    from tests.support.projects import Project
    from tests.support.servers import Database

REPLICAS = 20
REVISIONS = 30
CONCURRENTLY = (7, 14, 22)
"""Revisions that build an index CONCURRENTLY."""
ROUNDS = int(os.environ.get("AUTOMIGRATE_TEST_ROUNDS", "2"))
"""Rounds of the race between processes; ten prove more, and take a minute."""

INVALID = "select indexrelid::regclass::text from pg_index where not indisvalid"


def ledger(project: Project) -> list[str]:
    """Write a history in which applying any revision twice shows: each doubles a balance."""
    project.add(
        "r0001",
        upgrade="""
            op.execute("create table account (id integer primary key, balance numeric not null)")
            op.execute("create table applied (revision text not null)")
            op.execute("insert into account select n, 1 from generate_series(1, 50) n")
            op.execute("insert into applied values ('r0001')")
        """,
    )
    for number in range(2, REVISIONS + 1):
        revision = f"r{number:04d}"
        if number in CONCURRENTLY:
            project.add(
                revision,
                upgrade=f"""
                    with op.get_context().autocommit_block():
                        op.execute("create index concurrently i_{revision} on account (balance)")
                    op.execute("insert into applied values ('{revision}')")
                """,
            )
        else:
            project.add(
                revision,
                upgrade=f"""
                    op.execute("create table t_{revision} (id integer primary key)")
                    op.execute("update account set balance = balance * 2")
                    op.execute("insert into applied values ('{revision}')")
                """,
            )
    return list(project.revisions)


def assert_applied_once(database: Database, revisions: list[str]) -> None:
    """Assert that table, data, indexes and journal say so."""
    assert database.rows("select revision from applied") == [(name,) for name in revisions]
    doublings = REVISIONS - 1 - len(CONCURRENTLY)
    assert database.rows("select distinct balance::bigint from account") == [(2**doublings,)]
    assert database.rows(INVALID) == []
    assert database.rows("select version_num from alembic_version") == [(revisions[-1],)]
    assert database.rows("select revision, state from automigrate_journal order by id") == [
        (name, "applied") for name in revisions
    ]


def assert_nobody_deadlocked(database: Database, position: int) -> None:
    """Assert that the server logged no error since a position of its log."""
    with database.server.log_path.open("rb") as log:
        log.seek(position)
        text = log.read().decode(errors="replace")
    mine = [part for part in text.split("\x1e") if f"\x1f{database.name}\x1f" in part]
    faults = [
        part for part in mine if re.search("ERROR:|FATAL:(?!  connection to client lost)", part)
    ]
    assert faults == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_twenty_processes_apply_each_revision_once(
    number: int, database: Database, project: Project
) -> None:
    """Twenty processes on an empty database all succeed, and one of them has migrated."""
    revisions = ledger(project)
    position = database.server.log_path.stat().st_size
    with replicas(REPLICAS, database, project) as started:
        for replica in started:
            replica.go()
        codes = [replica.finish() for replica in started]
        assert codes == [0] * REPLICAS, "\n".join(map(str, started))
        outcomes = Counter(replica.result["outcome"] for replica in started)
    assert outcomes[Outcome.MIGRATED] == 1
    assert outcomes[Outcome.MIGRATED] + outcomes[Outcome.WAITED] + outcomes[Outcome.UNCHANGED] == 20
    assert_applied_once(database, revisions)
    assert_nobody_deadlocked(database, position)


def in_threads(count: int, action: Callable[[], UpgradeReport]) -> list[UpgradeReport]:
    """Run an action in threads that a barrier releases together."""
    barrier = threading.Barrier(count)
    reports: list[UpgradeReport] = []
    failures: list[BaseException] = []

    def body() -> None:
        barrier.wait(LONG)
        try:
            reports.append(action())
        except BaseException as error:  # noqa: BLE001 - shown by the test
            failures.append(error)

    threads = [threading.Thread(target=body) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert failures == []
    return reports


def test_threads_of_one_process_apply_each_revision_once(
    database: Database, project: Project
) -> None:
    """Twenty threads behind a barrier all succeed, and one of them has migrated."""
    revisions = ledger(project)
    reports = in_threads(
        REPLICAS,
        lambda: automigrate.upgrade(database.url, project.scripts, poll_interval=1.0, timeout=LONG),
    )
    outcomes = Counter(report.outcome for report in reports)
    assert len(reports) == REPLICAS
    assert outcomes[Outcome.MIGRATED] == 1
    assert_applied_once(database, revisions)


def test_concurrent_coroutines_apply_each_revision_once(
    database: Database, project: Project
) -> None:
    """Several `upgrade_async` in one event loop all succeed, and one of them has migrated."""
    revisions = ledger(project)

    async def together() -> list[UpgradeReport]:
        return await asyncio.gather(
            *(
                automigrate.upgrade_async(
                    database.url, project.scripts, poll_interval=1.0, timeout=LONG
                )
                for _ in range(REPLICAS)
            )
        )

    reports = asyncio.run(together())
    assert Counter(report.outcome for report in reports)[Outcome.MIGRATED] == 1
    assert_applied_once(database, revisions)


def test_processes_with_upgrade_async_apply_each_revision_once(
    database: Database, tmp_path: Path, project: Project
) -> None:
    """Processes that call `upgrade_async`, with an async env.py, all succeed."""
    project.write_env("async")
    revisions = ledger(project)
    with replicas(6, database, project, asynchronous=True) as started:
        for replica in started:
            replica.go()
        codes = [replica.finish() for replica in started]
        assert codes == [0] * 6, "\n".join(map(str, started))
    assert_applied_once(database, revisions)


def test_one_replica_reports_each_revision_and_its_waiters_none(
    database: Database, project: Project
) -> None:
    """The report names the applied revisions in order at whoever migrated, and nowhere else."""
    revisions = ledger(project)
    reports = in_threads(
        4,
        lambda: automigrate.upgrade(database.url, project.scripts, poll_interval=1.0, timeout=LONG),
    )
    applied = [[item.revision for item in report.applied] for report in reports]
    assert sorted(applied) == [[], [], [], revisions]
