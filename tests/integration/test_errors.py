"""Errors of a real server lead to the action that the table of SQLSTATEs says."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
import sqlalchemy

from automigrate.sqlstate import Fault, classify, classify_connecting, sqlstate_of
from tests.support.projects import sqlalchemy_url

if TYPE_CHECKING:
    from tests.support.servers import Database


def fault_of(connection: psycopg.Connection, statement: str) -> Fault:
    """Run a statement that fails, and classify the error."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement.encode())
    return classify(raised.value, broken=connection.closed)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("select * from nowhere", Fault.FAILED),
        ("select 1 / 0", Fault.FAILED),
        ("set transaction_read_only = on; create table t ()", Fault.READ_ONLY),
        ("select pg_terminate_backend(pg_backend_pid())", Fault.LOST),
        ("select pg_cancel_backend(pg_backend_pid()), pg_sleep(5)", Fault.CANCELLED),
        ("set statement_timeout = 10; select pg_sleep(5)", Fault.CANCELLED),
        ("vacuum pg_class; select 1", Fault.FAILED),
    ],
)
def test_statements_that_fail(statement: str, fault: Fault, database: Database) -> None:
    """What the server answers is classified by its SQLSTATE."""
    with database.connect() as connection:
        assert fault_of(connection, statement) is fault


def test_a_lock_timeout_is_busy(database: Database) -> None:
    """A table lock that was not to be had in time."""
    database.execute("create table t ()")
    with database.connect() as holder, database.connect() as connection:
        holder.execute("begin; lock table t")
        connection.execute("set lock_timeout = 10")
        assert fault_of(connection, "alter table t add column a int") is Fault.BUSY


def test_nowait_is_busy(database: Database) -> None:
    """So is a lock that was not waited for."""
    database.execute("create table t (id int); insert into t values (1)")
    with database.connect() as holder, database.connect() as connection:
        holder.execute("begin; select * from t for update")
        assert fault_of(connection, "select * from t for update nowait") is Fault.BUSY


def test_a_serialization_failure_is_busy(database: Database) -> None:
    """A row changed under a repeatable read."""
    database.execute("create table t (id int); insert into t values (1)")
    with database.connect() as connection:
        connection.execute("begin isolation level repeatable read; select * from t")
        database.execute("update t set id = 2")
        assert fault_of(connection, "update t set id = 3") is Fault.BUSY


def test_an_idle_session_that_was_ended_is_lost(database: Database) -> None:
    """The next statement on it says so, through SQLAlchemy too."""
    engine = sqlalchemy.create_engine(sqlalchemy_url(database.url))
    with engine.connect() as connection:
        pid = connection.scalar(sqlalchemy.text("select pg_backend_pid()"))
        database.rows("select pg_terminate_backend(%s, 5000)", (pid,))
        with pytest.raises(sqlalchemy.exc.OperationalError) as raised:
            connection.execute(sqlalchemy.text("select 1"))
        assert sqlstate_of(raised.value) == "57P01"
        assert classify(raised.value, broken=False) is Fault.LOST
        connection.invalidate()
    engine.dispose()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"password": "wrong"}, Fault.REFUSED),
        ({"user": "nobody_called_this"}, Fault.REFUSED),
        ({"dbname": "no_such_database"}, Fault.REFUSED),
        ({"port": "9"}, Fault.UNREACHABLE),
        ({"host": "no-such-host.invalid"}, Fault.UNREACHABLE),
        ({"host": "/nowhere"}, Fault.UNREACHABLE),
        ({"options": "-c no_such_setting=1"}, Fault.REFUSED),
        ({"sslmode": "require"}, Fault.REFUSED),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value.value,
)
def test_connections_that_fail(change: dict[str, str], fault: Fault, database: Database) -> None:
    """What waiting cannot help is told from what it may."""
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(psycopg.conninfo.make_conninfo(database.tcp_url, **change))
    assert classify_connecting(raised.value) is fault


def test_a_role_that_may_not_connect_is_refused(database: Database) -> None:
    """The privilege is missing, and waiting does not grant it."""
    role = f"guest_{database.name}"[:60]
    database.execute(
        f"create role {role} login; revoke connect on database {database.name} from public"
    )
    with pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(psycopg.conninfo.make_conninfo(database.url, user=role))
    assert classify_connecting(raised.value) is Fault.REFUSED
    database.execute(f"drop role {role}")


def test_a_role_with_no_connection_left_is_waited_for(database: Database) -> None:
    """Too many connections is a state that passes."""
    role = f"narrow_{database.name}"[:60]
    database.execute(f"create role {role} login connection limit 1")
    url = psycopg.conninfo.make_conninfo(database.url, user=role)
    with psycopg.connect(url), pytest.raises(psycopg.OperationalError) as raised:
        psycopg.connect(url)
    assert classify_connecting(raised.value) is Fault.UNREACHABLE
    database.execute(f"drop role {role}")


def test_a_deadlock_is_busy(database: Database) -> None:
    """One of two sessions that wait for each other gets the error."""
    database.execute("create table a (); create table b ()")
    with database.connect() as one, database.connect() as other, ThreadPoolExecutor() as pool:
        one.execute("begin; lock table a")
        other.execute("begin; lock table b")
        first = pool.submit(one.execute, "lock table b")
        second = pool.submit(other.execute, "lock table a")
        errors = [failed for run in (first, second) if (failed := run.exception(60.0))]
    assert [classify(error, broken=False) for error in errors] == [Fault.BUSY]
