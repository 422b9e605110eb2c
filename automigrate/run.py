"""One call of the engine: its parts, its facts, and how it looks and judges.

`startup` tells the story with it, `application` applies with it, `recovery` goes back with it.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar

from automigrate.database.connector import Connector
from automigrate.database.session import (
    NotWritableError,
    SessionLostError,
    Tables,
    TablesDifferError,
)
from automigrate.deadline import Control, Deadline
from automigrate.errors import AutomigrateError, PermissionDeniedError
from automigrate.events import Event, Listener, Phase, PhaseEntered, SchemaJudged
from automigrate.options import Mode, ModifiedPolicy
from automigrate.scripts.location import locate
from automigrate.scripts.reader import heads_at, read, wanted_heads
from automigrate.values import field, mutable
from automigrate.verdict import Verdict
from automigrate.version_tables import VersionTables
from automigrate.waiting import NoRoomError, Waiting

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from automigrate.alembic_bridge.discovery import Discovered
    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.journal import Journal
    from automigrate.database.session import Look, Session
    from automigrate.database.source import Source
    from automigrate.options import Options
    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.location import ScriptLocation
    from automigrate.verdict import AppliedRevision, Status

__all__ = ["Run"]

T = TypeVar("T")


@mutable
class Run:
    """The parts and facts of one call; survives the loss of its session."""

    source: Source
    scripts: str | os.PathLike[str] | None
    options: Options
    control: Control = field(default_factory=Control)
    listeners: list[Listener] = field(default_factory=list)
    deadline: Deadline = field(init=False)
    connector: Connector = field(init=False)
    waiting: Waiting = field(init=False)
    location: ScriptLocation = field(init=False)
    wanted: tuple[str, ...] = field(init=False)
    """Heads that the version table should hold."""
    version_tables: VersionTables = field(init=False)
    tables: Tables = field(init=False)
    """The version table that is looked at."""
    first: Verdict | None = None
    """The verdict before anything was changed."""
    applied: list[AppliedRevision] = field(default_factory=list)
    backup: str | None = None
    """Where the backup is that was made before anything was applied or undone."""
    restore_point: tuple[str | None, str | None] = (None, None)
    """Name and LSN of the restore point that was made with it."""
    in_doubt: tuple[str, ...] = ()
    """The revisions whose commit may have been sent, and was not answered (H10)."""
    trusts_lock_file: bool = False
    """Whether the history may be read from the lock file, if that fits; see `_confirmed`."""
    _graph: ScriptGraph | None = None
    _graph_is_locked: bool = False

    def __post_init__(self) -> None:
        self.deadline = deadline = Deadline(self.options.timeout)
        control, emit = self.control, self.emit
        self.connector = Connector(
            self.source, self.options, control=control, deadline=deadline, emit=emit
        )
        self.waiting = Waiting(self.options, control=control, deadline=deadline, emit=emit)
        self.version_tables = VersionTables(self.options, self._tables_of_env)

    def read_scripts(self) -> None:
        """Find the scripts, the heads they want and the version table, without importing them.

        Raises:
            ConfigurationError: no scripts are named or found.
            ScriptError: they cannot be used.
        """
        self.emit(PhaseEntered(phase=Phase.STARTING))
        self.location = locate(
            self.scripts, config=self.options.config, ini_section=self.options.ini_section
        )
        self.wanted = wanted_heads(self.location, self.options.target)
        self.tables = self.version_tables.read(self.location.env_file)

    @property
    def graph(self) -> ScriptGraph:
        """The script graph, read once."""
        # With several version tables each has its own pending scripts to confirm: not worth it.
        one = self.version_tables.known and len(self.version_tables.every) == 1
        if self._graph is None and self.trusts_lock_file and one:
            from automigrate.scripts.locked_graph import read_locked

            self._graph = read_locked(self.location)
            self._graph_is_locked = self._graph is not None
        if self._graph is None:
            self._graph = read(self.location)
        return self._graph

    def until_settled(self, action: Callable[[Session, Look], T]) -> T:
        """Connect, look and act; begin again when the session is lost, until the deadline.

        Raises:
            NoVersionTableError: env.py configures none.
            AutomigrateError: of the action, or no connection within the deadline.
        """
        version_tables = self.version_tables
        while True:
            try:
                with self.connector.session() as session:
                    version_tables.find(session)
                    every = version_tables.every
                    found = [self._looking(session, tables, action) for tables in every]
                    if version_tables.are_complete(session):
                        return found[-1]
            except TablesDifferError as error:
                if not version_tables.known:
                    self.connector.wait_to_reconnect(str(error))
                version_tables.distrust()
            except NoRoomError as error:
                with self.waiting.elsewhere():
                    self.connector.wait_to_reconnect(str(error))
            except SessionLostError as error:
                self.connector.wait_to_reconnect(str(error))
            except NotWritableError as error:
                self.connector.wait_to_reconnect(str(error), NotWritableError.remedy)
            except AutomigrateError:
                raise
            except Exception as error:  # noqa: BLE001 - raised again unless it is a lost session
                self.connector.wait_or_raise(error)

    def on(self, tables: Tables) -> Run:
        """The same run with another version table to look at."""
        other = copy(self)
        other.tables = tables
        return other

    def is_right(self, look: Look) -> bool:
        """Whether the heads are the wanted ones and the journal is clean."""
        return (
            look.version_table and not look.open_revisions and set(look.heads) == set(self.wanted)
        )

    def knows_all(self, look: Look) -> bool:
        """Whether scripts define all heads of the database."""
        return all(head in self.graph for head in look.heads)

    @property
    def compares_scripts(self) -> bool:
        """Whether the scripts of applied revisions must be what they were."""
        options = self.options
        return options.mode is Mode.CHECK or options.on_modified is ModifiedPolicy.REFUSE

    def note_behind(self, look: Look) -> None:
        """Remember the first verdict where another process migrates and nobody here judges."""
        if self.first is None and self.graph.upgrade_order(look.heads, self.wanted):
            self.first = Verdict.BEHIND

    def judge(
        self, session: Session, look: Look, *, thorough: bool = False, holder: bool = True
    ) -> Status:
        """Compare the database with the scripts; takes no lock.

        What cannot change the verdict is not read: the journal only where a row is open or a head
        unknown, or to be thorough.

        Args:
            session: to read the journal, the holder and whether there are tables.
            look: what was seen on it.
            thorough: compare the checksums of all applied scripts too.
            holder: say who holds the lock, also where it makes no difference.
        """
        from automigrate.plan import Observed, judge

        schema = self.schema(look)
        tables = not look.version_table and (
            session.has_tables(self.tables.home or schema, self.tables.version_table)
            if look.tables is None
            else look.tables
        )
        if tables:
            # Another process may have begun in between; it creates the version table first.
            look = session.look(self.tables)
        telling = thorough or bool(look.open_revisions) or not self.knows_all(look)
        lock = self.lock(session, schema)
        observed = Observed(
            version_table=look.version_table,
            heads=look.heads,
            tables=tables,
            open_revisions=look.open_revisions,
            holder=lock.holder() if holder or look.open_revisions else None,
            # Read after the holder, see `Observed`.
            journal=self.journal(session, schema).entries() if telling else (),
        )
        checksums = self._checksums() if thorough else None
        status = judge(self.graph, self.wanted, observed, checksums=checksums)
        if not self._confirmed(status):
            self._read_history_anew()
            status = judge(self.graph, self.wanted, observed, checksums=checksums)
        if status.verdict in {Verdict.UNMANAGED, Verdict.DIVERGED}:
            self.version_tables.doubt(self.tables)
        self.first = self.first or status.verdict
        self.emit(SchemaJudged(status=status))
        return status

    def _confirmed(self, status: Status) -> bool:
        """Whether the scripts that are about to run say of themselves what the lock file says."""
        if not self._graph_is_locked:
            return True
        from automigrate.scripts.locked_graph import agrees

        plain = status.verdict in {Verdict.CURRENT, Verdict.BEHIND, Verdict.EMPTY}
        return plain and agrees(self.graph, status.pending)

    def _read_history_anew(self) -> None:
        """Take the history from the scripts: the lock file does not fit, or the verdict is bad."""
        self.trusts_lock_file = self._graph_is_locked = False
        self._graph = read(self.location)
        self.wanted = heads_at(self._graph, self.options.target)

    def must_act(self, status: Status) -> bool:
        """Whether there is something to apply, or to wait for, under the options.

        Raises:
            AutomigrateError: the verdict is one to refuse.
        """
        from automigrate.plan import decide

        decision = decide(status, self.options)
        if isinstance(decision, AutomigrateError):
            raise decision
        return decision

    def require_writable(self, look: Look) -> None:
        """Refuse a server on which nothing can be applied (H7).

        Raises:
            NotWritableError: it is a standby or read-only; `until_settled` waits for another.
        """
        if look.in_recovery or look.read_only:
            what = "a standby in recovery" if look.in_recovery else "a read-only server"
            msg = f"connected to {what}, and there are revisions to apply"
            raise NotWritableError(msg)

    def schema(self, look: Look) -> str:
        """The schema of version table and journal.

        Raises:
            PermissionDeniedError: the search_path names no schema that exists.
        """
        if look.schema is None:
            raise PermissionDeniedError(
                reason="no schema of the search_path exists, so there is no place for tables",
                remedy="Create the schema, or name one with version_table_schema.",
            )
        return look.schema

    def lock(self, session: Session, schema: str) -> AdvisoryLock:
        """The advisory lock of the version table, on a session."""
        from automigrate.database.advisory_lock import AdvisoryLock

        return AdvisoryLock(session, schema, self.tables.version_table)

    def journal(self, session: Session, schema: str) -> Journal:
        """The journal beside the version table, on a session."""
        from automigrate import __version__
        from automigrate.database.journal import Journal, Saved

        return Journal(
            session.connection,
            schema,
            application_version=self.options.application_version,
            automigrate_version=__version__,
            version_table=self.tables.version_table,
            saved=Saved(self.backup or None, *self.restore_point),
        )

    def sqlalchemy_url(self, drivername: str = "postgresql+psycopg") -> str:
        """URL for the connection that env.py opens itself; holds the password."""
        url = self.source.url
        return f"{drivername}://" if url is None else url.sqlalchemy_url(drivername)

    def emit(self, event: Event) -> None:
        """Tell the listeners; one that raises is dropped."""
        for listener in list(self.listeners):
            try:
                listener(event)
            except Exception:  # noqa: BLE001 - a listener must not fail the run
                self.listeners.remove(listener)

    def _looking(self, session: Session, tables: Tables, action: Callable[[Session, Look], T]) -> T:
        self.tables = tables
        look = session.look(tables) if session.opened else session.open(tables)
        session.opened = True
        if not look.version_table and session.has_elsewhere(tables.version_table):
            # env.py may choose the schema where its text does not show it, as on its connection.
            self.version_tables.doubt(tables)
        return action(session, look)

    def _tables_of_env(self, session: Session) -> Discovered:
        from automigrate.alembic_bridge.discovery import find_tables, remembered

        described = (self.location, self.source.url, self.options.x_arguments)
        settled = self.options.mode is not Mode.UPGRADE and self.location.prepared is None
        known = remembered(described) if settled else None
        return known or find_tables(
            self.location,
            self.graph,
            session,
            options=self.options,
            sqlalchemy_url=self.sqlalchemy_url,
            connect=self.connector.second,
            reason=self.connector.reason,
            control=self.control,
            deadline=self.deadline,
            remember_as=described,
        )

    def _checksums(self) -> dict[str, str]:
        from automigrate.scripts.text import ScriptText

        texts = {name: ScriptText(self.graph[name].file) for name in self.graph}
        return {name: text.checksum for name, text in texts.items() if text.exists}
