"""What an error means: by SQLSTATE first, by text where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import psycopg2
import pytest
import sqlalchemy.exc
from psycopg import errors

from automigrate.sqlstate import Fault, classify, classify_connecting, driver_error, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Callable


def with_sqlstate(sqlstate: str) -> psycopg.Error:
    """Make an error as psycopg does for a SQLSTATE."""
    try:
        kind = errors.lookup(sqlstate)
    except KeyError:
        kind = psycopg.OperationalError
    error = kind("as the server said")
    error.sqlstate = sqlstate
    return error


@pytest.mark.parametrize(
    ("sqlstate", "fault"),
    [
        ("57P01", Fault.LOST),
        ("57P02", Fault.LOST),
        ("57P03", Fault.LOST),
        ("57P05", Fault.LOST),
        ("25P03", Fault.LOST),
        ("25P04", Fault.LOST),
        ("08006", Fault.LOST),
        ("08P01", Fault.LOST),
        ("25006", Fault.READ_ONLY),
        ("55P03", Fault.BUSY),
        ("55006", Fault.BUSY),
        ("40P01", Fault.BUSY),
        ("40001", Fault.BUSY),
        ("57014", Fault.CANCELLED),
        ("42501", Fault.REFUSED),
        ("28P01", Fault.REFUSED),
        ("53100", Fault.FAILED),
        ("25001", Fault.FAILED),
        ("25P02", Fault.FAILED),
        ("42P01", Fault.FAILED),
        ("2BP01", Fault.FAILED),
        ("23505", Fault.FAILED),
    ],
)
def test_an_error_on_a_session_is_classified_by_its_sqlstate(sqlstate: str, fault: Fault) -> None:
    """Each row of the table of errors leads to its action."""
    assert classify(with_sqlstate(sqlstate), broken=False) is fault


def test_a_broken_connection_is_lost_whatever_the_error_was() -> None:
    """What no session can answer for any more begins again."""
    assert classify(with_sqlstate("42P01"), broken=True) is Fault.LOST
    assert classify(psycopg.OperationalError("server closed"), broken=True) is Fault.LOST
    assert classify(RuntimeError("of a script"), broken=True) is Fault.LOST


def test_a_standby_is_read_only_even_when_the_connection_broke() -> None:
    """A server that became a standby is waited for."""
    assert classify(with_sqlstate("25006"), broken=True) is Fault.READ_ONLY


def test_an_error_without_sqlstate_on_a_living_session_is_a_failure() -> None:
    """A script's own error has nothing to do with the server."""
    assert classify(RuntimeError("of a script"), broken=False) is Fault.FAILED


def wrapped(inner: BaseException) -> Exception:
    """Wrap as SQLAlchemy does."""
    return sqlalchemy.exc.OperationalError("select 1", {}, inner)


def caused(inner: BaseException) -> Exception:
    """Chain with `from`."""
    error = RuntimeError("outer")
    error.__cause__ = inner
    return error


def while_handling(inner: BaseException) -> Exception:
    """Chain by being raised while another is handled, as in `autocommit_block`."""
    error = sqlalchemy.exc.PendingRollbackError("outer")
    error.__context__ = inner
    return error


@pytest.mark.parametrize("wrap", [wrapped, caused, while_handling])
def test_the_driver_error_is_found_wherever_it_hides(
    wrap: Callable[[BaseException], Exception],
) -> None:
    """In `orig`, as the cause, or as the context."""
    inner = with_sqlstate("57P01")
    assert driver_error(wrap(inner)) is inner
    assert sqlstate_of(wrap(wrap(inner))) == "57P01"
    assert classify(wrap(inner), broken=False) is Fault.LOST


def test_a_circle_of_errors_ends() -> None:
    """Errors that name each other as cause do not hang the search."""
    first, second = RuntimeError("1"), RuntimeError("2")
    first.__cause__, second.__cause__ = second, first
    assert driver_error(first) is None
    assert sqlstate_of(first) is None


def test_an_orig_that_is_no_error_is_passed_over() -> None:
    """Some other library's `orig` may be anything."""
    error: Any = RuntimeError("x")
    error.orig = "text"
    assert driver_error(error) is None


@pytest.mark.parametrize("sqlstate", ["28P01", "28000", "3D000", "42501", "42704"])
def test_a_refusal_while_connecting_is_final(sqlstate: str) -> None:
    """Waiting grants no privilege and creates no database."""
    assert classify_connecting(with_sqlstate(sqlstate)) is Fault.REFUSED


@pytest.mark.parametrize("sqlstate", ["57P03", "53300", "08006", "57P01"])
def test_other_states_while_connecting_pass(sqlstate: str) -> None:
    """Starting, full and stopping servers are waited for."""
    assert classify_connecting(with_sqlstate(sqlstate)) is Fault.UNREACHABLE


@pytest.mark.parametrize(
    "text",
    [
        'FATAL:  password authentication failed for user "app"',
        'FATAL:  database "shop" does not exist',
        'FATAL:  role "app" does not exist',
        'FATAL:  role "app" is not permitted to log in',
        'FATAL:  no pg_hba.conf entry for host "10.0.0.1", user "app"',
        'FATAL:  unrecognized configuration parameter "foo"',
        "server does not support SSL, but SSL was required",
        'invalid sslmode value: "x"',
        'FATAL:  database "shop" is not currently accepting connections',
        'root certificate file "/x" does not exist',
        "FATAL:  no such user",
    ],
)
def test_a_refusal_is_told_by_its_text(text: str) -> None:
    """Libpq reports no SQLSTATE before the connection stands."""
    assert classify_connecting(psycopg.OperationalError(text)) is Fault.REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "connection refused. Is the server running on that host and accepting TCP/IP connections?",
        "could not translate host name: Name or service not known",
        "connection timeout expired",
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  sorry, too many clients already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'connection to server on socket "/x/.s.PGSQL.5432" failed: No such file or directory',
        "something that nobody has seen before",
    ],
)
def test_everything_else_is_tried_again(text: str) -> None:
    """A wait that ends with the reason is better than a restart loop."""
    assert classify_connecting(psycopg.OperationalError(text)) is Fault.UNREACHABLE


def test_a_missing_password_is_final() -> None:
    """Libpq says on the connection that it would have needed one."""

    class Connection:
        needs_password = True

    class NeedsPasswordError(Exception):
        pgconn = Connection()

    assert classify_connecting(NeedsPasswordError("fe_sendauth: failed")) is Fault.REFUSED


def test_the_code_of_psycopg2_is_a_sqlstate() -> None:
    """It names it in another way; without it every error would be one of the connection."""
    inner = psycopg2.OperationalError("canceling statement due to lock timeout")
    error = sqlalchemy.exc.DBAPIError.instance("select 1", None, inner, psycopg2.Error)
    assert sqlstate_of(error) is None
    assert classify(error, broken=True) is Fault.LOST

    class LockNotAvailable(psycopg2.OperationalError):
        pgcode = "55P03"

    error = sqlalchemy.exc.DBAPIError.instance("select 1", None, LockNotAvailable(), psycopg2.Error)
    assert sqlstate_of(error) == "55P03"
    assert classify(error, broken=False) is Fault.BUSY
