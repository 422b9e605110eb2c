"""Write the revisions that bring the database from where the scripts leave it to the models.

What the scripts make is found on a scratch database, never on the developer's own. The story:
bring it to the heads · compare · carry out the renames there and compare again · add what Alembic
lacks · put it into a safe form · write the files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.autogenerate import RevisionContext
from alembic.operations import Operations, ops
from alembic.util import rev_id as new_id
from sqlalchemy import exc, text

from automigrate.alembic_bridge.guard import process_guard
from automigrate.errors import ConfigurationError
from automigrate.scripts.files import list_scripts
from automigrate.workflow.additions import additions
from automigrate.workflow.answers import Answers
from automigrate.workflow.comparison import compare, metadata_of
from automigrate.workflow.describing import described
from automigrate.workflow.downgrades import NOTHING_TO_UNDO
from automigrate.workflow.draft import Draft, Phase
from automigrate.workflow.enums import values_moved
from automigrate.workflow.losses import losses
from automigrate.workflow.operations import (
    DomainCheck,
    Remark,
    Sql,
    UsingColumn,
    escaped,
    leaves,
    quoted_name,
)
from automigrate.workflow.renamed_indexes import index_renames
from automigrate.workflow.revisions import alembic_of, require_head, told_by_alembic
from automigrate.workflow.rewriting import rewrite

if TYPE_CHECKING:
    from collections.abc import Generator

    from alembic.runtime.migration import MigrationContext, RevisionStep
    from alembic.script import Script
    from sqlalchemy.engine import Connection

    from automigrate.workflow.project import Project
    from automigrate.workflow.rehearsal import Rehearsal, Stage
    from automigrate.workflow.renames import Rename, ValueRename

__all__ = ["Generated", "Proposal", "generate", "propose"]

PARTITIONED = text("""\
select case when n.nspname = current_schema() then c.relname else n.nspname || '.' || c.relname end
from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relkind = 'p'""")


@dataclass(slots=True, kw_only=True)
class Proposal:
    """What a comparison asks for."""

    operations: ops.UpgradeOps
    renames: list[Rename | ValueRename] = field(default_factory=list)
    added_values: list[Sql] = field(default_factory=list)
    """Of enum types; must be committed before the rest."""
    losses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    partitioned: set[str] = field(default_factory=set)

    @property
    def empty(self) -> bool:
        """Whether database and models are the same."""
        return not self.renames and not self.added_values and self.operations.is_empty()

    def described(self) -> list[str]:
        """Say in words what is to be done."""
        return [
            *map(str, self.renames),
            *(statement.statement for statement in self.added_values),
            *described(self.operations),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What was written; nothing when database and models are the same."""

    files: tuple[Path, ...] = ()
    revisions: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    """What data the revisions lose when they run."""
    warnings: tuple[str, ...] = ()


def generate(
    project: Project,
    rehearsal: Rehearsal,
    message: str,
    *,
    answers: Answers | None = None,
    safe: bool = True,
    rev_id: str | None = None,
    head: str = "head",
) -> Generated:
    """Compare and write.

    Args:
        project: where the revisions are and will be.
        rehearsal: on an empty scratch database, with `comparison.configured()`.
        message: first line of the revision's docstring.
        answers: about renames; without any, what looks like a rename is refused.
        safe: `False` writes what Alembic proposes, in one revision.
        rev_id: identifier of the first revision.
        head: what it is built on; the comparison is with all heads applied in any case.

    Raises:
        MultipleHeadsError: there are several heads, and `head` names none of them.
        ScriptError: `head` is none.
        ConfigurationError: there are no models, or a rename is undecided.
        UpgradeError: the scripts fail on an empty database.
    """
    _require_message(message)
    require_head(project, head)
    config, directory = alembic_of(project)
    wanted: dict[str, Any] = {
        "message": message,
        "rev_id": rev_id,
        "head": head,
        "sql": False,
        **dict.fromkeys(("splice", "branch_label", "version_path", "depends_on")),
    }
    written = RevisionContext(config, directory, wanted)
    found: list[tuple[Proposal, Draft]] = []

    def steps(stage: Stage) -> Generator[RevisionStep, None, None]:
        for revision in stage.pending():
            yield stage.up(revision)
        proposal = propose(stage.context, answers or Answers())
        draft = drafted(proposal, safe=safe)
        found.append((proposal, draft))
        if not proposal.empty:
            _fill(written, stage.context, draft, message)

    rehearsal.run(steps)
    proposal, draft = found[0]
    if proposal.empty:
        return Generated(warnings=tuple(proposal.warnings))
    scripts = _written(project, written)
    return Generated(
        files=tuple(Path(str(script.path)) for script in scripts),
        revisions=tuple(script.revision for script in scripts),
        operations=tuple(proposal.described()),
        losses=tuple(proposal.losses),
        warnings=(*proposal.warnings, *draft.warnings),
    )


def _written(project: Project, written: RevisionContext) -> list[Script]:
    """Write the files; all of them or none."""
    before = set(list_scripts(project.location).paths)
    try:
        with told_by_alembic(), process_guard(project.location.prepend_sys_path):
            return [script for script in written.generate_scripts() if script is not None]
    except BaseException:
        for path in set(list_scripts(project.location).paths) - before:
            Path(path).unlink(missing_ok=True)
        raise


