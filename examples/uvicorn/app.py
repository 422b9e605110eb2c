"""uvicorn with four workers: one of them migrates, the others wait for it.

DATABASE_URL=postgresql://… uvicorn app:app --workers 4

Every worker listens at once and answers its probes. Per worker one connection for the check.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from automigrate import Migrator
from automigrate.health.asgi import GateMiddleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]

URL = os.environ["DATABASE_URL"]
MIGRATIONS = Path(__file__).parents[1] / "orders" / "migrations"


async def orders(
    scope: Message,
    _receive: Callable[[], Awaitable[Message]],
    send: Callable[[Message], Awaitable[None]],
) -> None:
    """Count the orders, in plain ASGI."""
    if scope["type"] != "http":
        raise NotImplementedError(scope["type"])
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        cursor = await connection.execute("select count(*) from orders where state = 'new'")
        row = await cursor.fetchone()
    body = json.dumps({"new_orders": row[0] if row else 0, "pid": os.getpid()}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = GateMiddleware(orders, Migrator(URL, MIGRATIONS))  # the one line
