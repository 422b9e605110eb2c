"""The startup sequence: look, judge, lock, look again, apply, verify, report.

Read `Startup.run` first; it is the whole story. Two rules hold everywhere: the database is the only
state, so a lost connection simply begins again at the look; and every wait has a deadline, a jitter
and a name for what is waited for.

Nothing pending means: one connection, one query, no lock. The modules that import Alembic and
SQLAlchemy are imported when there is something to apply.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from automigrate.database.connector import Connector
from automigrate.database.session import (
    Look,
    Session,
    SessionLostError,
    Tables,
    TablesDifferError,
)
from automigrate.deadline import Control, Deadline
from automigrate.errors import (
    AutomigrateError,
    InterruptedRevisionError,
    LockTimeoutError,
    PendingError,
    PermissionDeniedError,
    PoolerError,
    UpgradeError,
    names,
)
from automigrate.events import (
    Event,
    Listener,
    LockTaken,
    Phase,
    PhaseEntered,
    RevisionRecovered,
    RunFailed,
    RunFinished,
    SchemaJudged,
)
from automigrate.options import Mode, Options
from automigrate.scripts.location import locate
from automigrate.scripts.reader import read, wanted_heads
from automigrate.verdict import AppliedRevision, Outcome, Status, UpgradeReport, Verdict
from automigrate.waiting import Waiting

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Sequence

    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.journal import Journal
    from automigrate.database.source import Source
    from automigrate.plan import JournalEntry
    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.location import ScriptLocation

__all__ = ["Startup"]

T = TypeVar("T")


class _NotWritableError(Exception):
    """Connected to a standby or a read-only server while there is something to apply."""


@dataclass(slots=True, kw_only=True)
class Startup:
    """One call of `upgrade`, `wait`, `check` or `status`."""

    source: Source
    scripts: str | os.PathLike[str] | None
    options: Options
    control: Control = field(default_factory=Control)
    listeners: list[Listener] = field(default_factory=list)
    _location: ScriptLocation = field(init=False)
    _wanted: tuple[str, ...] = field(init=False)
    _tables: Tables = field(init=False)
    _deadline: Deadline = field(init=False)
    _connector: Connector = field(init=False)
    _waiting: Waiting = field(init=False)
    _graph: ScriptGraph | None = None
    _first: Verdict | None = None
    _applied: list[AppliedRevision] = field(default_factory=list)
    _in_doubt: str | None = None

    def __post_init__(self) -> None:
        self._deadline = deadline = Deadline(self.options.timeout)
        control, emit = self.control, self._emit
        self._connector = Connector(
            self.source, self.options, control=control, deadline=deadline, emit=emit
        )
        self._waiting = Waiting(self.options, control=control, deadline=deadline, emit=emit)

    def run(self) -> UpgradeReport:
        """Bring the schema to what the code wants, or say why not.

        Takes the lock and opens transactions only when something is pending. Waits at most
        `options.timeout` seconds for any of server, lock and table locks.

        Raises:
            AutomigrateError: see the tree in `automigrate.errors`.
        """
        if self.options.mode is Mode.OFF:
            return self._report(Outcome.SKIPPED, ())
        try:
            self._read_scripts()
            look = self._until_settled(self._settle)
        except BaseException as error:
            self._emit(PhaseEntered(phase=Phase.FAILED))
            self._emit(RunFailed(error=error))
            raise
        report = self._report(self._outcome(), look.heads)
        self._emit(PhaseEntered(phase=Phase.READY))
        self._emit(RunFinished(report=report))
        return report

    def status(self) -> Status:
        """Judge once; takes no lock and changes nothing.

        Raises:
            AutomigrateError: no connection, or unusable scripts; never for a verdict.
        """
        self._read_scripts()
        return self._until_settled(lambda session, look: self._judge(session, look, thorough=True))

    # Look

    def _read_scripts(self) -> None:
        self._emit(PhaseEntered(phase=Phase.STARTING))
        self._location = locate(self.scripts, config=self.options.config)
        self._wanted = wanted_heads(self._location, self.options.target)
        self._tables = self._configured_tables()

    def _configured_tables(self) -> Tables:
        """Where the version table is: the options say, else env.py where it can be read."""
        options = self.options
        if self._location.env_file is None or (
            options.version_table is not None and options.version_table_schema is not None
        ):
            return Tables.of(options)
        from automigrate.scripts.env_py import configured_tables

        said = configured_tables(self._location.env_file)
        return Tables(
            options.version_table or said.version_table or Tables().version_table,
            options.version_table_schema or said.schema,
        )

    def _until_settled(self, action: Callable[[Session, Look], T]) -> T:
        """Connect, look and act; begin again when the session is lost, until the deadline."""
        while True:
            try:
                with self._connector.session() as session:
                    return action(session, session.look(self._tables))
            except TablesDifferError as error:
                self._tables = error.tables
            except (SessionLostError, _NotWritableError) as error:
                self._connector.wait_to_reconnect(str(error))
            except AutomigrateError:
                raise
            except Exception as error:  # noqa: BLE001 - raised again unless it is a lost session
                self._connector.wait_or_raise(error)

    def _settle(self, session: Session, look: Look) -> Look:
        """Do what the mode allows to make the schema right; returns the last look."""
        if self._is_right(look):
            return look
        session.protect()
        self._refuse_pooler(session, look)
        if self._worth_judging(look):
            status = self._judge(session, look)
            if not self._must_act(status):
                return self._tidied(session, look)
        if self.options.mode is Mode.WAIT:
            return self._wait(session, look)
        if look.in_recovery or look.read_only:
            what = "a standby in recovery" if look.in_recovery else "a read-only server"
            msg = f"connected to {what}, and there are revisions to apply"
            raise _NotWritableError(msg)
        return self._upgrade(session, look)

    def _is_right(self, look: Look) -> bool:
        """Whether the heads are the wanted ones and the journal is clean."""
        if self._first is None and set(look.heads) == set(self._wanted):
            self._first = Verdict.CURRENT
        return (
            look.version_table and not look.open_revisions and set(look.heads) == set(self._wanted)
        )

    # Judge

    def _worth_judging(self, look: Look) -> bool:
        """Whether a judgement before the lock can end the run: not for plainly pending work.

        A database that is ahead must never make an old pod queue on the lock of a newer release.
        """
        if self.options.mode is not Mode.UPGRADE or look.open_revisions:
            return True
        return not look.version_table or any(head not in self.graph for head in look.heads)

    @property
    def graph(self) -> ScriptGraph:
        """The script graph, read once."""
        if self._graph is None:
            self._graph = read(self._location)
        return self._graph

    def _judge(self, session: Session, look: Look, *, thorough: bool = False) -> Status:
        from automigrate.plan import Observed, judge

        schema = self._schema(look)
        lock = self._lock(session, schema)
        checksums = self._checksums() if thorough or self.options.mode is Mode.CHECK else None
        status = judge(
            self.graph,
            self._wanted,
            Observed(
                version_table=look.version_table,
                heads=look.heads,
                tables=not look.version_table
                and session.has_tables(schema, self._tables.version_table),
                journal=self._journal(session, schema).entries(),
                holder=lock.holder(),
            ),
            checksums=checksums,
        )
        self._first = self._first or status.verdict
        self._emit(SchemaJudged(status=status))
        return status

    def _must_act(self, status: Status) -> bool:
        from automigrate.plan import decide

        decision = decide(status, self.options)
        if isinstance(decision, AutomigrateError):
            raise decision
        return decision

    def _checksums(self) -> dict[str, str]:
        from pathlib import Path

        from automigrate.scripts.checksum import checksum

        files = {name: Path(self.graph[name].file) for name in self.graph}
        return {
            name: checksum(file.read_bytes(), str(file))
            for name, file in files.items()
            if file.suffix == ".py"
        }

    # Lock

    def _upgrade(self, session: Session, look: Look) -> Look:
        """Take the lock and apply; or wait for the holder, who makes the schema right as well."""
        lock = self._lock(session, self._schema(look))
        lock.listen()
        while True:
            self.control.raise_if_stopping()
            look = session.look(self._tables, lock_key=lock.key)
            if look.locked:
                return self._under_lock(session, lock)
            if self._is_right(look):
                return look
            if self._deadline.passed:
                raise LockTimeoutError(
                    holder=self._waiting.look_at_holder(lock),
                    waited_seconds=self._waiting.seconds,
                )
            self._waiting.once(lock)

    def _wait(self, session: Session, look: Look) -> Look:
        """Wait until the schema is right; never change anything."""
        lock = self._lock(session, self._schema(look))
        if not look.in_recovery:
            lock.listen()
        while True:
            look = session.look(self._tables)
            if self._is_right(look):
                return look
            if self._deadline.passed or any(head not in self.graph for head in look.heads):
                status = self._judge(session, look)
                if not self._must_act(status):
                    return look
                if self._deadline.passed:
                    raise PendingError(
                        current=status.current,
                        wanted=status.wanted,
                        revisions=status.pending,
                        detail=f"after waiting {self._deadline.elapsed:.1f} s",
                    )
            self._waiting.once(lock)

    # Look again and apply

    def _under_lock(self, session: Session, lock: AdvisoryLock) -> Look:
        self._emit(LockTaken(waited_seconds=self._waiting.seconds))
        lock.unlisten()
        look = session.look(self._tables)
        if self._is_right(look):
            return look
        status = self._judge(session, look)
        if not self._must_act(status):
            return look
        try:
            return self._apply(session, lock, look, status)
        finally:
            if not session.broken:
                _best_effort(lambda: _to_autocommit(session))
                _best_effort(lock.notify)

    def _apply(self, session: Session, lock: AdvisoryLock, look: Look, status: Status) -> Look:
        from automigrate.alembic_bridge.environment import run_revisions
        from automigrate.alembic_bridge.work import Work
        from automigrate.database.observer import Observer

        self._emit(PhaseEntered(phase=Phase.MIGRATING))
        journal = self._journal(session, self._schema(look))
        entries = journal.entries()
        self._claim(entries, journal)
        resumed = self._recover(status, entries)
        with _privileges(self._schema(look)):
            journal.create()
        with Observer(
            self._connector.observer,
            look.backend_pid,
            options=self.options,
            control=self.control,
            deadline=self._deadline,
            emit=self._emit,
        ) as observer:
            self.control.when_aborted(session.cancel)
            work = Work(
                session=session,
                lock=lock,
                journal=journal,
                observer=observer,
                location=self._location,
                graph=self.graph,
                tables=self._tables,
                options=self.options,
                control=self.control,
                deadline=self._deadline,
                emit=self._emit,
                sqlalchemy_url=self._sqlalchemy_url,
                secrets=self.source.secrets,
                target=self.options.target,
                applied=self._applied,
                resumed=resumed,
            )
            try:
                run_revisions(work)
            finally:
                self.control.when_aborted(None)
                self._in_doubt = work.in_doubt
        _to_autocommit(session)
        return self._verified(session)

    def _recover(
        self, status: Status, entries: Sequence[JournalEntry]
    ) -> dict[str, frozenset[str]]:
        """Say of each interrupted revision what needs not be done again, or refuse.

        Raises:
            InterruptedRevisionError: it cannot be proved that running it again is safe (H15).
        """
        from automigrate.alembic_bridge.concurrent_index import repeatable

        resumed = {}
        latest = {entry.revision: entry for entry in entries}
        for revision in status.interrupted:
            entry = latest[revision]
            statements = repeatable(entry.progress) if entry.direction == "upgrade" else None
            if statements is None:
                raise InterruptedRevisionError(revision=revision, left=_left(entry))
            resumed[revision] = frozenset(statements)
            self._emit(
                RevisionRecovered(
                    revision=revision,
                    action="interrupted while building indexes concurrently; run again",
                )
            )
        return resumed

    def _claim(self, entries: Sequence[JournalEntry], journal: Journal) -> None:
        """Count a revision as ours whose commit was in doubt and had happened (H10)."""
        if self._in_doubt is None:
            return
        for entry in entries:
            if (
                entry.revision == self._in_doubt
                and entry.state == "applied"
                and entry.instance == journal.instance
            ):
                self._applied.append(AppliedRevision(revision=entry.revision))
                break
        self._in_doubt = None

    def _tidied(self, session: Session, look: Look) -> Look:
        """Close journal rows that plain Alembic, or a person, has settled since."""
        settled = [
            revision
            for revision in look.open_revisions
            if revision in self.graph and self.options.mode is Mode.UPGRADE
        ]
        if settled and not (look.in_recovery or look.read_only):
            lock = self._lock(session, self._schema(look))
            locked = session.look(self._tables, lock_key=lock.key)
            if locked.locked and set(locked.heads) == set(look.heads):
                journal = self._journal(session, self._schema(look))
                applied = self.graph.ancestors([head for head in look.heads if head in self.graph])
                for revision in settled:
                    state = "applied" if revision in applied else "reverted"
                    journal.resolve(revision, state)
        return look

    # Verify

    def _verified(self, session: Session) -> Look:
        look = session.look(self._tables)
        if not self._is_right(look):
            status = self._judge(session, look)
            if self._must_act(status):
                raise UpgradeError(
                    applied=[item.revision for item in self._applied],
                    failed=status.pending[0] if status.pending else names(status.interrupted),
                    pending=status.pending,
                    rolled_back=True,
                    reason="the run ended without an error, but the version table is at "
                    f"{names(look.heads)}",
                    remedy="Does env.py call context.run_migrations() for this database?",
                )
        return look

    # Report

    def _outcome(self) -> Outcome:
        if self._applied:
            return Outcome.MIGRATED
        return Outcome.WAITED if self._waiting.seconds else Outcome.UNCHANGED

    def _report(self, outcome: Outcome, heads: tuple[str, ...]) -> UpgradeReport:
        return UpgradeReport(
            outcome=outcome,
            verdict=self._first or Verdict.CURRENT,
            heads=tuple(sorted(heads)),
            applied=tuple(self._applied),
            waited_for=self._waiting.holder,
            waited_seconds=self._waiting.seconds,
            seconds=self._deadline.elapsed,
            attempts=self._connector.connections,
        )

    def _emit(self, event: Event) -> None:
        for listener in list(self.listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener must not fail the run
                self.listeners.remove(listener)

    # Parts

    def _refuse_pooler(self, session: Session, look: Look) -> None:
        """Refuse a pooler in between, where a session lock would be lost or leaked (H9)."""
        if look.backend_pid != session.pid:
            raise PoolerError(
                reason="the connection goes through a pooler",
                remedy="Give a direct URL to the server for migrations.",
            )

    def _sqlalchemy_url(self) -> str:
        url = self.source.url
        return "postgresql+psycopg://" if url is None else url.sqlalchemy_url()

    def _schema(self, look: Look) -> str:
        if look.schema is None:
            raise PermissionDeniedError(
                reason="no schema of the search_path exists, so there is no place for tables",
                remedy="Create the schema, or name one with version_table_schema.",
            )
        return look.schema

    def _lock(self, session: Session, schema: str) -> AdvisoryLock:
        from automigrate.database.advisory_lock import AdvisoryLock

        return AdvisoryLock(session, schema, self._tables.version_table)

    def _journal(self, session: Session, schema: str) -> Journal:
        from automigrate import __version__
        from automigrate.database.journal import Journal

        return Journal(
            session.connection,
            schema,
            application_version=self.options.application_version,
            automigrate_version=__version__,
        )


@contextmanager
def _privileges(schema: str) -> Iterator[None]:
    """Say which privilege is missing when the journal cannot be created."""
    import psycopg

    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise PermissionDeniedError(
            reason=str(error).strip(),
            remedy=f"Grant it: `grant create on schema {schema} to …`, or use another role for "
            "migrations.",
        ) from error


def _left(entry: JournalEntry) -> list[str]:
    progress = entry.progress or {}
    left = []
    if progress.get("before"):
        left.append(f"{progress['before']} statements were committed before")
    left.extend(
        f"begun outside of a transaction: {' '.join(statement.split())[:120]}"
        for statement in progress.get("statements") or ()
    )
    if entry.error:
        left.append(f"it failed: {entry.error}")
    return left


def _to_autocommit(session: Session) -> None:
    connection = session.connection
    connection.rollback()
    connection.autocommit = True


def _best_effort(action: Callable[[], object]) -> None:
    """For what makes others faster and nothing wrong when it fails: the session may be gone."""
    with suppress(Exception):
        action()
