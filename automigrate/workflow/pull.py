"""Models from a database, through sqlacodegen (extra `pull`)."""

from __future__ import annotations

import importlib.util
import warnings
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from sqlalchemy import MetaData, create_engine, exc, pool, text

from automigrate.database.session import OWN_TABLES, VERSION_TABLE
from automigrate.errors import ConfigurationError, ScriptImportError
from automigrate.workflow.reaching import reaching

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from automigrate.database.url import DatabaseURL

__all__ = ["Pulled", "load", "pull"]

GROUP = "sqlacodegen.generators"
LEFT_OUT = text("""\
select what, count(*) from (
  select case c.relkind when 'v' then 'view' else 'materialized view' end as what
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where c.relkind in ('v', 'm') and n.nspname !~ '^(pg_|information_schema)' and not exists (
    select from pg_depend d where d.objid = c.oid and d.deptype = 'e')
  union all
  select 'function' from pg_proc p join pg_namespace n on n.oid = p.pronamespace
  where n.nspname !~ '^(pg_|information_schema)' and not exists (
    select from pg_depend d where d.objid = p.oid and d.deptype = 'e')
  union all
  select 'trigger' from pg_trigger where not tgisinternal
  union all
  select 'policy' from pg_policy) o
group by what order by what""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    """Models, and what they cannot say."""

    source: str
    tables: int
    left_out: tuple[str, ...]
    """Objects that models do not describe, such as `2 x view`."""


def pull(
    url: DatabaseURL,
    *,
    generator: str = "declarative",
    schemas: Sequence[str] = (),
    version_table: str = VERSION_TABLE,
) -> Pulled:
    """Read the tables of a database and write models for them.

    Args:
        url: the database; it is only read.
        generator: as sqlacodegen calls it: `declarative`, `dataclasses`, `tables`, `sqlmodels`.
        schemas: by default that of the search_path.
        version_table: which is left out, like automigrate's own tables.

    Raises:
        ConfigurationError: sqlacodegen is missing, does not know the generator, or there is no
            table.
        DatabaseUnavailableError: the database cannot be asked.
    """
    if importlib.util.find_spec("sqlacodegen") is None:
        raise ConfigurationError("`pull` needs sqlacodegen: `pip install automigrate[pull]`.")
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if generator not in found:
        raise ConfigurationError(
            f"sqlacodegen has no generator {generator!r}; it knows {', '.join(sorted(found))}."
        )
    metadata = MetaData()
    engine = create_engine(url.sqlalchemy_url(), poolclass=pool.NullPool)

    def ours(name: str, _: object) -> bool:
        return name not in (version_table, *OWN_TABLES)

    with reaching(url), engine.connect() as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore", exc.SAWarning)  # types that become NullType are told below
        for schema in schemas or (None,):
            metadata.reflect(connection, schema=schema, only=ours)
        if not metadata.tables:
            raise ConfigurationError(f"{url.describe()} has no table to pull.")
        tables = len(metadata.tables)
        kind: Any = found[generator].load()
        source = kind(metadata, connection, set()).generate()
        left_out = [f"{count} x {what}" for what, count in connection.execute(LEFT_OUT)]
    return Pulled(source=source, tables=tables, left_out=tuple(left_out))


def load(file: Path) -> MetaData:
    """Import models from a file, wherever it lies, and return their metadata.

    Raises:
        ScriptImportError: it raised.
        ConfigurationError: it has no metadata.
    """
    spec = importlib.util.spec_from_file_location(f"automigrate_pulled_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ScriptImportError(file=str(file), reason=reason) from error
    for name in ("Base", "metadata", "SQLModel"):
        held = getattr(module, name, None)
        metadata = getattr(held, "metadata", held)
        if isinstance(metadata, MetaData):
            return metadata
    raise ConfigurationError(f"{file} has neither a Base nor metadata.")
