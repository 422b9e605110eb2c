"""The journal: one row per application of a revision, written in that revision's transaction.

A transactional revision that fails leaves no row, because the row goes with it. A revision that
commits a part of its work (an autocommit block, a commit of its own) commits its row in state
`running` with it, so that the next start knows that it was interrupted and how far it came (H15).

Rows in state `running` or `failed` have a row in a table of their own, too, which is what a start
asks for (see `journal_table`). Both are written by the same statement, or at least in the same
transaction: wherever the one is durable or rolled back, the other is.
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg import ClientCursor

from automigrate.database.journal_table import CLOSE, JournalTables
from automigrate.database.prepared import Repeated
from automigrate.database.session import VERSION_TABLE
from automigrate.plan import JournalEntry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import psycopg

__all__ = ["Finished", "Journal", "Recorded", "Saved"]

ENTRIES = """\
select id, revision, down_revisions, direction, state, compatible, checksum, progress, error,
  downgrade_obstacle, instance_host, instance_pid
from {journal} where {ours} order by id"""

BEGIN = """\
{opening}insert into {journal} (revision, down_revisions, direction, state, checksum, compatible,
  instance_host, instance_pid, application_version, automigrate_version, version_table, backup,
  restore_point, restore_lsn)
values (%s, %s, %s, 'running', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s){opened}"""

# For a revision that is sent as a whole, in its transaction: nobody could see it `running`.
APPLIED = """\
insert into {journal} (revision, down_revisions, direction, state, checksum, compatible,
  downgrade_sql, downgrade_signature, downgrade_obstacle, started_at, finished_at,
  instance_host, instance_pid, application_version, automigrate_version, version_table, backup,
  restore_point, restore_lsn)
values ($1, $2, $3, 'applied', $4, $5, $6, $7, $8, transaction_timestamp(), clock_timestamp(),
  $9, $10, $11, $12, $13, $14, $15, $16)"""
APPLIED_TYPES = """\
text, text[], text, text, boolean, text, text, text, text, integer, text, text, text, text, text, \
text"""

PROGRESS = "update {journal} set phase = %s, progress = %s::jsonb where id = %s"

# An earlier application that was interrupted is superseded by the one that came to its end.
FINISH = """\
update {journal} set finished_at = clock_timestamp(),
  state = case when id = %(row)s then 'applied' else 'reverted' end,
  downgrade_sql = case when id = %(row)s then %(downgrade_sql)s end,
  downgrade_signature = case when id = %(row)s then %(signature)s end,
  downgrade_obstacle = case when id = %(row)s then %(obstacle)s end
where id = %(row)s or revision = %(revision)s and state in ('running', 'failed') and {ours}
returning id = %(row)s"""

REVERT = """\
update {journal} set state = 'reverted', finished_at = clock_timestamp()
where revision = %s and id < %s and direction <> 'downgrade' and state <> 'reverted'
  and {ours}"""

FAIL = """\
{opening}update {journal} set state = 'failed', finished_at = clock_timestamp(), error = %s
where id = %s{opened}"""

# Of several rows the newest counts: that of the application which holds.
RECORDED = """\
select distinct on (revision) revision, down_revisions, checksum, downgrade_sql,
  downgrade_signature, downgrade_obstacle, compatible
from {journal} where state = 'applied' and direction <> 'downgrade' and {ours}
order by revision, id desc"""

VERSION_COLUMN = """\
select atttypmod - 4 from pg_attribute
where attrelid = to_regclass(%s) and attname = 'version_num' and atttypmod > 4"""

WIDEN = "alter table {} alter column version_num type varchar({})"

RESOLVE = """\
update {journal} set state = %s, finished_at = clock_timestamp(), error = %s
where revision = %s and state in ('running', 'failed') and {ours}"""

ACCEPT = """\
update {journal} set checksum = %s, downgrade_sql = null, downgrade_signature = null,
  downgrade_obstacle = 'its script was changed after it was applied'
where revision = %s and state = 'applied' and direction <> 'downgrade' and {ours}"""

RECORD = """\
insert into {journal} (revision, down_revisions, direction, state, checksum, compatible,
  instance_host, instance_pid, application_version, automigrate_version, version_table, finished_at)
