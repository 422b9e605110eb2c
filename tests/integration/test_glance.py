"""The quick look on bare libpq says `True` exactly where the regular look finds all right."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from automigrate.database import glance, libpq
from automigrate.database.connector import Connector
from automigrate.database.glance import Glance, _found
from automigrate.database.session import Tables
from automigrate.database.source import CallableSource, URLSource
from automigrate.database.url import DatabaseURL
from automigrate.deadline import Control, Deadline
from automigrate.options import Options
from tests.support.replicas import until

if TYPE_CHECKING:
    from collections.abc import Collection

    from tests.support.servers import Database

VERSION = "create table alembic_version (version_num varchar(32) primary key);"
JOURNAL = "create table automigrate_journal (revision text, state text);"
HEADS = "insert into alembic_version values ('a'), ('b');"
ROWS = "insert into automigrate_journal values ('a', 'applied'), ('b', '{}');"
OPEN = "create table automigrate_open (entry bigint, revision text, version_table text);"
OPEN_ROW = "insert into automigrate_open values (2, 'b', null);"

EMPTY = ""
NO_JOURNAL = VERSION + HEADS
WITHOUT_OPEN = VERSION + HEADS + JOURNAL + ROWS.format("applied")
CLEAN = WITHOUT_OPEN + OPEN
RUNNING = VERSION + HEADS + JOURNAL + ROWS.format("running") + OPEN + OPEN_ROW

STATES = {
    "empty": EMPTY,
    "empty version table": VERSION,
    "no journal": NO_JOURNAL,
    "clean journal": CLEAN,
    "clean journal of the older form": WITHOUT_OPEN,
    "running": RUNNING,
    "running, older form": VERSION + HEADS + JOURNAL + ROWS.format("running"),
    "failed, older form": VERSION + HEADS + JOURNAL + ROWS.format("failed"),
    "reverted": VERSION + HEADS + JOURNAL + ROWS.format("reverted") + OPEN,
    "only one head, the other one running": (
        VERSION + HEADS.replace(", ('b')", "") + JOURNAL + ROWS.format("running") + OPEN + OPEN_ROW
    ),
    "journal alone": JOURNAL + ROWS.format("applied"),
    "version table is a view": "create view alembic_version as select 'a' as version_num;",
}
NAMED = "select 1 from pg_stat_activity where application_name = 'automigrate test'"
WANTED: list[set[str]] = [{"a", "b"}, {"a"}, {"a", "b", "c"}, {"@b"}, {"@"}]
NAMING = "select version_num from"
"""Begins the query of a process that has found the tables."""


@pytest.fixture(params=["psycopg's libpq", "libpq through ctypes"])
def binding(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Choose the binding, as it is chosen by whether psycopg is imported."""
    if request.param.endswith("ctypes"):
        assert libpq.load() is not None
        monkeypatch.delitem(sys.modules, "psycopg")
    return str(request.param)


def glanced(source: URLSource | CallableSource, tables: Tables, heads: Collection[str]) -> bool:
    """Glance as the first time in a process, and then as a later time, with the same result."""
    _found.clear()
    first = glanced_again(source, tables, heads)
    assert glanced_again(source, tables, heads) is first
    return first


def glanced_again(
    source: URLSource | CallableSource, tables: Tables, heads: Collection[str]
) -> bool:
    """Glance once more in this process."""
    with Glance(source, application_name="automigrate test", seconds=10.0) as opened:
        return opened.shows(tables, heads)


def looked(database: Database, tables: Tables, heads: Collection[str]) -> bool:
    """Look the regular way and judge it as a run does."""
    options = Options()
    connector = Connector(
        URLSource(DatabaseURL.parse(database.url)),
        options,
        control=Control(),
        deadline=Deadline(10.0),
        emit=lambda _: None,
    )
    with connector.session() as session:
        look = session.look(tables)
        return look.version_table and not look.open_revisions and set(look.heads) == set(heads)


@pytest.mark.parametrize("state", STATES)
def test_it_agrees_with_the_regular_look(binding: str, state: str, database: Database) -> None:
    """Whatever the state of the database and the heads that are wanted."""
    database.execute(STATES[state] or "select 1")
    source = URLSource(DatabaseURL.parse(database.url))
    quick = [glanced(source, Tables(), heads) for heads in WANTED]
    assert quick == [looked(database, Tables(), heads) for heads in WANTED]
    right = {"no journal", "clean journal", "clean journal of the older form", "reverted"}
    assert quick[0] is (state in right)


