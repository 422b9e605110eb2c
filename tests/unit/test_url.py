"""What counts as a database URL, what becomes of it, and that its password shows nowhere."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import sqlalchemy
from hypothesis import example, given, strategies as st
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

from automigrate.database.url import DatabaseURL, embedded_path, is_embedded, scrub
from automigrate.database.url_reading import LIBPQ_PARAMETERS
from automigrate.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

SECRET = "hUnter2"


def parameters(text: str) -> dict[str, str]:
    """Return what psycopg would be given."""
    return dict(DatabaseURL.parse(text).parameters)


@pytest.fixture(autouse=True)
def no_pg_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the environment of the machine out of the results."""
    for name in ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "scheme",
    [
        "postgres",
        "postgresql",
        "POSTGRESQL",
        "postgresql+psycopg",
        "postgresql+psycopg2",
        "postgresql+psycopg2cffi",
        "postgresql+psycopg_async",
        "postgresql+asyncpg",
        "postgresql+pg8000",
    ],
)
def test_every_postgresql_scheme_gives_the_same_parameters(scheme: str) -> None:
    """A URL means the same with each driver's scheme, white space around it included."""
    assert parameters(f" {scheme}://app:pw@db.example:5433/shop\n") == {
        "user": "app",
        "password": "pw",
        "host": "db.example",
        "port": "5433",
        "dbname": "shop",
    }


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://",
        "postgresql:///shop",
        "postgresql://app@/shop",
        "postgresql://app:@host",
        "postgresql://:pw@host",
        "postgresql://host:/shop",
        "postgresql://:5433/shop",
        "postgresql://h1:5432,h2:5433/shop?target_session_attrs=read-write",
        "postgresql://h1,h2:5433/shop",
        "postgresql://[::1]:5433/shop",
        "postgresql://[fe80::1]/shop",
        "postgresql://%2Fvar%2Frun%2Fpostgresql/shop",
        "postgresql:///shop?host=/var/run/postgresql",
        "postgresql:///shop?host=/cloudsql/project:region:instance",
        "postgresql://u%40x:p%40%2F%3A%23%3F%25%20w@host/sh%C3%B6p",
        "postgresql://u:p#a?b:c@host/shop",
        "postgresql://host/shop?user=other&password=pw&port=6000",
        "postgresql://name:pw@host/shop?options=-csearch_path%3Dapp&sslmode=verify-full",
        "postgresql://host/shop?ssl=true",
        "postgresql:///?service=shop&passfile=/run/secrets/pgpass",
        "host=db port=5433 dbname=shop user=app password=pw",
        "host = 'db' dbname='my shop' password='it\\'s \\\\ here'",
        "host=db password=a\\ b\\'c options='-c search_path=app'",
        "dbname=shop password=''",
        "service=shop",
    ],
)
def test_libpq_forms_mean_what_libpq_says(url: str) -> None:
    """What libpq's own parser makes of a URL or keyword string is what we make of it."""
    by_libpq = {key: str(value) for key, value in conninfo_to_dict(url).items() if value != ""}
    assert parameters(url) == by_libpq


