"""The transaction of one revision: fence, settings, script, version row, journal row, commit.

A plain revision (see `recording`) is sent as a whole, without waiting for answers in between: what
must hold is checked by the server between its statements. While the server works, the next ones are
prepared, and sent behind it. Any other revision is run statement by statement. What it asks of the
server beforehand travels together: that the lock is still ours (H6), how long a table lock may be
waited for (H12), whether its commit must reach the disk, and the journal row. When it commits a
part of its work by itself (an autocommit block, `op.get_bind().commit()`), the journal row becomes
durable with it in state `running`, waiting for locks is no longer cut short (H13), and it cannot be
run again.
"""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from itertools import chain
from typing import TYPE_CHECKING, Any

import psycopg
from alembic.util import CommandError

from automigrate.alembic_bridge.conduct import Conduct
from automigrate.alembic_bridge.preamble import Preamble
from automigrate.alembic_bridge.recording import Recorder, is_plain
from automigrate.alembic_bridge.render import WayBack, way_back_of
from automigrate.database import advisory_lock
from automigrate.database.message import Message, unmet
from automigrate.database.pipeline import Pipeline
from automigrate.database.session import SessionLostError
from automigrate.database.spare_time import spare_time
from automigrate.scripts.text import ScriptText

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from alembic.runtime.migration import MigrationContext, RevisionStep
    from sqlalchemy.engine import Connection

    from automigrate.alembic_bridge.version_update import VersionUpdate
    from automigrate.alembic_bridge.work import Work
    from automigrate.database.journal import Finished
    from automigrate.database.pipeline import Sent
    from automigrate.database.prepared import Repeated

__all__ = ["RevisionTransaction"]


