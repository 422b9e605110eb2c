from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from automigrate.errors import LockTimeoutError
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    Phase,
    PhaseEntered,
    RevisionRetried,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.health.metrics import Metrics
from automigrate.verdict import Blocker
from tests.unit.health_support import PENDING, REPORT, FakeMigrator, applied, started

RETRIED = RevisionRetried(
    revision="b2", reason="lock", sqlstate="55P03", attempt=1, wait_seconds=0.5
)


def sample(metrics: Metrics, name: str, **labels: str) -> float:
    """Return one sample of what a scrape gives."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    pytest.fail(f"no sample {name} {labels}")


def test_a_run_is_counted_with_its_outcome_and_times() -> None:
    """Runs, revisions, retries, lock wait and last success come from events."""
    migrator = FakeMigrator()
    metrics = Metrics(migrator, wall_clock=lambda: 1_700_000_000.0)
    migrator.tell(
        PhaseEntered(phase=Phase.STARTING),
        ConnectionRetried(reason="x", attempt=1, wait_seconds=1.0),
        LockTaken(waited_seconds=3.0),
        started("b2", 1, 1),
        RETRIED,
        applied("b2", 1, 1),
        RunFinished(report=REPORT),
    )
    assert sample(metrics, "automigrate_runs_total", outcome="migrated") == 1
    assert sample(metrics, "automigrate_run_duration_seconds_sum") == 2.0
    assert sample(metrics, "automigrate_revision_duration_seconds_count", direction="upgrade") == 1
    assert sample(metrics, "automigrate_revision_retries_total", sqlstate="55P03") == 1
    assert sample(metrics, "automigrate_connection_retries_total") == 1
    assert sample(metrics, "automigrate_lock_wait_seconds_sum") == 3.0
    assert sample(metrics, "automigrate_last_success_timestamp_seconds") == 1_700_000_000.0


def test_a_failed_run_is_counted_by_the_class_of_its_error() -> None:
    """The outcome of a failure is its class."""
    migrator = FakeMigrator()
    metrics = Metrics(migrator)
    migrator.tell(RunFailed(error=LockTimeoutError(holder=None, waited_seconds=1.0)))
    assert sample(metrics, "automigrate_runs_total", outcome="LockTimeoutError") == 1
    assert sample(metrics, "automigrate_ready") == 0


def test_the_state_is_that_of_the_moment_of_the_scrape() -> None:
    """Phase, verdict, pending and blockers follow the readiness."""
    migrator = FakeMigrator()
    metrics = Metrics(migrator)
    migrator.tell(
        PhaseEntered(phase=Phase.MIGRATING),
        SchemaJudged(status=PENDING),
        started("b2", 1, 1),
        BlockersSeen(revision="b2", blockers=(Blocker(pid=1),), waited_seconds=0.1),
    )
    assert sample(metrics, "automigrate_phase", phase="migrating") == 1
    assert sample(metrics, "automigrate_phase", phase="ready") == 0
    assert sample(metrics, "automigrate_verdict", verdict="behind") == 1
    assert sample(metrics, "automigrate_revisions_pending") == 1
    assert sample(metrics, "automigrate_blockers") == 1
    assert sample(metrics, "automigrate_revision_running_seconds") >= 0
    migrator.tell(applied("b2", 1, 1), RunFinished(report=REPORT))
    assert sample(metrics, "automigrate_ready") == 1
    assert sample(metrics, "automigrate_revisions_pending") == 0
    assert sample(metrics, "automigrate_verdict", verdict="current") == 1


def test_metrics_go_into_the_registry_that_is_given() -> None:
    """An application has them among its own."""
    registry = CollectorRegistry()
    Metrics(FakeMigrator(), registry=registry)
    assert registry.get_sample_value("automigrate_ready") == 0.0
