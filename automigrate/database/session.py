"""The one session of a run: made once, looked through, protected against the server's time-outs.

Everything of a run happens on this one psycopg connection: the look, the advisory lock and every
statement of every revision (H1). It is in autocommit except while a revision runs, so that no
snapshot is held while waiting (H2).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import psycopg

    from automigrate.options import Options

__all__ = [
    "Look",
    "NoVersionTableError",
    "NotWritableError",
    "Session",
    "SessionLostError",
    "Tables",
    "TablesDifferError",
]

VERSION_TABLE = "alembic_version"
JOURNAL_TABLE = "automigrate_journal"
OPEN_TABLE = "automigrate_open"
OWN_TABLES = (JOURNAL_TABLE, OPEN_TABLE)
"""What automigrate keeps beside a version table, and no part of anybody's schema."""


class SessionLostError(Exception):
    """The session that holds the lock is gone; everything begins again with a new one."""


class Tables(NamedTuple):
    """Where the version table and, beside it, the journal are."""

    version_table: str = VERSION_TABLE
    schema: str | None = None
    """`None`: as the search_path of the session resolves it, like Alembic does."""
    home: str | None = None
    """The schema that env.py has chosen for what the revisions make, as of a tenant; `None`: that
    of the version table."""

    @classmethod
    def of(cls, options: Options) -> Tables:
        """Take them from the options."""
        return cls(options.version_table or VERSION_TABLE, options.version_table_schema)

    @property
    def place(self) -> tuple[str, str | None]:
        """What tells a version table from all others."""
        return self.version_table, self.schema

    @property
    def version(self) -> str:
        """The version table as quoted SQL."""
        return self._qualified(self.version_table)

    @property
    def journal(self) -> str:
        """The journal as quoted SQL."""
        return self._qualified(JOURNAL_TABLE)

    @property
    def open_rows(self) -> str:
        """The table of the journal's open rows as quoted SQL."""
        return self._qualified(OPEN_TABLE)

    def _qualified(self, table: str) -> str:
        return quoted(table) if self.schema is None else f"{quoted(self.schema)}.{quoted(table)}"


def quoted(identifier: str) -> str:
    """Quote an identifier (manual, 4.1.1), for names that travel as parameters."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Write a string constant for SQL that travels as a parameter."""
    return "'" + text.replace("'", "''") + "'"


class TablesDifferError(Exception):
    """env.py configures another version table than the one that was looked at."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        super().__init__(tables)


class NotWritableError(Exception):
    """Connected to a standby or a read-only server while there is something to apply."""

    remedy = (
        "Name the primary, or all hosts with target_session_attrs=read-write; if it is meant to "
        "be read-only, use mode wait."
    )


class NoVersionTableError(ConfigurationError):
    """env.py configures no version table, because it loops over schemas and there is none yet."""

    def __init__(self) -> None:
        super().__init__(
            "env.py configures a version table for each of many schemas, and there is none of them "
            "yet. Create the first one."
        )


class Look(NamedTuple):
    """What the first query of a run returns."""

    locked: bool
    """Whether the lock was asked for and taken."""
    backend_pid: int
    in_recovery: bool
    read_only: bool
    version_table: bool
    heads: tuple[str, ...]
    open_revisions: tuple[str, ...]
    """Revisions whose journal row is `running` or `failed`."""
    schema: str | None
    """Where the version table is, or would be created; `None`: the search_path names none."""
    tables: bool | None = None
    """Whether there are tables of the application and no version table; `None`: not asked."""
    otherwise: Any = None
    """What was to be told where the lock is not free."""

    def at(self, heads: tuple[str, ...]) -> Look:
        """Return what would be seen where the version table holds these, and no row is open."""
        return self._replace(locked=False, version_table=True, heads=heads, open_revisions=())


# `ts_stat` runs a query given as text: the one way without an extension, a function of ours or an
# error in the server's log to read from a table that may not exist yet, in one statement.
LOOK = """\
select {locked}, pg_backend_pid(), pg_is_in_recovery(),
  current_setting('transaction_read_only')::bool, v.oid is not null,
  case when v.oid is not null then array(select word from ts_stat(%(select_heads)s)) end,
  case when has_table_privilege(j.oid, 'select')
    then array(select word from ts_stat(%(select_open)s)) end,
  coalesce((select nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.oid = v.oid), %(schema)s, current_schema()), {more}
