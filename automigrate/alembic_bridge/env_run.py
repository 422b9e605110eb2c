"""Run a project's own env.py, unmodified: in the right thread, guarded, with `configure` replaced.

`configure` is replaced on the instance of Alembic's EnvironmentContext, because env.py reaches it
through a proxy that a subclass would not change (H16).
"""

from __future__ import annotations

import asyncio
import contextvars
import re
import threading
from argparse import Namespace
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
from alembic import command as alembic_command
from alembic.runtime.environment import EnvironmentContext
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError, InvalidRequestError

from automigrate.alembic_bridge.directory import config_for, default_driver, directory_for
from automigrate.alembic_bridge.env_statements import intercepting
from automigrate.alembic_bridge.event_loop import event_loop
from automigrate.alembic_bridge.guard import process_guard
from automigrate.database.session import SessionLostError, TablesDifferError
from automigrate.errors import (
    AutomigrateError,
    DatabaseUnavailableError,
    ScriptError,
    ScriptImportError,
)
from automigrate.sqlstate import Fault, classify, driver_error, sqlstate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import Connection

    from automigrate.deadline import Control, Deadline
    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.location import ScriptLocation

__all__ = ["EnvRun", "in_thread", "one_run_per_process"]

_PROCESS_LOCK = threading.Lock()
"""Alembic's proxies are one per process (H18)."""

_WAITING_TEXTS = ("too many", "remaining connection slots", "starting up", "shutting down")
_OWN_ENGINE = re.compile(rb"\b(?:create_(?:async_)?engine|\w*engine_from_config)\s*\(")
_RACE = re.compile(r'constraint "pg_\w+"|tuple concurrently updated')


@contextmanager
def one_run_per_process(deadline: Deadline, control: Control) -> Iterator[None]:
    """Wait until no other thread runs Alembic.

    Raises:
        ScriptError: one still does at the deadline.
        StoppedError: a stop was asked for.
    """
    while not _PROCESS_LOCK.acquire(timeout=0.2):
        control.raise_if_stopping()
        if deadline.passed:
            raise ScriptError(
                "another thread of this process runs Alembic, which can run once per process at a "
                "time. Run the migrations one after another."
            )
    try:
        yield
    finally:
        _PROCESS_LOCK.release()


