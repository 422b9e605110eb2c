"""Sequences that belong to no column, which Alembic does not compare.

Those of serial and identity columns come and go with them. A sequence that a default, a view or a
function of the database still needs is left alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg
from alembic.operations import ops
from sqlalchemy import Sequence, text
from sqlalchemy.schema import CreateSequence

from automigrate.workflow.comparison import sequences_of
from automigrate.workflow.operations import DIALECT, Sql, columns_freed, leaves, quoted_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

    from automigrate.workflow.filters import Filters

__all__ = ["SequenceChanges", "key_of_new_table", "sequence_changes"]

KIND = "sequence"
"""As the filters, `include_name` and `include_object`, are told."""
PROBE = "automigrate_probe"
SAID_BY_MODELS = (
    "start",
    "increment",
    "minvalue",
    "maxvalue",
    "nominvalue",
    "nomaxvalue",
    "cycle",
    "cache",
    "data_type",
)
"""Options of a sequence."""
Key = tuple["str | None", str]

OPTIONS = """\
format_type(s.seqtypid, null), s.seqincrement, s.seqmin, s.seqmax, s.seqstart, s.seqcache,
  s.seqcycle"""

IN_DATABASE = text(f"""\
select case when n.nspname = current_schema() then null else n.nspname end, c.relname,
  exists (select from pg_depend d where d.classid = 'pg_class'::regclass and d.objid = c.oid
    and d.deptype in ('a', 'i') and d.refobjsubid > 0) as owned,
  array(select case when tn.nspname = current_schema() then '' else tn.nspname || '.' end
      || t.relname || '.' || a.attname
    from pg_depend d join pg_attrdef f on f.oid = d.objid
    join pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum
    join pg_class t on t.oid = f.adrelid join pg_namespace tn on tn.oid = t.relnamespace
    where d.classid = 'pg_attrdef'::regclass and d.refclassid = 'pg_class'::regclass
      and d.refobjid = c.oid) as columns,
  array(select case when tn.nspname = current_schema() then '' else tn.nspname || '.' end
      || t.typname
    from pg_depend d join pg_type t on t.oid = d.objid and t.typtype = 'd'
    join pg_namespace tn on tn.oid = t.typnamespace
    where d.classid = 'pg_type'::regclass and d.refclassid = 'pg_class'::regclass
      and d.refobjid = c.oid) as domains,
  exists (select from pg_depend d where d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
    and d.deptype = 'n' and d.classid not in ('pg_attrdef'::regclass, 'pg_type'::regclass)
    ) as needed,
  {OPTIONS}
from pg_sequence s join pg_class c on c.oid = s.seqrelid join pg_namespace n
  on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema' and not exists (
  select from pg_depend d
  where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
order by 1, 2""")  # noqa: S608 - a constant

OF_PROBE = f"""\
select {OPTIONS} from pg_sequence s where s.seqrelid = 'pg_temp.{PROBE}'::regclass"""  # noqa: S608


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceChanges:
    """What is to be done about sequences."""

    created: list[Sql] = field(default_factory=list)
    """Before the tables, whose defaults may need them."""
    altered: list[Sql] = field(default_factory=list)
    dropped: list[Sql] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """Of a sequence, all of them, as the server has them."""

    kind: str
    increment: int
    least: int
    most: int
    start: int
    cache: int
    cycle: bool

    def parts(self) -> tuple[str, ...]:
        """Write them, each as `CREATE SEQUENCE` and `ALTER SEQUENCE` take them."""
        return (
            f"AS {self.kind}",
            f"INCREMENT BY {self.increment}",
            f"MINVALUE {self.least}",
            f"MAXVALUE {self.most}",
            f"START WITH {self.start}",
            f"CACHE {self.cache}",
            "CYCLE" if self.cycle else "NO CYCLE",
        )

    def leading_to(self, other: _Options) -> str:
        """Write those of the other one that differ."""
        pairs = zip(self.parts(), other.parts(), strict=True)
        return " ".join(theirs for ours, theirs in pairs if ours != theirs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A sequence of the database."""

    owned: bool
    columns: frozenset[str]
    """Whose defaults need it."""
    domains: frozenset[str]
    """Likewise."""
    needed: bool
    """By something else, such as a view."""
    options: _Options


def sequence_changes(
    connection: Connection,
    filters: Filters,
    metadata: Iterable[MetaData],
    script: ops.UpgradeOps,
    domains_freed: Collection[str],
) -> SequenceChanges:
    """Compare the models' sequences with the database's.

    Args:
        connection: to the database.
        filters: of the project.
        metadata: the models.
        script: what else will be done; what needed a sequence may go with it.
        domains_freed: domains whose defaults no longer need what they needed.
    """
    default: Any = connection.scalar(text("select current_schema()"))
    found = _found(connection)
    changes = SequenceChanges()
    wanted: set[Key] = set()
    for sequence in chain.from_iterable(map(sequences_of, metadata)):
        key: Key = (None if sequence.schema == default else sequence.schema, sequence.name)
        if key in wanted:
            continue
        wanted.add(key)
        if key not in found:
            _create(filters, sequence, changes, script)
        elif not found[key].owned and filters.look_at(key[1], KIND, key[0]):
            wanted_options = _made_by_server(connection, sequence)
            _alter(filters, sequence, found[key].options, wanted_options, changes)
    gone = columns_freed(
        script, default, lambda changed: changed.modify_server_default is not False
    )
    for key, one in found.items():
        if key in wanted or one.owned or one.needed:
            continue
        if not one.columns <= gone or not one.domains <= set(domains_freed):
            continue
        if filters.look_at(key[1], KIND, key[0]):
            _drop(filters, key, one.options, changes)
    return changes


