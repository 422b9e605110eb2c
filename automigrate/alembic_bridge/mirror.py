"""Take over on our session what env.py set on its own connection.

Tenants, schemas and roles are commonly chosen by `SET` on the connection that env.py opens. Its
settings of the session are read there and set here. Work that env.py left uncommitted on its
connection is committed, so that ours can see it; that also gives back the snapshot that CREATE
INDEX CONCURRENTLY on our session would wait for, for ever (H2).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

from automigrate.database.pooler import DIRECT_URL
from automigrate.database.session import PROTECTION
from automigrate.errors import ConfigurationError, PoolerError

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.engine import Connection

__all__ = ["take_over"]

THEIRS = text(
    "select current_database()::text, pg_postmaster_start_time()::text, session_user::text,"
    " current_user::text, array(select array[name, current_setting(name)] from pg_settings"
    " where source = 'session')::text[]"
)
OURS = "select current_database()::text, pg_postmaster_start_time()::text, current_user::text"
SET = "select set_config(name, value, false) from unnest(%s::text[], %s::text[]) as t(name, value)"

_OURS_ALONE = {*PROTECTION, "application_name", "transaction_isolation", "transaction_read_only"}
_OPTIONS_ALONE = {"isolation_level"}


def take_over(
    theirs: Connection,
    ours: Connection,
    raw: psycopg.Connection[Any],
    *,
    keeps_session: bool = True,
) -> None:
    """Make our connection behave as the one that env.py prepared.

    Args:
        theirs: env.py's connection.
        ours: the one that takes its place.
        raw: the same as psycopg's.
        keeps_session: whether what is set on ours stays; not behind a pooler that lends server
            connections to single transactions.

    Raises:
        ConfigurationError: env.py's connection is to another database.
        PoolerError: it sets what decides where tables are, and that would not stay.
    """
    if theirs.dialect.name != "postgresql":
        raise ConfigurationError(
            f"env.py connects to {theirs.dialect.name}; automigrate is for PostgreSQL."
        )
    database, started, session_user, current_user, settings = theirs.execute(THEIRS).one()
    theirs.connection.commit()
    mine = raw.execute(OURS).fetchone()
    assert mine is not None
    if (database, started) != mine[:2]:
        raise ConfigurationError(
            f"env.py connects to the database {database!r}, automigrate was told {mine[0]!r}. Let "
            "env.py use `sqlalchemy.url` of its config, which automigrate sets, or give "
            "automigrate the same URL."
        )
    changed = {name: value for name, value in settings or () if name not in _OURS_ALONE}
    role = current_user if current_user not in {session_user, mine[2]} else None
    if not keeps_session:
        _refuse_settings({"search_path"} & changed.keys() | ({"role"} if role else set()))
        changed, role = {}, None
    if role is not None:
        raw.execute("select set_config('role', %s, false)", (role,))
    if changed:
        raw.execute(SET, (list(changed), list(changed.values())))
    raw.commit()
    options = {k: v for k, v in theirs.get_execution_options().items() if k not in _OPTIONS_ALONE}
    if options:
        ours.execution_options(**options)
    ours.dialect.default_schema_name = theirs.dialect.default_schema_name


def _refuse_settings(names: set[str]) -> None:
    if names:
        raise PoolerError(
            reason=f"env.py sets {' and '.join(sorted(names))} on its connection, which a pooler "
            "in transaction mode does not keep",
            remedy=DIRECT_URL,
        )
