"""Events as log entries."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
import structlog

from automigrate import logs
from automigrate.errors import PendingError
from automigrate.events import (
    BlockersSeen,
    ConnectionRetried,
    Event,
    LockTaken,
    LockWaited,
    Phase,
    PhaseEntered,
    ProgressSeen,
    RevisionApplied,
    RevisionRecovered,
    RevisionRetried,
    RevisionStarted,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.verdict import Blocker, Holder, Outcome, Status, UpgradeReport, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = Holder(pid=7, application_name="web-1")
BLOCKER = Blocker(pid=8, application_name="report", state="active")


def _status(verdict: Verdict) -> Status:
    return Status(verdict=verdict, current=("a",), wanted=("b", "c"), pending=("b", "c"))


def _report(outcome: Outcome) -> UpgradeReport:
    return UpgradeReport(outcome=outcome, verdict=Verdict.BEHIND, heads=("b",), seconds=1.23456)


APPLIED = RevisionApplied(
    revision="b", message="add users", position=1, total=2, seconds=0.5, attempt=1
)
EVENTS: list[tuple[Event, str, int]] = [
    (PhaseEntered(phase=Phase.STARTING), "phase_entered", logging.DEBUG),
    (PhaseEntered(phase=Phase.CONNECTING), "phase_entered", logging.DEBUG),
    (PhaseEntered(phase=Phase.MIGRATING), "phase_entered", logging.INFO),
    (PhaseEntered(phase=Phase.STOPPING), "phase_entered", logging.INFO),
    (SchemaJudged(status=_status(Verdict.CURRENT)), "schema_judged", logging.DEBUG),
    (SchemaJudged(status=_status(Verdict.BEHIND)), "schema_judged", logging.INFO),
    (SchemaJudged(status=_status(Verdict.AHEAD)), "schema_judged", logging.WARNING),
    (
        ConnectionRetried(reason="refused", attempt=2, wait_seconds=0.5),
        "connection_retried",
        logging.WARNING,
    ),
    (LockWaited(holder=HOLDER, waited_seconds=0.1), "lock_waited", logging.INFO),
    (LockWaited(holder=None, waited_seconds=0.1), "lock_waited", logging.INFO),
    (LockTaken(waited_seconds=0.1), "lock_taken", logging.INFO),
    (
        RevisionStarted(revision="b", message="add users", position=1, total=2, attempt=1),
        "revision_started",
        logging.DEBUG,
    ),
    (
        RevisionRetried(
            revision="b",
            reason="lock timeout",
            sqlstate="55P03",
            attempt=1,
            wait_seconds=1,
            blockers=(BLOCKER,),
        ),
        "revision_retried",
        logging.WARNING,
    ),
    (
        BlockersSeen(revision="b", blockers=(BLOCKER, BLOCKER), waited_seconds=2),
        "blockers_seen",
        logging.WARNING,
    ),
    (
        BlockersSeen(revision="b", blockers=(BLOCKER,), waited_seconds=2, repeated=True),
        "blockers_seen",
        logging.DEBUG,
    ),
    (
        ProgressSeen(revision="b", phase="building index", percent=12.5),
        "progress_seen",
        logging.DEBUG,
    ),
    (APPLIED, "revision_applied", logging.INFO),
    (
        RevisionRecovered(revision="b", action="dropped an index"),
        "revision_recovered",
        logging.WARNING,
    ),
    (RunFinished(report=_report(Outcome.UNCHANGED)), "run_finished", logging.DEBUG),
    (RunFinished(report=_report(Outcome.MIGRATED)), "run_finished", logging.INFO),
    (RunFailed(error=PendingError(current=["a"], wanted=["b"])), "run_failed", logging.ERROR),
    (RunFailed(error=ValueError("x")), "run_failed", logging.ERROR),
]


@pytest.fixture(autouse=True)
def as_found(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Leave structlog and the place of the log as they were."""
    monkeypatch.setattr(logs, "_sink", logs._application_sink)
    yield
    structlog.reset_defaults()


def test_every_event_is_in_the_catalogue() -> None:
    """No event can be forgotten in the log."""
    assert set(logs.CATALOGUE) == set(get_args(Event))
    assert {type(event) for event, _, _ in EVENTS} == set(get_args(Event))


@pytest.mark.parametrize(("event", "name", "level"), EVENTS)
def test_an_event_has_name_and_level(event: Event, name: str, level: int) -> None:
    """Names are `automigrate.<noun>_<past verb>`; polls are DEBUG, retries WARNING."""
    entry = logs.entry_of(event)
    assert (entry.name, entry.level) == (f"automigrate.{name}", level)


