"""The one session: what it sees in one look, and how it is protected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from automigrate.database.session import OWN_TABLES, PROTECTION, Look, Session, Tables, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.servers import Database

VERSION_TABLE = (
    "create table {} (version_num varchar(32) primary key); insert into {} values ('{}')"
)


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A session in autocommit, as the sources give it."""
    opened = Session(psycopg.connect(database.url, autocommit=True, prepare_threshold=None))
    yield opened
    opened.close()


def look(session: Session, tables: Tables | None = None, **more: Any) -> Look:
    """Look at the version table."""
    return session.look(tables or Tables(), **more)


def test_an_empty_database_is_seen_without_an_error(session: Session) -> None:
    """Tables that do not exist are no fault, and the schema they belong to is known."""
    seen = look(session)
    assert seen == Look(
        locked=False,
        backend_pid=session.pid,
        in_recovery=False,
        read_only=False,
        version_table=False,
        heads=(),
        open_revisions=(),
        schema="public",
    )


def test_heads_and_open_rows_come_with_one_statement(session: Session, database: Database) -> None:
    """Both tables are read by the same query, in no transaction block."""
    database.execute(VERSION_TABLE.format(*["alembic_version"] * 2, "b2"))
    database.execute(
        "insert into alembic_version values ('a''1'); "
        "create table automigrate_journal (revision text, state text); "
        "insert into automigrate_journal values "
        "('r1', 'applied'), ('r2', 'running'), ('r3', 'failed'), ('r4', 'reverted')"
    )
    before = len(database.statements(pid=session.pid))
    seen = look(session)
    assert sorted(seen.heads) == ["a'1", "b2"]
    assert sorted(seen.open_revisions) == ["r2", "r3"]
    assert len(database.statements(pid=session.pid)) == before + 1
    assert session.connection.info.transaction_status is psycopg.pq.TransactionStatus.IDLE


def test_an_empty_version_table_is_one(session: Session, database: Database) -> None:
    """No row is not the same as no table."""
    database.execute("create table alembic_version (version_num varchar(32))")
    seen = look(session)
    assert (seen.version_table, seen.heads) == (True, ())


@pytest.mark.parametrize(
    ("schema", "table"),
    [("tenant", "alembic_version"), ('We"ird.Schema', "Ver'sion\\Table"), (None, "ünïcode $t")],
)
def test_names_are_quoted(
    schema: str | None, table: str, session: Session, database: Database
) -> None:
    """Any identifier that PostgreSQL takes is found."""
    tables = Tables(table, schema)
    if schema is not None:
        database.execute(f"create schema {quoted(schema)}")
    database.execute(VERSION_TABLE.format(tables.version, tables.version, "abc"))
    seen = look(session, tables)
    assert (seen.version_table, seen.heads) == (True, ("abc",))
    assert seen.schema == (schema or "public")


def test_the_search_path_decides_where_no_schema_is_named(
    session: Session, database: Database
) -> None:
    """The first version table on the path is the one, as for Alembic."""
    database.execute("create schema app")
    database.execute(VERSION_TABLE.format("app.alembic_version", "app.alembic_version", "x"))
    assert not look(session).version_table
    session.connection.execute("set search_path = public, app")
    seen = look(session)
    assert (seen.heads, seen.schema) == (("x",), "app")


def test_a_search_path_without_schema_is_told(session: Session) -> None:
    """There is no place for tables then."""
    session.connection.execute("set search_path = nowhere")
    assert look(session).schema is None


def test_a_journal_that_may_not_be_read_is_left_out(session: Session, database: Database) -> None:
    """A role that may only read the version table can still look."""
    database.execute(VERSION_TABLE.format(*["alembic_version"] * 2, "a"))
    database.execute("create table automigrate_journal (revision text, state text)")
    role = quoted(f"reader_{database.name}"[:60])
    database.execute(f"create role {role}; grant select on alembic_version to {role}")
    session.connection.execute(f"set role {role}".encode())
    seen = look(session)
    assert (seen.heads, seen.open_revisions) == (("a",), ())
    session.connection.execute("reset role")
    database.execute(f"drop owned by {role}; drop role {role}")


def test_the_lock_is_tried_with_the_look(session: Session, database: Database) -> None:
    """One statement reads the heads and takes a free lock; a held one is not waited for."""
    with database.connect() as other:
        other.execute("select pg_advisory_lock(5)")
        assert not look(session, lock_key=5).locked
    assert look(session, lock_key=6).locked
    with database.connect() as other:
        assert other.execute("select pg_try_advisory_lock(6)").fetchone() == (False,)


def test_a_read_only_database_is_seen(session: Session) -> None:
    """Before anything is tried on it."""
    session.connection.execute("set default_transaction_read_only = on")
    assert look(session).read_only


def test_time_outs_of_the_role_are_neutralised(database: Database) -> None:
    """Whatever the server knows of them is off, and dead clients are noticed."""
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        database.execute(f"alter database {database.name} set {name} = '30s'")
    session = Session(psycopg.connect(database.url, autocommit=True))
    session.protect()
    found = dict(
        session.connection.execute(
            "select name, setting from pg_settings where name = any(%s)", (list(PROTECTION),)
        ).fetchall()
    )
    session.close()
    off = {name for name, value in PROTECTION.items() if value == "0"} & set(found)
    assert {found[name] for name in off} == {"0"}
    assert len(off) >= 4
    assert found["client_connection_check_interval"] == "1000"


def test_protection_goes_on_where_one_setting_is_refused(database: Database) -> None:
    """A server that keeps a setting to itself keeps the others from nothing."""
    session = Session(psycopg.connect(database.url, autocommit=True))
    session.connection.execute(
        "create function pg_temp.set_config(text, text, boolean) returns text language plpgsql as "
        "$$ begin if $1 = 'tcp_keepalives_idle' then raise insufficient_privilege; end if; "
        "return pg_catalog.set_config($1, $2, $3); end $$"
    )
    session.connection.execute("set search_path = pg_temp, pg_catalog")
    session.connection.execute("set statement_timeout = '30s'")
    session.protect()
    row = session.connection.execute("show statement_timeout").fetchone()
    session.close()
    assert row == ("0",)


def test_only_tables_of_the_application_count(session: Session, database: Database) -> None:
    """Version table, our own and views do not make a database unmanaged; a table does."""
    database.execute(
        "".join(f"create table {name} (); " for name in ("alembic_version", *OWN_TABLES))
        + "create view v as select 1; create sequence s; create schema other; "
        "create table other.t ()"
    )
    assert not session.has_tables("public", "alembic_version")
    database.execute("create table p (id int) partition by list (id)")
    assert session.has_tables("public", "alembic_version")


def test_a_statement_can_be_cancelled_from_outside(session: Session) -> None:
    """Cancelling an idle session does nothing, and never raises."""
    session.cancel()
    assert look(session).schema == "public"
    session.close()
    session.cancel()
    assert session.broken
