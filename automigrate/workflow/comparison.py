"""Compare models with a database through Alembic's autogenerate, with what it lacks filled in.

Our own tables are left out. Types and server defaults are compared. With models in several schemas
all of these are looked at. What env.py configures itself stays as it is.
"""

from __future__ import annotations

import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from alembic.autogenerate import produce_migrations
from alembic.autogenerate.render import _repr_type
from sqlalchemy import CheckConstraint, DefaultClause, Sequence, exc, text, types
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.sql.elements import TextClause, conv

from automigrate.database.session import OWN_TABLES
from automigrate.errors import ConfigurationError, ScriptError
from automigrate.workflow.operations import DIALECT, escaped, expression_of, quoted_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from alembic.operations.ops import MigrationScript
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy import Column, MetaData, Table
    from sqlalchemy.types import TypeEngine

__all__ = [
    "compare",
    "configured",
    "has_enum_package",
    "include_object",
    "metadata_of",
    "quiet_reflection",
    "schemas_of",
    "sequences_of",
]

ENUM_PACKAGE = "alembic_postgresql_enum"
PROBE = "automigrate_probe"
WRITTEN = f"""\
select pg_get_expr(adbin, adrelid) from pg_attrdef
where adrelid = 'pg_temp.{PROBE}'::regclass"""  # noqa: S608 - a constant
OF_COLUMN = text("""\
select not attnotnull, atthasdef from pg_attribute
where attrelid = cast(:table as regclass) and attname = :column""")
NO_MODELS = (
    "there are no models to compare with: env.py configures no target_metadata. Set it there, or "
    "give --models package.module:Base."
)


def include_object(
    _object: object,
    name: str | None,
    kind: str,
    _reflected: bool,  # noqa: FBT001 - Alembic's signature
    _compare_to: object,
) -> bool:
    """Leave automigrate's own tables out; for `context.configure` of plain Alembic, too."""
    return not (kind == "table" and name in OWN_TABLES)


def configured() -> dict[str, Any]:
    """Return what `Rehearsal` shall configure Alembic with for a comparison."""
    return {
        "compare_type": lambda given, _: differ_in_length if given in (None, True) else given,
        "compare_server_default": lambda given, _: True if given is None else given,
        "include_object": lambda given, _: _both(given),
        "include_schemas": _include_schemas,
        "include_name": _include_name,
        "render_item": lambda given, _: _render_item(given),
    }


def compare(context: MigrationContext) -> MigrationScript:
    """Return the operations that bring the database to the models.

    Raises:
        ConfigurationError: there are no models.
        ScriptError: the server refuses what an extension of Alembic asks it.
    """
    metadata_of(context)
    target: Any = context.opts["target_metadata"]
    _normalise_defaults(context)
    _tell_columns_from_domains(context)
    try:
        with quiet_reflection():
            return produce_migrations(context, target)
    except (exc.ProgrammingError, exc.NotSupportedError, exc.InternalError) as error:
        reason = " ".join(str(error.orig).split("\n", 1)[0].split())
        raise ScriptError(
            f"models and database cannot be compared: {reason}. What env.py registers, such as a "
            "view of alembic_utils, may need a table that no revision makes yet: generate that one "
            "first, and register afterwards."
        ) from error


@contextmanager
def quiet_reflection() -> Iterator[None]:
    """Leave out a warning of SQLAlchemy's reflection at each check that is NOT VALID.

    It hands on an option that it has reflected under a name that it does not know itself.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Can't validate argument 'dialect_options'")
        yield


def metadata_of(context: MigrationContext) -> tuple[MetaData, ...]:
    """Return the models' metadata.

    Raises:
        ConfigurationError: there is none.
    """
    found = context.opts.get("target_metadata")
    listed = tuple(found) if isinstance(found, list | tuple) else (found,)
    if not listed or listed[0] is None:
        raise ConfigurationError(NO_MODELS)
    return listed


def schemas_of(metadata: Iterable[MetaData]) -> set[str]:
    """Collect the schemas that models name."""
    return {
        item.schema
        for found in metadata
        for item in (*found.tables.values(), *sequences_of(found))
        if item.schema
    }


def sequences_of(metadata: MetaData) -> list[Sequence]:
    """List the sequences that `create_all` would make."""
    known = metadata._sequences  # noqa: SLF001 - there is no other way to them
    return [sequence for sequence in known.values() if not sequence.optional]


def differ_in_length(
    context: MigrationContext,
    _inspected: object,
    _column: object,
    found: TypeEngine[Any],
    wanted: TypeEngine[Any],
) -> bool | None:
    """See what Alembic does not: that one text has a length and the other has none.

    And that an enum type of the default schema is the same, whether the models name that or not.
    """
    kind = wanted.dialect_impl(context.dialect)
    kind = kind.impl_instance if isinstance(kind, types.TypeDecorator) else kind
    if isinstance(kind, types.Enum) and isinstance(found, types.Enum) and kind.native_enum:
        default = context.dialect.default_schema_name
        places = {(of.schema or default, of.name) for of in (kind, found)}
        return False if len(places) == 1 else None
    if not isinstance(kind, types.String) or not isinstance(found, types.String):
        return None
    if isinstance(kind, types.Text | types.Enum) or isinstance(found, types.Text | types.Enum):
        return None
    return True if kind.length != found.length else None


def _normalise_defaults(context: MigrationContext) -> None:
    """Compare server defaults in the server's own spelling.

    Alembic evaluates both and compares the values, which fails for texts with a quote, and is never
    equal for functions whose result changes.
    """
    if getattr(context.impl, "normalises_defaults", False):
        return
    impl: Any = context.impl
    connection: Any = context.connection
    original = impl.compare_server_default

    def compare_server_default(
        inspected: Column[Any], column: Column[Any], rendered: str | None, found: str | None
    ) -> bool:
        if found is not None and isinstance(column.server_default, DefaultClause):
            spelled = _spelled(context, inspected, column)
            if spelled is not None:
                return bool(spelled != found)
        try:
            with connection.begin_nested():
                return bool(original(inspected, column, rendered, found))
        except exc.DBAPIError:  # for example a value that its enum type has not yet
            return True

    impl.compare_server_default = compare_server_default
    impl.normalises_defaults = True


def _tell_columns_from_domains(context: MigrationContext) -> None:
    """Keep what a domain demands from being reflected as if its columns demanded it."""
    if getattr(context.impl, "tells_columns_from_domains", False):
        return
    impl: Any = context.impl
    connection: Any = context.connection
    original = impl.autogen_column_reflect

    def autogen_column_reflect(inspector: Any, table: Table, column: Any) -> None:
        original(inspector, table, column)
        if isinstance(column["type"], DOMAIN):
            named = {"table": quoted_name(table.name, table.schema), "column": column["name"]}
            column["nullable"], has_default = connection.execute(OF_COLUMN, named).one()
            column["default"] = column["default"] if has_default else None

    impl.autogen_column_reflect = autogen_column_reflect
    impl.tells_columns_from_domains = True


def _spelled(context: MigrationContext, inspected: Column[Any], column: Column[Any]) -> str | None:
    """Have the server write the models' default its way; `None` where it refuses."""
    connection = context.connection
    assert connection is not None
    kind = inspected.type.compile(dialect=DIALECT)
    compiler: Any = DIALECT.ddl_compiler(DIALECT, None)  # type: ignore[arg-type]
    wanted = compiler.get_column_default_string(column)
    attempt = connection.begin_nested()
    raw: Any = connection.connection.dbapi_connection
    try:
        cursor = raw.cursor()
        cursor.execute(f"create temp table {PROBE} (probed {kind} default {wanted})")
        row = cursor.execute(WRITTEN).fetchone()
    except psycopg.Error:
        return None
    finally:
        attempt.rollback()
    return None if row is None else str(row[0])


