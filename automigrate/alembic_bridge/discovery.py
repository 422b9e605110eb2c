"""Find the version tables that env.py configures, by running it without applying anything.

For projects whose env.py computes them, such as one per tenant. env.py does what it does at
`alembic current`: it connects, it may create a schema; `run_migrations` only tells where it would.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from automigrate.alembic_bridge.engine import connection_on, let_go
from automigrate.alembic_bridge.env_run import EnvRun, in_thread, one_run_per_process
from automigrate.alembic_bridge.env_statements import pass_locks
from automigrate.alembic_bridge.mirror import identity_of, require_postgresql
from automigrate.database.session import Tables, quoted
from automigrate.errors import ConfigurationError, ScriptImportError
from automigrate.scripts.env_py import configured_tables

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    import psycopg
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from automigrate.database.session import Session
    from automigrate.deadline import Control, Deadline
    from automigrate.options import Options
    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.location import ScriptLocation

__all__ = [
    "RESOLVE",
    "Discovered",
    "configured_schema",
    "find_tables",
    "nothing_for_us",
    "remembered",
]

RESOLVE = """\
select coalesce(
  (select n.nspname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = to_regclass({table})), current_schema()::text)"""
"""Schema in which the session's search_path finds the version table, or would create it."""


CHOSEN = """\
select current_schema()::text from pg_settings
where name = 'search_path' and source in ('session', 'client')"""
"""First schema of a search_path that was set for the session, as Alembic's tenants do."""


class Discovered(NamedTuple):
    """What env.py configures for our database."""

    tables: tuple[Tables, ...]
    """In order; none where it loops over schemas, and there is none yet."""
    stopped: ScriptImportError | None = None
    """What ended env.py before it had configured all: it may need what is not applied yet, as where
    the first history makes the table of tenants that the others are read from."""


_REMEMBERED: dict[Hashable, Discovered] = {}
"""For processes that look again and again: env.py must not run for each of their looks."""


def remembered(description: Hashable) -> Discovered | None:
    """Return what was found in this process before."""
    return _REMEMBERED.get(description)


def find_tables(
    location: ScriptLocation,
    graph: ScriptGraph,
    session: Session,
    *,
    options: Options,
    sqlalchemy_url: Callable[[str], str],
    connect: Callable[[], psycopg.Connection[Any]],
    reason: Callable[[BaseException], str],
    control: Control,
    deadline: Deadline,
    remember_as: Hashable,
) -> Discovered:
    """Run env.py and collect the version tables it configures for our database.

    Takes no lock; env.py's own advisory locks are tried once and not waited for.

    Raises:
        ConfigurationError: env.py configures nothing for our database.
        AutomigrateError: env.py failed.
        SessionLostError: its connection failed, and a later one may not.
    """
    env_run = EnvRun(
        location,
        graph,
        session.connection,
        sqlalchemy_url=sqlalchemy_url,
        target=options.target,
        x_arguments=options.x_arguments,
        text_of=lambda error: f"{type(error).__name__}: {reason(error)}",
    )
    found: dict[Tables, None] = {}
    elsewhere: set[str] = set()

    configure = _noting(found, elsewhere, identity_of(session.connection))

    def nothing(*_: Any) -> list[Any]:
        return []

    def run(ours: Connection | None = None) -> None:
        env_run.run(configure, nothing, locks=pass_locks, ours=ours)

    def run_with_connection() -> None:
        if env_run.needs_ours or not _comes_without(env_run, run):
            url = sqlalchemy_url("postgresql+psycopg")
            with _lent(session, url, connect, deadline) as ours:
                run(ours)

    stopped = None
    with one_run_per_process(deadline, control):
        try:
            in_thread(run_with_connection, control)
        except ScriptImportError as error:
            if not found:
                raise
            stopped = error
    if not found and (elsewhere or not _loops(location)):
        raise nothing_for_us(elsewhere)
    discovered = Discovered(tuple(found), stopped)
    if found and stopped is None:
        _REMEMBERED[remember_as] = discovered
    return discovered


def _noting(
    found: dict[Tables, None], elsewhere: set[str], identity: tuple[str, str]
) -> Callable[..., None]:
    """Stand for `configure`: note the version table where the revisions would run."""

    def configure(
        environment: EnvironmentContext,
        original: Callable[..., None],
        connection: Connection | None = None,
        **kwargs: Any,
    ) -> None:
        if connection is not None:
            require_postgresql(connection)
        original(connection=connection, **kwargs)
        context = environment.get_context()

        def run_migrations(**_: Any) -> None:
            assert context.connection is not None
            row = context.connection.execute(
                text("select current_database()::text, pg_postmaster_start_time()::text")
            ).one()
            if tuple(row) == identity:
                found[_tables(context)] = None
            else:
                elsewhere.add(row[0])

        context.run_migrations = run_migrations  # type: ignore[method-assign]

    return configure


def _comes_without(env_run: EnvRun, run: Callable[[], None]) -> bool:
    """Run env.py; says whether it could do without a connection of the program's."""
    try:
        run()
    except ScriptImportError:
        if env_run.lacks_connection:
            return False
        raise
    return True


@contextmanager
def _lent(
    session: Session,
    url: str,
    connect: Callable[[], psycopg.Connection[Any]],
    deadline: Deadline,
) -> Iterator[Connection]:
    """Lend our session to an env.py that wants a connection of the program's."""
    raw = session.connection
    connection = connection_on(
        raw, url=url, connect=connect, deadline=deadline, on_commit_elsewhere=lambda: None
    )
    try:
        yield connection
    finally:
        connection.rollback()
        let_go(connection)
        raw.autocommit = True


def _loops(location: ScriptLocation) -> bool:
    return location.env_file is not None and configured_tables(location.env_file).loops


def configured_schema(context: MigrationContext) -> str | None:
    """Return the schema that env.py names for the version table; `None`: the search_path's."""
    schema = context.version_table_schema
    assert context.connection is not None
    translated = context.connection.get_execution_options().get("schema_translate_map") or {}
    return translated.get(schema, schema)


def nothing_for_us(elsewhere: set[str]) -> ConfigurationError:
    """Say that env.py has no migrations for the database that automigrate was given."""
    if elsewhere:
        names = ", ".join(repr(name) for name in sorted(elsewhere))
        return ConfigurationError(
            f"env.py connects to the database {names}, which is not the one that automigrate was "
            "given. Let env.py use `sqlalchemy.url` of its config, which automigrate sets, or give "
            "automigrate the same URL."
        )
    return ConfigurationError(
        "env.py ran to its end without calling context.run_migrations(). Is there a condition in "
        "it that does not hold here?"
    )


def _tables(context: MigrationContext) -> Tables:
    schema, home = configured_schema(context), _home(context)
    name = context.version_table
    if schema is None:
        assert context.connection is not None
        query = text(RESOLVE.format(table=":name"))
        schema = context.connection.execute(query, {"name": quoted(name)}).scalar()
    return Tables(name, schema, None if home == schema else home)


def _home(context: MigrationContext) -> str | None:
    """Return the schema that env.py has chosen for its session, if it has."""
    assert context.connection is not None
    translated = context.connection.get_execution_options().get("schema_translate_map") or {}
    chosen: str | None = translated.get(None)
    return chosen or context.connection.execute(text(CHOSEN)).scalar()
