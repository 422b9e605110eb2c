"""What a comparison finds beyond Alembic's: types, checks, exclusions, sequences, schemas."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import CheckConstraint, Column, text
from sqlalchemy.sql.elements import conv

from automigrate.workflow.comparison import compare, metadata_of, schemas_of
from automigrate.workflow.constraints import constraint_changes
from automigrate.workflow.demands import domain_changes
from automigrate.workflow.describing import described
from automigrate.workflow.domains import domains_of
from automigrate.workflow.enums import enum_changes, enums_of
from automigrate.workflow.filters import Filters
from automigrate.workflow.naming import name_constraints
from automigrate.workflow.operations import Sql, quoted_name
from automigrate.workflow.sequences import key_of_new_table, sequence_changes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import MetaData

__all__ = ["Additions", "Differences", "additions", "differences"]

SCHEMAS = text("select nspname from pg_namespace")


@dataclass(slots=True, kw_only=True)
class Additions:
    """What is to be done besides what Alembic proposes."""

    added_values: list[Sql]
    """Of enum types; must be committed before the rest."""
    before: list[ops.MigrateOperation]
    after: list[ops.MigrateOperation]
    losses: list[str]
    warnings: list[str] = field(default_factory=list)
    uncompared: list[str] = field(default_factory=list)
    """Those of the warnings that say that something could not be compared."""
    beyond: list[str] = field(default_factory=list)
    """Those of the warnings that are differences which no statement mends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Differences:
    """Between models and a database, in words."""

    found: tuple[str, ...] = ()
    uncompared: tuple[str, ...] = ()
    """Why something could not be compared."""


def differences(context: MigrationContext) -> Differences:
    """Say what would bring the database to the models; changes nothing.

    Raises:
        ConfigurationError: there are no models.
    """
    script = compare(context).upgrade_ops
    assert script is not None
    added = additions(context, script)
    script.ops[:0] = added.before
    script.ops.extend(added.after)
    values = (statement.statement for statement in added.added_values)
    return Differences(
        found=(*values, *described(script), *added.beyond), uncompared=tuple(added.uncompared)
    )


def additions(context: MigrationContext, script: ops.UpgradeOps) -> Additions:
    """Find what Alembic's comparison leaves out, and put what it says in an order that works.

    What Alembic says of check constraints is taken out of the script: it goes by their names, where
    its extension for that is used, and does not see them where a column brings them along.
    """
    connection: Any = context.connection
    metadata = metadata_of(context)
    _complete_columns(script)
    name_constraints(connection, script)
    _order_generated(script)
    filters = Filters(context)
    enums = enum_changes(connection, metadata, script)
    domains = domain_changes(connection, filters, metadata, script)
    constraints = constraint_changes(connection, filters, metadata, script)
    sequences = sequence_changes(connection, filters, metadata, script, domains.freed)
    known = set(connection.scalars(SCHEMAS))
    schemas = [
        Sql(f"CREATE SCHEMA IF NOT EXISTS {quoted_name(name)}", f"DROP SCHEMA {quoted_name(name)}")
        for name in sorted({*schemas_of(metadata), *_schemas_of_types(metadata)} - known)
    ]
    uncompared = [*constraints.warnings, *domains.warnings]
    return Additions(
        added_values=enums.added_values,
        before=[
            *schemas,
            *enums.created,
            *sequences.created,
            *sequences.altered,
            *domains.created,
            *domains.altered,
            *constraints.dropped,
            *constraints.renamed,
        ],
        after=[
            *constraints.added,
            *domains.demanded,
            *domains.dropped,
            *enums.dropped,
            *sequences.dropped,
        ],
        losses=sequences.losses,
        warnings=[
            *enums.warnings,
            *uncompared,
            *constraints.undeclared,
            *domains.undeclared,
            *domains.notes,
            *(f"{difference}." for difference in domains.beyond),
        ],
        uncompared=uncompared,
        beyond=domains.beyond,
    )


def _schemas_of_types(metadata: Sequence[MetaData]) -> Iterator[str]:
    for (schema, _), _ in enums_of(metadata, None):
        yield from filter(None, [schema])
    for domain in domains_of(metadata):
        yield from filter(None, [domain.schema])


def _complete_columns(container: ops.OpContainer) -> None:
    """Drop what Alembic says of checks, and make those of columns checks of their table.

    Alembic does not render the latter, and adds no column with them. Keys of new tables are told
    whether they are serial.
    """
    for operation in list(container.ops):
        match operation:
            case ops.OpContainer():
                _complete_columns(operation)
            case ops.CreateCheckConstraintOp():
                container.ops.remove(operation)
            case ops.DropConstraintOp() if operation.constraint_type == "check":
                container.ops.remove(operation)
            case ops.AddColumnOp():
                operation.column = _plain(operation.column)
            case ops.CreateTableOp():
                operation.columns = [
                    *(_plain(_keyed(part)) for part in operation.columns),
                    *(made for part in operation.columns for made in _checks(part)),
                ]


def _keyed(part: Any) -> Any:
    return key_of_new_table(part) if isinstance(part, Column) else part


def _order_generated(container: ops.OpContainer) -> None:
    """Add generated columns after those that they are made of, and drop them before."""
    for operation in container.ops:
        if isinstance(operation, ops.OpContainer):
            _order_generated(operation)
    for kind, rank in ((ops.AddColumnOp, _generated_last), (ops.DropColumnOp, _generated_first)):
        places = [index for index, one in enumerate(container.ops) if isinstance(one, kind)]
        ordered = sorted((container.ops[index] for index in places), key=rank)
        for index, operation in zip(places, ordered, strict=True):
            container.ops[index] = operation


def _generated_last(operation: Any) -> bool:
    return operation.column.computed is not None


def _generated_first(operation: Any) -> bool:
    return operation.to_column().computed is None


def _plain(part: Any) -> Any:
    """Leave the checks of a column out, in a copy."""
    if not list(_checks(part)):
        return part
    made = part._copy()  # noqa: SLF001 - as Alembic copies columns
    made.constraints = {one for one in made.constraints if not isinstance(one, CheckConstraint)}
    return made


def _checks(part: Any) -> list[CheckConstraint]:
    if not hasattr(part, "constraints"):
        return []
    return [
        CheckConstraint(one.sqltext, name=None if one.name is None else conv(str(one.name)))
        for one in part.constraints
        if isinstance(one, CheckConstraint) and not one._type_bound  # noqa: SLF001
    ]
