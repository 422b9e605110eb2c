"""Where database connections come from: a URL, the application's engine, or a function.

Every source gives a fresh psycopg connection that belongs to automigrate alone, in autocommit and
without prepared statements; nothing is taken from the application's pool, and no setting of the
application changes. SQLAlchemy is never imported here: an `Engine` can only be passed by an
application that has imported it.
"""

from __future__ import annotations

import os
import weakref
from typing import TYPE_CHECKING, Protocol, TypeGuard

from automigrate.database.url import DatabaseURL, scrub
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg
    import sqlalchemy
    from psycopg.pq.abc import PGconn
    from psycopg.rows import TupleRow

__all__ = ["CallableSource", "EngineSource", "Source", "URLSource", "source_of"]

# How the client notices a dead network in about a minute; never by `options=`, which PgBouncer
# refuses. PostgreSQL manual, "Parameter Key Words".
KEEPALIVES = {
    "keepalives": "1",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}

# The name must not stay on a server connection that a pooler lends to others: with another
# backend than the one that greeted us, it is set for this statement only.
NAME_SESSION = """
select set_config('application_name', %s, pg_backend_pid() <> %s)
"""


class Source(Protocol):
    """Opens connections to one database."""

    @property
    def url(self) -> DatabaseURL | None:
        """Where the connections lead; `None` as long as only a connection can tell."""

    @property
    def secrets(self) -> frozenset[str]:
        """What must appear in no text."""

    def connect(
        self, *, application_name: str, connect_timeout: float
    ) -> psycopg.Connection[TupleRow]:
        """Open a connection that nothing else uses, in autocommit, for the caller to close.

        Args:
            application_name: shown by the server; the application's own name is put behind it,
                as in ``automigrate:billing``.
            connect_timeout: seconds until an attempt is given up, per host. The user's own
                setting wins.

        Raises:
            ConfigurationError: the source cannot give such a connection, whatever the server does.
            psycopg.OperationalError: the server could not be reached, or refused.
        """


class URLSource:
    """Connects to a `DatabaseURL`."""

    def __init__(self, url: DatabaseURL) -> None:
        self.url = url
        self.secrets = url.secrets

    def connect(
        self, *, application_name: str, connect_timeout: float
    ) -> psycopg.Connection[TupleRow]:
        """Open a connection; see `Source.connect`."""
        import psycopg

        wanted = self.conninfo(application_name=application_name, connect_timeout=connect_timeout)
        try:
            return psycopg.connect(wanted, autocommit=True, prepare_threshold=None)
        except psycopg.ProgrammingError as exc:  # an option that this libpq does not know
            text = scrub(str(exc), self.secrets).strip().rstrip(".")
            raise ConfigurationError(
                f"the database URL cannot be used: {text}. Remove the parameter, or use a newer "
                "libpq (`pip install automigrate[binary]` brings one)."
            ) from None

    def adopt(self, raw: PGconn) -> psycopg.Connection[TupleRow]:
        """Make of a libpq connection, begun with `conninfo` and idle, what `connect` returns."""
        import psycopg

        raw.nonblocking = 1  # as psycopg's own way to connect leaves it
        connection: psycopg.Connection[TupleRow] = psycopg.Connection(raw)
        connection.autocommit, connection.prepare_threshold = True, None
        return connection

    def conninfo(self, *, application_name: str, connect_timeout: float) -> str:
        """Return what `connect` gives to libpq."""
        return self._session_url(application_name, connect_timeout).conninfo()

    def _session_url(self, application_name: str, connect_timeout: float) -> DatabaseURL:
        """Add what a migration session needs to the user's parameters."""
        theirs = dict(self.url.parameters)
        own_name = theirs.get("application_name") or os.environ.get("PGAPPNAME")
        merged = KEEPALIVES | theirs | {"application_name": _name(application_name, own_name)}
        # libpq takes whole seconds, and 0 for no limit, which would hang.
        limit = theirs.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or "0"
        if limit.lstrip("-") == "0" or limit.startswith("-"):
            merged["connect_timeout"] = str(max(1, round(connect_timeout)))
        return DatabaseURL(settings=tuple(sorted(merged.items())))  # all of it is libpq's already


