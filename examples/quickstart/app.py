"""A shop that brings its own schema up to date when it starts, and then serves HTTP.

DATABASE_URL=postgresql://… python app.py
curl -d '{"product": "tea", "quantity": 2}' localhost:8000/orders
curl localhost:8000/best-seller
"""

from __future__ import annotations

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from sqlalchemy import create_engine, func, make_url, select
from sqlalchemy.orm import Session

import automigrate
from models import Order, Product

url = os.environ["DATABASE_URL"]
report = automigrate.upgrade(url, "migrations")  # blocks until the schema is right, or raises

engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"))


class Shop(BaseHTTPRequestHandler):
    """Two requests that need the newest schema."""

    def do_GET(self) -> None:
        """Answer /best-seller: the product that earned most."""
        earned = func.sum(Order.total_cents)
        query = select(Product.name, earned).join(Order.product).group_by(Product.name)
        with Session(engine) as session:
            name, cents = session.execute(query.order_by(earned.desc()).limit(1)).one()
        self._answer(200, {"product": name, "earned_cents": cents})

    def do_POST(self) -> None:
        """Take an order."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with Session(engine) as session:
            product = session.scalars(select(Product).filter_by(name=body["product"])).one()
            total = body["quantity"] * product.price_cents
            order = Order(product=product, quantity=body["quantity"], total_cents=total)
            session.add(order)
            session.commit()
            self._answer(201, {"order": order.id, "total_cents": order.total_cents})

    def _answer(self, status: int, body: dict[str, object]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Keep the output readable."""


def main() -> None:
    """Serve until SIGTERM."""
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Shop)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    waited_for = report.waited_for.application_name if report.waited_for else None
    ready = {
        "port": server.server_port,
        "outcome": report.outcome,
        "applied": [step.revision for step in report.applied],
        "waited_for": waited_for,
        "waited_seconds": report.waited_seconds,
        "seconds": report.seconds,
    }
    print(json.dumps(ready), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
