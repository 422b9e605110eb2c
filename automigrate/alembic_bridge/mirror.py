"""Take over on our session what env.py sets on its own connection.

Tenants, schemas and roles are commonly chosen by `SET` on the connection that env.py opens, or by
its `connect_args`. The settings of that session are read and set on ours, whether they were meant
for the session or for the transaction.

env.py's connection must not be in our way: where its transaction holds a snapshot, which CREATE
INDEX CONCURRENTLY on our session would wait for, for ever (H2), or a lock on a table, or has
written, it is committed. A transaction with nothing but advisory locks is left as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import text

from automigrate.alembic_bridge.engine import autocommitting, commit_beneath
from automigrate.alembic_bridge.listeners import Listeners
from automigrate.database.pooler import DIRECT_URL
from automigrate.database.session import PROTECTION
from automigrate.errors import ConfigurationError, PoolerError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import psycopg
    from sqlalchemy.engine import Connection

__all__ = ["IDENTITY", "Mirror", "identity_of", "in_autocommit", "require_postgresql"]

IDENTITY = "select current_database()::text, pg_postmaster_start_time()::text"
THEIRS = text(
    "select current_database()::text, pg_postmaster_start_time()::text, session_user::text,"
    " current_user::text, pg_backend_pid(), array(select array[name, current_setting(name)]"
    " from pg_settings where source in ('session', 'client') or name = 'search_path')::text[]"
)
OURS = "select current_user::text"
SET = """\
with changed as (
  select name, value from unnest(%s::text[], %s::text[]) as t(name, value)
  where current_setting(name, true) is distinct from value)
