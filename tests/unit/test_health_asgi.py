from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from automigrate.errors import PermissionDeniedError
from automigrate.events import Phase, PhaseEntered, RunFailed, RunFinished
from automigrate.health.asgi import GateMiddleware, HealthApp, HealthMiddleware, lifespan
from tests.unit.health_support import BEHIND, REPORT, FakeMigrator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from automigrate.health.asgi import Application, Message, Receive, Scope, Send

HTML = (b"accept", b"text/html")


def scope_of(path: str, *headers: tuple[bytes, bytes], **more: Any) -> dict[str, Any]:
    """Return the scope of a GET request."""
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"",
        "headers": list(headers),
        **more,
    }


async def ask(app: Application, scope: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    """Send one request through an application; return status, headers and body."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    body = b"".join(m["body"] for m in sent if m["type"] == "http.response.body")
    return sent[0]["status"], headers, body


class Behind:
    """An application that notes what reaches it."""

    def __init__(self, *, fails: bool = False, knows_lifespan: bool = True) -> None:
        self.reached: list[str] = []
        self.fails = fails
        self.knows_lifespan = knows_lifespan

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 to everything."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        self.reached.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"app"})

    async def _live(self, receive: Receive, send: Send) -> None:
        if not self.knows_lifespan:
            raise NotImplementedError
        self.reached.append((await receive())["type"])
        if self.fails:
            await send({"type": "lifespan.startup.failed", "message": "no cache"})
            return
        await send({"type": "lifespan.startup.complete"})
        self.reached.append((await receive())["type"])
        await send({"type": "lifespan.shutdown.complete"})


@contextlib.asynccontextmanager
async def served(app: Application) -> AsyncIterator[list[str]]:
    """Run an application's lifespan as a server does; gives what it has sent."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    sent: list[str] = []
    answered = asyncio.Event()

    async def send(message: Message) -> None:
        sent.append(message["type"])
        answered.set()

    task = asyncio.create_task(asyncio.wait_for(app({"type": "lifespan"}, inbox.get, send), 10.0))
    await inbox.put({"type": "lifespan.startup"})
    await asyncio.wait_for(answered.wait(), 5.0)
    try:
        yield sent
    finally:
        await inbox.put({"type": "lifespan.shutdown"})
        await task


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds, for 5 s at most."""
    async with asyncio.timeout(5.0):
        while not await condition():  # noqa: ASYNC110 -- the condition is a request
            await asyncio.sleep(0.01)


def test_the_gate_lets_nothing_through_until_the_schema_is_right() -> None:
    """The server starts at once; requests and the application's startup wait for the schema."""

    async def story() -> None:
        migrator, behind = FakeMigrator(), Behind()
        migrator.on_upgrade = lambda: migrator.released.wait(10.0)
        app = GateMiddleware(behind, migrator)
        async with served(app) as sent:
            assert sent == ["lifespan.startup.complete"]
            assert (await ask(app, scope_of("/")))[0] == 503
            assert (await ask(app, scope_of("/livez")))[0] == 200
            assert (await ask(app, scope_of("/readyz")))[0] == 503
            assert behind.reached == []
            migrator.released.set()

            async def ready() -> bool:
                return (await ask(app, scope_of("/readyz")))[0] == 200

            await until(ready)
            assert behind.reached == ["lifespan.startup"]
            assert (await ask(app, scope_of("/")))[2] == b"app"
        assert behind.reached == ["lifespan.startup", "/", "lifespan.shutdown"]
        assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]

    asyncio.run(story())


def test_an_application_without_lifespan_is_served_as_well() -> None:
    """Raising on the lifespan scope is how an application says that it knows none."""

    async def story() -> None:
        app = GateMiddleware(Behind(knows_lifespan=False), FakeMigrator())
        async with served(app):

            async def ready() -> bool:
                return (await ask(app, scope_of("/readyz")))[0] == 200

            await until(ready)

    asyncio.run(story())


def test_an_application_that_fails_to_start_keeps_the_gate_closed() -> None:
    """Not alive, not ready: the orchestrator restarts it, as without a gate."""

    async def story() -> None:
        app = GateMiddleware(Behind(fails=True), FakeMigrator())
        async with served(app):

            async def dead() -> bool:
                return (await ask(app, scope_of("/livez")))[0] == 503

            await until(dead)
            assert (await ask(app, scope_of("/readyz")))[0] == 503
            assert (await ask(app, scope_of("/")))[0] == 503

    asyncio.run(story())


def test_a_server_without_lifespan_starts_the_gate_with_the_first_request() -> None:
    """Creating the middleware runs nothing; the first probe does."""

    async def story() -> None:
        migrator = FakeMigrator()
        app = GateMiddleware(Behind(), migrator)
        assert migrator.runs == 0

        async def ready() -> bool:
            return (await ask(app, scope_of("/readyz")))[0] == 200

        await until(ready)
        assert (await ask(app, scope_of("/")))[0] == 200
        assert migrator.runs == 1

    asyncio.run(story())


