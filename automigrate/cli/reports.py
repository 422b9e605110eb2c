"""An `UpgradeReport` and a `Status` in words and as JSON."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, assert_never

from automigrate.cli.output import duration
from automigrate.errors import names
from automigrate.verdict import Outcome, Verdict

if TYPE_CHECKING:
    from automigrate.verdict import Status, UpgradeReport

__all__ = ["as_json", "judgement", "status_rows", "summary"]

_REMARKS = {
    Verdict.AHEAD: "; the database is ahead of this code",
    Verdict.MODIFIED: "; scripts of applied revisions were changed",
}


def summary(report: UpgradeReport) -> str:
    """Say in one line what a call found and did."""
    at = f"the schema is at {names(report.heads)}"
    took = duration(report.seconds)
    match report.outcome:
        case Outcome.UNCHANGED:
            return f"nothing pending: {at}{_REMARKS.get(report.verdict, '')} ({took})"
        case Outcome.MIGRATED:
            count = len(report.applied)
            what = "1 revision" if count == 1 else f"{count} revisions"
            return f"applied {what}: {at} ({took})"
        case Outcome.WAITED:
            holder = f" {report.waited_for}" if report.waited_for is not None else ""
            waited = duration(report.waited_seconds)
            return f"waited {waited} while another process migrated{holder}: {at} ({took})"
        case Outcome.SKIPPED:
            return "skipped: the mode is off"
        case _:
            assert_never(report.outcome)


def judgement(status: Status) -> str:
    """Say in one line what was found on a schema that the code may serve on."""
    at = f"the schema is at {names(status.current)}"
    return f"{status.verdict.value}: {at}{_REMARKS.get(status.verdict, '')}"


def status_rows(status: Status) -> list[tuple[str, str]]:
    """Return what a person wants to know of a status, as pairs; empty facts are left out."""
    rows = [
        ("verdict", status.verdict.value),
        ("database", names(status.current)),
        ("code", names(status.wanted)),
        ("pending", _counted(status.pending)),
        ("unknown", _counted(status.unknown)),
        ("interrupted", _counted(status.interrupted)),
        ("modified", _counted(status.modified)),
        ("only newer code undoes", _counted(status.without_way_back)),
        ("lock held by", "" if status.holder is None else str(status.holder)),
        ("detail", status.detail),
    ]
    return [(name, text) for name, text in rows if text]


def as_json(value: Status | UpgradeReport) -> dict[str, Any]:
    """Return a status or a report for machines; fields as in the class, plus `serves`."""
    fields = dataclasses.asdict(value)
    serves = getattr(value, "serves", None)
    return fields if serves is None else {**fields, "serves": serves}


def _counted(revisions: tuple[str, ...]) -> str:
    return f"{len(revisions)}: {names(revisions, limit=20)}" if revisions else ""
