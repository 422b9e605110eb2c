"""Run revisions on a scratch database, through the project's own env.py where it has one.

No lock, no journal, no retries: nobody else is there. What runs is decided step by step by a
generator, which may look at the database between two steps, go back, or carry on after a failure.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from alembic.runtime.migration import HeadMaintainer, MigrationStep, RevisionStep
from alembic.util import CommandError
from sqlalchemy import create_engine, event, pool

from automigrate.alembic_bridge.directory import default_driver
from automigrate.alembic_bridge.engine import lend_to_async
from automigrate.alembic_bridge.env_run import EnvRun, in_thread, one_run_per_process
from automigrate.alembic_bridge.manners import speak_as, write_json_as
from automigrate.alembic_bridge.mirror import Mirror
from automigrate.database.session import VERSION_TABLE, SessionLostError
from automigrate.database.url import scrub
from automigrate.deadline import Control, Deadline
from automigrate.errors import DatabaseUnavailableError, ScriptError, UpgradeError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import psycopg
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

    from automigrate.database.url import DatabaseURL
    from automigrate.workflow.project import Project

__all__ = ["Recorder", "Rehearsal", "Stage", "environment_variable"]

PROCESS_TIMEOUT = 60.0
URL_VARIABLE = "DATABASE_URL"
"""What env.py files and settings modules commonly read; while a rehearsal runs it leads to the
scratch database, and never to the developer's own."""


class Recorder(Protocol):
    """Who wants to see every statement that a revision sends."""

    def before(self, statement: str, *, in_transaction: bool) -> None:
        """Called before a statement of a revision."""
        ...

    def after(self, statement: str) -> None:
        """Called after it succeeded, in the same transaction if there is one."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a generator of steps works with."""

    context: MigrationContext
    directory: ScriptDirectory
    connection: Connection
    project: Project

    def up(self, revision: str) -> RevisionStep:
        """Make the step that applies a revision."""
        return self._step(revision, upwards=True)

    def down(self, revision: str) -> RevisionStep:
        """Make the step that undoes a revision."""
        return self._step(revision, upwards=False)

    def pending(self, target: Sequence[str] | None = None) -> tuple[str, ...]:
        """List what is to be applied from here to the real heads, oldest first."""
        graph = self.project.graph
        wanted = graph.real_heads if target is None else tuple(target)
        return graph.upgrade_order(self.context.get_current_heads(), wanted)

    def _step(self, revision: str, *, upwards: bool) -> RevisionStep:
        script: Any = self.directory.get_revision(revision)
        found = self.directory.revision_map
        if upwards:
            return MigrationStep.upgrade_from_script(found, script)
        return MigrationStep.downgrade_from_script(found, script)