select name, set_config(name, value, false) from changed"""
RESET = """\
select set_config(name, coalesce(reset_val, ''), false)
from unnest(%s::text[]) as t(name) left join pg_settings using (name)"""
CUSTOM = text("select current_setting(:name, true)")
SET_ROLE = "select set_config('role', %s, false)"
LOCAL = """\
select current_user::text, array(select array[name, current_setting(name)]
  from pg_settings where source = 'session')::text[]"""

# Not the current values: the server connection may be the one that env.py has just set.
UNTOUCHED = "select reset_val, session_user::text from pg_settings where name = 'search_path'"

# Objects of the catalogue have oids below 16384 (manual, 69.2.2). Of sessions of other users
# nothing is seen.
IN_THE_WAY = """\
select exists (select from pg_locks l where l.pid = %(pid)s and l.granted
    and (l.locktype = 'transactionid' or l.locktype = 'relation' and l.relation >= 16384))
  or exists (select from pg_stat_activity a where a.pid = %(pid)s
    and (a.backend_xmin is not null or a.backend_xid is not null
      or a.usename is distinct from session_user))"""

_OURS_ALONE = {
    *PROTECTION,
    "application_name",
    "client_encoding",
    "DateStyle",
    "IntervalStyle",
    "synchronous_commit",
    "transaction_isolation",
    "transaction_read_only",
}
_OPTIONS_ALONE = {"isolation_level"}


class _Prepared(NamedTuple):
    database: str
    started: str
    session_user: str
    role: str | None
    pid: int
    settings: dict[str, str]


class Mirror:
    """What our session took over, for one run of env.py, which may have several connections.

    Args:
        ours: our connection.
        raw: the same as psycopg's.
        keeps_session: whether what is set on it stays; not behind a pooler that lends server
            connections to single transactions.
        custom: settings with a dot in their name that env.py has set so far, which PostgreSQL does
            not list.
    """

    def __init__(
        self,
        ours: Connection,
        raw: psycopg.Connection[Any],
        *,
        keeps_session: bool = True,
        custom: Collection[str] = (),
    ) -> None:
        self._ours = ours
        self._raw = raw
        self._keeps_session = keeps_session
        self._custom = custom
        self._theirs: Connection | None = None
        self._seen: _Prepared | None = None
        self._settings: set[str] = set()
        self._role: str | None = None
        self._options: set[str] = set()
        self._schema_name = ours.dialect.default_schema_name
        self._identity = identity_of(raw)
        self.listeners = Listeners(ours)
        self.autocommit = False
        """Whether env.py asked for a connection in autocommit."""

    def take_over(self, theirs: Connection) -> str | None:
        """Make our connection behave as the one that env.py prepared.

        Returns:
            The name of the database where it is another one than ours; nothing is taken then.

        Raises:
            ConfigurationError: it is no PostgreSQL.
        """
        self.give_back()
        require_postgresql(theirs)
        found = self._look_at(theirs)
        if (found.database, found.started) != self._identity:
            self._theirs = None
            return found.database
        self._theirs = theirs
        self._apply(found.settings, found.role, found.session_user)
        self._seen = self._read(theirs) if self._release(found.pid) else found
        self._release(found.pid)
        self.autocommit = in_autocommit(theirs)
        chosen = theirs.get_execution_options()
        options = {name: value for name, value in chosen.items() if name not in _OPTIONS_ALONE}
        self._options = set(options)
        self._ours.execution_options(**options)
        self._ours.info.update(theirs.info)
        self._ours.dialect.default_schema_name = theirs.dialect.default_schema_name
        self.listeners.take_over(theirs)
        return None

    def follow(self) -> None:
        """Take over what env.py set between configuring and running the migrations.

        On its own connection, or on ours through `context.execute`, where what was set for the
        transaction is made to last, because each revision has a transaction of its own.
        """
        if self._ours.in_transaction():
            role, settings = self._raw.execute(LOCAL).fetchone() or ("", ())
            self._ours.commit()
            self._apply(_relevant(settings), role, None)
        theirs, seen = self._theirs, self._seen
        if theirs is None or seen is None or theirs.closed or theirs.invalidated:
            return
        found = self._look_at(theirs)
        changed = {k: v for k, v in found.settings.items() if seen.settings.get(k) != v}
        role = found.role if found.role != seen.role else self._role
        self._apply(changed, role, found.session_user)
        self._release(found.pid)
        self._ours.dialect.default_schema_name = theirs.dialect.default_schema_name

    def give_back(self) -> None:
        """Bring our session into the state that it had."""
        self.listeners.give_back()
        self._raw.commit()
        with autocommitting(self._raw):
            if self._role is not None:
                self._raw.execute(SET_ROLE, ("none",))
                self._role = None
            if self._settings:
                self._raw.execute(RESET, (list(self._settings),))
                self._settings = set()
        if self._options:
            self._ours.execution_options(**dict.fromkeys(self._options))
            self._options = set()
        self._ours.dialect.default_schema_name = self._schema_name
        self._theirs = self._seen = None
        self.autocommit = False

    def _apply(self, settings: Mapping[str, str], role: str | None, login: str | None) -> None:
        if not self._keeps_session:
            self._refuse_lasting(settings, role, login)
            return
        with autocommitting(self._raw):
            if settings:
                cursor = self._raw.execute(SET, (list(settings), list(settings.values())))
                self._settings.update(row[0] for row in cursor.fetchall())
            if role in {None, login}:
                return
            mine = self._raw.execute(OURS).fetchone()
            assert mine is not None
            if role != mine[0]:
                self._raw.execute(SET_ROLE, (role,))
                self._role = role

    def _refuse_lasting(
        self, settings: Mapping[str, str], role: str | None, login: str | None
    ) -> None:
        """Refuse settings that decide where tables are, and that would not stay with us.

        Others are left out: the pooler has set them, or another client of it.
        """
        path = settings.get("search_path")
        with autocommitting(self._raw):
            row = self._raw.execute(UNTOUCHED).fetchone()
        assert row is not None
        lost = ["search_path"] if path not in {None, row[0]} else []
        lost += ["role"] if role not in {None, login, row[1]} else []
        if lost:
            raise PoolerError(
                reason=f"env.py sets {' and '.join(lost)} on its connection, which a pooler in "
                "transaction mode does not keep",
                remedy=DIRECT_URL,
            )

    def _look_at(self, theirs: Connection) -> _Prepared:
        found = self._read(theirs)
        if not self._keeps_session:
            commit_beneath(theirs)  # its transaction holds a server connection of a small pool
        return found

    def _read(self, theirs: Connection) -> _Prepared:
        began = theirs.in_transaction()
        found = _read(theirs)
        for name in self._custom:
            value = theirs.execute(CUSTOM, {"name": name}).scalar()
            if value is not None:
                found.settings[name] = value
        if not began:
            theirs.rollback()  # env.py may begin one by itself
        return found

    def _release(self, pid: int) -> bool:
        """End env.py's transaction if it would be in our way; says whether."""
        assert self._theirs is not None
        if not self._keeps_session:
            return False
        with autocommitting(self._raw):
            row = self._raw.execute(IN_THE_WAY, {"pid": pid}).fetchone()
        if not (row and row[0]):
            return False
        commit_beneath(self._theirs)
        return True


def require_postgresql(theirs: Connection) -> None:
    """Refuse a connection of env.py's to another kind of database.

    Raises:
        ConfigurationError: it is no PostgreSQL.
    """
    if theirs.dialect.name != "postgresql":
        raise ConfigurationError(
            f"env.py connects to {theirs.dialect.name}; automigrate is for PostgreSQL."
        )


def identity_of(raw: psycopg.Connection[Any]) -> tuple[str, str]:
    """Return what tells a database from all others."""
    with autocommitting(raw):
        row = raw.execute(IDENTITY).fetchone()
    assert row is not None
    return row[0], row[1]


def in_autocommit(connection: Connection) -> bool:
    """Whether statements on a connection of env.py's are transactions of their own."""
    chosen = connection.get_execution_options().get("isolation_level")
    if chosen is not None:
        return str(chosen).upper() == "AUTOCOMMIT"
    dbapi_connection = connection.connection.dbapi_connection
    return bool(getattr(dbapi_connection, "autocommit", False))


def _read(theirs: Connection) -> _Prepared:
    database, started, session_user, current_user, pid, settings = theirs.execute(THEIRS).one()
    role = None if current_user == session_user else current_user
    return _Prepared(database, started, session_user, role, pid, _relevant(settings))


def _relevant(settings: Any) -> dict[str, str]:
    return {name: value for name, value in settings or () if name not in _OURS_ALONE}