from {lock}(select to_regclass(%(version)s) as oid) v, (select to_regclass(%(journal)s) as oid) j"""

# A volatile function in a subquery is called once, whoever asks for its result.
TRY_LOCK = "(select pg_try_advisory_lock(%(lock_key)s) as locked) l, "

_AS_LEXEMES = "select array_to_tsvector(coalesce(array_agg({}::text), '{{}}')) from {}{}"

# Those of this version table; through to_jsonb, because an older journal lacks the column.
OPEN = """\
 as o where state in ('running', 'failed')
and coalesce(to_jsonb(o) ->> 'version_table', {0}) = {0}"""

# Tables that are not ours and do not belong to an extension, such as PostGIS's.
TABLES = """\
exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace
  where n.nspname = {schema} and c.relkind in ('r', 'p') and c.relname <> all(%(ours)s)
    and not exists (select from pg_depend d where d.objid = c.oid and d.deptype = 'e'
      and d.classid = 'pg_class'::regclass))"""

# Joined to pg_settings, so that a setting that this server does not know is skipped.
SETTINGS = """\
select count(set_config(name, value, %(local)s))
from unnest(%(names)s::text[], %(values)s::text[]) as t(name, value)
join pg_settings using (name)"""

HAS_TABLES = f"select {TABLES.format(schema='%(schema)s')}"
ELSEWHERE = """\
select exists (select from pg_class c where c.relname = %s and c.relkind in ('r', 'p')
  and has_schema_privilege(c.relnamespace, 'usage'))"""
LOOK_ONLY = LOOK.format(locked="false", lock="", more="null, null")
LOOK_AND_TRY = LOOK.format(locked="l.locked", lock=TRY_LOCK, more="null, null")
LOOK_AND_TRY_OR = LOOK.format(
    locked="l.locked", lock=TRY_LOCK, more="null, case when not l.locked then ({otherwise}) end"
)
# The first look of a session. With another backend than the one that greeted us, a pooler lends it
# to others next: there the settings are those of this statement only (H9).
OPENING = LOOK.format(
    locked="false",
    lock="",
    more="case when v.oid is null then "
    + TABLES.format(schema="coalesce(%(home)s, %(schema)s, current_schema())")
    + f" end, ({SETTINGS})",
).replace("%(local)s", "pg_backend_pid() <> %(pid)s")

# Writes a record, so that the commit that follows has something to wait for.
FLUSH = "select pg_logical_emit_message(true, 'automigrate', '')"

PROTECTION = {
    "statement_timeout": "0",
    "lock_timeout": "0",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "transaction_timeout": "0",
    "client_connection_check_interval": "1000",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""Against time-outs set on the role, and so that the lock of a dead client frees in seconds."""

ASYNCHRONOUS = "set local synchronous_commit = off"
"""For a transaction whose commit need not wait for the disk, because a later one does."""

RETURN = "unlisten *; select pg_advisory_unlock_all(); reset all"