def has_enum_package() -> bool:
    """Whether the project uses the maintained package for enum types, which then takes over.

    Importing it (in env.py, or beside the models) is how it is used. That it is installed is not
    enough: it replaces types under a full lock, and proposes values in the middle again and again.
    """
    return ENUM_PACKAGE in sys.modules


def _both(given: Callable[..., bool] | None) -> Callable[..., bool]:
    def included(*arguments: Any) -> bool:
        return include_object(*arguments) and (given is None or given(*arguments))

    return included


def _named(arguments: dict[str, Any]) -> set[str]:
    found = arguments.get("target_metadata")
    listed = found if isinstance(found, list | tuple) else [found]
    return schemas_of([metadata for metadata in listed if metadata is not None])


def _include_schemas(given: bool | None, arguments: dict[str, Any]) -> bool:  # noqa: FBT001
    return bool(_named(arguments)) if given is None else given


def _include_name(
    given: Callable[..., bool] | None, arguments: dict[str, Any]
) -> Callable[..., bool] | None:
    if given is not None or arguments.get("include_schemas") is not True:
        return given
    schemas = _named(arguments)

    def included(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "schema" or name is None or name in schemas

    return included


def _render_item(given: Callable[..., Any] | None) -> Callable[..., Any]:
    """Write enums and domains as types that own statements create, and texts as they are.

    Alembic doubles the percent signs in them, and takes back the escapes of their colons.
    """

    def render(kind: str, item: Any, context: Any) -> Any:
        text = given(kind, item, context) if given is not None else False
        if text is False and kind == "check" and not item._type_bound:  # noqa: SLF001
            return _check(item, context)
        if text is False and kind == "server_default" and _is_text(item):
            return _text(item.arg, context)
        if text is not False or kind != "type":
            return text
        if isinstance(item, DOMAIN):
            return _domain(item, context)
        if not isinstance(item, types.Enum):
            return False
        if not item.native_enum or not item.name or has_enum_package():
            return False
        context.imports.add("from sqlalchemy.dialects import postgresql")
        values = ", ".join(repr(value) for value in item.enums)
        schema = f", schema={item.schema!r}" if item.schema else ""
        return f"postgresql.ENUM({values}, name={str(item.name)!r}{schema}, create_type=False)"

    return render


def _is_text(item: object) -> bool:
    return isinstance(item, DefaultClause) and isinstance(item.arg, TextClause)


def _text(item: Any, context: Any) -> str:
    written = escaped(str(item.compile(dialect=DIALECT)))
    return f"{context.opts['sqlalchemy_module_prefix'] or ''}text({written!r})"


def _domain(item: DOMAIN, context: Any) -> str:
    context.imports.add("from sqlalchemy.dialects import postgresql")
    schema = f", schema={item.schema!r}" if item.schema else ""
    kind = _repr_type(item.data_type, context)
    return f"postgresql.DOMAIN({str(item.name)!r}, {kind}{schema}, create_type=False)"


def _check(item: CheckConstraint, context: Any) -> str:
    arguments = [repr(escaped(expression_of(item.sqltext)))]
    if item.name is not None:
        prefix = context.opts["alembic_module_prefix"] or ""
        name = repr(str(item.name))
        arguments.append(
            f"name={prefix}f({name})" if isinstance(item.name, conv) else f"name={name}"
        )
    arguments += [f"{name}={value!r}" for name, value in item.dialect_kwargs.items()]
    return (
        f"{context.opts['sqlalchemy_module_prefix'] or ''}CheckConstraint({', '.join(arguments)})"
    )