def test_every_parameter_of_this_libpq_is_known() -> None:
    """No parameter that the installed libpq documents is refused."""
    installed = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    assert installed <= LIBPQ_PARAMETERS


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ssl=require", {"sslmode": "require"}),
        ("ssl=true", {"sslmode": "require"}),
        ("ssl=False", {"sslmode": "disable"}),
        ("ssl=verify-full", {"sslmode": "verify-full"}),
        ("timeout=2.5", {"connect_timeout": "3"}),
        ("direct_tls=true", {"sslnegotiation": "direct"}),
        ("command_timeout=5&prepared_statement_cache_size=0&async_fallback=true", {}),
        ("prepare_threshold=0&statement_cache_size=0", {}),
        ("unix_sock=/run/pg/.s.PGSQL.5433", {"host": "/run/pg", "port": "5433"}),
        ("database=other", {"dbname": "other"}),
        (
            "server_settings=%7B%22application_name%22:%22web%22,%22search_path%22:%22a,+b%22%7D",
            {"application_name": "web", "options": "-c search_path=a,\\ b"},
        ),
        ("options=-c+search_path%3Dapp", {"options": "-c search_path=app"}),
    ],
)
def test_parameters_of_drivers_become_libpq_parameters(
    query: str, expected: Mapping[str, str]
) -> None:
    """asyncpg's, pg8000's and SQLAlchemy's parameters are translated, or dropped if harmless."""
    found = parameters(f"postgresql+asyncpg://db/shop?{query}")
    assert found == {"host": "db", "dbname": "shop"} | dict(expected)


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("postgresql+psycopg:///d?host=h1:5432&host=h2:5433", "h1,h2", "5432,5433"),
        ("postgresql+psycopg:///d?host=h1:5432&host=h2", "h1,h2", "5432,"),
        ("postgresql+psycopg:///d?host=h1:5433", "h1", "5433"),
        ("postgresql:///d?host=h1,h2&port=5433", "h1,h2", "5433,5433"),
        ("postgresql+psycopg:///d?host=h1,h2&port=5432,5433", "h1,h2", "5432,5433"),
        ("postgresql:///d?host=h1:5432,h2:5433", "h1,h2", "5432,5433"),
        ("postgresql:///d?host=[::1]:5432&host=h2:5433", "::1,h2", "5432,5433"),
    ],
)
def test_several_hosts_of_sqlalchemy_are_read(url: str, host: str, port: str) -> None:
    """Hosts in the query, each with its port, become libpq's two lists."""
    found = parameters(url)
    assert (found["host"], found["port"]) == (host, port)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"postgresql://user:{SECRET}@ss@host/db", ["%40"]),
        (f"postgresql://user:pa@{SECRET}/x@host/db", ["%40"]),
        (f"postgresql://user:{SECRET}/x@host/db", ["%2F"]),
        (f"postgresql://user:12/{SECRET}@host/db", ["%2F"]),
        (f"postgresql://user:x/y?{SECRET}=d@host/db", ["%2F"]),
        (f"postgresql://user:12/y?{SECRET}=d@host/db", ["%40", "not shown"]),
        (f"postgresql://user:{SECRET}%zz@host/db", ["password", "%25"]),
        (f"postgresql://user:{SECRET}%ff@host/db", ["password", "%25"]),
        (f"postgresql://user:{SECRET}%00@host/db", ["zero byte"]),
        (f"postgresql://host:{SECRET}/db", ["port", "65535"]),
        (f"postgresql://u:{SECRET}@host:70000/db", ["port", "65535"]),
        (f"postgresql://u:{SECRET}@::1/db", ["IPv6", "[::1]"]),
        (f"postgresql://u:{SECRET}@h1,h2:1,h3:2/db?port=1,2", ["3 hosts and 2 ports"]),
        (f"mysql+pymysql://u:{SECRET}@host/db", ["automigrate is for PostgreSQL", "mysql://"]),
        ("sqlite:///app.db", ["automigrate is for PostgreSQL", "sqlite://"]),
        (f"jdbc:postgresql://host/db?user=u&password={SECRET}", ["jdbc:", "postgresql://"]),
        (f"'postgresql://u:{SECRET}@host/db'", ["quotes"]),
        (f"DATABASE_URL=postgresql://u:{SECRET}@host/db", ["DATABASE_URL="]),
        (f"export DB='postgresql://u:{SECRET}@host/db'", ["DB="]),
        (f"postgresql://u:{SECRET}\n@host/db", ["line break"]),
        (f"postgresql:/u:{SECRET}@host/db", ["://"]),
        (f"u:{SECRET}@host/db", ["neither a URL nor"]),
        (f"host=db password={SECRET} x", ["single quotes"]),
        (f"host=db password=a {SECRET}=x", ["single quotes"]),
        (f"host=db password='{SECRET}", ["single quotes"]),
        ("${DATABASE_URL}", ["placeholder"]),
        (f"postgresql+psycopg3://u:{SECRET}@host/db", ["psycopg3", "did you mean psycopg"]),
        (f"postgresql://u:{SECRET}@host/db?sslmod=require", ["sslmod,", "did you mean sslmode?"]),
        (f"postgresql://u:{SECRET}@host/db?pgbouncer=true", ["pgbouncer", "Remove it"]),
        (f"postgresql://u:{SECRET}@host/db?sslmode=yes", ["sslmode", "verify-full"]),
        (f"postgresql://u:{SECRET}@host/db?sslmode", ["without ="]),
        (f"postgresql://u:{SECRET}@host/db?timeout=soon", ["timeout", "seconds"]),
        (f"postgresql://u:{SECRET}@host/db?server_settings=x", ["server_settings", "JSON"]),
        ("embedded:./data", ["embedded"]),
    ],
)
def test_a_bad_url_is_refused_with_the_remedy_and_without_the_password(
    text: str, words: list[str]
) -> None:
    """The error names the fault and what to write instead, and repeats no part of a password."""
    with pytest.raises(ConfigurationError) as caught:
        DatabaseURL.parse(text)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_all_faults_of_a_url_are_named_at_once() -> None:
    """Two unknown parameters and a bad port are three faults of one error."""
    with pytest.raises(ConfigurationError) as caught:
        DatabaseURL.parse("postgresql://host:x/db?foo=1&bar=2")
    assert len(caught.value.faults) == 3


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_an_empty_url_is_refused_when_the_environment_names_nothing(text: str | None) -> None:
    """Without a URL or a PG* variable that names a place there is no silent default."""
    with pytest.raises(ConfigurationError, match="PGHOST"):
        DatabaseURL.parse(text, environ={"PGUSER": "app", "PGPORT": "5432"})


