"""What the health endpoints and the closed gate answer, apart from any protocol.

    /livez      the process is alive; 503 only when its run failed for good and a restart is the
                one way to try again
    /startupz   the schema has been right at least once
    /readyz     the schema is right now, and the gate is open
    /metrics    Prometheus metrics, where they were asked for

ASGI, WSGI and the stdlib server translate a request to a call of `Endpoints` and its `Answer`
back. Kubernetes' conventions: 200 or 503, `?verbose` tells every check.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol, TypedDict
from urllib.parse import parse_qs

from automigrate.events import Phase
from automigrate.health.accepting import Form, preferred
from automigrate.health.body import described, summarised
from automigrate.health.live import LiveCheck, OnFailedLook
from automigrate.health.looking import Seen, look_at
from automigrate.health.page import MaintenancePage, content_security_policy
from automigrate.health.readiness import readiness_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from automigrate.health.body import Json
    from automigrate.migrator import Migrator

__all__ = ["Answer", "EndpointOptions", "Endpoints", "GateView", "Headers"]

Headers = tuple[tuple[str, str], ...]
NAMES = ("livez", "readyz", "startupz", "metrics")
_NEVER_CACHED: Headers = (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"))


class GateView(Protocol):
    """What the endpoints ask a gate."""

    @property
    def is_open(self) -> bool:
        """Whether requests may pass."""

    @property
    def given_up(self) -> bool:
        """Whether only a restart or another hand can mend it."""


class MetricsText(Protocol):
    """What `/metrics` shows: `automigrate.health.metrics.Metrics`."""

    content_type: str

    def render(self) -> bytes:
        """Return all metrics as text."""


class EndpointOptions(TypedDict, total=False):
    """What can be set for the endpoints; the same for every protocol."""

    look: Callable[[], Seen] | None
    prefix: str
    live_every: float
    live_timeout: float
    on_failed_look: OnFailedLook | str
    retry_after_seconds: int
    metrics: MetricsText | None
    page: MaintenancePage


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP response."""

    status: HTTPStatus
    headers: Headers
    body: bytes

    def shown(self, method: str) -> bytes:
        """Return the body that goes out: none for HEAD, whose headers are those of GET."""
        return b"" if method == "HEAD" else self.body


