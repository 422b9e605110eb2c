"""The shop of the container image: FastAPI behind the gate.

DATABASE_URL is the application's role, MIGRATION_DATABASE_URL the migrator's; where only the first
is given, as in a pod whose init container has migrated, this process waits and never migrates.
"""

from __future__ import annotations

import os

import psycopg
from fastapi import FastAPI

from automigrate import Migrator, Mode
from automigrate.health.asgi import GateMiddleware

URL = os.environ["DATABASE_URL"]
MIGRATION_URL = os.environ.get("MIGRATION_DATABASE_URL")
MIGRATIONS = os.environ.get("AUTOMIGRATE_SCRIPT_LOCATION", "/app/migrations")

migrator = Migrator(
    MIGRATION_URL or URL,
    MIGRATIONS,
    mode=Mode.UPGRADE if MIGRATION_URL else Mode.WAIT,
    application_version=os.environ.get("SHOP_VERSION"),
)
app = FastAPI()
app.add_middleware(GateMiddleware, migrator=migrator)  # the one line


@app.get("/")
def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    return {"new_orders": row[0] if row else 0}
