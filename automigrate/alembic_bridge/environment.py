"""Run the revisions through Alembic: through the project's own env.py, unmodified, or without one.

env.py opens a connection of its own and gives it to `context.configure`. There we put ours in its
place, because every statement must run on the session that holds the lock (H1, H16), and take over
what env.py had set on its own: search_path and other settings, role, execution options. Then
`run_migrations` is ours too, so that each revision has its own transaction, fence, journal row and
retries.
"""

from __future__ import annotations

import contextvars
import threading
from argparse import Namespace
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import HeadMaintainer
from alembic.util import CommandError
from sqlalchemy import event

from automigrate.alembic_bridge import mirror
from automigrate.alembic_bridge.directory import config_for, directory_for
from automigrate.alembic_bridge.engine import connection_on, let_go
from automigrate.alembic_bridge.guard import process_guard
from automigrate.alembic_bridge.step import Step
from automigrate.database.session import (
    VERSION_TABLE,
    SessionLostError,
    Tables,
    TablesDifferError,
)
from automigrate.errors import (
    AutomigrateError,
    ConfigurationError,
    DatabaseUnavailableError,
    ScriptError,
    ScriptImportError,
)
from automigrate.sqlstate import Fault, classify_connecting, driver_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy.engine import Connection

    from automigrate.alembic_bridge.work import Work
    from automigrate.deadline import Control, Deadline

__all__ = ["run_revisions"]

_PROCESS_LOCK = threading.Lock()
"""Alembic's proxies are one per process (H18)."""


def run_revisions(work: Work) -> None:
    """Apply (or undo) what is pending for the target, in order.

    Takes the session out of autocommit and closes it in the end, which releases the lock; the
    caller looks at the database again through `work.session` before that, inside of `finish`.

    Raises:
        AutomigrateError: see `Step.apply`, and `ScriptError` for scripts that cannot be loaded.
        SessionLostError: the session is gone.
        TablesDifferError: the version table is another one than was looked at.
    """
    with _one_run_per_process(work.deadline, work.control):
        run = _Run(work)
        try:
            if work.location.env_file is None:
                run.without_env()
            else:
                _in_thread(run.with_env, work.control)
        finally:
            run.close()


@contextmanager
def _one_run_per_process(deadline: Deadline, control: Control) -> Iterator[None]:
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


def _in_thread(action: Callable[[], None], control: Control) -> None:
    """Run env.py in a thread without an event loop, so that its own `asyncio.run` works."""
    failure: list[BaseException] = []
    context = contextvars.copy_context()

    def body() -> None:
        try:
            context.run(action)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=body, name="automigrate-env", daemon=True)
    thread.start()
    while thread.is_alive():
        try:
            thread.join(timeout=1.0)
        except BaseException:
            control.abort()
            thread.join(timeout=30.0)
            raise
    if failure:
        raise failure[0]


