"""Starlette behind the gate, with a lifespan of its own that needs the newest schema.

DATABASE_URL=postgresql://… uvicorn app:app

The gate enters the application's lifespan after the migration, never before.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from automigrate import Migrator
from automigrate.health.asgi import GateMiddleware

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, int]]:
    """Read something once at startup."""
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        cursor = await connection.execute("select count(*) from orders where state = 'new'")
        row = await cursor.fetchone()
    yield {"new_orders": row[0] if row else 0}


async def orders(request: Request) -> JSONResponse:
    """Tell what was read at startup."""
    return JSONResponse({"new_orders": request.state.new_orders})


app = Starlette(
    routes=[Route("/", orders)],
    lifespan=lifespan,
    middleware=[Middleware(GateMiddleware, migrator=Migrator(URL, MIGRATIONS))],  # the one line
)
