from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from automigrate.errors import UpgradeError
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    LockTaken,
    LockWaited,
    Phase,
    PhaseEntered,
    RevisionRecovered,
    RevisionRetried,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.health.tracing import Tracing
from automigrate.verdict import Blocker, Holder
from tests.unit.health_support import PENDING, REPORT, FakeMigrator, applied, started


@pytest.fixture
def migrator() -> FakeMigrator:
    """A migrator that tells what the test says."""
    return FakeMigrator()


@pytest.fixture
def spans(migrator: FakeMigrator) -> InMemorySpanExporter:
    """The finished spans of the migrator."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    Tracing(migrator, tracer_provider=provider)
    return exporter


def by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    """Return the finished spans by their names."""
    return {span.name: span for span in spans.get_finished_spans()}


def test_a_run_is_a_span_with_a_span_for_each_revision_in_it(
    migrator: FakeMigrator, spans: InMemorySpanExporter
) -> None:
    """Spans nest as the work does, and carry revision, position and outcome."""
    migrator.tell(
        PhaseEntered(phase=Phase.STARTING),
        SchemaJudged(status=PENDING),
        LockWaited(holder=Holder(pid=7), waited_seconds=0.0),
        LockTaken(waited_seconds=1.0),
        started("b2", 1, 1),
        applied("b2", 1, 1),
        RunFinished(report=REPORT),
    )
    found = by_name(spans)
    run, revision = found["automigrate.run"], found["automigrate.upgrade"]
    assert revision.parent is not None
    assert run.context is not None
    assert revision.parent.span_id == run.context.span_id
    assert revision.attributes is not None
    assert revision.attributes["automigrate.revision"] == "b2"
    assert run.attributes is not None
    assert run.attributes["automigrate.outcome"] == "migrated"
    assert [event.name for event in run.events] == [
        "phase",
        "schema judged",
        "lock waited",
        "lock taken",
    ]


def test_attempts_and_blockers_are_events_of_the_revisions_span(
    migrator: FakeMigrator, spans: InMemorySpanExporter
) -> None:
    """A retried revision is one span."""
    migrator.tell(
        PhaseEntered(phase=Phase.MIGRATING),
        RevisionRecovered(revision="a1", action="put right"),
        started("b2", 1, 1),
        BlockersSeen(revision="b2", blockers=(Blocker(pid=9),), waited_seconds=1.0),
        RevisionRetried(revision="b2", reason="", sqlstate="55P03", attempt=1, wait_seconds=0.1),
        ConnectionRetried(reason="", attempt=1, wait_seconds=0.1),
        started("b2", 1, 1, attempt=2),
        applied("b2", 1, 1),
        RunFinished(report=REPORT),
    )
    revision = by_name(spans)["automigrate.upgrade"]
    assert [event.name for event in revision.events] == [
        "blockers seen",
        "revision retried",
        "connection retried",
        "attempt",
    ]
    assert len(spans.get_finished_spans()) == 2


def test_a_failure_marks_both_spans_and_tells_no_sql(
    migrator: FakeMigrator, spans: InMemorySpanExporter
) -> None:
    """The status is an error with the class of the error, not its text."""
    error = UpgradeError(
        applied=(), failed="b2", pending=(), rolled_back=True, reason="[SQL: secret]"
    )
    migrator.tell(PhaseEntered(phase=Phase.MIGRATING), started("b2", 1, 1), RunFailed(error=error))
    for span in spans.get_finished_spans():
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "UpgradeError"
        assert "secret" not in span.to_json()
    assert len(spans.get_finished_spans()) == 2


def test_what_happens_outside_of_a_run_is_no_span(
    migrator: FakeMigrator, spans: InMemorySpanExporter
) -> None:
    """Only a phase begins a run."""
    migrator.tell(SchemaJudged(status=PENDING), RunFinished(report=REPORT))
    assert spans.get_finished_spans() == ()
