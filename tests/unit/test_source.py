"""What may be given as the database, and what a source refuses before it reaches a server."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pydantic
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import sessionmaker

from automigrate.database.source import (
    KEEPALIVES,
    CallableSource,
    EngineSource,
    URLSource,
    source_of,
)
from automigrate.database.url import DatabaseURL
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

URL = "postgresql://app:hUnter2@127.0.0.1:1/shop"


@pytest.fixture(autouse=True)
def no_pg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of the machine out of the results."""
    for name in ("PGHOST", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGPASSWORD", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def greeting() -> Iterator[int]:
    """Return the port of a listener that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def session_parameters(text: str, application_name: str = "automigrate") -> dict[str, Any]:
    """Return the parameters that a session of this URL would start with."""
    source = URLSource(DatabaseURL.parse(text))
    return conninfo_to_dict(source._session_url(application_name, 7.0).conninfo())


def test_a_session_has_keepalives_and_a_connect_timeout() -> None:
    """A dead network is noticed, and no attempt to connect lasts for ever."""
    found = session_parameters(URL)
    ours = KEEPALIVES | {"connect_timeout": "7", "application_name": "automigrate"}
    assert {key: str(found[key]) for key in ours} == ours


def test_nothing_is_sent_as_options() -> None:
    """PgBouncer refuses startup options, so a session starts without any of our own."""
    assert "options" not in session_parameters(URL)


def test_the_users_own_settings_win() -> None:
    """What the URL says about timeouts, keepalives and options stays as it is."""
    found = session_parameters(f"{URL}?connect_timeout=60&keepalives_idle=5&options=-c%20x.y%3D1")
    assert (found["connect_timeout"], found["keepalives_idle"], found["options"]) == (
        "60",
        "5",
        "-c x.y=1",
    )


def test_a_connect_timeout_of_zero_is_replaced() -> None:
    """Zero means no limit to libpq; the deadline of the run needs one."""
    assert session_parameters(f"{URL}?connect_timeout=0")["connect_timeout"] == "7"


def test_the_connect_timeout_of_the_environment_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGCONNECT_TIMEOUT is the user's setting too, so ours does not override it."""
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "60")
    assert "connect_timeout" not in session_parameters(URL)


def test_the_applications_name_stands_behind_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks into pg_stat_activity sees automigrate, and for which application."""
    named = session_parameters(f"{URL}?application_name=billing")
    assert named["application_name"] == "automigrate:billing"
    monkeypatch.setenv("PGAPPNAME", "web")
    assert session_parameters(URL)["application_name"] == "automigrate:web"


def test_a_refused_connection_is_the_drivers_error() -> None:
    """A server that is not there stays an OperationalError, which may be retried."""
    with pytest.raises(psycopg.OperationalError, match=r"127\.0\.0\.1"):
        source_of(URL).connect(application_name="automigrate", connect_timeout=2.0)


def test_a_silent_server_is_given_up_in_time(greeting: int) -> None:
    """A listener that never answers costs the connect timeout, not for ever."""
    url = f"postgresql://app@127.0.0.1:{greeting}/shop?sslmode=disable"
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        source_of(url).connect(application_name="automigrate", connect_timeout=1.0)


def test_a_parameter_that_this_libpq_refuses_is_a_configuration_error() -> None:
    """A known parameter that the installed libpq cannot use is named, without the password."""
    source = source_of(f"{URL}?servicefile=/x")
    try:
        psycopg.connect(host="127.0.0.1", port=1, servicefile="/x")
    except psycopg.ProgrammingError:
        pass
    except psycopg.OperationalError:
        pytest.skip("this libpq knows servicefile")
    with pytest.raises(ConfigurationError, match="servicefile") as caught:
        source.connect(application_name="automigrate", connect_timeout=1.0)
    assert "hUnter2" not in str(caught.value)


@pytest.mark.parametrize(
    "database",
    [
        URL,
        DatabaseURL.parse(URL),
        sqlalchemy.make_url(URL),
        sqlalchemy.create_engine("postgresql+psycopg2://app:hUnter2@127.0.0.1:1/shop"),
        create_async_engine("postgresql+asyncpg://app:hUnter2@127.0.0.1:1/shop"),
        create_async_engine("postgresql+psycopg://app:hUnter2@127.0.0.1:1/shop"),
        pydantic.PostgresDsn(URL),
        pydantic.SecretStr(URL),
    ],
    ids=["text", "DatabaseURL", "URL", "psycopg2", "asyncpg", "psycopg async", "DSN", "secret"],
)
def test_every_form_of_a_url_gives_the_same_source(database: object) -> None:
    """Text, values and engines of other drivers all lead to the same place."""
    source = source_of(database)
    assert isinstance(source, URLSource)
    assert source.url == DatabaseURL.parse(URL)
    assert source.secrets == {"hUnter2"}


def test_hosts_and_parameters_of_an_async_engine_are_translated() -> None:
    """Several hosts and asyncpg's ssl arrive as libpq's parameters, odd characters included."""
    engine = create_async_engine(
        "postgresql+asyncpg://app:p%25%2F%40@/shop?host=h1:1&host=h2:2&ssl=require"
    )
    url = source_of(engine).url
    assert url is not None
    assert dict(url.parameters) == {
        "user": "app",
        "password": "p%/@",
        "host": "h1,h2",
        "port": "1,2",
        "dbname": "shop",
        "sslmode": "require",
    }


def test_an_empty_text_uses_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PGHOST set nothing needs to be given."""
    monkeypatch.setenv("PGHOST", "db")
    assert source_of(None).url == DatabaseURL(settings=())