class Rehearsal:
    """One run on one scratch database, which may be at any revision when it begins."""

    def __init__(
        self,
        project: Project,
        url: DatabaseURL,
        *,
        models: Sequence[MetaData] | None = None,
        x_arguments: Sequence[str] = (),
        version_table: str = VERSION_TABLE,
        version_table_schema: str | None = None,
        configured: dict[str, Any] | None = None,
        live: bool = False,
    ) -> None:
        """Prepare it.

        Args:
            project: the scripts.
            url: the scratch database.
            models: compared in the place of what env.py configures as `target_metadata`.
            x_arguments: for env.py.
            version_table: where there is no env.py.
            version_table_schema: where there is no env.py.
            configured: further arguments for `context.configure`; functions are called with what
                env.py has given and return what to use.
            live: the database is a real one: no version table is made in it.
        """
        self._project = project
        self._url = url
        self._models = models
        self._x_arguments = tuple(x_arguments)
        self._tables = {
            "version_table": version_table,
            "version_table_schema": version_table_schema,
        }
        self._configured = configured or {}
        self.live = live
        self._recorder: Recorder | None = None
        self._step: RevisionStep | None = None
        self._in_script = False

    @property
    def url(self) -> DatabaseURL:
        """The scratch database."""
        return self._url

    @property
    def raw(self) -> psycopg.Connection[Any]:
        """The psycopg connection, while it runs."""
        return self._raw

    def run(
        self,
        steps: Callable[[Stage], Generator[RevisionStep, None, None]],
        *,
        recorder: Recorder | None = None,
    ) -> None:
        """Apply what the generator yields; an error of a revision is thrown into it.

        Raises:
            UpgradeError: a revision failed and the generator did not catch it.
            ScriptError: the scripts or env.py cannot be used.
            DatabaseUnavailableError: the scratch database went away.
        """
        self._recorder = recorder
        engine = create_engine(self._url.sqlalchemy_url(), poolclass=pool.NullPool)
        control = Control()
        env_run = EnvRun(
            self._project.location,
            self._project.graph,
            sqlalchemy_url=self._url.sqlalchemy_url,
            target="heads",
            x_arguments=self._x_arguments,
            text_of=self._text_of,
        )
        with (
            one_run_per_process(Deadline(PROCESS_TIMEOUT), control),
            environment_variable(self._url),
            engine.connect() as connection,
        ):
            raw: Any = connection.connection.dbapi_connection
            self._raw: psycopg.Connection[Any] = raw
            event.listen(connection, "before_cursor_execute", self._before)
            event.listen(connection, "after_cursor_execute", self._after)
            run = _Run(self, self._project, env_run, connection, steps)
            try:
                if self._project.location.env_file is None:
                    run.without_env(self._tables)
                else:
                    in_thread(run.with_env, control)
            except SessionLostError as error:
                raise DatabaseUnavailableError(reason=str(error)) from error
            finally:
                connection.rollback()

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return what to configure Alembic with."""
        arguments = dict(given)
        for replaced in ("url", "dialect_name", "dialect_opts"):
            arguments.pop(replaced, None)
        if self._models is not None:
            arguments["target_metadata"] = list(self._models)
        for name, value in self._configured.items():
            arguments[name] = value(arguments.get(name), arguments) if callable(value) else value
        return arguments | {"transaction_per_migration": True}

    @contextmanager
    def in_step(self, step: RevisionStep) -> Iterator[None]:
        """Record statements meanwhile."""
        self._step = step
        self._in_script = True
        try:
            yield
        finally:
            self._in_script = False

    def failed(self, step: RevisionStep, error: BaseException) -> BaseException:
        """Say which revision failed."""
        if isinstance(error, ScriptError | KeyboardInterrupt):
            return error
        return UpgradeError(
            applied=(),
            failed=step.revision.revision,
            pending=(),
            rolled_back=True,
            reason=self._text_of(error),
            remedy="This was on a scratch database; correct the script.",
            direction="upgrade" if step.is_upgrade else "downgrade",
        )

    def _text_of(self, error: BaseException) -> str:
        text = getattr(error, "orig", None) or error
        return scrub(f"{type(text).__name__}: {text}", self._url.secrets)

    def _before(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._in_script and self._recorder is not None:
            self._recorder.before(statement, in_transaction=not self._raw.autocommit)

    def _after(self, _connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if self._in_script and self._recorder is not None:
            self._recorder.after(statement)


@contextmanager
def environment_variable(url: DatabaseURL) -> Iterator[None]:
    """Have `DATABASE_URL` lead to a database meanwhile, with the driver that it had."""
    before = os.environ.get(URL_VARIABLE)
    scheme = (before or "").partition("://")[0]
    driver = scheme if scheme.startswith("postgresql+") else "postgresql"
    os.environ[URL_VARIABLE] = url.sqlalchemy_url(driver)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(URL_VARIABLE, None)
        else:
            os.environ[URL_VARIABLE] = before


class _Run:
    """The run of the environment, with `configure` and `run_migrations` replaced."""

    def __init__(
        self,
        rehearsal: Rehearsal,
        project: Project,
        env_run: EnvRun,
        connection: Connection,
        steps: Callable[[Stage], Generator[RevisionStep, None, None]],
    ) -> None:
        self._rehearsal = rehearsal
        self._project = project
        self._env_run = env_run
        self._connection = connection
        self._steps = steps
        self._mirror = Mirror(connection, rehearsal.raw, custom=env_run.custom_settings)
        connection.rollback()
        self._lent: object = None
        self._ran = False

    def without_env(self, tables: dict[str, Any]) -> None:
        with self._env_run.environment(self._configure, self._no_steps) as environment:
            speak_as(default_driver(), self._connection, self._rehearsal.raw)
            environment.configure(connection=self._connection, **tables)
            environment.run_migrations()

    def with_env(self) -> None:
        self._env_run.run(
            self._configure, self._no_steps, locks=lambda _try_once: None, ours=self._connection
        )
        if not self._ran:
            raise ScriptError(
                "env.py ran to its end without running migrations on the database of "
                "`sqlalchemy.url`. Let it use that URL, which is the scratch database's here."
            )

    @staticmethod
    def _no_steps(*_: Any) -> Any:
        return ()

    def _configure(
        self,
        environment: EnvironmentContext,
        original: Callable[..., None],
        connection: Connection | None = None,
        **given: Any,
    ) -> None:
        ours, elsewhere = self._connection, None
        if ours.in_transaction():
            ours.commit()
        if connection is not None and connection is not ours:
            elsewhere = self._mirror.take_over(connection)
            speak_as(self._env_run.driver_of(connection), ours, self._rehearsal.raw)
            write_json_as(connection, ours, self._rehearsal.raw)
            if connection.dialect.is_async and self._lent is None:
                self._lent = lend_to_async(ours, self._rehearsal.raw)
        original(connection=ours, **self._rehearsal.arguments(given))
        context = environment.get_context()
        foreign = elsewhere is not None and self._several_databases()
        context.run_migrations = (  # type: ignore[method-assign]
            (lambda **_: None) if foreign else lambda **kw: self._run(context, kw)
        )

    def _several_databases(self) -> bool:
        """Whether env.py serves several databases; else it merely ignores `sqlalchemy.url`."""
        return bool(self._env_run.config.get_main_option("databases"))

    def _run(self, context: MigrationContext, arguments: dict[str, Any]) -> None:
        if self._ran:
            return
        self._ran = True
        self._mirror.follow()
        try:
            self._apply(context, arguments)
        except CommandError as error:
            raise self._env_run.stop(ScriptError(f"Alembic refuses: {error}.")) from error
        except Exception as error:
            raise self._env_run.stop(error) from error

    def _apply(self, context: MigrationContext, arguments: dict[str, Any]) -> None:
        context.impl.start_migrations()
        column: Any = context._version.c.version_num.type  # noqa: SLF001 - wider for long ids
        column.length = max(column.length, *map(len, self._project.graph), 0, 0)
        heads = context.get_current_heads()
        if not heads and not self._rehearsal.live:
            context._ensure_version_table()  # noqa: SLF001 - as Alembic's own loop does
        self._connection.commit()
        maintainer = HeadMaintainer(context, heads)
        stage = Stage(
            context=context,
            directory=self._env_run.directory,
            connection=self._connection,
            project=self._project,
        )
        steps = self._steps(stage)
        error: BaseException | None = None
        while True:
            try:
                step = next(steps) if error is None else steps.throw(error)
            except StopIteration:
                return
            error = self._apply_step(context, maintainer, step, arguments)

    def _apply_step(
        self,
        context: MigrationContext,
        maintainer: HeadMaintainer,
        step: RevisionStep,
        arguments: dict[str, Any],
    ) -> BaseException | None:
        """Apply one step in its own transaction; returns what went wrong."""
        if self._connection.in_transaction():
            self._connection.commit()
        heads = set(maintainer.heads)
        try:
            with context.begin_transaction(_per_migration=True):
                with self._rehearsal.in_step(step):
                    step.migration_fn(**arguments)
                if not self._connection.in_transaction():  # the script has committed by itself
                    context._transaction = self._connection.begin()  # noqa: SLF001
                maintainer.update_to_step(step)
        except Exception as error:  # noqa: BLE001 - whatever a script raises
            maintainer.heads = heads
            self._connection.rollback()
            context._transaction = None  # noqa: SLF001
            return self._rehearsal.failed(step, error)
        if self._connection.in_transaction():
            self._connection.commit()
        return None
