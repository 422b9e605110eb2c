"""PostgreSQL servers and databases for tests: one server a version, one database a test."""

from __future__ import annotations

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import psycopg
import pytest

from automigrate import embedded
from automigrate.database.session import OWN_TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractContextManager

__all__ = [
    "SETTINGS",
    "VERSIONS",
    "Database",
    "Statement",
    "Version",
    "binaries_of",
    "missing",
    "new_server",
    "requires",
    "shared_server",
]

Version = Literal["18", "15"]
VERSIONS: tuple[Version, ...] = ("18", "15")
"""Major versions under test: 18 from the wheel, 15 from Debian."""

_RECORD, _FIELD = "\x1e", "\x1f"
SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "replica",
    "log_statement": "all",
    "log_line_prefix": f"{_RECORD}%m{_FIELD}%p{_FIELD}%d{_FIELD}%a{_FIELD}",
}
"""What test servers run with; everything else is PostgreSQL's default."""

_LEFTOVER_GRACE = 2.0
_STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]+): (.*)", re.DOTALL)
_VOLATILE_DUMP_LINE = re.compile(
    r"--|\\(un)?restrict |SET |SELECT pg_catalog\.set_config|\s*$", re.ASCII
)
_SESSIONS = """
select pid, usename, application_name, state, query
from pg_stat_activity
where datname = %s and backend_type = 'client backend' and pid <> pg_backend_pid()
order by pid
"""
_JOURNALS = """
select quote_ident(n.nspname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relname = 'automigrate_journal' and to_regclass(format('%I.automigrate_open', n.nspname))
  is not null and exists (select from pg_attribute a where a.attrelid = c.oid and attname = 'id')
"""
_DISAGREEMENTS = """
select '{0}: in the journal ' || coalesce(j.id || ' ' || j.revision, 'nothing')
  || ', among the open rows ' || coalesce(o.entry || ' ' || o.revision, 'nothing')
from (select * from {0}.automigrate_journal where state in ('running', 'failed')) j
full join {0}.automigrate_open o on (o.entry, o.revision) = (j.id, j.revision)
  and o.version_table is not distinct from j.version_table
where j.id is null or o.entry is null order by coalesce(j.id, o.entry)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement as the server logged it, before it ran."""

    pid: int
    application_name: str
    text: str


class Database:
    """A database of its own for one test.

    Attributes:
        server: the server that it is on.
        name: its name.
        url: its URL over the Unix socket.
    """

    def __init__(self, server: embedded.EmbeddedServer, name: str) -> None:
        self._log_start = server.log_path.stat().st_size
        self.server = server
        self.name = name
        self.url = server.create_database(name)

    @property
    def tcp_url(self) -> str:
        """The database's URL over TCP, with the superuser's password."""
        return self.server.tcp_url(self.name)

    def connect(self, **parameters: Any) -> psycopg.Connection:
        """Open a session in autocommit; the test has to close it."""
        return psycopg.connect(self.url, autocommit=True, **parameters)

    def rows(self, query: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        """Run one statement in a session of its own; return its rows, if it has any."""
        with self.connect() as connection:
            cursor = connection.execute(query.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def execute(self, script: str) -> None:
        """Run a script of several statements in a session of its own."""
        with self.connect() as connection:
            connection.execute(script.encode())

    def dump_schema(self, *, journal: bool = False) -> str:
        """Return the schema as pg_dump shows it, without what changes from dump to dump.

        Args:
            journal: whether to show automigrate's own tables too.
        """
        excluded = () if journal else OWN_TABLES
        options = [f"--exclude-table=*.{name}*" for name in excluded]
        dump = self.server.run("pg_dump", "--schema-only", *options, self.name).stdout
        return "\n".join(line for line in dump.splitlines() if not _VOLATILE_DUMP_LINE.match(line))

    def statements(
        self, *, application_name: str | None = None, pid: int | None = None
    ) -> list[Statement]:
        """Return what the server was told in this database so far, in order.

        Args:
            application_name: only statements of sessions with this name at that moment.
            pid: only statements of this backend.
        """
        with self.server.log_path.open("rb") as log:
            log.seek(self._log_start)
            records = log.read().decode(errors="replace").split(_RECORD)
        found = []
        for record in records:
            fields = record.split(_FIELD, 4)
            if len(fields) < 5 or fields[2] != self.name:
                continue
            logged = _STATEMENT.match(fields[4])
            if (
                logged is None
                or (pid is not None and int(fields[1]) != pid)
                or (application_name is not None and fields[3] != application_name)
            ):
                continue
            text = logged[1].rstrip("\n").replace("\n\t", "\n")
            found.append(Statement(pid=int(fields[1]), application_name=fields[3], text=text))
        return found

    def sessions(self) -> list[str]:
        """Describe the sessions that are open in this database."""
        with psycopg.connect(self.server.url(), autocommit=True) as connection:
            return [
                f"pid {pid}, role {role}, application {application!r}, {state}: {query}"
                for pid, role, application, state, query in connection.execute(
                    _SESSIONS, (self.name,)
                )
            ]

    def open_rows(self) -> list[str]:
        """Return the revisions of the journal's open rows, from the table of open rows."""
        found = self.rows("select revision from automigrate_open order by entry")
        return [revision for (revision,) in found]

    def disagreements(self) -> list[str]:
        """Say how the journals and the tables of their open rows differ; they never should."""
        return [
            found
            for (schema,) in self.rows(_JOURNALS)
            for (found,) in self.rows(_DISAGREEMENTS.format(schema))
        ]

    def drop(self) -> list[str]:
        """Drop the database; return the sessions that were left in it, and `disagreements`.

        Sessions that were closed a moment ago get the time to end.
        """
        disagreements = self.disagreements()
        deadline = time.monotonic() + _LEFTOVER_GRACE
        while (left := self.sessions()) and time.monotonic() < deadline:
            time.sleep(0.01)
        self.server.drop_database(self.name)
        return left + disagreements


def binaries_of(version: Version) -> Path | None:
    """Return where a version's programs are; `None` means the wheel."""
    if version == "18":
        return None
    binaries = Path(f"/usr/lib/postgresql/{version}/bin")
    if not (binaries / "postgres").exists():
        missing(f"Debian package postgresql-{version} ({binaries})")
    return binaries


def shared_server(
    version: Version, directory: Path
) -> AbstractContextManager[embedded.EmbeddedServer]:
    """Join the server of this test run, which all its workers share."""
    return embedded.shared(
        directory,
        settings=SETTINGS,
        password="secret of the superuser",
        binaries=binaries_of(version),
        temporary=True,
    )


def new_server(version: Version = "18", **settings: str) -> embedded.EmbeddedServer:
    """Start a server for one test, which may stop, kill and restart it."""
    return embedded.EmbeddedServer.start(
        settings={**SETTINGS, **settings}, binaries=binaries_of(version)
    )


def requires(program: str) -> Path:
    """Return the path of a program of a Debian package, or skip the test without it."""
    path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        missing(f"program {program}")
    return Path(path)


def missing(what: str) -> NoReturn:
    """Skip the test, or fail it where everything is required (``AUTOMIGRATE_REQUIRE_ALL=1``)."""
    if os.environ.get("AUTOMIGRATE_REQUIRE_ALL") == "1":
        pytest.fail(f"{what} is required here and missing", pytrace=False)
    pytest.skip(f"{what} is missing")
