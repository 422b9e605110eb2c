"""What many workers of one pod cost the database: connections, counted by the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.health_support import EXAMPLES, ask, environment, free_port, running

if TYPE_CHECKING:
    from tests.acceptance.health_support import Process
    from tests.support.servers import Database

WORKERS = 16


def migrate(database: Database) -> None:
    """Bring the examples' schema up, so that nothing is pending."""
    from automigrate import upgrade

    os.environ["DATABASE_URL"] = database.url
    try:
        upgrade(database.url, EXAMPLES / "orders" / "migrations")
    finally:
        del os.environ["DATABASE_URL"]


def connections(database: Database) -> int:
    """Return how many of automigrate's connections have said anything so far."""
    found = database.statements()
    return len({one.pid for one in found if one.application_name.startswith("automigrate")})


def until_all_have_looked(process: Process, port: int, database: Database, before: int) -> None:
    """Ask until every one of the workers has answered once."""

    def looked() -> bool:
        assert ask(port, "/readyz").status in {0, 200, 503}
        return connections(database) - before >= WORKERS

    process.until(looked)


@pytest.mark.slow
def test_16_workers_of_one_pod_open_16_connections_for_the_check(database: Database) -> None:
    """With nothing pending: one connection a worker, of one query, closed at once."""
    migrate(database)
    before = connections(database)
    port = free_port()
    command = ["-m", "uvicorn", "app:app", "--port", str(port), "--workers", str(WORKERS)]
    env = environment(DATABASE_URL=database.url)
    with running(command, cwd=EXAMPLES / "uvicorn", env=env) as process:
        until_all_have_looked(process, port, database, before)
        for _ in range(3 * WORKERS):
            assert ask(port, "/readyz").status == 200
        assert connections(database) - before == WORKERS
        assert not [one for one in database.sessions() if "automigrate" in one]


def test_16_workers_behind_a_preloading_master_open_one(database: Database) -> None:
    """The master looks before it forks; the workers look not at all."""
    migrate(database)
    before = connections(database)
    port, health = free_port(), free_port()
    command = ["-m", "gunicorn", "app:app", "--workers", str(WORKERS)]
    env = environment(DATABASE_URL=database.url, PORT=str(port), HEALTH_PORT=str(health))
    with running(command, cwd=EXAMPLES / "gunicorn", env=env) as process:
        process.until(lambda: process.text.count("Booting worker") == WORKERS)
        process.until(lambda: ask(health, "/readyz").status == 200)
        assert ask(port).status == 200
        assert connections(database) - before == 1
        assert process.terminate() == 0