def test_it_looks_where_the_tables_are(binding: str, database: Database) -> None:
    """Names with quotes and capitals, in a schema out of the search_path."""
    schema = 'Shop "A"'
    quoted = '"Shop ""A"""."Version Table"'
    database.execute(
        'create schema "Shop ""A""";'
        f"create table {quoted} (version_num varchar(32)); insert into {quoted} values ('a')"
    )
    source = URLSource(DatabaseURL.parse(database.url))
    assert glanced(source, Tables("Version Table", schema), {"a"})
    assert not glanced(source, Tables("Version Table"), {"a"})


def test_a_journal_that_the_role_may_not_read_is_left_out(binding: str, database: Database) -> None:
    """A role without rights on the journal sees the version, as in the regular look."""
    database.execute(
        CLEAN
        + "drop role if exists only_reader; create role only_reader login;"
        + "grant select on alembic_version to only_reader"
    )
    source = URLSource(DatabaseURL.parse(database.server.url(database.name, user="only_reader")))
    assert glanced(source, Tables(), {"a", "b"})
    database.execute("drop owned by only_reader; drop role only_reader")


def asked(database: Database) -> list[str]:
    """Say which form of the query each glance so far has used."""
    return [
        "named" if statement.text.startswith(NAMING) else "any"
        for statement in database.statements(application_name="automigrate test")
    ]


def test_later_glances_name_the_tables(binding: str, database: Database) -> None:
    """Once a process has found them; each database has its own, and an open row is seen."""
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.url))
    _found.clear()
    assert [glanced_again(source, Tables(), {"a", "b"}) for _ in range(3)] == [True] * 3
    assert asked(database) == ["any", "named", "named"]
    over_tcp = URLSource(DatabaseURL.parse(database.tcp_url))
    assert glanced_again(over_tcp, Tables(), {"a", "b"})
    assert asked(database)[3:] == ["any"]
    assert not glanced_again(source, Tables(), {"a", "c"})
    database.execute(OPEN_ROW)
    assert not glanced_again(source, Tables(), {"a", "b"})
    database.execute("delete from automigrate_open")
    assert glanced_again(source, Tables(), {"a", "b"})
    assert asked(database)[4:] == ["named"] * 3


@pytest.mark.parametrize("state", [EMPTY, VERSION, NO_JOURNAL, WITHOUT_OPEN, JOURNAL])
def test_tables_are_named_only_where_all_were_found(
    binding: str, state: str, database: Database
) -> None:
    """Elsewhere the name would be an error in the server's log at every start."""
    database.execute(state or "select 1")
    source = URLSource(DatabaseURL.parse(database.url))
    _found.clear()
    for _ in range(2):
        glanced_again(source, Tables(), {"a", "b"})
    assert asked(database) == ["any", "any"]


@pytest.mark.parametrize("table", ["alembic_version", "automigrate_open"])
def test_a_table_that_is_gone_is_forgotten(binding: str, table: str, database: Database) -> None:
    """Nothing is known after the error; the next glance asks as the first of a process."""
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.url))
    _found.clear()
    assert glanced_again(source, Tables(), {"a", "b"})
    assert _found
    database.execute(f"drop table {table}")
    assert not glanced_again(source, Tables(), {"a", "b"})
    assert not _found
    assert glanced_again(source, Tables(), {"a", "b"}) is (table == "automigrate_open")
    assert asked(database) == ["any", "any"]  # what cannot be parsed is no statement in the log


def test_open_rows_that_may_not_be_read_are_asked_of_the_journal(
    binding: str, database: Database
) -> None:
    """A role with rights on the journal alone looks there, the first time and later."""
    database.execute(
        RUNNING
        + "drop role if exists journal_reader; create role journal_reader login;"
        + "grant select on alembic_version, automigrate_journal to journal_reader"
    )
    url = database.server.url(database.name, user="journal_reader")
    source = URLSource(DatabaseURL.parse(url))
    try:
        assert not glanced(source, Tables(), {"a", "b"})
        database.execute("update automigrate_journal set state = 'applied'")
        assert glanced(source, Tables(), {"a", "b"})
        assert set(asked(database)) == {"any"}
    finally:
        database.execute("drop owned by journal_reader; drop role journal_reader")


def test_open_rows_of_another_schema_do_not_count(binding: str, database: Database) -> None:
    """Where the journal beside the version table has none yet, and a later schema has some."""
    database.execute(
        "create schema ours; set search_path = ours;"
        + VERSION
        + HEADS
        + JOURNAL
        + ROWS.format("running")
        + f"set search_path = public; {CLEAN}"
        + f"alter database {database.name} set search_path = ours, public"
    )
    source = URLSource(DatabaseURL.parse(database.url))
    assert not glanced(source, Tables(), {"a", "b"})
    database.execute("update ours.automigrate_journal set state = 'applied'")
    assert glanced(source, Tables(), {"a", "b"})
    assert set(asked(database)) == {"any"}
    assert glanced(source, Tables(schema="public"), {"a", "b"})
    assert asked(database)[-1] == "named"