@pytest.mark.parametrize("name", ["PGHOST", "PGDATABASE", "PGSERVICE"])
def test_an_empty_url_leaves_everything_to_the_environment(name: str) -> None:
    """With PG* variables set, an empty URL adds no parameter of its own."""
    assert DatabaseURL.parse("", environ={name: "x"}).parameters == {}


names = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1)
settings = st.fixed_dictionaries(
    {},
    optional={
        "user": names,
        "password": names,
        "dbname": names,
        "host": st.sampled_from(["h", "1.2.3.4", "::1", "fe80::1%eth0", "/run/pg", "h1,h2"]),
        "port": st.integers(1, 65535).map(str),
        "application_name": names,
        "options": names,
    },
)


@given(settings)
@example({"user": "u:@/", "password": "p%40:/?#[]@ +&=", "dbname": "a/b?c", "host": "h1,h2"})
@example({"host": "h1,h2,h3", "port": "5432,,5433"})
def test_sqlalchemy_reads_back_every_parameter(given_settings: dict[str, str]) -> None:
    """SQLAlchemy's psycopg dialect connects with exactly the parameters of the URL."""
    url = DatabaseURL.of(given_settings.items())
    made = sqlalchemy.make_url(url.sqlalchemy_url())
    _, arguments = made.get_dialect()().create_connect_args(made)
    found = {key: str(value) for key, value in arguments.items()}
    if not found.get("port", "").strip(","):  # SQLAlchemy's "," for two hosts without a port
        found.pop("port", None)
    assert found == dict(url.parameters)


@given(settings)
def test_our_sqlalchemy_url_is_read_back_by_ourselves(given_settings: dict[str, str]) -> None:
    """Writing a URL and reading it again gives an equal value."""
    url = DatabaseURL.of(given_settings.items())
    assert DatabaseURL.parse(url.sqlalchemy_url()) == url


@given(settings)
@example({"password": "it's a \\ back", "dbname": ""})
def test_libpq_reads_back_every_parameter(given_settings: dict[str, str]) -> None:
    """The parser of libpq takes from the keyword string exactly the parameters of the URL."""
    url = DatabaseURL.of(given_settings.items())
    assert conninfo_to_dict(url.conninfo()) == dict(url.parameters)
    assert DatabaseURL.parse(url.conninfo() or "postgresql://") == url


def test_an_engine_connects_with_the_parameters() -> None:
    """create_engine hands the driver the two hosts, the ports and the password as they were."""
    seen: dict[str, Any] = {}
    url = DatabaseURL.parse("postgresql://app:p%40ss@h1:1,h2:2/shop?sslmode=require")
    engine = sqlalchemy.create_engine(url.sqlalchemy_url())

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def record(_dialect: object, _record: object, _args: object, given: dict[str, Any]) -> None:
        seen.update(given)
        raise psycopg.OperationalError("stop here")

    with pytest.raises(sqlalchemy.exc.OperationalError):
        engine.connect()
    assert {k: v for k, v in seen.items() if k != "context"} == {
        "user": "app",
        "password": "p@ss",
        "host": "h1,h2",
        "port": "1,2",
        "dbname": "shop",
        "sslmode": "require",
    }


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (
            "postgresql://u:p@h:1/d?sslmode=require&application_name=x&connect_timeout=3",
            {
                "user": "u",
                "password": "p",
                "host": "h",
                "port": 1,
                "database": "d",
                "ssl": "require",
            },
        ),
        ("postgresql://h1,h2:2/d", {"host": ["h1", "h2"], "port": [5432, 2], "database": "d"}),
        ("postgresql://h1,h2/d", {"host": ["h1", "h2"], "port": [5432, 5432], "database": "d"}),
        ("postgresql:///d?host=/run/pg", {"host": "/run/pg", "database": "d"}),
        (
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/ca.pem",
            {
                "host": "h",
                "database": "d",
                "dsn": "postgresql:///?sslmode=verify-full&sslrootcert=/ca.pem",
            },
        ),
    ],
)
def test_asyncpg_gets_only_what_it_understands(url: str, expected: dict[str, Any]) -> None:
    """The URL for asyncpg's dialect carries place, credentials and TLS in asyncpg's words."""
    made = sqlalchemy.make_url(DatabaseURL.parse(url).sqlalchemy_url("postgresql+asyncpg"))
    _, arguments = made.get_dialect()().create_connect_args(made)
    assert arguments == expected