def propose(context: MigrationContext, answers: Answers) -> Proposal:
    """Compare, with some of it carried out in the database for that; the caller rolls it back.

    Renames are, and where a column changes its type also what has to come before.

    Raises:
        ConfigurationError: there are no models, or a rename is undecided.
    """
    connection = context.connection
    assert connection is not None
    script = _compared(context)
    moved = values_moved(connection, metadata_of(context))
    answers.require_possible(script, *moved)
    renames: list[Rename | ValueRename] = []
    for value in answers.values(*moved):
        connection.execute(text(escaped(value.statement)))
        renames.append(value)
    script = _compared(context) if renames else script
    for decide in (answers.tables, answers.columns):
        decided = decide(script)
        for rename in decided:
            connection.execute(text(rename.statement))
        renames += decided
        script = _compared(context) if decided else script
    answers.require_all_used()
    added = additions(context, script)
    lost = [*losses(script), *added.losses]
    renamed = index_renames(script)
    warnings = list(added.warnings)
    if any(getattr(operation, "modify_type", None) is not None for operation in leaves(script)):
        with Operations.context(context) as operations:
            for operation in added.before:
                # PostgreSQL fails with XX000 in the savepoint after this one, and types need it not
                if not isinstance(operation, DomainCheck):
                    operations.invoke(operation)
    _convert_types(script, connection, warnings)
    script.ops[:0] = [*added.before, *renamed]
    script.ops.extend(added.after)
    return Proposal(
        operations=script,
        renames=renames,
        added_values=added.added_values,
        losses=lost,
        warnings=warnings,
        partitioned=set(connection.scalars(PARTITIONED)),
    )


def drafted(proposal: Proposal, *, safe: bool) -> Draft:
    """Distribute a proposal over revisions."""
    draft = rewrite(proposal.operations, partitioned=proposal.partitioned, safe=safe)
    for rename in reversed(proposal.renames):
        operation = rename.operation()
        draft.upgrade[Phase.MAIN].insert(0, operation)
        draft.downgrade[Phase.MAIN].insert(0, operation.reverse())
    for statement in proposal.added_values:
        remark = Remark(f"{NOTHING_TO_UNDO}: PostgreSQL takes no values out of an enum type.")
        draft.add(Phase.TYPES, statement, remark)
    return draft


def _fill(written: RevisionContext, context: MigrationContext, draft: Draft, message: str) -> None:
    """Hand the drafts to Alembic, which renders them and asks env.py's own hook."""

    def directives(_context: object, _revision: object, scripts: list[Any]) -> None:
        first = scripts[0]
        made = []
        previous = None
        phases = list(draft.phases())
        titled = any(phase is Phase.MAIN for phase, _, _ in phases)
        for phase, upgrade, downgrade in phases:
            several = len(phases) > 1 and (titled or phase is not phases[0][0])
            title = f"{message} ({phase.value})" if phase.value and several else message
            made.append(
                ops.MigrationScript(
                    rev_id=first.rev_id if previous is None else new_id(),
                    message=title,
                    upgrade_ops=upgrade,
                    downgrade_ops=downgrade,
                    head=previous or first.head,
                )
            )
            upgrade.upgrade_token = context.opts["upgrade_token"]
            downgrade.downgrade_token = context.opts["downgrade_token"]
            previous = made[-1].rev_id
        scripts[:] = made

    written.process_revision_directives = directives
    heads: Any = written.script_directory.get_heads()
    # Compared already; this only makes Alembic's rendering context and calls the hooks.
    written.run_no_autogenerate(heads, context)


def _compared(context: MigrationContext) -> ops.UpgradeOps:
    found = compare(context).upgrade_ops
    assert found is not None
    return found


def _convert_types(script: ops.OpContainer, connection: Connection, warnings: list[str]) -> None:
    """Say how values are converted where PostgreSQL has no cast of its own, by trying."""
    for index, operation in enumerate(script.ops):
        if isinstance(operation, ops.OpContainer):
            _convert_types(operation, connection, warnings)
        elif isinstance(operation, ops.AlterColumnOp) and operation.modify_type is not None:
            script.ops[index] = _converted(operation, connection, warnings)


def _converted(
    operation: ops.AlterColumnOp, connection: Connection, warnings: list[str]
) -> ops.AlterColumnOp:
    table = quoted_name(operation.table_name, operation.schema)
    column = quoted_name(operation.column_name)
    kind = operation.modify_type.compile(dialect=connection.dialect)  # type: ignore[union-attr]
    change = f"ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind}"
    if _works(connection, change):
        return operation
    using = f"{column}::{kind}"
    if _works(connection, f"{change} USING {using}"):
        return UsingColumn.of(operation, using)
    warnings.append(
        f"the type of {operation.table_name}.{operation.column_name} cannot be changed to {kind} "
        "as it is (a default, an index or a constraint stands in the way): complete the revision."
    )
    return operation


def _works(connection: Connection, statement: str) -> bool:
    attempt = connection.begin_nested()
    try:
        connection.execute(text(statement.replace(":", r"\:")))
    except exc.DBAPIError:
        return False
    finally:
        attempt.rollback()
    return True


def _require_message(message: str) -> None:
    if not message.strip():
        raise ConfigurationError("a revision needs a message: -m 'what it does'.")