values (%s, %s, %s, 'applied', %s, %s, %s, %s, %s, %s, %s, clock_timestamp())"""


class Saved(NamedTuple):
    """The backup that was made before a run changed anything."""

    backup: str | None = None
    """Where it is; `None`: no file was made."""
    restore_point: str | None = None
    """Its name in the write-ahead log, where the role may make one."""
    lsn: str | None = None


class Recorded(NamedTuple):
    """How an applied revision can be undone, as its row says."""

    revision: str
    down_revisions: tuple[str, ...]
    checksum: str | None
    sql: str | None
    signature: str | None
    obstacle: str | None
    """Why there is no SQL; `None` where nobody asked."""
    compatible: bool


class Finished(NamedTuple):
    """What was met at the end of a revision."""

    counts: list[int]
    """By the statements on the version table: how many rows each."""
    there: bool
    """Whether the journal's row was; the revision may have rolled it back."""


class Journal:
    """The journal's tables beside one version table; every write happens under the lock.

    Several version tables of a schema share the table, not the rows: revisions of two applications
    may have the same name, and none reads, settles or undoes what another's are.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        schema: str,
        *,
        application_version: str | None,
        automigrate_version: str,
        version_table: str = VERSION_TABLE,
        saved: Saved | None = None,
    ) -> None:
        self._connection = connection
        self.schema = schema
        self._tables = JournalTables(connection, schema, version_table)
        self._client = ClientCursor(connection)
        self._saved = saved or Saved()
        self.instance = (socket.gethostname(), os.getpid())
        self._origin = (*self.instance, application_version, automigrate_version, version_table)

    def exists(self) -> bool:
        """Whether the table is there."""
        return self._tables.look().journal != "missing"

    def create(self, *, durable: bool = True) -> None:
        """Create the tables, or bring them to today's form; under the lock (H8).

        A role that may write to the journal but make no table beside it goes on without.

        Args:
            durable: whether its commit waits for the disk.
        """
        self._tables.create(durable=durable)

    def agreement(self) -> list[str]:
        """Return the SQL that brings the open rows into agreement with the journal."""
        return self._tables.agreement()

    def entries(self) -> tuple[JournalEntry, ...]:
        """Read all rows, oldest first; none when the table is missing."""
        if not self.exists():
            return ()
        return tuple(
            JournalEntry(
                id=row[0],
                revision=row[1],
                down_revisions=tuple(row[2]),
                direction=row[3],
                state=row[4],
                compatible=row[5],
                checksum=row[6],
                progress=row[7],
                error=row[8],
                obstacle=row[9],
                instance=(row[10], row[11]),
            )
            for row in self._execute(ENTRIES).fetchall()
        )

    def begin_statement(
        self,
        *,
        revision: str,
        down_revisions: Sequence[str],
        direction: str,
        checksum: str | None,
        compatible: bool,
    ) -> str:
        """Return the SQL that writes the `running` row, to be sent with other statements."""
        if not self._tables.opens:  # another role may have made the table since
            self._tables.look()
        return self._mogrify(
            BEGIN,
            (
                *(revision, list(down_revisions), direction, checksum, compatible),
                *self._origin,
                *self._saved,
            ),
        )

    def applied_statement(
        self,
        *,
        revision: str,
        down_revisions: Sequence[str],
        direction: str,
        checksum: str | None,
        compatible: bool,
        downgrade_sql: str | None,
        signature: str | None,
        obstacle: str | None,
    ) -> Repeated:
        """Return what writes the row at once as it is in the end; see `finish`.

        No earlier row of the revision may be open.
        """
        arguments = (
            *(revision, tuple(down_revisions), direction, checksum, compatible),
            *(downgrade_sql, signature, obstacle or None),
            *self._origin,
            *self._saved,
        )
        return Repeated(self._compose(APPLIED).decode(), APPLIED_TYPES, arguments)

    def progress(self, row: int, phase: str, progress: dict[str, Any]) -> None:
        """Say how far a revision has come; durable when its transaction is, or in autocommit."""
        self._execute(PROGRESS, (phase, json.dumps(progress), row))

    def finish(
        self,
        row: int,
        revision: str,
        direction: str,
        *,
        downgrade_sql: str | None = None,
        signature: str | None = None,
        obstacle: str | None = None,
        first: Sequence[str] = (),
    ) -> Finished:
        """Write `applied`, in the transaction of the version update.

        Args:
            row: as `begin_statement` returned it.
            revision: the revision.
            direction: `upgrade` or `downgrade`.
            downgrade_sql: what undoes it, for a release that has no script for it.
            signature: that binds the SQL to the revision.
            obstacle: why there is no SQL.
            first: statements on the version table, to be sent ahead in the same message.
        """
        parameters = {
            "row": row,
            "revision": revision,
            "downgrade_sql": downgrade_sql,
            "signature": signature,
            "obstacle": obstacle or None,
        }
        statements = [*first, self._mogrify(FINISH, parameters)]
        if direction == "downgrade":
            statements.append(self._mogrify(REVERT, (revision, row)))
        cursor = self._change(*statements)
        counts: list[int] = []
        there = False
        more: bool | None = True
        while more:
            if len(counts) == len(first):
                there = any(own for (own,) in cursor)
            counts.append(cursor.rowcount)
            more = cursor.nextset()
        return Finished(counts[: len(first)], there)

    def recorded(self) -> dict[str, Recorded]:
        """Read how the revisions that are applied can be undone without their scripts."""
        if not self.exists():
            return {}
        return {
            row[0]: Recorded(row[0], tuple(row[1]), *row[2:])
            for row in self._execute(RECORDED).fetchall()
        }

    def fail(self, row: int, error: str) -> bool:
        """Write `failed` on a row that was committed early.

        Returns:
            Whether there was such a row, that is, whether the revision had committed anything.
        """
        return self._execute(FAIL, (error, row)).fetchone() is not None

    def widen_version_column(self, version_table: str, length: int) -> None:
        """Make room for revision ids longer than Alembic's 32 characters.

        Waits for the version table's lock, which is held by nobody for longer than a moment.

        Args:
            version_table: as quoted SQL.
            length: characters needed.
        """
        row = self._connection.execute(VERSION_COLUMN, (version_table,)).fetchone()
        if row is not None and row[0] < length:
            statement = WIDEN.format(version_table, int(length))
            self._connection.execute(statement)
        if not self._connection.autocommit:
            self._connection.commit()

    def resolve(self, revision: str, state: str, note: str | None = None) -> None:
        """Bring the open rows of a revision to an end."""
        self._change(self._mogrify(RESOLVE, (state, note, revision)))

    def revert(self, revision: str) -> None:
        """Have all rows of a revision say that it is not applied."""
        self._change(self._mogrify(REVERT, (revision, 2**62)))

    def accept(self, revision: str, checksum: str | None) -> int:
        """Take a changed script for the one that was applied; returns the rows changed.

        What undoes it was rendered from the old script, and goes.
        """
        return self._execute(ACCEPT, (checksum, revision)).rowcount

    def record(
        self,
        *,
        revision: str,
        down_revisions: Sequence[str],
        direction: str,
        checksum: str | None = None,
        compatible: bool = True,
    ) -> None:
        """Write a row for something that is done already (a stamp, an adopted revision)."""
        self._execute(
            RECORD,
            (revision, list(down_revisions), direction, checksum, compatible, *self._origin),
        )

    def _change(self, *statements: str) -> psycopg.Cursor[Any]:
        """Send statements that close rows, and take these from the open ones, in one message."""
        closing = [self._compose(CLOSE).decode()] if self._tables.opens else []
        return self._client.execute(";\n".join([*statements, *closing]))

    def _execute(
        self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None
    ) -> psycopg.Cursor[Any]:
        return self._connection.execute(self._compose(query), parameters)

    def _mogrify(self, query: str, parameters: Sequence[Any] | Mapping[str, Any]) -> str:
        return self._client.mogrify(self._compose(query), parameters)

    def _compose(self, query: str) -> bytes:
        return self._tables.compose(query)
