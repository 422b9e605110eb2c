"""What a run hands to the bridge: everything that the revisions need, in one value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from automigrate.database import signature
from automigrate.database.redaction import scrub
from automigrate.options import LONGEST_IDENTIFIER
from automigrate.values import field, frozen, mutable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import psycopg

    from automigrate.database.advisory_lock import AdvisoryLock
    from automigrate.database.journal import Journal
    from automigrate.database.observer import Observer
    from automigrate.database.pipeline import Pipeline
    from automigrate.database.prepared import Prepared
    from automigrate.database.session import Session, Tables
    from automigrate.deadline import Control, Deadline
    from automigrate.events import Listener
    from automigrate.options import Options
    from automigrate.scripts.graph import ScriptGraph
    from automigrate.scripts.location import ScriptLocation
    from automigrate.verdict import AppliedRevision

__all__ = ["Descent", "Work"]


@frozen
class Descent:
    """What is to be undone."""

    order: tuple[str, ...]
    """Newest first."""
    heads: frozenset[str]
    """What the version table holds afterwards."""
    graph: ScriptGraph
    """Knows every revision of the order, those of a newer release from the journal."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """By revision: SQL that undoes it, where no script does."""


@mutable
class Work:
    """One run under the lock."""

    session: Session
    client: psycopg.ClientCursor[Any]
    """On that session; making one takes as long as what it is asked for."""
    prepared: Prepared
    """On that session."""
    pipeline: Pipeline
    """On that session; closed while anything else uses it."""
    lock: AdvisoryLock
    journal: Journal
    observer: Observer
    location: ScriptLocation
    graph: ScriptGraph
    tables: Tables
    """The version table as the options or env.py name it."""
    options: Options
    control: Control
    deadline: Deadline
    emit: Listener
    sqlalchemy_url: Callable[[str], str]
    """For env.py, which opens a connection of its own, by driver; holds the password, so it is
    made late."""
    connect: Callable[[], psycopg.Connection[Any]]
    """Opens a second session, for revisions that ask the engine for one."""
    enter: Callable[[Tables], Work | None]
    """Prepare the same on another version table that env.py configures; `None`: leave it."""
    secrets: frozenset[str]
    application_name: str
    target: str
    direction: str = "upgrade"
    descent: Descent | None = None
    """For the direction `downgrade`."""
    renders: bool = False
    """Whether the way back is kept in the journal, for an older release."""
    applied: list[AppliedRevision] = field(default_factory=list)
    """Filled in order; shared with the caller, so that it survives an error."""
    resumed: dict[str, frozenset[str]] = field(default_factory=dict)
    """By revision: statements that an interrupted application had begun."""
    heads: tuple[str, ...] = ()
    """Of the version table before the run; none: it may not be there."""
    open_revisions: frozenset[str] = frozenset()
    """Those whose journal row an earlier application has left open."""
    in_doubt: tuple[str, ...] = ()
    """The revisions whose commit may have been sent, and was not answered."""

    def signature_of(
        self, revision: str, downgrade_sql: str | None, checksum: str | None
    ) -> str | None:
        """Signature of what undoes a revision; `None` without a key in the environment."""
        secret = signature.key()
        if secret is None or downgrade_sql is None:
            return None
        return signature.sign(
            secret,
            revision=revision,
            down_revisions=self.graph.dependencies_of(revision),
            checksum=checksum,
            sql=downgrade_sql,
        )

    def name_during(self, revision: str) -> str:
        """Name of the session while a revision runs, for those who look at who holds the lock."""
        name = f"{self.application_name} {revision}".encode()
        return name[:LONGEST_IDENTIFIER].decode(errors="ignore")

    def text_of(self, error: BaseException) -> str:
        """Class and first line of an error, without secrets."""
        inner = getattr(error, "orig", None) or error
        lines = str(inner).strip().splitlines() or [""]
        return scrub(f"{type(inner).__name__}: {lines[0]}", self.secrets)
