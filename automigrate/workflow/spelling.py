"""How the server itself writes a constraint, whichever way the models put it.

`amount >= 0` on a numeric column is `(amount >= (0)::numeric)` to the server. Whether two are the
same can only be seen when both are in its spelling, so the models' constraint is made on a
temporary table like the real one, read back, and rolled back.

What it wrote it may write in another way when it reads it again (`IN` on a varchar column), as it
does in a restored dump. So a constraint may have several spellings.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from automigrate.workflow.domains import created_where_missing
from automigrate.workflow.enums import created_anew
from automigrate.workflow.operations import DIALECT, quoted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Constraint, Table
    from sqlalchemy.engine import Connection

__all__ = ["Spelled", "normalised", "original", "spell"]

READ = """\
select conname, pg_get_constraintdef(oid) from pg_constraint
where conrelid = %s::regclass and contype in ('c', 'x')"""
COLUMNS = """\
select attname from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped"""
NOT_COMPARED = re.compile(r"( NOT VALID| NO INHERIT| NOT ENFORCED)+$")
"""Whether old rows were looked at is a matter of the revisions; models cannot say the others."""

ARRAY_CAST = re.compile(r"\((ARRAY\[[^][]*\])\)::text\[\]")
"""A cast that the server writes, and that it would apply to each element when it reads it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelled:
    """What the server makes of a constraint."""

    name: str
    """Its own, or the one that the server gives it."""
    definitions: tuple[str, ...]
    """As from `pg_get_constraintdef`, the original one first; none where the server refuses."""
    refusal: str = ""


def normalised(definition: str) -> str:
    """Leave out of a definition what is not compared."""
    return NOT_COMPARED.sub("", definition)


def spell(connection: Connection, table: Table, constraints: Sequence[Constraint]) -> list[Spelled]:
    """Have the server write constraints of the models, on a table that exists in the database.

    Columns have the types that they have there, because that is what the constraint in the database
    was written for; where the server refuses it for them, the types that the models have.
    """
    spelled = _on_probe(connection, table, constraints, _like)
    failed = [index for index, found in enumerate(spelled) if not found.definitions]
    if failed:
        again = _on_probe(connection, table, [constraints[index] for index in failed], _anew)
        for index, found in zip(failed, again, strict=True):
            spelled[index] = found if found.definitions else spelled[index]
    return spelled


def original(connection: Connection, table: Table, definition: str) -> str:
    """Return what makes the server write exactly this definition, if that can be found."""
    without_cast = ARRAY_CAST.sub(r"\1", definition)
    if without_cast != definition:
        (found,) = _on_probe(connection, table, [without_cast], _like)
        if found.definitions[:1] == (definition,):
            return without_cast
    return definition


def _on_probe(
    connection: Connection,
    table: Table,
    constraints: Sequence[Constraint | str],
    made_by: Callable[[Any, Table, str], None],
) -> list[Spelled]:
    # It bears the table's name: expressions may name it, and so do names that the server gives.
    probe = f"pg_temp.{quoted_name(table.name)}"
    attempt = connection.begin_nested()
    raw: Any = connection.connection.dbapi_connection
    cursor = raw.cursor()
    try:
        made_by(cursor, table, probe)
        return [_spelled(connection, cursor, probe, constraint) for constraint in constraints]
    except psycopg.Error as error:
        refusal = _text(error)
        return [Spelled(name="", definitions=(), refusal=refusal) for _ in constraints]
    finally:
        attempt.rollback()


def _spelled(
    connection: Connection, cursor: Any, probe: str, constraint: Constraint | str
) -> Spelled:
    clause = constraint if isinstance(constraint, str) else _clause(constraint)
    found: list[tuple[str, str]] = []
    attempt = connection.begin_nested()
    try:
        while True:
            cursor.execute(f"alter table {probe} add {clause}")
            name, clause = cursor.execute(READ, [probe]).fetchone()
            if any(clause == earlier for _, earlier in found):
                break
            found.append((name, clause))
            cursor.execute(f"alter table {probe} drop constraint {quoted_name(name)}")
    except psycopg.Error as error:
        return Spelled(name="", definitions=(), refusal=_text(error))
    finally:
        attempt.rollback()
    definitions = tuple(normalised(definition) for _, definition in found)
    return Spelled(name=found[0][0], definitions=definitions)


def _clause(constraint: Constraint) -> str:
    compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    text: str = compiler.process(constraint)
    return text


def _like(cursor: Any, table: Table, probe: str) -> None:
    """Make it like the one in the database, with the columns added that only the models have."""
    cursor.execute(f"create temp table {quoted_name(table.name)} (like {_named(table)})")
    there = {name for (name,) in cursor.execute(COLUMNS, [probe])}
    for column in table.columns:
        if column.name not in there:
            cursor.execute(f"alter table {probe} add {_column(column)}")


def _anew(cursor: Any, table: Table, _probe: str) -> None:
    """Make it as in the models, with enum types that have all their values."""
    for statement in (*created_anew(table), *created_where_missing(table)):
        cursor.execute(statement)
    columns = ", ".join(_column(column) for column in table.columns)
    cursor.execute(f"create temp table {quoted_name(table.name)} ({columns})")


def _column(column: Any) -> str:
    return f"{quoted_name(column.name)} {column.type.compile(dialect=DIALECT)}"


def _named(table: Table) -> str:
    return quoted_name(table.name, table.schema)


def _text(error: psycopg.Error) -> str:
    return (error.diag.message_primary or str(error)).strip()