def test_other_drivers_get_place_and_credentials() -> None:
    """pg8000 would refuse libpq's other parameters, so they are left out."""
    url = DatabaseURL.parse("postgresql://u:p@h/d?sslmode=require&connect_timeout=3")
    assert url.sqlalchemy_url("postgresql+pg8000") == "postgresql+pg8000://u:p@h/d"


def test_no_rendering_for_people_contains_a_secret() -> None:
    """Repr, str, format, redacted and describe show stars; names and paths stay readable."""
    url = DatabaseURL.parse(
        f"postgresql://app:{SECRET}@db:5432/shop?sslpassword=k{SECRET}&passfile=/run/pgpass"
        f"&oauth_client_secret=o{SECRET}"
    )
    shown = [repr(url), str(url), f"{url}", f"{url!r}", url.redacted, url.describe(), repr([url])]
    assert not [text for text in shown if SECRET in text]
    assert url.redacted == (
        "postgresql://app:***@db:5432/shop"
        "?oauth_client_secret=***&passfile=/run/pgpass&sslpassword=***"
    )
    assert url.secrets == {SECRET, f"k{SECRET}", f"o{SECRET}"}


def test_the_password_of_the_environment_is_a_secret_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGPASSWORD is scrubbed from texts when the URL has no password of its own."""
    monkeypatch.setenv("PGPASSWORD", SECRET)
    assert DatabaseURL.parse("postgresql://db/shop").secrets == {SECRET}
    assert DatabaseURL.parse("postgresql://u:other@db/shop").secrets == {"other"}


def test_equal_parameters_make_equal_values() -> None:
    """Form does not matter for equality and hash, only parameters do."""
    one = DatabaseURL.parse("postgresql+asyncpg://app:pw@db/shop?ssl=require")
    two = DatabaseURL.parse("dbname=shop host=db user=app password=pw sslmode=require")
    assert one == two
    assert hash(one) == hash(two)
    assert one != DatabaseURL.parse("postgresql://app:other@db/shop")


def test_pickling_keeps_the_value() -> None:
    """A URL passes to another process as it is."""
    url = DatabaseURL.parse(f"postgresql://app:{SECRET}@db/shop")
    assert pickle.loads(pickle.dumps(url)) == url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("postgresql://u:p@db.example/app", "database app at db.example:5432"),
        ("postgresql://h1:1,h2:2/app", "database app at h1:1, h2:2"),
        ("postgresql://h1,h2:2/app", "database app at h1:5432, h2:2"),
        ("postgresql://[::1]:9/app", "database app at [::1]:9"),
        ("postgresql:///app?host=/run/pg", "database app at socket /run/pg, port 5432"),
        ("postgresql://u@db/", "database u at db:5432"),
        ("service=prod dbname=app", "database app of service prod"),
        ("postgresql://", "the default database at the default socket, port 5432"),
    ],
)
def test_the_description_names_database_and_place(text: str, expected: str) -> None:
    """Error texts can say which database, where, in words."""
    assert DatabaseURL.parse(text).describe() == expected


def test_the_description_fills_gaps_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the URL is silent and libpq asks PG*, the description does so too."""
    monkeypatch.setenv("PGHOST", "db.internal")
    monkeypatch.setenv("PGPORT", "6543")
    monkeypatch.setenv("PGDATABASE", "shop")
    assert DatabaseURL.parse("").describe() == "database shop at db.internal:6543"


def test_embedded_is_told_apart() -> None:
    """The embedded form is recognised, and its directory is read."""
    assert is_embedded(" embedded:./data\n")
    assert embedded_path(" embedded:./data\n") == "./data"
    assert not is_embedded("postgresql://db")
    assert not is_embedded(None)