class _GivenConnections:
    """Shared by sources that do not choose the connection's parameters themselves."""

    def __init__(self, url: DatabaseURL | None) -> None:
        self.url = url
        self.secrets = url.secrets if url is not None else frozenset[str]()

    def _adopt(
        self, connection: psycopg.Connection[TupleRow], application_name: str
    ) -> psycopg.Connection[TupleRow]:
        """Bring a foreign connection into the state that `Source.connect` promises."""
        from psycopg.rows import tuple_row

        given = connection.info.get_parameters()
        connection.autocommit = True
        connection.prepare_threshold = None
        connection.row_factory = tuple_row
        if "keepalives_idle" not in given:
            _keep_alive(connection)
        own_name = given.get("application_name") or os.environ.get("PGAPPNAME")
        name = _name(application_name, own_name)
        connection.execute(NAME_SESSION, (name, connection.info.backend_pid))
        self.url = _url_of(connection)
        self.secrets |= self.url.secrets
        return connection


class EngineSource(_GivenConnections):
    """Connects as the application's SQLAlchemy engine does, beside its pool.

    `creator=`, `connect_args` and the events of engine and pool take effect; so does the
    application's connect timeout, and not ours.
    """

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        from automigrate.database.given import url_of_sqlalchemy

        url = url_of_sqlalchemy(engine.url)
        super().__init__(url if url.settings else None)
        self._engine = engine

    def connect(
        self,
        *,
        application_name: str,
        connect_timeout: float,  # noqa: ARG002 (the engine's own)
    ) -> psycopg.Connection[TupleRow]:
        """Open a connection; see `Source.connect`."""
        pooled = self._engine.pool.recreate().connect()
        connection = pooled.dbapi_connection
        pooled.detach()
        if not _is_connection(connection):
            raise ConfigurationError(
                f"the engine's creator returned {_kind(connection)}, not a psycopg.Connection. "
                "Let it return psycopg.connect(…), or pass the database URL."
            )
        try:
            connection.rollback()  # events may have left a transaction
            return self._adopt(connection, application_name)
        except BaseException:
            connection.close()
            raise


class CallableSource(_GivenConnections):
    """Calls a function for each connection, for passwords that change (IAM tokens, vaults).

    The function is called again for every reconnect. It must return a fresh, open
    `psycopg.Connection` outside of a transaction; automigrate closes it.
    """

    def __init__(self, function: Callable[[], object]) -> None:
        super().__init__(None)
        self._function = function
        self._seen: weakref.WeakSet[object] = weakref.WeakSet()

    def connect(
        self,
        *,
        application_name: str,
        connect_timeout: float,  # noqa: ARG002 (the function's own)
    ) -> psycopg.Connection[TupleRow]:
        """Open a connection; see `Source.connect`."""
        connection = self._function()
        if not _is_connection(connection):
            _discard(connection)
            raise ConfigurationError(
                f"the function given as database returned {_kind(connection)}, not a "
                "psycopg.Connection. Let it return psycopg.connect(…); for an engine or a "
                "connection pool, pass the engine or the database URL itself."
            )
        if fault := self._fault_of(connection):
            raise ConfigurationError(
                f"the function given as database returned a connection that {fault}. It is called "
                "for every reconnect and must return a fresh psycopg.connect(…) each time."
            )
        self._seen.add(connection)
        try:
            return self._adopt(connection, application_name)
        except BaseException:
            connection.close()
            raise

    def _fault_of(self, connection: psycopg.Connection[TupleRow]) -> str | None:
        from psycopg.pq import TransactionStatus

        if connection in self._seen:
            return "it had returned before"
        if connection.closed:
            return "is closed"
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            return "is in a transaction or busy"
        if getattr(connection, "_pool", None) is not None:
            return "belongs to a psycopg_pool"
        return None


