"""The update of the version table, kept back until it can travel with the journal's.

Alembic runs each statement on the version table by itself, through SQLAlchemy, which compiles it
anew for every revision because the ids stand in its text. The statements here are the same, and so
is the check that each has met exactly one row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from alembic.ddl.impl import DefaultImpl
from alembic.runtime.migration import HeadMaintainer
from alembic.util import CommandError
from psycopg import ClientCursor, sql

from automigrate.database.message import MARK
from automigrate.database.prepared import Repeated

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import psycopg
    from alembic.runtime.migration import MigrationContext

__all__ = ["VersionUpdate"]

# As Alembic writes them, so that a server's log reads the same.
INSERT = "INSERT INTO {0} (version_num) VALUES ({1})"
DELETE = "DELETE FROM {0} WHERE {0}.version_num = {1}"
UPDATE = "UPDATE {0} SET version_num={1} WHERE {0}.version_num = {2}"

# Fails with the last parameter where not one row was met, for a message of several statements.
CHECKED = """\
with met as ({statement} returning 1)
select (case when count(*) = 1 then '1' else ${last} || count(*) || ' found' end)::int from met"""

UNMET = "Online migration expected to match one row when {doing} in '{table}'; "


class _Pending(NamedTuple):
    template: str
    versions: tuple[str, ...]
    doing: str | None
    """For the error where not one row is met; `None`: need not be checked."""


class VersionUpdate(HeadMaintainer):
    """Knows the heads as Alembic's does, and hands its statements out instead of running them.

    Where a project has made the version table its own (more columns, a schema per execution), they
    run at once, through Alembic.
    """

    def __init__(
        self, context: MigrationContext, heads: Iterable[str], connection: psycopg.Connection[Any]
    ) -> None:
        super().__init__(context, heads)
        self._connection = connection
        self._pending: list[_Pending] = []
        self.plain = _is_plain(context)
        """Whether statements are handed out, and not run at once through Alembic."""
        assert context.connection is not None
        preparer = context.connection.dialect.identifier_preparer
        self._table: str = preparer.format_table(context._version)  # noqa: SLF001 - as Alembic does

    @property
    def statements(self) -> list[str]:
        """What is to be sent."""
        return [
            pending.template.format(self._table, *map(self._literal, pending.versions))
            for pending in self._pending
        ]

    def forget(self, heads: set[str]) -> None:
        """Go back to the heads before an attempt that failed, and drop what was not sent."""
        self.heads = heads
        self._pending = []

    def send(self) -> None:
        """Send what is kept back, and check it.

        Raises:
            CommandError: as `check` does.
        """
        if self._pending:
            cursor = ClientCursor(self._connection).execute(";\n".join(self.statements))
            counts = [cursor.rowcount]
            while cursor.nextset():
                counts.append(cursor.rowcount)
            self.check(counts)

    def take_checked(self) -> list[Repeated]:
        """Hand out what is to be sent, each so that it fails as `check` does (see `unmet`)."""
        sent, self._pending = self._pending, []
        return [self._checked(*pending) for pending in sent]

    def _checked(self, template: str, versions: tuple[str, ...], doing: str | None) -> Repeated:
        places = [f"${place}" for place in range(1, len(versions) + 1)]
        arguments = list(versions)
        definition = template.format(self._table, *places)
        if doing is not None:
            definition = CHECKED.format(statement=definition, last=len(versions) + 1)
            arguments.append(MARK + UNMET.format(doing=doing, table=self.context.version_table))
        types = ", ".join(["text"] * len(arguments))
        return Repeated(definition, types, tuple(arguments))

    def _literal(self, text: str) -> str:
        return sql.Literal(text).as_string(self._connection)

    def check(self, counts: Sequence[int]) -> None:
        """Read how many rows each statement met.

        Raises:
            CommandError: not exactly one; somebody else has changed the version table.
        """
        sent, self._pending = self._pending, []
        for pending, count in zip(sent, counts, strict=True):
            if pending.doing is not None and count != 1:
                text = UNMET.format(doing=pending.doing, table=self.context.version_table)
                msg = f"{text}{count} found"
                raise CommandError(msg)

    def _insert_version(self, version: str) -> None:
        if not self.plain:
            super()._insert_version(version)
            return
        assert version not in self.heads
        self.heads.add(version)
        self._keep(INSERT, version)

    def _delete_version(self, version: str) -> None:
        if not self.plain:
            super()._delete_version(version)
            return
        self.heads.remove(version)
        self._keep(DELETE, version, doing=f"deleting '{version}'")

    def _update_version(self, from_: str, to_: str) -> None:
        if not self.plain:
            super()._update_version(from_, to_)
            return
        assert to_ not in self.heads
        self.heads.remove(from_)
        self.heads.add(to_)
        self._keep(UPDATE, to_, from_, doing=f"updating '{from_}' to '{to_}'")

    def _keep(self, template: str, *versions: str, doing: str | None = None) -> None:
        self._pending.append(_Pending(template, versions, doing))


def _is_plain(context: MigrationContext) -> bool:
    """Whether Alembic would send the plain statements, to the table as it is configured."""
    assert context.connection is not None
    options = context.connection.get_execution_options()
    return (
        context._version.columns.keys() == ["version_num"]  # noqa: SLF001
        and not options.get("schema_translate_map")
        and type(context.impl)._exec is DefaultImpl._exec  # noqa: SLF001
    )
