"""gunicorn with four workers and preload: the master migrates once, before it forks.

DATABASE_URL=postgresql://… gunicorn app:app

The health endpoints are on a port of their own, answered by a thread of the master, also while it
migrates and gunicorn does not listen yet. However many workers: one connection for the check.
"""

from __future__ import annotations

import os
from pathlib import Path

from automigrate import Migrator
from automigrate.health.server import HealthServer

MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"

bind = f"127.0.0.1:{os.environ.get('PORT', '8000')}"
workers = 4
preload_app = True

migrator = Migrator(os.environ["DATABASE_URL"], MIGRATIONS)


def on_starting(_server: object) -> None:
    """Run in the master before it listens and forks."""
    HealthServer(migrator, port=int(os.environ.get("HEALTH_PORT", "8081"))).start()
    migrator.upgrade()  # the one line