def test_only_so_many_databases_are_remembered(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no password is: there are only numbers."""
    monkeypatch.setattr(glance, "MOST", 2)
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.tcp_url))
    _found.clear()
    for schema in (None, "public"):
        assert glanced_again(source, Tables(schema=schema), {"a", "b"})
    assert len(_found) == 2
    database.execute("create schema more; set search_path = more;" + CLEAN)
    assert glanced_again(source, Tables(schema="more"), {"a", "b"})
    assert len(_found) == 1
    assert all(isinstance(place, int) for place in _found)


def test_over_tcp_with_a_password(binding: str, database: Database) -> None:
    """Authentication takes several steps, each of which is waited for."""
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.tcp_url))
    assert glanced(source, Tables(), {"a", "b"})


def test_nothing_is_known_without_a_server(binding: str) -> None:
    """A refused connection is no result and no exception."""
    source = URLSource(DatabaseURL.parse("postgresql://127.0.0.1:9/nowhere"))
    assert not glanced(source, Tables(), {"a"})


def test_nothing_is_known_after_a_wrong_password(
    binding: str, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """A refusal is no result, and neither libpq nor we print anything."""
    database.execute(CLEAN)
    url = database.server.tcp_url(database.name, password="wrong secret")
    assert not glanced(URLSource(DatabaseURL.parse(url)), Tables(), {"a", "b"})
    assert capfd.readouterr() == ("", "")


def test_a_server_that_does_not_answer_costs_a_second(
    binding: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that accepts and stays silent is left to the regular path soon."""
    import socket
    import time

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        source = URLSource(DatabaseURL.parse(f"postgresql://a:b@127.0.0.1:{port}/c"))
        begin = time.monotonic()
        assert not glanced(source, Tables(), {"a"})
        assert time.monotonic() - begin < 5.0


def test_a_notice_of_the_server_is_not_printed(
    binding: str, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """What libpq would print on stderr of its own is swallowed."""
    database.execute(CLEAN + f"alter database {database.name} set client_min_messages = debug5")
    assert glanced(URLSource(DatabaseURL.parse(database.url)), Tables(), {"a", "b"})
    assert capfd.readouterr() == ("", "")


def test_sources_that_connect_their_own_way_are_left_alone(
    binding: str, database: Database
) -> None:
    """A function that gives connections is not called for a glance."""

    def connect() -> object:
        pytest.fail("called")

    assert not glanced(CallableSource(connect), Tables(), {"a"})


def test_no_session_is_left(binding: str, database: Database) -> None:
    """The connection is closed whatever was seen; also when nobody asks."""
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.url))
    for heads in ({"a", "b"}, {"c"}):
        glanced(source, Tables(), heads)
    with Glance(source, application_name="automigrate test", seconds=10.0):
        pass


def test_a_missing_libpq_is_no_error(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where libpq cannot be found, psycopg does everything."""
    monkeypatch.delitem(sys.modules, "psycopg")
    monkeypatch.setattr(libpq, "load", lambda: None)
    database.execute(CLEAN)
    assert not glanced(URLSource(DatabaseURL.parse(database.url)), Tables(), {"a", "b"})


def test_psycopg_goes_on_with_its_connection(database: Database) -> None:
    """After another answer than the wanted one the session is as a new one: idle, in autocommit."""
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.url))
    with Glance(source, application_name="automigrate test", seconds=10.0) as opened:
        assert not opened.shows(Tables(), {"c"})
        left = opened.take()
    assert left is not None
    fresh = source.connect(application_name="automigrate test", connect_timeout=10.0)
    with source.adopt(left) as adopted, fresh:
        for name in ("autocommit", "prepare_threshold", "row_factory", "cursor_factory"):
            assert getattr(adopted, name) == getattr(fresh, name)
        assert adopted.info.transaction_status == fresh.info.transaction_status
        assert adopted.pgconn.nonblocking == fresh.pgconn.nonblocking
        assert adopted.info.get_parameters().keys() == fresh.info.get_parameters().keys()
        pid = adopted.execute("select pg_backend_pid()").fetchone()
        assert pid == (adopted.info.backend_pid,)
        with adopted.transaction():
            adopted.execute("set local search_path = pg_catalog")


def test_a_connection_that_nobody_takes_is_closed(binding: str, database: Database) -> None:
    """Neither after the right answer, nor after another one, nor by whatever went wrong."""
    database.execute(CLEAN)
    source = URLSource(DatabaseURL.parse(database.url))
    for heads in ({"a", "b"}, {"c"}):
        glanced(source, Tables(), heads)
    until(lambda: not database.rows(NAMED), "the sessions are gone")
