"""The schema of a database as lines that two databases with the same schema have in common."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from automigrate.database.session import OWN_TABLES
from automigrate.deadline import Control
from automigrate.recovery.tools import tools_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from automigrate.database.source import Source

__all__ = ["comparable", "lines"]

_VOLATILE = re.compile(r"--|\\(?:un)?restrict |SET |SELECT pg_catalog\.set_config|\s*$", re.ASCII)
_TABLE = re.compile(r"CREATE (?:UNLOGGED )?TABLE .*\($")


def lines(source: Source, directory: str | None = None, *, ours: str) -> list[str]:
    """Dump a schema, without owners, privileges and the tables of Alembic and automigrate.

    Args:
        source: the database.
        directory: of PostgreSQL's programs, see `tools_for`.
        ours: name of the version table.

    Raises:
        ConfigurationError: pg_dump is missing.
        BackupError: it failed.
    """
    tools = tools_for(source, Control(), directory=directory)
    quoted = (name.replace('"', '""') for name in (ours, *OWN_TABLES))
    excluded = (f'--exclude-table=*."{name}"' for name in quoted)
    options = ("--schema-only", "--no-owner", "--no-privileges", *excluded)
    return list(comparable(tools.run("pg_dump", *options).splitlines()))


def comparable(dump: Iterable[str]) -> Iterator[str]:
    """Leave out what differs from dump to dump, and sort the columns of each table."""
    columns: list[str] | None = None
    for line in dump:
        if columns is not None and line.startswith(")"):
            yield from sorted(columns)
            columns = None
        if columns is not None:
            columns.append(line.rstrip(","))
        elif not _VOLATILE.match(line):
            yield line
        if _TABLE.match(line):
            columns = []
