"""A worker that takes its tasks from a table, as procrastinate or a Celery worker would.

DATABASE_URL=postgresql://… HEALTH_PORT=8081 python worker.py

It has no HTTP of its own: health is on a port beside it, also while it migrates. SIGTERM ends it
at the next task, or the migration at the next revision.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import psycopg

from automigrate import Migrator, StoppedError
from automigrate.health.server import HealthServer

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"
TAKE = """
update orders set state = 'done'
where id = (select id from orders where state = 'new' order by id for update skip locked limit 1)
returning product
"""


def main() -> int:
    """Migrate, then work until SIGTERM."""
    migrator = Migrator(URL, MIGRATIONS)
    ended = threading.Event()

    def end(*_: object) -> None:
        ended.set()
        migrator.stop()

    signal.signal(signal.SIGTERM, end)
    with HealthServer(migrator, port=int(os.environ.get("HEALTH_PORT", "8081"))):
        try:
            migrator.upgrade()  # the one line
        except StoppedError:
            return 0
        with psycopg.connect(URL, autocommit=True) as connection:
            while not ended.is_set():
                task = connection.execute(TAKE).fetchone()
                if task is None:
                    ended.wait(0.2)
                else:
                    print(f"packed {task[0]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
