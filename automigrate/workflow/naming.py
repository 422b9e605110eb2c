"""Names for the constraints that models leave unnamed, as PostgreSQL itself chooses them.

On a table that exists a revision needs them: for its downgrade, and for the steps of a safe form.
"""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING, Any

from alembic.operations import ops
from sqlalchemy import text
from sqlalchemy.sql.elements import conv

from automigrate.workflow.operations import leaves

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.engine import Connection

__all__ = ["fitting", "name_constraints"]

LONGEST_IDENTIFIER = 63

TAKEN = text("""\
select c.relname::text from pg_class c where c.relnamespace = to_regnamespace(:schema)
union
select k.conname::text from pg_constraint k where k.connamespace = to_regnamespace(:schema)""")


def name_constraints(connection: Connection, script: ops.UpgradeOps) -> None:
    """Name the unique constraints and foreign keys that are added to tables without a name."""
    for operation in leaves(script):
        match operation:
            case ops.CreateUniqueConstraintOp(constraint_name=None):
                schema, table = operation.schema, operation.table_name
                name = _free(connection, schema, table, operation.columns, "key")
                operation.constraint_name = name
            case ops.CreateForeignKeyOp(constraint_name=None):
                schema, table = operation.kw.get("source_schema"), operation.source_table
                name = _free(connection, schema, table, operation.local_cols, "fkey")
                operation.constraint_name = name


def fitting(name: str, ending: str) -> str:
    """Shorten a name so that it fits with its ending, in bytes."""
    room = LONGEST_IDENTIFIER - len(ending) - 1
    return f"{name.encode()[:room].decode(errors='ignore')}_{ending}"


def _free(
    connection: Connection, schema: str | None, table: str, columns: Sequence[Any], ending: str
) -> str:
    place: Any = schema or connection.scalar(text("select current_schema()"))
    taken = set(
        connection.scalars(TAKEN, {"schema": connection.dialect.identifier_preparer.quote(place)})
    )
    base = f"{table}_{'_'.join(map(str, columns))}"
    endings = chain([ending], (f"{ending}{number}" for number in count(1)))
    return conv(next(name for one in endings if (name := fitting(base, one)) not in taken))
