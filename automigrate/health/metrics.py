"""Prometheus metrics of runs and readiness; needs the extra `metrics`.

State is read from the tracker when Prometheus scrapes, counts come from events. All are listed,
with what they mean, in docs/health.md.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from automigrate.errors import ConfigurationError
from automigrate.events import (
    ConnectionRetried,
    LockTaken,
    Phase,
    RevisionApplied,
    RevisionRetried,
    RunFailed,
    RunFinished,
)
from automigrate.health.readiness import Source, readiness_of
from automigrate.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from automigrate.events import Event

__all__ = ["Metrics", "metrics_if_installed"]

_SECONDS = (0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0)


class Metrics:
    """Metrics of one migrator.

    Args:
        migrator: whose runs and readiness it is about.
        registry: where they are registered; a registry of their own when not given. Pass
            `prometheus_client.REGISTRY` to have them among the application's own.
        wall_clock: seconds since 1970.

    Raises:
        ConfigurationError: when prometheus-client is not installed.
    """

    content_type: str

    def __init__(
        self,
        migrator: Source,
        *,
        registry: CollectorRegistry | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError as error:
            raise ConfigurationError(
                "metrics need prometheus-client: install `automigrate[metrics]`."
            ) from error
        self.content_type = prometheus.CONTENT_TYPE_LATEST
        self._generate = prometheus.generate_latest
        self._registry = prometheus.CollectorRegistry() if registry is None else registry
        self._tracker = readiness_of(migrator)
        self._wall_clock = wall_clock
        self._runs = prometheus.Counter(
            "automigrate_runs",
            "Runs that ended, by outcome; a failed run's is the class of its error.",
            ["outcome"],
            registry=self._registry,
        )
        self._run_seconds = prometheus.Histogram(
            "automigrate_run_duration_seconds",
            "Duration of runs that ended well.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._revision_seconds = prometheus.Histogram(
            "automigrate_revision_duration_seconds",
            "Duration of the successful attempt of each revision.",
            ["direction"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._revision_retries = prometheus.Counter(
            "automigrate_revision_retries",
            "Attempts of revisions that were rolled back and run again, by SQLSTATE.",
            ["sqlstate"],
            registry=self._registry,
        )
        self._connection_retries = prometheus.Counter(
            "automigrate_connection_retries",
            "Connections that were tried in vain.",
            registry=self._registry,
        )
        self._lock_wait_seconds = prometheus.Histogram(
            "automigrate_lock_wait_seconds",
            "Time spent waiting for the migration lock.",
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._last_success = prometheus.Gauge(
            "automigrate_last_success_timestamp_seconds",
            "When a run of this process last ended well, in seconds since 1970.",
            registry=self._registry,
        )
        self._registry.register(_State(self._state))
        migrator.add_listener(self.listen)

    def listen(self, event: Event) -> None:
        """Count an event of a run."""
        match event:
            case RevisionApplied(direction=direction, seconds=seconds):
                self._revision_seconds.labels(direction).observe(seconds)
            case RevisionRetried(sqlstate=sqlstate):
                self._revision_retries.labels(sqlstate).inc()
            case ConnectionRetried():
                self._connection_retries.inc()
            case LockTaken(waited_seconds=seconds):
                self._lock_wait_seconds.observe(seconds)
            case RunFinished(report=report):
                self._runs.labels(report.outcome.value).inc()
                self._run_seconds.observe(report.seconds)
                self._last_success.set(self._wall_clock())
            case RunFailed(error=error):
                self._runs.labels(type(error).__name__).inc()
            case _:
                pass

    def render(self) -> bytes:
        """Return all metrics of the registry in Prometheus' text format."""
        return self._generate(self._registry)

    def _state(self) -> Iterator[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        readiness, now = self._tracker.readiness, self._tracker.now()
        yield GaugeMetricFamily(
            "automigrate_ready", "1 when the schema is right now.", value=float(readiness.ready)
        )
        phases = GaugeMetricFamily(
            "automigrate_phase", "1 for the current phase.", labels=["phase"]
        )
        for phase in Phase:
            phases.add_metric([phase.value], float(readiness.phase is phase))
        yield phases
        verdicts = GaugeMetricFamily(
            "automigrate_verdict", "1 for the verdict of the last look.", labels=["verdict"]
        )
        for verdict in Verdict:
            verdicts.add_metric([verdict.value], float(readiness.verdict is verdict))
        yield verdicts
        yield GaugeMetricFamily(
            "automigrate_revisions_pending",
            "Revisions that are still to be applied in this run.",
            value=float(readiness.total - readiness.done),
        )
        yield GaugeMetricFamily(
            "automigrate_revision_running_seconds",
            "For how long the current revision has been running; 0 when none is.",
            value=readiness.revision_seconds(now),
        )
        yield GaugeMetricFamily(
            "automigrate_blockers",
            "Sessions that the current revision waits for.",
            value=float(len(readiness.blockers)),
        )


class _State:
    """A collector, as prometheus-client wants it."""

    def __init__(self, collect: Callable[[], Iterator[Metric]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[Metric]:
        return self._collect()


def metrics_if_installed(migrator: Source) -> Metrics | None:
    """Return metrics in a registry of their own, or `None` without prometheus-client."""
    try:
        return Metrics(migrator)
    except ConfigurationError:
        return None