@dataclass(slots=True)
class Session:
    """One connection and what is known of it."""

    connection: psycopg.Connection[Any]
    lent: bool = False
    """Whether the server connection is a pooler's, and ours until we disconnect."""
    patient: bool = False
    """Whether a statement may take as long as it likes, as those of revisions may."""
    opened: bool = False
    """Whether the first look was taken, which sets what `protect` sets."""
    was_reset: bool = False
    """Whether a script has undone what `protect` had set."""

    @property
    def pid(self) -> int:
        """Backend pid as the server told at connect; a pooler tells one of its own (H9)."""
        return self.connection.info.backend_pid

    @property
    def application_name(self) -> str:
        """As the server knows the session."""
        return self.connection.info.parameter_status("application_name") or ""

    @property
    def waiting_for_server(self) -> bool:
        """Whether a statement was sent and is not answered."""
        from psycopg.pq import TransactionStatus

        return self.connection.info.transaction_status is TransactionStatus.ACTIVE

    @property
    def broken(self) -> bool:
        """Whether the connection is unusable."""
        return self.connection.closed

    def open(self, tables: Tables) -> Look:
        """Do what `protect` does and look for the first time, in one round trip.

        Behind a pooler nothing is set: see `protect`.
        """
        import psycopg

        names, values = list(PROTECTION), list(PROTECTION.values())
        more = {"pid": self.pid, "names": names, "values": values}
        try:
            look = self._look(OPENING, tables, more)
        except psycopg.Error:
            if self.broken:
                raise
            look = self.look(tables)
            if look.backend_pid == self.pid:
                self.protect()
        return look._replace(otherwise=None)

    def look(
        self,
        tables: Tables,
        *,
        lock_key: int | None = None,
        otherwise: str | None = None,
        parameters: Mapping[str, Any] = MappingProxyType({}),
    ) -> Look:
        """Read heads and open journal rows in one query; opens no transaction.

        Args:
            tables: where to look.
            lock_key: an advisory lock to take with the same query if it is free.
            otherwise: a query of one value, for `Look.otherwise` where the lock is not free.
            parameters: those of that query.
        """
        if lock_key is None:
            return self._look(LOOK_ONLY, tables, {})
        query = LOOK_AND_TRY
        if otherwise is not None:
            query = LOOK_AND_TRY_OR.replace("{otherwise}", otherwise)
        return self._look(query, tables, {"lock_key": lock_key, **parameters})

    def _look(self, query: str, tables: Tables, more: Mapping[str, Any]) -> Look:
        parameters = {
            "version": tables.version,
            "journal": tables.journal,
            "schema": tables.schema,
            "home": tables.home,
            "ours": [tables.version_table, *OWN_TABLES],
            "select_heads": _AS_LEXEMES.format("version_num", tables.version, ""),
            "select_open": _AS_LEXEMES.format(
                "revision", tables.journal, OPEN.format(literal(tables.version_table))
            ),
        }
        row = self.connection.execute(query, {**parameters, **more}).fetchone()
        assert row is not None
        look = Look._make(row)
        return look._replace(
            heads=tuple(look.heads or ()), open_revisions=tuple(look.open_revisions or ())
        )

    def has_tables(self, schema: str, version_table: str) -> bool:
        """Whether a schema holds tables of the application."""
        ours = [version_table, *OWN_TABLES]
        row = self.connection.execute(HAS_TABLES, {"schema": schema, "ours": ours}).fetchone()
        return bool(row and row[0])

    def has_elsewhere(self, version_table: str) -> bool:
        """Whether any schema holds a table of this name."""
        row = self.connection.execute(ELSEWHERE, (version_table,)).fetchone()
        return bool(row and row[0])

    def protect(self) -> None:
        """Neutralise time-outs of the role and make a dead client's lock free in seconds.

        One round trip; a setting that this server does not let us change is left out. Not
        where a pooler lends us the server connection for a transaction only: the settings would
        stay on it for others.
        """
        import psycopg

        try:
            self._set(PROTECTION)
        except psycopg.Error:
            if self.broken:
                raise
            for name, value in PROTECTION.items():
                try:
                    self._set({name: value})
                except psycopg.Error:
                    if self.broken:
                        raise

    def protection(self) -> str:
        """Return the SQL of `protect`, to be sent with other statements."""
        from psycopg import ClientCursor

        values = {"names": list(PROTECTION), "values": list(PROTECTION.values())}
        return ClientCursor(self.connection).mogrify(SETTINGS, {"local": False, **values})

    def _set(self, settings: dict[str, str]) -> None:
        self.connection.execute(
            SETTINGS,
            {"local": False, "names": list(settings), "values": list(settings.values())},
        )

    def flush(self) -> None:
        """Make durable what was committed asynchronously, by a commit that waits for the disk."""
        self.connection.execute(FLUSH)

    def cancel(self) -> None:
        """End the running statement, from another thread or a signal handler; never raises."""
        self.connection.cancel()

    def close(self) -> None:
        """Close the connection, which releases the lock; never raises.

        A pooler may be told not to clean up what it lends next, so we do.
        """
        if self.lent and not self.broken and not self.waiting_for_server:
            with suppress(Exception):
                self.connection.rollback()
                self.connection.autocommit = True
                self.connection.execute(RETURN)
        self.connection.close()
