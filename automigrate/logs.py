"""Events of a run as log entries, named `automigrate.<noun>_<past verb>`, with scalar values.

The library configures nothing. Where the application has configured structlog, the entries go
there; otherwise they go to the standard library's logger `automigrate`, and structlog is not even
imported. The command line calls `configure` and gets lines on stderr.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TextIO, cast

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
from automigrate.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from automigrate.verdict import Holder

__all__ = [
    "CATALOGUE",
    "FORMATS",
    "LEVELS",
    "Entry",
    "configure",
    "default_format",
    "entry_of",
    "log_event",
]

LOGGER_NAME = "automigrate"
RUN_FAILED = "automigrate.run_failed"
FORMATS = ("console", "json")
LEVELS = ("debug", "info", "warning", "error")

Values = dict[str, str | int | float | bool | None]

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR


class Kind(NamedTuple):
    """How one type of event is logged."""

    name: str
    level: Callable[[Any], int]
    values: Callable[[Any], Values]


class Entry(NamedTuple):
    """One event, ready to be logged."""

    name: str
    level: int
    values: Values


class Sink(Protocol):
    """Where entries go."""

    def __call__(self, entry: Entry) -> None: ...


def log_event(event: Event) -> None:
    """Log one event of a run: the `Listener` that connects the engine to logging."""
    entry = entry_of(event)
    _sink(entry)


def entry_of(event: Event) -> Entry:
    """Return name, level and values of an event; pure."""
    kind = CATALOGUE[type(event)]
    return Entry(kind.name, kind.level(event), kind.values(event))


def configure(log_format: str | None = None, level: str = "info") -> None:
    """Write entries to stderr from now on; for the command line, never called by the library.

    Nothing is imported or written before the first entry at or above `level` arrives.

    Args:
        log_format: `console` or `json`; not given, `console` on a terminal and `json` elsewhere.
        level: the lowest level that is written.
    """
    global _sink  # noqa: PLW0603 -- one process, one command, one place its log goes to
    _sink = _terminal_sink(log_format, getattr(logging, level.upper()))


def _application_sink(entry: Entry) -> None:
    structlog = sys.modules.get("structlog")
    if structlog is not None and structlog.is_configured():
        structlog.get_logger(LOGGER_NAME).log(entry.level, entry.name, **entry.values)
        return
    logger = logging.getLogger(LOGGER_NAME)
    if logger.isEnabledFor(entry.level):
        text = " ".join([entry.name, *(f"{key}={value!r}" for key, value in entry.values.items())])
        logger.log(entry.level, "%s", text, extra={LOGGER_NAME: entry.values})


def _terminal_sink(log_format: str | None, threshold: int) -> Sink:
    sink: Sink | None = None

    def write(entry: Entry) -> None:
        nonlocal sink
        if entry.level < threshold:
            return
        plain = (log_format or default_format()) == "json"
        if not plain and entry.name == RUN_FAILED:
            return  # a person reads the error in the command's last lines
        if sink is None:
            sink = _json_line if plain else _console_sink()
        sink(entry)

    return write


def _json_line(entry: Entry) -> None:
    """Write what structlog would; importing it takes a tenth of a second, in every container."""
    import json
    from datetime import UTC, datetime

    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    level = logging.getLevelName(entry.level).lower()
    values = {"timestamp": now, "level": level, "event": entry.name, **entry.values}
    print(json.dumps(values), file=sys.stderr, flush=True)  # noqa: T201 - the place for it


def _console_sink() -> Sink:
    import structlog

    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    colours = sys.stderr.isatty() and not plain
    logger: Any = structlog.wrap_logger(
        structlog.PrintLogger(cast("TextIO", _Stderr())),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _main_things_first,
            structlog.dev.ConsoleRenderer(0, colors=colours),  # 0: no padding of the name
        ],
        wrapper_class=structlog.make_filtering_bound_logger(DEBUG),
    )
    return lambda entry: logger.log(entry.level, entry.name, **entry.values)


class _Stderr:
    """Whatever `sys.stderr` is at the moment: a progress bar has lines come above itself."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _main_things_first(_logger: Any, _method: str, values: Any) -> dict[str, Any]:
    first = {key: values.pop(key) for key in ("timestamp", "level", "event")}
    return {**first, **values}


def default_format() -> str:
    """Return the format for stderr as it is: readable on a terminal, JSON lines elsewhere."""
    return "console" if sys.stderr is not None and sys.stderr.isatty() else "json"


_sink: Sink = _application_sink


# -- the catalogue ---------------------------------------------------------------------------------


def _always(level: int) -> Callable[[Any], int]:
    return lambda _event: level