class RevisionTransaction:
    """What one revision does to the database, for one attempt after the other.

    Args:
        work: the run.
        context: Alembic's, which the script sees.
        maintainer: knows the heads, and updates the version table.
        step: the revision.
        last: whether its commit ends the run, and so must reach the disk.
        arguments: of the script's function.
        loose: whether env.py asked for a connection in autocommit.
        watched: whether env.py listens to what is executed.
        recording: stands around what is recorded instead of sent.
    """

    def __init__(
        self,
        work: Work,
        context: MigrationContext,
        maintainer: VersionUpdate,
        step: RevisionStep,
        *,
        last: bool,
        arguments: dict[str, Any],
        loose: bool,
        watched: bool,
        recording: Callable[[], AbstractContextManager[Recorder]],
    ) -> None:
        self._work = work
        self._context = context
        self._maintainer = maintainer
        self._step = step
        self._arguments = arguments
        self._loose = loose
        self._watched = watched
        self._recording = recording
        self.revision: str = step.revision.revision
        self.message: str = (step.revision.doc or "").strip().partition("\n")[0]
        self._preamble = Preamble(work, self.revision, last=last)
        self._heads = set(maintainer.heads)
        self._lock_timeout = 0.0
        self.conduct = Conduct(
            work, context, self.revision, loose=loose, begin_again=self._announce
        )
        graph = work.graph
        self._text = ScriptText(graph[self.revision].file, graph.seals.get(self.revision))
        self._way_back: WayBack | None = None
        self._prepared = False
        self._types_made: Any = {}
        self._recorded: list[str] | None = None
        self._flows = False
        self._sent: Sent | None = None
        self._journal_row: Repeated

    def prepare(self) -> bool:
        """Do what needs no answer of the database, once; the connection may be busy meanwhile.

        Returns:
            Whether all of the revision is known, so that one after it may be prepared, too.
        """
        if not self._prepared:
            self.hash()  # what is wrong is told when it is asked for again
            if self._work.renders:
                self._way_back = way_back_of(self._step.revision, self._context.opts, self._text)
            self._types_made = deepcopy(self._context.impl.memo)
            self._recorded = self._record()
            if self._recorded is None:
                self._forget_types()
            else:
                self._journal_row = self._applied_row()
                self._flows = Pipeline.takes(self._recorded)
            self._prepared = True
        return self._recorded is not None

    def hash(self) -> None:
        """Take the checksum of its script; never raises."""
        with suppress(Exception):
            self._checksum()

    @property
    def sent(self) -> bool:
        """Whether it is on its way, and not answered."""
        return self._work.pipeline.holds(self._sent)

    def send_ahead(self, lock_timeout: float) -> bool:
        """Send it behind others that are on their way, where both it and they can be.

        Args:
            lock_timeout: seconds that a table lock may be waited for.

        Raises:
            psycopg.OperationalError: the connection is lost.
        """
        if not self.sent and self._flows and self._work.pipeline.has_room:
            self._send(lock_timeout)
        return self.sent

    def run(
        self, lock_timeout: float, meanwhile: Iterable[object], aside: Iterator[object]
    ) -> None:
        """Run the revision and commit it.

        Args:
            lock_timeout: seconds that a table lock may be waited for; of what was sent ahead, it
                is known already.
            meanwhile: may be gone through while the server works; prepares other revisions, and
                sends them ahead.
            aside: the same while a script runs, statement by statement; touches no connection.

        Raises:
            SessionLostError: the lock is not ours any more.
            Exception: whatever the script, the driver or Alembic raises.
        """
        self.prepare()
        if self._recorded is not None:
            self._run_as_a_whole(lock_timeout, meanwhile)
            return
        self._work.pipeline.close()
        if self._connection.in_transaction():
            self._connection.rollback()  # one of SQLAlchemy's only, left by what was recorded
        self._work.prepared.forget()
        self._open(lock_timeout)
        with spare_time(self._raw, aside):
            self._begin()
            self._step.migration_fn(**self._arguments)
            self._finish()

    def undo(self, error: BaseException) -> None:
        """Roll back what is open; write `failed` where a part was committed before."""
        with suppress(Exception):
            self._work.pipeline.close()
        self._maintainer.forget(self._heads)
        if self._recorded is None:
            self._forget_types()
        self.conduct.undone = True
        self._work.prepared.forget()
        self._context._transaction = None  # noqa: SLF001
        if self._work.session.broken:
            return
        with suppress(Exception):
            self._connection.rollback()
        with suppress(Exception):
            # SQLAlchemy has no transaction any more when a commit failed; the driver may have one.
            self._raw.rollback()
            self._raw.autocommit = False
            self.conduct.committed_early = self._work.journal.fail(
                self.conduct.row, self._work.text_of(error)
            )
            self._raw.commit()

    def import_all_scripts(self) -> None:
        """Import every script of the directory, as far as it can be."""
        directory = self._context.script
        for script in () if directory is None else directory.walk_revisions():
            with suppress(Exception):
                script.module  # noqa: B018

    def _forget_types(self) -> None:
        """Have types created again that were in vain: their names are kept for the whole run."""
        self._context.impl.memo = deepcopy(self._types_made)

    def _open(self, lock_timeout: float) -> None:
        """Begin an attempt, on this side."""
        self._lock_timeout = lock_timeout
        self.conduct.begin()
        self._heads = set(self._maintainer.heads)

    # As a whole

    def _record(self) -> list[str] | None:
        """Note the statements of a plain revision; `None`: it runs statement by statement."""
        if not self._may_be_sent_whole():
            return None
        with suppress(Exception):  # told when the script is run
            if is_plain(self._step.revision.module, self._text):
                with self._recording() as recorder:
                    function = self._step.migration_fn
                    return recorder.record(function, self._arguments, self._context.impl)
        return None

    def _may_be_sent_whole(self) -> bool:
        """Whether nobody needs to look between the statements, apart from the revision itself."""
        work = self._work
        return (
            work.direction == "upgrade"
            and work.lock.keeps_session
            and self._maintainer.plain
            and not self._context.on_version_apply_callbacks
            and not self._loose
            and not self._watched
            and self.revision not in work.open_revisions
            and self._raw.isolation_level is None
            and self._text.exists
        )

    def _run_as_a_whole(self, lock_timeout: float, meanwhile: Iterable[object]) -> None:
        pipeline = self._work.pipeline
        try:
            if self._flows:
                if not self.sent:
                    self._send(lock_timeout)
                assert self._sent is not None
                pipeline.receive(self._sent, meanwhile)
            else:
                pipeline.close()
                Message(self._raw, self._statements(lock_timeout)).exchange(meanwhile)
        except psycopg.Error as error:
            match unmet(error):
                case None:
                    raise
                case advisory_lock.LOST as text:
                    raise SessionLostError(text) from error
                case text:
                    raise CommandError(text) from error

    def _send(self, lock_timeout: float) -> None:
        statements = self._statements(lock_timeout)
        try:
            self._sent = self._work.pipeline.send(self.revision, statements)
        except UnicodeEncodeError:
            self._maintainer.forget(self._heads)
            raise

    def _statements(self, lock_timeout: float) -> list[str]:
        """List all that the revision takes, from `begin` to `commit`; begins an attempt."""
        self._open(lock_timeout)
        work = self._work
        self._maintainer.update_to_step(self._step)
        self.conduct.own_commit = True
        return [
            "begin",
            *self._preamble.protection(),
            *work.prepared.call(self._preamble.repeated(lock_timeout)),
            *(self._recorded or ()),
            *chain.from_iterable(map(work.prepared.call, self._maintainer.take_checked())),
            *work.prepared.call(self._journal_row),
            "commit",
        ]

    def _applied_row(self) -> Repeated:
        """Return the journal row."""
        work = self._work
        way_back = self._way_back or WayBack()
        checksum = self._checksum()
        return work.journal.applied_statement(
            revision=self.revision,
            down_revisions=work.graph.dependencies_of(self.revision),
            direction=work.direction,
            checksum=checksum,
            compatible=self._compatible,
            downgrade_sql=way_back.sql,
            signature=work.signature_of(self.revision, way_back.sql, checksum),
            obstacle=way_back.obstacle,
        )

    # Statement by statement

    def _begin(self) -> None:
        self._context._transaction = self._connection.begin()  # noqa: SLF001 - as Alembic does
        self._announce()

    def _announce(self) -> None:
        """Send the fence, the settings and the journal row, first in the transaction."""
        work = self._work
        parts = [
            *work.lock.claim(),
            *self._preamble.statements(self._lock_timeout),
            work.journal.begin_statement(
                revision=self.revision,
                down_revisions=work.graph.dependencies_of(self.revision),
                direction=work.direction,
                checksum=self._checksum(),
                compatible=self._compatible,
            ),
        ]
        cursor = work.client.execute(";\n".join(parts))
        rows: list[tuple[Any, ...]] = cursor.fetchmany(1)
        while cursor.nextset():
            if cursor.description:
                rows += cursor.fetchmany(1)
        backend = work.lock.confirm(rows, self._maintainer.heads)
        if backend is not None:
            work.observer.pid = backend
        self.conduct.row = rows[-1][0]

    def _finish(self) -> None:
        """Update version and journal in the revision's transaction, and commit it."""
        context = self._context
        self.conduct.raise_if_cut_short()
        self.conduct.end_autocommit()
        if context._transaction is None or not self._connection.in_transaction():  # noqa: SLF001
            context._transaction = self._connection.begin()  # noqa: SLF001
        self.conduct.restore()
        invalid = self.conduct.invalid_indexes() if self.conduct.committed_early else ()
        if invalid:
            raise _InvalidIndexError(invalid)
        self._maintainer.update_to_step(self._step)
        if context.on_version_apply_callbacks:
            self._maintainer.send()
        for callback in context.on_version_apply_callbacks:
            callback(
                ctx=context,
                step=self._step.info,
                heads=set(self._maintainer.heads),
                run_args=self._arguments,
            )
        finished = self._finish_row(self._maintainer.statements)
        self._maintainer.check(finished.counts)
        if not finished.there:  # rolled back where nobody could see it
            self._announce()
            self._finish_row()
        self.conduct.own_commit = True
        self._connection.commit()
        context._transaction = None  # noqa: SLF001

    def _finish_row(self, first: Sequence[str] = ()) -> Finished:
        work, way_back = self._work, self._way_back or WayBack()
        return work.journal.finish(
            self.conduct.row,
            self.revision,
            work.direction,
            downgrade_sql=way_back.sql,
            signature=work.signature_of(self.revision, way_back.sql, self._checksum()),
            obstacle=way_back.obstacle,
            first=first,
        )

    # Both

    def _checksum(self) -> str | None:
        """Checksum of the script; `None` where its source is not there."""
        return self._text.checksum if self._text.exists else None

    @property
    def _compatible(self) -> bool:
        return bool(getattr(self._step.revision.module, "automigrate_compatible", True))

    @property
    def _connection(self) -> Connection:
        connection = self._context.connection
        assert connection is not None
        return connection

    @property
    def _raw(self) -> Any:
        return self._work.session.connection


class _InvalidIndexError(Exception):
    def __init__(self, indexes: tuple[str, ...]) -> None:
        super().__init__(f"the revision left an invalid index: {', '.join(indexes)}")