def in_thread(action: Callable[[], None], control: Control) -> None:
    """Run env.py where its own `asyncio.run` works and the application's event loop stays as it is.

    That is a new thread, unless this is a worker thread without an event loop already: there what
    the application keeps per thread (such as anyio's way back to its loop) is at hand.
    """
    if threading.current_thread() is not threading.main_thread() and not _in_event_loop():
        action()
        return
    failure: list[BaseException] = []
    context = contextvars.copy_context()
    # Where env.py has eventlet patch `threading`, the thread never counts as ended.
    running = threading.Lock()
    running.acquire()

    def body() -> None:
        try:
            context.run(action)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)
        finally:
            running.release()

    thread = threading.Thread(target=body, name="automigrate-env", daemon=True)
    thread.start()
    try:
        while not running.acquire(timeout=1.0):
            pass
    except BaseException:
        control.abort()
        running.acquire(timeout=30.0)
        raise
    thread.join(timeout=1.0)
    if failure:
        raise failure[0]


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class EnvRun:
    """Alembic's environment over our scripts, and one run of env.py in it.

    Args:
        location: where the scripts are.
        graph: what the reader knows of them.
        sqlalchemy_url: for env.py, which opens a connection of its own.
        target: as Alembic's command line would have got it.
        x_arguments: what `context.get_x_argument()` returns.
        text_of: makes a text of an error, without secrets.
        command: Alembic's command that env.py shall see in `config.cmd_opts`.
        raw: our own session, to tell whose fault it is when env.py cannot connect.
    """

    def __init__(
        self,
        location: ScriptLocation,
        graph: ScriptGraph,
        raw: psycopg.Connection[Any] | None = None,
        *,
        sqlalchemy_url: Callable[[str], str],
        target: str,
        x_arguments: tuple[str, ...],
        text_of: Callable[[BaseException], str],
        command: str = "upgrade",
    ) -> None:
        self._location = location
        self._raw = raw
        self._target = target
        self._text_of = text_of
        self._configured = self._lent = False
        self.custom_settings: set[str] = set()
        """Settings with a dot in their name that env.py has set."""
        self.applied = False
        """Whether `run_migrations` has come to its end."""
        self.failure: BaseException | None = None
        """What must not be swallowed by env.py, which may go on after an error."""
        arguments = _arguments(location, target, x_arguments, command)
        self.config = config_for(location, sqlalchemy_url, arguments)
        self.directory: ScriptDirectory = directory_for(location, graph)

    @contextmanager
    def environment(
        self, configure: Callable[..., None], steps: Callable[..., Any]
    ) -> Iterator[EnvironmentContext]:
        """Install Alembic's environment, for `context` and `op`.

        Args:
            configure: called in the place of `configure`, with the environment and the original.
            steps: as Alembic's `fn`.
        """
        environment = EnvironmentContext(
            self.config,
            self.directory,
            fn=steps,
            as_sql=False,
            starting_rev=None,
            destination_rev=self._target,
            tag=None,
        )
        original = environment.configure

        def replaced(*args: Any, **kwargs: Any) -> None:
            self._configured = True
            configure(environment, original, *args, **kwargs)

        environment.configure = replaced  # type: ignore[method-assign]
        with process_guard(self._location.prepend_sys_path), environment:
            yield environment

    def run(
        self,
        configure: Callable[..., None],
        steps: Callable[..., Any],
        *,
        locks: Callable[[Callable[[], bool]], None],
        ours: Connection | None = None,
    ) -> None:
        """Run env.py.

        Args:
            configure: as for `environment`.
            steps: as for `environment`.
            locks: gets env.py's own advisory locks, by calling a function that tries once.
            ours: our connection, also for an env.py that cannot do without
                `config.attributes["connection"]`.

        Raises:
            AutomigrateError: `failure`, or what env.py itself did wrong.
        """
        try:
            with (
                event_loop(),
                self.environment(configure, steps),
                intercepting(locks, self.custom_settings, ours),
            ):
                self._execute(ours)
        except BaseException as error:
            if self.failure is not None:
                raise self.failure from self.failure.__cause__
            if not (self.applied and _is_of_no_matter(error)):
                raise self._translated(error) from error
        if self.failure is not None:
            raise self.failure

    def driver_of(self, connection: Connection) -> str:
        """Name the driver that plain Alembic would have had for a connection of env.py's.

        Ours is psycopg where the project names none; plain Alembic takes SQLAlchemy's default.
        """
        url = connection.engine.url.render_as_string(hide_password=False)
        if url == self.config.url_of_ours:
            return default_driver()
        return connection.dialect.driver

    @property
    def lacks_connection(self) -> bool:
        """Whether env.py asked for a connection of the program's and came to nothing without.

        Not where it can make one itself: what it ended with is then its answer, as that it wants a
        tenant to be named, and with a connection it might go another way.
        """
        asked = self.config.attributes.asked_for_connection
        if not asked or self._configured or self._lent:
            return False
        env_file = self._location.env_file
        return env_file is None or _OWN_ENGINE.search(env_file.read_bytes()) is None

    @property
    def needs_ours(self) -> bool:
        """Whether env.py shall get ours in the place of one that the program has put there."""
        return self.config.attributes.needs_ours

    def stop(self, error: Exception) -> Exception:
        """Note an error that ends the run, whatever env.py makes of it."""
        self.failure = self.failure or error
        return error

    def _execute(self, connection: Connection | None) -> None:
        if self.needs_ours:
            self._lend(connection)
        try:
            self.directory.run_env()
        except (AutomigrateError, DBAPIError, OSError):
            raise
        except InvalidRequestError:
            # `AsyncEngine(engine_from_config(…))` over a URL without a driver, which is ours then.
            if self._configured or self.config.url_of_ours is None:
                raise
            self.config.choose_async_driver()
            self.directory.run_env()
        except Exception:  # whatever it says about the connection that it was not given
            if connection is None or not self.lacks_connection:
                raise
            self._lend(connection)
            self.directory.run_env()

    def _lend(self, connection: Connection | None) -> None:
        self._lent = connection is not None
        self.config.attributes["connection"] = connection

    def _session_lives(self) -> bool:
        """Whether the server that env.py could not reach is there for us."""
        if self._raw is None:
            return True
        try:
            self._raw.execute("select 1")
            if not self._raw.autocommit:
                self._raw.rollback()
        except psycopg.Error:
            return False
        return True

    def _translated(self, error: BaseException) -> BaseException:
        """Say what env.py itself did wrong; our own errors never come this way."""
        ours = AutomigrateError | SessionLostError | TablesDifferError
        if isinstance(error, ours | KeyboardInterrupt):
            return error
        reason = self._text_of(error)
        if isinstance(error, CommandError):
            return ScriptError(f"Alembic refuses: {reason}. Run `alembic history` to see why.")
        if _is_race(error):
            return SessionLostError(reason)
        if _is_about_connecting(error):
            waiting = any(text in str(error).lower() for text in _WAITING_TEXTS)
            if waiting or not self._session_lives():
                return SessionLostError(f"env.py's own connection: {reason}")
            return DatabaseUnavailableError(
                reason=f"the connection that env.py opens itself failed: {reason}",
                remedy="Let env.py use `sqlalchemy.url` of its config, which automigrate sets.",
            )
        if self.applied:
            return ScriptError(
                f"{self._location.env_file} failed behind the revisions: {reason}. What was "
                "applied stays applied. Correct it, and do by hand what it was to do then: where "
                "nothing is pending it is not run again."
            )
        return ScriptImportError(file=str(self._location.env_file), reason=reason)


