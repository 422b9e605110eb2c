"""How the server itself writes a constraint or a domain, whichever way the models put it.

`amount >= 0` on a numeric column is `(amount >= (0)::numeric)` to the server. Whether two are the
same can only be seen when both are in its spelling, so the models' constraint is made on a
temporary table like the real one, read back, and rolled back.

What it wrote it may write in another way when it reads it again (`IN` on a varchar column), as it
does in a restored dump. So a constraint may have several spellings.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from automigrate.workflow.domains import DEMANDS, Demands, create, created_where_missing
from automigrate.workflow.enums import created_anew
from automigrate.workflow.operations import DIALECT, quoted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Constraint, Table
    from sqlalchemy.dialects.postgresql import DOMAIN
    from sqlalchemy.engine import Connection

__all__ = [
    "Spelled",
    "SpelledDomain",
    "normalised",
    "original",
    "original_of_domain",
    "spell",
    "spell_domain",
]

OF_TABLE = """\
select conname, pg_get_constraintdef(oid) from pg_constraint
where conrelid = %s::regclass and contype in ('c', 'x')"""
OF_DOMAIN = """\
select conname, pg_get_constraintdef(oid) from pg_constraint
where contypid = %s::regtype and contype = 'c'"""
DEMANDED = f"select {DEMANDS} from pg_type t where t.oid = %s::regtype"  # noqa: S608 - a constant
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


@dataclass(frozen=True, slots=True, kw_only=True)
class SpelledDomain:
    """What the server makes of a domain."""

    demands: Demands | None
    """`None` where the server refuses."""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Of its checks: name → definitions."""
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Probe:
    """What constraints are tried on."""

    kind: str
    """`table` or `domain`."""
    name: str
    read: str
    """The query for its constraints."""


DOMAIN_PROBE = _Probe(kind="domain", name="pg_temp.automigrate_probe", read=OF_DOMAIN)


def normalised(definition: str) -> str:
    """Leave out of a definition what is not compared."""
    return NOT_COMPARED.sub("", definition)


def spell(connection: Connection, table: Table, constraints: Sequence[Constraint]) -> list[Spelled]:
    """Have the server write constraints of the models, on a table that exists in the database.

    Columns have the types that they have there, because that is what the constraint in the database
    was written for; where the server refuses it for them, the types that the models have.
    """
    clauses = [_clause(constraint) for constraint in constraints]
    probe = _table_probe(table)
    spelled = _on_probe(connection, probe, partial(_like, table), clauses)
    failed = [index for index, found in enumerate(spelled) if not found.definitions]
    if failed:
        left = [clauses[index] for index in failed]
        again = _on_probe(connection, probe, partial(_anew, table), left)
        for index, found in zip(failed, again, strict=True):
            spelled[index] = found if found.definitions else spelled[index]
    return spelled


def spell_domain(connection: Connection, domain: DOMAIN) -> SpelledDomain:
    """Have the server write a domain of the models."""
    probe = f"pg_temp.{quoted_name(str(domain.name))}"  # for the names that the server gives
    try:
        with _rolled_back(connection) as cursor:
            cursor.execute(create(domain, probe))
            demands = Demands.of(cursor.execute(DEMANDED, [probe]).fetchone())
    except psycopg.Error as error:
        return SpelledDomain(demands=None, refusal=_text(error))
    first = list(demands.checks.values())
    again = _on_probe(connection, DOMAIN_PROBE, partial(_domain, demands.kind), first)
    spellings = {
        name: (definition, *further.definitions)
        for (name, definition), further in zip(demands.checks.items(), again, strict=True)
    }
    return SpelledDomain(demands=demands, spellings=spellings)


def original(connection: Connection, table: Table, definition: str) -> str:
    """Return what makes the server write exactly this definition, if that can be found."""
    return _original(connection, _table_probe(table), partial(_like, table), definition)


def original_of_domain(connection: Connection, kind: str, definition: str) -> str:
    """Return the same for a check of a domain with this base type."""
    return _original(connection, DOMAIN_PROBE, partial(_domain, kind), definition)


def _original(
    connection: Connection, probe: _Probe, made_by: Callable[[Any, _Probe], None], definition: str
) -> str:
    without_cast = ARRAY_CAST.sub(r"\1", definition)
    if without_cast != definition:
        (found,) = _on_probe(connection, probe, made_by, [without_cast])
        if found.definitions[:1] == (definition,):
            return without_cast
    return definition


def _on_probe(
    connection: Connection,
    probe: _Probe,
    made_by: Callable[[Any, _Probe], None],
    clauses: Sequence[str],
) -> list[Spelled]:
    try:
        with _rolled_back(connection) as cursor:
            made_by(cursor, probe)
            return [_spelled(connection, cursor, probe, clause) for clause in clauses]
    except psycopg.Error as error:
        refusal = _text(error)
        return [Spelled(name="", definitions=(), refusal=refusal) for _ in clauses]


def _spelled(connection: Connection, cursor: Any, probe: _Probe, clause: str) -> Spelled:
    found: list[tuple[str, str]] = []
    change = f"alter {probe.kind} {probe.name}"
    try:
        with _rolled_back(connection):
            while True:
                cursor.execute(f"{change} add {clause}")
                name, clause = cursor.execute(probe.read, [probe.name]).fetchone()
                if any(clause == earlier for _, earlier in found):
                    break
                found.append((name, clause))
                cursor.execute(f"{change} drop constraint {quoted_name(name)}")
    except psycopg.Error as error:
        return Spelled(name="", definitions=(), refusal=_text(error))
    definitions = tuple(normalised(definition) for _, definition in found)
    return Spelled(name=found[0][0], definitions=definitions)


@contextmanager
def _rolled_back(connection: Connection) -> Iterator[Any]:
    """Give a cursor of psycopg, whose statements are rolled back."""
    attempt = connection.begin_nested()
    raw: Any = connection.connection.dbapi_connection
    try:
        yield raw.cursor()
    finally:
        attempt.rollback()


def _clause(constraint: Constraint) -> str:
    compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    text: str = compiler.process(constraint)
    return text


def _table_probe(table: Table) -> _Probe:
    # It bears the table's name: expressions may name it, and so do names that the server gives.
    return _Probe(kind="table", name=f"pg_temp.{quoted_name(table.name)}", read=OF_TABLE)


def _domain(kind: str, cursor: Any, probe: _Probe) -> None:
    cursor.execute(f"create domain {probe.name} as {kind}")


def _like(table: Table, cursor: Any, probe: _Probe) -> None:
    """Make it like the one in the database, with the columns added that only the models have."""
    cursor.execute(f"create temp table {quoted_name(table.name)} (like {_named(table)})")
    there = {name for (name,) in cursor.execute(COLUMNS, [probe.name])}
    for column in table.columns:
        if column.name not in there:
            cursor.execute(f"alter table {probe.name} add {_column(column)}")


def _anew(table: Table, cursor: Any, _probe: _Probe) -> None:
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
