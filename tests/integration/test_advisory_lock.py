"""The lock: one holder, named to the others, who sleep until they are told."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import psycopg
import pytest

from automigrate.database.advisory_lock import AdvisoryLock
from automigrate.database.session import Session, SessionLostError, Tables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.servers import Database


@pytest.fixture
def lock(database: Database) -> Iterator[Callable[..., AdvisoryLock]]:
    """Open sessions, each with its view of the lock."""
    with ExitStack() as stack:

        def make(name: str, schema: str = "public") -> AdvisoryLock:
            connection = psycopg.connect(database.url, autocommit=True, application_name=name)
            session = Session(connection)
            stack.callback(session.close)
            return AdvisoryLock(session, schema, "alembic_version")

        yield make


def take(lock: AdvisoryLock) -> bool:
    """Try to take it."""
    return lock._session.look(Tables(), lock_key=lock.key).locked


def held(lock: AdvisoryLock) -> bool:
    """Ask the server whether the session holds it, as before each revision."""
    (statement,) = lock.claim()
    row = lock._session.connection.execute(statement.encode()).fetchone()
    assert row is not None
    try:
        lock.confirm([row], ())
    except SessionLostError:
        return False
    return True


def test_one_session_holds_it(lock: Callable[..., AdvisoryLock]) -> None:
    """A second one does not get it until the first has released it."""
    first, second = lock("first"), lock("second")
    assert take(first)
    assert held(first)
    assert not take(second)
    assert not held(second)
    first.release()
    assert not held(first)
    assert take(second)


def test_each_schema_has_its_own(lock: Callable[..., AdvisoryLock]) -> None:
    """Tenants in schemas of their own do not wait for each other."""
    assert take(lock("first", "tenant_a"))
    assert take(lock("second", "tenant_b"))


def test_the_end_of_the_session_releases_it(lock: Callable[..., AdvisoryLock]) -> None:
    """A terminated backend holds nothing."""
    first, second = lock("first"), lock("second")
    assert take(first)
    second._session.connection.execute(
        "select pg_terminate_backend(%s, 5000)", (first._session.pid,)
    )
    assert take(second)


def test_the_holder_is_named_to_others(lock: Callable[..., AdvisoryLock]) -> None:
    """By application, pid and the time its session began; nobody is its own holder."""
    first, second = lock("automigrate first"), lock("automigrate second")
    assert second.holder() is None
    assert take(first)
    holder = second.holder()
    assert holder is not None
    assert (holder.pid, holder.application_name) == (first._session.pid, "automigrate first")
    assert holder.since.endswith("Z")
    assert second.waiters == 2
    assert first.holder() is None


def test_the_holder_is_named_to_a_foreign_role(
    lock: Callable[..., AdvisoryLock], database: Database
) -> None:
    """Name and pid need no privilege."""
    first, second = lock("first"), lock("second")
    assert take(first)
    role = f"foreign_{database.name}"[:60]
    database.execute(f"create role {role}")
    second._session.connection.execute(f"set role {role}".encode())
    holder = second.holder()
    assert holder is not None
    assert (holder.pid, holder.application_name) == (first._session.pid, "first")
    second._session.connection.execute("reset role")
    database.execute(f"drop role {role}")


def test_locks_of_others_are_not_taken_for_it(
    lock: Callable[..., AdvisoryLock], database: Database
) -> None:
    """A lock of two integers with the same bits is another lock."""
    first = lock("first")
    high, low = first.parameters["high"], first.parameters["low"]
    signed = [value - 2**32 if value >= 2**31 else value for value in (high, low)]
    with database.connect() as other:
        other.execute("select pg_advisory_lock(%s::int4, %s::int4)", signed)
        assert first.holder() is None
        assert take(first)


def test_a_release_wakes_a_waiter(lock: Callable[..., AdvisoryLock]) -> None:
    """The notification comes at once, after the lock is free."""
    first, second = lock("first"), lock("second")
    assert take(first)
    second.listen()
    first.release()
    started = time.monotonic()
    assert second.wait(30.0)
    assert time.monotonic() - started < 10.0
    assert take(second)


def test_the_holder_tells_the_waiters_what_it_left(lock: Callable[..., AdvisoryLock]) -> None:
    """All heads, in whatever order they were given."""
    first, second = lock("first"), lock("second")
    assert take(first)
    second.listen()
    assert second.holder() is not None
    first.release(["r0002", "a r0001"])
    assert second.wait(30.0)
    assert second.told == ("a r0001", "r0002")


@pytest.mark.parametrize("heads", [[], ["a" * 9000], ["a\nb"]])
def test_what_fits_no_notification_is_not_told(
    lock: Callable[..., AdvisoryLock], heads: list[str]
) -> None:
    """The waiters are woken all the same, and look for themselves."""
    first, second = lock("first"), lock("second")
    assert take(first)
    second.listen()
    assert second.holder() is not None
    first.release(heads)
    assert second.wait(30.0)
    assert second.told == ()


def test_only_the_holder_is_believed(lock: Callable[..., AdvisoryLock], database: Database) -> None:
    """Any role may notify on any channel; the server says which backend did."""
    first, second = lock("first"), lock("second")
    assert take(first)
    second.listen()
    assert second.holder() is not None
    with database.connect() as other:
        other.execute("select pg_notify(%s, 'r0002')", (second.channel,))
    assert second.wait(30.0)
    assert second.told == ()


def test_a_wait_ends_with_its_time(lock: Callable[..., AdvisoryLock]) -> None:
    """Without a notification the answer is no."""
    second = lock("second")
    second.listen()
    assert not second.wait(0.05)


def test_a_wait_ends_when_asked(lock: Callable[..., AdvisoryLock]) -> None:
    """A stop is noticed within a moment."""
    second = lock("second")
    second.listen()
    started = time.monotonic()
    assert not second.wait(30.0, until=lambda: True)
    assert time.monotonic() - started < 10.0


def test_nothing_is_heard_after_unlisten(lock: Callable[..., AdvisoryLock]) -> None:
    """Who got the lock does not listen to itself."""
    first, second = lock("first"), lock("second")
    second.listen()
    second.unlisten()
    first.release()
    assert not second.wait(0.1)
