"""Pool modes told apart by real poolers, and what of a script a transaction pooler cannot run."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

import psycopg
import pytest

from automigrate.database.pooler import Pooling, pooling
from automigrate.database.session import Session, SessionLostError, Tables
from automigrate.pooled import outside_transaction
from tests.support.pgbouncer import pgbouncer

if TYPE_CHECKING:
    from tests.support.servers import Database

ATTEMPTS = 20


def connect(url: str) -> psycopg.Connection:
    """Open a session as automigrate does."""
    return psycopg.connect(url, autocommit=True, prepare_threshold=None)


def found(url: str) -> Pooling:
    """Tell the pooling of one new session."""
    session = Session(connect(url))
    try:
        return pooling(session, session.look(Tables()), lambda: connect(url))
    finally:
        session.close()


def test_a_direct_connection_is_never_taken_for_a_pooler(database: Database) -> None:
    """Without a pooler no second connection is opened."""

    def refuse() -> psycopg.Connection:
        raise AssertionError("opened a second connection")

    for _ in range(ATTEMPTS):
        session = Session(connect(database.tcp_url))
        assert pooling(session, session.look(Tables()), refuse) is Pooling.NONE
        session.close()


@pytest.mark.parametrize("busy", [0, 6])
@pytest.mark.parametrize("round_robin", [0, 1])
@pytest.mark.parametrize("size", [1, 3])
def test_h9_transaction_mode_is_told_with_other_clients_busy(
    size: int, round_robin: int, busy: int, database: Database
) -> None:
    """Whatever the pool's size and order, and however busy it is, each look tells the same."""
    stop = threading.Event()

    def work(url: str) -> None:
        with connect(url) as connection:
            while not stop.is_set():
                connection.execute("select pg_sleep(0.002)")

    extra = f"server_round_robin = {round_robin}"
    with pgbouncer(database.server, "transaction", size=size, extra=extra) as pooler:
        url = pooler.url(database.name)
        threads = [threading.Thread(target=work, args=(url,)) for _ in range(busy)]
        for thread in threads:
            thread.start()
        try:
            told = Counter(found(url) for _ in range(ATTEMPTS))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
    assert told == {Pooling.TRANSACTION: ATTEMPTS}


@pytest.mark.parametrize("mode", ["session", "statement"])
def test_h9_session_and_statement_mode_are_told(mode: str, database: Database) -> None:
    """The other two modes are told from the transaction mode and from each other."""
    with pgbouncer(database.server, mode, size=3) as pooler:
        told = Counter(found(pooler.url(database.name)) for _ in range(ATTEMPTS))
    assert told == {Pooling(mode): ATTEMPTS}


def test_an_exhausted_session_pool_is_a_reason_to_begin_again(database: Database) -> None:
    """A pool that lends no second connection does not hang the question."""
    with (
        pgbouncer(database.server, "session", size=1) as pooler,
        pytest.raises(SessionLostError, match="no second connection"),
    ):
        found(pooler.url(database.name))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("with op.get_context().autocommit_block():\n        pass", "opens an autocommit block"),
        ("op.create_index('i', 't', ['a'], postgresql_concurrently=True)", "uses CONCURRENTLY"),
        ("op.create_index('i', 't', ['a'], postgresql_concurrently=False)", None),
        ("op.execute('create unique index\\n concurrently i on t (a)')", "uses CONCURRENTLY"),
        ("op.execute('DROP INDEX CONCURRENTLY i')", "uses CONCURRENTLY"),
        ("op.execute('reindex (verbose) table concurrently t')", "uses CONCURRENTLY"),
        ("op.execute('alter table t detach partition p concurrently')", "uses CONCURRENTLY"),
        ("op.execute('refresh materialized view concurrently v')", None),
        ("op.execute('create index i on t (a)')", None),
        ("pass", None),
    ],
)
def test_what_a_script_shows_of_leaving_its_transaction(body: str, what: str | None) -> None:
    """The text of `upgrade` tells what a transaction pooler cannot run; `downgrade` is ignored."""
    source = (
        f"def upgrade():\n    {body}\n\n"
        "def downgrade():\n    op.execute('drop index concurrently i')\n"
    )
    assert outside_transaction(source) == what