class Endpoints:
    """Answers for one migrator.

    Args:
        migrator: whose schema and runs it is about.
        gate: the gate in front of the application, where there is one.
        look: how to look at the database; `look_at` the migrator's when not given.
        prefix: comes before the names: `/health` makes `/health/readyz`.
        live_every: seconds that a live look at the database is good for.
        live_timeout: seconds that an answer waits for a live look at most.
        on_failed_look: whether a database that cannot be looked at makes the process unready.
        retry_after_seconds: what a 503 says in `Retry-After`.
        metrics: what `/metrics` shows; without it there is no `/metrics`.
        page: the words of the maintenance page.
    """

    def __init__(
        self,
        migrator: Migrator,
        *,
        gate: GateView | None = None,
        look: Callable[[], Seen] | None = None,
        prefix: str = "",
        live_every: float = 10.0,
        live_timeout: float = 0.8,
        on_failed_look: OnFailedLook | str = OnFailedLook.KEEP,
        retry_after_seconds: int = 2,
        metrics: MetricsText | None = None,
        page: MaintenancePage | None = None,
    ) -> None:
        self.tracker = readiness_of(migrator)
        self.live = LiveCheck(
            look or partial(look_at, migrator),
            self.tracker,
            every=live_every,
            timeout=live_timeout,
            on_failed_look=OnFailedLook(on_failed_look),
        )
        self._gate = gate
        self._metrics = metrics
        self._page = page or MaintenancePage()
        self._retry_after = str(retry_after_seconds)
        names = [name for name in NAMES if name != "metrics" or metrics is not None]
        self._paths = {f"{prefix.rstrip('/')}/{name}": name for name in names}

    def find(self, path: str) -> str | None:
        """Return the name of the endpoint at `path`, if there is one."""
        return self._paths.get(path)

    def find_mounted(self, path: str) -> str | None:
        """Return the name of the endpoint by the last part of `path`, wherever it is mounted."""
        return self._paths.get(f"/{path.rstrip('/').rpartition('/')[2]}")

    def blocks(self, name: str) -> bool:
        """Tell whether `answer` would wait for a look at the database."""
        return name in {"readyz", "startupz"} and not self._closed and self.live.is_due

    def answer(self, name: str, *, method: str = "GET", query: str = "") -> Answer:
        """Answer a request for an endpoint; waits for a live look for `live_timeout` at most."""
        if method not in {"GET", "HEAD"}:
            return _json(
                HTTPStatus.METHOD_NOT_ALLOWED, {"status": "failed"}, ("Allow", "GET, HEAD")
            )
        if name == "metrics" and self._metrics is not None:
            kind = ("Content-Type", self._metrics.content_type)
            return _answer(HTTPStatus.OK, self._metrics.render(), kind)
        if self.blocks(name):
            self.live.refresh()
        checks = self._checks(name)
        good = all(checks.values())
        readiness, now = self.tracker.readiness, self.tracker.now()
        verbose = "verbose" in parse_qs(query, keep_blank_values=True)
        body: Json = {
            "status": "ok" if good else "unavailable",
            **(described(readiness, now, checks) if verbose else summarised(readiness, now)),
        }
        if good:
            return _json(HTTPStatus.OK, body)
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, body, ("Retry-After", self._retry_after))

    def turned_away(self, *, method: str = "GET", accept: str = "") -> Answer:
        """Answer a request for the application while the gate is closed."""
        readiness, now = self.tracker.readiness, self.tracker.now()
        view = self._page.view(readiness, now, failed=self._given_up)
        headers: Headers = (("Retry-After", self._retry_after), ("Automigrate-Gate", "closed"))
        status = HTTPStatus.SERVICE_UNAVAILABLE
        match preferred(accept):
            case Form.PAGE:
                kind = ("Content-Type", "text/html; charset=utf-8")
                policy = ("Content-Security-Policy", content_security_policy())
                document = self._page.render(view, follow=method in {"GET", "HEAD"})
                return _answer(status, document, kind, policy, *headers)
            case Form.PAGE_VIEW:
                return _json(status, asdict(view), *headers)
            case Form.PROBLEM:
                problem: Json = {
                    "type": "about:blank",
                    "title": status.phrase,
                    "status": status.value,
                    "detail": "The database schema is being brought up to date; try again soon.",
                    **summarised(readiness, now),
                }
                kind = ("Content-Type", "application/problem+json")
                return _answer(status, _encoded(problem), kind, *headers)

    @property
    def _closed(self) -> bool:
        return self._gate is not None and not self._gate.is_open

    @property
    def _given_up(self) -> bool:
        if self._gate is not None:
            return self._gate.given_up
        return self.tracker.readiness.phase is Phase.FAILED

    def _checks(self, name: str) -> dict[str, bool]:
        readiness = self.tracker.readiness
        gate = {} if self._gate is None else {"gate": self._gate.is_open}
        match name:
            case "livez":
                return {"process": True, "run": not self._given_up}
            case "startupz":
                return {"schema": readiness.started, **gate}
            case _:
                return {"schema": readiness.ready, **gate}


def _json(status: HTTPStatus, body: Json, *headers: tuple[str, str]) -> Answer:
    return _answer(status, _encoded(body), ("Content-Type", "application/json"), *headers)


def _encoded(body: Json) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode() + b"\n"


def _answer(status: HTTPStatus, body: bytes, *headers: tuple[str, str]) -> Answer:
    length = ("Content-Length", str(len(body)))
    return Answer(status=status, headers=(*headers, length, *_NEVER_CACHED), body=body)
