"""Each revision up, down and up again on a scratch database: does it lead to the same schema?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from automigrate.errors import AutomigrateError, UpgradeError
from automigrate.workflow.downgrades import Way, way_back
from automigrate.workflow.findings import Finding, Level, about
from automigrate.workflow.fingerprint import changes, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from alembic.runtime.migration import RevisionStep

    from automigrate.workflow.project import Project
    from automigrate.workflow.rehearsal import Rehearsal, Stage

__all__ = ["RoundTrip"]


class RoundTrip:
    """Of all revisions, in the order of an upgrade, until one fails.

    Args:
        project: the scripts.
        rehearsal: on a scratch database.
        version_table: left out of the comparison.
        told: called with each revision.
    """

    def __init__(
        self,
        project: Project,
        rehearsal: Rehearsal,
        version_table: str,
        *,
        told: Callable[[str], None],
    ) -> None:
        self._project = project
        self._rehearsal = rehearsal
        self._version_table = version_table
        self._told = told
        self._findings: list[Finding] = []
        self.runs = True
        """Whether no revision has failed to be applied the first time."""

    def findings(self) -> list[Finding]:
        """Try them; never raises for what a revision does."""
        try:
            self._rehearsal.run(self._steps)
        except AutomigrateError as error:
            self.runs = False
            self._findings.append(Finding(rule="fails", level=Level.ERROR, message=str(error)))
        return self._findings

    def _steps(self, stage: Stage) -> Generator[RevisionStep, None, None]:
        for revision in stage.pending():
            self._told(revision)
            before, back = self._look(), None
            try:
                yield stage.up(revision)
                first = self._look()
                if self._way(revision) is Way.IRREVERSIBLE:
                    continue
                yield stage.down(revision)
                back = self._look()
                yield stage.up(revision)
            except UpgradeError as error:
                left = None if back is None else changes(before, back)
                self._findings.append(self._failed(error, left))
                self.runs = back is not None or error.direction == "downgrade"
                return
            self._findings.extend(self._same(revision, before, first, back, self._look()))

    def _look(self) -> frozenset[str]:
        return fingerprint(self._rehearsal.raw, self._version_table)

    def _way(self, revision: str) -> Way:
        path = Path(self._project.graph[revision].file)
        return way_back(path.read_text("utf-8")).way if path.suffix == ".py" else Way.WRITTEN

    def _failed(self, error: UpgradeError, left: str | None) -> Finding:
        if left is not None:
            return about(
                self._project,
                error.failed,
                "round-trip",
                f"revision {error.failed}, undone, cannot be applied again: {error.reason}. "
                f"Its downgrade leaves behind what was not there before: {left or 'nothing'}.",
                "Correct its downgrade. Revisions after it were not tried.",
            )
        what = "" if error.direction == "upgrade" else "the downgrade of "
        return about(
            self._project,
            error.failed,
            "fails" if error.direction == "upgrade" else "downgrade-fails",
            f"{what}revision {error.failed} fails on a database without rows: {error.reason}.",
            "Revisions after it were not tried.",
        )

    def _same(
        self,
        revision: str,
        before: frozenset[str],
        first: frozenset[str],
        back: frozenset[str],
        second: frozenset[str],
    ) -> Iterator[Finding]:
        if second != first:
            yield about(
                self._project,
                revision,
                "round-trip",
                f"revision {revision}, undone and applied again, makes another schema: "
                f"{changes(first, second)}.",
                "Correct its downgrade.",
            )
        elif back != before and self._way(revision) is not Way.NOTHING:
            yield about(
                self._project,
                revision,
                "leftover",
                f"the downgrade of revision {revision} does not lead back: "
                f"{changes(before, back)}.",
                "Correct its downgrade.",
                level=Level.WARNING,
            )
