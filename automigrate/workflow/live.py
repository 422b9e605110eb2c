"""Compare models with a real database, and bring a developer's own to them without a file."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM
from sqlalchemy.exc import DBAPIError

from automigrate.errors import ConfigurationError
from automigrate.workflow import comparison
from automigrate.workflow.additions import Differences, differences as differences_of
from automigrate.workflow.describing import describe
from automigrate.workflow.development import require_development
from automigrate.workflow.generate import Proposal, propose
from automigrate.workflow.operations import DIALECT, escaped, leaves
from automigrate.workflow.reaching import reaching
from automigrate.workflow.rehearsal import Rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from alembic.runtime.migration import RevisionStep
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

    from automigrate.database.url import DatabaseURL
    from automigrate.workflow.answers import Answers
    from automigrate.workflow.project import Project
    from automigrate.workflow.rehearsal import Stage

__all__ = ["Pushed", "differences", "push"]


@dataclass(slots=True, kw_only=True)
class Pushed:
    """What `push` did."""

    statements: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    applied: bool = False
    _proposal: Proposal | None = field(default=None, repr=False)


def differences(
    project: Project, url: DatabaseURL, models: Sequence[MetaData] | None
) -> Differences:
    """Say what would bring a database to the models; changes nothing, locks nothing.

    Raises:
        ConfigurationError: there are no models.
        DatabaseUnavailableError: the database cannot be asked.
    """
    found: list[Differences] = []

    def steps(stage: Stage) -> Generator[RevisionStep, None, None]:
        found.append(differences_of(stage.context))
        yield from ()  # no step

    _run(project, url, models, steps)
    return found[0]


def push(
    project: Project,
    url: DatabaseURL,
    models: Sequence[MetaData] | None,
    *,
    answers: Answers,
    force: bool,
    confirm: Callable[[Pushed], bool],
) -> Pushed:
    """Bring a developer's database to the models, without a revision.

    Everything but new enum values happens in one transaction; the version table stays as it is.

    Args:
        project: for env.py and its filters.
        url: the database.
        models: in the place of env.py's.
        answers: about renames.
        force: do it although data is lost.
        confirm: called with the SQL before anything is changed; `False` leaves it.

    Raises:
        ConfigurationError: the database is shared, a rename is undecided, data would be lost, or
            the server refuses a statement.
        DatabaseUnavailableError: the database cannot be reached.
    """
    require_development(url, "push")
    pushed = Pushed()

    def steps(stage: Stage) -> Generator[RevisionStep, None, None]:
        proposal = propose(stage.context, answers)
        stage.connection.rollback()  # it was only tried
        pushed.statements = tuple(_statements(proposal))
        pushed.losses, pushed.warnings = tuple(proposal.losses), tuple(proposal.warnings)
        if pushed.losses and not force:
            raise ConfigurationError(
                [f"push {loss}." for loss in pushed.losses]
                + ["Nothing was changed. Say --force if that data may go."]
            )
        if pushed.statements and confirm(pushed):
            _apply(stage.context, stage.connection, proposal)
            pushed.applied = True
        yield from ()  # no step

    _run(project, url, models, steps)
    return pushed


def _run(
    project: Project,
    url: DatabaseURL,
    models: Sequence[MetaData] | None,
    steps: Callable[[Stage], Generator[RevisionStep, None, None]],
) -> None:
    with reaching(url):
        Rehearsal(project, url, models=models, configured=comparison.configured(), live=True).run(
            steps
        )


def _statements(proposal: Proposal) -> Iterator[str]:
    """Render what would be run."""
    yield from (statement.statement for statement in proposal.added_values)
    yield from (rename.statement for rename in proposal.renames)
    buffer = io.StringIO()
    context = MigrationContext.configure(
        dialect=DIALECT, opts={"as_sql": True, "output_buffer": buffer}
    )
    _invoke(context, proposal)
    yield from (part.strip() for part in buffer.getvalue().split(";\n\n") if part.strip())


def _apply(context: Any, connection: Connection, proposal: Proposal) -> None:
    try:
        _run_all(context, connection, proposal)
    except DBAPIError as error:
        if error.connection_invalidated or not getattr(error.orig, "sqlstate", None):
            raise
        kept = " but the new values of enum types" if proposal.added_values else ""
        raise ConfigurationError(
            f"the server refuses `{_brief(error.statement)}`: {str(error.orig).splitlines()[0]}. "
            f"Nothing was changed{kept}. Mend the data or the models, or write a revision that "
            "does it in steps: `automigrate generate`."
        ) from error


def _brief(statement: str | None) -> str:
    text = " ".join((statement or "").split())
    return f"{text[:97]}…" if len(text) > 98 else text  # noqa: PLR2004


def _run_all(context: Any, connection: Connection, proposal: Proposal) -> None:
    for statement in proposal.added_values:
        connection.execute(text(str(statement.sqltext)))
    connection.commit()
    for rename in proposal.renames:
        connection.execute(text(escaped(rename.statement)))
    _invoke(context, proposal)
    connection.commit()


def _invoke(context: Any, proposal: Proposal) -> None:
    # Types are made by statements of their own; SQLAlchemy shall not make them with a table again.
    for kind in (ENUM, DOMAIN):
        context.impl.memo[f"pg_{kind.__visit_name__}"] = _Everything()
    with Operations.context(context) as operations:
        for operation in leaves(proposal.operations):
            _require_executable(operation)
            operations.invoke(operation)


def _require_executable(operation: Any) -> None:
    """Refuse what an extension of Alembic can only write into a revision."""
    try:
        Operations._to_impl.dispatch(operation)  # noqa: SLF001 - as `Operations.invoke` does
    except ValueError:
        raise ConfigurationError(
            f"push cannot {describe(operation)}: the extension of Alembic that proposes it only "
            "writes it into revisions. Use `automigrate generate`, `automigrate upgrade`."
        ) from None


class _Everything(set[object]):
    """Says of each type that it was made."""

    def __contains__(self, _: object) -> bool:
        return True
