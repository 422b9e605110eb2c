"""Run the revisions through Alembic: through the project's own env.py, unmodified, or without one.

env.py opens a connection of its own and gives it to `context.configure`. There we put ours in its
place, because every statement must run on the session that holds the lock (H1, H16), and take over
what env.py had set on its own: search_path and other settings, role, execution options. Then
`run_migrations` is ours too, so that each revision has its own transaction, fence, journal row and
retries. env.py may do so several times, for a schema per tenant.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from psycopg import errors

from automigrate.alembic_bridge.directory import default_driver
from automigrate.alembic_bridge.discovery import RESOLVE, configured_schema, nothing_for_us
from automigrate.alembic_bridge.dry_run import may_roll_back, refuse_dry_run
from automigrate.alembic_bridge.engine import (
    autocommitting,
    connection_on,
    lend_to_async,
    let_go,
)
from automigrate.alembic_bridge.env_run import EnvRun, in_thread, one_run_per_process
from automigrate.alembic_bridge.env_statements import poll_locks
from automigrate.alembic_bridge.manners import speak_as, write_json_as
from automigrate.alembic_bridge.mirror import Mirror
from automigrate.alembic_bridge.pending import Pending
from automigrate.alembic_bridge.render import steps_down
from automigrate.alembic_bridge.step import Step
from automigrate.alembic_bridge.surroundings import Surroundings
from automigrate.alembic_bridge.transaction import RevisionTransaction
from automigrate.alembic_bridge.version_update import VersionUpdate
from automigrate.alembic_bridge.watch import Watch
from automigrate.database.session import ASYNCHRONOUS, Tables, quoted
from automigrate.errors import ConfigurationError, PermissionDeniedError, UpgradeError
from automigrate.options import CommitPolicy
from automigrate.sqlstate import driver_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from sqlalchemy.engine import Connection

    from automigrate.alembic_bridge.work import Work

__all__ = ["run_revisions"]

HEADS = "select version_num from {}"


def run_revisions(work: Work) -> None:
    """Apply (or undo) what is pending for the target, in order.

    Takes the session out of autocommit; the caller looks at the database again and releases the
    lock.

    Raises:
        AutomigrateError: see `Step.apply`, and `ScriptError` for scripts that cannot be loaded.
        SessionLostError: the session is gone.
        TablesDifferError: the version table is another one than was looked at.
    """
    with one_run_per_process(work.deadline, work.control), work.lock.working():
        run = _Run(work)
        try:
            if work.location.env_file is None:
                run.without_env()
            else:
                in_thread(run.with_env, work.control)
        finally:
            run.close()


class _Run:
    """One run of the environment."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._lent: object = None
        self._elsewhere: set[str] = set()
        self._reached = False
        self._connection: Connection = connection_on(
            work.session.connection,
            url=work.sqlalchemy_url("postgresql+psycopg"),
            connect=work.connect,
            deadline=work.deadline,
            on_commit_elsewhere=self._on_commit_elsewhere,
        )
        self._env_run = self._new_env_run()
        self._mirror = Mirror(
            self._connection,
            work.session.connection,
            keeps_session=work.lock.keeps_session,
            custom=self._env_run.custom_settings,
        )
        self._watch = Watch(self._connection, work.session.connection)
        self._surroundings = Surroundings(self._connection, work.session.connection)

    def _new_env_run(self) -> EnvRun:
        work = self._work
        return EnvRun(
            work.location,
            work.graph,
            work.session.connection,
            sqlalchemy_url=work.sqlalchemy_url,
            target=work.target,
            x_arguments=work.options.x_arguments,
            text_of=work.text_of,
            command=work.direction,
        )

    def _on_commit_elsewhere(self) -> None:
        self._watch.on_commit_elsewhere()

    def close(self) -> None:
        """Leave the session to the caller, as it was."""
        if not self._work.session.broken:
            with suppress(Exception):  # what broke the session has been told already
                self._surroundings.leave()
                self._connection.rollback()
                self._mirror.give_back()
        let_go(self._connection)

    def without_env(self) -> None:
        """Configure Alembic as the stock env.py does, and run."""
        tables = self._work.tables

        def configure(_: Any, original: Callable[..., None], **kwargs: Any) -> None:
            original(transaction_per_migration=True, **kwargs)

        with self._env_run.environment(configure, self._steps) as environment:
            speak_as(default_driver(), self._connection, self._work.session.connection, self._watch)
            environment.configure(
                connection=self._connection,
                version_table=tables.version_table,
                version_table_schema=tables.schema,
            )
            self._prepare(environment.get_context(), lambda _: self._work)
            environment.run_migrations()

    def with_env(self) -> None:
        """Run the project's env.py."""
        work = self._work
        if work.location.env_file is not None and may_roll_back(work.location.env_file):
            refuse_dry_run(self._new_env_run())
        self._env_run.run(
            self._configure,
            self._steps,
            locks=poll_locks(work.deadline, work.control),
            ours=self._connection,
        )
        self._surroundings.leave()
        if not self._reached:
            raise nothing_for_us(self._elsewhere)

    def _configure(
        self,
        environment: EnvironmentContext,
        original: Callable[..., None],
        connection: Connection | None = None,
        **kwargs: Any,
    ) -> None:
        for replaced in ("url", "dialect_name", "dialect_opts"):
            kwargs.pop(replaced, None)
        ours, elsewhere = self._connection, None
        self._surroundings.leave()
        if ours.in_transaction():
            ours.commit()
        per_migration = bool(kwargs.get("transaction_per_migration")) or (
            kwargs.get("transactional_ddl") is False
        )
        theirs = None if connection is ours else connection
        self._surroundings = Surroundings(
            ours, self._work.session.connection, theirs, per_migration=per_migration
        )
        if connection is not None and connection is not ours:
            elsewhere = self._mirror.take_over(connection)
            driver = self._env_run.driver_of(connection)
            speak_as(driver, ours, self._work.session.connection, self._watch)
            write_json_as(connection, ours, self._work.session.connection)
            if connection.dialect.is_async and self._lent is None:
                self._lent = lend_to_async(ours, self._work.session.connection)
        kwargs["transaction_per_migration"] = True
        original(connection=ours, **kwargs)
        if elsewhere is None:
            self._prepare(environment.get_context(), self._work_for)
        else:
            self._elsewhere.add(elsewhere)
            environment.get_context().run_migrations = lambda **_: None  # type: ignore[method-assign]

    def _prepare(
        self, context: MigrationContext, work_for: Callable[[MigrationContext], Work | None]
    ) -> None:
        block, begin = context.autocommit_block, context.begin_transaction
        surroundings = self._surroundings

        def run_migrations(**arguments: Any) -> None:
            if not isinstance(self._env_run.failure, UpgradeError | None):
                raise self._env_run.failure  # env.py went on after an error that ends the run
            self._reached = True
            surroundings.leave()
            try:
                self._mirror.follow()
                work = work_for(context)
                if work is not None:
                    self._apply_steps(work, context, arguments)
                self._env_run.applied = True
                surroundings.enter()
            except BaseException as error:
                self._env_run.failure = self._env_run.failure or error
                raise

        context.run_migrations = run_migrations  # type: ignore[method-assign]
        context.begin_transaction = lambda **arguments: surroundings.transaction(  # type: ignore[method-assign]
            begin(**arguments)
        )
        context.autocommit_block = lambda: (  # type: ignore[method-assign]
            block() if self._watch.conduct is None else self._watch.conduct.autocommit_block(block)
        )

    def _work_for(self, context: MigrationContext) -> Work | None:
        """Return the work on the version table that env.py has configured.

        Raises:
            ConfigurationError: the options name another one.
            TablesDifferError: nobody has looked at this one.
        """
        work = self._work
        name = quoted(context.version_table)
        schema = configured_schema(context)
        if schema is None:
            self._connection.rollback()
            with autocommitting(work.session.connection) as raw:
                found = raw.execute(RESOLVE.format(table="%s"), (name,)).fetchone()
            schema = found[0] if found else None
        configured = Tables(context.version_table, schema)
        self._check_options(configured)
        if configured.place == (work.tables.version_table, work.journal.schema):
            return work
        with autocommitting(work.session.connection):
            return work.enter(configured)

    def _check_options(self, configured: Tables) -> None:
        """Compare what env.py configures with the options, which the look went by."""
        options = self._work.options
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
            raise ConfigurationError(faults)

    def _apply_steps(
        self, work: Work, context: MigrationContext, arguments: dict[str, Any]
    ) -> None:
        context.impl.start_migrations()
        heads = self._heads(work, context)
        steps = list(self._steps(heads, context))
        self._connection.commit()  # what scripts made when they were imported, as types
        self._prepare_tables(work, context, heads, [step.revision.revision for step in steps])
        maintainer = VersionUpdate(context, heads, work.session.connection)
        names = tuple(step.revision.revision for step in steps)

        def step_at(index: int) -> Step:
            transaction = RevisionTransaction(
                work,
                context,
                maintainer,
                steps[index],
                last=index == len(steps) - 1,
                arguments=arguments,
                loose=self._mirror.autocommit,
                watched=bool(self._mirror.listeners),
                recording=self._watch.recording,
            )
            return Step(
                work, transaction, position=index + 1, total=len(steps), pending=names[index:]
            )

        try:
            Pending(len(steps), step_at, self._watch.following).apply()
        finally:
            if not work.session.broken:
                work.pipeline.close()
        if self._connection.in_transaction():
            self._connection.rollback()  # SQLAlchemy's alone: what it recorded was never begun

    def _heads(self, work: Work, context: MigrationContext) -> tuple[str, ...]:
        """Read the heads again, because env.py has run since; Alembic reflects the table first."""
        connection = context.connection
        assert connection is not None
        if not work.heads or connection.get_execution_options().get("schema_translate_map"):
            return context.get_current_heads()
        table = connection.dialect.identifier_preparer.format_table(context._version)  # noqa: SLF001
        return tuple(row[0] for row in connection.exec_driver_sql(HEADS.format(table)))

    def _steps(self, heads: Any, _context: MigrationContext) -> Any:
        work, directory = self._work, self._env_run.directory
        if work.descent is not None:
            return steps_down(directory, work.descent.order, work.descent.recorded)
        return directory._upgrade_revs(work.target, heads)  # noqa: SLF001

    def _prepare_tables(
        self, work: Work, context: MigrationContext, heads: tuple[str, ...], revisions: list[str]
    ) -> None:
        """Create version table and journal, or widen the version's column for long revision ids.

        The version table comes first: where it is missing, a database with tables is refused. The
        first commit that waits for the disk makes them durable, see `CommitPolicy`.
        """
        raw = work.session.connection
        durable = work.options.commits is CommitPolicy.EVERY
        longest = max(map(len, revisions), default=0)
        column: Any = context._version.c.version_num.type  # noqa: SLF001
        column.length = max(column.length, longest)
        with _telling_what_lacks(work.journal.schema):
            if not heads:
                with work.lock.guarding():
                    if not durable:
                        raw.execute(ASYNCHRONOUS)
                    context._ensure_version_table()  # noqa: SLF001
            raw.commit()
            with autocommitting(raw):
                work.journal.widen_version_column(work.tables.version, longest)
                with work.lock.guarding():
                    work.journal.create(durable=durable)


@contextmanager
def _telling_what_lacks(schema: str) -> Iterator[None]:
    """Say which schema or privilege is missing where version table and journal belong."""
    try:
        yield
    except Exception as error:
        match driver_error(error):
            case errors.InsufficientPrivilege() as reason:
                raise PermissionDeniedError(
                    reason=str(reason).strip(),
                    remedy=f"Grant it: `grant create on schema {schema} to …`, or use another role "
                    "for migrations.",
                ) from error
            case errors.InvalidSchemaName():
                raise ConfigurationError(
                    f"the schema {schema!r} of the version table does not exist. Create it, by "
                    "hand or in env.py, or name another one."
                ) from error
            case _:
                raise
