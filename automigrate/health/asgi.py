"""Health endpoints and gate for ASGI: FastAPI, Starlette, Litestar, Quart and any other.

`GateMiddleware` lets the server listen at once and migrates in a thread; `lifespan` holds the
server's startup until the schema is right. No framework is imported: all is plain ASGI 3.

Example:
    app.add_middleware(GateMiddleware, migrator=Migrator(url, "migrations"))     # gate mode
    app = FastAPI(lifespan=lifespan(Migrator(url, "migrations")))                # blocks instead
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from automigrate.health.endpoints import Answer, EndpointOptions, Endpoints
from automigrate.health.gate import Gate
from automigrate.health.looking import look_at
from automigrate.health.metrics import metrics_if_installed
from automigrate.health.readiness import readiness_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
    from contextlib import AbstractAsyncContextManager

    from automigrate.migrator import Migrator

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["GateMiddleware", "HealthApp", "HealthMiddleware", "lifespan"]

logger = logging.getLogger("automigrate")

State = TypeVar("State")
TRY_AGAIN_LATER = 1013
"""WebSocket close code (IANA registry of RFC 6455)."""


def lifespan(
    migrator: Migrator,
    then: Callable[[Any], AbstractAsyncContextManager[State]] | None = None,
) -> Callable[[Any], AbstractAsyncContextManager[State | None]]:
    """Make a lifespan for Starlette, FastAPI or Litestar that waits for the right schema.

    The server does not listen before it is right; where the upgrade fails, the startup fails.

    Args:
        migrator: what to run.
        then: the application's own lifespan, entered when the schema is right.
    """
    readiness_of(migrator)

    @contextlib.asynccontextmanager
    async def run(app: Any) -> AsyncIterator[State | None]:
        await migrator.upgrade_async()
        if then is None:
            yield None
            return
        async with then(app) as state:
            yield state

    return run


class HealthApp:
    """The endpoints alone, as an application to mount at any path.

    Args:
        migrator: whose schema and runs it is about.
        options: see `Endpoints`; `metrics` is there by itself where prometheus-client is.
    """

    def __init__(self, migrator: Migrator, **options: Unpack[EndpointOptions]) -> None:
        if "metrics" not in options:
            options["metrics"] = metrics_if_installed(migrator)
        self._endpoints = Endpoints(migrator, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for an endpoint, and 404 for anything else."""
        if scope["type"] == "lifespan":
            await _lifespan_without_work(receive, send)
            return
        name = self._endpoints.find_mounted(scope.get("path", ""))
        if scope["type"] != "http" or name is None:
            await _refuse(scope, receive, send)
            return
        await _respond_to(self._endpoints, name, scope, send)


