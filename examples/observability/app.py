"""Metrics among the application's own, and spans of every run.

DATABASE_URL=postgresql://… uvicorn app:app
curl localhost:8000/metrics

Spans go to whatever OpenTelemetry exporter the process has configured.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import REGISTRY, Counter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from automigrate import Migrator
from automigrate.health.asgi import GateMiddleware
from automigrate.health.metrics import Metrics
from automigrate.health.tracing import Tracing

MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"
GREETINGS = Counter("shop_greetings", "Greetings of this shop.")

migrator = Migrator(os.environ["DATABASE_URL"], MIGRATIONS)
Tracing(migrator)


async def greet(_: object) -> PlainTextResponse:
    """Count a greeting."""
    GREETINGS.inc()
    return PlainTextResponse("hello")


app = GateMiddleware(
    Starlette(routes=[Route("/", greet)]), migrator, metrics=Metrics(migrator, registry=REGISTRY)
)
