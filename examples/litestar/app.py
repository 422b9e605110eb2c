"""Litestar that waits for the right schema in its startup, with the health endpoints mounted.

DATABASE_URL=postgresql://… uvicorn app:app

They are at /health/livez and so on. For the gate instead: `app = GateMiddleware(app, migrator)`.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from litestar import Litestar, asgi, get

from automigrate import Migrator
from automigrate.health.asgi import HealthApp, lifespan

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"

migrator = Migrator(URL, MIGRATIONS)


@get("/", sync_to_thread=True)
def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    return {"new_orders": row[0] if row else 0}


app = Litestar(
    route_handlers=[orders, asgi("/health", is_mount=True, copy_scope=True)(HealthApp(migrator))],
    lifespan=[lifespan(migrator)],  # the one line
)
