"""The version tables of a run: named by the options, by the text of env.py, or by env.py itself.

Nearly always there is one, and it is known without running anything. Only where the text does not
tell, or a bad verdict makes one doubt it, env.py is run without applying anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from automigrate.database.session import NoVersionTableError, Tables, TablesDifferError
from automigrate.errors import ConfigurationError, DatabaseUnavailableError, ScriptError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from automigrate.alembic_bridge.discovery import Discovered
    from automigrate.database.session import Session
    from automigrate.errors import AutomigrateError
    from automigrate.options import Options

__all__ = ["VersionTables"]


class VersionTables:
    """Which ones there are, as far as it is known.

    Args:
        options: may name the table and its schema.
        ask: runs env.py without applying anything.

    Attributes:
        every: all that are known: several where env.py loops over tenants.
        known: whether they are known without running env.py.
    """

    def __init__(self, options: Options, ask: Callable[[Session], Discovered]) -> None:
        self._options = options
        self._ask = ask
        self.every: tuple[Tables, ...] = ()
        self.known = True
        self._env_file: Path | None = None
        self._asked = False
        self._doubted = False
        self._stopped: AutomigrateError | None = None

    def read(self, env_file: Path | None) -> Tables:
        """Read from options and text which one there is; returns it.

        Args:
            env_file: env.py; `None` where there is none to read.
        """
        self._env_file = env_file
        tables, self.known = self._configured()
        self.every = (tables,)
        return tables

    def find(self, session: Session) -> None:
        """Ask env.py, once, where only it knows.

        Raises:
            NoVersionTableError: it configures none.
            AutomigrateError: it failed; not where only a doubt had it asked.
        """
        if self.known or self._asked:
            return
        try:
            self.every, self._stopped = self._ask(session)
        except (ConfigurationError, DatabaseUnavailableError, ScriptError):
            # Where env.py was asked for a second opinion only, the verdict stands and is told.
            if not self._doubted:
                raise
        self._asked = True
        if not self.every:
            raise NoVersionTableError

    def are_complete(self, session: Session) -> bool:
        """Whether there are no more; where env.py had stopped, it is asked again.

        What it lacked may have been applied since.

        Raises:
            AutomigrateError: it stops where it did.
        """
        if self._stopped is None:
            return True
        before, self._asked = self.every, False
        self.find(session)
        if self.every == before and self._stopped is not None:
            raise self._stopped
        return self.every == before

    def doubt(self, tables: Tables) -> None:
        """Before a bad verdict, or where a version table is in another schema: ask env.py.

        It may not be where its text reads.

        Raises:
            TablesDifferError: it was not asked yet.
        """
        if self._env_file is not None and self.known and not self._named_by_options:
            self._doubted = True
            raise TablesDifferError(tables)

    def distrust(self) -> None:
        """Have `find` ask env.py, again where it was asked before."""
        self.known = self._asked = False

    @property
    def _named_by_options(self) -> bool:
        options = self._options
        return options.version_table is not None and options.version_table_schema is not None

    def _configured(self) -> tuple[Tables, bool]:
        options = self._options
        if self._env_file is None or self._named_by_options:
            return Tables.of(options), True
        from automigrate.scripts.env_py import configured_tables

        said = configured_tables(self._env_file)
        tables = Tables(
            options.version_table or said.version_table or Tables().version_table,
            options.version_table_schema or said.schema,
        )
        return tables, said.literal
