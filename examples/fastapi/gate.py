"""FastAPI behind the gate: it listens at once, and serves when the schema is right.

DATABASE_URL=postgresql://… uvicorn gate:app

Meanwhile /livez is 200, /readyz 503 with progress, browsers get a maintenance page.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from fastapi import FastAPI

from automigrate import Migrator
from automigrate.health.asgi import GateMiddleware

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"

app = FastAPI()
app.add_middleware(GateMiddleware, migrator=Migrator(URL, MIGRATIONS))  # the one line


@app.get("/")
def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    return {"new_orders": row[0] if row else 0}