def source_of(database: object) -> Source:
    """Return the source for what the user gave as the database.

    Args:
        database: a URL or libpq keyword string, nothing (``PG*`` variables), a `DatabaseURL`, a
            SQLAlchemy URL, `Engine` or `AsyncEngine`, a pydantic DSN or secret, or a function that
            returns a new psycopg connection. Of an engine whose driver is not psycopg only the
            URL is used.

    Raises:
        ConfigurationError: it is of another kind, or a URL that cannot be used.
    """
    if database is None or isinstance(database, str):
        return URLSource(DatabaseURL.parse(database))
    if isinstance(database, DatabaseURL):
        return URLSource(database)
    from automigrate.database.given import check_dialect, is_engine, url_given

    if is_engine(database):
        check_dialect(database.dialect.name)
        if database.dialect.driver == "psycopg" and not database.dialect.is_async:
            return EngineSource(database)
    if (url := url_given(database)) is not None:
        return URLSource(url)
    return _source_of_callable(database)


def _source_of_callable(database: object) -> Source:
    import inspect

    if inspect.iscoroutinefunction(database):
        raise ConfigurationError(
            "the function given as database is async. Give one that returns psycopg.connect(…): "
            "migrations run in a worker thread, also in an async application."
        )
    if not callable(database) or isinstance(database, type):
        raise ConfigurationError(
            f"{_kind(database)} cannot be used as database. Give a URL (postgresql://…), a "
            "SQLAlchemy Engine or AsyncEngine (with Flask-SQLAlchemy: db.engine), or a function "
            "that returns a new psycopg connection."
        )
    return CallableSource(database)


def _url_of(connection: psycopg.Connection[TupleRow]) -> DatabaseURL:
    """Derive from an open connection where it leads, with its password."""
    actual = connection.info
    place = {"host": actual.host, "port": str(actual.port)}
    who = {"dbname": actual.dbname, "user": actual.user, "password": actual.password}
    given = actual.get_parameters()
    # psycopg adds the address it resolved, which a failover changes; libpq names this default.
    given = {k: v for k, v in given.items() if k not in {"hostaddr", "sslcertmode"}}
    return DatabaseURL.of((place | who | given).items())


def _name(ours: str, theirs: str | None) -> str:
    return f"{ours}:{theirs}" if theirs else ours


def _keep_alive(connection: psycopg.Connection[TupleRow]) -> None:
    """Set on an open TCP socket what `KEEPALIVES` asks libpq for, as far as the system knows it."""
    import socket

    milliseconds = int(KEEPALIVES["tcp_user_timeout"])
    wanted = {
        "TCP_KEEPIDLE": int(KEEPALIVES["keepalives_idle"]),
        "TCP_KEEPINTVL": int(KEEPALIVES["keepalives_interval"]),
        "TCP_KEEPCNT": int(KEEPALIVES["keepalives_count"]),
        "TCP_USER_TIMEOUT": milliseconds,
    }
    try:
        # A duplicate of the descriptor shares the socket; closing it leaves the connection open.
        with socket.socket(fileno=os.dup(connection.fileno())) as shared:
            if shared.family not in {socket.AF_INET, socket.AF_INET6}:
                return
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in wanted.items():
                if (option := getattr(socket, name, None)) is not None:
                    shared.setsockopt(socket.IPPROTO_TCP, option, value)
    except OSError:  # no such option, or a socket that only libpq may touch (Windows)
        return


def _is_connection(value: object) -> TypeGuard[psycopg.Connection[TupleRow]]:
    import psycopg

    return isinstance(value, psycopg.Connection)


def _discard(value: object) -> None:
    """Close a coroutine that nobody will await, so that Python does not warn about it."""
    close = getattr(value, "close", None)
    if hasattr(value, "__await__") and hasattr(value, "cr_code") and callable(close):
        close()


def _kind(value: object) -> str:
    """Name a value's class, never the value: it may contain a password."""
    kind = type(value)
    return "None" if value is None else f"a {kind.__module__}.{kind.__qualname__}"
