"""Quart behind the gate.

DATABASE_URL=postgresql://… uvicorn app:app

Assigning to `asgi_app` is how Quart documents middleware.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import psycopg
from quart import Quart

from automigrate import Migrator
from automigrate.health.asgi import GateMiddleware

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"

app = Quart(__name__)
gate = GateMiddleware(cast("Any", app.asgi_app), Migrator(URL, MIGRATIONS))
app.asgi_app = gate  # type: ignore[method-assign,assignment]


@app.get("/")
async def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        cursor = await connection.execute("select count(*) from orders where state = 'new'")
        row = await cursor.fetchone()
    return {"new_orders": row[0] if row else 0}