class Creator:
    """Records its calls and fails as psycopg does without a server."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> psycopg.Connection[Any]:
        """Try to connect where nobody listens."""
        self.calls += 1
        return psycopg.connect(URL)


def test_an_engine_is_asked_for_a_connection_beside_its_pool() -> None:
    """The application's creator is called, and its own pool opens nothing."""
    creator = Creator()
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=creator)
    before = engine.pool
    source = source_of(engine)
    with pytest.raises(psycopg.OperationalError):
        source.connect(application_name="automigrate", connect_timeout=1.0)
    assert isinstance(source, EngineSource)
    assert source.url is None
    assert creator.calls == 1
    assert engine.pool is before
    assert isinstance(before, sqlalchemy.QueuePool)
    assert before.checkedout() == 0
    assert before.checkedin() == 0


def test_an_engine_shows_where_it_leads() -> None:
    """The URL and the secret of an engine are known before it connects."""
    source = source_of(sqlalchemy.create_engine(URL.replace("postgresql", "postgresql+psycopg")))
    assert source.url == DatabaseURL.parse(URL)
    assert source.secrets == {"hUnter2"}


def test_the_events_of_an_engine_take_effect() -> None:
    """A token put in by do_connect, as for IAM, is what the driver is given."""
    engine = sqlalchemy.create_engine("postgresql+psycopg://app@127.0.0.1:1/shop")
    given: dict[str, Any] = {}

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def put_token(_dialect: object, _record: object, _args: object, kwargs: Any) -> None:
        kwargs["password"] = "token"
        given.update(kwargs)

    with pytest.raises(psycopg.OperationalError):
        source_of(engine).connect(application_name="automigrate", connect_timeout=1.0)
    assert given["password"] == "token"


@pytest.mark.parametrize(
    ("database", "words"),
    [
        (sqlalchemy.create_engine("sqlite://"), ["automigrate is for PostgreSQL", "sqlite"]),
        (sqlalchemy.make_url("mysql://u:hUnter2@h/d"), ["automigrate is for PostgreSQL", "mysql"]),
        (5432, ["builtins.int", "postgresql://"]),
        ({"host": "h", "password": "hUnter2"}, ["builtins.dict", "Engine"]),
        (psycopg.Connection, ["function"]),
    ],
    ids=["engine", "url", "number", "dict", "class"],
)
def test_other_databases_and_objects_are_refused(database: object, words: list[str]) -> None:
    """The error says what was given and what can be given, never the value."""
    with pytest.raises(ConfigurationError) as caught:
        source_of(database)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "hUnter2" not in str(caught.value)


def test_an_async_function_is_refused_at_once() -> None:
    """A coroutine function is named before it is ever called."""

    async def connect() -> object:
        return None

    with pytest.raises(ConfigurationError, match="is async"):
        source_of(connect)


def a_coroutine_later() -> object:
    """Return a plain function that returns a coroutine, which inspection cannot see."""

    async def connect() -> None:
        """Be awaited by nobody."""

    return lambda: connect()  # noqa: PLW0108 (not itself a coroutine function)


@contextlib.contextmanager
def lent() -> Iterator[None]:
    """Lend nothing, as psycopg_pool's connection() lends a connection."""
    yield


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda: None, ["None"]),
        (lambda: "hUnter2", ["builtins.str"]),
        (a_coroutine_later(), ["coroutine"]),
        (lent, ["ContextManager"]),
        (sessionmaker(), ["sqlalchemy.orm", "pass the engine"]),
        (lambda: psycopg.AsyncConnection.connect(URL), ["coroutine"]),
    ],
    ids=["None", "text", "coroutine", "context manager", "session", "async connection"],
)
def test_a_function_must_return_a_psycopg_connection(function: object, words: list[str]) -> None:
    """Anything else is refused by its class, with what to return instead."""
    source = source_of(function)
    with pytest.raises(ConfigurationError) as caught:
        source.connect(application_name="automigrate", connect_timeout=1.0)
    assert all(word in str(caught.value) for word in [*words, "psycopg.connect(…)"])
    assert "hUnter2" not in str(caught.value)


def test_a_closed_connection_is_refused() -> None:
    """A function that hands out a connection which is no longer open is named."""
    closed: psycopg.Connection[Any] = psycopg.Connection(psycopg.pq.PGconn.connect(b"port=1"))
    source = source_of(lambda: closed)
    assert isinstance(source, CallableSource)
    assert source.url is None
    with pytest.raises(ConfigurationError, match="is closed"):
        source.connect(application_name="automigrate", connect_timeout=1.0)
    closed.close()


def test_the_error_of_a_function_passes_through() -> None:
    """What the application's own code raises is the application's, and may be retried."""

    def fail() -> object:
        message = "no token"
        raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="no token"):
        source_of(fail).connect(application_name="automigrate", connect_timeout=1.0)


def test_sources_import_no_driver_and_no_sqlalchemy() -> None:
    """Telling a URL from an engine costs no import."""
    code = (
        "import sys; from automigrate.database.source import source_of; "
        "source_of('postgresql://a:b@c/d'); print(*sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"psycopg", "sqlalchemy", "alembic", "pydantic"} & set(ran.stdout.split())
