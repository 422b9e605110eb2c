"""The gate of CI: every question that a set of revisions must answer before it is deployed.

No database is needed but a scratch one. The questions are asked in the order of `CHECKS`; one that
cannot be asked because an earlier one failed says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from automigrate.database.session import VERSION_TABLE
from automigrate.errors import (
    BrokenHistoryError,
    ConfigurationError,
    ScriptError,
    ScriptImportError,
)
from automigrate.options import SECTION
from automigrate.scripts import lockfile
from automigrate.workflow import comparison
from automigrate.workflow.additions import Differences, differences
from automigrate.workflow.downgrades import Way, way_back
from automigrate.workflow.findings import Finding, Level, about
from automigrate.workflow.formats import Check
from automigrate.workflow.policy import judge
from automigrate.workflow.project import open_project
from automigrate.workflow.rehearsal import Rehearsal
from automigrate.workflow.round_trip import RoundTrip
from automigrate.workflow.squawk import second_opinion
from automigrate.workflow.verify import rehearse, since as pending_since

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping, Sequence

    from alembic.runtime.migration import RevisionStep
    from sqlalchemy import MetaData

    from automigrate.verdict import Status
    from automigrate.workflow.policy import Policy, Size
    from automigrate.workflow.project import Project
    from automigrate.workflow.rehearsal import Stage
    from automigrate.workflow.scratch import Scratch

__all__ = ["CHECKS", "Gate"]

CHECKS = {
    "history": "The revisions form one history",
    "heads": "There is a single head",
    "lock": "automigrate.lock is up to date",
    "applied": "No applied script was edited",
    "downgrades": "Every revision has a downgrade, or says that it is irreversible",
    "round-trip": "Each revision goes up, down and up again, to the same schema",
    "models": "The models equal the revisions",
    "lint": "The revisions keep traffic flowing",
}
"""Name → what is true when it is passed."""
HISTORY_BROKEN = "the history is broken"


@dataclass(slots=True, kw_only=True)
class Gate:
    """What is to be checked, and with what.

    Attributes:
        scripts: the script directory, as everywhere.
        config: an alembic.ini.
        ini_section: its section.
        scratch: makes scratch databases; `None` where no question needs one.
        models: gives the models, or `None` for env.py's.
        status: of a database against the scripts, if there is one.
        lint_since: revisions whose successors are linted; `None`: all of them.
        sizes: of the real tables.
        policy: what counts as large.
        version_table: where there is no env.py.
        x_arguments: for env.py.
        told: called with the name of each check, and of each revision in the long ones.
    """

    scripts: str | None
    config: str | None = None
    ini_section: str = SECTION
    scratch: Scratch | None
    models: Callable[[Project], Sequence[MetaData] | None] = lambda _: None
    status: Status | None = None
    lint_since: Sequence[str] | None = None
    sizes: Mapping[str, Size] | None = None
    policy: Policy | None = None
    version_table: str = VERSION_TABLE
    x_arguments: Sequence[str] = ()
    told: Callable[[str], None] = lambda _: None
    _project: Project | None = field(default=None, init=False)
    _runs: bool = field(default=True, init=False)

    def run(self, names: Sequence[str] = tuple(CHECKS)) -> list[Check]:
        """Ask the questions; never raises for an answer.

        Raises:
            ConfigurationError: a question is not known, or no scripts are found.
            DatabaseUnavailableError: there is no scratch database.
        """
        unknown = [name for name in names if name not in CHECKS]
        if unknown:
            raise ConfigurationError(f"no check is called {', '.join(unknown)}.")
        return [self._check(name) for name in CHECKS if name in names or name == "history"]

    def _check(self, name: str) -> Check:
        self.told(CHECKS[name])
        started = time.monotonic()
        ask: Callable[[], Iterator[Finding] | str] = getattr(self, f"_{name.replace('-', '_')}")
        answer: Iterator[Finding] | str = (
            ask() if name == "history" or self._project is not None else HISTORY_BROKEN
        )
        findings: tuple[Finding, ...] = ()
        if not isinstance(answer, str):
            findings = tuple(answer)
        return Check(
            name=name,
            title=CHECKS[name],
            findings=findings,
            skipped=answer if isinstance(answer, str) else "",
            seconds=time.monotonic() - started,
        )

    def _history(self) -> Iterator[Finding]:
        try:
            self._project = open_project(self.scripts, self.config, ini_section=self.ini_section)
        except BrokenHistoryError as error:
            for fault in error.faults:
                yield Finding(rule="broken-history", level=Level.ERROR, message=fault)
        except ScriptImportError as error:
            yield Finding(
                rule="broken-script", level=Level.ERROR, message=error.reason, file=error.file
            )

    def _heads(self) -> Iterator[Finding]:
        project = self._known
        heads = project.graph.heads
        for head in heads if len(heads) > 1 else ():
            yield about(
                self._known,
                head,
                "multiple-heads",
                f"revision {head} is one of {len(heads)} heads.",
                "Bring them into one line: `automigrate merge`.",
            )

    def _lock(self) -> Iterator[Finding] | str:
        if not self._known.has_lock:
            return "there is none; `automigrate lock` writes it"
        return self._lock_findings()

    def _lock_findings(self) -> Iterator[Finding]:
        project = self._known
        file = project.relative(str(project.location.directory / lockfile.NAME))
        try:
            lock = lockfile.load(project.location)
        except ScriptError as error:
            yield Finding(rule="stale-lock", level=Level.ERROR, message=str(error), file=file)
            return
        if lock is None:
            return
        found = lockfile.compare(project.location, lock, project.graph)
        for what, scripts in (
            ("was edited after it was locked, or an SQL file of it", found.edited),
            ("is in the lock and is missing", found.missing),
            ("is not in the lock", found.extra),
        ):
            for script in scripts:
                yield Finding(
                    rule="stale-lock",
                    level=Level.ERROR,
                    message=f"{script} {what}.",
                    remedy="If that is meant: `automigrate lock`, and commit it.",
                    file=file,
                )
        if (found.heads_changed or found.outdated) and not (
            found.edited or found.missing or found.extra
        ):
            yield Finding(
                rule="stale-lock",
                level=Level.ERROR,
                message="it does not fit the scripts.",
                remedy="Run `automigrate lock`, and commit it.",
                file=file,
            )

    def _applied(self) -> Iterator[Finding] | str:
        if self.status is None:
            return "no database was named, or the scripts cannot be read"
        return self._edited(self.status)

    def _edited(self, status: Status) -> Iterator[Finding]:
        for revision in status.modified:
            yield about(
                self._known,
                revision,
                "edited-script",
                f"revision {revision} has changed in substance since it was applied.",
                "Restore it, and put the change into a new revision.",
            )
        for revision in status.unknown:
            yield Finding(
                rule="unknown-revision",
                level=Level.WARNING,
                message=f"the database has revision {revision}, which no script defines.",
            )

    def _downgrades(self) -> Iterator[Finding]:
        project = self._known
        for revision in project.graph:
            path = Path(project.graph[revision].file)
            if path.suffix != ".py":
                continue
            found = way_back(path.read_text("utf-8"))
            if found.way is Way.MISSING:
                yield about(
                    self._known,
                    revision,
                    "no-downgrade",
                    f"revision {revision} upgrades and its downgrade does nothing.",
                    "Write it, `raise NotImplementedError('irreversible')`, or say `# nothing to "
                    "undo` in it.",
                    line=found.line,
                )

    def _round_trip(self) -> Iterator[Finding]:
        tried = RoundTrip(self._known, self._rehearsal(), self.version_table, told=self.told)
        yield from tried.findings()
        self._runs = tried.runs

    def _models(self) -> Iterator[Finding] | str:
        if len(self._known.graph.heads) > 1:
            return "there are several heads"
        if not self._runs:
            return "the revisions do not run"
        try:
            models = self.models(self._known)
        except ConfigurationError as error:
            return str(error)
        return self._differences(models)

    def _differences(self, models: Sequence[MetaData] | None) -> Iterator[Finding]:
        found = Differences()

        def steps(stage: Stage) -> Generator[RevisionStep, None, None]:
            nonlocal found
            for revision in stage.pending():
                yield stage.up(revision)
            found = differences(stage.context)

        try:
            self._rehearsal(models=models, configured=comparison.configured()).run(steps)
        except ConfigurationError as error:
            yield Finding(rule="no-models", level=Level.WARNING, message=str(error))
        except ScriptError as error:
            yield Finding(rule="no-comparison", level=Level.ERROR, message=str(error))
        for reason in found.uncompared:
            yield Finding(rule="not-compared", level=Level.WARNING, message=reason)
        for difference in found.found:
            yield Finding(
                rule="models-differ",
                level=Level.ERROR,
                message=f"models and revisions differ: {difference}.",
                remedy="Run `automigrate generate`.",
            )

    def _lint(self) -> Iterator[Finding] | str:
        if not self._runs:
            return "the revisions do not run"
        if self.lint_since is None and self.status is not None:
            pending: tuple[str, ...] = self.status.pending
        else:
            pending = pending_since(self._known, self.lint_since or ("base",))
        return self._linted(pending)

    def _linted(self, pending: Sequence[str]) -> Iterator[Finding]:
        if not pending:
            return
        seen = rehearse(
            self._known,
            self._rehearsal(),
            pending,
            version_table=self.version_table,
            told=self.told,
        )
        yield from judge(seen, self.sizes, self.policy)
        yield from second_opinion(seen)

    @property
    def _known(self) -> Project:
        assert self._project is not None
        return self._project

    def _rehearsal(self, **more: Any) -> Rehearsal:
        assert self.scratch is not None
        return Rehearsal(
            self._known,
            self.scratch.database(),
            version_table=self.version_table,
            x_arguments=self.x_arguments,
            **more,
        )