def _is_race(error: BaseException) -> bool:
    """Whether several processes have created the same schema or extension at once (H8)."""
    return isinstance(error, DBAPIError) and _RACE.search(str(error.orig)) is not None


def _fault_elsewhere(error: BaseException) -> Fault:
    """Decide about an error of a connection that is not ours, and of whose state nothing is known.

    Without a SQLSTATE an error of the driver is one of the connection.
    """
    lost = driver_error(error) is not None and sqlstate_of(error) is None
    return classify(error, broken=lost)


def _is_of_no_matter(error: BaseException) -> bool:
    """Whether what env.py ends with, after the revisions, leaves them as they should be.

    It may say `sys.exit(0)`, and the server may have ended the connection that it kept open and
    idle meanwhile.
    """
    if isinstance(error, SystemExit):
        return not error.code
    return _fault_elsewhere(error) is Fault.LOST


def _is_about_connecting(error: BaseException) -> bool:
    if isinstance(error, OSError):  # asyncpg's
        return not isinstance(error, FileNotFoundError | PermissionError)
    if not isinstance(error, DBAPIError) and driver_error(error) is None:
        return False
    state = sqlstate_of(error)
    return state is None or state[:2] in {"08", "28", "3D", "53", "57"}


def _arguments(
    location: ScriptLocation, target: str, x_arguments: tuple[str, ...], command: str
) -> Namespace:
    """Make what Alembic's command line would have parsed; env.py may ask which command runs."""
    given = {} if location.prepared is None else vars(location.prepared.cmd_opts or Namespace())
    ours = {
        "cmd": (getattr(alembic_command, command), ["revision"], ["sql", "tag"]),
        "x": list(x_arguments) or given.get("x"),
        "name": location.ini_section,
        "config": None,
        "raiseerr": False,
        "quiet": False,
        "revision": target,
        "sql": False,
        "tag": None,
    }
    return Namespace(**{**given, **ours})