def key_of_new_table(column: Any) -> Any:
    """Return a key column so that its table gets the sequence that the models name, and no other.

    As SERIAL where that makes the same one; else, as `create_all` makes it, as an integer whose
    numbers SQLAlchemy fetches. Left as they are, a revision would make SERIAL of either, and a
    statement that is run at once of neither. Other columns are returned as they are.
    """
    if not _is_key_of_sequence(column):
        return column
    sequence = column.default
    made = column._copy()  # noqa: SLF001 - as Alembic copies columns
    sequence.column = column  # SQLAlchemy 2.0 hands it over to the copy
    made.default = None
    made.autoincrement = "auto" if _comes_with_serial(column) else False
    return made


def _found(connection: Connection) -> dict[Key, _Found]:
    return {
        (schema, name): _Found(
            owned=owned,
            columns=frozenset(columns),
            domains=frozenset(domains),
            needed=needed,
            options=_options(options),
        )
        for schema, name, owned, columns, domains, needed, *options in connection.execute(
            IN_DATABASE
        )
    }


def _create(
    filters: Filters, sequence: Sequence, changes: SequenceChanges, script: ops.UpgradeOps
) -> None:
    column = sequence.column
    if column is not None and _is_key_of_sequence(column) and _comes_with_serial(column):
        created = (op for op in leaves(script) if isinstance(op, ops.CreateTableOp))
        if any(
            (op.table_name, op.schema) == (column.table.name, column.table.schema) for op in created
        ):
            return
    if filters.include_wanted(sequence, sequence.name, KIND):
        statement = str(CreateSequence(sequence).compile(dialect=DIALECT))
        name = quoted_name(sequence.name, sequence.schema)
        changes.created.append(Sql(statement, f"DROP SEQUENCE {name}"))


def _alter(
    filters: Filters,
    sequence: Sequence,
    found: _Options,
    wanted: _Options | None,
    changes: SequenceChanges,
) -> None:
    if wanted is None or wanted == found:
        return
    existing = Sequence(sequence.name, schema=sequence.schema)
    if filters.include_wanted(sequence, sequence.name, KIND, existing):
        change = f"ALTER SEQUENCE {quoted_name(sequence.name, sequence.schema)}"
        forth, back = found.leading_to(wanted), wanted.leading_to(found)
        changes.altered.append(Sql(f"{change} {forth}", f"{change} {back}"))


def _drop(filters: Filters, key: Key, options: _Options, changes: SequenceChanges) -> None:
    schema, name = key
    if filters.include_gone(Sequence(name, schema=schema), name, KIND):
        quoted = quoted_name(name, schema)
        create = f"CREATE SEQUENCE {quoted} {' '.join(options.parts())}"
        changes.dropped.append(Sql(f"DROP SEQUENCE {quoted}", create))
        changes.losses.append(f"drops sequence {quoted} with the number that it has reached")


def _made_by_server(connection: Connection, sequence: Sequence) -> _Options | None:
    """Have the server complete the models' options; `None` where it refuses them."""
    compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    kind = sequence.data_type
    of = "" if kind is None else f"as {kind.compile(dialect=DIALECT)}"
    create = f"create temp sequence {PROBE} {of} {compiler.get_identity_options(sequence)}"
    attempt = connection.begin_nested()
    raw: Any = connection.connection.dbapi_connection
    try:
        cursor = raw.cursor()
        cursor.execute(create)
        return _options(cursor.execute(OF_PROBE).fetchone())
    except psycopg.Error:
        return None
    finally:
        attempt.rollback()


def _options(row: Any) -> _Options:
    kind, increment, least, most, start, cache, cycle = row
    return _Options(
        kind=kind,
        increment=increment,
        least=least,
        most=most,
        start=start,
        cache=cache,
        cycle=cycle,
    )


def _comes_with_serial(column: Any) -> bool:
    """Whether SERIAL makes for a key just the sequence that the models name."""
    sequence, table = column.default, column.table
    return (
        sequence.name == f"{table.name}_{column.name}_seq"
        and sequence.schema == table.schema
        and not any(getattr(sequence, option, None) for option in SAID_BY_MODELS)
    )


def _is_key_of_sequence(column: Any) -> bool:
    return (
        isinstance(column.default, Sequence)
        and not column.default.optional
        and column.table._autoincrement_column is column  # noqa: SLF001 - public since 2.0.4
    )
