"""Flask behind the gate: it listens at once, and serves when the schema is right.

DATABASE_URL=postgresql://… flask run

Assigning to `wsgi_app` is how Flask documents middleware. The first request, which is usually a
probe, starts the migration; so importing this module in a test or a shell migrates nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
from flask import Flask

from automigrate import Migrator
from automigrate.health.wsgi import GateMiddleware

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"

app = Flask(__name__)
migrator = Migrator(URL, MIGRATIONS)
app.wsgi_app = GateMiddleware(app.wsgi_app, migrator)  # type: ignore[method-assign]


@app.get("/")
def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    return {"new_orders": row[0] if row else 0}
