"""FastAPI that does not listen before the schema is right, with health endpoints.

DATABASE_URL=postgresql://… uvicorn blocking:app

Suits a platform whose probes wait for the port, or a schema that a Job has already migrated.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from fastapi import FastAPI

from automigrate import Migrator
from automigrate.health.asgi import HealthMiddleware, lifespan

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"

migrator = Migrator(URL, MIGRATIONS)
app = FastAPI(lifespan=lifespan(migrator))  # the one line
app.add_middleware(HealthMiddleware, migrator=migrator)  # /livez, /readyz, /startupz


@app.get("/")
def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    return {"new_orders": row[0] if row else 0}
