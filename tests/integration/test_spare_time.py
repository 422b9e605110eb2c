"""What is done while the server works on a statement, and what becomes of the statement."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg.pq import TransactionStatus

import automigrate
from automigrate.alembic_bridge.transaction import RevisionTransaction
from automigrate.database.spare_time import spare_time
from tests.support.projects import Project
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.servers import Database

ACTIVE = TransactionStatus.ACTIVE
SLEEPS = """
select 1 from pg_stat_activity where wait_event = 'PgSleep' and datname = current_database()
"""


def test_a_job_is_done_while_the_server_works(database: Database) -> None:
    """One for each thing that the connection does; when there are none left, nothing is missed."""
    seen: list[TransactionStatus] = []

    def jobs() -> Iterator[None]:
        for _ in range(3):
            seen.append(connection.info.transaction_status)
            yield

    with database.connect() as connection:
        connection.autocommit = False
        with spare_time(connection, jobs()):
            assert connection.execute("select 1 + %s", (1,)).fetchone() == (2,)
            assert connection.execute("select 'a'").fetchone() == ("a",)
            connection.commit()
            assert connection.execute("select 'b'").fetchone() == ("b",)
        assert "wait" not in vars(connection)
    assert seen == [ACTIVE] * 3


def test_the_error_of_a_statement_is_raised_as_ever(database: Database) -> None:
    """A job changes nothing about it."""
    with (
        database.connect() as connection,
        spare_time(connection, iter([None])),
        pytest.raises(psycopg.errors.DivisionByZero),
    ):
        connection.execute("select 1 / 0")


def test_an_interrupted_job_cancels_the_statement(database: Database) -> None:
    """Ctrl-C while a job is done does not wait for the end of the statement."""

    def interrupted(_: int) -> None:
        until(lambda: database.rows(SLEEPS), "the server is at it")
        raise KeyboardInterrupt

    with database.connect() as connection:
        with spare_time(connection, map(interrupted, [1])), pytest.raises(KeyboardInterrupt):
            connection.execute("select pg_sleep(600)")
        assert connection.execute("select 1").fetchone() == (1,)


def test_scripts_are_hashed_while_one_runs(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind one that runs statement by statement."""
    project = Project(tmp_path)
    asking = 'op.get_bind().execute(sa.text("select 1")).scalar()'
    for number in range(1, 4):
        project.add(f"r000{number}", upgrade=asking)
    hashed: dict[str, TransactionStatus] = {}
    original = RevisionTransaction.hash

    def noting(self: RevisionTransaction) -> None:
        hashed.setdefault(self.revision, self._raw.info.transaction_status)
        original(self)

    monkeypatch.setattr(RevisionTransaction, "hash", noting)
    report = automigrate.upgrade(database.url, project.scripts)
    assert [item.revision for item in report.applied] == ["r0001", "r0002", "r0003"]
    assert hashed.pop("r0001") is not ACTIVE
    assert set(hashed.values()) == {ACTIVE}
