"""The application that gunicorn.conf.py serves; nothing in it is about migrations."""

from __future__ import annotations

import os

import psycopg
from flask import Flask

URL = os.environ["DATABASE_URL"]

app = Flask(__name__)


@app.get("/")
def orders() -> dict[str, int]:
    """Count the orders by a column that the newest revision indexes."""
    with psycopg.connect(URL) as connection:
        row = connection.execute("select count(*) from orders where state = 'new'").fetchone()
    return {"new_orders": row[0] if row else 0}