class _Run:
    """One run of the environment."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._connection: Connection = connection_on(work.session.connection)
        self._step: Step | None = None
        self._failure: BaseException | None = None
        self.config = config_for(work.location, work.sqlalchemy_url(), self._arguments())
        self._directory: ScriptDirectory = directory_for(work.location, work.graph)
        event.listen(self._connection, "commit", self._on_commit)
        event.listen(self._connection, "before_cursor_execute", self._on_statement, retval=True)

    def close(self) -> None:
        """Leave the session to the caller."""
        let_go(self._connection)

    def without_env(self) -> None:
        """Configure Alembic as the stock env.py does, and run."""
        tables = self._work.tables
        with process_guard(), self._environment() as environment:
            environment.configure(
                connection=self._connection,
                version_table=tables.version_table,
                version_table_schema=tables.schema,
            )
            with environment.begin_transaction():
                environment.run_migrations()

    def with_env(self) -> None:
        """Run the project's env.py."""
        env_file = self._work.location.env_file
        with process_guard(), self._environment():
            try:
                self._directory.run_env()
            except BaseException as error:
                if self._failure is not None:
                    raise self._failure from None
                raise self._translated(error, str(env_file)) from error
        if self._failure is not None:
            raise self._failure

    @contextmanager
    def _environment(self) -> Iterator[EnvironmentContext]:
        environment = EnvironmentContext(
            self.config,
            self._directory,
            fn=self._steps,
            as_sql=False,
            starting_rev=None,
            destination_rev=self._work.target,
            tag=None,
        )
        original = environment.configure

        def configure(*args: Any, **kwargs: Any) -> None:
            self._configure(environment, original, *args, **kwargs)

        environment.configure = configure  # type: ignore[method-assign]
        with environment:
            yield environment

    def _configure(
        self,
        environment: EnvironmentContext,
        original: Callable[..., None],
        connection: Connection | None = None,
        **kwargs: Any,
    ) -> None:
        for replaced in ("url", "dialect_name", "dialect_opts"):
            kwargs.pop(replaced, None)
        ours = self._connection
        if connection is not None and connection is not ours:
            mirror.take_over(
                connection,
                ours,
                self._work.session.connection,
                keeps_session=self._work.lock.keeps_session,
            )
        if self._work.location.env_file is not None:
            self._check_tables(
                Tables(
                    kwargs.get("version_table", VERSION_TABLE), kwargs.get("version_table_schema")
                )
            )
        kwargs["transaction_per_migration"] = True
        original(connection=ours, **kwargs)
        context = environment.get_context()
        block = context.autocommit_block
        context.run_migrations = lambda **kw: self._run_migrations(context, kw)  # type: ignore[method-assign]
        context.autocommit_block = lambda: (  # type: ignore[method-assign]
            block() if self._step is None else self._step.autocommit_block(block)
        )

    def _check_tables(self, configured: Tables) -> None:
        """Compare what env.py configures with the options, which the look went by."""
        options, looked_at = self._work.options, self._work.tables
        faults = []
        for name, said, found in (
            ("version_table", options.version_table, configured.version_table),
            ("version_table_schema", options.version_table_schema, configured.schema),
        ):
            if said is not None and said != found:
                faults.append(
                    f"env.py configures {name}={found!r}, the option says {said!r}: "
                    f"leave the option out, or set {name}={found!r}."
                )
        if faults:
            raise self._stop(ConfigurationError(faults))
        if configured != looked_at:
            raise self._stop(TablesDifferError(configured))

    def _run_migrations(self, context: MigrationContext, arguments: dict[str, Any]) -> None:
        try:
            self._apply_steps(context, arguments)
        except BaseException as error:
            self._failure = error
            raise

    def _apply_steps(self, context: MigrationContext, arguments: dict[str, Any]) -> None:
        context.impl.start_migrations()
        heads = context.get_current_heads()
        steps = list(self._steps(heads, context))
        self._connection.rollback()
        self._prepare_version_table(context, heads, [step.revision.revision for step in steps])
        maintainer = HeadMaintainer(context, heads)
        names = tuple(step.revision.revision for step in steps)
        for index, step in enumerate(steps):
            self._step = Step(
                self._work,
                context,
                maintainer,
                step,
                position=index + 1,
                total=len(steps),
                pending=names[index:],
                arguments=arguments,
            )
            try:
                self._step.apply()
            finally:
                self._step = None

    def _steps(self, heads: Any, _context: MigrationContext) -> Any:
        work = self._work
        if work.direction == "downgrade":
            return self._directory._downgrade_revs(work.target, heads)  # noqa: SLF001
        return self._directory._upgrade_revs(work.target, heads)  # noqa: SLF001

    def _prepare_version_table(
        self, context: MigrationContext, heads: tuple[str, ...], revisions: list[str]
    ) -> None:
        """Create the version table, or widen its column for long revision ids."""
        work = self._work
        longest = max(map(len, revisions), default=0)
        column: Any = context._version.c.version_num.type  # noqa: SLF001
        column.length = max(column.length, longest)
        if not heads:
            with work.lock.guarding():
                context._ensure_version_table()  # noqa: SLF001
        work.journal.widen_version_column(work.tables.version, longest)

    def _on_commit(self, _connection: Connection) -> None:
        if self._step is not None:
            self._step.on_commit()

    def _on_statement(
        self,
        _connection: Connection,
        _cursor: Any,
        statement: str,
        parameters: Any,
        *_: Any,
    ) -> tuple[str, Any]:
        if self._step is not None:
            statement = self._step.on_statement(statement)
        return statement, parameters

    def _stop(self, error: Exception) -> Exception:
        self._failure = error
        return error

    def _arguments(self) -> Namespace:
        return Namespace(
            x=list(self._work.options.x_arguments) or None,
            name=None,
            config=None,
            raiseerr=False,
            revision=self._work.target,
            sql=False,
            tag=None,
        )

    def _translated(self, error: BaseException, env_file: str) -> BaseException:
        """Say what env.py itself did wrong; our own errors never come this way."""
        if isinstance(error, AutomigrateError | SessionLostError | KeyboardInterrupt):
            return error
        reason = self._work.text_of(error)
        if isinstance(error, CommandError):
            return ScriptError(f"Alembic refuses: {reason}. Run `alembic history` to see why.")
        if driver_error(error) is not None:
            if classify_connecting(error) is Fault.UNREACHABLE:
                return SessionLostError(reason)
            return DatabaseUnavailableError(
                reason=f"the connection that {Path(env_file).name} opens itself failed: {reason}",
                remedy="Let env.py use `sqlalchemy.url` of its config, which automigrate sets.",
            )
        return ScriptImportError(file=env_file, reason=reason)