def test_the_end_of_the_server_stops_the_run() -> None:
    """A shutdown in the middle of a migration asks it to stop and waits for it."""

    async def story() -> None:
        migrator, behind = FakeMigrator(), Behind()
        migrator.on_upgrade = lambda: migrator.released.wait(10.0)
        async with served(GateMiddleware(behind, migrator)):
            pass
        assert migrator.stopped
        assert not migrator.aborted

    asyncio.run(story())


def test_a_browser_gets_the_page_and_a_program_gets_json() -> None:
    """The closed gate answers in the form that the client accepts."""

    async def story() -> None:
        migrator = FakeMigrator()
        migrator.on_upgrade = lambda: migrator.released.wait(10.0)
        app = GateMiddleware(Behind(), migrator)
        status, headers, page = await ask(app, scope_of("/", HTML))
        assert (status, headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert page.startswith(b"<!doctype html>")
        status, headers, problem = await ask(app, scope_of("/"))
        assert (status, headers["content-type"]) == (503, "application/problem+json")
        assert json.loads(problem)["status"] == 503
        migrator.released.set()

    asyncio.run(story())


def test_a_websocket_is_refused_while_the_gate_is_closed() -> None:
    """A WebSocket is closed before it is accepted, saying: try again later."""

    async def story() -> None:
        migrator = FakeMigrator()
        migrator.on_upgrade = lambda: migrator.released.wait(10.0)
        app = GateMiddleware(Behind(), migrator)
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "websocket.connect"}

        async def send(message: Message) -> None:
            sent.append(message)

        await app({"type": "websocket", "path": "/"}, receive, send)
        assert [(m["type"], m["code"]) for m in sent] == [("websocket.close", 1013)]
        migrator.released.set()

    asyncio.run(story())


def test_health_is_found_below_a_root_path() -> None:
    """Servers that put the mount point into the path are understood, and those that do not."""

    async def story() -> None:
        app = HealthMiddleware(Behind(), FakeMigrator())
        for path in ("/api/livez", "/livez"):
            _, _, body = await ask(app, scope_of(path, root_path="/api"))
            assert json.loads(body)["status"] == "ok"

    asyncio.run(story())


def test_the_middleware_passes_everything_else_untouched() -> None:
    """Only its own names are taken from the application."""

    async def story() -> None:
        behind = Behind()
        app = HealthMiddleware(behind, FakeMigrator(), prefix="/health")
        assert (await ask(app, scope_of("/readyz")))[2] == b"app"
        assert json.loads((await ask(app, scope_of("/health/livez")))[2])["status"] == "ok"
        assert behind.reached == ["/readyz"]

    asyncio.run(story())


def test_the_mounted_application_answers_wherever_it_is_mounted() -> None:
    """The last part of the path is the name; anything else is not found; metrics are there."""

    async def story() -> None:
        migrator = FakeMigrator()
        app = HealthApp(migrator, look=migrator.look)
        assert (await ask(app, scope_of("/internal/health/readyz")))[0] == 200
        assert (await ask(app, scope_of("/internal/health/other")))[0] == 404
        assert b"automigrate_ready 1.0" in (await ask(app, scope_of("/health/metrics")))[2]

    asyncio.run(story())


def test_a_live_look_does_not_block_the_event_loop() -> None:
    """While a probe waits for the database, other requests are answered."""

    async def story() -> None:
        migrator = FakeMigrator(BEHIND)
        migrator.tell(PhaseEntered(phase=Phase.STARTING), RunFinished(report=REPORT))
        migrator.on_look = lambda: migrator.released.wait(10.0)
        app = HealthMiddleware(Behind(), migrator, look=migrator.look, live_timeout=5.0)
        probe = asyncio.create_task(ask(app, scope_of("/readyz")))
        assert (await ask(app, scope_of("/")))[2] == b"app"
        assert not probe.done()
        migrator.released.set()
        assert (await probe)[0] == 503

    asyncio.run(story())


def test_the_lifespan_form_upgrades_before_the_applications_own_lifespan() -> None:
    """The schema is right when the application's lifespan is entered; its state is passed on."""

    async def story() -> None:
        migrator = FakeMigrator()
        order: list[str] = []
        migrator.on_upgrade = lambda: order.append("upgrade")

        @contextlib.asynccontextmanager
        async def own(app: object) -> AsyncIterator[dict[str, int]]:
            order.append("startup")
            yield {"pool": 1}
            order.append("shutdown")

        async with lifespan(migrator, own)(None) as state:
            assert state == {"pool": 1}
        async with lifespan(migrator)(None) as state:
            assert state is None
        assert order == ["upgrade", "startup", "shutdown", "upgrade"]

    asyncio.run(story())


def test_the_lifespan_form_fails_when_the_upgrade_fails() -> None:
    """The server's startup fails with the error of the upgrade."""

    async def story() -> None:
        migrator = FakeMigrator()
        error = PermissionDeniedError(reason="no")

        def fail() -> None:
            migrator.tell(RunFailed(error=error))
            raise error

        migrator.on_upgrade = fail
        with pytest.raises(PermissionDeniedError):
            async with lifespan(migrator)(None):
                pass

    asyncio.run(story())