@pytest.mark.parametrize("event", [event for event, _, _ in EVENTS])
def test_values_are_scalars(event: Event) -> None:
    """Every value fits into a column of a log store."""
    for value in logs.entry_of(event).values.values():
        assert value is None or isinstance(value, str | int | float | bool)


def test_a_holder_is_named_with_its_pid() -> None:
    """Who waits sees for whom."""
    values = logs.entry_of(LockWaited(holder=HOLDER, waited_seconds=0.12345)).values
    assert values == {"holder": "web-1 (backend pid 7)", "holder_pid": 7, "waited_seconds": 0.123}


def test_a_failure_is_told_with_its_exit_code() -> None:
    """The last entry of a failed run says what the process will end with."""
    error = PendingError(current=["a"], wanted=["b"])
    assert logs.entry_of(RunFailed(error=error)).values == {
        "error": "PendingError",
        "reason": str(error),
        "exit_code": 6,
    }


def test_a_configured_structlog_gets_the_entries() -> None:
    """Entries go through the processors that the application has chosen."""
    with structlog.testing.capture_logs() as captured:
        structlog.configure(**structlog.get_config())
        logs.log_event(APPLIED)
    assert captured == [
        {
            "event": "automigrate.revision_applied",
            "log_level": "info",
            "revision": "b",
            "message": "add users",
            "position": 1,
            "total": 2,
            "seconds": 0.5,
            "attempt": 1,
            "direction": "upgrade",
        }
    ]


def test_otherwise_the_standard_library_gets_them(caplog: pytest.LogCaptureFixture) -> None:
    """Without a configured structlog the logger `automigrate` decides, and values are kept."""
    with caplog.at_level(logging.INFO, logger="automigrate"):
        logs.log_event(LockTaken(waited_seconds=0.1))
        logs.log_event(PhaseEntered(phase=Phase.READY))
    [record] = caplog.records
    assert record.getMessage() == "automigrate.lock_taken waited_seconds=0.1"
    assert vars(record)["automigrate"] == {"waited_seconds": 0.1}


def test_json_lines_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """In a container each entry is one JSON object with level and time."""
    logs.configure("json")
    logs.log_event(APPLIED)
    captured = capsys.readouterr()
    assert captured.out == ""
    [line] = captured.err.splitlines()
    value = json.loads(line)
    assert list(value)[:4] == ["timestamp", "level", "event", "revision"]
    assert value.pop("timestamp").endswith("Z")
    assert value["event"] == "automigrate.revision_applied"
    assert (value["level"], value["revision"], value["seconds"]) == ("info", "b", 0.5)


def test_console_lines_are_readable(capsys: pytest.CaptureFixture[str]) -> None:
    """On a terminal an entry is one line of name and values."""
    logs.configure("console")
    logs.log_event(LockTaken(waited_seconds=0.1))
    err = capsys.readouterr().err
    assert "automigrate.lock_taken" in err
    assert "waited_seconds=0.1" in err
    assert "\x1b" not in err


@pytest.mark.parametrize(("level", "lines"), [("debug", 3), ("info", 2), ("warning", 1)])
def test_the_level_is_respected(level: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    """What is below the level is not written."""
    logs.configure("json", level)
    logs.log_event(PhaseEntered(phase=Phase.READY))
    logs.log_event(LockTaken(waited_seconds=0.1))
    logs.log_event(RevisionRecovered(revision="b", action="x"))
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_the_default_format_follows_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets readable lines, everything else JSON."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    assert logs.default_format() == "console"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert logs.default_format() == "json"


@pytest.mark.parametrize(("log_format", "lines"), [("console", 0), ("json", 1)])
def test_a_person_reads_the_error_of_a_run_once(
    log_format: str, lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command's last lines tell it; a log for machines has the entry."""
    logs.configure(log_format)
    logs.log_event(RunFailed(error=ValueError("x")))
    assert len(capsys.readouterr().err.splitlines()) == lines


@pytest.mark.parametrize("prepare", ["", "logs.configure('json');"])
def test_structlog_is_imported_only_for_an_entry(prepare: str) -> None:
    """A run with nothing to tell does not import structlog."""
    code = (
        "import sys; from automigrate import logs; from automigrate.events import *;"
        f"{prepare}"
        "logs.log_event(PhaseEntered(phase=Phase.READY));"
        "assert 'structlog' not in sys.modules"
    )
    root = str(Path(__file__).parents[2])
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": root}, timeout=60
    )