@pytest.mark.parametrize("text", ["embedded:", "postgresql://db"])
def test_embedded_without_a_directory_is_refused(text: str) -> None:
    """An embedded database that names no directory has nowhere to live."""
    with pytest.raises(ConfigurationError, match="embedded:PATH"):
        embedded_path(text)


@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://app:{SECRET}@db/shop",
        f"could not connect to 'postgresql+psycopg://app:{SECRET}@db/shop'",
        f"postgresql://app:p@{SECRET}/x@db/shop",
        f"postgres://:{SECRET}@db",
        f"postgresql://db/shop?user=a&password={SECRET}&sslmode=require",
        f"connection to host=db password={SECRET} failed",
        f"host=db password = '{SECRET}' dbname=x",
        f"host=db password='a \\'b {SECRET}' dbname=x",
        f"password=a\\ {SECRET} host=x",
        f"PGPASSWORD={SECRET}",
        f"{{'user': 'a', 'password': '{SECRET}'}}",
        f'{{"sslpassword": "{SECRET}"}}',
        f"psycopg.connect(host='db', password='{SECRET}')",
        f"LINE 1: alter role app with encrypted password '{SECRET}'",
        f"alter role app password 'it''s {SECRET}' valid until 'x'",
        f'missing "=" after "{SECRET}" in connection info string',
        f'invalid integer value "{SECRET}" for connection option "port"',
        f'invalid percent-encoded token: "{SECRET}%zz"',
        f'could not translate host name "{SECRET}@db" to address',
        f"Could not parse SQLAlchemy URL from given URL string '{SECRET}@x'",
        f"invalid literal for int() with base 10: '{SECRET}'",
    ],
)
def test_scrub_finds_passwords_where_passwords_stand(text: str) -> None:
    """Nobody needs to name a secret that stands in a URL, a conninfo or a known message."""
    assert SECRET not in scrub(text)
    assert "***" in scrub(text)


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "app"',
        "fe_sendauth: no password supplied",
        'connection to server at "db" (10.0.0.1), port 5432 failed: Connection refused',
        "see https://example.com:8080/docs?q=a@b and postgresql://db:5432/shop",
        'relation "accounts" does not exist\nLINE 1: select * from accounts',
        "postgresql://app:***@db/shop",
        "",
    ],
)
def test_scrub_leaves_other_texts_alone(text: str) -> None:
    """A message without a secret reads as the driver wrote it."""
    assert scrub(text) == text


@pytest.mark.parametrize(
    "shown",
    [
        "p@s/s w%rd'\\",
        "p%40s%2Fs%20w%25rd%27%5C",
        "p%40s%2fs%20w%25rd%27%5c",
        "p%40s%2Fs+w%25rd%27%5C",
        "p@s/s w%rd\\'\\\\",
        "p@s/s w%rd''\\",
    ],
)
def test_scrub_removes_given_secrets_in_every_spelling(shown: str) -> None:
    """A secret is found raw, percent-encoded in any case, and escaped by quoting."""
    assert scrub(f"before {shown} after", ["p@s/s w%rd'\\"]) == "before *** after"


@given(st.text(min_size=3), st.text(), st.text())
@example("***", "", "")
def test_scrub_never_lets_a_given_secret_through(secret: str, before: str, after: str) -> None:
    """Whatever surrounds it, a secret that is no common word does not survive."""
    secret = f"{secret}9!"
    assert secret not in scrub(f"{before}{secret}{after}", [secret])


def test_a_short_secret_does_not_destroy_the_text() -> None:
    """A secret of one or two characters goes only from where a password stands."""
    text = "database app: postgresql://app:ap@db/app"
    assert scrub(text, ["ap", ""]) == "database app: postgresql://app:***@db/app"


def test_a_common_word_as_secret_is_removed_as_a_word_only() -> None:
    """The password postgres does not make every mention of postgresql unreadable."""
    assert scrub("postgresql says postgres", ["postgres"]) == "postgresql says ***"


def test_reading_urls_imports_no_driver() -> None:
    """The module is part of the fast path: neither drivers nor SQLAlchemy come with it."""
    code = (
        "import sys; before = set(sys.modules); import automigrate.database.url as u; "
        "u.DatabaseURL.parse('postgresql://a:b%20@c/d?sslmode=require').sqlalchemy_url(); "
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"psycopg", "sqlalchemy", "alembic", "structlog"}
    assert not heavy & set(ran.stdout.split())
