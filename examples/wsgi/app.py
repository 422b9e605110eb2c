"""A plain WSGI application behind the gate, under any WSGI server.

DATABASE_URL=postgresql://… gunicorn app:application
DATABASE_URL=postgresql://… python app.py              # the standard library's server
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING
from wsgiref.simple_server import make_server

import psycopg

from automigrate import Migrator
from automigrate.health.wsgi import GateMiddleware

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIEnvironment

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"


def orders(_: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"new_orders": row[0] if row else 0}).encode()]


application = GateMiddleware(orders, Migrator(URL, MIGRATIONS))  # the one line

if __name__ == "__main__":
    application.start()
    with make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), application) as server:
        server.serve_forever()