def _phase_level(event: PhaseEntered) -> int:
    match event.phase:
        case Phase.WAITING_FOR_LOCK | Phase.MIGRATING | Phase.STOPPING:
            return INFO
        case _:  # the rest is told by an entry of its own, or is nothing to tell
            return DEBUG


def _judged_level(event: SchemaJudged) -> int:
    match event.status.verdict:
        case Verdict.CURRENT:
            return DEBUG
        case Verdict.BEHIND | Verdict.EMPTY:
            return INFO
        case _:
            return WARNING


def _finished_level(event: RunFinished) -> int:
    return DEBUG if event.report.outcome in {Outcome.UNCHANGED, Outcome.SKIPPED} else INFO


def _judged(event: SchemaJudged) -> Values:
    status = event.status
    return {
        "verdict": status.verdict.value,
        "current": _joined(status.current),
        "wanted": _joined(status.wanted),
        "pending": len(status.pending),
        "detail": status.detail,
    }


def _holder(holder: Holder | None) -> Values:
    if holder is None:
        return {"holder": None}
    return {"holder": str(holder), "holder_pid": holder.pid}


def _finished(event: RunFinished) -> Values:
    report = event.report
    return {
        "outcome": report.outcome.value,
        "verdict": report.verdict.value,
        "heads": _joined(report.heads),
        "applied": len(report.applied),
        "waited_seconds": _rounded(report.waited_seconds),
        "seconds": _rounded(report.seconds),
        "attempts": report.attempts,
    }


def _failed(event: RunFailed) -> Values:
    error = event.error
    return {
        "error": type(error).__name__,
        "reason": str(error),
        "exit_code": getattr(error, "exit_code", 1),
    }


def _joined(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))


def _rounded(seconds: float) -> float:
    return round(seconds, 3)


CATALOGUE: dict[type[Event], Kind] = {
    PhaseEntered: Kind(
        "automigrate.phase_entered", _phase_level, lambda e: {"phase": e.phase.value}
    ),
    SchemaJudged: Kind("automigrate.schema_judged", _judged_level, _judged),
    ConnectionRetried: Kind(
        "automigrate.connection_retried",
        _always(WARNING),
        lambda e: {
            "reason": e.reason,
            "attempt": e.attempt,
            "wait_seconds": _rounded(e.wait_seconds),
        },
    ),
    LockWaited: Kind(
        "automigrate.lock_waited",
        _always(INFO),
        lambda e: {**_holder(e.holder), "waited_seconds": _rounded(e.waited_seconds)},
    ),
    LockTaken: Kind(
        "automigrate.lock_taken",
        _always(INFO),
        lambda e: {"waited_seconds": _rounded(e.waited_seconds)},
    ),
    RevisionStarted: Kind(
        "automigrate.revision_started",
        _always(DEBUG),
        lambda e: {
            "revision": e.revision,
            "message": e.message,
            "position": e.position,
            "total": e.total,
            "attempt": e.attempt,
            "direction": e.direction,
        },
    ),
    RevisionRetried: Kind(
        "automigrate.revision_retried",
        _always(WARNING),
        lambda e: {
            "revision": e.revision,
            "reason": e.reason,
            "sqlstate": e.sqlstate,
            "attempt": e.attempt,
            "wait_seconds": _rounded(e.wait_seconds),
            "blockers": _joined(e.blockers),
        },
    ),
    BlockersSeen: Kind(
        "automigrate.blockers_seen",
        lambda e: DEBUG if e.repeated else WARNING,  # they are looked at twice a second
        lambda e: {
            "revision": e.revision,
            "blockers": _joined(e.blockers),
            "waited_seconds": _rounded(e.waited_seconds),
        },
    ),
    ProgressSeen: Kind(
        "automigrate.progress_seen",
        _always(DEBUG),
        lambda e: {"revision": e.revision, "phase": e.phase, "percent": e.percent},
    ),
    RevisionApplied: Kind(
        "automigrate.revision_applied",
        _always(INFO),
        lambda e: {
            "revision": e.revision,
            "message": e.message,
            "position": e.position,
            "total": e.total,
            "seconds": _rounded(e.seconds),
            "attempt": e.attempt,
            "direction": e.direction,
        },
    ),
    RevisionRecovered: Kind(
        "automigrate.revision_recovered",
        _always(WARNING),
        lambda e: {"revision": e.revision, "action": e.action},
    ),
    RunFinished: Kind("automigrate.run_finished", _finished_level, _finished),
    RunFailed: Kind(RUN_FAILED, _always(ERROR), _failed),
}
"""Every event, its name in the log, its level and its values."""
