"""What our session takes over from the connection that env.py prepared, and gives back."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, create_engine, pool, text

from automigrate.alembic_bridge.engine import autocommitting, connection_on, let_go
from automigrate.alembic_bridge.mirror import Mirror, in_autocommit
from automigrate.deadline import Deadline
from automigrate.errors import ConfigurationError
from tests.support.projects import sqlalchemy_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Database


@contextmanager
def pair(
    database: Database, theirs: Database | None = None, **engine: Any
) -> Iterator[tuple[Mirror, Connection, Connection]]:
    """Open our connection and env.py's."""
    raw = database.connect()
    url = sqlalchemy_url(database.url)
    ours = connection_on(
        raw,
        url=url,
        connect=database.connect,
        deadline=Deadline(10.0),
        on_commit_elsewhere=lambda: None,
    )
    other = create_engine(
        sqlalchemy_url((theirs or database).url), poolclass=pool.NullPool, **engine
    )
    try:
        with other.connect() as prepared:
            yield Mirror(ours, raw), ours, prepared
    finally:
        let_go(ours)
        raw.close()


def shown(connection: Connection, name: str) -> Any:
    """Return a setting, or what a function says, and end the transaction."""
    value = connection.execute(text(f"select {name}")).scalar()
    connection.rollback()
    return value


def setting(connection: Connection, name: str) -> Any:
    """Return a setting and end the transaction."""
    return shown(connection, f"current_setting('{name}')")


@pytest.mark.parametrize("statement", ["set", "set local"])
def test_settings_are_taken_over_and_given_back(database: Database, statement: str) -> None:
    """What was set for the session or the transaction holds for all revisions, and no longer."""
    with pair(database) as (mirror, ours, theirs):
        theirs.execute(text(f"{statement} search_path to pg_catalog"))
        theirs.execute(text(f"{statement} work_mem = '17MB'"))
        assert mirror.take_over(theirs) is None
        mirror.follow()
        assert setting(ours, "search_path") == "pg_catalog"
        assert setting(ours, "work_mem") == "17MB"
        mirror.give_back()
        assert setting(ours, "search_path") == '"$user", public'
        assert setting(ours, "work_mem") == "4MB"


def test_settings_of_the_connect_arguments_are_taken_over(database: Database) -> None:
    """`connect_args` count as well as statements."""
    arguments = {"options": "-csearch_path=pg_catalog -cstatement_timeout=1234"}
    with pair(database, connect_args=arguments) as (mirror, ours, theirs):
        mirror.take_over(theirs)
        assert setting(ours, "search_path") == "pg_catalog"
        assert setting(ours, "statement_timeout") == "0"


def test_what_is_set_after_configuring_is_followed(database: Database) -> None:
    """Until the migrations run, both connections may be prepared."""
    with pair(database) as (mirror, ours, theirs):
        theirs.execute(text("set work_mem = '17MB'"))
        mirror.take_over(theirs)
        theirs.execute(text("set search_path to pg_catalog"))
        ours.execute(text("set local maintenance_work_mem = '18MB'"))
        mirror.follow()
        assert setting(ours, "search_path") == "pg_catalog"
        assert setting(ours, "work_mem") == "17MB"
        assert setting(ours, "maintenance_work_mem") == "18MB"


@pytest.mark.parametrize("statement", ["set role", "set local role"])
def test_the_role_is_taken_over_and_given_back(database: Database, statement: str) -> None:
    """SET ROLE on env.py's connection decides who owns what revisions create."""
    with pair(database) as (mirror, ours, theirs):
        theirs.execute(text(f"{statement} pg_monitor"))
        mirror.take_over(theirs)
        mirror.follow()
        assert shown(ours, "current_user::text") == "pg_monitor"
        mirror.give_back()
        assert shown(ours, "current_user = session_user") is True


def test_the_next_connection_begins_afresh(database: Database) -> None:
    """A loop over tenants takes over nothing of the tenant before."""
    with pair(database) as (mirror, ours, theirs):
        theirs.execute(text("set work_mem = '17MB'"))
        theirs.execution_options(schema_translate_map={None: "one"})
        mirror.take_over(theirs)
        assert ours.get_execution_options()["schema_translate_map"][None] == "one"
        with pair(database) as (_, _, second):
            second.execute(text("set search_path to pg_catalog"))
            mirror.take_over(second)
            assert setting(ours, "work_mem") == "4MB"
            assert setting(ours, "search_path") == "pg_catalog"
            assert not ours.get_execution_options().get("schema_translate_map")


def test_another_database_is_named_and_nothing_is_taken(
    databases: Callable[[], Database],
) -> None:
    """The name of the other database is returned."""
    ours_there, theirs_there = databases(), databases()
    with pair(ours_there, theirs_there) as (mirror, ours, theirs):
        theirs.execute(text("set work_mem = '17MB'"))
        assert mirror.take_over(theirs) == theirs_there.name
        mirror.follow()
        assert setting(ours, "work_mem") == "4MB"


def test_only_postgresql_is_taken_over(database: Database) -> None:
    """A connection of another dialect is refused."""
    with (
        pair(database) as (mirror, _, _),
        create_engine("sqlite://", poolclass=pool.NullPool).connect() as theirs,
        pytest.raises(ConfigurationError, match="connects to sqlite"),
    ):
        mirror.take_over(theirs)


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_advisory_xact_lock(4711)",
        "set work_mem = '17MB'",
        "select * from t",
        "insert into t values (1)",
        "create schema s",
    ],
)
def test_a_transaction_in_the_way_is_committed(database: Database, statement: str) -> None:
    """Locks on tables and unseen work are in the way of the revisions, advisory locks are not."""
    database.execute("create table t (id integer)")
    with pair(database) as (mirror, _, theirs):
        theirs.execute(text(statement))
        mirror.take_over(theirs)
        locks = database.rows(
            "select locktype from pg_locks l join pg_stat_activity a using (pid)"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and (locktype in ('transactionid', 'advisory') or l.relation >= 16384)"
        )
        assert locks == ([("advisory",)] if "advisory" in statement else [])


def test_autocommit_is_seen(database: Database) -> None:
    """Of the engine, of the connection, and neither."""
    with pair(database, isolation_level="AUTOCOMMIT") as (mirror, _, theirs):
        mirror.take_over(theirs)
        assert mirror.autocommit
    with pair(database) as (mirror, _, theirs):
        mirror.take_over(theirs)
        assert not mirror.autocommit
        theirs.rollback()
        theirs.execution_options(isolation_level="AUTOCOMMIT")
        assert in_autocommit(theirs)


def test_an_error_without_an_answer_is_not_hidden(database: Database) -> None:
    """The server may end a session in a statement, before the driver knows that it is closed."""
    raw = database.connect()
    raw.autocommit = False

    def fail() -> None:
        with autocommitting(raw):
            raw.pgconn.send_query(b"select 1")
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        fail()
    raw.close()