class HealthMiddleware:
    """Adds the endpoints to an application; everything else passes untouched.

    Args:
        app: the application.
        migrator: whose schema and runs it is about.
        options: see `Endpoints`.
    """

    def __init__(
        self, app: Application, migrator: Migrator, **options: Unpack[EndpointOptions]
    ) -> None:
        self._app = app
        self._endpoints = Endpoints(migrator, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for an endpoint, or hand it to the application."""
        name = self._endpoints.find(_path(scope)) if scope["type"] == "http" else None
        if name is None:
            await self._app(scope, receive, send)
        else:
            await _respond_to(self._endpoints, name, scope, send)


class GateMiddleware:
    """Answers health at once, migrates in a thread, and lets requests pass when that is done.

    Until then a browser gets the maintenance page and everyone else a JSON 503. The application's
    own lifespan is entered after the schema is right, never before. The run starts with the
    server's lifespan, or with the first request under a server that has none, so that importing
    the application for another purpose migrates nothing.

    Args:
        app: the application.
        migrator: what to run and watch.
        grace_seconds: how long the end of the server lets the current revision go on.
        on_failure: called once in the gate's thread when the run failed for good.
        options: see `Endpoints`.
    """

    def __init__(
        self,
        app: Application,
        migrator: Migrator,
        *,
        grace_seconds: float = 20.0,
        on_failure: Callable[[BaseException], None] | None = None,
        **options: Unpack[EndpointOptions],
    ) -> None:
        self._app = app
        self._gate = Gate(
            migrator,
            look=options.get("look") or partial(look_at, migrator),
            grace_seconds=grace_seconds,
            on_failure=on_failure,
        )
        self._entrance = _Entrance(self._gate)
        self._endpoints = Endpoints(migrator, gate=self._entrance, **options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer for health and the closed gate; hand the rest to the application."""
        if scope["type"] == "lifespan":
            await self._live(scope, receive, send)
            return
        name = self._endpoints.find(_path(scope)) if scope["type"] == "http" else None
        if name is not None:
            self._gate.start()
            await _respond_to(self._endpoints, name, scope, send)
        elif self._entrance.is_open:
            await self._app(scope, receive, send)
        else:
            self._gate.start()
            await _turn_away(self._endpoints, scope, receive, send)

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # lifespan.startup
        inner = _InnerLifespan(self._app, scope)
        self._entrance.hold()
        self._gate.start()
        opening = asyncio.create_task(self._open_when_right(inner))
        await send({"type": "lifespan.startup.complete"})
        await receive()  # lifespan.shutdown
        await asyncio.to_thread(self._gate.close)
        opening.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await opening
        await inner.shut_down()
        await send({"type": "lifespan.shutdown.complete"})

    async def _open_when_right(self, inner: _InnerLifespan) -> None:
        loop = asyncio.get_running_loop()
        right = asyncio.Event()
        self._gate.when_open(lambda: _call_in(loop, right.set))
        await right.wait()
        if await inner.start_up():
            self._entrance.release()
        else:
            self._entrance.fail()


class _Entrance:
    """The gate as the server's clients see it: open when the application has started too."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._held = False
        self._failed = False

    @property
    def is_open(self) -> bool:
        return self._gate.is_open and not self._held

    @property
    def given_up(self) -> bool:
        return self._failed or self._gate.given_up

    def hold(self) -> None:
        self._held = True

    def release(self) -> None:
        self._held = False

    def fail(self) -> None:
        self._failed = True


class _InnerLifespan:
    """Runs the lifespan of the application behind the gate, in a task of its own."""

    def __init__(self, app: Application, scope: Scope) -> None:
        self._app = app
        self._scope = scope
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[bool] | None = None
        self._task: asyncio.Task[None] | None = None

    async def start_up(self) -> bool:
        """Start the application; tell whether it did. One without lifespan has started."""
        self._started = asyncio.get_running_loop().create_future()
        await self._inbox.put({"type": "lifespan.startup"})
        self._task = asyncio.create_task(self._run(self._started))
        return await self._started

    async def shut_down(self) -> None:
        """Shut the application down and wait for it, if it was started and has a lifespan."""
        if self._task is None:
            return
        await self._inbox.put({"type": "lifespan.shutdown"})
        await self._task

    async def _run(self, started: asyncio.Future[bool]) -> None:
        async def send(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                _settle(started, value=True)
            elif message["type"] == "lifespan.startup.failed":
                logger.error("automigrate.application_failed %s", message.get("message", ""))
                _settle(started, value=False)

        try:
            await self._app(self._scope, self._inbox.get, send)
        except Exception:
            if started.done():
                logger.exception("automigrate.application_lifespan_failed")
            else:
                # How an application says that it knows no lifespan (ASGI specification).
                logger.debug("automigrate.application_lifespan_missing", exc_info=True)
        finally:
            _settle(started, value=True)


def _settle(future: asyncio.Future[bool], *, value: bool) -> None:
    if not future.done():
        future.set_result(value)


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
        loop.call_soon_threadsafe(callback)


def _path(scope: Scope) -> str:
    """Return the path below the mount point; servers and frameworks differ in including it."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


async def _respond_to(endpoints: Endpoints, name: str, scope: Scope, send: Send) -> None:
    method = scope["method"]
    query = scope.get("query_string", b"").decode("latin-1")
    if endpoints.blocks(name):
        answer = await asyncio.to_thread(endpoints.answer, name, method=method, query=query)
    else:
        answer = endpoints.answer(name, method=method, query=query)
    await _send(answer, method, send)


async def _turn_away(endpoints: Endpoints, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await _close_websocket(scope, receive, send)
        return
    accept = next((v for k, v in scope["headers"] if k.lower() == b"accept"), b"")
    method = scope["method"]
    await _send(endpoints.turned_away(method=method, accept=accept.decode("latin-1")), method, send)


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await _close_websocket(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _close_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "websocket":
        return
    await receive()  # websocket.connect; a close before it is accepted becomes an HTTP 403
    await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "not ready"})


async def _send(answer: Answer, method: str, send: Send) -> None:
    headers = [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in answer.headers]
    await send({"type": "http.response.start", "status": answer.status.value, "headers": headers})
    await send({"type": "http.response.body", "body": answer.shown(method)})


async def _lifespan_without_work(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
