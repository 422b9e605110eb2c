"""Run pending revisions on a scratch database, and see what each statement does to tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from automigrate.database.session import VERSION_TABLE
from automigrate.errors import ConfigurationError, UpgradeError
from automigrate.workflow.recording import LockMode, StatementRecorder, StatementSeen

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from alembic.runtime.migration import RevisionStep

    from automigrate.workflow.project import Project
    from automigrate.workflow.rehearsal import Rehearsal, Stage

__all__ = ["RevisionSeen", "rehearse", "since"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionSeen:
    """One revision, and what its statements did."""

    revision: str
    message: str
    file: str
    statements: tuple[StatementSeen, ...] = ()
    failure: str | None = None
    """Why it fails on a database without rows."""

    @property
    def locks(self) -> dict[str, LockMode]:
        """The strongest lock on each table that was there before."""
        strongest: dict[str, LockMode] = {}
        for statement in self.statements:
            for lock in statement.locks:
                strongest[lock.table] = max(lock.mode, strongest.get(lock.table, lock.mode))
        return strongest


def rehearse(
    project: Project,
    rehearsal: Rehearsal,
    pending: Sequence[str],
    *,
    version_table: str = VERSION_TABLE,
    told: Callable[[str], None] = lambda _: None,
) -> list[RevisionSeen]:
    """Bring a scratch database to where `pending` begins, and watch these.

    Args:
        project: the scripts.
        rehearsal: on the scratch database.
        pending: what to watch.
        version_table: which is left out.
        told: called with each revision before it runs.

    Raises:
        UpgradeError: a revision before those fails.
    """
    watched = set(pending)
    seen: list[RevisionSeen] = []

    def steps(stage: Stage) -> Generator[RevisionStep, None, None]:
        for revision in project.graph.upgrade_order((), project.graph.real_heads):
            if revision not in project.graph.ancestors(pending):
                continue
            told(revision)
            if revision not in watched:
                muted.on = False
                yield stage.up(revision)
                continue
            muted.on = True
            recorder.begin()
            failure = None
            try:
                yield stage.up(revision)
            except UpgradeError as error:
                failure = error.reason
            finally:
                recorder.end_statement()
            script = project.graph[revision]
            seen.append(
                RevisionSeen(
                    revision=revision,
                    message=script.doc.partition("\n")[0],
                    file=project.relative(script.file),
                    statements=tuple(recorder.seen),
                    failure=failure,
                )
            )
            if failure is not None:
                return

    recorder = StatementRecorder(rehearsal.url, lambda: rehearsal.raw, version_table)
    muted = _Switch(recorder)
    rehearsal.run(steps, recorder=muted)
    return seen


class _Switch:
    """Passes statements on while it is on."""

    def __init__(self, recorder: StatementRecorder) -> None:
        self._recorder = recorder
        self.on = False

    def before(self, statement: str, *, in_transaction: bool) -> None:
        if self.on:
            self._recorder.before(statement, in_transaction=in_transaction)

    def after(self, statement: str) -> None:
        if self.on:
            self._recorder.after(statement)


def since(project: Project, revisions: Iterable[str]) -> tuple[str, ...]:
    """List what is not applied when these revisions are, oldest first.

    Raises:
        ConfigurationError: one of them is not known.
    """
    graph = project.graph
    current: list[str] = []
    for name in revisions:
        current += graph.resolve(name) if name != "base" else ()
    unknown = [name for name in current if name not in graph]
    if unknown:
        raise ConfigurationError(f"no script defines {', '.join(unknown)}.")
    return graph.upgrade_order(tuple(current), graph.real_heads)
