"""OpenTelemetry spans: one per run, and in it one per revision; needs the extra `otel`.

Retries, waits and blockers are events on the span they concern. No SQL and no error text is put
into a span, only the class of an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    LockWaited,
    PhaseEntered,
    RevisionApplied,
    RevisionRecovered,
    RevisionRetried,
    RevisionStarted,
    RunFailed,
    RunFinished,
    SchemaJudged,
)

if TYPE_CHECKING:
    from opentelemetry.trace import Span, TracerProvider

    from automigrate.events import Event
    from automigrate.health.readiness import Source

__all__ = ["Tracing"]

Value = str | int | float


class Tracing:
    """Turns the events of a migrator's runs into spans.

    Args:
        migrator: whose runs are traced.
        tracer_provider: where spans go; the process' global provider when not given.

    Raises:
        ConfigurationError: when opentelemetry-api is not installed.
    """

    def __init__(self, migrator: Source, *, tracer_provider: TracerProvider | None = None) -> None:
        try:
            from opentelemetry import trace
        except ImportError as error:
            raise ConfigurationError(
                "traces need opentelemetry-api: install `automigrate[otel]`."
            ) from error
        self._trace = trace
        self._tracer = trace.get_tracer("automigrate", tracer_provider=tracer_provider)
        self._run: Span | None = None
        self._revision: Span | None = None
        self._revision_name = ""
        migrator.add_listener(self.listen)

    def listen(self, event: Event) -> None:
        """Begin, extend or end a span."""
        if self._run is None:
            if not isinstance(event, PhaseEntered):
                return
            self._run = self._tracer.start_span(
                "automigrate.run", attributes={"db.system.name": "postgresql"}
            )
        match event:
            case RevisionStarted():
                self._begin_revision(self._run, event)
            case RevisionApplied(attempt=attempt):
                self._end_revision(**{"automigrate.attempts": attempt})
            case RunFinished(report=report):
                self._run.set_attribute("automigrate.outcome", report.outcome.value)
                self._run.set_attribute("automigrate.applied", len(report.applied))
                self._end_run()
            case RunFailed(error=error):
                self._fail(type(error).__name__)
            case _:
                self._add_event(self._run, event)

    def _begin_revision(self, run: Span, event: RevisionStarted) -> None:
        if self._revision is not None and self._revision_name == event.revision:
            self._revision.add_event("attempt", {"attempt": event.attempt})
            return
        self._end_revision()
        self._revision_name = event.revision
        self._revision = self._tracer.start_span(
            f"automigrate.{event.direction}",
            context=self._trace.set_span_in_context(run),
            attributes={
                "automigrate.revision": event.revision,
                "automigrate.position": event.position,
                "automigrate.total": event.total,
                "automigrate.direction": event.direction,
            },
        )

    def _end_revision(self, **attributes: Value) -> None:
        if self._revision is not None:
            self._revision.set_attributes(attributes)
            self._revision.end()
            self._revision = None

    def _end_run(self) -> None:
        self._end_revision()
        if self._run is not None:
            self._run.end()
            self._run = None

    def _fail(self, error_type: str) -> None:
        status = self._trace.Status(self._trace.StatusCode.ERROR, error_type)
        for span in (self._revision, self._run):
            if span is not None:
                span.set_attribute("error.type", error_type)
                span.set_status(status)
        self._end_run()

    def _add_event(self, run: Span, event: Event) -> None:
        span = self._revision or run
        match event:
            case PhaseEntered(phase=phase):
                run.add_event("phase", {"phase": phase.value})
            case SchemaJudged(status=status):
                judged = {"verdict": status.verdict.value, "pending": len(status.pending)}
                run.add_event("schema judged", judged)
            case ConnectionRetried(attempt=attempt, wait_seconds=wait):
                span.add_event("connection retried", {"attempt": attempt, "wait_seconds": wait})
            case LockWaited(holder=holder, waited_seconds=waited):
                pid = 0 if holder is None else holder.pid
                run.add_event("lock waited", {"holder.pid": pid, "waited_seconds": waited})
            case LockTaken(waited_seconds=waited):
                run.add_event("lock taken", {"waited_seconds": waited})
            case RevisionRetried(sqlstate=sqlstate, attempt=attempt, wait_seconds=wait):
                span.add_event(
                    "revision retried",
                    {"sqlstate": sqlstate, "attempt": attempt, "wait_seconds": wait},
                )
            case BlockersSeen(blockers=blockers):
                pids = [blocker.pid for blocker in blockers]
                span.add_event("blockers seen", {"blocker.pids": pids})
            case RevisionRecovered(revision=revision):
                run.add_event("revision recovered", {"revision": revision})
            case _:
                pass
